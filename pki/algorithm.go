package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"errors"
	"fmt"
	"sync/atomic"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/suite"
)

// minRSA is the shortest RSA modulus on a path, in bits (the CA/Browser Forum's
// baseline, and NIST SP 800-131A's). The longest is suite's.
const minRSA = 2048

// Signature algorithms by the contents of their OIDs: RFC 3279, 4055, 5758, 8410, 9881.
var algorithms = map[string]struct {
	name string
	code code.Code
}{
	"\x2a\x86\x48\xce\x3d\x04\x03\x02":     {"ecdsa-with-SHA256", ""},
	"\x2a\x86\x48\xce\x3d\x04\x03\x03":     {"ecdsa-with-SHA384", ""},
	"\x2a\x86\x48\xce\x3d\x04\x03\x04":     {"ecdsa-with-SHA512", ""},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": {"sha256WithRSAEncryption", ""},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": {"sha384WithRSAEncryption", ""},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": {"sha512WithRSAEncryption", ""},
	"\x2b\x65\x70":                         {"Ed25519", ""},
	oidPSS:                                 {"RSASSA-PSS", ""},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02": {"md2WithRSAEncryption", code.WeakSignature},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04": {"md5WithRSAEncryption", code.WeakSignature},
	oidSHA1WithRSA:                         {"sha1WithRSAEncryption", code.WeakSignature},
	"\x2b\x0e\x03\x02\x1d":                 {"sha1WithRSA", code.WeakSignature},
	"\x2a\x86\x48\xce\x3d\x04\x01":         {"ecdsa-with-SHA1", code.WeakSignature},
	"\x2a\x86\x48\xce\x38\x04\x03":         {"dsa-with-SHA1", code.WeakSignature},
	"\x60\x86\x48\x01\x65\x03\x04\x03\x02": {"dsa-with-SHA256", code.WeakSignature},
	"\x2a\x86\x48\xce\x3d\x04\x03\x01":     {"ecdsa-with-SHA224", code.WeakSignature},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e": {"sha224WithRSAEncryption", code.WeakSignature},
	"\x2b\x65\x71":                         {"Ed448", code.WeakSignature},
	"\x60\x86\x48\x01\x65\x03\x04\x03\x11": {"ML-DSA-44", ""},
	"\x60\x86\x48\x01\x65\x03\x04\x03\x12": {"ML-DSA-65", ""},
	"\x60\x86\x48\x01\x65\x03\x04\x03\x13": {"ML-DSA-87", ""},
}

const (
	oidPSS         = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidSHA1WithRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
)

// pssAlgorithms are the AlgorithmIdentifiers of RSASSA-PSS that are accepted, in
// DER: one SHA-2 hash for message and mask, and a salt as long as the hash, so
// that they are those of TLS 1.3 (RFC 8446, section 4.2.3). The hash's
// parameters may be NULL or absent (RFC 4055, section 2.1), and the trailer,
// which has one value, may be written out. All ways of writing are few enough
// to be listed, and nothing else passes.
var pssAlgorithms = func() map[string]string {
	wrap := func(tag byte, parts ...string) string {
		body := ""
		for _, p := range parts {
			body += p
		}
		return string([]byte{tag, byte(len(body))}) + body // all are shorter than 128 bytes
	}
	const null = "\x05\x00"
	const mgf1 = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
	out := map[string]string{}
	for n, h := range []struct {
		name string
		salt byte
	}{{"SHA256", 32}, {"SHA384", 48}, {"SHA512", 64}} {
		oid := "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02" + string([]byte{byte(n + 1)})
		for _, a := range []string{null, ""} {
			for _, b := range []string{null, ""} {
				for _, trailer := range []string{"", wrap(0xa3, "\x02\x01\x01")} {
					params := wrap(0x30,
						wrap(0xa0, wrap(0x30, oid, a)),
						wrap(0xa1, wrap(0x30, mgf1, wrap(0x30, oid, b))),
						wrap(0xa2, wrap(0x02, string([]byte{h.salt}))),
						trailer)
					out[wrap(0x30, wrap(0x06, oidPSS), params)] = "RSASSA-PSS with " + h.name
				}
			}
		}
	}
	return out
}()

