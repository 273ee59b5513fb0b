package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/quic"
	"github.com/mutual-tls/mutual/internal/stream"
	"github.com/mutual-tls/mutual/pki"
)

// QUICConn is the TLS of one QUIC connection (RFC 9001), for a QUIC stack to
// drive: it gives Receive the bytes of CRYPTO frames, in order at each level; it
// lets Work do what takes time, and takes from Next what is to be sent and the
// secrets to protect packets with. There are no packets in it, no timers, and no
// goroutine. Receive, Work, Next and the rest may be called concurrently.
//
// Its peer is judged as that of a Conn is, again when the Server or the Client
// is told to Recheck, and when what admitted it ends: see Ended. ALPN must be set
// in the configuration: there is no QUIC without. A client learns that it was let
// in by QUIC's HANDSHAKE_DONE. Tickets of QUIC and of TCP are not for each other.
type QUICConn struct {
	conn   *Conn // whose transport is a quicSocket: who the peer is, and what it rests on
	cfg    QUICConfig
	socket *quicSocket
	end    time.Time // of the time that the handshake may take

	working sync.Mutex // held by Work

	mu     sync.Mutex // of what follows
	crypto quic.Crypto
	stands bool
	err    *QUICError
}

// QUICConfig is what a QUIC stack says of one connection.
type QUICConfig struct {
	// Parameters gives our transport parameters, encoded. A server is given those
	// of the client, which nobody has proven yet; a client is given nil.
	Parameters func(peer []byte) ([]byte, error)
	// Early has a client offer early data (0-RTT) where it has a session that allows
	// it. A server takes early data where ServerResumption.EarlyData is given;
	// its Most says nothing here, since QUIC's flow control limits it. What
	// ServerEarlyData and Conn.WriteEarly say of replays is as true of QUIC.
	Early bool
	// EarlyContext is what a server binds early data to: a digest of what clients
	// remember of its transport parameters and of the application's settings. Early
	// data is not taken from a session that was made under another one.
	EarlyContext []byte
	// Local and Remote are the addresses, for whoever judges the peer; nil where
	// they are not known.
	Local, Remote net.Addr
}

// QUICLevel is a level of encryption.
type QUICLevel = handshake.Level

// The levels, and the packets that go with them.
const (
	QUICInitial     = handshake.Initial     // Initial packets
	QUICEarly       = handshake.Early       // 0-RTT packets
	QUICHandshake   = handshake.Handshake   // Handshake packets
	QUICApplication = handshake.Application // 1-RTT packets
)

// QUICEventKind says what a QUICEvent is.
type QUICEventKind uint8

// What a QUIC stack is told.
const (
	// QUICSend: Bytes go into CRYPTO frames at Level, behind those before them.
	QUICSend QUICEventKind = iota + 1
	// QUICReadSecret and QUICWriteSecret: packets of Level are opened, or
	// protected, with Secret and Suite from here on. The stack zeroes it when it
	// is done with it. On a client, Bytes are, at QUICEarly, the server's transport
	// parameters when the session was made, which bound early data (RFC 9000,
	// section 7.4.1).
	QUICReadSecret
	QUICWriteSecret
	// QUICPeerParameters: Bytes are the peer's transport parameters. They are
	// proven when QUICDone has come.
	QUICPeerParameters
	// QUICEarlyDataRefused: what the client sent in 0-RTT packets is not taken. A
	// server drops them.
	QUICEarlyDataRefused
	// QUICDone: the handshake is complete (RFC 9001, section 4.1.1). On a server
	// it is confirmed, too, and HANDSHAKE_DONE is due.
	QUICDone
)

// QUICEvent is one thing that a QUIC stack is told.
type QUICEvent struct {
	Kind   QUICEventKind
	Level  QUICLevel
	Bytes  []byte
	Suite  Suite
	Secret []byte
}

// QUICError ends a connection: Code goes into CONNECTION_CLOSE, in a frame of
// type 0x1c. It is an alert as a CRYPTO_ERROR (0x0100 and the alert), or a code of
// QUIC's own.
type QUICError struct {
	Code    uint64
	Refusal *Refusal
}

