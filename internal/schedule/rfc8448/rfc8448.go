// Package rfc8448 holds the example handshakes of RFC 8448 for tests: every
// message, record, key and secret of five TLS 1.3 connections.
package rfc8448

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
)

// Trace is one example: a section of the RFC.
type Trace struct {
	Name  string // the section's title
	Steps []Step // in the RFC's order
}

// Step is what one side does, with the values that the RFC gives for it. Where
// the RFC says that they are the same as the other side's, there are none.
type Step struct {
	Actor  string // "client" or "server"
	Action string // in the RFC's words, such as `derive secret "tls13 c hs traffic"`
	Values map[string][]byte
}

//go:embed traces.txt
var text string

// Traces returns all of them, in the RFC's order.
func Traces() []Trace {
	var all []Trace
	for i, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "trace "):
			all = append(all, Trace{Name: strings.TrimPrefix(line, "trace ")})
		case line[0] == '\t':
			b, err := hex.DecodeString(value)
			if err != nil {
				panic(fmt.Sprintf("traces.txt, line %d: %v", i+1, err))
			}
			steps := all[len(all)-1].Steps
			steps[len(steps)-1].Values[name[1:]] = b
		default:
			t := &all[len(all)-1]
			t.Steps = append(t.Steps, Step{Actor: name, Action: value, Values: map[string][]byte{}})
		}
	}
	return all
}

// Value returns the named value of the first step with the action that has it,
// nil if none has.
func (t Trace) Value(action, name string) []byte {
	for _, s := range t.Steps {
		if v, ok := s.Values[name]; ok && s.Action == action {
			return v
		}
	}
	return nil
}

// Messages returns the handshake messages that were sent before the first
// NewSessionTicket, in their order, headers included.
func (t Trace) Messages() [][]byte {
	var all [][]byte
	for _, s := range t.Steps {
		if s.Action != "send handshake record" {
			continue
		}
		for b := s.Values["payload"]; len(b) > 0; {
			const newSessionTicket = 4
			if b[0] == newSessionTicket {
				return all
			}
			n := 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
			all = append(all, b[:n])
			b = b[n:]
		}
	}
	return all
}
