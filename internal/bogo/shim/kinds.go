package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/mutual-tls/mutual/mtls"
)

// kinds is what the runner wants of kinds of proof, of values that mean nothing,
// and of the order of extensions.
type kinds struct {
	own, peer  []mtls.Kind
	wantKind   int
	peerRawKey []byte
}

func init() {
	register(
		does("enable-grease", func(s *settings) { s.change(func(c *config) { c.GREASE = true }) }),
		does("permute-extensions", func(s *settings) {
			s.change(func(c *config) {
				if c.client != nil {
					c.client.PermuteExtensions = true
				}
			})
		}),
		does("new-rpk-credential", func(s *settings) {
			s.own = append(s.own, &credential{raw: true})
			s.change(func(c *config) { c.ownKinds(s) })
		}),
		does("new-delegated-credential", func(s *settings) { s.own = append(s.own, &credential{}) }),
		octets("delegated-credential", func(s *settings) *[]byte { return &s.credential().delegated }),
		numbers("available-client-cert-types", func(s *settings) *[]mtls.Kind {
			s.change(func(c *config) { c.ownKinds(s) })
			return &s.kinds.own
		}),
		numbers("accepted-peer-cert-types", func(s *settings) *[]mtls.Kind {
			s.change(func(c *config) { c.peerKinds(s) })
			return &s.kinds.peer
		}),
		doesWith("expect-peer-certificate-type", func(s *settings, v string) error {
			_, err := fmt.Sscan(v, &s.kinds.wantKind)
			s.check(func(c *connection) error {
				kind := mtls.X509
				if peer, _ := c.peer(); peer.RawKey != nil {
					kind = mtls.RawPublicKey
				}
				if int(kind) != s.kinds.wantKind {
					return fmt.Errorf("the peer showed a certificate of type %d, and %d was expected", kind, s.kinds.wantKind)
				}
				return nil
			})
			return err
		}),
		octets("expect-peer-rpk-sha256", func(s *settings) *[]byte {
			s.check(func(c *connection) error {
				peer, _ := c.peer()
				if sum := sha256.Sum256(peer.RawKey); !bytes.Equal(sum[:], s.kinds.peerRawKey) {
					return fmt.Errorf("the peer's raw public key has the hash %x, and %x was expected", sum, s.kinds.peerRawKey)
				}
				return nil
			})
			return &s.kinds.peerRawKey
		}),
	)
}

// process is what everything was made with.
func (c *config) process() *process { return c.Observer.(*process) }

// showing is a process that says what it can show; taking is one that says what
// it takes.
type showing struct {
	*process
	kinds []mtls.Kind
}

func (s showing) Kinds() []mtls.Kind { return s.kinds }

type taking struct {
	*process
	kinds []mtls.Kind
}

func (t taking) Kinds() []mtls.Kind { return t.kinds }

// ownKinds are what the flag says, and else those of the credentials.
func (c *config) ownKinds(s *settings) {
	if c.client == nil {
		return
	}
	kinds := s.kinds.own
	for _, one := range append(slices.Clone(s.own[1:]), s.own[0]) {
		if k := one.kind(); s.kinds.own == nil && one.keyFile != "" && !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	c.client.Identity = showing{c.process(), kinds}
}

func (c *config) peerKinds(s *settings) {
	v := taking{c.process(), s.kinds.peer}
	switch {
	case c.client != nil:
		c.client.Servers = v
	case s.requirePeer:
		c.server.Clients = mtls.Required(v)
	case s.verifyPeer:
		c.server.Clients = mtls.Optional(v)
	}
}

func (c *credential) kind() mtls.Kind {
	if c.raw {
		return mtls.RawPublicKey
	}
	return mtls.X509
}

// kindFits says whether the peer takes the kind of the credential.
func (c *credential) kindFits(ask *mtls.Ask) bool { return slices.Contains(ask.Kinds, c.kind()) }

// peer is who was proven.
func (c *connection) peer() (mtls.Peer, bool) {
	return c.conn.(interface{ Peer() (mtls.Peer, bool) }).Peer()
}
