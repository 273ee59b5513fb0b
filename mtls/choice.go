package mtls

import (
	"context"
	"encoding/asn1"
	"slices"
)

// Choose is an Identity of several certificates. It answers with the first that
// can sign with a scheme that the peer verifies, has what a server's filters ask
// for and, where the peer names its authorities or trust anchors, stands under one of
// them. Among
// those it takes one whose chain is signed as the peer wants it, if there is one
// (RFC 8446, section 4.4.2.2). Where none stands under the authorities, a client
// shows none, and a server shows the first that fits otherwise.
func Choose(certificates ...*Certificate) Identity { return choice(certificates) }

type choice []*Certificate

func (cs choice) Certificate(_ context.Context, ask *Ask) (*Certificate, error) {
	const named, verifiable = 2, 1
	var best *Certificate
	most := -1
	for _, c := range cs {
		if !c.Fits(ask) || !c.matches(ask.Filters) {
			continue
		}
		if c.kind == RawPublicKey {
			return c, nil // no authority stands above it
		}
		points := 0
		switch {
		case c.named(ask):
			points = named
		case c.forThose(ask), ask.Role == RoleClient && c.strange(ask):
			continue
		case len(ask.Authorities) == 0 && len(ask.TrustAnchors) == 0:
			points = named
		}
		if c.signedBy(ask) {
			points += verifiable
		}
		if points > most {
			best, most = c, points
		}
	}
	return best, nil
}

// named says whether the peer named what the certificate stands under, in either way.
func (c *Certificate) named(ask *Ask) bool {
	return c.UnderTrustAnchor(ask.TrustAnchors) || len(ask.Authorities) > 0 && c.IssuedUnder(ask.Authorities)
}

// strange says whether the peer named what it trusts, and the certificate, which is
// not under that, could be known to be.
func (c *Certificate) strange(ask *Ask) bool {
	return len(ask.Authorities) > 0 || len(ask.TrustAnchors) > 0 && c.properties.TrustAnchor != ""
}

// Fits says whether the peer takes what the certificate is, and a signature by its
// key. Who may stand above it is another matter: see IssuedUnder.
func (c *Certificate) Fits(ask *Ask) bool { return c.kindIn(ask.Kinds) && c.canSign(ask) }

func (c *Certificate) canSign(ask *Ask) bool {
	if d := c.delegated; d != nil {
		return c.takenBy(ask.Delegated) && slices.Contains(ask.Schemes, d.Algorithm)
	}
	for _, s := range c.schemes {
		if slices.Contains(ask.Schemes, s) {
			return true
		}
	}
	return false
}

// signedBy says whether the peer verifies each signature along the chain.
func (c *Certificate) signedBy(ask *Ask) bool {
	wanted := ask.CertificateSchemes
	if len(wanted) == 0 {
		wanted = ask.Schemes
	}
	for _, schemes := range c.signed {
		if !slices.ContainsFunc(schemes, func(s Scheme) bool { return slices.Contains(wanted, s) }) {
			return false
		}
	}
	return true
}

// The extensions whose filters are matched, in DER.
const (
	oidKeyUsage         = "\x06\x03\x55\x1d\x0f"
	oidExtendedKeyUsage = "\x06\x03\x55\x1d\x25"
)

// matches says whether the leaf has what the filters that are known here ask for;
// others are passed over (RFC 8446, section 4.2.5).
func (c *Certificate) matches(filters []ExtensionFilter) bool {
	for i := range filters {
		switch f := &filters[i]; string(f.OID) {
		case oidKeyUsage:
			if !c.hasKeyUsages(f.Values) {
				return false
			}
		case oidExtendedKeyUsage:
			if !c.hasExtendedKeyUsages(f.Values) {
				return false
			}
		}
	}
	return true
}

// hasKeyUsages says whether every bit that is set in values is set in the leaf's
// key usage.
func (c *Certificate) hasKeyUsages(values []byte) bool {
	own, ok := c.extension(asn1.ObjectIdentifier{2, 5, 29, 15})
	var want, have asn1.BitString
	if !ok || !whole(values, &want) || !whole(own, &have) {
		return false
	}
	for i := range want.BitLength {
		if want.At(i) == 1 && have.At(i) == 0 {
			return false
		}
	}
	return true
}

// hasExtendedKeyUsages says whether every usage in values is one of the leaf's.
// The one that stands for any does not count, neither here nor there.
func (c *Certificate) hasExtendedKeyUsages(values []byte) bool {
	own, ok := c.extension(asn1.ObjectIdentifier{2, 5, 29, 37})
	var want, have []asn1.ObjectIdentifier
	if !ok || !whole(values, &want) || !whole(own, &have) {
		return false
	}
	for _, w := range want {
		if w.Equal(asn1.ObjectIdentifier{2, 5, 29, 37, 0}) || !slices.ContainsFunc(have, w.Equal) {
			return false
		}
	}
	return true
}

func (c *Certificate) extension(oid asn1.ObjectIdentifier) ([]byte, bool) {
	for i := range c.leaf.Extensions {
		if x := &c.leaf.Extensions[i]; x.Id.Equal(oid) {
			return x.Value, true
		}
	}
	return nil, false
}

func whole(der []byte, v any) bool {
	rest, err := asn1.Unmarshal(der, v)
	return err == nil && len(rest) == 0
}
