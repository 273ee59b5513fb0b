package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/suite"
)

var (
	errEncrypted = errors.New(`it is encrypted, and nothing here prompts for a passphrase; decrypt it once with "openssl pkey -in FILE -out FILE.plain" (mode 0600)`)
	errOpenSSH   = errors.New(`it is in OpenSSH's format; convert a copy with "ssh-keygen -p -m PKCS8 -f FILE"`)
	errDSA       = errors.New("it is a DSA key, which TLS 1.3 does not know; make an ECDSA key (openssl ecparam -name prime256v1 -genkey -noout)")
	errNoSeed    = errors.New(`it is an ML-DSA key in its expanded form alone, and keys are made of their seed here (RFC 9881, section 6); export it with its seed, or make a new one: "openssl genpkey -algorithm ML-DSA-65"`)
	errKind      = errors.New("expected ECDSA on P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA")
)

func parseKey(block *pem.Block) (crypto.Signer, error) {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errEncrypted
	}
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		return nil, errEncrypted
	case "OPENSSH PRIVATE KEY":
		return nil, errOpenSSH
	case "DSA PRIVATE KEY":
		return nil, errDSA
	case "RSA PRIVATE KEY":
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		return k, broken("PKCS #1", err)
	case "EC PRIVATE KEY":
		k, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, broken("SEC 1", err)
		}
		return usable(k)
	}
	inner, oid, err := readPKCS8(block.Bytes)
	if err != nil {
		return nil, err
	}
	if k, ok, err := suite.MLDSAPrivateKey(oid, inner); ok {
		switch {
		case errors.Is(err, suite.ErrNoSeed):
			return nil, errNoSeed
		case err != nil: // its words quote nothing of the key
			return nil, fmt.Errorf("it does not parse as PKCS #8 with ML-DSA: %w", err)
		}
		return k, nil
	}
	if oid == oidPSS {
		k, err := x509.ParsePKCS1PrivateKey(inner)
		if err != nil {
			return nil, broken("PKCS #8 with id-RSASSA-PSS", err)
		}
		return suite.GoBy(k, true), nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, broken("PKCS #8", err)
	}
	return usable(k)
}

// broken words a library's error about a key without the library's details: they
// could quote the key.
func broken(format string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("it does not parse as %s; the file is damaged, or its kind of key is not supported (%w)", format, errKind)
}

func usable(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return k, nil
		}
		return nil, fmt.Errorf("it is on the curve %s; %w", identity.Quote(k.Curve.Params().Name), errKind)
	}
	return nil, fmt.Errorf("it can't sign; %w", errKind)
}

// oidPSS is id-RSASSA-PSS (RFC 4055, section 1.2), the bytes of its DER contents.
const oidPSS = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"

// readPKCS8 takes the private key out of PKCS #8 (RFC 5208, RFC 5958), and the OID
// that says what it is. For id-RSASSA-PSS that is an RSAPrivateKey; the algorithm's
// parameters stand in the certificate, too, and that is where they are obeyed.
func readPKCS8(b []byte) (inner []byte, kind string, err error) {
	in := cryptobyte.String(b)
	var info, algorithm, oid, key cryptobyte.String
	var version int
	if !in.ReadASN1(&info, der.SEQUENCE) || !in.Empty() || !info.ReadASN1Integer(&version) ||
		!info.ReadASN1(&algorithm, der.SEQUENCE) || !info.ReadASN1(&key, der.OCTET_STRING) ||
		!algorithm.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return nil, "", broken("PKCS #8", errKind)
	}
	return key, string(oid), nil
}
