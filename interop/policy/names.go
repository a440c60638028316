package main

import (
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/grpclog"
)

// ruleNames hears which rule matched. The interceptor tells its log and nobody else.
type ruleNames struct {
	grpclog.LoggerV2
	last string
}

func hearRuleNames() *ruleNames {
	names := &ruleNames{LoggerV2: grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)}
	grpclog.SetLoggerV2(names)
	return names
}

const (
	matched = "incoming RPC matched to policy "
	action  = " in engine with action "
)

func (n *ruleNames) InfoDepth(_ int, args ...any) {
	_, message, found := strings.Cut(fmt.Sprint(args...), matched)
	if !found {
		return
	}
	if end := strings.LastIndex(message, action); end >= 0 {
		n.last = message[:end]
	}
}

func (n *ruleNames) WarningDepth(int, ...any) {}
func (n *ruleNames) ErrorDepth(int, ...any)   {}
func (n *ruleNames) FatalDepth(int, ...any)   {}

// V lets the message through.
func (n *ruleNames) V(level int) bool { return level <= 2 }
