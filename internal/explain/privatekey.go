package explain

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	mldsax509 "filippo.io/mldsa/x509" // the standard library's, and ML-DSA
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Private keys: of what kind they are, and nothing that they keep.

// OIDs as the bytes of their DER contents.
const (
	oidEC     = "\x2a\x86\x48\xce\x3d\x02\x01"         // id-ecPublicKey, RFC 5480
	oidRSAPSS = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" // id-RSASSA-PSS, RFC 4055
	oidPBE    = "\x2a\x86\x48\x86\xf7\x0d\x01\x05"     // the schemes of PKCS #5, RFC 8018
	oidPBE12  = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01" // the schemes of PKCS #12
	oidData   = "\x2a\x86\x48\x86\xf7\x0d\x01\x07"     // PKCS #7, RFC 2315
)

// What is no key, certificate or request, and is known all the same.
var (
	errPKCS7  = errors.New(`it is PKCS #7 (.p7b), and holds no certificates or is not plain DER; try "openssl pkcs7 -in FILE -print_certs" (of DER with -inform der)`)
	errPKCS12 = errors.New(`it is PKCS #12 (.p12, .pfx), locked by a passphrase; take it apart with "openssl pkcs12 -in FILE -nodes"`)
)

// errKey says nothing of what was read: it could quote the key.
var errKey = errors.New("it does not parse as a private key: it is damaged, or of an unknown kind")

func inspectKey(block *pem.Block) (*Thing, error) {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		t := encryptedKey("PEM encryption of old (RFC 1421)")
		t.Key = strings.TrimSuffix(block.Type, " PRIVATE KEY") + "; more is not known: the key is encrypted"
		return t, nil
	}
	switch block.Type {
	case "PRIVATE KEY":
		return pkcs8(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return encryptedKey("PKCS #8, encrypted"), nil
	case "EC PRIVATE KEY":
		return sec1(block.Bytes)
	case "RSA PRIVATE KEY":
		return pkcs1(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		return openSSH(block.Bytes)
	}
	t := newThing("key")
	t.Key, t.Format = strings.TrimSuffix(block.Type, " PRIVATE KEY"), "PEM "+block.Type
	t.Warnings = []string{"TLS 1.3 has no use for a key of this kind"}
	if t.Key != "DSA" {
		t.Key = KeyName(nil)
	}
	return t, nil
}

func encryptedKey(format string) *Thing {
	t := newThing("key")
	t.Format, t.Encrypted = format, true
	t.Key = "not known: the key is encrypted"
	return t
}

// keyThing tells a private key by its public half.
func keyThing(format string, key any) (*Thing, error) {
	k, ok := key.(interface{ Public() crypto.PublicKey })
	if !ok {
		return nil, errKey
	}
	t := newThing("key")
	t.Format = format
	public := k.Public()
	t.Key = KeyName(public)
	if spki, err := mldsax509.MarshalPKIXPublicKey(public); err == nil {
		t.KeySHA256 = sum(spki)
		t.SHA256 = t.KeySHA256
	}
	if signer, ok := key.(crypto.Signer); !ok {
		t.Warnings = append(t.Warnings, "it can't sign, so TLS has no use for it as a certificate's key")
	} else if p, err := suite.PublicOf(signer); err != nil || len(p.Schemes()) == 0 {
		t.Warnings = append(t.Warnings, "it is of a kind or size that TLS 1.3 can't sign with here")
	}
	return t, nil
}

func pkcs8(b []byte) (*Thing, error) {
	const format = "PKCS #8"
	in := cryptobyte.String(b)
	var info, algorithm, oid, inner cryptobyte.String
	var version int
	if !in.ReadASN1(&info, der.SEQUENCE) || !info.ReadASN1Integer(&version) ||
		!info.ReadASN1(&algorithm, der.SEQUENCE) || !algorithm.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
		!info.ReadASN1(&inner, der.OCTET_STRING) {
		return nil, errKey
	}
	if string(oid) == oidRSAPSS {
		k, err := x509.ParsePKCS1PrivateKey(inner)
		if err != nil {
			return nil, errKey
		}
		t, err := keyThing(format, k)
		if err == nil {
			// The OID is part of the SubjectPublicKeyInfo, whose parameters
			// only the certificate tells.
			t.Key += " for RSASSA-PSS only"
			t.SHA256, t.KeySHA256 = "", ""
		}
		return t, err
	}
	if k, ok, err := suite.MLDSAPrivateKey(string(oid), inner); ok && err == nil {
		return keyThing(format, k)
	}
	k, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		if string(oid) == oidEC {
			oid = curveIn(algorithm)
		}
		return foreignKey(format, oid)
	}
	return keyThing(format, k)
}

