package explain

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/pemfile"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

// Thing is what a file holds, or one of the things in it. Its JSON is what
// `mutual inspect --json` prints: of a file with several certificates it tells the
// first, and all of them in Certificates. Every key is there for every kind.
type Thing struct {
	// Kind is "certificate", "chain", "csr", "key", "public key", "crl" or "ocsp". Of a
	// list, NotBefore and NotAfter are when it was made and when the next one is due.
	Kind    string   `json:"kind"`
	Subject string   `json:"subject"`
	Names   []string `json:"names"`
	// Serial is in hex.
	Serial    string     `json:"serial"`
	Issuer    string     `json:"issuer"`
	NotBefore *time.Time `json:"not_before"`
	NotAfter  *time.Time `json:"not_after"`
	// Key is the kind of key: "ECDSA P-256".
	Key string `json:"key"`
	// Usages are key usages and extended key usages by their names in RFC 5280.
	Usages []string `json:"usages"`
	CA     bool     `json:"ca"`
	// SHA256 is of the certificate or request in DER; of a key it is KeySHA256.
	SHA256 string `json:"sha256"`
	// KeySHA256 is of the public key, a SubjectPublicKeyInfo in DER: what a pin is.
	KeySHA256 string `json:"key_sha256"`

	// Signature is the algorithm that a certificate or request is signed with.
	Signature string `json:"signature,omitempty"`
	// Timestamps are those of Certificate Transparency's logs that stand in a
	// certificate (RFC 6962), unverified.
	Timestamps []LogStamp `json:"timestamps,omitempty"`
	// Format and Encrypted are a private key's.
	Format    string `json:"format,omitempty"`
	Encrypted bool   `json:"encrypted,omitempty"`
	// Warnings say what is wrong with it, or soon will be.
	Warnings []string `json:"warnings,omitempty"`

	// Certificates are all of them, in the file's order, where Kind is "chain".
	Certificates []*Thing `json:"certificates,omitempty"`
	// PrivateKey is the private key beside the certificates, if there is one.
	PrivateKey *Thing `json:"private_key,omitempty"`

	// ListURLs and ResponderURLs are where a certificate says that news of its
	// revocation are; MustStaple that it always comes with an answer.
	ListURLs      []string `json:"crl_urls,omitempty"`
	ResponderURLs []string `json:"ocsp_urls,omitempty"`
	MustStaple    bool     `json:"must_staple,omitempty"`

	// Of a revocation list: its number, that of the list which a delta begins from,
	// what it covers, and how many are on it. Revoked are the first of them, or what an
	// OCSP response says.
	Number  string    `json:"number,omitempty"`
	Base    string    `json:"base,omitempty"`
	Scope   string    `json:"scope,omitempty"`
	Entries *int      `json:"entries,omitempty"`
	Revoked []Revoked `json:"revoked,omitempty"`

	certificate *pki.Certificate
}

// maxFile is the most that is read: a bundle of all the Web's authorities has some 250
// KiB, and a long revocation list some MiB.
const maxFile = pki.MaxRevocationList

// InspectFile reads a file, or stdin where name is "-", and tells what it holds.
// A private key is forgotten at once; that others may read its file is a warning.
func InspectFile(name string, stdin io.Reader, now time.Time) (*Thing, error) {
	in, what := stdin, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s is a directory, expected a file", name)
		}
		in, what = f, name
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	defer clear(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", what, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes, expected certificates, a key or a request", what, maxFile)
	}
	t, err := Inspect(b, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	key := t.PrivateKey
	if t.Kind == "key" {
		key = t
	}
	if name != "-" && key != nil {
		key.Warnings = append(key.Warnings, keystore.Warnings(name)...)
	}
	return t, nil
}

// Inspect tells what b holds, in PEM or DER. now is the time to warn by. Of a
// private key nothing is kept but what its public half tells.
func Inspect(b []byte, now time.Time) (*Thing, error) {
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")):
		return nil, errors.New("it is UTF-16 text, as PowerShell writes it; save it as UTF-8 or ASCII")
	case b[0] == 0x30:
		return inspectDER(b, now)
	}
	return inspectPEM(b, now)
}

