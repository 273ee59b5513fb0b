package handshake

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// A client's Encrypted Client Hello (RFC 9849, section 6). The hello of the
// machine is the inner one; the outer one is made around it when it is sent, and
// becomes the hello of the machine where the server rejects.

// concealment is what a client keeps of it during the handshake.
type concealment struct {
	sealer *ech.Sealer
	outer  message.ClientHello // as it was sent last
	random [32]byte            // the outer one
	// identities stand where the outer hello pretends to resume.
	identities [][]byte
	status     ECHStatus // ECHNone while it is not known
	retry      []byte    // the server's configs
}

// Conceal has the client encrypt its hello. It comes before Start.
func (c *Client) Conceal(s *ech.Sealer) { c.ech = &concealment{sealer: s} }

func (c *Client) rejectedECH() bool { return c.ech != nil && c.ech.status == ECHRejected }

// offersECH says whether a server may answer encrypted_client_hello.
func (c *Client) offersECH() bool { return c.ech != nil || c.hello.ECH != nil }

// awaitsConfigs says whether a server may give configs to retry with.
func (c *Client) awaitsConfigs() bool { return c.rejectedECH() || c.ech == nil && c.offersECH() }

// repeated are the extensions that stand in both hellos, and in the encrypted one
// by name alone: those that say nothing of whom the client means. What is not
// known to be such is kept inside (RFC 9849, section 10.5).
func repeated(t message.ExtensionType) bool {
	switch t {
	case message.ExtSupportedVersions, message.ExtSupportedGroups, message.ExtKeyShare, message.ExtSignatureAlgorithms,
		message.ExtSignatureAlgorithmsCert, message.ExtALPN, message.ExtPSKKeyExchangeModes, message.ExtCookie, message.ExtEarlyData,
		message.ExtPostHandshakeAuth, message.ExtRecordSizeLimit, message.ExtCompressCertificate, message.ExtStatusRequest,
		message.ExtSCT, message.ExtDelegatedCredential, message.ExtClientCertificateType, message.ExtServerCertificateType,
		message.ExtTicketRequest, message.ExtQUICTransportParameters:
		return true
	}
	return suite.IsGREASE(uint16(t))
}

// makeHello makes the hello that the transcript begins with, its binders yet to
// be made.
func (c *Client) makeHello() ([]byte, error) {
	switch {
	case c.rejectedECH():
		return c.outerAgain()
	case c.ech != nil:
		return c.innerHello()
	case c.cfg.GreaseECH && c.hello.ECH == nil:
		if err := c.pretend(); err != nil {
			return nil, err
		}
	}
	return c.hello.Append(make([]byte, 0, 2048))
}

// innerHello is the hello with the extensions that are repeated in a row, as
// their names have to be (RFC 9849, section 5.1).
func (c *Client) innerHello() ([]byte, error) {
	c.hello.ECH = &message.ECHHello{Inner: true}
	b, err := c.hello.Append(nil)
	if err != nil {
		return nil, err
	}
	var m message.ClientHello
	if err := m.Parse(b); err != nil {
		return nil, err
	}
	slices.SortStableFunc(m.Extensions, func(a, b message.Extension) int { return rank(a.Type) - rank(b.Type) })
	return m.AppendBare(make([]byte, 0, len(b)), m.Extensions)
}

func rank(t message.ExtensionType) int {
	switch {
	case t == message.ExtPreSharedKey:
		return 2 // the last, always
	case repeated(t):
		return 1
	}
	return 0
}

// enclose makes the outer hello around inner, where there is one to be made, and
// gives what is sent.
func (c *Client) enclose(inner []byte) ([]byte, error) {
	if c.ech == nil || c.rejectedECH() {
		return inner, nil
	}
	var m message.ClientHello
	if err := m.Parse(inner); err != nil {
		return nil, err
	}
	config := c.ech.sealer.Config
	encoded, err := m.EncodeInner(repeated, func(n int) int { return ech.Padding(n, m.ServerName, config.MaxNameLen) })
	if err != nil {
		return nil, err
	}
	outer, err := c.outerHello(&m, len(encoded))
	if err != nil {
		return nil, err
	}
	b, err := outer.Append(make([]byte, 0, len(inner)+len(encoded)))
	if err != nil {
		return nil, err
	}
	if err := c.ech.outer.Parse(b); err != nil {
		return nil, err
	}
	payload, err := c.ech.sealer.Seal(b[message.HeaderLen:], encoded)
	if err != nil {
		return nil, err
	}
	copy(c.ech.outer.ECH.Payload, payload) // which lies in b
	return b, nil
}

