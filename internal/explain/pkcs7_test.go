package explain

import (
	"bytes"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/mint"
)

// wrapped puts contents behind a tag and a length in DER.
func wrapped(tag der.Tag, contents ...[]byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(contents, nil)) })
	return b.BytesOrPanic()
}

func pkcs7(certificates ...[]byte) []byte {
	oid := func(last byte) []byte {
		return append([]byte{6, 9}, append([]byte(oidData), last)...)
	}
	return wrapped(0x30, oid(2), wrapped(0xa0, wrapped(0x30,
		[]byte{2, 1, 1, 0x31, 0}, wrapped(0x30, oid(1)), wrapped(0xa0, certificates...), []byte{0x31, 0})))
}

// The certificates of a PKCS #7 file are those in it, a leaf first.
func TestCertificatesAreTakenOutOfPKCS7(t *testing.T) {
	root := mint.Root("Example Root")
	leaf := root.Leaf("orders")
	got := fromPKCS7(pkcs7(root.DER, leaf.Chain[0]))
	if len(got) != 2 || !bytes.Equal(got[0], leaf.Chain[0]) || !bytes.Equal(got[1], root.DER) {
		t.Errorf("%d certificates, or another order", len(got))
	}
	whole := pkcs7(leaf.Chain[0])
	for n := range len(whole) {
		if fromPKCS7(whole[:n]) != nil {
			t.Fatalf("cut at %d it is a file", n)
		}
	}
	if fromPKCS7(append(whole, 0)) != nil {
		t.Error("with a byte behind it it is a file")
	}
	if got, err := Inspect(whole, noon); err != nil || got.Kind != "certificate" {
		t.Errorf("%v", err)
	}
	if _, err := Inspect(pkcs7(), noon); err == nil {
		t.Error("nothing is a certificate")
	}
}

func FuzzPKCS7(f *testing.F) {
	f.Add(pkcs7(mint.Root("Example Root").DER))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		for _, c := range fromPKCS7(b) {
			size += len(c)
		}
		if size > len(b) {
			t.Errorf("%d bytes of certificates in a file of %d", size, len(b))
		}
	})
}
