package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
)

// maxEarlyData is how much the runner's clients expect to be allowed.
const maxEarlyData = 14336

// early is what the runner wants of early data.
type early struct {
	enabled                  bool
	accepted, rejected       bool // is expected to be
	notOffered, ticketAllows bool
	writeAfter               int // the type of a message of the server's; 0: before all of them
	skew                     int // of the ticket's age, in seconds; 0: no matter
	reason                   string
	offered                  bool
	written                  bool // what is to be written first was sent early, and taken
}

func init() {
	register(
		toggle("enable-early-data", func(s *settings) *bool { return &s.early.enabled }),
		toggle("expect-accept-early-data", func(s *settings) *bool { return &s.early.accepted }),
		toggle("expect-reject-early-data", func(s *settings) *bool { return &s.early.rejected }),
		toggle("expect-no-offer-early-data", func(s *settings) *bool { return &s.early.notOffered }),
		toggle("expect-ticket-supports-early-data", func(s *settings) *bool { return &s.early.ticketAllows }),
		number("early-write-after-message", func(s *settings) *int { return &s.early.writeAfter }),
		number("expect-ticket-age-skew", func(s *settings) *int { return &s.early.skew }),
		text("expect-early-data-reason", func(s *settings) *string { return &s.early.reason }),
	)
}

// sendEarly is a client that connects with early data: it sends what is to be
// written first, waits for the end of the handshake, and where the server did not
// take it goes on with the settings that are for that.
func (c *connection) sendEarly() error {
	conn, ok := c.conn.(*mtls.Conn)
	if !ok || c.server {
		return nil
	}
	if c.early.offered = !conn.HandshakeOver(); c.early.offered {
		if c.early.notOffered {
			return errors.New("early data was offered, and was not to be")
		}
		if c.after.unfinishedWrite {
			return unimplemented("no early data is left unfinished")
		}
		if c.after.exportLength > 0 {
			if _, err := conn.Export(c.after.exportLabel, nil, c.after.exportLength); err != nil {
				return err
			}
		}
		late := ""
		switch {
		case c.early.writeAfter != 0:
			if err := c.writeBetween(conn); err != nil {
				return err
			}
		case c.after.writesFirst:
			all := strings.Repeat(c.after.initialWrite, c.after.initialWrites)
			now := all[:min(len(all), conn.EarlyRoom())]
			late = all[len(now):]
			for piece := range slices.Chunk([]byte(now), len(c.after.initialWrite)) {
				if _, err := conn.WriteEarly(piece); err != nil {
					return err
				}
			}
		}
		if err := conn.Handshake(context.Background()); err != nil {
			return err
		}
		if c.early.written = conn.Negotiated().EarlyData == mtls.EarlyAccepted; c.early.written {
			if _, err := conn.Write([]byte(late)); err != nil {
				return err
			}
		}
	}
	if !c.resumes || !c.early.rejected {
		return nil
	}
	if got := conn.Negotiated().EarlyData; got != mtls.EarlyRejected {
		return fmt.Errorf("what became of early data is %d, and it was to be rejected", got)
	}
	c.settings = c.retry
	c.early.offered = true
	return nil
}

// writeBetween has what is to be written first sent early, when a message of the
// server's has come, and before the next.
func (c *connection) writeBetween(conn *mtls.Conn) error {
	d, ok := c.transport.(*dribble)
	if !ok || !c.after.writesFirst {
		return unimplemented("early data between messages is for -async alone, and for who writes first")
	}
	d.before = func() error {
		if c.lastRead != message.Type(c.early.writeAfter) {
			return nil
		}
		d.before = nil
		_, err := conn.WriteEarly([]byte(c.after.initialWrite))
		return err
	}
	return nil
}

// echoEarly gives back, before the handshake is over, what came early.
func (c *connection) echoEarly() error {
	conn, ok := c.conn.(*mtls.Conn)
	if !ok || !c.server {
		return nil
	}
	b := make([]byte, 512)
	for {
		n, err := conn.ReadEarly(b)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range b[:n] {
			b[i] ^= 0xff
		}
		if _, err := conn.Write(b[:n]); err != nil {
			return err
		}
	}
}

// verifyEarly looks at what became of early data.
func (c *connection) verifyEarly() error {
	n := c.conn.Negotiated()
	if c.early.accepted && n.EarlyData != mtls.EarlyAccepted || c.server && c.early.rejected && n.EarlyData == mtls.EarlyAccepted {
		return fmt.Errorf("what became of early data is %d, and the opposite was expected", n.EarlyData)
	}
	if want := c.early.reason; want != "" && c.whatBecame(n) != want {
		return fmt.Errorf("the reason about early data is %q, and %q was expected", c.whatBecame(n), want)
	}
	if want := time.Duration(c.early.skew) * time.Second; c.resumes && want != 0 && n.TicketAgeSkew.Truncate(time.Second) != want {
		return fmt.Errorf("the skew of the ticket's age is %v, and %v was expected", n.TicketAgeSkew, want)
	}
	return nil
}

// whatBecame is the runner's word for what became of early data, and why.
func (c *connection) whatBecame(n mtls.Negotiated) string {
	switch {
	case n.EarlyData == mtls.EarlyAccepted:
		return "accept"
	case !c.early.enabled:
		return "disabled"
	case c.server && c.notTaken != "" && !n.Resumed:
		return "session_not_resumed"
	case c.server:
		for part, word := range map[string]string{
			"HelloRetryRequest": "hello_retry_request",
			"the protocol":      "alpn_mismatch", "as old as": "ticket_age_skew", "the ticket": "unsupported_for_session",
		} {
			if strings.Contains(c.notTaken, part) {
				return word
			}
		}
		return "no_session_offered"
	case !c.resumes:
		return "no_session_offered"
	case !c.early.offered:
		return "unsupported_for_session"
	case n.Retried:
		return "hello_retry_request"
	case !n.Resumed:
		return "session_not_resumed"
	}
	return "peer_declined"
}

// observeEarly notes why our server does not take early data.
func (c *connection) observeEarly(e mtls.Event) {
	if e.Kind == observe.Agreed && e.Label == "early data" {
		c.notTaken = e.Value
	}
}
