package handshake

import (
	"errors"
	"io"
	"slices"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// GREASE (RFC 8701): values that mean nothing, among those that we offer. Who
// chokes on them would choke on the next thing that TLS learns, and is found out
// now. To choose one is to choose what was not offered: the lists of Config, which
// answers are held against, have none.

// greaseALPN is the protocol name that goes with the byte (section 2).
func greaseALPN(random byte) string {
	v := byte(suite.GREASE(random))
	return string([]byte{v, v})
}

// greaseMode is a PskKeyExchangeMode that means nothing (section 2).
func greaseMode(random byte) uint8 { return 0x0b + 0x1f*(random>>5) }

// grease adds to the hello one value of each kind (section 3.1).
func (c *Client) grease() error {
	if !c.cfg.GREASE {
		return nil
	}
	var r [8]byte
	if _, err := io.ReadFull(c.cfg.Random, r[:]); err != nil {
		return errors.New("the random source failed")
	}
	h := &c.hello
	group := suite.GroupID(suite.GREASE(r[1]))
	h.CipherSuites = before(suite.ID(suite.GREASE(r[0])), h.CipherSuites)
	h.Groups = before(group, h.Groups)
	h.KeyShares = before(message.KeyShare{Group: group, Data: []byte{0}}, h.KeyShares)
	h.Schemes = before(suite.Scheme(suite.GREASE(r[2])), h.Schemes)
	h.Versions = before(suite.GREASE(r[3]), h.Versions)
	h.PSKModes = append(slices.Clone(h.PSKModes), greaseMode(r[4]))
	if len(h.ALPN) > 0 {
		h.ALPN = before(greaseALPN(r[5]), h.ALPN)
	}
	h.Extensions = append(h.Extensions, greaseExtension(r[6]), message.Extension{Type: other(r[6], r[7]), Body: []byte{0}})
	return nil
}

// before is list with v in front, and leaves list what it is.
func before[T any](v T, list []T) []T { return append([]T{v}, list...) }

func greaseExtension(random byte) message.Extension {
	return message.Extension{Type: message.ExtensionType(suite.GREASE(random))}
}

// other is the type of a second extension beside the one of random.
func other(random, second byte) message.ExtensionType {
	if suite.GREASE(second) == suite.GREASE(random) {
		second ^= 0x10
	}
	return message.ExtensionType(suite.GREASE(second))
}

// order draws an order for the extensions of our hellos.
func (c *Client) order() error {
	if !c.cfg.Permute {
		return nil
	}
	c.hello.Order = new(message.Order)
	if _, err := io.ReadFull(c.cfg.Random, c.hello.Order[:]); err != nil {
		return errors.New("the random source failed")
	}
	return nil
}

// greaseRequest adds an extension and a scheme to a CertificateRequest, and
// greaseTicket an extension to a NewSessionTicket (section 4.1).
func (s *Server) greaseRequest(m *message.CertificateRequest) error {
	if !s.cfg.GREASE {
		return nil
	}
	var r [2]byte
	if _, err := io.ReadFull(s.cfg.Random, r[:]); err != nil {
		return errors.New("the random source failed")
	}
	m.Schemes = before(suite.Scheme(suite.GREASE(r[0])), m.Schemes)
	m.Extensions = append(m.Extensions, greaseExtension(r[1]))
	return nil
}

func (s *Server) greaseTicket(m *message.NewSessionTicket) error {
	if !s.cfg.GREASE {
		return nil
	}
	var r [1]byte
	if _, err := io.ReadFull(s.cfg.Random, r[:]); err != nil {
		return errors.New("the random source failed")
	}
	m.Extensions = append(m.Extensions, greaseExtension(r[0]))
	return nil
}
