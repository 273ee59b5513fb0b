package message

import (
	"bytes"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

func sampleDelegated() *DelegatedCredential {
	return &DelegatedCredential{ValidTime: 3600, Scheme: suite.Ed25519, Key: fill(44, 1), Algorithm: suite.ECDSAWithP256AndSHA256, Signature: fill(70, 2)}
}

func TestADelegatedCredentialParsesToWhatItWasMadeOf(t *testing.T) {
	b, err := sampleDelegated().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var d DelegatedCredential
	if err := d.Parse(b); err != nil || !equal(&d, sampleDelegated()) {
		t.Fatalf("%+v, %v", d, err)
	}
	for n := range b {
		if err := d.Parse(b[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(b))
		}
	}
	if err := d.Parse(append(b, 0)); err == nil {
		t.Error("a byte too many was taken")
	}
	server, client := sampleDelegated().Input(true, []byte("leaf")), sampleDelegated().Input(false, []byte("leaf"))
	if bytes.Equal(server, client) || !bytes.Contains(server, []byte("TLS, server delegated credentials\x00leaf")) {
		t.Errorf("signed are %q and %q", server, client)
	}
}

func FuzzDelegatedCredential(f *testing.F) {
	b, _ := sampleDelegated().Append(nil)
	f.Add(b)
	f.Add(b[:10])
	f.Fuzz(func(t *testing.T, b []byte) {
		var d DelegatedCredential
		if d.Parse(b) != nil {
			return
		}
		made, err := d.Append(nil)
		if err != nil || !bytes.Equal(made, b) {
			t.Fatalf("%x was made of %x: %v", made, b, err)
		}
	})
}
