package explain

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/ct"
)

// Target is a server to have a handshake with.
type Target struct {
	// Address is HOST:PORT or unix:PATH.
	Address string
	// ServerName is whom the server must prove to be; "" is the host of Address.
	ServerName string
	// Anchors are whom the client trusts; Trusted says who they are, for words:
	// "an authority that this system trusts".
	Anchors *pki.Anchors
	Trusted string
	// Profile is how strictly certificates are judged.
	Profile pki.Profile
	// Transparency asks for timestamps of logs, nil for none.
	Transparency *ct.Policy
	// Identity is what the client shows to a server that asks, nil for nothing.
	Identity mtls.Identity
	// ALPN is what to offer.
	ALPN []string
	// Timeout bounds the connecting and the handshake, each; 0 is 10 s.
	Timeout time.Duration
	// Wait is how long to wait for a word on our certificate from a server that
	// asked for one; 0 is 1 s. Those that have nothing to say are silent.
	Wait time.Duration
	// Clock is the time to judge by; nil is time.Now.
	Clock func() time.Time
	// Supposed says that Clock is none, but gives a time that somebody asks about.
	Supposed bool

	// AskOCSP asks the server for its authority's answer about revocation, and holds it
	// to what its certificate says of that (must-staple).
	AskOCSP bool
	// Revocation, if not nil, is how news of revocations are asked for.
	Revocation *mtls.Revocation

	// instead takes the place of the judgement by Anchors; nil for none.
	instead mtls.Verifier

	// suites and probe are for tests, whose stories must not depend on the processor,
	// nor on how busy it is: probe takes the place of probeTime.
	suites []mtls.Suite
	probe  time.Duration
}

const (
	defaultTimeout = 10 * time.Second
	defaultWait    = time.Second
)

// Split is the network and the address to dial, and the host in it.
func Split(address string) (network, dial, host string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path, "", nil
	}
	host, _, err = net.SplitHostPort(address)
	return "tcp", address, host, err
}

// Live has a handshake with the target, as a client, and tells it. It gives a
// story however it ends. Where the server does not speak TLS 1.3 it is asked in
// other tongues, on connections of their own.
func Live(ctx context.Context, t Target) *Story {
	network, address, host, err := Split(t.Address)
	if err != nil {
		return failedStory(t.Address, code.Misuse, mtls.Misuse, "expected HOST:PORT, found "+identity.Quote(t.Address), false)
	}
	if t.ServerName == "" {
		t.ServerName = host
	}
	t.defaults()
	client, recorder, err := t.client()
	if err != nil {
		return failedStory(t.Address, code.Misconfigured, mtls.Misuse, err.Error(), false)
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: t.Timeout}
		return d.DialContext(ctx, network, address)
	}
	transport, err := dial(ctx)
	if err != nil {
		return unreachable(t.Address, err)
	}
	remote := transport.RemoteAddr().String()
	heard := &tap{Conn: transport}
	conn, err := client.Connect(ctx, heard, t.ServerName)
	var admitted string
	if err == nil {
		admitted, err = admission(ctx, conn, t.Wait)
		_ = conn.Close()
	}
	refusal, refused := mtls.RefusalOf(err)
	if refused && refusal.HasAlert {
		from := observe.Client
		if !refusal.Sent {
			from = observe.Server
		}
		recorder.Observe(observe.Event{Kind: observe.Alert, From: from, Alert: refusal.Alert})
	}
	if err == nil {
		recorder.know(admitted)
	}
	s := recorder.Story()
	s.Target, s.Address = t.Address, remote
	s.end(recorder, admitted, refusal, err)
	if refused && s.Version == "" && refusal.Fault != mtls.Misuse {
		q := prober{dial, t.ServerName, min(t.probe, t.Timeout)}
		s.Speaks = q.listen(ctx, heard.first())
		s.Verdict.foreign(s.Speaks)
	}
	return s
}

func (t *Target) defaults() {
	if t.Timeout <= 0 {
		t.Timeout = defaultTimeout
	}
	if t.Wait <= 0 {
		t.Wait = defaultWait
	}
	if t.Clock == nil {
		t.Clock = time.Now
	}
	if t.probe <= 0 {
		t.probe = probeTime
	}
}

// client is a client that tells a recorder, and judges with all reasons.
func (t *Target) client() (*mtls.Client, *Recorder, error) {
	r := &Recorder{Trusted: t.Trusted, Now: t.Clock()}
	client, err := mtls.NewClient(mtls.ClientConfig{
		Identity: t.Identity,
		Servers:  t.judge(),
		ALPN:     t.ALPN,
		Common: mtls.Common{
			Suites: t.suites, Observer: r, Clock: t.Clock, Limits: &mtls.Limits{HandshakeTime: t.Timeout},
			Compression: mtls.Compression{Off: true}, // the message is the same, and can be read
			Beside:      mtls.Beside{Timestamps: t.Transparency != nil, OCSP: t.AskOCSP},
		},
	})
	return client, r, err
}