// outerHello is the outer hello with zeros for what is encrypted (RFC 9849,
// section 6.1). Its extensions keep the order that those of inner have.
func (c *Client) outerHello(inner *message.ClientHello, encoded int) (*message.ClientHello, error) {
	e := c.ech
	first := !c.result.Retried
	if first {
		if _, err := io.ReadFull(c.cfg.Random, e.random[:]); err != nil {
			return nil, errors.New("the random source failed")
		}
	}
	outer := &message.ClientHello{
		LegacyVersion: inner.LegacyVersion, Random: e.random, SessionID: inner.SessionID, CipherSuites: inner.CipherSuites,
		Compression: inner.Compression, ServerName: e.sealer.Config.PublicName, Order: c.hello.Order,
		ECH: &message.ECHHello{Suite: e.sealer.Suite, ConfigID: e.sealer.Config.ID, Payload: make([]byte, encoded+ech.TagLen)},
	}
	if first {
		outer.ECH.Enc = e.sealer.Enc
	}
	for _, x := range inner.Extensions {
		if repeated(x.Type) {
			outer.Extensions = append(outer.Extensions, x)
		}
	}
	if inner.PSK == nil {
		return outer, nil
	}
	// Who looks on is to find the server's answer to a PSK unsurprising (RFC 9849,
	// section 6.1.2). No real identity is ever in it.
	outer.PSK = &message.PreSharedKeys{}
	for i, id := range inner.PSK.Identities {
		if i == len(e.identities) {
			e.identities = append(e.identities, make([]byte, len(id.Identity)))
			if _, err := io.ReadFull(c.cfg.Random, e.identities[i]); err != nil {
				return nil, errors.New("the random source failed")
			}
		}
		r := make([]byte, 4+len(inner.PSK.Binders[i]))
		if _, err := io.ReadFull(c.cfg.Random, r); err != nil {
			return nil, errors.New("the random source failed")
		}
		outer.PSK.Identities = append(outer.PSK.Identities, message.PSKIdentity{
			Identity: e.identities[i], ObfuscatedAge: uint32(r[0])<<24 | uint32(r[1])<<16 | uint32(r[2])<<8 | uint32(r[3]),
		})
		outer.PSK.Binders = append(outer.PSK.Binders, r[4:])
	}
	return outer, nil
}

// outerAgain is the outer hello once more, after a HelloRetryRequest that
// rejected: with another key share and the cookie, and without what pretended to
// resume. The encrypted hello stays what it was.
func (c *Client) outerAgain() ([]byte, error) {
	answer := message.ClientHello{CipherSuites: c.hello.CipherSuites, Compression: nullCompression,
		HasKeyShares: true, KeyShares: c.hello.KeyShares, Cookie: c.hello.Cookie}
	b, err := answer.Append(nil)
	if err != nil {
		return nil, err
	}
	if err := answer.Parse(b); err != nil {
		return nil, err
	}
	var list []message.Extension
	for _, x := range c.ech.outer.Extensions {
		switch x.Type {
		case message.ExtPreSharedKey, message.ExtEarlyData, message.ExtCookie:
		case message.ExtKeyShare:
			list = append(list, answer.Extensions...)
		default:
			list = append(list, x)
		}
	}
	return c.ech.outer.AppendBare(nil, list)
}

// pretend makes up an encrypted_client_hello (RFC 9849, section 6.2.1), as long
// as a real one would be. It stays the same in a second hello.
func (c *Client) pretend() error {
	b, err := c.innerHello()
	if err != nil {
		return err
	}
	var m message.ClientHello
	if err := m.Parse(b); err != nil {
		return err
	}
	const likely = 64 // maximum_name_length, which a server would tell
	encoded, err := m.EncodeInner(repeated, func(n int) int { return ech.Padding(n, m.ServerName, likely) })
	if err != nil {
		return err
	}
	const key = 32 // any 32 bytes are a public key of X25519
	r := make([]byte, 2+key+len(encoded)+ech.TagLen)
	if _, err := io.ReadFull(c.cfg.Random, r); err != nil {
		return errors.New("the random source failed")
	}
	aeads := [...]uint16{ech.AEADAES128, ech.AEADAES256, ech.AEADChaCha20, ech.AEADAES128}
	c.hello.ECH = &message.ECHHello{
		Suite: message.ECHSuite{KDF: ech.KDFSHA256, AEAD: aeads[r[0]&3]}, ConfigID: r[1], Enc: r[2 : 2+key], Payload: r[2+key:],
	}
	c.result.ECH = ECHGreased
	return nil
}

