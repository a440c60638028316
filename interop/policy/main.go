// Judges authorization policies as grpc-go does, one case a line in and one verdict a line out.
//
// The lines are those of `countersign conformance policy`; README.md has what is added to them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// A line may hold a policy of 16 MiB, escaped.
const maxLineBytes = 64 << 20

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

func run(input io.Reader, output io.Writer) error {
	judge, err := newJudge()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(input)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	answers := bufio.NewWriter(output)
	encoder := json.NewEncoder(answers)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		if err := encoder.Encode(answer(judge, lines.Bytes())); err != nil {
			return err
		}
		if err := answers.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

// The words of `decision`.
const (
	allow         = "allow"
	deny          = "deny"
	valid         = "valid"
	invalidPolicy = "invalid-policy"
)

type testCase struct {
	ID         json.RawMessage `json:"id"`
	Policy     json.RawMessage `json:"policy"`
	PolicyText *string         `json:"policy_text"`
	Request    *request        `json:"request"`
}

type request struct {
	Path    string      `json:"path"`
	Headers [][2]string `json:"headers"`
	Peer    struct {
		Transport   string       `json:"transport"`
		Socket      string       `json:"socket"`
		Certificate *certificate `json:"certificate"`
	} `json:"peer"`
}

type verdict struct {
	ID       json.RawMessage `json:"id"`
	Decision string          `json:"decision"`
	Rule     *string         `json:"rule"`
	Error    *string         `json:"error"`
}

func answer(judge *judge, line []byte) verdict {
	var asked testCase
	if err := json.Unmarshal(line, &asked); err != nil {
		return failed(nil, invalidPolicy, fmt.Errorf("the line is not a case: %w", err))
	}
	text := string(asked.Policy)
	if asked.PolicyText != nil {
		text = *asked.PolicyText
	}
	policy, err := judge.policy(text)
	if err != nil {
		return failed(asked.ID, invalidPolicy, err)
	}
	if asked.Request == nil {
		return verdict{ID: asked.ID, Decision: valid}
	}
	rule, allowed, err := judge.decide(policy, asked.Request)
	if err != nil {
		return failed(asked.ID, deny, err)
	}
	decided := verdict{ID: asked.ID, Decision: deny, Rule: rule}
	if allowed {
		decided.Decision = allow
	}
	return decided
}

func failed(id json.RawMessage, decision string, err error) verdict {
	message := err.Error()
	return verdict{ID: id, Decision: decision, Error: &message}
}
