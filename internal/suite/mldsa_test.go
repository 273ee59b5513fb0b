package suite

import (
	"testing"

	"filippo.io/mldsa"
)

func TestAnMLDSAKeyIsReadAsItIsWrittenAndNotOtherwise(t *testing.T) {
	key, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		t.Fatal(err)
	}
	const oid = "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11"
	spki := func(parameters string, key []byte) []byte {
		algorithm := oid + parameters
		body := append(append([]byte{0x30, byte(len(algorithm))}, algorithm...), 0x03, 0x82, byte((len(key)+1)>>8), byte(len(key)+1), 0)
		body = append(body, key...)
		return append([]byte{0x30, 0x82, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	pub := key.PublicKey().Bytes()
	k, err := ParsePublicKey(spki("", pub))
	if err != nil {
		t.Fatal(err)
	}
	for why, b := range map[string][]byte{
		"parameters": spki("\x05\x00", pub), "a byte less": spki("", pub[1:]), "a byte more": spki("", append([]byte{0}, pub...)), "nothing": spki("", nil),
	} {
		if _, err := ParsePublicKey(b); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
	if len(k.Schemes()) != 0 {
		t.Error("it fits a scheme of the handshake")
	}

	message := []byte("to be signed")
	sig, err := key.Sign(nil, message, &mldsa.Options{})
	if err != nil {
		t.Fatal(err)
	}
	algorithm := []byte("\x30\x0b" + oid)
	if err := k.VerifyCertificate(algorithm, message, sig); err != nil {
		t.Error(err)
	}
	for why, c := range map[string]struct{ algorithm, message, sig []byte }{
		"another message":       {algorithm, []byte("to be signeD"), sig},
		"a byte less":           {algorithm, message, sig[1:]},
		"no signature":          {algorithm, message, nil},
		"another set":           {[]byte("\x30\x0b" + oid[:10] + "\x12"), message, sig},
		"parameters":            {[]byte("\x30\x0d" + oid + "\x05\x00"), message, sig},
		"an algorithm of RSA's": {[]byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"), message, sig},
	} {
		if k.VerifyCertificate(c.algorithm, c.message, c.sig) == nil {
			t.Errorf("%s: verifies", why)
		}
	}
	withContext, err := key.Sign(nil, message, &mldsa.Options{Context: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if k.VerifyCertificate(algorithm, message, withContext) == nil {
		t.Error("a signature with a context verifies")
	}
}
