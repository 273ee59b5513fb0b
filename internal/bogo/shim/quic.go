package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// stack is what a connection over QUIC wants of a QUIC stack. Ours has no packets:
// what it sends over the runner's connection are records of a type, a level, the
// suite and the length, with the secret in front of the content.
type stack struct {
	on      bool
	params  []byte
	expect  []byte
	draft   bool   // the code point of the drafts is wanted for the parameters
	context string // of early data
}

func init() {
	register(
		toggle("quic", func(s *settings) *bool { return &s.quic.on }),
		octets("quic-transport-params", func(s *settings) *[]byte { return &s.quic.params }),
		text("quic-early-data-context", func(s *settings) *string { return &s.quic.context }),
		octets("expect-quic-transport-params", func(s *settings) *[]byte { return &s.quic.expect }),
		// Which code point is meant matters where QUIC is spoken.
		doesWith("quic-use-legacy-codepoint", func(s *settings, v string) error {
			s.quic.draft = v != "0"
			return nil
		}),
	)
}

// wire is a connection that stands, over records or over QUIC.
type wire interface {
	io.ReadWriteCloser
	CloseWrite() error
	Refuse(why mtls.Alert, reason string) error
	Rekey(both bool) error
	Negotiated() mtls.Negotiated
	Local() *mtls.Certificate
	PeerChain() []*pki.Certificate
	Export(label string, context []byte, n int) ([]byte, error)
}

// stands is a connection over records, none where it failed.
func stands(c *mtls.Conn, err error) (wire, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// The types of records.
const (
	recordHandshake   = 22
	recordApplication = 23
)

// keys are those of one level and direction.
type keys struct {
	suite  mtls.Suite
	secret []byte
}

// overQUIC is a connection over QUIC.
type overQUIC struct {
	*mtls.QUICConn
	net         net.Conn
	drain       func()
	read, write [4]keys
	peer        []byte // its transport parameters
	early       bool   // early data is dropped
	data        []byte // that came and was not read
}

// overQUIC carries out the handshake.
func (c *connection) overQUIC(ctx context.Context, begin func(mtls.QUICConfig) (*mtls.QUICConn, error)) (wire, error) {
	if c.settings.quic.draft {
		return nil, unimplemented("the code point of the drafts for QUIC's transport parameters")
	}
	q := &overQUIC{net: c.transport, drain: c.drain}
	cfg := mtls.QUICConfig{
		Local: c.transport.LocalAddr(), Remote: c.transport.RemoteAddr(),
		Parameters: func([]byte) ([]byte, error) { return c.settings.quic.params, nil },
		Early:      c.early.enabled, EarlyContext: []byte(c.settings.quic.context),
	}
	conn, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	q.QUICConn = conn
	err = q.settle(ctx, nil)
	if err == nil {
		err = c.earlyOverQUIC(q)
	}
	for err == nil && !q.Done() {
		if err = q.receive(ctx); err == nil && c.server {
			err = q.echoEarly()
		}
	}
	if err == nil && c.early.offered {
		err = c.afterEarlyOverQUIC(q)
	}
	if err != nil {
		return nil, err
	}
	if want := c.settings.quic.expect; want != nil && string(want) != string(q.peer) {
		return nil, fmt.Errorf("the peer's transport parameters are %x, and %x were expected", q.peer, want)
	}
	return q, nil
}

// settle does what there is to do, and sends what there is to send; where the
// connection fails, the alert too.
func (q *overQUIC) settle(ctx context.Context, err error) error {
	for more := err == nil; more && err == nil; {
		more, err = q.Work(ctx)
	}
	for e, ok := q.Next(); ok; e, ok = q.Next() {
		switch e.Kind {
		case mtls.QUICSend:
			if err := q.put(recordHandshake, e.Level, e.Bytes); err != nil {
				return err
			}
		case mtls.QUICReadSecret:
			q.read[e.Level] = keys{e.Suite, e.Secret}
		case mtls.QUICWriteSecret:
			q.write[e.Level] = keys{e.Suite, e.Secret}
		case mtls.QUICPeerParameters:
			q.peer = e.Bytes
		case mtls.QUICEarlyDataRefused:
			q.early = true
		}
	}
	var failed *mtls.QUICError
	if errors.As(err, &failed) && failed.Code>>8 == 1 {
		_ = q.Refuse(mtls.Alert(failed.Code), "")
	}
	return err
}

// Refuse closes as a stack does that refuses its peer. The runner has no
// CONNECTION_CLOSE; it takes an alert.
func (q *overQUIC) Refuse(why mtls.Alert, _ string) error {
	const alertRecord, fatal = 21, 2
	err := q.put(alertRecord, q.level(), []byte{fatal, byte(why)})
	_ = q.net.SetReadDeadline(time.Now().Add(time.Second))
	q.drain() // or a reset would overtake it
	return err
}

// level is the highest for which there are keys to send with.
func (q *overQUIC) level() mtls.QUICLevel {
	for l := mtls.QUICApplication; l > mtls.QUICInitial; l-- {
		if q.write[l].secret != nil {
			return l
		}
	}
	return mtls.QUICInitial
}

func (q *overQUIC) put(kind byte, level mtls.QUICLevel, content []byte) error {
	k := q.write[level]
	b := []byte{kind, byte(level)}
	b = binary.BigEndian.AppendUint16(b, uint16(k.suite))
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.secret)+len(content)))
	b = append(append(b, k.secret...), content...)
	_, err := q.net.Write(b)
	return err
}

