package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/authz"
	"google.golang.org/grpc/authz/audit"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// judge asks grpc-go's interceptor about calls that no client made.
type judge struct {
	// calls are the contexts of real calls, by socket.
	calls map[string]context.Context
	names *ruleNames
	certs *certificates
	// last is the policy of the last case: many cases share one.
	last *policy
}

type policy struct {
	text        string
	name        string
	interceptor *authz.StaticInterceptor
	err         error
}

func newJudge() (*judge, error) {
	quieten()
	certs, err := newCertificates()
	if err != nil {
		return nil, err
	}
	// Nothing logs before here, so that only our own cases are heard.
	calls, err := realCalls()
	if err != nil {
		return nil, err
	}
	return &judge{calls: calls, names: hearRuleNames(), certs: certs}, nil
}

func (j *judge) policy(text string) (*policy, error) {
	if j.last == nil || j.last.text != text {
		interceptor, err := newStatic(text)
		j.last = &policy{text: text, interceptor: interceptor, err: err}
		// Read as the library reads it.
		named := struct{ Name string }{}
		if json.NewDecoder(strings.NewReader(text)).Decode(&named) == nil {
			j.last.name = named.Name
		}
	}
	return j.last, j.last.err
}

// newStatic gives an error where the library panics.
func newStatic(text string) (interceptor *authz.StaticInterceptor, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return authz.NewStatic(text)
}

// decide says whether a call passes and by which rule, or why no policy is asked.
func (j *judge) decide(policy *policy, asked *request) (*string, bool, error) {
	headers, err := incoming(asked.Headers)
	if err != nil {
		return nil, false, err
	}
	caller, err := j.caller(asked)
	if err != nil {
		return nil, false, err
	}
	socket := asked.Peer.Socket
	if socket == "" {
		socket = tcp
	}
	call, known := j.calls[socket]
	if !known {
		return nil, false, fmt.Errorf("there is no socket %q", socket)
	}
	ctx := grpc.NewContextWithServerTransportStream(call, stream{method: asked.Path})
	ctx = metadata.NewIncomingContext(peer.NewContext(ctx, caller), headers)
	j.names.last = ""
	handler := func(context.Context, any) (any, error) { return nil, nil }
	_, err = policy.interceptor.UnaryInterceptor(ctx, nil, nil, handler)
	var rule *string
	if name, told := strings.CutPrefix(j.names.last, policy.name+"_"); told {
		rule = &name
	}
	switch status.Code(err) {
	case codes.OK:
		return rule, true, nil
	case codes.PermissionDenied:
		return rule, false, nil
	default:
		return nil, false, err
	}
}

func (j *judge) caller(asked *request) (*peer.Peer, error) {
	call, _ := peer.FromContext(j.calls[tcp])
	caller := &peer.Peer{Addr: call.Addr, LocalAddr: call.LocalAddr}
	switch asked.Peer.Transport {
	case "", "insecure":
		_, info, err := insecure.NewCredentials().ServerHandshake(nil)
		caller.AuthInfo = info
		return caller, err
	case "tls":
		info, err := j.certs.tls(asked.Peer.Certificate)
		caller.AuthInfo = info
		return caller, err
	default:
		return nil, fmt.Errorf("there is no transport %q", asked.Peer.Transport)
	}
}

// incoming makes of the fields on the wire what grpc-go's transport makes of them.
func incoming(fields [][2]string) (metadata.MD, error) {
	headers := metadata.MD{}
	for _, field := range fields {
		key, value := strings.ToLower(field[0]), field[1]
		if strings.HasPrefix(key, ":") {
			continue
		}
		if !httpguts.ValidHeaderFieldName(key) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("no call has the header %q: %q", key, value)
		}
		if strings.HasSuffix(key, "-bin") {
			decoded, err := binary(value)
			if err != nil {
				return nil, err
			}
			value = decoded
		}
		headers.Append(key, value)
	}
	return headers, nil
}

func binary(value string) (string, error) {
	encoding := base64.RawStdEncoding
	if len(value)%4 == 0 {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(value)
	if err != nil {
		return "", errors.New("malformed binary metadata")
	}
	return string(decoded), nil
}

// stream carries the method to where the interceptor looks for it.
type stream struct {
	grpc.ServerTransportStream
	method string
}

func (s stream) Method() string { return s.method }

// quieten keeps the audit logger off standard output, which is for verdicts. Of two builders of
// one name the last wins.
func quieten() {
	audit.RegisterLoggerBuilder(silent{audit.GetLoggerBuilder("stdout_logger")})
}

type silent struct{ audit.LoggerBuilder }

func (silent) Build(audit.LoggerConfig) audit.Logger { return silent{} }

func (silent) Log(*audit.Event) {}
