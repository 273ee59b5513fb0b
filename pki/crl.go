package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"math/big"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/pemfile"
)

// MaxRevocationList is the longest revocation list that is parsed, in bytes: more
// than a million revoked certificates.
const MaxRevocationList = 48 << 20

// revocationSkew is how far apart the clocks may be of who signs lists and
// responses, and ours.
const revocationSkew = 5 * time.Minute

// RevocationList is a certificate revocation list, parsed and not verified
// (RFC 5280, section 5). It is immutable and may be shared.
//
// The entries stay as they are in DER. Beside them lies a table of four bytes for
// every place, half of them empty, so that a list of a hundred thousand entries
// costs a megabyte over its own size, and a look-up one hash.
type RevocationList struct {
	// Raw is the list in DER.
	Raw []byte
	// ThisUpdate is when it was made, NextUpdate when the next one is due; zero where
	// it does not say.
	ThisUpdate, NextUpdate time.Time

	tbs, algorithm, signature []byte
	issuer                    []byte // a Name in DER
	issuerName                string // as it is compared
	keyID                     []byte // of the key that signed, nil where it does not say
	number, base              *big.Int
	scope                     scope
	freshest                  []distributionPoint // where deltas are
	fault                     string              // why it can't be judged; "" where it can

	entries []byte   // the contents of revokedCertificates
	places  []uint32 // where in them an entry begins, plus one; 0 is empty
	count   int

	sum [sha256.Size]byte // of its DER
	// The last certificate whose key signed it, and the last whose key did not.
	signer, stranger atomic.Pointer[[sha256.Size]byte]
}

// RevocationEntry is what a list says of one certificate.
type RevocationEntry struct {
	// RevokedAt is when the authority revoked it, InvalidSince when its key was lost
	// by what is known; zero where that is not said.
	RevokedAt, InvalidSince time.Time
	// Reason is a number of RFC 5280, section 5.3.1; 0 is also no word of it.
	Reason int
}

var errList = errors.New("not a revocation list: it is not well-formed DER of its form")

// ParseRevocationLists reads a file of lists: DER, or PEM with one block or more.
func ParseRevocationLists(b []byte) ([]*RevocationList, error) {
	if len(b) > 0 && b[0] == 0x30 {
		r, err := ParseRevocationList(b)
		if err != nil {
			return nil, err
		}
		return []*RevocationList{r}, nil
	}
	blocks, err := pemfile.Blocks(b, maxBlocks)
	if err != nil {
		return nil, err
	}
	var out []*RevocationList
	for i, block := range blocks {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("PEM block %d is %s, expected X509 CRL; give revocation lists only", i+1, identity.Quote(block.Type))
		}
		r, err := ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", i+1, err)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errors.New(`expected a revocation list, in DER or as a PEM block "-----BEGIN X509 CRL-----", found neither`)
	}
	return out, nil
}

// ParseRevocationList reads one list in DER. It keeps list.
func ParseRevocationList(list []byte) (*RevocationList, error) {
	if len(list) > MaxRevocationList {
		return nil, fmt.Errorf("the revocation list has %d bytes; at most %d are taken", len(list), MaxRevocationList)
	}
	r := &RevocationList{Raw: list, scope: scope{reasons: allReasons}}
	in := cryptobyte.String(list)
	var whole, tbs, algorithm, inner, issuer, revoked, exts cryptobyte.String
	var has bool
	if !in.ReadASN1(&whole, der.SEQUENCE) || !in.Empty() || !whole.ReadASN1Element(&tbs, der.SEQUENCE) ||
		!whole.ReadASN1Element(&algorithm, der.SEQUENCE) || !whole.ReadASN1BitStringAsBytes(&r.signature) || !whole.Empty() {
		return nil, errList
	}
	r.tbs, r.algorithm = tbs, algorithm
	version := 0
	if !tbs.ReadASN1(&tbs, der.SEQUENCE) || tbs.PeekASN1Tag(der.INTEGER) && (!tbs.ReadASN1Integer(&version) || version != 1) ||
		!tbs.ReadASN1Element(&inner, der.SEQUENCE) || !tbs.ReadASN1Element(&issuer, der.SEQUENCE) || !readTime(&tbs, &r.ThisUpdate) {
		return nil, errList
	}
	if !bytes.Equal(inner, algorithm) { // section 5.1.1.2; were they not, the unsigned one would rule
		return nil, errors.New("the revocation list names one signature algorithm in its signed part and another outside")
	}
	r.issuer, r.issuerName = issuer, compared(issuer)
	if (tbs.PeekASN1Tag(der.UTCTime) || tbs.PeekASN1Tag(der.GeneralizedTime)) && !readTime(&tbs, &r.NextUpdate) ||
		!tbs.ReadOptionalASN1(&revoked, &has, der.SEQUENCE) {
		return nil, errList
	}
	r.entries = revoked
	if !tbs.ReadOptionalASN1(&exts, &has, explicit(0)) || !tbs.Empty() || has && version != 1 {
		return nil, errList
	}
	if has && !r.readExtensions(exts) {
		return nil, errList
	}
	if r.number == nil { // section 5.2.3
		r.wrong("a list without a number")
	}
	if !r.readEntries(version) {
		return nil, errList
	}
	r.sum = sha256.Sum256(list)
	return r, nil
}

