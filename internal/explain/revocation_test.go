package explain

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
)

func TestListsAndResponsesAreTold(t *testing.T) {
	root := mint.Root("Example Root")
	at := noon.Add(-time.Hour)
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: at, NextUpdate: noon.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(0xab12), RevocationTime: at, ReasonCode: 1}},
	}, root.Cert, root.Key)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ocsp.CreateResponse(root.Cert, root.Cert, ocsp.Response{Status: ocsp.Revoked, SerialNumber: big.NewInt(0xab12),
		ThisUpdate: at, NextUpdate: noon.Add(-time.Minute), RevokedAt: at, RevocationReason: 4}, root.Key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := root.Leaf("orders", mint.Lists("http://pki.example/ca.crl"), mint.Responders("http://ocsp.example"))
	for _, c := range []struct {
		b     []byte
		kind  string
		words []string
	}{
		{list, "crl", []string{"CN=Example Root", "number     7", "1 certificate", "ab12", "keyCompromise", "every certificate of its issuer"}},
		{block("X509 CRL", list), "crl", []string{"number     7"}},
		{answer, "ocsp", []string{"an OCSP response", "ab12", "revoked", "superseded", "it is over"}},
		{leaf.Chain[0], "certificate", []string{"http://pki.example/ca.crl", "http://ocsp.example"}},
	} {
		thing, err := Inspect(c.b, noon)
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		var out bytes.Buffer
		if err := thing.Write(&out, "file", noon, Look{Width: 80}); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.words {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: %q is not told:\n%s", c.kind, w, out.String())
			}
		}
		b, err := json.Marshal(thing)
		var back struct {
			Kind    string
			Revoked []Revoked
		}
		if err != nil || json.Unmarshal(b, &back) != nil || back.Kind != c.kind || c.kind != "certificate" && (len(back.Revoked) != 1 || back.Revoked[0].Serial != "ab12") {
			t.Errorf("%s: %s", c.kind, b)
		}
	}
}
