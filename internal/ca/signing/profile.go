package signing

import "time"

// Profile is what certificates of one kind are like.
type Profile struct {
	Name string
	// CA certificates sign others, along paths with at most PathLen more.
	CA      bool
	PathLen int
	// KeyUsage are the bits of RFC 5280, section 4.2.1.3, the first on the left.
	KeyUsage byte
	// Usages are object identifiers, as the bytes of their contents.
	Usages []string
	// Lifetime is the usual one; Shortest and Longest bound it.
	Lifetime, Shortest, Longest time.Duration
}

// Backdate is how much before its issuance a certificate begins, for clocks that
// are behind. Its end is not moved by it.
const Backdate = time.Minute

const (
	digitalSignature = 0x80
	keyCertSign      = 0x04
	crlSign          = 0x02
	year             = 365 * 24 * time.Hour
)

// The profiles. There is none for anything else.
var (
	Root = &Profile{Name: "root", CA: true, PathLen: 1, KeyUsage: keyCertSign | crlSign,
		Lifetime: 10 * year, Shortest: year, Longest: 10 * year}
	Issuer = &Profile{Name: "issuer", CA: true, PathLen: 0, KeyUsage: keyCertSign | crlSign,
		Lifetime: 3 * year, Shortest: 24 * time.Hour, Longest: 3 * year}
	Leaf = &Profile{Name: "leaf", KeyUsage: digitalSignature, Usages: []string{oidServerAuth, oidClientAuth},
		Lifetime: 24 * time.Hour, Shortest: 30 * time.Second, Longest: 90 * 24 * time.Hour}
	// Serving is the authority's own face: it serves, and asks nobody.
	Serving = &Profile{Name: "serving", KeyUsage: digitalSignature, Usages: []string{oidServerAuth},
		Lifetime: 24 * time.Hour, Shortest: time.Second, Longest: 24 * time.Hour}
)

// ProfileNamed is the profile with a name, nil for none.
func ProfileNamed(name string) *Profile {
	for _, p := range []*Profile{Root, Issuer, Leaf, Serving} {
		if p.Name == name {
			return p
		}
	}
	return nil
}
