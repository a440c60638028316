package main

import (
	"context"
	"crypto/sha256"
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
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"countersign.test/interop/greeterpb"
)

func runServer(args []string) error {
	var (
		options  security
		flags    = flag.NewFlagSet("server", flag.ContinueOnError)
		listen   = flags.String("listen", "127.0.0.1:0", "address to listen on")
		clientCA = flags.String("client-ca", "", "demand client certificates of this CA, PEM")
		issuer   = flags.String("issuer", "", "accept this issuer's tokens; certificates are optional then")
		issuerCA = flags.String("issuer-ca", "", "trust this CA when the issuer is asked for its keys, PEM")
		audience = flags.String("audience", "", "whom the issuer's tokens have to be for")
	)
	options.register(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := options.validate(); err != nil {
		return err
	}
	demand := tls.RequireAndVerifyClientCert
	if *issuer != "" {
		demand = tls.VerifyClientCertIfGiven
	}
	transport, err := serverCredentials(options, *clientCA, demand)
	if err != nil {
		return err
	}

	serverOptions := []grpc.ServerOption{grpc.Creds(transport)}
	var guard tokenGuard
	switch {
	case *issuer != "":
		verifier, err := newJWTVerifier(*issuer, *issuerCA, *audience)
		if err != nil {
			return err
		}
		guard.accepted = verifier
	case options.token != "":
		guard.accepted = fixedToken{digest: sha256.Sum256([]byte(options.token))}
	}
	if guard.accepted != nil {
		// Each kind of method has its own chain: with the unary interceptor
		// alone, every stream would be open to strangers.
		serverOptions = append(serverOptions,
			grpc.UnaryInterceptor(guard.unary), grpc.StreamInterceptor(guard.stream))
	}
	server := grpc.NewServer(serverOptions...)
	greeterpb.RegisterGreeterServer(server, greeter{})

	listener, err := net.Listen("tcp", *listen)
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

func serverCredentials(options security, clientCA string, demand tls.ClientAuthType) (credentials.TransportCredentials, error) {
	switch {
	case options.plaintext && clientCA != "":
		return nil, errors.New("--plaintext excludes --client-ca")
	case options.plaintext:
		return insecure.NewCredentials(), nil
	case options.cert == "":
		return nil, errors.New("expected --cert and --key, or --plaintext")
	case clientCA == "":
		return credentials.NewServerTLSFromFile(options.cert, options.key)
	}
	pair, err := options.keyPair()
	if err != nil {
		return nil, err
	}
	// loadPool never returns a nil pool: with a nil ClientCAs, the system's
	// roots would decide which clients are let in.
	pool, err := loadPool(clientCA)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   demand,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS12,
	}), nil
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

type greeter struct {
	greeterpb.UnimplementedGreeterServer
}

func (greeter) SayHello(ctx context.Context, request *greeterpb.HelloRequest) (*greeterpb.HelloReply, error) {
	return greet(ctx, request.GetName()), nil
}

func (greeter) SayHelloStream(request *greeterpb.HelloStreamRequest, stream grpc.ServerStreamingServer[greeterpb.HelloReply]) error {
	for range request.GetCount() {
		if err := stream.Send(greet(stream.Context(), request.GetName())); err != nil {
			return err
		}
	}
	return nil
}

func greet(ctx context.Context, name string) *greeterpb.HelloReply {
	return &greeterpb.HelloReply{Message: "Hello, " + name, Principal: principalOf(ctx)}
}

// principalOf names the caller: the token's holder, else the certificate's.
func principalOf(ctx context.Context) string {
	if holder, ok := tokenHolder(ctx); ok {
		return holder
	}
	leaf := certificateOf(ctx)
	switch {
	case leaf == nil:
		return ""
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	default:
		return leaf.Subject.CommonName
	}
}
