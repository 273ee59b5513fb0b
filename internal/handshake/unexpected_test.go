package handshake

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// anyMessages are well-formed messages of every type, and of types that do not
// exist.
func anyMessages(t testing.TB) map[message.Type][]byte {
	s := mutual()
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	p := newPair(t, s)
	all := map[message.Type][]byte{
		message.TypeEndOfEarlyData:        {5, 0, 0, 0},
		message.TypeKeyUpdate:             {24, 0, 0, 1, 0},
		message.TypeCompressedCertificate: {25, 0, 0, 9, 0, 2, 0, 0, 9, 0, 0, 1, 7},
		message.TypeMessageHash:           message.MessageHash(make([]byte, 32)),
	}
	p.tamper = func(_ *end, _ int, l letter) []letter {
		all[message.Type(l.msg[0])] = l.msg
		return []letter{l}
	}
	p.run(modes[0])
	p.agreed(t)
	for typ := range 256 {
		if all[message.Type(typ)] == nil {
			all[message.Type(typ)] = []byte{byte(typ), 0, 0, 0}
		}
	}
	return all
}

// states are handshakes in which, together, both machines go through all their
// states; each letter that is delivered finds one.
func states() map[string]setting {
	server, optional, retry := usual(), mutual(), mutual()
	optional.server.ClientAuth, optional.clientKey = RequestClientCertificate, ""
	retry.client.Groups, retry.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	return map[string]setting{"server only": server, "mutual": mutual(), "optional, without": optional, "retry": retry}
}

// expected are the messages that a machine may be told instead of one that it is
// told in the handshake.
func expected(e *end, l letter) []message.Type {
	typ := message.Type(l.msg[0])
	if e.done && e.name == "client" {
		return []message.Type{message.TypeNewSessionTicket, message.TypeKeyUpdate}
	}
	if e.name == "client" && e.Expecting() == "Certificate" && !slices.Contains(e.asked, SelectCertificate) {
		return []message.Type{message.TypeCertificate, message.TypeCertificateRequest}
	}
	return []message.Type{typ}
}

// In every state of both machines, every message that the state does not expect
// is unexpected_message.
func TestEveryMessageThatAStateDoesNotExpectIsUnexpected(t *testing.T) {
	messages := anyMessages(t)
	seen := map[string]bool{}
	for name, set := range states() {
		for _, side := range []string{"client", "server"} {
			for n := 0; ; n++ {
				tried := 0
				for typ := range 256 {
					p := newPair(t, set)
					var state string
					p.tamper = func(to *end, k int, l letter) []letter {
						if to.name != side || k != n {
							return []letter{l}
						}
						tried++
						if slices.Contains(expected(to, l), message.Type(typ)) {
							return []letter{l}
						}
						state = fmt.Sprintf("%s, waiting for %s", to.name, to.Expecting())
						return []letter{{l.level, messages[message.Type(typ)]}}
					}
					p.run(modes[0])
					if state == "" {
						continue
					}
					seen[state] = true
					e := p.client
					if side == "server" {
						e = p.server
					}
					what := fmt.Sprintf("%s: the %s, told %v", name, state, message.Type(typ))
					f, ok := e.err.(*Failure)
					if !ok || f.Alert != alert.UnexpectedMessage || f.Code != code.UnexpectedMessage {
						t.Fatalf("%s: %v, expected unexpected_message", what, e.err)
					}
					if e.readAt != Application && e.done {
						t.Fatalf("%s: it is done", what)
					}
				}
				if tried == 0 {
					break
				}
			}
		}
	}
	for _, want := range []string{
		"client, waiting for ServerHello", "client, waiting for EncryptedExtensions", "client, waiting for Certificate",
		"client, waiting for CertificateVerify", "client, waiting for Finished", "client, waiting for application data",
		"server, waiting for ClientHello", "server, waiting for Certificate", "server, waiting for CertificateVerify", "server, waiting for Finished",
	} {
		if !seen[want] {
			t.Errorf("never seen: the %s", want)
		}
	}
}

// The right message under the wrong protection is unexpected too.
func TestAMessageAtTheWrongLevelIsUnexpected(t *testing.T) {
	for name, set := range states() {
		for _, side := range []string{"client", "server"} {
			for n := 0; ; n++ {
				tried := false
				for _, level := range []Level{Initial, Early, Handshake, Application} {
					p := newPair(t, set)
					wrong := false
					p.tamper = func(to *end, k int, l letter) []letter {
						if to.name != side || k != n || to.done {
							return []letter{l}
						}
						tried, wrong = true, l.level != level
						return []letter{{level, l.msg}}
					}
					p.run(modes[0])
					e := p.client
					if side == "server" {
						e = p.server
					}
					if wrong {
						failedWith(t, e.err, alert.UnexpectedMessage)
						finished(t, e)
					} else {
						p.agreed(t)
					}
				}
				if !tried {
					break
				}
			}
			_ = name
		}
	}
}

