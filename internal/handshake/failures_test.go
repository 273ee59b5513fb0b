package handshake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
)

var errOperation = errors.New("the signer burnt down")

// finished checks that a machine that failed stays failed, whatever comes, and
// that nothing secret is left in it.
func finished(t *testing.T, e *end) {
	t.Helper()
	if e.done || e.Result() != nil {
		t.Fatalf("the %s failed and is done", e.name)
	}
	for i, again := range []error{
		e.Message(e.readAt, []byte{byte(message.TypeFinished), 0, 0, 0}),
		e.Message(Initial, []byte{byte(message.TypeClientHello), 0, 0, 0}),
		e.Resolve(&Op{Kind: Sign}, Answer{}),
		e.Resolve(nil, Answer{}),
	} {
		if again != e.err {
			t.Errorf("call %d of the %s after its failure gave %v, expected the first failure again: %v", i, e.name, again, e.err)
		}
	}
	for _, op := range e.ops {
		if again := e.Resolve(op, e.answer(op)); again != e.err {
			t.Errorf("an answer that came after the failure gave %v", again)
		}
	}
	if _, more := e.Next(); more {
		t.Errorf("the %s goes on after its failure", e.name)
	}
	e.Discard()
	noSecrets(t, e)
	if again := e.Message(e.readAt, []byte{byte(message.TypeFinished), 0, 0, 0}); again != e.err {
		t.Errorf("after Discard the failure is %v", again)
	}
}

// noSecrets checks that the secrets that the machine told of are zeroed, and that
// none of them is anywhere else in its memory.
func noSecrets(t *testing.T, e *end) {
	t.Helper()
	for what, s := range e.secrets {
		if !bytes.Equal(s, make([]byte, len(s))) {
			t.Errorf("the %s's secret of %s is still there", e.name, what)
		}
	}
	walk(t, e.Machine, func(path string, v reflect.Value) {
		switch {
		case v.Type().PkgPath() == reflect.TypeFor[suite.KeyShare]().PkgPath() && v.Type().Name() == "KeyShare":
			if v.FieldByName("live").Bool() {
				t.Errorf("%s of the %s is a private key that is still there", path, e.name)
			}
		case strings.HasSuffix(v.Type().PkgPath(), "internal/schedule") && v.Type().Name() == "secret":
			if !v.IsZero() {
				t.Errorf("%s of the %s is still there", path, e.name)
			}
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
			for _, s := range e.logged {
				if bytes.Contains(v.Bytes(), s) {
					t.Errorf("%s of the %s holds a secret", path, e.name)
				}
			}
		}
	})
}

// walk shows visit everything that can be reached from root.
func walk(t *testing.T, root any, visit func(path string, v reflect.Value)) {
	t.Helper()
	seen := map[any]bool{}
	var step func(path string, v reflect.Value)
	step = func(path string, v reflect.Value) {
		if !v.IsValid() {
			return
		}
		visit(path, v)
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] || v.Type() == reflect.TypeFor[*mint.Leaf]() || v.Type() == reflect.TypeFor[*Config]() {
				return
			}
			seen[v.Pointer()] = true
			step(path, v.Elem())
		case reflect.Interface:
			step(path, v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				step(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Slice, reflect.Array:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				return
			}
			for i := range v.Len() {
				step(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
		}
	}
	step(reflect.TypeOf(root).Elem().Name(), reflect.ValueOf(root))
}

func TestAFailedOperationEndsTheHandshake(t *testing.T) {
	answers := map[string]struct {
		answer Answer
		alert  alert.Alert
		code   code.Code
		fault  Fault
	}{
		"without more": {Answer{Err: errOperation}, alert.InternalError, code.Internal, Misuse},
		"with an alert": {Answer{Err: errOperation, Alert: alert.CertificateExpired, Code: code.CertificateExpired, Fault: OurPolicy},
			alert.CertificateExpired, code.CertificateExpired, OurPolicy},
	}
	tried := map[string]int{}
	for _, s := range shapes() {
		if strings.HasPrefix(s.name, "suite") || strings.HasPrefix(s.name, "scheme") || strings.HasPrefix(s.name, "group") {
			continue
		}
		for _, m := range modes {
			for n := 1; n <= 3; n++ {
				for _, side := range []string{"client", "server"} {
					for how, want := range answers {
						p := newPair(t, s.setting())
						e := p.client
						if side == "server" {
							e = p.server
						}
						// The n-th operation, as soon as it is asked.
						e.fail, e.failure = n, want.answer
						name := fmt.Sprintf("%s/%s/%s %d %s", s.name, m.name, side, n, how)
						if !reaches(t, s, m, side, n) {
							continue
						}
						t.Run(name, func(t *testing.T) {
							p.client.t, p.server.t = t, t
							p.run(m)
							f := failedWith(t, e.err, want.alert)
							if f.Code != want.code || f.Fault != want.fault || !errors.Is(f, errOperation) || !strings.Contains(f.Reason, errOperation.Error()) {
								t.Errorf("failed with %+v", f)
							}
							finished(t, e)
							tried[side+" "+e.asked[n-1].String()]++
						})
					}
				}
			}
		}
	}
	for _, what := range []string{
		"client SelectCertificate", "client VerifyPeer", "client Sign", "server SelectCertificate", "server Sign", "server VerifyPeer",
	} {
		if tried[what] < len(modes) {
			t.Errorf("%s failed %d times, expected more", what, tried[what])
		}
	}
}

// reaches says whether a side of the shape has an n-th operation.
func reaches(t *testing.T, s shape, m mode, side string, n int) bool {
	p := newPair(t, s.setting())
	p.run(m)
	if side == "client" {
		return len(p.client.asked) >= n
	}
	return len(p.server.asked) >= n
}

func TestACertificateThatCannotSignForThePeer(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		s := usual()
		s.client.Schemes = []suite.Scheme{suite.Ed25519}
		p := newPair(t, s)
		p.run(modes[0])
		if f := failedWith(t, p.server.err, alert.HandshakeFailure); f.Code != code.NoCommonScheme {
			t.Error(f)
		}
		if len(p.server.sent) > 0 {
			t.Error("the server said hello before it knew that it has nothing to show")
		}
		finished(t, p.server)
	})
	t.Run("client", func(t *testing.T) {
		s := mutual()
		s.serverKey = "ed25519"
		s.server.Schemes = []suite.Scheme{suite.Ed25519}
		p := newPair(t, s)
		p.run(modes[0])
		if f := failedWith(t, p.client.err, alert.HandshakeFailure); f.Code != code.NoCommonScheme {
			t.Error(f)
		}
		finished(t, p.client)
	})
	t.Run("server without any", func(t *testing.T) {
		s := usual()
		s.serverKey = ""
		p := newPair(t, s)
		p.run(modes[0])
		if f := failedWith(t, p.server.err, alert.HandshakeFailure); f.Code != code.NoFittingCertificate {
			t.Error(f)
		}
		if len(p.server.sent) > 0 {
			t.Error("the server said hello before it knew that it has nothing to show")
		}
		finished(t, p.server)
	})
}

