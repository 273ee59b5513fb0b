package ca

import "github.com/mutual-tls/mutual/pki"

// Roots are the anchors in force.
func (a *Authority) Roots() []*pki.Certificate {
	a.trust.RLock()
	defer a.trust.RUnlock()
	roots, err := anchors(&a.statement)
	if err != nil {
		return []*pki.Certificate{a.root} // the statement was verified when it was taken
	}
	return roots
}

// Issuers are the certificates, in DER, of those who sign Lists.
func (a *Authority) Issuers() [][]byte { return [][]byte{a.issuer.Certificate.Raw} }