// maxBlocks is how many PEM blocks are looked at.
const maxBlocks = 1000

func inspectPEM(b []byte, now time.Time) (*Thing, error) {
	var certificates, others []*Thing
	var key *Thing
	var strange []string
	blocks, err := pemfile.Blocks(b, maxBlocks)
	if err != nil {
		return nil, err
	}
	for n, block := range blocks {
		if isPKCS7(block) {
			all, err := inspectPKCS7(block.Bytes, now)
			if err != nil {
				return nil, fmt.Errorf("PEM block %d: %w", n+1, err)
			}
			certificates = append(certificates, all...)
			continue
		}
		t, err := inspectBlock(block, now)
		clear(block.Bytes)
		switch {
		case err != nil:
			return nil, fmt.Errorf("PEM block %d, %s: %w", n+1, identity.Quote(block.Type), err)
		case t == nil:
			strange = append(strange, identity.Quote(block.Type))
		case t.Kind == "certificate":
			certificates = append(certificates, t)
		case t.Kind == "key" && key == nil:
			key = t
		default:
			others = append(others, t)
		}
	}
	switch {
	case len(certificates) > 0:
		return gather(certificates, key, others), nil
	case key != nil:
		return alone(key, others), nil
	case len(others) > 0:
		return alone(others[0], others[1:]), nil
	case len(strange) > 0:
		return nil, fmt.Errorf("expected certificates, a key or a request, found PEM %s", listed(strange, 3))
	}
	return nil, errors.New(`expected PEM ("-----BEGIN ...") or DER, found neither`)
}

// inspectBlock tells a PEM block; nil where it is of no kind that is known here.
func inspectBlock(block *pem.Block, now time.Time) (*Thing, error) {
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return inspectCertificate(block.Bytes, now)
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return inspectRequest(block.Bytes)
	case "PUBLIC KEY":
		return inspectPublic(block.Bytes)
	case "X509 CRL":
		return inspectList(block.Bytes, now)
	case "OCSP RESPONSE":
		return inspectResponse(block.Bytes, now)
	}
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return inspectKey(block)
	}
	return nil, nil
}

// gather is a file with certificates, and what lies beside them.
func gather(certificates []*Thing, key *Thing, others []*Thing) *Thing {
	t := *certificates[0]
	first := certificates[0].certificate
	if len(certificates) > 1 {
		t.Kind, t.Certificates, t.Warnings = "chain", certificates, nil
		for i, c := range certificates[1:] {
			below := certificates[i].certificate
			if !below.IssuedInName(c.certificate) {
				t.Warnings = append(t.Warnings, fmt.Sprintf("certificate %d was not issued by certificate %d: as a chain, the leaf comes first and each issuer behind", i+1, i+2))
				break
			}
		}
	}
	if key != nil {
		t.PrivateKey = key
		if key.KeySHA256 != "" && key.KeySHA256 != t.KeySHA256 {
			t.Warnings = append(t.Warnings, "the private key does not belong to "+first.Label())
		}
	}
	t.note(others)
	return &t
}

func alone(t *Thing, others []*Thing) *Thing {
	t.note(others)
	return t
}

func (t *Thing) note(others []*Thing) {
	if len(others) > 0 {
		t.Warnings = append(t.Warnings, fmt.Sprintf("there is more in it, which is not told: %s", plural(len(others), "other thing", "other things")))
	}
}

// newThing has every list there, so that its JSON has no null where a list is due.
func newThing(kind string) *Thing { return &Thing{Kind: kind, Names: []string{}, Usages: []string{}} }

func inspectCertificate(der []byte, now time.Time) (*Thing, error) {
	c, err := pki.Parse(der)
	if err != nil {
		return nil, err
	}
	x := c.X509
	from, to := c.NotBefore().UTC(), c.NotAfter().UTC()
	t := newThing("certificate")
	t.certificate = c
	t.Subject, t.Issuer = x.Subject.String(), x.Issuer.String()
	t.Names = append(t.Names, c.Names()...)
	t.Serial, t.NotBefore, t.NotAfter = c.Serial(), &from, &to
	t.Key, t.Signature = certificateKey(c), c.AlgorithmName()
	t.Usages, t.CA = usages(x.Extensions)
	t.SHA256 = hex.EncodeToString(c.SHA256[:])
	t.KeySHA256 = sum(x.RawSubjectPublicKeyInfo)
	var odd string
	t.Timestamps, odd = stampsIn(der)
	if t.Warnings = certificateWarnings(c, now); odd != "" {
		t.Warnings = append(t.Warnings, odd)
	}
	places := c.RevocationPlaces()
	t.ListURLs, t.ResponderURLs, t.MustStaple = append(places.Lists, places.Deltas...), places.OCSP, c.MustStaple()
	return t, nil
}

