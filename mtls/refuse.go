package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/stream"
	"github.com/mutual-tls/mutual/pki"
)

// How errors of the layers below become a Refusal.

// RefusalOf finds the Refusal in err.
func RefusalOf(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}

func newRefusal(k code.Code, fault Fault, at, reason string, cause error) *Refusal {
	entry, _ := code.Lookup(k)
	return &Refusal{Code: string(k), ID: newID(), Fault: fault, At: at, Reason: reason, Mend: entry.Mend, Cause: cause}
}

func refuseMisuse(format string, args ...any) *Refusal {
	return newRefusal(code.Misuse, Misuse, "before the handshake", fmt.Sprintf(format, args...), nil)
}

// cleanServerName is the name that is asked for in its clean form, and what of
// it goes into SNI: a DNS name and nothing else (RFC 6066, section 3).
func cleanServerName(s string) (name, sni string, err error) {
	if s == "" {
		return "", "", nil
	}
	n, err := identity.Parse(s)
	if err != nil {
		return "", "", newRefusal(code.BadAskedName, Misuse, "before the handshake", err.Error(), err)
	}
	if n.Kind() == identity.DNS {
		sni = n.String()
	}
	return n.String(), sni, nil
}

// refuseHandshake ends a handshake that failed with err: the alert, if it is
// ours to send, goes out behind whatever the handshake still had to say.
func (c *Conn) refuseHandshake(ctx context.Context, err error) *Refusal {
	r := c.refusalOf(err)
	if cause := context.Cause(ctx); cause != nil && (r.Fault == Network || errors.Is(err, cause)) {
		k := code.Canceled
		if errors.Is(cause, context.DeadlineExceeded) {
			k = code.HandshakeTimeout
		}
		r = newRefusal(k, Network, "waiting for "+c.stream.Expecting(), "the handshake was given up: "+cause.Error(), cause)
		c.cancel()
	}
	if r.HasAlert && r.Sent {
		_ = c.transport.SetWriteDeadline(time.Now().Add(lingerTime))
		_, _ = c.transport.Write(c.stream.Alert(c.stream.Output(), r.Alert))
		c.observeAlert(r)
	} else {
		if r.HasAlert {
			c.observeAlert(r)
		}
		_ = c.transport.Close() // nothing of ours is to arrive: no need to linger
	}
	c.stream.Discard()
	c.closed.Store(true)
	return r
}

// cancel tells the peer that we give the handshake up, as far as that can be done
// at once: user_canceled, and the close_notify that it has to be followed by (RFC
// 9846, section 6.1). A server that is done has let the client in already: to that
// one an orderly end would look like an empty answer, so the connection breaks.
func (c *Conn) cancel() {
	if c.role == RoleServer && c.stream.Done() {
		breakOff(c.transport)
		return
	}
	_ = c.transport.SetDeadline(time.Now().Add(lingerTime / 10))
	b := c.stream.Alert(c.stream.Output(), alert.UserCanceled)
	_, _ = c.transport.Write(c.stream.Alert(b, alert.CloseNotify))
	dropReceived(c.transport)
}

func (c *Conn) observeAlert(r *Refusal) {
	if c.hs.Observer == nil {
		return
	}
	from := observe.Client
	if (c.role == RoleServer) == r.Sent {
		from = observe.Server
	}
	c.hs.Observer.Observe(observe.Event{Kind: observe.Alert, From: from, Alert: r.Alert})
}

// refusalOf puts an error of the engine or of the transport into words.
func (c *Conn) refusalOf(err error) *Refusal {
	switch e := err.(type) {
	case *Refusal:
		return e
	case *handshake.Failure:
		return c.refuseFailure(e)
	case *stream.PeerAlert:
		return c.refusePeerAlert(e)
	}
	return c.refuseNetwork(err, "waiting for "+c.stream.Expecting())
}