// Each message left out, told twice, or told after the next one.
func TestMessagesLeftOutDoubledAndSwappedAreRefused(t *testing.T) {
	for name, set := range states() {
		for _, side := range []string{"client", "server"} {
			for n := 0; ; n++ {
				tried := 0
				for _, how := range []string{"left out", "doubled", "swapped"} {
					p := newPair(t, set)
					var held *letter
					p.tamper = func(to *end, k int, l letter) []letter {
						if to.name != side || to.done {
							return []letter{l}
						}
						switch {
						case k == n:
							tried++
							held = &l
							if how == "doubled" {
								return []letter{l, l}
							}
							return nil
						case k == n+1 && how == "swapped":
							return []letter{l, *held}
						}
						return []letter{l}
					}
					p.run(modes[0])
					e := p.client
					if side == "server" {
						e = p.server
					}
					if held == nil {
						continue
					}
					typ := message.Type(held.msg[0])
					what := fmt.Sprintf("%s: %v to the %s %s", name, typ, side, how)
					switch {
					case e.err == nil:
						// Nothing came after it: it waits; or the last was told twice,
						// and the second one is refused after the end.
						if e.done {
							t.Errorf("%s: it is done", what)
						}
					case typ == message.TypeCertificateRequest && how == "left out":
						failedWith(t, e.err, alert.DecryptError) // it need not come
					case typ == message.TypeClientHello && how == "doubled" && name == "retry" && n == 0:
						failedWith(t, e.err, alert.IllegalParameter) // as an answer to the HelloRetryRequest it is wrong
					default:
						failedWith(t, e.err, alert.UnexpectedMessage)
					}
				}
				if tried == 0 {
					break
				}
			}
		}
	}
}

// What arrives while an operation is pending is kept, within a limit.
func TestWhatArrivesWhileAnOperationIsPendingIsBounded(t *testing.T) {
	waiting := func(t *testing.T) *end {
		p := newPair(t, usual())
		p.client.settle(p.client.start())
		p.server.hand(p.client.sent[0])
		p.server.resolve(0) // which certificate to show
		if len(p.server.ops) != 1 || !p.server.Waiting() {
			t.Fatal("the server does not wait for its signature")
		}
		return p.server
	}
	small := letter{Handshake, []byte{byte(message.TypeFinished), 0, 0, 0}}
	t.Run("messages", func(t *testing.T) {
		e := waiting(t)
		for range maxQueue {
			if e.hand(small); e.err != nil {
				t.Fatal(e.err)
			}
		}
		e.hand(small)
		if f := failedWith(t, e.err, alert.UnexpectedMessage); f.Code != code.Flood {
			t.Error(f)
		}
		finished(t, e)
	})
	t.Run("bytes", func(t *testing.T) {
		e := waiting(t)
		e.hand(letter{Handshake, append([]byte{byte(message.TypeCertificate), 0, 0x20, 0}, make([]byte, maxQueueBytes)...)})
		if f := failedWith(t, e.err, alert.UnexpectedMessage); f.Code != code.Flood {
			t.Error(f)
		}
		finished(t, e)
	})
	t.Run("and is judged like any other", func(t *testing.T) {
		e := waiting(t)
		e.hand(small)
		for len(e.ops) > 0 && e.err == nil {
			e.resolve(0)
		}
		failedWith(t, e.err, alert.DecodeError)
		finished(t, e)
	})
	t.Run("and is copied", func(t *testing.T) {
		p := newPair(t, usual())
		p.tamper = func(to *end, _ int, l letter) []letter {
			if to != p.client || !to.Waiting() {
				return []letter{l}
			}
			mine := slices.Clone(l.msg)
			to.hand(letter{l.level, mine})
			clear(mine) // as a record buffer that is used again
			return nil
		}
		p.run(modes[2])
		p.agreed(t)
	})
}

// A message behind the last one under old keys must not be taken under new ones.
func TestKeysDoNotChangeOverMessagesThatWait(t *testing.T) {
	s := usual()
	p := newPair(t, s)
	p.tamper = func(to *end, _ int, l letter) []letter {
		if to == p.client && message.Type(l.msg[0]) == message.TypeFinished {
			return []letter{l, {Handshake, []byte{byte(message.TypeKeyUpdate), 0, 0, 1, 0}}}
		}
		return []letter{l}
	}
	p.run(modes[2]) // Finished and what follows arrive while the chain is judged
	f := failedWith(t, p.client.err, alert.UnexpectedMessage)
	if !strings.Contains(f.Reason, "before the keys that it belongs to changed") {
		t.Error(f)
	}
	finished(t, p.client)
}

// What the server sends behind its Finished is the application's, and never the
// handshake machine's, however late our own flight is.
func TestNothingIsTakenBehindTheServersFinished(t *testing.T) {
	ticket := letter{Application, []byte{byte(message.TypeNewSessionTicket), 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0}}
	for _, pending := range []OpKind{SelectCertificate, Sign} {
		t.Run(pending.String(), func(t *testing.T) {
			a := newServerActor(t, mutual())
			key := leaf("p256")
			a.serverHello(nil)
			a.extensions(nil)
			// By hand, so that the one operation stays open.
			open := func() {
				for i := 0; i < len(a.peer.ops); {
					if op := a.peer.ops[i]; op.Kind == pending {
						i++
						continue
					}
					a.peer.resolve(i)
				}
			}
			say := a.peer.hand
			say(letter{Handshake, a.put(&message.CertificateRequest{Schemes: suite.Schemes()})})
			m := message.Certificate{}
			for _, der := range key.Chain {
				m.Entries = append(m.Entries, message.CertificateEntry{Data: der})
			}
			say(letter{Handshake, a.put(&m)})
			say(letter{Handshake, a.signed(key, suite.ECDSAWithP256AndSHA256, observe.Server, nil)})
			open()
			say(letter{Handshake, a.proof(nil)})
			open()
			if a.peer.err != nil || len(a.peer.ops) != 1 || !a.peer.Waiting() {
				t.Fatalf("%v, %d operations", a.peer.err, len(a.peer.ops))
			}
			say(ticket)
			failedWith(t, a.peer.err, alert.UnexpectedMessage)
		})
	}
}
