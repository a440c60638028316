package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/authz"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"countersign.test/bench/echopb"
)

// serverOptions are the files and names that the modes ask for.
type serverOptions struct {
	cert, key, clientCA string
	publicKey           string
	issuer, audience    string
	policy              string
}

func serve(args []string) error {
	if len(args) == 0 {
		return errors.New("expected a mode")
	}
	mode := args[0]
	var (
		options serverOptions
		flags   = flag.NewFlagSet("serve", flag.ContinueOnError)
	)
	flags.StringVar(&options.cert, "cert", "", "certificate chain, PEM")
	flags.StringVar(&options.key, "key", "", "private key of --cert, PEM")
	flags.StringVar(&options.clientCA, "client-ca", "", "CA of the clients' certificates, PEM")
	flags.StringVar(&options.publicKey, "jwt-public-key", "", "EC public key of the tokens, PEM")
	flags.StringVar(&options.issuer, "issuer", "", "who has to have issued a token")
	flags.StringVar(&options.audience, "audience", "", "whom a token has to be for")
	flags.StringVar(&options.policy, "policy", "", "policy of gRFC A43, JSON")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	grpcOptions, err := options.mode(mode)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpcOptions...)
	echopb.RegisterEchoServer(server, echo{})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ended := watchForEnd()
	go func() {
		<-ended
		server.Stop()
	}()
	fmt.Println("listening", listener.Addr())
	return server.Serve(listener)
}

// mode turns the name of a mode into what grpc-go is told. The limit of
// concurrent streams stays as it is by default: there is none.
func (o serverOptions) mode(name string) ([]grpc.ServerOption, error) {
	var (
		transport credentials.TransportCredentials
		admit     grpc.UnaryServerInterceptor
		err       error
	)
	switch name {
	case "plain":
		transport = insecure.NewCredentials()
	case "tls":
		transport, err = o.tls()
	case "mtls":
		transport, err = o.mutualTLS()
	case "mtls-authz":
		if transport, err = o.mutualTLS(); err == nil {
			admit, err = o.authz()
		}
	case "tls-jwt", "tls-jwt-cached":
		if transport, err = o.tls(); err == nil {
			admit, err = o.tokens(name == "tls-jwt-cached")
		}
	default:
		return nil, fmt.Errorf("unknown mode %q", name)
	}
	if err != nil {
		return nil, err
	}
	result := []grpc.ServerOption{grpc.Creds(transport)}
	if admit != nil {
		result = append(result, grpc.UnaryInterceptor(admit))
	}
	return result, nil
}

func (o serverOptions) tls() (credentials.TransportCredentials, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(config), nil
}

func (o serverOptions) mutualTLS() (credentials.TransportCredentials, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	// loadPool never returns a nil pool: with a nil ClientCAs, the system's
	// roots would decide which clients are let in.
	if config.ClientCAs, err = loadPool(o.clientCA); err != nil {
		return nil, err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return credentials.NewTLS(config), nil
}

func (o serverOptions) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS13,
	}, nil
}

func (o serverOptions) tokens(cached bool) (grpc.UnaryServerInterceptor, error) {
	verifier, err := newVerifier(o.publicKey, o.issuer, o.audience)
	if err != nil {
		return nil, err
	}
	if cached {
		return guard((&cache{verifier: verifier}).verify), nil
	}
	return guard(verifier.verify), nil
}

// authz is what grpc-go has for a policy file.
func (o serverOptions) authz() (grpc.UnaryServerInterceptor, error) {
	text, err := os.ReadFile(o.policy)
	if err != nil {
		return nil, err
	}
	interceptor, err := authz.NewStatic(string(text))
	if err != nil {
		return nil, err
	}
	return interceptor.UnaryInterceptor, nil
}

// watchForEnd returns a channel that yields when standard input ends or SIGTERM
// arrives.
func watchForEnd() <-chan os.Signal {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended <- syscall.SIGTERM
	}()
	return ended
}

type echo struct {
	echopb.UnimplementedEchoServer
}

func (echo) Call(_ context.Context, request *echopb.Payload) (*echopb.Payload, error) {
	return request, nil
}
