package ca_test

import (
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
)

// Peers that go by the letter of RFC 5280 would refuse the certificate.
func TestNoNameWithAnUnderscoreIsGranted(t *testing.T) {
	w := newWorld(t)
	for _, q := range []api.IssueRequest{{Name: "my_service"}, {Name: "web", Names: []string{"a_b.example.com"}}} {
		q.CSR = apply(t).csr
		_, err := w.Issue(w.ctx, q)
		w.refused(err, code.OutsideProfile)
	}
}