// learnECH finds out from a ServerHello or a HelloRetryRequest, which is checked,
// whether the server read the encrypted hello (RFC 9849, section 6.1.4).
func (c *Client) learnECH(m *message.ServerHello) error {
	e := c.ech
	if e == nil {
		return nil
	}
	retry := m.IsRetry()
	if e.status != ECHRejected {
		var confirmed bool
		switch {
		case retry && c.result.Retried, !retry && c.result.Retried && m.CipherSuite != c.suite.ID:
			return nil // refused in a moment
		case retry:
			confirmed = m.ECHConfirmation != nil && c.confirms(m, m.ECHConfirmation)
		default:
			confirmed = c.confirms(m, m.Random[32-message.ECHConfirmationLen:])
		}
		switch {
		case confirmed && e.status == ECHNone:
			e.status = ECHAccepted
			c.became(ECHAccepted)
		case !confirmed && e.status == ECHAccepted:
			return c.misbehaved(alert.IllegalParameter, code.ECHContradicted, "the server read our encrypted hello in its HelloRetryRequest, and not in its ServerHello")
		case !confirmed:
			c.goOuter()
		}
	}
	if e.status == ECHRejected && m.HasPSK {
		return c.misbehaved(alert.IllegalParameter, code.UnsupportedExtension, "the server did not read our encrypted hello, and answers a pre-shared key that is in it")
	}
	return nil
}

// confirms says whether got is what a server says in m that read the inner hello.
func (c *Client) confirms(m *message.ServerHello, got []byte) bool {
	s, retry := suite.ByID(m.CipherSuite), m.IsRetry()
	var before hash.Hash
	switch {
	case !c.result.Retried && !retry:
		before = s.NewHash()
		before.Write(c.helloBytes)
	case retry:
		first := s.NewHash()
		first.Write(c.helloBytes)
		before = s.NewHash()
		before.Write(message.MessageHash(first.Sum(nil)))
	case c.helloBytes == nil: // it is in the transcript already
		before = c.hash
	default:
		h, err := c.hash.(hash.Cloner).Clone()
		if err != nil {
			return false
		}
		h.Write(c.helloBytes)
		before = h
	}
	want := confirmation(s, before, c.hello.Random, m.WithoutConfirmation(), retry)
	return subtle.ConstantTimeCompare(want, got) == 1
}

// goOuter goes on with the outer hello (RFC 9849, section 6.1.6): the server
// proves that it is the public name, gets no certificate of ours, and the
// handshake ends with a failure.
func (c *Client) goOuter() {
	e := c.ech
	e.status = ECHRejected
	c.became(ECHRejected)
	c.helloBytes = e.outer.Raw
	c.random, c.hello.Random = e.random, e.random
	c.hello.ServerName = e.sealer.Config.PublicName
	c.result.ServerName = c.hello.ServerName
	c.hello.ECH = nil
	c.hello.TrustAnchors, c.named = nil, nil // the outer hello has none
	c.dropAll(nil)
}

// takeRetryConfigs takes the server's encrypted_client_hello, which parses.
func (c *Client) takeRetryConfigs(m *message.EncryptedExtensions) {
	if c.rejectedECH() && m.ECHRetryConfigs != nil {
		c.ech.retry = bytes.Clone(m.ECHRetryConfigs)
	}
}

// refuseECH ends a handshake that went on with the outer hello.
func (c *Client) refuseECH() error {
	r := &ECHRejection{PublicName: c.ech.sealer.Config.PublicName, RetryConfigs: c.ech.retry}
	reason := "the server could not read our encrypted hello, and proved to be " + r.PublicName
	if r.RetryConfigs != nil {
		reason += ", which gives other keys for it"
	} else {
		reason += ", which gives no keys for it"
	}
	return &Failure{Alert: alert.ECHRequired, Code: code.ECHRejected, Fault: PeerIncompatible, At: c.at, Reason: reason, Err: r}
}
