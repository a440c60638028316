package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The sockets over which a call may come.
const (
	tcp    = "tcp"
	unix   = "unix"
	memory = "memory"
)

// realCalls makes one call over each kind of socket and keeps its context: the interceptor wants
// the connection of the call, which only a server can put there.
func realCalls() (map[string]context.Context, error) {
	// The path of a socket has 107 bytes at most: a short one first.
	dir, err := os.MkdirTemp("/tmp", "countersign-policy-")
	if err != nil {
		dir, err = os.MkdirTemp("", "countersign-policy-")
	}
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	inMemory := bufconn.Listen(64 << 10)
	calls := map[string]context.Context{}
	for _, socket := range []struct {
		name   string
		listen func() (net.Listener, error)
		dial   func() (net.Conn, error)
	}{
		{name: tcp, listen: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }},
		{
			name:   unix,
			listen: func() (net.Listener, error) { return net.Listen("unix", path) },
			dial:   func() (net.Conn, error) { return net.Dial("unix", path) },
		},
		{
			name:   memory,
			listen: func() (net.Listener, error) { return inMemory, nil },
			dial:   inMemory.Dial,
		},
	} {
		listener, err := socket.listen()
		if err != nil {
			return nil, err
		}
		dial := socket.dial
		if dial == nil {
			address := listener.Addr().String()
			dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
		}
		call, err := realCall(listener, dial)
		if err != nil {
			return nil, fmt.Errorf("a call over %s: %w", socket.name, err)
		}
		calls[socket.name] = call
	}
	return calls, nil
}

func realCall(listener net.Listener, dial func() (net.Conn, error)) (context.Context, error) {
	seen := make(chan context.Context, 1)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		seen <- context.WithoutCancel(stream.Context())
		return status.Error(codes.Unimplemented, "seen")
	}))
	go server.Serve(listener)
	defer server.Stop()
	dialer := func(context.Context, string) (net.Conn, error) { return dial() }
	client, err := grpc.NewClient("passthrough:///server", grpc.WithContextDialer(dialer),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	err = client.Invoke(context.Background(), "/any.Service/Method", &emptypb.Empty{}, &emptypb.Empty{})
	if status.Code(err) != codes.Unimplemented {
		return nil, fmt.Errorf("unexpected answer: %w", err)
	}
	return <-seen, nil
}