func TestAnAnswerThatNobodyAskedForIsMisuse(t *testing.T) {
	for name, give := range map[string]func(*pair, *Op) error{
		"nil":     func(p *pair, _ *Op) error { return p.server.Resolve(nil, Answer{}) },
		"another": func(p *pair, op *Op) error { copied := Op{Kind: op.Kind}; return p.server.Resolve(&copied, Answer{}) },
		"twice": func(p *pair, op *Op) error {
			a := p.server.answer(op)
			if err := p.server.Resolve(op, a); err != nil {
				return err
			}
			return p.server.Resolve(op, a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, usual())
			p.client.settle(p.client.start())
			p.server.hand(p.client.sent[0])
			op := p.server.ops[0]
			p.server.settle(give(p, op))
			if f := failedWith(t, p.server.err, alert.InternalError); f.Fault != Misuse {
				t.Error(f)
			}
			p.server.ops = nil
			finished(t, p.server)
		})
	}
}

// dry is a random source that fails after n reads.
type dry struct{ n int }

func (d *dry) Read(b []byte) (int, error) {
	if d.n--; d.n < 0 {
		return 0, errors.New("no entropy")
	}
	for i := range b {
		b[i] = byte(i*7 + d.n*13 + 1)
	}
	return len(b), nil
}

func TestARandomSourceThatFailsEndsTheHandshake(t *testing.T) {
	failed := map[string]int{}
	for _, g := range suite.Groups() {
		for _, side := range []string{"client", "server"} {
			for n := range 12 {
				s := mutual()
				s.client.Groups, s.server.Groups = []suite.GroupID{g}, []suite.GroupID{g}
				source := io.Reader(&dry{n})
				if side == "client" {
					s.client.Random = source
				} else {
					s.server.Random = source
				}
				p := newPair(t, s)
				p.run(modes[0])
				e := p.client
				if side == "server" {
					e = p.server
				}
				if e.err == nil {
					p.agreed(t)
					break
				}
				failed[side]++
				f := failedWith(t, e.err, alert.InternalError)
				if f.Fault != Misuse {
					t.Errorf("%v, %s, %d reads: %+v", g, side, n, f)
				}
				finished(t, e)
			}
		}
	}
	if failed["client"] < 10 || failed["server"] < 10 {
		t.Errorf("the source failed %v times; it is not asked, or its failures are ignored", failed)
	}
}

// An end that is given up in the middle keeps nothing.
func TestAMachineGivenUpAtAnyPointKeepsNoSecret(t *testing.T) {
	for name, set := range map[string]setting{"server only": usual(), "mutual": mutual()} {
		for stop := range 12 {
			p := newPair(t, set)
			delivered := 0
			p.tamper = func(_ *end, _ int, l letter) []letter {
				if delivered++; delivered > stop {
					return nil
				}
				return []letter{l}
			}
			p.run(modes[0])
			for _, e := range []*end{p.client, p.server} {
				if e.done || e.err != nil {
					continue
				}
				e.Discard()
				if err := e.Message(e.readAt, []byte{byte(message.TypeFinished), 0, 0, 0}); err == nil {
					t.Errorf("%s, stopped after %d messages: the %s takes messages after Discard", name, stop, e.name)
				}
				noSecrets(t, e)
			}
		}
	}
}