func sec1(b []byte) (*Thing, error) {
	k, err := x509.ParseECPrivateKey(b)
	if err == nil {
		return keyThing("SEC 1", k)
	}
	in := cryptobyte.String(b)
	var whole, parameters cryptobyte.String
	var there bool
	if !in.ReadASN1(&whole, der.SEQUENCE) || !whole.SkipASN1(der.INTEGER) || !whole.SkipASN1(der.OCTET_STRING) ||
		!whole.ReadOptionalASN1(&parameters, &there, der.Tag(0).ContextSpecific().Constructed()) {
		return nil, errKey
	}
	return foreignKey("SEC 1", curveIn(parameters))
}

// curveIn is the OID of a curve, if that is what b is.
func curveIn(b cryptobyte.String) (oid cryptobyte.String) {
	if !b.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return nil
	}
	return oid
}

// foreignKinds are kinds of keys that exist and are not for TLS here, by OID.
var foreignKinds = map[string]string{
	"\x2b\x65\x71":                         "Ed448",
	"\x2b\x65\x6f":                         "X448",
	"\x2b\x81\x04\x00\x0a":                 "ECDSA secp256k1",
	"\x2b\x24\x03\x03\x02\x08\x01\x01\x07": "ECDSA brainpoolP256r1",
	"\x2b\x24\x03\x03\x02\x08\x01\x01\x0b": "ECDSA brainpoolP384r1",
	"\x2b\x24\x03\x03\x02\x08\x01\x01\x0d": "ECDSA brainpoolP512r1",
	"\x2a\x86\x48\xce\x38\x04\x01":         "DSA",
	"\x60\x86\x48\x01\x65\x03\x04\x03\x11": "ML-DSA-44",
	"\x60\x86\x48\x01\x65\x03\x04\x03\x12": "ML-DSA-65",
	"\x60\x86\x48\x01\x65\x03\x04\x03\x13": "ML-DSA-87",
	"\x2a\x81\x1c\xcf\x55\x01\x82\x2d":     "SM2",
	"\x2a\x86\x48\x86\xf7\x0d\x01\x03\x01": "Diffie-Hellman",
}

// foreignPublic names a public key (SubjectPublicKeyInfo) of a kind that is not for
// TLS here; "" where the kind is not known either.
func foreignPublic(spki []byte) string {
	in := cryptobyte.String(spki)
	var info, algorithm, oid cryptobyte.String
	if !in.ReadASN1(&info, der.SEQUENCE) || !info.ReadASN1(&algorithm, der.SEQUENCE) || !algorithm.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return ""
	}
	if string(oid) == oidEC {
		oid = curveIn(algorithm)
	}
	return foreignKinds[string(oid)]
}

// foreignKey tells a key whose kind alone is known.
func foreignKey(format string, oid cryptobyte.String) (*Thing, error) {
	name, ok := foreignKinds[string(oid)]
	if !ok {
		return nil, errKey
	}
	t := newThing("key")
	t.Key, t.Format = name, format
	t.Warnings = []string{"it is of a kind or size that TLS 1.3 can't sign with here"}
	return t, nil
}

