package suite

import (
	"crypto"
	"slices"
)

// Scheme is a SignatureScheme's code point (RFC 8446, section 4.2.3).
type Scheme uint16

// The signature schemes that have a name here.
const (
	PKCS1WithSHA1          Scheme = 0x0201 // never accepted; named to be printed
	ECDSAWithSHA1          Scheme = 0x0203 // likewise
	PKCS1WithSHA256        Scheme = 0x0401 // in certificates only, as are the next two
	PKCS1WithSHA384        Scheme = 0x0501
	PKCS1WithSHA512        Scheme = 0x0601
	ECDSAWithP256AndSHA256 Scheme = 0x0403
	ECDSAWithP384AndSHA384 Scheme = 0x0503
	ECDSAWithP521AndSHA512 Scheme = 0x0603
	RSAPSSWithSHA256       Scheme = 0x0804 // keys with the OID rsaEncryption
	RSAPSSWithSHA384       Scheme = 0x0805
	RSAPSSWithSHA512       Scheme = 0x0806
	Ed25519                Scheme = 0x0807
	Ed448                  Scheme = 0x0808 // named to be printed
	PSSPSSWithSHA256       Scheme = 0x0809 // keys with the OID id-RSASSA-PSS
	PSSPSSWithSHA384       Scheme = 0x080a
	PSSPSSWithSHA512       Scheme = 0x080b
	PKCS1WithSHA256Legacy  Scheme = 0x0420 // of clients alone, where both sides want it (RFC 9963)
	PKCS1WithSHA384Legacy  Scheme = 0x0520
	PKCS1WithSHA512Legacy  Scheme = 0x0620
	MLDSA44                Scheme = 0x0904
	MLDSA65                Scheme = 0x0905
	MLDSA87                Scheme = 0x0906
)

// ML-DSA comes last of what is signed in a handshake: the three cost a hello twelve
// bytes, and a peer that holds a classical chain too answers with the one whose
// chain is some 15 KiB shorter. Who wants it first says so by Common.Schemes.
var certificateSchemes = []Scheme{
	ECDSAWithP256AndSHA256, Ed25519, ECDSAWithP384AndSHA384, ECDSAWithP521AndSHA512,
	RSAPSSWithSHA256, RSAPSSWithSHA384, RSAPSSWithSHA512,
	PSSPSSWithSHA256, PSSPSSWithSHA384, PSSPSSWithSHA512,
	MLDSA44, MLDSA65, MLDSA87,
	PKCS1WithSHA256, PKCS1WithSHA384, PKCS1WithSHA512,
}

var schemes = certificateSchemes[:13:13]

// Schemes returns what is signed and verified in CertificateVerify, the
// preferred first. PKCS #1 v1.5 is not among them (RFC 8446, section 4.4.3).
// Not to be changed by the caller.
func Schemes() []Scheme { return schemes }

var legacySchemes = []Scheme{PKCS1WithSHA256Legacy, PKCS1WithSHA384Legacy, PKCS1WithSHA512Legacy}

// LegacySchemes returns PKCS #1 v1.5 as RFC 9963 lets clients sign with it whose
// keys can't do RSASSA-PSS. Not to be changed by the caller.
func LegacySchemes() []Scheme { return legacySchemes }

// IsLegacy says whether s is one of LegacySchemes.
func (s Scheme) IsLegacy() bool { return slices.Contains(legacySchemes, s) }

// CertificateSchemes returns what is accepted in the signatures of
// certificates: Schemes, and PKCS #1 v1.5 after them. Not to be changed by the caller.
func CertificateSchemes() []Scheme { return certificateSchemes }

// family is how a scheme signs.
type family uint8

const (
	noFamily family = iota
	familyECDSA
	familyEd25519
	familyPSS   // RSASSA-PSS by a key with the OID rsaEncryption
	familyPSSID // RSASSA-PSS by a key with the OID id-RSASSA-PSS
	familyPKCS1
	familyMLDSA
)

// kind returns the scheme's family, and its hash (none for Ed25519 and ML-DSA).
func (s Scheme) kind() (family, crypto.Hash) {
	switch s {
	case ECDSAWithP256AndSHA256:
		return familyECDSA, crypto.SHA256
	case ECDSAWithP384AndSHA384:
		return familyECDSA, crypto.SHA384
	case ECDSAWithP521AndSHA512:
		return familyECDSA, crypto.SHA512
	case Ed25519:
		return familyEd25519, 0
	case RSAPSSWithSHA256:
		return familyPSS, crypto.SHA256
	case RSAPSSWithSHA384:
		return familyPSS, crypto.SHA384
	case RSAPSSWithSHA512:
		return familyPSS, crypto.SHA512
	case PSSPSSWithSHA256:
		return familyPSSID, crypto.SHA256
	case PSSPSSWithSHA384:
		return familyPSSID, crypto.SHA384
	case PSSPSSWithSHA512:
		return familyPSSID, crypto.SHA512
	case MLDSA44, MLDSA65, MLDSA87:
		return familyMLDSA, 0
	case PKCS1WithSHA256, PKCS1WithSHA256Legacy:
		return familyPKCS1, crypto.SHA256
	case PKCS1WithSHA384, PKCS1WithSHA384Legacy:
		return familyPKCS1, crypto.SHA384
	case PKCS1WithSHA512, PKCS1WithSHA512Legacy:
		return familyPKCS1, crypto.SHA512
	}
	return noFamily, 0
}

// String gives the name of the IANA registry.
func (s Scheme) String() string {
	switch s {
	case PKCS1WithSHA1:
		return "rsa_pkcs1_sha1"
	case ECDSAWithSHA1:
		return "ecdsa_sha1"
	case PKCS1WithSHA256Legacy:
		return "rsa_pkcs1_sha256_legacy"
	case PKCS1WithSHA384Legacy:
		return "rsa_pkcs1_sha384_legacy"
	case PKCS1WithSHA512Legacy:
		return "rsa_pkcs1_sha512_legacy"
	case PKCS1WithSHA256:
		return "rsa_pkcs1_sha256"
	case PKCS1WithSHA384:
		return "rsa_pkcs1_sha384"
	case PKCS1WithSHA512:
		return "rsa_pkcs1_sha512"
	case ECDSAWithP256AndSHA256:
		return "ecdsa_secp256r1_sha256"
	case ECDSAWithP384AndSHA384:
		return "ecdsa_secp384r1_sha384"
	case ECDSAWithP521AndSHA512:
		return "ecdsa_secp521r1_sha512"
	case RSAPSSWithSHA256:
		return "rsa_pss_rsae_sha256"
	case RSAPSSWithSHA384:
		return "rsa_pss_rsae_sha384"
	case RSAPSSWithSHA512:
		return "rsa_pss_rsae_sha512"
	case Ed25519:
		return "ed25519"
	case Ed448:
		return "ed448"
	case PSSPSSWithSHA256:
		return "rsa_pss_pss_sha256"
	case PSSPSSWithSHA384:
		return "rsa_pss_pss_sha384"
	case PSSPSSWithSHA512:
		return "rsa_pss_pss_sha512"
	case MLDSA44:
		return "mldsa44"
	case MLDSA65:
		return "mldsa65"
	case MLDSA87:
		return "mldsa87"
	}
	return unnamed(uint16(s))
}
