package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// jwtVerifier accepts the access tokens of one issuer (RFC 9068). Its keys are
// found by discovery, once.
type jwtVerifier struct {
	issuer, audience string
	keys             map[string]*rsa.PublicKey
}

func newJWTVerifier(issuer, issuerCA, audience string) (*jwtVerifier, error) {
	pool, err := loadPool(issuerCA)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	}
	var about struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := get(client, issuer+"/.well-known/openid-configuration", &about); err != nil {
		return nil, err
	}
	if about.Issuer != issuer {
		return nil, fmt.Errorf("%s says that it is %s", issuer, about.Issuer)
	}
	var set struct {
		Keys []struct{ Kty, Kid, N, E string }
	}
	if err := get(client, about.JWKSURI, &set); err != nil {
		return nil, err
	}
	keys := make(map[string]*rsa.PublicKey)
	for _, key := range set.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(key.N)
		e, errE := base64.RawURLEncoding.DecodeString(key.E)
		if key.Kty != "RSA" || errN != nil || errE != nil {
			continue
		}
		exponent := int(new(big.Int).SetBytes(e).Int64())
		keys[key.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}
	}
	return &jwtVerifier{issuer: issuer, audience: audience, keys: keys}, nil
}

func get(client *http.Client, url string, into any) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(into)
}

type claims struct {
	Issuer       string          `json:"iss"`
	Subject      string          `json:"sub"`
	Audience     json.RawMessage `json:"aud"`
	Expires      float64         `json:"exp"`
	Confirmation *struct {
		Certificate string `json:"x5t#S256"`
		Key         string `json:"jkt"`
	} `json:"cnf"`
}

// holder verifies the value of `authorization` and names whom it is about.
func (v *jwtVerifier) holder(ctx context.Context, authorization string) (string, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	// A DPoP proof is nothing that this server could check.
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("no bearer token")
	}
	said, err := v.verify(token)
	if err != nil {
		return "", err
	}
	switch {
	case said.Issuer != v.issuer:
		return "", errors.New("another issuer")
	case !v.isFor(said.Audience):
		return "", errors.New("another audience")
	case said.Expires <= float64(time.Now().Unix()):
		return "", errors.New("expired")
	case said.Subject == "":
		return "", errors.New("nobody")
	case said.Confirmation == nil:
		return said.Subject, nil
	case said.Confirmation.Key != "" || said.Confirmation.Certificate != thumbprint(ctx):
		return "", errors.New("bound to something that the caller did not show")
	}
	return said.Subject, nil
}

// verify checks signature, algorithm and type, and nothing of what is said.
func (v *jwtVerifier) verify(token string) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not three parts")
	}
	decoded := make([][]byte, len(parts))
	for i, part := range parts {
		bytes, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return nil, err
		}
		decoded[i] = bytes
	}
	var header struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(decoded[0], &header); err != nil {
		return nil, err
	}
	key := v.keys[header.Kid]
	if key == nil || header.Alg != "RS256" || header.Typ != "at+jwt" {
		return nil, errors.New("another key, algorithm or type")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], decoded[2]); err != nil {
		return nil, err
	}
	said := new(claims)
	return said, json.Unmarshal(decoded[1], said)
}

// isFor: `aud` is a text or a list of texts (RFC 7519 §4.1.3).
func (v *jwtVerifier) isFor(audience json.RawMessage) bool {
	var one string
	var several []string
	if json.Unmarshal(audience, &one) == nil {
		return one == v.audience
	}
	return json.Unmarshal(audience, &several) == nil && slices.Contains(several, v.audience)
}

// thumbprint is that of the client certificate, as RFC 8705 has it.
func thumbprint(ctx context.Context) string {
	leaf := certificateOf(ctx)
	if leaf == nil {
		return "none"
	}
	digest := sha256.Sum256(leaf.Raw)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// certificateOf returns the client certificate, if one was verified.
func certificateOf(ctx context.Context) *x509.Certificate {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := caller.AuthInfo.(credentials.TLSInfo)
	// PeerCertificates is what was presented, VerifiedChains what was proven.
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil
	}
	return info.State.VerifiedChains[0][0]
}