// judge is mtls.AuthoritiesWith, with news of revocations and RequireTimestamps where
// they are asked for, and with the reasons of a yes as well.
func (t *Target) judge() mtls.Verifier {
	if t.instead != nil {
		return t.instead
	}
	plain := mtls.AuthoritiesWith(t.Anchors, t.Profile)
	if t.Revocation != nil {
		plain = mtls.WithRevocation(plain, *t.Revocation)
	}
	if t.Transparency != nil {
		plain = mtls.RequireTimestamps(plain, t.Transparency)
	}
	sum, _ := plain.(mtls.Generation).Generation()
	return mtls.VerifierOf(sum, func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		v, err := plain.Verify(ctx, claim)
		if err != nil || !v.OK && !t.Supposed || v.Path == nil {
			return v, err
		}
		chain, err := claim.Certificates()
		if err != nil {
			return nil, err
		}
		told := *v
		q := pki.Question{Chain: chain, Anchors: t.Anchors, Purpose: pki.ForServer, Name: claim.ServerName, At: claim.Now,
			Supposed: t.Supposed, Profile: t.Profile, Stapled: claim.AskedOCSP, Transparency: t.Transparency, Timestamps: claim.Timestamps}
		for _, b := range claim.OCSP {
			if r, err := pki.ParseOCSPResponse(b); err == nil {
				q.OCSP = append(q.OCSP, r)
			}
		}
		if r := t.Revocation; r != nil {
			q.Revocation, q.RevocationLeafOnly, q.RevocationSource = r.Mode, r.LeafOnly, r.Source
		}
		path := pki.Explain(q)
		if path.Code == told.Path.Code { // else something beside the chain decided
			told.Path = path
		}
		return &told, nil
	})
}

// admission is what the server made of our certificate. An error is its refusal,
// or the end of the connection.
func admission(ctx context.Context, c *mtls.Conn, wait time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	switch err := c.Admitted(ctx); {
	case errors.Is(err, mtls.ErrAdmissionUnknown):
		return "unknown", nil
	case err != nil:
		return "no", err
	}
	return "yes", nil
}

// end settles the outcome.
func (s *Story) end(r *Recorder, admitted string, refusal *mtls.Refusal, err error) {
	s.Verdict = Outcome{OK: err == nil, Admitted: admitted}
	if r.judged != nil {
		s.Verdict.Judgement = r.judged.Path
	}
	if admitted != "" && !r.asked {
		s.Verdict.Admitted = "not asked"
	}
	s.ClientAuthenticated = err == nil && r.shown["client"] != nil
	if r.asked && err == nil {
		s.admissionWords(admitted, r.shown["client"] != nil)
	}
	switch {
	case err == nil:
	case refusal != nil:
		s.Verdict.refused(refusal)
	default:
		s.Verdict.Code, s.Verdict.Reason = string(code.NetworkFailed), err.Error()
	}
}

// admissionWords tells what is known of the server's judgement.
func (s *Story) admissionWords(admitted string, shown bool) {
	if len(s.Steps) == 0 {
		return
	}
	p := Passage{Title: "the server judges"}
	what := "the client's certificate"
	if !shown {
		what = "a client without a certificate"
	}
	if admitted == "yes" {
		p.fact(Passed, "admitted", "it takes %s: what it sent now, it sends only after its judgement", what)
	} else {
		p.fact(Unsure, "admitted", "not known: this server says nothing about %s until it is asked for something", what)
	}
	p.Unlike = "the client is done before the server has judged it: only what comes next can tell."
	last := &s.Steps[len(s.Steps)-1]
	last.Then = append(last.Then, p)
}

func (o *Outcome) refused(r *mtls.Refusal) {
	o.Code, o.Fault, o.At, o.Reason, o.Mend = r.Code, r.Fault.String(), r.At, r.Reason, r.Mend
	if r.HasAlert {
		o.Alert, o.AlertFrom = r.Alert.String(), "server"
		if r.Sent {
			o.AlertFrom = "client"
		}
	}
	if r.Fault == mtls.PeerRefusedUs {
		o.Admitted = "no"
	}
}

// unreachable is the story of no connection.
func unreachable(target string, err error) *Story {
	k := code.Unreachable
	var dns *net.DNSError
	if errors.As(err, &dns) {
		k = code.DNS
	}
	// The address stands in the sentence already.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return failedStory(target, k, mtls.Network, plain(target)+" can't be reached: "+printable(err.Error()), true)
}

func failedStory(target string, k code.Code, fault mtls.Fault, reason string, unreachable bool) *Story {
	entry, _ := code.Lookup(k)
	return &Story{Target: target, Verdict: Outcome{
		Code: string(k), Fault: fault.String(), Reason: reason, Mend: entry.Mend, Unreachable: unreachable,
	}}
}

// tap is a connection that remembers the first bytes that came.
type tap struct {
	net.Conn
	mu   sync.Mutex
	came []byte
}

const tapped = 512

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.mu.Lock()
	if room := tapped - len(t.came); room > 0 {
		t.came = append(t.came, b[:min(n, room)]...)
	}
	t.mu.Unlock()
	return n, err
}

func (t *tap) first() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.came
}

// SyscallConn lets mtls close it as it closes any socket.
func (t *tap) SyscallConn() (syscall.RawConn, error) {
	if c, ok := t.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