// receive takes one record.
func (q *overQUIC) receive(ctx context.Context) error {
	var header [8]byte
	if _, err := io.ReadFull(q.net, header[:]); err != nil {
		return err
	}
	const most = 1 << 20
	kind, level, suite, n := header[0], header[1], mtls.Suite(binary.BigEndian.Uint16(header[2:])), binary.BigEndian.Uint32(header[4:])
	if int(level) >= len(q.read) || n > most {
		return errors.New("a record came that can't be one")
	}
	content := make([]byte, n)
	if _, err := io.ReadFull(q.net, content); err != nil {
		return err
	}
	k := q.read[level]
	switch {
	case mtls.QUICLevel(level) == mtls.QUICEarly && k.secret == nil:
		return nil // it was refused
	case k.secret == nil && mtls.QUICLevel(level) != mtls.QUICInitial:
		return fmt.Errorf("a record came at the level %d, for which there are no keys", level)
	case k.suite != suite || len(content) < len(k.secret) || string(content[:len(k.secret)]) != string(k.secret):
		return fmt.Errorf("at the level %d the runner has other keys", level)
	}
	content = content[len(k.secret):]
	switch {
	case kind == recordHandshake:
		return q.settle(ctx, q.Receive(mtls.QUICLevel(level), content))
	case kind == recordApplication && mtls.QUICLevel(level) != mtls.QUICInitial && mtls.QUICLevel(level) != mtls.QUICHandshake:
		q.data = append(q.data, content...)
		return nil
	}
	return fmt.Errorf("a record of the type %d came", kind)
}

// Read reads application data. There is no close_notify: the end is the end.
func (q *overQUIC) Read(p []byte) (int, error) {
	for len(q.data) == 0 {
		if err := q.receive(context.Background()); err != nil {
			return 0, err
		}
	}
	n := copy(p, q.data)
	q.data = q.data[n:]
	return n, nil
}

func (q *overQUIC) Write(p []byte) (int, error) {
	if err := q.put(recordApplication, mtls.QUICApplication, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (q *overQUIC) CloseWrite() error { return nil }

func (q *overQUIC) Rekey(bool) error { return errors.New("there is no KeyUpdate over QUIC") }

// earlyOverQUIC is a client that may send early data: it sends what is to be
// written first.
func (c *connection) earlyOverQUIC(q *overQUIC) error {
	if c.early.offered = !c.server && q.write[mtls.QUICEarly].secret != nil; !c.early.offered {
		return nil
	}
	if c.early.notOffered {
		return errors.New("early data was offered, and was not to be")
	}
	if c.after.exportLength > 0 {
		if _, err := q.Export(c.after.exportLabel, nil, c.after.exportLength); err != nil {
			return err
		}
	}
	for range c.after.initialWrites {
		if !c.after.writesFirst {
			break
		}
		if err := q.put(recordApplication, mtls.QUICEarly, []byte(c.after.initialWrite)); err != nil {
			return err
		}
	}
	return nil
}

// afterEarlyOverQUIC looks at what became of it. Where the server did not take it,
// the settings are those that are for that.
func (c *connection) afterEarlyOverQUIC(q *overQUIC) error {
	got := q.Negotiated().EarlyData
	c.early.written = got == mtls.EarlyAccepted
	if !c.resumes || !c.early.rejected {
		return nil
	}
	if got != mtls.EarlyRejected {
		return fmt.Errorf("what became of early data is %d, and it was to be rejected", got)
	}
	c.settings = c.retry
	c.early.offered = true
	return nil
}

// echoEarly gives back what came early, before the handshake is over.
func (q *overQUIC) echoEarly() error {
	if len(q.data) == 0 || q.write[mtls.QUICApplication].secret == nil {
		return nil
	}
	for i := range q.data {
		q.data[i] ^= 0xff
	}
	err := q.put(recordApplication, mtls.QUICApplication, q.data)
	q.data = nil
	return err
}