// Error is the refusal in words.
func (e *QUICError) Error() string {
	return fmt.Sprintf("%s (QUIC error %#04x)", e.Refusal.Error(), e.Code)
}

// Unwrap is the refusal.
func (e *QUICError) Unwrap() error { return e.Refusal }

// QUIC begins a connection that came over QUIC.
func (s *Server) QUIC(cfg QUICConfig) (*QUICConn, error) {
	hs, err := s.overQUIC(&cfg)
	if err != nil {
		return nil, err
	}
	q := newQUIC(s.endpoint, cfg, "", handshake.NewServer(hs))
	return q, nil
}

// QUIC begins a connection over QUIC with the server that is meant, as Connect
// does over a net.Conn.
func (c *Client) QUIC(serverName string, cfg QUICConfig) (*QUICConn, error) {
	hs, err := c.overQUIC(&cfg)
	if err != nil {
		return nil, err
	}
	name, sni, err := cleanServerName(serverName)
	if err != nil {
		return nil, err
	}
	m := handshake.NewClient(hs, sni)
	if err := c.conceal(context.Background(), m, name, nil); err != nil {
		return nil, err
	}
	q := newQUIC(c.endpoint, cfg, name, m)
	if err := q.crypto.Start(m); err != nil {
		return nil, q.fail(err)
	}
	return q, nil
}

// overQUIC is how handshakes are done over QUIC.
func (e *endpoint) overQUIC(cfg *QUICConfig) (*handshake.Config, error) {
	switch {
	case cfg.Parameters == nil:
		return nil, refuseMisuse("a QUIC connection needs QUICConfig.Parameters")
	case len(e.hs.ALPN) == 0:
		return nil, refuseMisuse("QUIC needs a protocol of the application: set ALPN")
	}
	hs := e.hs
	hs.QUIC = true
	hs.PostHandshakeAuth = false
	if hs.MaxEarlyData > 0 {
		hs.MaxEarlyData = handshake.UnlimitedEarlyData
	}
	return &hs, nil
}

func newQUIC(e *endpoint, cfg QUICConfig, name string, m handshake.Machine) *QUICConn {
	socket := &quicSocket{local: cfg.Local, remote: cfg.Remote, closed: make(chan struct{})}
	q := &QUICConn{
		conn: &Conn{endpoint: e, transport: socket, serverName: name}, cfg: cfg, socket: socket, end: time.Now().Add(e.limits.HandshakeTime),
	}
	server := e.role == RoleServer
	q.conn.stream.Drive(m, server, 0)
	q.crypto.Drive(m, server)
	q.conn.early.wanted = cfg.Early
	if e.resumption != nil {
		q.conn.origin = &origin{context: contextOf(cfg.EarlyContext)}
		if !server {
			q.conn.origin.peer = peerOfSessions(name, socket) + overQUIC(socket)
		}
	}
	return q
}

// Receive takes the next bytes that came in CRYPTO frames at level. It computes
// and does not wait: what waits for Work is kept, within a limit. An error is a
// *QUICError, and stays.
func (q *QUICConn) Receive(level QUICLevel, data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.over(); err != nil {
		return err
	}
	if !q.stands {
		return q.settle(q.crypto.Receive(level, data))
	}
	c := q.conn
	c.in.Lock()
	defer c.leaveReading()
	if c.in.err != nil {
		return errClosed
	}
	err := q.crypto.Receive(level, data)
	if err == nil && c.stream.Ticketed() {
		c.keepTickets()
	}
	return q.settle(err)
}

// Progress says that data of the application came. When the handshake is over, 32
// messages of TLS are taken in a row and no more, and a stack that does not call it
// after a packet with such data allows the server 32 tickets in all.
func (q *QUICConn) Progress() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.crypto.Progress()
}

// Waiting says whether there is something for Work to do.
func (q *QUICConn) Waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err == nil && q.crypto.Pending()
}

