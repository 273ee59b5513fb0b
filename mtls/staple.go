package mtls

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/pki"
)

// Staple is an answer of a certificate's authority about its revocation, shown
// beside the certificate to a peer that asks for it, server or client (RFC 8446,
// section 4.4.2.1). The zero value is none.
type Staple struct {
	// Response is an OCSP response in DER.
	Response []byte
	// From and Until are when it is shown. A response that has ended is shown to
	// nobody: it proves nothing, and some peers refuse it.
	From, Until time.Time
}

// NewStaple is a staple for c of an OCSP response, checked as a peer would check it:
// that it is about c, says that it is good, holds at the time, and is signed by the
// issuer or its delegate. The issuer is the second certificate of c's chain, or the
// one given.
func NewStaple(c *Certificate, response []byte, issuer *pki.Certificate, now time.Time) (Staple, error) {
	parsed, err := pki.ParseOCSPResponse(response)
	if err != nil {
		return Staple{}, err
	}
	chain, err := pki.ParseChain(c.chain)
	if err != nil {
		return Staple{}, err
	}
	if len(chain) == 0 {
		return Staple{}, errors.New("a raw public key has no issuer that could answer for it")
	}
	if issuer == nil && len(chain) > 1 {
		issuer = chain[1]
	}
	if issuer == nil {
		return Staple{}, errors.New("the chain does not hold the issuer, and none was given")
	}
	answer, err := parsed.About(chain[0], issuer, now)
	if err != nil {
		return Staple{}, fmt.Errorf("the OCSP response can't be shown: %w", err)
	}
	if answer.Status != pki.OCSPGood {
		return Staple{}, fmt.Errorf("the OCSP response says that the certificate is %s", answer.Status)
	}
	return Staple{Response: response, From: answer.ThisUpdate, Until: answer.NextUpdate}, nil
}

// maxStaple is the longest response that is shown. Real ones have 0.5 to 3 KiB.
const maxStaple = 16 << 10

// beside is what may be shown beside a chain, and the chain with it.
type beside struct {
	mu     sync.Mutex
	staple Staple
	scts   [][]byte
	made   [8]*handshake.Credential // by the sum of what is beside it: see below
}

// What can be beside a chain.
const (
	withResponse = 1 << iota
	withTimestamps
	withMark // that the peer named its trust anchor
)

// forget forgets what was made with something that is exchanged.
func (b *beside) forget(with int) {
	for i := range b.made {
		if i&with != 0 {
			b.made[i] = nil
		}
	}
}

// Staple exchanges what is shown beside the certificate from now on: as often as
// there is a new answer, while the certificate is in use.
func (c *Certificate) Staple(s Staple) error {
	switch {
	case len(s.Response) > maxStaple:
		return fmt.Errorf("the OCSP response has %d bytes; at most %d are shown", len(s.Response), maxStaple)
	case len(s.Response) > 0 && !s.From.Before(s.Until):
		return errors.New("the OCSP response ends before it begins")
	}
	s.Response = slices.Clone(s.Response)
	c.beside.mu.Lock()
	defer c.beside.mu.Unlock()
	c.beside.staple = s
	c.beside.forget(withResponse)
	return nil
}

// Timestamps exchanges the certificate's timestamps of logs (RFC 6962, section
// 3.3), each a SignedCertificateTimestamp as a log gave it. They are shown to
// peers that ask. None shows none.
func (c *Certificate) Timestamps(scts ...[]byte) error {
	if len(scts) > message.MaxSCTs {
		return fmt.Errorf("%d timestamps are more than the %d that are shown", len(scts), message.MaxSCTs)
	}
	list := make([][]byte, len(scts))
	for i, one := range scts {
		if len(one) == 0 || len(one) > 1<<12 {
			return fmt.Errorf("timestamp %d has %d bytes, which none has", i+1, len(one))
		}
		list[i] = slices.Clone(one)
	}
	c.beside.mu.Lock()
	defer c.beside.mu.Unlock()
	c.beside.scts = list
	c.beside.forget(withTimestamps)
	return nil
}

// credential is the chain with what the peer wants beside it, as far as there is.
func (c *Certificate) credential(op *handshake.Op, clock func() time.Time) *handshake.Credential {
	mark := c.UnderTrustAnchor(op.TrustAnchors)
	if !op.WantsOCSP && !op.WantsSCT && !mark || c.kind == RawPublicKey {
		return c.shown
	}
	b := &c.beside
	b.mu.Lock()
	defer b.mu.Unlock()
	which := 0
	if op.WantsOCSP && len(b.staple.Response) > 0 {
		if now := clock(); !now.Before(b.staple.From) && now.Before(b.staple.Until) {
			which |= withResponse
		}
	}
	if op.WantsSCT && len(b.scts) > 0 {
		which |= withTimestamps
	}
	if mark {
		which |= withMark
	}
	if which == 0 {
		return c.shown
	}
	if b.made[which] == nil {
		made, err := c.showing(which)
		if err != nil { // the chain is so long that nothing fits beside it
			return c.shown
		}
		b.made[which] = made
	}
	return b.made[which]
}

// showing makes the Certificate message. It is called with beside locked.
func (c *Certificate) showing(which int) (*handshake.Credential, error) {
	msg := message.Certificate{Entries: make([]message.CertificateEntry, len(c.chain))}
	for i, der := range c.chain {
		msg.Entries[i].Data = der
	}
	leaf := &msg.Entries[0]
	if c.delegated != nil {
		body, err := c.delegated.Append(nil)
		if err != nil {
			return nil, err
		}
		leaf.Extensions = append(leaf.Extensions, message.Extension{Type: message.ExtDelegatedCredential, Body: body})
	}
	if which&withResponse != 0 {
		leaf.Extensions = append(leaf.Extensions, message.OCSPExtension(c.beside.staple.Response))
	}
	if which&withTimestamps != 0 {
		list, err := message.AppendSCTList(nil, c.beside.scts)
		if err != nil {
			return nil, err
		}
		leaf.Extensions = append(leaf.Extensions, message.Extension{Type: message.ExtSCT, Body: list})
	}
	if which&withMark != 0 {
		leaf.Extensions = append(leaf.Extensions, message.Extension{Type: message.ExtTrustAnchors})
	}
	wire, err := msg.Append(nil)
	if err != nil {
		return nil, err
	}
	return &handshake.Credential{Wire: wire, Schemes: c.schemes, Value: c, Delegated: c.delegation(), Named: which&withMark != 0}, nil
}