func (c *Conn) refuseFailure(f *handshake.Failure) *Refusal {
	fault := [...]Fault{0, OurPolicy, PeerMisbehaved, PeerIncompatible, Misuse}[f.Fault]
	r := newRefusal(f.Code, fault, f.At, c.sentence(f.Reason), f.Err)
	r.Alert, r.HasAlert, r.Sent = f.Alert, true, true
	if v, ok := f.Err.(refusedByVerdict); ok {
		r.judgedBy(v.verdict, c.peerName())
	} else if chain := c.shownChain(); len(chain) > 0 {
		r.Shown = peerOf(chain[0], nil)
	}
	return r
}

// sentence names the peer in a reason of the engine's, which calls it the client
// or the server where it is what the sentence is about.
func (c *Conn) sentence(reason string) string {
	if rest, ok := strings.CutPrefix(reason, "the "+c.peerRole().String()+" "); ok {
		return c.peerName() + " " + rest
	}
	return c.peerName() + ": " + reason
}

// judgedBy makes r the refusal that a verdict is.
func (r *Refusal) judgedBy(v *Verdict, who string) {
	r.Code, r.Alert, r.Verdict, r.Shown, r.Cause = v.Code, v.Alert, v, v.Peer, nil
	r.Reason = who
	if name := v.Peer.Name(); name != "" {
		r.Reason += ", which calls itself " + identity.Quote(name) + ","
	}
	r.Reason += " was refused: " + v.Reason
	if v.Mend != "" {
		r.Mend = v.Mend
	}
}

// shownChain is the peer's chain as far as it was shown.
func (c *Conn) shownChain() []*pki.Certificate {
	if a := c.admission.Load(); a != nil {
		return parsedChain(&a.claim)
	}
	return parsedChain(&c.claim)
}

// peerName is what to call the peer before it is proven.
func (c *Conn) peerName() string {
	if c.role == RoleClient {
		if c.serverName == "" {
			return "the server"
		}
		return "the server " + identity.Quote(c.serverName)
	}
	if a := c.transport.RemoteAddr(); a != nil && a.String() != "" && a.Network() != "unix" {
		return "the client at " + a.String()
	}
	return "the client"
}

// plainPeerName is peerName where a sentence is short: a server's own name, which
// was ours to give and is a clean one.
func (c *Conn) plainPeerName() string {
	if c.role == RoleClient && c.serverName != "" {
		return c.serverName
	}
	return c.peerName()
}

// ownName is what we are called in what the peer refused.
func (c *Conn) ownName() string {
	if l := c.stream.ShownCertificate(); l != nil {
		own := l.Value.(*Certificate)
		if chain, err := pki.ParseChain(own.chain[:min(1, len(own.chain))]); err == nil && len(chain) > 0 {
			if name := peerOf(chain[0], nil).Name(); name != "" {
				if clean, err := identity.Parse(name); err == nil {
					return clean.String()
				}
				return identity.Quote(name)
			}
		}
	}
	return "us"
}

func (c *Conn) refusePeerAlert(e *stream.PeerAlert) *Refusal {
	switch e.Alert {
	case alert.UserCanceled:
		return newRefusal(code.RefusedUserCanceled, Network, "waiting for "+e.At,
			c.peerName()+" gave the handshake up (user_canceled)", io.ErrUnexpectedEOF)
	case alert.CloseNotify:
		return newRefusal(code.ClosedEarly, Network, "waiting for "+e.At,
			c.peerName()+" closed the connection before the handshake was over", io.ErrUnexpectedEOF)
	}
	k := code.ByAlert(e.Alert)
	entry, _ := code.Lookup(k)
	r := newRefusal(k, PeerRefusedUs, "waiting for "+e.At,
		fmt.Sprintf("%s refused %s: %s", c.plainPeerName(), c.ownName(), alertWords(e.Alert, entry)), nil)
	r.Alert, r.HasAlert = e.Alert, true
	if p, ok := c.Peer(); ok {
		r.Shown = p
	}
	return r
}

// alertWords tells an alert that the peer sent in a few words.
func alertWords(a alert.Alert, entry code.Entry) string {
	switch a {
	case alert.CertificateExpired:
		return "certificate expired"
	case alert.CertificateRequired:
		return "a certificate is required"
	case alert.UnknownCA:
		return "unknown authority"
	case alert.CertificateRevoked:
		return "certificate revoked"
	case alert.AccessDenied:
		return "access denied, the name is not allowed there"
	case alert.BadCertificate:
		return "bad certificate"
	case alert.UnsupportedCertificate:
		return "unsupported certificate"
	case alert.CertificateUnknown:
		return "certificate not accepted"
	}
	return entry.Title + " (" + a.String() + ")"
}