// Work does one of the things that take time: it asks the Identity, signs, asks
// the Verifier, asks for transport parameters. It is false where there is nothing
// to do. A stack calls it, until it is false, after it began and after each Receive;
// one that must not wait does so on another goroutine.
func (q *QUICConn) Work(ctx context.Context) (bool, error) {
	q.working.Lock()
	defer q.working.Unlock()
	q.mu.Lock()
	if err := q.over(); err != nil {
		q.mu.Unlock()
		return false, err
	}
	op := q.crypto.Op()
	peer := q.crypto.PeerParameters()
	q.mu.Unlock()
	if op == nil {
		return false, nil
	}
	ctx, cancel := context.WithDeadline(ctx, q.end)
	answer := q.carryOut(ctx, op, peer)
	cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.over(); err != nil {
		return false, err
	}
	return true, q.settle(q.crypto.Resolve(op, answer))
}

func (q *QUICConn) carryOut(ctx context.Context, op *handshake.Op, peer []byte) handshake.Answer {
	if op.Kind != handshake.TransportParameters {
		return q.conn.carryOut(ctx, op)
	}
	p, err := q.cfg.Parameters(peer)
	return handshake.Answer{Parameters: p, Err: err, Code: code.Misuse}
}

// Next is the next thing that the stack is to know, in order; false when there is
// none for now. What was made before an error is still given.
func (q *QUICConn) Next() (QUICEvent, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.crypto.Next()
	for ok && e.Kind == handshake.EarlyBegun { // the secrets tell it
		e, ok = q.crypto.Next()
	}
	if !ok {
		return QUICEvent{}, false
	}
	x := QUICEvent{Level: e.Level, Bytes: e.Bytes, Secret: e.Secret}
	switch e.Kind {
	case handshake.Send:
		x.Kind = QUICSend
	case handshake.Keys:
		x.Kind, x.Suite = QUICReadSecret, e.Suite.ID
		if e.Direction == handshake.Write {
			x.Kind = QUICWriteSecret
		}
		if e.Level == QUICEarly && q.conn.origin != nil {
			x.Bytes = q.conn.origin.remembered
		}
	case handshake.PeerParameters:
		x.Kind = QUICPeerParameters
	case handshake.SkipEarlyData, handshake.EarlyEnded:
		x.Kind = QUICEarlyDataRefused
	case handshake.Done:
		x.Kind = QUICDone
	}
	return x, true
}

// over says whether the connection has ended, or the handshake lasts too long.
func (q *QUICConn) over() error {
	switch {
	case q.because() != nil:
		return q.because()
	case q.conn.closed.Load():
		return errClosed
	case !q.stands && !time.Now().Before(q.end):
		return q.fail(os.ErrDeadlineExceeded)
	}
	return nil
}

// settle takes note of where the handshake is.
func (q *QUICConn) settle(err error) error {
	if err != nil {
		return q.fail(err)
	}
	if q.crypto.Done() && !q.stands {
		q.stands = true
		if q.conn.origin != nil {
			q.conn.origin.parameters = q.crypto.PeerParameters()
		}
		q.conn.stream.Adopt(q.crypto.Result())
		q.conn.stand()
	}
	return nil
}

// fail ends the connection for err.
func (q *QUICConn) fail(err error) error {
	c := q.conn
	r := c.refusalOf(err)
	q.err = &QUICError{Refusal: r, Code: quic.CryptoError + uint64(alert.UserCanceled)}
	var f *handshake.Failure
	if errors.As(err, &f) {
		if q.err.Code = quic.Code(f); q.err.Code < quic.CryptoError {
			r.Alert, r.HasAlert, r.Sent = 0, false, false
		} else {
			c.observeAlert(r)
		}
	}
	q.leave(r)
	return q.err
}

// leave forgets what is secret, and tells whoever waits.
func (q *QUICConn) leave(r *Refusal) {
	q.crypto.Discard()
	q.conn.endContext(r)
	q.close()
}

