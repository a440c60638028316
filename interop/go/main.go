// The grpc-go peer: the greeter of the interop tests as server and as client.
//
// The command line is described in ../README.md.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("expected `server` or `client`")
	}
	switch args[0] {
	case "server":
		return runServer(args[1:])
	case "client":
		return runClient(args[1:])
	default:
		return fmt.Errorf("unknown command %q, expected `server` or `client`", args[0])
	}
}

// security holds the options that server and client share.
type security struct {
	cert, key string
	token     string
	plaintext bool
}

func (s *security) register(flags *flag.FlagSet) {
	flags.StringVar(&s.cert, "cert", "", "certificate chain, PEM")
	flags.StringVar(&s.key, "key", "", "private key of --cert, PEM")
	flags.StringVar(&s.token, "token", "", "bearer token")
	flags.BoolVar(&s.plaintext, "plaintext", false, "no TLS")
}

func (s *security) validate() error {
	if (s.cert == "") != (s.key == "") {
		return errors.New("--cert and --key belong together")
	}
	if s.plaintext && s.cert != "" {
		return errors.New("--plaintext excludes --cert")
	}
	return nil
}

// keyPair loads the certificate that this end presents.
func (s *security) keyPair() (tls.Certificate, error) {
	return tls.LoadX509KeyPair(s.cert, s.key)
}

func loadPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	// A file without a certificate would leave an empty pool, which refuses
	// everyone without a word about the cause.
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return pool, nil
}