// wrong writes down the first reason why the list can't be judged.
func (r *RevocationList) wrong(why string) {
	if r.fault == "" {
		r.fault = why
	}
}

// readExtensions reads the list's extensions (section 5.2).
func (r *RevocationList) readExtensions(exts cryptobyte.String) bool {
	seen := make(map[string]bool, 8)
	return readOCSPExtensions(exts, func(oid asn1.ObjectIdentifier, critical bool, value []byte) bool {
		name := oid.String()
		if seen[name] || len(seen) == maxListExtensions {
			return false
		}
		seen[name] = true
		in := cryptobyte.String(value)
		switch name {
		case "2.5.29.20":
			r.number = new(big.Int)
			if critical {
				r.wrong("a list whose number is critical")
			}
			return readNumber(&in, r.number) && in.Empty()
		case "2.5.29.27":
			r.base = new(big.Int)
			if !critical { // a reader that does not know it would take what has changed for the whole
				r.wrong("a delta list that does not say so critically")
			}
			return readNumber(&in, r.base) && in.Empty()
		case "2.5.29.28":
			if !critical {
				r.wrong("a list that covers a part and does not say so critically")
			}
			var ok bool
			if r.scope, ok = readScope(value); ok && r.scope.indirect {
				r.wrong("an indirect list, which speaks for other issuers too and is not judged here")
			}
			return ok
		case "2.5.29.35":
			if critical {
				r.wrong("a list whose key identifier is critical")
			}
			id, _, ok := readAuthorityKeyID(value)
			r.keyID = id
			return ok
		case "2.5.29.46":
			var ok bool
			if r.freshest, ok = readDistributionPoints(value); critical {
				r.wrong("a list whose pointer to deltas is critical")
			}
			return ok
		}
		if critical {
			r.wrong("a list with the unknown critical extension " + cut(name))
		}
		return true
	})
}

// maxListExtensions bounds the extensions of one list; eight are known.
const maxListExtensions = 32

// readNumber reads an INTEGER of at most 20 bytes that is not negative (section 5.2.3).
func readNumber(in *cryptobyte.String, n *big.Int) bool {
	return in.ReadASN1Integer(n) && n.Sign() >= 0 && n.BitLen() < 20*8
}

var listSeed = maphash.MakeSeed()

// readEntries looks at every entry once, and puts it into the table.
func (r *RevocationList) readEntries(version int) bool {
	var serial []byte
	for in := cryptobyte.String(r.entries); !in.Empty(); r.count++ {
		var one cryptobyte.String
		if !in.ReadASN1(&one, der.SEQUENCE) {
			return false
		}
		_, fault, ok := readEntry(one, &serial)
		if !ok || fault != "" && version != 1 {
			return false
		}
		if fault != "" {
			r.wrong(fault)
		}
	}
	if r.count == 0 {
		return true
	}
	size := 2
	for size < 2*r.count {
		size *= 2
	}
	r.places = make([]uint32, size)
	for in := cryptobyte.String(r.entries); !in.Empty(); {
		at := len(r.entries) - len(in)
		var one, serial cryptobyte.String
		if !in.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1(&serial, der.INTEGER) {
			return false
		}
		place, double := r.find(serial)
		if double {
			// Twice the same: what revokes is what counts. A list where both do is odd
			// and clear.
			if e, _ := r.entryAt(r.places[place]); e.Reason != reasonRemoved {
				continue
			}
		}
		r.places[place] = uint32(at) + 1
	}
	return true
}

// find is the place of a serial number in the table, or the one where it would be.
func (r *RevocationList) find(serial []byte) (place int, there bool) {
	mask := len(r.places) - 1
	for place = int(maphash.Bytes(listSeed, serial)) & mask; r.places[place] != 0; place = (place + 1) & mask {
		in := cryptobyte.String(r.entries[r.places[place]-1:])
		var one, other cryptobyte.String
		if in.ReadASN1(&one, der.SEQUENCE) && one.ReadASN1(&other, der.INTEGER) && bytes.Equal(serial, other) {
			return place, true
		}
	}
	return place, false
}

