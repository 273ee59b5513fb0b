package credential

import (
	"crypto/sha256"

	"github.com/mutual-tls/mutual/pki"
)

// sources are the lists in files, and what is fetched beside them.
type sources struct{ files, fetched pki.RevocationSource }

// both is files, with fetched where there is one.
func both(files, fetched pki.RevocationSource) pki.RevocationSource {
	if fetched == nil {
		return files
	}
	return sources{files, fetched}
}

func (s sources) Evidence(c, issuer *pki.Certificate) pki.Evidence {
	e := s.fetched.Evidence(c, issuer)
	e.Lists = append(s.files.Evidence(c, issuer).Lists, e.Lists...)
	return e
}

func (s sources) Generation() [sha256.Size]byte {
	a, b := s.files.Generation(), s.fetched.Generation()
	return sha256.Sum256(append(a[:], b[:]...))
}
