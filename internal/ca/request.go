package ca

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/signing"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/suite"
)

// request is a certificate request (PKCS #10, RFC 2986) that its own key has
// signed. What counts in it is the key; its names are held to the grant, and no
// name comes from it.
type request struct {
	spki       []byte
	hash       [sha256.Size]byte
	dns        []string
	ips        []netip.Addr
	uris       []string
	commonName string
}

var errRequest = errors.New("the certificate request is not well-formed DER (PKCS #10)")

// Object identifiers, as the bytes of their contents.
const (
	oidExtensionRequest = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e" // RFC 2985, section 5.4.2
	oidSAN              = "\x55\x1d\x11"
	oidCommonName       = "\x55\x04\x03"
)

// readRequest reads a request, and refuses it as a Problem.
func (a *Authority) readRequest(csr []byte) (*request, error) {
	if len(csr) > api.MaxBody {
		return nil, problem(413, code.RequestTooLarge, "the certificate request has %d bytes, expected at most %d", len(csr), api.MaxBody)
	}
	r, keyError, err := parseRequest(csr)
	switch {
	case err != nil:
		return nil, problem(400, code.RequestMalformed, "%s", err.Error())
	case keyError != nil:
		return nil, problem(422, code.KeyNotAccepted, "%s", keyError.Error())
	case a.authorityKey(r.hash):
		return nil, problem(422, code.KeyNotAccepted, "the key belongs to the authority")
	}
	return r, nil
}

// authorityKey says whether a key is one of an authority's of this domain.
func (a *Authority) authorityKey(spki [sha256.Size]byte) bool {
	a.trust.RLock()
	defer a.trust.RUnlock()
	return a.keys[spki]
}

// parseRequest reads a request and verifies its signature. keyError is what makes
// the key unfit, and then nothing was verified.
func parseRequest(csr []byte) (r *request, keyError, err error) {
	in := cryptobyte.String(csr)
	var whole, info, body, subject, spki, algorithm, attributes cryptobyte.String
	var signature []byte
	var version int64
	ok := in.ReadASN1(&whole, der.SEQUENCE) && in.Empty() &&
		whole.ReadASN1Element(&info, der.SEQUENCE) &&
		whole.ReadASN1Element(&algorithm, der.SEQUENCE) &&
		whole.ReadASN1BitStringAsBytes(&signature) && whole.Empty()
	signed := []byte(info)
	ok = ok && info.ReadASN1(&body, der.SEQUENCE) &&
		body.ReadASN1Integer(&version) && version == 0 &&
		body.ReadASN1(&subject, der.SEQUENCE) &&
		body.ReadASN1Element(&spki, der.SEQUENCE) &&
		body.ReadOptionalASN1(&attributes, nil, der.Tag(0).Constructed().ContextSpecific()) && body.Empty()
	if !ok {
		return nil, nil, errRequest
	}
	r = &request{spki: spki, hash: sha256.Sum256(spki)}
	if err := r.readSubject(subject); err != nil {
		return nil, nil, err
	}
	if err := r.readAttributes(attributes); err != nil {
		return nil, nil, err
	}
	key, err := suite.ParsePublicKey(spki)
	if err == nil {
		err = signing.CheckKey(key)
	}
	if err != nil {
		return nil, err, nil
	}
	if err := key.VerifyCertificate(algorithm, signed, signature); err != nil {
		return nil, nil, fmt.Errorf("the certificate request is not signed by its own key: %w", err)
	}
	return r, nil, nil
}

func (r *request) readSubject(subject cryptobyte.String) error {
	for !subject.Empty() {
		var set cryptobyte.String
		if !subject.ReadASN1(&set, der.SET) || set.Empty() {
			return errRequest
		}
		for !set.Empty() {
			var pair, oid, value cryptobyte.String
			var tag der.Tag
			if !set.ReadASN1(&pair, der.SEQUENCE) || !pair.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
				!pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
				return errRequest
			}
			if string(oid) != oidCommonName {
				continue // the subject of the certificate comes from the grant
			}
			if r.commonName != "" {
				return errors.New("the certificate request has two common names")
			}
			r.commonName = string(value)
		}
	}
	return nil
}

