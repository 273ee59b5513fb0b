package mtls

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
)

// The side connection: frames of a type, a length of three bytes and a content.
// For each connection that is renewed, in this order:
//
//	client  begin    its renewalID, and a request for the server's authenticator
//	server  prove    two of: its authenticator, and a request for the client's; or fail
//	client  proven   the client's authenticator, empty where none is wanted; or fail
//	server  renewed  nothing; or fail
//
// Each end takes what the other proves as soon as it has seen it: the two
// directions are two renewals. fail ends that renewal, and neither the side
// connection nor the connection that stands.

const (
	frameBegin uint8 = iota + 1
	frameProve
	frameProven
	frameRenewed
	frameFail
)

const (
	// maxFrame bounds a frame: an authenticator and a request, which may list the
	// names of many authorities.
	maxFrame = 256 << 10
	// maxRenewals is how many renewals one side connection carries.
	maxRenewals = 16 << 10

	alertNoProtocol = alert.NoApplicationProtocol
)

// side is one end of a side connection.
type side struct{ *Conn }

// sideBroken is the error of a side connection over which nothing more comes.
type sideBroken struct{ err error }

func (b *sideBroken) Error() string { return "the side connection broke: " + b.err.Error() }
func (b *sideBroken) Unwrap() error { return b.err }

func (s *side) send(t uint8, parts ...[]byte) error {
	b := []byte{t, 0, 0, 0}
	for _, p := range parts {
		if len(parts) > 1 {
			b = append(b, byte(len(p)>>16), byte(len(p)>>8), byte(len(p)))
		}
		b = append(b, p...)
	}
	n := len(b) - 4
	b[1], b[2], b[3] = byte(n>>16), byte(n>>8), byte(n)
	if _, err := s.Write(b); err != nil {
		return &sideBroken{err}
	}
	return nil
}

// receive takes the next frame. Where it is not want the renewal has failed.
func (s *side) receive(want uint8) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.Conn, head[:]); err != nil {
		return nil, &sideBroken{err}
	}
	n := int(binary.BigEndian.Uint32(head[:]) & 0xffffff)
	if n > maxFrame {
		return nil, &sideBroken{fmt.Errorf("a frame of %d bytes came; at most %d are taken", n, maxFrame)}
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.Conn, b); err != nil {
		return nil, &sideBroken{err}
	}
	switch head[0] {
	case want:
		return b, nil
	case frameFail:
		return nil, errOtherEnd
	}
	return nil, &sideBroken{fmt.Errorf("a frame of type %d came, and %d was expected", head[0], want)}
}

// errOtherEnd tells no more than the other end does: why, its own side knows.
var errOtherEnd = errors.New("the other end did not take part in the renewal of this connection")

// two takes apart a frame of two parts.
func two(b []byte) (one, other []byte, err error) {
	for i, p := range []*[]byte{&one, &other} {
		if len(b) < 3 {
			return nil, nil, &sideBroken{errors.New("a frame is cut off")}
		}
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if b = b[3:]; n > len(b) || i == 1 && n != len(b) {
			return nil, nil, &sideBroken{errors.New("a frame does not add up")}
		}
		*p, b = b[:n], b[n:]
	}
	return one, other, nil
}

// fail tells the other end that this renewal is over, and answers why.
func (s *side) fail(why error) error {
	if err := s.send(frameFail); err != nil {
		return err
	}
	return why
}

// renew renews c, as the client.
func (s *side) renew(ctx context.Context, c *Conn) error {
	defer s.bound(ctx)()
	id, err := c.renewalID()
	if err != nil {
		return err
	}
	request, err := c.AuthenticatorRequest()
	if err != nil {
		return err
	}
	a, err := c.authenticators()
	if err != nil {
		return err
	}
	defer a.Forget(request) // where it was not answered
	if err := s.send(frameBegin, id[:], request); err != nil {
		return err
	}
	b, err := s.receive(frameProve)
	if err != nil {
		return err
	}
	proof, asked, err := two(b)
	if err != nil {
		return err
	}
	if err := c.renewPeer(ctx, request, proof); err != nil {
		return s.fail(err)
	}
	var own []byte
	var shown *Certificate
	if len(asked) > 0 {
		if own, shown, err = c.authenticate(ctx, asked); err != nil {
			return s.fail(err)
		}
	}
	if err := s.send(frameProven, own); err != nil {
		return err
	}
	if _, err := s.receive(frameRenewed); err != nil {
		return err
	}
	if shown != nil {
		c.local.Store(shown)
	}
	return nil
}

// renewPeer takes what the other end of a connection proves, and has the
// connection stand by it.
func (c *Conn) renewPeer(ctx context.Context, request, proof []byte) error {
	p, err := c.Validate(ctx, request, proof)
	if err != nil {
		return err
	}
	if !c.samePeer(&p.claim) {
		return errOtherPeer
	}
	return c.admit(p.claim, p.Verdict, p.Scheme, p.judgedAt)
}

var errOtherPeer = errors.New("the new certificate is not of the one who was proven before: its names are others")

// bound has the side connection end with ctx, until what it answers is called.
func (s *side) bound(ctx context.Context) func() {
	deadline := time.Now().Add(s.limits.HandshakeTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = s.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(past) })
	return func() { stop() }
}

// serveSide serves a side connection, as the server, to its end.
func (s *Server) serveSide(ctx context.Context, c *Conn) {
	defer func() { _ = c.Close() }()
	one := &side{c}
	for range maxRenewals {
		var broken *sideBroken
		if err := one.renewed(ctx, s.renewals); errors.As(err, &broken) {
			return
		}
	}
}

// renewed is one renewal, as the server.
func (s *side) renewed(ctx context.Context, r *renewals) error {
	defer s.bound(ctx)()
	b, err := s.receive(frameBegin)
	if err != nil {
		return err
	}
	name, request, err := two(b)
	if err != nil || len(name) != len(renewalID{}) {
		return &sideBroken{errors.New("a renewal begins with no name of a connection")}
	}
	r.mu.Lock()
	c := r.of[renewalID(name)]
	r.mu.Unlock()
	if c == nil || !samePeers(s.Conn, c) {
		return s.fail(ErrNotRenewed)
	}
	proof, shown, err := c.authenticate(ctx, request)
	if err != nil {
		return s.fail(err)
	}
	var asked []byte
	if _, ok := c.Peer(); ok {
		if asked, err = c.AuthenticatorRequest(); err != nil {
			return s.fail(err)
		}
		a, err := c.authenticators()
		if err != nil {
			return s.fail(err)
		}
		defer a.Forget(asked)
	}
	if err := s.send(frameProve, proof, asked); err != nil {
		return err
	}
	if b, err = s.receive(frameProven); err != nil {
		return err
	}
	if shown != nil {
		c.local.Store(shown) // the client has taken it
	}
	if asked != nil {
		err := c.renewPeer(ctx, asked, b)
		c.renewed(err)
		if err != nil {
			return s.fail(err)
		}
	}
	return s.send(frameRenewed)
}
