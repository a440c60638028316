// The grpc-go peer of the benchmark: an echo server, and a client that counts
// its own CPU time.
//
// The command line is described in ../README.md.
package main

import (
	"crypto/x509"
	"errors"
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
		return errors.New("expected `serve` or `client`")
	}
	switch args[0] {
	case "serve":
		return serve(args[1:])
	case "client":
		return runClient(args[1:])
	default:
		return fmt.Errorf("unknown command %q, expected `serve` or `client`", args[0])
	}
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