func (r *request) readAttributes(attributes cryptobyte.String) error {
	seen := false
	for !attributes.Empty() {
		var attribute, oid, values, extensions cryptobyte.String
		if !attributes.ReadASN1(&attribute, der.SEQUENCE) || !attribute.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
			!attribute.ReadASN1(&values, der.SET) || !attribute.Empty() {
			return errRequest
		}
		if string(oid) != oidExtensionRequest {
			continue
		}
		if seen || !values.ReadASN1(&extensions, der.SEQUENCE) || !values.Empty() {
			return errRequest
		}
		seen = true
		if err := r.readExtensions(extensions); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) readExtensions(extensions cryptobyte.String) error {
	seen := false
	for !extensions.Empty() {
		var e, oid, value cryptobyte.String
		if !extensions.ReadASN1(&e, der.SEQUENCE) || !e.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
			!e.SkipOptionalASN1(der.BOOLEAN) || !e.ReadASN1(&value, der.OCTET_STRING) || !e.Empty() {
			return errRequest
		}
		if string(oid) != oidSAN {
			continue // usages and the like come from the profile
		}
		if seen {
			return errRequest
		}
		seen = true
		if err := r.readNames(value); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) readNames(value cryptobyte.String) error {
	var names cryptobyte.String
	if !value.ReadASN1(&names, der.SEQUENCE) || !value.Empty() {
		return errRequest
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag der.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return errRequest
		}
		switch tag {
		case der.Tag(2).ContextSpecific():
			r.dns = append(r.dns, string(name))
		case der.Tag(6).ContextSpecific():
			r.uris = append(r.uris, string(name))
		case der.Tag(7).ContextSpecific():
			ip, ok := netip.AddrFromSlice(name)
			if !ok {
				return errRequest
			}
			r.ips = append(r.ips, ip)
		default:
			return errors.New("the certificate request asks for names other than DNS names, IP addresses and URIs")
		}
	}
	return nil
}

// within refuses a request that asks for a name that is not granted.
func (r *request) within(g *signing.Grant) error {
	refuse := func(name string) error {
		return problem(403, code.NameNotGranted, "the request asks for the name %s, which is not granted", identity.Quote(name))
	}
	for _, n := range r.dns {
		if !slices.Contains(g.DNS, identity.Lower(n)) {
			return refuse(n)
		}
	}
	for _, ip := range r.ips {
		if !slices.Contains(g.IPs, ip) {
			return refuse(ip.String())
		}
	}
	for _, u := range r.uris {
		if u != g.SPIFFE {
			return refuse(u)
		}
	}
	if r.commonName != "" && !slices.Contains(g.DNS, identity.Lower(r.commonName)) {
		return refuse(r.commonName)
	}
	return nil
}

// maxNames bounds the extra names of a grant: a certificate is sent in every
// handshake.
const maxNames = 32

// checkNames holds a name and its extra names to what can be granted, and answers
// with the extra ones in the form in which they are kept.
func checkNames(name string, more []string) ([]string, error) {
	refuse := func(format string, args ...any) ([]string, error) {
		return nil, problem(422, code.OutsideProfile, format, args...)
	}
	clean, err := identity.CleanDNS(name)
	if err != nil {
		return refuse("%s", err.Error())
	}
	if clean != name {
		return refuse("the name %s is not in lower case, or ends with a dot", identity.Quote(name))
	}
	if len(more) > maxNames {
		return refuse("%d names are more than the %d that a certificate takes", len(more), maxNames)
	}
	out := []string{}
	for _, m := range more {
		if ip, err := netip.ParseAddr(m); err == nil {
			ip = ip.Unmap()
			if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
				return refuse("%s is not an address of one host", identity.Quote(m))
			}
			m = ip.String()
		} else if m, err = identity.CleanPattern(m); err != nil {
			return refuse("%s", err.Error())
		}
		if m != name && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	for _, n := range append([]string{name}, out...) {
		if strings.Contains(n, "_") { // RFC 5280, section 4.2.1.6: peers that go by the letter refuse it
			return refuse("the name %s has an underscore, which a certificate's DNS name must not have; write a hyphen", identity.Quote(n))
		}
		if api.Reserved(n) {
			return nil, problem(403, code.NameReserved, "the name %q is reserved", n)
		}
	}
	return out, nil
}

// grant is what a name and its extra names grant.
func (a *Authority) grant(name string, more []string) (*signing.Grant, error) {
	id, err := identity.NewSPIFFE(a.domain, name)
	if err != nil {
		return nil, err
	}
	g := &signing.Grant{SPIFFE: id.String(), DNS: []string{name}, AuthorityKey: a.authorityKey}
	for _, m := range more {
		if ip, err := netip.ParseAddr(m); err == nil {
			g.IPs = append(g.IPs, ip)
		} else {
			g.DNS = append(g.DNS, m)
		}
	}
	return g, nil
}