// PeerClosed says that the peer's CONNECTION_CLOSE came, with a code in a frame of
// type 0x1c. It ends the connection, and is the refusal that it means.
func (q *QUICConn) PeerClosed(errorCode uint64) *Refusal {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return q.err.Refusal
	}
	c := q.conn
	var r *Refusal
	if errorCode>>8 == quic.CryptoError>>8 {
		r = c.refusePeerAlert(&stream.PeerAlert{Alert: Alert(errorCode & 0xff), At: c.stream.Expecting()})
		c.observeAlert(r)
	} else {
		r = newRefusal(code.ClosedEarly, Network, "waiting for "+c.stream.Expecting(),
			fmt.Sprintf("%s closed the connection with QUIC's error %#x", c.peerName(), errorCode), io.ErrUnexpectedEOF)
	}
	q.err = &QUICError{Refusal: r, Code: errorCode}
	q.leave(r)
	return r
}

// Ended is closed when the connection is to be closed: it failed, Close was called,
// or its peer is no longer admitted and the time that Limits.Grace gives is over.
// Context ends where its grace begins.
func (q *QUICConn) Ended() <-chan struct{} { return q.socket.closed }

// Err is why the connection ended, and with what code; nil where it did not, or by
// Close.
func (q *QUICConn) Err() *QUICError {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.because()
}

func (q *QUICConn) because() *QUICError {
	if q.err != nil {
		return q.err
	}
	select {
	case <-q.socket.closed:
		if r := q.conn.ended.Load(); r != nil { // its peer is no longer admitted
			q.err = &QUICError{Refusal: r, Code: quic.CryptoError + uint64(r.Alert)}
		}
	default:
	}
	return q.err
}

// Close forgets the connection's secrets. It sends nothing: CONNECTION_CLOSE is the
// stack's to send.
func (q *QUICConn) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.crypto.Discard()
	q.close()
	return nil
}

func (q *QUICConn) close() {
	if !q.stands {
		q.conn.stream.Discard()
	}
	_ = q.conn.close(false) // whoever holds the reading half ends it
}

// Done says whether the handshake is complete. What follows is valid from then on.
func (q *QUICConn) Done() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stands
}

// Peer is who was proven to be at the other end, as that of a Conn; and so are the
// next ones.
func (q *QUICConn) Peer() (Peer, bool) { return q.conn.Peer() }

// Verdict is the judgement that admitted the peer, nil where there was none.
func (q *QUICConn) Verdict() *Verdict { return q.conn.Verdict() }

// Negotiated is what the two ends agreed on.
func (q *QUICConn) Negotiated() Negotiated { return q.conn.Negotiated() }

// Local is the certificate that we showed, nil for none.
func (q *QUICConn) Local() *Certificate { return q.conn.Local() }

// PeerChain is what the peer showed.
func (q *QUICConn) PeerChain() []*pki.Certificate { return q.conn.PeerChain() }

// Export derives n bytes that only the two ends know.
func (q *QUICConn) Export(label string, exportContext []byte, n int) ([]byte, error) {
	return q.conn.Export(label, exportContext, n)
}

// Context ends when the connection does, and when its peer stops being allowed.
func (q *QUICConn) Context() context.Context { return q.conn.Context() }

// quicSocket stands where a Conn has its transport. It carries nothing: it knows
// the addresses, and who closes it ends the QUIC connection.
type quicSocket struct {
	local, remote net.Addr
	once          sync.Once
	closed        chan struct{}
}

func (s *quicSocket) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *quicSocket) Write(p []byte) (int, error)      { return len(p), nil }
func (s *quicSocket) LocalAddr() net.Addr              { return s.local }
func (s *quicSocket) RemoteAddr() net.Addr             { return s.remote }
func (s *quicSocket) SetDeadline(time.Time) error      { return nil }
func (s *quicSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *quicSocket) SetWriteDeadline(time.Time) error { return nil }

func (s *quicSocket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// contextOf is what of a server's EarlyContext goes into a ticket.
func contextOf(b []byte) []byte {
	if b == nil {
		return nil
	}
	sum := digest("early data over QUIC", b)
	return sum[:]
}

// overQUIC marks what sessions are kept by: they do not cross between QUIC and TCP.
func overQUIC(transport net.Conn) string {
	if _, ok := transport.(*quicSocket); ok {
		return " over QUIC"
	}
	return ""
}