func (r *RevocationList) entryAt(place uint32) (RevocationEntry, bool) {
	in := cryptobyte.String(r.entries[place-1:])
	var one cryptobyte.String
	var serial []byte
	if !in.ReadASN1(&one, der.SEQUENCE) {
		return RevocationEntry{}, false
	}
	e, _, ok := readEntry(one, &serial)
	return e, ok
}

// lookup is the entry of a serial number, the contents of its INTEGER.
func (r *RevocationList) lookup(serial []byte) (RevocationEntry, bool) {
	if r.count == 0 {
		return RevocationEntry{}, false
	}
	place, there := r.find(serial)
	if !there {
		return RevocationEntry{}, false
	}
	return r.entryAt(r.places[place])
}

// Reasons that mean something here (section 5.3.1).
const (
	reasonHold    = 6 // taken back for a time
	reasonRemoved = 8 // in deltas alone: no longer on the list
)

var reasonNames = [...]string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
	"cessationOfOperation", "certificateHold", "reason 7", "removeFromCRL", "privilegeWithdrawn", "aACompromise"}

// ReasonWords is the name of a reason for a revocation (RFC 5280, section 5.3.1).
func ReasonWords(n int) string {
	if n < 0 || n >= len(reasonNames) {
		return "reason " + itoa(n)
	}
	return reasonNames[n]
}

// readEntry reads the contents of an entry. fault is why it can't be judged.
func readEntry(one cryptobyte.String, serial *[]byte) (e RevocationEntry, fault string, ok bool) {
	var number, exts cryptobyte.String
	if !one.ReadASN1(&number, der.INTEGER) || !minimal(number) || !readTime(&one, &e.RevokedAt) {
		return e, "", false
	}
	*serial = number
	if one.Empty() {
		return e, "", true
	}
	if !one.ReadASN1Element(&exts, der.SEQUENCE) || !one.Empty() {
		return e, "", false
	}
	ok = readOCSPExtensions(exts, func(oid asn1.ObjectIdentifier, critical bool, value []byte) bool {
		in := cryptobyte.String(value)
		if len(oid) == 4 && oid[0] == 2 && oid[1] == 5 && oid[2] == 29 {
			switch oid[3] {
			case 21:
				return in.ReadASN1Enum(&e.Reason) && in.Empty()
			case 24:
				return readTime(&in, &e.InvalidSince) && in.Empty()
			case 29: // certificateIssuer, of indirect lists
				fault = "a list with entries of another issuer (an indirect list), which is not judged here"
				return true
			}
		}
		if critical {
			fault = "a list with the critical entry extension " + cut(oid.String())
		}
		return true
	})
	return e, fault, ok
}

// minimal says whether the contents of an INTEGER are DER.
func minimal(b []byte) bool {
	return len(b) == 1 || len(b) > 1 && !(b[0] == 0 && b[1] < 0x80) && !(b[0] == 0xff && b[1] >= 0x80)
}

// readTime reads a UTCTime or a GeneralizedTime in the one form that RFC 5280,
// section 5.1.2.4, leaves of each: to the second, in UTC.
func readTime(in *cryptobyte.String, t *time.Time) bool {
	var b cryptobyte.String
	year := 0
	digits := func(n int) (v int, ok bool) {
		for i := range n {
			if b[i] < '0' || b[i] > '9' {
				return 0, false
			}
			v = 10*v + int(b[i]-'0')
		}
		b = b[n:]
		return v, true
	}
	var ok bool
	switch {
	case in.PeekASN1Tag(der.UTCTime):
		if !in.ReadASN1(&b, der.UTCTime) || len(b) != 13 {
			return false
		}
		if year, ok = digits(2); year < 50 {
			year += 100
		}
		year += 1900
	default:
		if !in.ReadASN1(&b, der.GeneralizedTime) || len(b) != 15 {
			return false
		}
		year, ok = digits(4)
	}
	var f [5]int // month, day, hour, minute, second
	for i := range f {
		if !ok {
			return false
		}
		f[i], ok = digits(2)
	}
	if !ok || b[0] != 'Z' {
		return false
	}
	*t = time.Date(year, time.Month(f[0]), f[1], f[2], f[3], f[4], 0, time.UTC)
	// What does not come back as it was is no day of the calendar.
	return t.Month() == time.Month(f[0]) && t.Day() == f[1] && t.Hour() == f[2] && t.Minute() == f[3] && t.Second() == f[4]
}

// Len is how many certificates are on the list.
func (r *RevocationList) Len() int { return r.count }