// endsSoon is how long before its end a certificate is worth a warning: a third of
// its life, when a renewal is due, and never more than 30 days.
func endsSoon(c *pki.Certificate, now time.Time) bool {
	life := c.NotAfter().Sub(c.NotBefore())
	return c.NotAfter().Sub(now) < min(life/3, 30*24*time.Hour)
}

func certificateWarnings(c *pki.Certificate, now time.Time) []string {
	var out []string
	switch {
	case now.After(c.NotAfter()), now.Before(c.NotBefore()):
		out = append(out, "it "+ends(c.NotBefore(), c.NotAfter(), now))
	case endsSoon(c, now):
		out = append(out, "it ends soon: in "+span(c.NotAfter().Sub(now)))
	}
	if len(c.Names()) == 0 && !c.X509.IsCA {
		out = append(out, "it has no name that counts: a common name is not one, so no server or client of that name is proven by it")
	}
	if c.Key == nil {
		out = append(out, "its key is of a kind or size that is not accepted")
	}
	return out
}

func inspectRequest(raw []byte) (*Thing, error) {
	r, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return nil, errors.New("it does not parse as a certificate request: " + identity.Quote(err.Error()))
	}
	t := newThing("csr")
	t.Subject = r.Subject.String()
	t.Names = append(t.Names, r.DNSNames...)
	for _, ip := range r.IPAddresses {
		t.Names = append(t.Names, ip.String())
	}
	for _, u := range r.URIs {
		t.Names = append(t.Names, u.String())
	}
	t.Usages, t.CA = usages(r.Extensions)
	t.SHA256, t.KeySHA256 = sum(raw), sum(r.RawSubjectPublicKeyInfo)
	algorithm, signature := signedWith(raw)
	t.Signature = pki.AlgorithmName(algorithm)
	key, err := suite.ParsePublicKey(r.RawSubjectPublicKeyInfo)
	if err != nil {
		t.Key = foreignPublic(r.RawSubjectPublicKeyInfo)
		if t.Key == "" {
			t.Key = KeyName(r.PublicKey)
		}
		t.Warnings = append(t.Warnings, "its key is of a kind or size that is not accepted")
	} else {
		t.Key = KeyName(key)
		if key.VerifyCertificate(algorithm, r.RawTBSCertificateRequest, signature) != nil {
			t.Warnings = append(t.Warnings, "its signature does not verify with an algorithm that is accepted: who made it did not prove to hold the key, or it was changed since")
		}
	}
	if len(t.Names) == 0 {
		t.Warnings = append(t.Warnings, "it asks for no name that counts; a common name is not one")
	}
	return t, nil
}

// signedWith takes the algorithm and the signature out of what X.509 signs: a
// sequence of what is signed and these two.
func signedWith(b []byte) (algorithm, signature []byte) {
	in := cryptobyte.String(b)
	var whole, element cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) || !whole.SkipASN1(der.SEQUENCE) ||
		!whole.ReadASN1Element(&element, der.SEQUENCE) || !whole.ReadASN1BitStringAsBytes(&signature) {
		return nil, nil
	}
	return element, signature
}

func inspectPublic(der []byte) (*Thing, error) {
	t := newThing("public key")
	t.KeySHA256 = sum(der)
	t.SHA256 = t.KeySHA256
	if k, err := suite.ParsePublicKey(der); err == nil {
		t.Key = KeyName(k)
		return t, nil
	}
	if t.Key = foreignPublic(der); t.Key != "" {
		return t, nil
	}
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("it does not parse as a public key, or is of an unknown kind")
	}
	t.Key = KeyName(k)
	return t, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
