package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/metadata"

	"countersign.test/bench/echopb"
)

const (
	payloadBytes = 100
	timeout      = 2 * time.Minute
)

// sample is what the client prints.
type sample struct {
	Calls int   `json:"calls"`
	CPUNs int64 `json:"cpu_ns"`
}

func runClient(args []string) error {
	var (
		flags       = flag.NewFlagSet("client", flag.ContinueOnError)
		target      = flags.String("target", "", "address of the server")
		ca          = flags.String("ca", "", "CA of the server's certificate, PEM")
		serverName  = flags.String("server-name", "", "name that the certificate must carry")
		token       = flags.String("token", "", "bearer token")
		mode        = flags.String("mode", "header", "header: hard-coded metadata, oauth: a token source, jwt-access: a service account's key")
		keyFile     = flags.String("key-file", "", "service account's key, JSON")
		calls       = flags.Int("calls", 10000, "calls that count")
		warmUp      = flags.Int("warm-up", 1000, "calls before those")
		concurrency = flags.Int("concurrency", 100, "calls at a time")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *target == "" || *token == "" || *concurrency < 1 {
		return errors.New("expected --target, --token, and a --concurrency of at least 1")
	}
	options, base, err := callCredentials(*mode, *token, *keyFile)
	if err != nil {
		return err
	}
	pool, err := loadPool(*ca)
	if err != nil {
		return err
	}
	options = append(options, grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pool, "")))
	if *serverName != "" {
		options = append(options, grpc.WithAuthority(*serverName))
	}
	connection, err := grpc.NewClient(*target, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(base, timeout)
	defer cancel()

	client := echopb.NewEchoClient(connection)
	if err := callAll(ctx, client, *warmUp, *concurrency); err != nil {
		return err
	}
	before := cpuTime()
	if err := callAll(ctx, client, *calls, *concurrency); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sample{Calls: *calls, CPUNs: cpuTime() - before})
}

// callCredentials returns how the token gets into the calls.
func callCredentials(mode, token, keyFile string) ([]grpc.DialOption, context.Context, error) {
	base := context.Background()
	switch mode {
	case "header":
		return nil, metadata.AppendToOutgoingContext(base, "authorization", "Bearer "+token), nil
	case "oauth":
		// What a token endpoint's source comes down to while its token is fresh.
		fresh := &oauth2.Token{AccessToken: token, Expiry: time.Now().Add(time.Hour)}
		source := oauth2.ReuseTokenSource(fresh, oauth2.StaticTokenSource(fresh))
		return []grpc.DialOption{grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: source})}, base, nil
	case "jwt-access":
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, nil, err
		}
		access, err := oauth.NewJWTAccessFromKey(key)
		if err != nil {
			return nil, nil, err
		}
		return []grpc.DialOption{grpc.WithPerRPCCredentials(access)}, base, nil
	default:
		return nil, nil, fmt.Errorf("unknown mode %q, expected `header`, `oauth` or `jwt-access`", mode)
	}
}

// callAll makes the calls and looks at every reply.
func callAll(ctx context.Context, client echopb.EchoClient, calls, concurrency int) error {
	var (
		request   = &echopb.Payload{Data: bytes.Repeat([]byte{0x5a}, payloadBytes)}
		remaining atomic.Int64
		workers   sync.WaitGroup
		failures  = make(chan error, concurrency)
	)
	remaining.Store(int64(calls))
	for range concurrency {
		workers.Go(func() {
			for remaining.Add(-1) >= 0 {
				reply, err := client.Call(ctx, request)
				if err == nil && !bytes.Equal(reply.GetData(), request.GetData()) {
					err = errors.New("a reply differs from its request")
				}
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(failures)
	return <-failures
}

// cpuTime is that of all threads of this process, in nanoseconds.
func cpuTime() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}
