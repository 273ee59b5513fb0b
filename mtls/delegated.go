package mtls

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/pki"
)

// Delegated credentials (RFC 9345): the holder of a certificate's key signs for
// another key, which proves itself in its place for up to seven days, on a machine
// that the certificate's key never sees. The certificate has to allow it, by the
// extension DelegationUsage; who can make such a credential for a server can't
// make one for a client with it, and the other way round.

// MaxDelegation is the longest that a delegated credential may still be good for
// (RFC 9345, section 4.1.3).
const MaxDelegation = 7 * 24 * time.Hour

var oidDelegationUsage = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 44363, 44}

// delegatedSchemes are what the keys of delegated credentials may sign with: RSA
// keys with the OID rsaEncryption must not (RFC 9345, section 4).
func delegatedSchemes() []Scheme {
	return []Scheme{suite.ECDSAWithP256AndSHA256, suite.Ed25519, suite.ECDSAWithP384AndSHA384, suite.ECDSAWithP521AndSHA512}
}

// mayDelegate says why the certificate does not allow delegation, nil where it does
// (RFC 9345, section 4.2).
func mayDelegate(leaf *x509.Certificate) error {
	if !slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidDelegationUsage) }) {
		return errors.New("the certificate does not allow delegation: it lacks the extension DelegationUsage")
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the certificate does not allow delegation: it lacks the key usage digitalSignature")
	}
	return nil
}

// Delegate makes a delegated credential: until the time end, the holder of key
// may stand for the certificate at the end that role names. It has to be made
// where the certificate's key is, at most seven days before its end; what it gives
// holds no secret, and NewDelegated takes it. random is nil for crypto/rand.
func (c *Certificate) Delegate(random io.Reader, key crypto.PublicKey, role Role, now, end time.Time) ([]byte, error) {
	if c.kind != X509 || c.delegated != nil {
		return nil, errors.New("only a certificate with its own key can delegate")
	}
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		return nil, err
	}
	if err := mayDelegate(leaf); err != nil {
		return nil, err
	}
	switch {
	case !end.After(now):
		return nil, errors.New("the delegated credential would be over when it begins")
	case end.Sub(now) > MaxDelegation:
		return nil, fmt.Errorf("a delegated credential is good for %v at most, not %v", MaxDelegation, end.Sub(now))
	case end.After(leaf.NotAfter):
		return nil, errors.New("a delegated credential ends before its certificate does")
	case now.Before(leaf.NotBefore):
		return nil, errors.New("the certificate is not good yet")
	}
	if random == nil {
		random = rand.Reader
	}
	spki, err := suite.MarshalPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("the key can't be delegated to: %w", err)
	}
	pub, err := suite.ParsePublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("the key can't be delegated to: %w", err)
	}
	d := message.DelegatedCredential{ValidTime: uint32(end.Sub(leaf.NotBefore) / time.Second), Key: spki, Algorithm: c.schemes[0]}
	i := slices.IndexFunc(delegatedSchemes(), pub.Fits)
	if i < 0 {
		return nil, errors.New("the key can't be delegated to: give an ECDSA or Ed25519 key")
	}
	d.Scheme = delegatedSchemes()[i]
	if d.Signature, err = suite.Sign(random, c.key, d.Algorithm, d.Input(role == RoleServer, c.chain[0])); err != nil {
		return nil, err
	}
	return d.Append(nil)
}

// NewDelegated is a Certificate that proves itself by a delegated credential, as
// Delegate makes it, and by its key. It is shown only to peers that take such: put
// it into Choose, with an ordinary certificate behind it for the others. Whether
// peers will find it good, CheckDelegated says, and NewServer and NewClient ask.
func NewDelegated(chain [][]byte, credential []byte, key crypto.Signer) (*Certificate, error) {
	if len(chain) == 0 || len(chain) > MaxChain || key == nil {
		return nil, fmt.Errorf("a delegated credential needs the chain of its certificate, of 1 to %d, and its own private key", MaxChain)
	}
	var d message.DelegatedCredential
	if err := d.Parse(slices.Clone(credential)); err != nil {
		return nil, fmt.Errorf("the delegated credential does not parse: %w", err)
	}
	own, err := suite.PublicOf(key)
	if err != nil {
		return nil, fmt.Errorf("the private key can't be used: %w", err)
	}
	pub, err := suite.ParsePublicKey(d.Key)
	if err != nil {
		return nil, fmt.Errorf("the key of the delegated credential can't be used: %w", err)
	}
	if !slices.Contains(delegatedSchemes(), d.Scheme) || !pub.Fits(d.Scheme) {
		return nil, fmt.Errorf("the delegated credential signs with %s, which such a one must not, or its key can't", d.Scheme)
	}
	if e, ok := pub.Key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !e.Equal(own.Key) {
		return nil, errors.New("the private key does not belong to the delegated credential")
	}
	c := &Certificate{chain: chain, key: key, schemes: []Scheme{d.Scheme}, delegated: &d}
	if err := c.readChain(); err != nil {
		return nil, err
	}
	c.ends = earliest(c.ends, delegationEnd(c.leaf, d.ValidTime))
	if c.shown, err = c.showing(0); err != nil {
		return nil, fmt.Errorf("the chain can't be sent: %w", err)
	}
	c.sum = sha256.Sum256(c.shown.Wire)
	return c, nil
}