// judgeAlgorithm says whether signatures with an AlgorithmIdentifier are
// accepted on a path, and its name.
func judgeAlgorithm(algorithm []byte) (code.Code, string) {
	if name, ok := pssAlgorithms[string(algorithm)]; ok {
		return "", name
	}
	in := cryptobyte.String(algorithm)
	var seq, oid cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || !seq.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return code.WeakSignature, "not an algorithm"
	}
	a, ok := algorithms[string(oid)]
	switch {
	case !ok:
		return code.WeakSignature, "an unknown algorithm"
	case string(oid) == oidPSS:
		return code.WeakSignature, "RSASSA-PSS with other parameters than one SHA-2 hash and a salt as long"
	}
	return a.code, a.name
}

// keyName tells a key in words: "ECDSA P-256", "RSA 2048 bits".
func (c *Certificate) keyName() string {
	if c.Key == nil {
		if k, ok := c.X509.PublicKey.(*rsa.PublicKey); ok {
			return fmt.Sprintf("RSA %d bits", k.N.BitLen())
		}
		return cut(c.keyError.Error())
	}
	return KeyName(c.Key)
}

// KeyName tells a public key in words: "ECDSA P-256", "RSA-PSS 2048 bits".
func KeyName(key *suite.PublicKey) string {
	switch k := key.Key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *mldsa.PublicKey:
		return k.Parameters().String()
	case *rsa.PublicKey:
		if key.PSS {
			return fmt.Sprintf("RSA-PSS %d bits", k.N.BitLen())
		}
		return fmt.Sprintf("RSA %d bits", k.N.BitLen())
	}
	return "an unknown key"
}

// AlgorithmName is the name of the algorithm with which the certificate was signed.
func (c *Certificate) AlgorithmName() string { return AlgorithmName(c.algorithm) }

// AlgorithmName is the name of a signature algorithm, an AlgorithmIdentifier in DER.
func AlgorithmName(algorithm []byte) string {
	_, name := judgeAlgorithm(algorithm)
	return name
}

// CheckSignatureBy says whether issuer's key signed c, with an algorithm that is
// accepted on a path. It says nothing about names, times or leave to issue.
func (c *Certificate) CheckSignatureBy(issuer *Certificate) error {
	if c.algorithmCode != "" {
		return fmt.Errorf("signatures with %s are not accepted", c.AlgorithmName())
	}
	if issuer.Key == nil {
		return errors.New("the issuer's key is of a kind that is not supported")
	}
	return issuer.Key.VerifyCertificate(c.algorithm, c.X509.RawTBSCertificate, c.signature)
}

// integrity remembers whether an anchor's own bytes hold together. It is worked
// out when first needed, and again by whoever asks at the same moment.
type integrity struct{ state atomic.Uint32 }

const (
	integrityGood = 1
	integrityBad  = 2
)

// Intact says whether an anchor is as its authority made it. RFC 5280 asks for no
// signature on an anchor, but a self-signed certificate that was altered after
// signing is not the one that somebody decided to trust: a flipped bit in its
// usages or its end would go unseen. So a self-signed anchor has to verify under
// its own key, SHA-1 allowed, since this is not about collisions.
//
// An anchor that another authority issued (an intermediate that is trusted by
// itself) cannot be checked so. Such a certificate names its issuer's key, by
// which it is told from a self-signed one whose issuer field was altered: RFC 5280,
// section 4.2.1.1, lets only self-signed certificates be without.
func (c *Certificate) Intact() bool {
	switch c.integrity.state.Load() {
	case integrityGood:
		return true
	case integrityBad:
		return false
	}
	ok := c.checkIntact()
	if ok {
		c.integrity.state.Store(integrityGood)
	} else {
		c.integrity.state.Store(integrityBad)
	}
	return ok
}

func (c *Certificate) checkIntact() bool {
	x := c.X509
	if !c.selfIssued && len(x.AuthorityKeyId) > 0 && string(x.AuthorityKeyId) != string(x.SubjectKeyId) {
		return true
	}
	if c.Key == nil {
		return false
	}
	if c.algorithmCode == "" {
		return c.Key.VerifyCertificate(c.algorithm, x.RawTBSCertificate, c.signature) == nil
	}
	k, isRSA := c.Key.Key.(*rsa.PublicKey)
	if !isRSA || string(c.algorithm) != "\x30\x0d\x06\x09"+oidSHA1WithRSA+"\x05\x00" {
		return false
	}
	sum := sha1.Sum(x.RawTBSCertificate)
	return rsa.VerifyPKCS1v15(k, crypto.SHA1, sum[:], c.signature) == nil
}