// refuseNetwork tells what became of the connection underneath.
func (c *Conn) refuseNetwork(err error, at string) *Refusal {
	who := c.peerName()
	done := !c.early.pending.Load() && c.stream.Done()
	var netErr net.Error
	switch {
	case errors.Is(err, io.EOF) && done:
		return newRefusal(code.Truncated, Network, at, who+" ended the connection without close_notify: what came may not be all", io.ErrUnexpectedEOF)
	case errors.Is(err, io.EOF):
		return newRefusal(code.ClosedEarly, Network, at, who+" closed the connection before the handshake was over", io.ErrUnexpectedEOF)
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		if done {
			return newRefusal(code.Timeout, Network, at, who+" took too long", err)
		}
		return newRefusal(code.HandshakeTimeout, Network, at, who+" did not finish the handshake in time", err)
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return newRefusal(code.Reset, Network, at, who+" broke the connection off (reset)", err)
	}
	return newRefusal(code.NetworkFailed, Network, at, "the connection with "+who+" failed: "+err.Error(), err)
}

// refuseDial tells why address can't be reached.
func refuseDial(address string, err error) *Refusal {
	var dns *net.DNSError
	k := code.Unreachable
	if errors.As(err, &dns) {
		k = code.DNS
	}
	return newRefusal(k, Network, "connecting", identity.Quote(address)+" can't be reached: "+err.Error(), err)
}

// refuseEnded is the refusal of a connection whose peer's admission has ended.
func (c *Conn) refuseEnded() *Refusal {
	peer, _ := c.Peer()
	r := newRefusal(code.AdmissionEnded, OurPolicy, "application data",
		fmt.Sprintf("%s, proven to be %s, is no longer admitted: its certificate ended at %s", c.peerName(), identity.Quote(peer.Name()), c.until.Load().UTC().Format(time.RFC3339)), nil)
	r.Alert, r.HasAlert, r.Sent, r.Shown = alert.CertificateExpired, true, true, peer
	return r
}

// refuseRecheck is the refusal of a connection whose peer was judged again.
func (c *Conn) refuseRecheck(v *Verdict, err error) *Refusal {
	r := newRefusal(code.NoLongerAllowed, OurPolicy, "application data", "", nil)
	if err != nil {
		r.Fault, r.Cause = Misuse, err
	}
	r.HasAlert, r.Sent = true, true
	r.judgedBy(v, c.peerName())
	r.Reason = "on a second look " + r.Reason
	return r
}

// settle makes sure that there is a whole verdict.
func settle(v *Verdict, err error) *Verdict {
	if err == nil && v != nil && v.OK {
		return v
	}
	var own Verdict
	if v != nil {
		own = *v
	}
	own.OK = false
	switch {
	case err != nil:
		own.Code, own.Alert = string(code.Verifier), alert.CertificateUnknown
		own.Reason = "our own verifier failed, so nobody is admitted: " + err.Error()
	case v == nil:
		own.Code, own.Alert = string(code.Verifier), alert.CertificateUnknown
		own.Reason = "our own verifier gave no verdict, so nobody is admitted"
	}
	if own.Code == "" {
		own.Code = string(code.NameNotAllowed)
	}
	entry, _ := code.Lookup(code.Code(own.Code))
	if own.Alert == 0 {
		if own.Alert = entry.Alert; own.Alert == 0 {
			own.Alert = alert.CertificateUnknown
		}
	}
	if own.Reason == "" {
		own.Reason = entry.Title
	}
	if own.Mend == "" {
		own.Mend = entry.Mend
	}
	return &own
}

// Unreachable is the *Refusal of a peer whose address could not be connected to,
// for those who dial by themselves and then Connect.
func Unreachable(address string, err error) error { return refuseDial(address, err) }