// Entry is what the list says of c; false where it is not on it. It says nothing of
// whether the list may be relied on, or is about c's issuer: RevocationOf does.
func (r *RevocationList) Entry(c *Certificate) (RevocationEntry, bool) {
	return r.lookup(serialBytes(c))
}

// Each calls f with every entry, in the list's order, until f is false. The serial
// number is in hex, as Certificate.Serial has it.
func (r *RevocationList) Each(f func(serial string, e RevocationEntry) bool) {
	for in := cryptobyte.String(r.entries); !in.Empty(); {
		var one cryptobyte.String
		var serial []byte
		if !in.ReadASN1(&one, der.SEQUENCE) {
			return
		}
		e, _, _ := readEntry(one, &serial)
		if !f(serialHex(serial), e) {
			return
		}
	}
}

// serialHex is the contents of a serial number's INTEGER in hex.
func serialHex(b []byte) string {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	text := n.Text(16)
	if digits := strings.TrimPrefix(text, "-"); len(digits)%2 != 0 {
		return strings.TrimSuffix(text, digits) + "0" + digits
	}
	return text
}

// Number is the list's number, nil where it has none (section 5.2.3).
func (r *RevocationList) Number() *big.Int {
	if r.number == nil {
		return nil
	}
	return new(big.Int).Set(r.number)
}

// Base is, of a delta list, the number of the complete list that it begins from;
// nil of a complete one (section 5.2.4).
func (r *RevocationList) Base() *big.Int {
	if r.base == nil {
		return nil
	}
	return new(big.Int).Set(r.base)
}

// Fault says why the list can't be judged, whoever signed it; "" where it can.
func (r *RevocationList) Fault() string { return r.fault }

// SHA256 is the hash of Raw.
func (r *RevocationList) SHA256() [sha256.Size]byte { return r.sum }

// Size is about how many bytes of memory it takes.
func (r *RevocationList) Size() int { return len(r.Raw) + 4*len(r.places) + 1<<10 }

// KeyID is the identifier, in hex, of the key that the list says signed it.
func (r *RevocationList) KeyID() string { return hex.EncodeToString(r.keyID) }

// AlgorithmName is what the list is signed with.
func (r *RevocationList) AlgorithmName() string { return AlgorithmName(r.algorithm) }

// Issuer is the name of whose list it is, as certificates' names are written
// (RFC 2253). It is whoever's bytes: quote it before printing.
func (r *RevocationList) Issuer() string { return nameText(r.issuer) }

// IssuerWords is Issuer, quoted.
func (r *RevocationList) IssuerWords() string { return identity.Quote(r.Issuer()) }

// nameText is a Name in DER as crypto/x509 writes names.
func nameText(name []byte) string {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(name, &rdns); len(name) > maxCompared || err != nil || len(rest) > 0 {
		return "a name that is not well-formed"
	}
	var n pkix.Name
	n.FillFromRDNSequence(&rdns)
	return n.String()
}

// ScopeWords tells what the list covers: "every certificate of its issuer".
func (r *RevocationList) ScopeWords() string { return r.scope.words() }

// IssuedBy says whether the list bears the name of issuer, and nothing of its key.
func (r *RevocationList) IssuedBy(issuer *Certificate) bool {
	return r.issuerName == issuer.subjectName
}

// SignedBy says whether issuer's key signed the list, with an algorithm that is
// accepted. It is worked out once for each of the last two who were asked about.
func (r *RevocationList) SignedBy(issuer *Certificate) bool {
	if s := r.signer.Load(); s != nil && *s == issuer.SHA256 {
		return true
	}
	if s := r.stranger.Load(); s != nil && *s == issuer.SHA256 {
		return false
	}
	sum := issuer.SHA256
	if c, _ := judgeAlgorithm(r.algorithm); c != "" || issuer.Key == nil || issuer.keyCode != "" ||
		issuer.Key.VerifyCertificate(r.algorithm, r.tbs, r.signature) != nil {
		r.stranger.Store(&sum)
		return false
	}
	r.signer.Store(&sum)
	return true
}

// SameScope says whether the lists are of one kind: of the same issuer and key
// identifier, about the same certificates, both deltas or both complete. Of two such
// the one with the higher number counts.
func (r *RevocationList) SameScope(o *RevocationList) bool {
	return r.issuerName == o.issuerName && bytes.Equal(r.keyID, o.keyID) && bytes.Equal(r.scope.raw, o.scope.raw) &&
		(r.base == nil) == (o.base == nil)
}

// Newer says whether r has the higher number of the two.
func (r *RevocationList) Newer(o *RevocationList) bool {
	return r.number != nil && (o.number == nil || r.number.Cmp(o.number) > 0)
}
