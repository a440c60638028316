package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
)

// certificate has the names of a client, and whether its chain was verified.
type certificate struct {
	URINames   []string `json:"uri_sans"`
	DNSNames   []string `json:"dns_sans"`
	Subject    string   `json:"subject"`
	Unverified bool     `json:"unverified"`
}

// certificates makes real ones, so that names are read by those who read them in a handshake.
type certificates struct {
	key ed25519.PrivateKey
}

func newCertificates() (*certificates, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return &certificates{key: key}, err
}

// tls is what a handshake leaves behind for the interceptor.
func (c *certificates) tls(names *certificate) (credentials.AuthInfo, error) {
	info := credentials.TLSInfo{
		State:          tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true},
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}
	if names == nil {
		return info, nil
	}
	parsed, err := c.issue(names)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	info.State.PeerCertificates = []*x509.Certificate{parsed}
	if !names.Unverified {
		info.State.VerifiedChains = [][]*x509.Certificate{{parsed}}
	}
	return info, nil
}

var subjectAlternativeName = asn1.ObjectIdentifier{2, 5, 29, 17}

// The tags of GeneralName (RFC 5280 §4.2.1.6).
const (
	dnsNameTag = 2
	uriNameTag = 6
)

func (c *certificates) issue(names *certificate) (*x509.Certificate, error) {
	subject, err := distinguishedName(names.Subject)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
		RawSubject:   subject,
	}
	var alternatives []asn1.RawValue
	for _, name := range names.URINames {
		alternatives = append(alternatives, generalName(uriNameTag, name))
	}
	for _, name := range names.DNSNames {
		alternatives = append(alternatives, generalName(dnsNameTag, name))
	}
	if len(alternatives) > 0 {
		value, err := asn1.Marshal(alternatives)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = []pkix.Extension{{Id: subjectAlternativeName, Value: value}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// A subject that cannot be had would make cases of something else.
	if found := parsed.Subject.String(); found != names.Subject {
		return nil, fmt.Errorf("the subject %q is written %q", names.Subject, found)
	}
	return parsed, nil
}

func generalName(tag int, name string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(name)}
}

var attributes = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3},
	"C":  {2, 5, 4, 6},
	"L":  {2, 5, 4, 7},
	"ST": {2, 5, 4, 8},
	"O":  {2, 5, 4, 10},
	"OU": {2, 5, 4, 11},
}

// distinguishedName reads the part of RFC 4514 that the cases use: `CN=a,O=b`, a character escaped
// by a backslash. What stands last in the text stands first in the certificate.
func distinguishedName(text string) ([]byte, error) {
	var name pkix.RDNSequence
	for rest := text; rest != ""; {
		kind, after, found := strings.Cut(rest, "=")
		oid, known := attributes[kind]
		if !found || !known {
			return nil, fmt.Errorf("%q is no subject", text)
		}
		value := strings.Builder{}
		i := 0
		for ; i < len(after) && after[i] != ','; i++ {
			if after[i] == '\\' {
				i++
			}
			if i < len(after) {
				value.WriteByte(after[i])
			}
		}
		rest = after[min(i+1, len(after)):]
		attribute := pkix.AttributeTypeAndValue{Type: oid, Value: value.String()}
		name = append(pkix.RDNSequence{{attribute}}, name...)
	}
	return asn1.Marshal(name)
}
