package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// bearerToken is the call credential of the client.
type bearerToken string

var _ credentials.PerRPCCredentials = bearerToken("")

// GetRequestMetadata is called by grpc-go once for each RPC.
func (t bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity keeps the token off connections without privacy
// and integrity.
func (bearerToken) RequireTransportSecurity() bool { return true }

// tokenGuard refuses calls that do not carry a token that is accepted.
type tokenGuard struct {
	accepted interface {
		// holder names whom the value of `authorization` is about.
		holder(ctx context.Context, authorization string) (string, error)
	}
}

func (g tokenGuard) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := g.admit(ctx)
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (g tokenGuard) stream(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := g.admit(stream.Context())
	if err != nil {
		return err
	}
	return handler(service, admittedStream{ServerStream: stream, ctx: ctx})
}

func (g tokenGuard) admit(ctx context.Context) (context.Context, error) {
	// The metadata is never empty: `:authority` and others are always there.
	// Two values mean that someone on the way added one, so neither is trusted.
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	refused := status.Error(codes.Unauthenticated, "call credentials were not accepted")
	if len(values) != 1 {
		return nil, refused
	}
	holder, err := g.accepted.holder(ctx, values[0])
	if err != nil {
		return nil, refused
	}
	return context.WithValue(ctx, tokenKey{}, holder), nil
}

// fixedToken accepts one token, and calls whoever has it `bearer`.
type fixedToken struct {
	// A comparison of the bare tokens would still show their lengths.
	digest [sha256.Size]byte
}

func (f fixedToken) holder(_ context.Context, authorization string) (string, error) {
	scheme, token, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("no bearer token")
	}
	digest := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(digest[:], f.digest[:]) != 1 {
		return "", errors.New("another token")
	}
	return "bearer", nil
}

// tokenKey is under which a context names whose token passed a tokenGuard.
type tokenKey struct{}

func tokenHolder(ctx context.Context) (string, bool) {
	holder, ok := ctx.Value(tokenKey{}).(string)
	return holder, ok
}

// admittedStream is a stream whose context carries the guard's mark.
type admittedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s admittedStream) Context() context.Context { return s.ctx }
