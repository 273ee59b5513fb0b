package mtls

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
)

// Alert is a TLS alert (RFC 8446, section 6). Its String is the RFC's name.
type Alert = alert.Alert

// Fault says at whose door a refusal lies, which is where its mend lies too.
type Fault uint8

// The faults.
const (
	// OurPolicy: we refused the peer: its certificate, or its name.
	OurPolicy Fault = iota + 1
	// PeerMisbehaved: the peer broke the protocol.
	PeerMisbehaved
	// PeerIncompatible: both sides are right, and have nothing in common.
	PeerIncompatible
	// PeerRefusedUs: the peer sent a fatal alert.
	PeerRefusedUs
	// Misuse: our own configuration, or our caller, is at fault.
	Misuse
	// Network: the connection broke, or time ran out.
	Network
)

var faults = [...]string{"", "our_policy", "peer_misbehaved", "peer_incompatible", "peer_refused_us", "misuse", "network"}

// String is the fault in snake case.
func (f Fault) String() string {
	if int(f) < len(faults) && f > 0 {
		return faults[f]
	}
	return fmt.Sprintf("fault(%d)", uint8(f))
}

// Refusal is why a connection did not come to be, or ended. It is meant for our
// side alone: the peer was sent Alert and nothing more. It is immutable.
type Refusal struct {
	// Code is stable ("M0101"); `mutual explain M0101` tells it in full.
	Code string
	// ID is drawn at random for this refusal, to find it again in a log.
	ID string
	// Fault says whose it is.
	Fault Fault
	// At names the step: the handshake message, as the RFC names it, or
	// "application data", "waiting for ServerHello" and the like.
	At string
	// Alert is the alert that was sent or received, valid if HasAlert.
	Alert    Alert
	HasAlert bool
	// Sent is true where we sent the alert, false where it came from the peer.
	Sent bool
	// Shown is the peer as its certificate calls itself. It was not proven:
	// for words, never for a decision. The zero value where none was shown.
	Shown Peer
	// Verdict is the judgement that refused, where one was made.
	Verdict *Verdict
	// TrustAnchors are those that the server said it has certificates under, where we
	// are a client that has TrustAnchors and the handshake came so far.
	TrustAnchors []TrustAnchorID
	// Reason is one sentence without the mend.
	Reason string
	// Mend says what to do about it; empty where nobody can know.
	Mend string
	// Cause is the error underneath (a network error, say), or nil.
	Cause error

	named bool // the server showed what it has under a trust anchor that we named
}

// Error is the reason, the mend and the code in one line, safe for a terminal:
// what the peer wrote is quoted.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(r.Reason)
	if r.Mend != "" {
		// A mend is the rest of the sentence, or sentences of its own.
		if c := r.Mend[0]; 'A' <= c && c <= 'Z' || c == '`' {
			b.WriteString(". ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(r.Mend)
	}
	b.WriteString(" (")
	b.WriteString(r.Code)
	if r.HasAlert {
		if r.Sent {
			b.WriteString(", sent ")
		} else {
			b.WriteString(", received ")
		}
		b.WriteString(r.Alert.String())
	}
	b.WriteString(")")
	return b.String()
}

// Unwrap is the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// Timeout makes a Refusal a net.Error: true where time ran out.
func (r *Refusal) Timeout() bool {
	return r.Code == string(code.HandshakeTimeout) || r.Code == string(code.Timeout)
}

// Temporary is always false; it is here for net.Error.
func (r *Refusal) Temporary() bool { return false }

func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}
