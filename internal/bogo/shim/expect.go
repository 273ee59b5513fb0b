package main

import (
	"bytes"
	"fmt"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// expect is what the runner wants to be true when the handshake is over.
type expect struct {
	alpn, selectedALPN, advertisedALPN string
	serverName                         string
	noServerName                       bool
	version                            int
	curve, scheme                      int
	cipher, cipherAES, cipherNoAES     int
	hrr, noHRR                         bool
	sessionMiss                        bool
	peerCertFile                       string
	noPeerCert                         bool
	noSession, ticketRenewal           bool
	selected                           int // of our credentials; -2: no matter
	verifyPrefs                        []mtls.Scheme
	authorities                        [][]byte
}

func init() {
	register(
		text("expect-alpn", func(s *settings) *string { return &s.expect.alpn }),
		text("expect-advertised-alpn", func(s *settings) *string { return &s.expect.advertisedALPN }),
		text("expect-server-name", func(s *settings) *string { return &s.expect.serverName }),
		toggle("expect-no-server-name", func(s *settings) *bool { return &s.expect.noServerName }),
		number("expect-version", func(s *settings) *int { return &s.expect.version }),
		number("expect-curve-id", func(s *settings) *int { return &s.expect.curve }),
		number("expect-peer-signature-algorithm", func(s *settings) *int { return &s.expect.scheme }),
		number("expect-cipher", func(s *settings) *int { return &s.expect.cipher }),
		number("expect-cipher-aes", func(s *settings) *int { return &s.expect.cipherAES }),
		number("expect-cipher-no-aes", func(s *settings) *int { return &s.expect.cipherNoAES }),
		toggle("expect-hrr", func(s *settings) *bool { return &s.expect.hrr }),
		toggle("expect-no-hrr", func(s *settings) *bool { return &s.expect.noHRR }),
		toggle("expect-session-miss", func(s *settings) *bool { return &s.expect.sessionMiss }),
		text("expect-peer-cert-file", func(s *settings) *string { return &s.expect.peerCertFile }),
		toggle("expect-no-peer-cert", func(s *settings) *bool { return &s.expect.noPeerCert }),
		toggle("expect-no-session", func(s *settings) *bool { return &s.expect.noSession }),
		toggle("expect-ticket-renewal", func(s *settings) *bool { return &s.expect.ticketRenewal }),
		numbers("expect-peer-verify-pref", func(s *settings) *[]mtls.Scheme { return &s.expect.verifyPrefs }),
		number("expect-selected-credential", func(s *settings) *int { return &s.expect.selected }),
		ignored("expect-verify-result"),          // a connection stands where its peer was admitted, and only there
		ignored("expect-extended-master-secret"), // so it is in TLS 1.3
		ignored("expect-no-session-id"),          // a session is in its ticket where none keeps a store
		ignored("expect-secure-renegotiation"),   // there is none, which is secure
		doesWith("expect-total-renegotiations", func(_ *settings, v string) error {
			if v != "0" {
				return unimplemented("there is no renegotiation")
			}
			return nil
		}),
	)
}

// verifyHandshake looks at a connection whose handshake is over.
func (c *connection) verifyHandshake() error {
	e, n := &c.expect, c.conn.Negotiated()
	alpn := e.alpn
	if c.server {
		alpn = e.selectedALPN
	}
	var cipher int
	if cipher = e.cipherNoAES; suite.AcceleratedAES() {
		cipher = e.cipherAES
	}
	if cipher == 0 {
		cipher = e.cipher
	}
	switch {
	case e.version != 0 && e.version != tls13:
		return fmt.Errorf("version %#04x was expected, and it is TLS 1.3", e.version)
	case n.ALPN != alpn:
		return fmt.Errorf("the protocol is %q, and %q was expected", n.ALPN, alpn)
	case e.serverName != "" && n.ServerName != e.serverName:
		return fmt.Errorf("the server name is %q, and %q was expected", n.ServerName, e.serverName)
	case e.noServerName && n.ServerName != "":
		return fmt.Errorf("the server name is %q, and none was expected", n.ServerName)
	case e.curve != 0 && int(n.Group) != e.curve:
		return fmt.Errorf("the group is %#04x, and %#04x was expected", uint16(n.Group), e.curve)
	case e.scheme != 0 && !n.Resumed && int(n.Scheme) != e.scheme:
		return fmt.Errorf("the peer signed with %#04x, and %#04x was expected", uint16(n.Scheme), e.scheme)
	case cipher != 0 && int(n.Suite) != cipher:
		return fmt.Errorf("the suite is %#04x, and %#04x was expected", uint16(n.Suite), cipher)
	case e.hrr && !n.Retried, e.noHRR && n.Retried:
		return fmt.Errorf("whether there was a HelloRetryRequest: %t, and the opposite was expected", n.Retried)
	case n.Resumed != (c.resumes && !e.sessionMiss):
		return fmt.Errorf("whether the session was resumed: %t, and the opposite was expected", n.Resumed)
	}
	if err := c.verifyPeerChain(); err != nil {
		return err
	}
	if e.selected > -2 {
		if got := c.shown(); got != e.selected {
			return fmt.Errorf("the credential %d was shown, and %d was expected", got, e.selected)
		}
	}
	if err := c.verifyEarly(); err != nil {
		return err
	}
	for _, check := range c.checks {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func (c *connection) verifyPeerChain() error {
	chain := c.conn.PeerChain()
	if c.expect.noPeerCert {
		if len(chain) > 0 {
			return fmt.Errorf("the peer showed a certificate, and none was expected")
		}
		return nil
	}
	if peer, _ := c.peer(); len(chain) == 0 && peer.RawKey == nil && !peer.PreShared && (!c.server || c.requirePeer) {
		return fmt.Errorf("the peer showed no certificate")
	}
	if c.expect.peerCertFile == "" {
		return nil
	}
	want, err := readChain(c.expect.peerCertFile)
	if err != nil {
		return err
	}
	if len(want) != len(chain) {
		return fmt.Errorf("the peer's chain has %d certificates, and %d were expected", len(chain), len(want))
	}
	for i := range want {
		if !bytes.Equal(want[i], chain[i].Raw) {
			return fmt.Errorf("certificate %d of the peer's is not the expected one", i+1)
		}
	}
	return nil
}

// verifyTickets looks, at the end, at what a client was given to resume with.
func (c *connection) verifyTickets() error {
	if c.server || c.after.shutsDown {
		return nil
	}
	if c.tickets > 0 == c.expect.noSession {
		return fmt.Errorf("whether a ticket came: %t, and the opposite was expected", c.tickets > 0)
	}
	if c.tickets > 0 && c.early.enabled && c.allowEarly != c.early.ticketAllows {
		return fmt.Errorf("whether the ticket allows early data: %t, and the opposite was expected", c.allowEarly)
	}
	return nil
}