func pkcs1(b []byte) (*Thing, error) {
	k, err := x509.ParsePKCS1PrivateKey(b)
	if err != nil {
		return nil, errKey
	}
	return keyThing("PKCS #1", k)
}

// openSSH looks at the head of OpenSSH's own format, which tells the cipher and,
// in the public half, the kind.
func openSSH(b []byte) (*Thing, error) {
	t := newThing("key")
	t.Format = "OpenSSH"
	in := cryptobyte.String(b)
	var magic []byte
	var cipher, kdf, options, public, kind cryptobyte.String
	var n uint32
	if !in.ReadBytes(&magic, 15) || string(magic) != "openssh-key-v1\x00" || !sshString(&in, &cipher) || !sshString(&in, &kdf) ||
		!sshString(&in, &options) || !in.ReadUint32(&n) || !sshString(&in, &public) || !sshString(&public, &kind) {
		return nil, errKey
	}
	t.Encrypted = string(cipher) != "none"
	t.Key = plain(string(kind))
	t.Warnings = []string{`OpenSSH's format is not read here; convert a copy with "ssh-keygen -p -m PKCS8 -f FILE"`}
	return t, nil
}

func sshString(in, out *cryptobyte.String) bool {
	var n uint32
	return in.ReadUint32(&n) && uint64(n) <= uint64(len(*in)) && in.ReadBytes((*[]byte)(out), int(n))
}

// inspectDER tries what DER may be, the most likely first.
func inspectDER(b []byte, now time.Time) (*Thing, error) {
	c, asCertificate := inspectCertificate(b, now)
	if asCertificate == nil {
		return c, nil
	}
	for _, try := range []func([]byte) (*Thing, error){inspectRequest, pkcs8, sec1, pkcs1, inspectPublic} {
		if t, err := try(b); err == nil {
			return t, nil
		}
	}
	if t, err := inspectList(b, now); err == nil {
		return t, nil
	}
	if t, err := inspectResponse(b, now); err == nil {
		return t, nil
	}
	switch shape(b) {
	case "encrypted key":
		return encryptedKey("PKCS #8, encrypted"), nil
	case "PKCS #12":
		return nil, errPKCS12
	case "PKCS #7":
		all, err := inspectPKCS7(b, now)
		if err != nil {
			return nil, err
		}
		return gather(all, nil, nil), nil
	case "certificate":
		return nil, asCertificate
	}
	return nil, errors.New("it looks like DER, and is neither a certificate nor a request nor a key: " + identity.Quote(string(b[:min(len(b), 8)])))
}

// shape tells by its outermost structure what b means to be.
func shape(b []byte) string {
	in := cryptobyte.String(b)
	var whole, first, oid cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) {
		return ""
	}
	if whole.PeekASN1Tag(der.OBJECT_IDENTIFIER) {
		if whole.ReadASN1(&oid, der.OBJECT_IDENTIFIER) && strings.HasPrefix(string(oid), oidData) {
			return "PKCS #7"
		}
		return ""
	}
	if whole.PeekASN1Tag(der.INTEGER) {
		var version int
		if whole.ReadASN1Integer(&version) && version == 3 && whole.PeekASN1Tag(der.SEQUENCE) {
			return "PKCS #12"
		}
		return ""
	}
	if !whole.ReadASN1(&first, der.SEQUENCE) {
		return ""
	}
	if first.PeekASN1Tag(der.OBJECT_IDENTIFIER) && first.ReadASN1(&oid, der.OBJECT_IDENTIFIER) && whole.PeekASN1Tag(der.OCTET_STRING) &&
		(strings.HasPrefix(string(oid), oidPBE) || strings.HasPrefix(string(oid), oidPBE12)) {
		return "encrypted key"
	}
	if whole.PeekASN1Tag(der.SEQUENCE) {
		return "certificate"
	}
	return ""
}
