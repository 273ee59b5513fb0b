package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mutual-tls/mutual/mtls"
)

// anchors is what the runner wants of trust anchor identifiers.
type anchors struct {
	available []mtls.TrustAnchorID // that a server tells in the place of its own
	tells     bool
}

func init() {
	register(
		octets("cert-properties", func(s *settings) *[]byte { return &s.credential().properties }),
		anchorList("requested-trust-anchors", func(s *settings, ids []mtls.TrustAnchorID) {
			s.change(func(c *config) {
				if c.client != nil {
					c.TrustAnchors = &mtls.TrustAnchors{Named: ids}
				}
			})
		}),
		anchorList("available-trust-anchors", func(s *settings, ids []mtls.TrustAnchorID) {
			s.anchors = anchors{available: ids, tells: true}
		}),
		anchorList("expect-peer-available-trust-anchors", func(s *settings, ids []mtls.TrustAnchorID) {
			s.check(func(c *connection) error {
				if got := c.conn.(anchored).TrustAnchors(); !slices.Equal(got, ids) {
					return fmt.Errorf("the server has the trust anchors %v, and %v were expected", got, ids)
				}
				return nil
			})
		}),
		matches("expect-peer-match-trust-anchor", true),
		matches("expect-no-peer-match-trust-anchor", false),
	)
}

type anchored interface{ TrustAnchors() []mtls.TrustAnchorID }

// anchorList is a flag whose value is a list of identifiers, each with its length
// before it.
func anchorList(name string, f func(s *settings, ids []mtls.TrustAnchorID)) flag {
	var b []byte
	list := octets(name, func(*settings) *[]byte { return &b })
	read := list.set
	list.set = func(s *settings, v string) error {
		if err := read(s, v); err != nil {
			return err
		}
		var ids []mtls.TrustAnchorID
		for len(b) > 0 {
			n := int(b[0])
			if n+1 > len(b) {
				return errors.New("a trust anchor is cut off")
			}
			ids, b = append(ids, mtls.TrustAnchorID(b[1:1+n])), b[1+n:]
		}
		f(s, ids)
		return nil
	}
	return list
}

func matches(name string, want bool) flag {
	return does(name, func(s *settings) {
		s.check(func(c *connection) error {
			if got := c.conn.Negotiated().TrustAnchor; got != want {
				return fmt.Errorf("whether the peer's certificate stands under a trust anchor that we named: %t, and the opposite was expected", got)
			}
			return nil
		})
	})
}

// stand puts the certificate under the trust anchor that the flags say.
func (c *credential) stand() error {
	if c.properties == nil {
		return nil
	}
	var p mtls.CertificateProperties
	if err := p.Parse(c.properties); err != nil {
		return err
	}
	var err error
	c.certificate, err = c.certificate.WithProperties(p)
	return err
}

// TrustAnchors makes a connection an Identity that says what it has.
func (c *connection) TrustAnchors(ask *mtls.Ask) (ids []mtls.TrustAnchorID) {
	if c.anchors.tells {
		return c.anchors.available
	}
	for _, one := range append(slices.Clone(c.own[1:]), c.own[0]) {
		if one.certificate != nil {
			ids = append(ids, one.certificate.TrustAnchors(ask)...)
		}
	}
	return ids
}

var _ mtls.Anchored = (*process)(nil)

func (p *process) TrustAnchors(ask *mtls.Ask) []mtls.TrustAnchorID {
	return p.current.TrustAnchors(ask)
}
