package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"countersign.test/interop/greeterpb"
)

// success is what the client prints for the status OK.
type success struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Principal string `json:"principal"`
}

// failure is what the client prints for any other outcome.
type failure struct {
	Code      string  `json:"code"`
	Message   string  `json:"message"`
	Reason    *string `json:"reason"`
	Challenge *string `json:"challenge"`
}

func runClient(args []string) error {
	var (
		options    security
		flags      = flag.NewFlagSet("client", flag.ContinueOnError)
		target     = flags.String("target", "", "address of the server")
		ca         = flags.String("ca", "", "trust this CA in place of the system's, PEM")
		serverName = flags.String("server-name", "", "name that the certificate must carry")
		timeoutMS  = flags.Int("timeout-ms", 10000, "deadline of the call")
		count      = flags.Uint("stream", 0, "ask for a stream of this many replies")
	)
	options.register(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := options.validate(); err != nil {
		return err
	}
	if *target == "" {
		return errors.New("expected --target")
	}
	dialOptions, err := dialOptions(options, *ca, *serverName)
	if err != nil {
		return reportLocal(err)
	}

	// NewClient does no I/O: a wrong address or certificate shows in the call.
	connection, err := grpc.NewClient(*target, dialOptions...)
	if err != nil {
		return reportLocal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*timeoutMS)*time.Millisecond)
	defer cancel()

	client := greeterpb.NewGreeterClient(connection)
	var (
		reply   *greeterpb.HelloReply
		answers answerMetadata
	)
	if *count > 0 {
		reply, err = callStream(ctx, client, uint32(*count), &answers)
	} else {
		reply, err = client.SayHello(ctx, &greeterpb.HelloRequest{Name: "interop"},
			grpc.Header(&answers.header), grpc.Trailer(&answers.trailer))
	}
	if err != nil {
		return report(describe(err, answers))
	}
	return report(success{Code: "OK", Message: reply.GetMessage(), Principal: reply.GetPrincipal()})
}

func dialOptions(options security, ca, serverName string) ([]grpc.DialOption, error) {
	transport, err := clientCredentials(options, ca)
	if err != nil {
		return nil, err
	}
	result := []grpc.DialOption{grpc.WithTransportCredentials(transport)}
	if serverName != "" {
		// The certificate is checked against the authority. The name override
		// of the TLS credentials is for tests, and an empty one switches
		// nothing off.
		result = append(result, grpc.WithAuthority(serverName))
	}
	if options.token != "" {
		result = append(result, grpc.WithPerRPCCredentials(bearerToken(options.token)))
	}
	return result, nil
}

func clientCredentials(options security, ca string) (credentials.TransportCredentials, error) {
	if options.plaintext {
		return insecure.NewCredentials(), nil
	}
	// A nil pool stands for the system's roots; a pool replaces them.
	var roots *x509.CertPool
	if ca != "" {
		var err error
		if roots, err = loadPool(ca); err != nil {
			return nil, err
		}
	}
	if options.cert == "" {
		return credentials.NewClientTLSFromCert(roots, ""), nil
	}
	pair, err := options.keyPair()
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		// With Certificates in its place, a certificate whose CA the server
		// does not name would stay here, and its refusal would go untested.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil
		},
		RootCAs:    roots,
		MinVersion: tls.VersionTLS12,
	}), nil
}

// callStream reads the whole stream and returns its last reply.
func callStream(ctx context.Context, client greeterpb.GreeterClient, count uint32, answers *answerMetadata) (*greeterpb.HelloReply, error) {
	stream, err := client.SayHelloStream(ctx, &greeterpb.HelloStreamRequest{Name: "interop", Count: count},
		grpc.Header(&answers.header), grpc.Trailer(&answers.trailer))
	if err != nil {
		return nil, err
	}
	var last *greeterpb.HelloReply
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		last = reply
	}
}

// answerMetadata is what came with an answer besides its messages.
type answerMetadata struct {
	header, trailer metadata.MD
}

func (a answerMetadata) first(key string) *string {
	// A refusal without a body has trailers only; a proxy may split it in two.
	for _, part := range []metadata.MD{a.header, a.trailer} {
		if values := part.Get(key); len(values) > 0 {
			return &values[0]
		}
	}
	return nil
}

func describe(err error, answers answerMetadata) failure {
	result := failure{Challenge: answers.first("www-authenticate")}
	refusal := status.Convert(err)
	result.Code = code.Code(refusal.Code()).String()
	result.Message = refusal.Message()
	for _, detail := range refusal.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			result.Reason = &info.Reason
		}
	}
	return result
}

// reportLocal reports what failed before there was a call.
func reportLocal(err error) error {
	return report(failure{Code: "LOCAL_ERROR", Message: err.Error()})
}

func report(line any) error {
	return json.NewEncoder(os.Stdout).Encode(line)
}
