package explain

import (
	"crypto/dsa" //nolint:staticcheck // only to name a key that nobody should use
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"strconv"
	"strings"
	"time"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/pki"
)

// plain is s as it is where it looks like a name, an address or a URI, and quoted
// where it does not.
func plain(s string) string {
	if s == "" || len(s) > 255 {
		return identity.Quote(s)
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(".-_*:/[]%@+", c) >= 0:
		default:
			return identity.Quote(s)
		}
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// listed are the first few of items, and how many more there are.
func listed(items []string, most int) string {
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}

// or and and join the last item with that word.
func or(items []string) string { return join(items, " or ") }

func and(items []string) string { return join(items, " and ") }

func join(items []string, word string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:len(items)-1], ", ") + word + items[len(items)-1]
}

// soon is how near a time has to be for its hour to matter.
const soon = 48 * time.Hour

// when is a time as people read it: its day, and its minute where it is near now.
func when(t, now time.Time) string {
	if d := t.Sub(now); d > soon || d < -soon {
		return t.UTC().Format("2006-01-02")
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// span is a duration in the unit that says most.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < soon:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	case d < 2*365*24*time.Hour:
		return plural(int(d/(24*time.Hour)), "day", "days")
	}
	return plural(int(d/(365*24*time.Hour)), "year", "years")
}

// ends tells the end of a validity, seen from now.
func ends(notBefore, notAfter, now time.Time) string {
	switch {
	case now.Before(notBefore):
		return fmt.Sprintf("begins %s, in %s", when(notBefore, now), span(notBefore.Sub(now)))
	case now.After(notAfter):
		return fmt.Sprintf("ended %s, %s ago", when(notAfter, now), span(now.Sub(notAfter)))
	}
	return fmt.Sprintf("until %s, in %s", when(notAfter, now), span(notAfter.Sub(now)))
}

// KeyName names a public key: "ECDSA P-256", "RSA 2048 bits", "Ed25519".
func KeyName(key any) string {
	switch k := key.(type) {
	case *suite.PublicKey:
		if k == nil {
			return "a key of an unsupported kind"
		}
		name := KeyName(k.Key)
		if k.PSS {
			name += " for RSASSA-PSS only"
		}
		return name
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *mldsa.PublicKey:
		return k.Parameters().String()
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", k.N.BitLen())
	case *ecdh.PublicKey:
		return fmt.Sprint(k.Curve())
	case *dsa.PublicKey:
		return fmt.Sprintf("DSA %d bits", k.P.BitLen())
	}
	return "a key of an unsupported kind"
}

// certificateKey names the key of a certificate, those too that no path stands on.
func certificateKey(c *pki.Certificate) string {
	if c.Key != nil {
		return KeyName(c.Key)
	}
	if c.X509.PublicKey != nil {
		return KeyName(c.X509.PublicKey) + ", which is not accepted"
	}
	if name := foreignPublic(c.X509.RawSubjectPublicKeyInfo); name != "" {
		return name + ", which is not accepted"
	}
	return KeyName(nil)
}

// names are a certificate's names for people.
func names(c *pki.Certificate, most int) string {
	all := c.Names()
	out := make([]string, 0, min(len(all), most))
	for _, n := range all[:min(len(all), most)] {
		out = append(out, plain(n))
	}
	words := strings.Join(out, ", ")
	if len(all) > most {
		words += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return words
}

// cipherWords is what a cipher suite encrypts with, and what it hashes with.
func cipherWords(id suite.ID) (cipher, hash string) {
	switch id {
	case suite.AES128GCMSHA256:
		return "AES-128-GCM", "SHA-256"
	case suite.AES256GCMSHA384:
		return "AES-256-GCM", "SHA-384"
	case suite.ChaCha20Poly1305SHA256:
		return "ChaCha20-Poly1305", "SHA-256"
	}
	return id.String(), "its hash"
}

// groupWords says what a key exchange group is made of.
func groupWords(g suite.GroupID) string {
	switch g {
	case suite.X25519MLKEM768:
		return "X25519, and ML-KEM-768 that is quantum-safe"
	case suite.SecP256r1MLKEM768:
		return "P-256, and ML-KEM-768 that is quantum-safe"
	case suite.SecP384r1MLKEM1024:
		return "P-384, and ML-KEM-1024 that is quantum-safe"
	case suite.X25519:
		return "Diffie-Hellman on Curve25519"
	case suite.P256:
		return "Diffie-Hellman on the curve P-256"
	case suite.P384:
		return "Diffie-Hellman on the curve P-384"
	}
	return "a key exchange"
}