// CheckDelegated says why peers would not take what NewDelegated made, at the end
// that role names and at the time now: its certificate does not allow delegation or
// did not sign it for that end, or its time is over. It is nil for other certificates.
func (c *Certificate) CheckDelegated(role Role, now time.Time) error {
	d := c.delegated
	if d == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		return err
	}
	if err := mayDelegate(leaf); err != nil {
		return err
	}
	key, err := suite.CertificateKey(c.chain[0])
	if err != nil {
		return err
	}
	if key.Verify(d.Algorithm, d.Input(role == RoleServer, c.chain[0]), d.Signature) != nil {
		return fmt.Errorf("the delegated credential was not signed by the key of the certificate for a %s", role)
	}
	return timelyDelegation(delegationEnd(leaf, d.ValidTime), now)
}

// checkDelegated is CheckDelegated of all that an identity of this package shows.
func checkDelegated(identity Identity, role Role, now time.Time) error {
	var all []*Certificate
	switch i := identity.(type) {
	case *Certificate:
		all = []*Certificate{i}
	case choice:
		all = i
	}
	for _, c := range all {
		if err := c.CheckDelegated(role, now); err != nil {
			return err
		}
	}
	return nil
}

// timelyDelegation holds the end of a delegated credential against the time (RFC
// 9345, section 4.1.3).
func timelyDelegation(end, now time.Time) error {
	switch {
	case now.After(end):
		return fmt.Errorf("the delegated credential ended at %s", end.UTC().Format(time.RFC3339))
	case end.Sub(now) > MaxDelegation:
		return fmt.Errorf("the delegated credential would be good until %s, longer than the %v that such may be", end.UTC().Format(time.RFC3339), MaxDelegation)
	}
	return nil
}

// delegation is what stands in a Certificate message of c, nil for nothing.
func (c *Certificate) delegation() *handshake.Delegation {
	if d := c.delegated; d != nil {
		return &handshake.Delegation{ValidTime: d.ValidTime, Scheme: d.Scheme, Algorithm: d.Algorithm}
	}
	return nil
}

// takenBy says whether a peer takes the certificate's delegated credential, where it
// has one.
func (c *Certificate) takenBy(delegated []Scheme) bool {
	return c.delegated == nil || slices.Contains(delegated, c.delegated.Scheme)
}

func delegationEnd(leaf *x509.Certificate, seconds uint32) time.Time {
	return leaf.NotBefore.Add(time.Duration(seconds) * time.Second)
}

// judgeDelegation says whether the leaf may delegate, and whether it is the time
// (RFC 9345, section 4.1.3). nil is yes, and the claim then knows its end.
func judgeDelegation(claim *Claim, d *handshake.Delegation) *Verdict {
	chain, err := claim.Certificates()
	if err != nil {
		return refusedPath(pki.Refused(err), nil)
	}
	leaf := chain[0].X509
	end := delegationEnd(leaf, d.ValidTime)
	if err = mayDelegate(leaf); err == nil {
		err = timelyDelegation(end, claim.Now)
	}
	if err == nil {
		claim.Delegated = end
		return nil
	}
	v := verdictOf(code.BadDelegation, chain)
	v.Reason = err.Error()
	return v
}

// within ends a verdict with the delegated credential that it rests on.
func (c *Claim) within(v *Verdict) *Verdict {
	if v == nil || !v.OK || c.Delegated.IsZero() || earliest(v.Until, c.Delegated).Equal(v.Until) {
		return v
	}
	bounded := *v
	bounded.Until = c.Delegated
	return &bounded
}
