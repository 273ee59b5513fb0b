package signing

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Template is a certificate before it is bytes. The standard library builds and
// signs in one step; here the bytes have to exist before anybody may sign them.
type Template struct {
	Profile             *Profile
	Serial              *big.Int
	Issuer, Subject     []byte // names, in DER
	NotBefore, NotAfter time.Time
	SPKI                []byte
	DNS                 []string
	IPs                 []netip.Addr
	SPIFFE              string
	AuthorityKeyID      []byte
	Algorithm           []byte
}

// The object identifiers of extensions (RFC 5280, section 4.2.1), of usages
// (section 4.2.1.12) and of the common name, as the bytes of their contents.
const (
	oidSubjectKeyID   = "\x55\x1d\x0e"
	oidKeyUsage       = "\x55\x1d\x0f"
	oidSAN            = "\x55\x1d\x11"
	oidBasic          = "\x55\x1d\x13"
	oidCRLNumber      = "\x55\x1d\x14"
	oidAuthorityKeyID = "\x55\x1d\x23"
	oidUsages         = "\x55\x1d\x25"
	oidServerAuth     = "\x2b\x06\x01\x05\x05\x07\x03\x01"
	oidClientAuth     = "\x2b\x06\x01\x05\x05\x07\x03\x02"
	oidCommonName     = "\x55\x04\x03"
)

// The tags of a GeneralName (RFC 5280, section 4.2.1.6).
var (
	tagDNS = der.Tag(2).ContextSpecific()
	tagURI = der.Tag(6).ContextSpecific()
	tagIP  = der.Tag(7).ContextSpecific()
)

// Name is a distinguished name with one common name, or the empty name.
func Name(commonName string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		if commonName == "" {
			return
		}
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, oidCommonName)
				b.AddASN1(der.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(commonName)) })
			})
		})
	})
	return b.BytesOrPanic() // there is nothing in it that could fail
}

// KeyID names a key: the first 160 bits of the SHA-256 of its bits (RFC 7093,
// section 2, method 1).
func KeyID(spki []byte) ([]byte, error) {
	in := cryptobyte.String(spki)
	var info cryptobyte.String
	var key []byte
	if !in.ReadASN1(&info, der.SEQUENCE) || !info.SkipASN1(der.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&key) {
		return nil, errors.New("the public key is not a well-formed SubjectPublicKeyInfo")
	}
	sum := sha256.Sum256(key)
	return sum[:20], nil
}

// Bytes are the bytes to be signed: a TBSCertificate (RFC 5280, section 4.1.2).
func (t *Template) Bytes() ([]byte, error) {
	keyID, err := KeyID(t.SPKI)
	if err != nil {
		return nil, err
	}
	p := t.Profile
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
		b.AddASN1BigInt(t.Serial)
		b.AddBytes(t.Algorithm)
		b.AddBytes(t.Issuer)
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.NotBefore)
			addTime(b, t.NotAfter)
		})
		b.AddBytes(t.Subject)
		b.AddBytes(t.SPKI)
		b.AddASN1(der.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				addExtension(b, oidSubjectKeyID, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(keyID) })
				addAuthorityKeyID(b, t.AuthorityKeyID)
				addExtension(b, oidBasic, true, func(b *cryptobyte.Builder) {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						if p.CA {
							b.AddASN1Boolean(true)
							b.AddASN1Int64(int64(p.PathLen))
						}
					})
				})
				addExtension(b, oidKeyUsage, true, func(b *cryptobyte.Builder) { addBits(b, p.KeyUsage) })
				if len(p.Usages) > 0 {
					addExtension(b, oidUsages, false, func(b *cryptobyte.Builder) {
						b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
							for _, u := range p.Usages {
								addOID(b, u)
							}
						})
					})
				}
				if !p.CA {
					// Critical where the subject is empty (RFC 5280, section 4.2.1.6).
					addExtension(b, oidSAN, len(t.Subject) <= 2, t.addNames)
				}
			})
		})
	})
	return b.Bytes()
}

func (t *Template) addNames(b *cryptobyte.Builder) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		add := func(tag der.Tag, v []byte) { b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(v) }) }
		for _, n := range t.DNS {
			add(tagDNS, []byte(n))
		}
		for _, ip := range t.IPs {
			add(tagIP, ip.AsSlice())
		}
		if t.SPIFFE != "" {
			add(tagURI, []byte(t.SPIFFE))
		}
	})
}

// ListTemplate is a list of revocations before it is bytes.
type ListTemplate struct {
	Issuer                 []byte // its name, in DER
	Algorithm              []byte
	AuthorityKeyID         []byte
	Number                 int64
	ThisUpdate, NextUpdate time.Time
	Revoked                []Revoked
}

// Revoked is an entry of a list.
type Revoked struct {
	Serial *big.Int
	At     time.Time
}

// Bytes are the bytes to be signed: a TBSCertList (RFC 5280, section 5.1.2).
func (t *ListTemplate) Bytes() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddBytes(t.Algorithm)
		b.AddBytes(t.Issuer)
		addTime(b, t.ThisUpdate)
		addTime(b, t.NextUpdate)
		if len(t.Revoked) > 0 { // absent, not empty (section 5.1.2.6)
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, r := range t.Revoked {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1BigInt(r.Serial)
						addTime(b, r.At)
					})
				}
			})
		}
		b.AddASN1(der.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				addAuthorityKeyID(b, t.AuthorityKeyID)
				addExtension(b, oidCRLNumber, false, func(b *cryptobyte.Builder) { b.AddASN1Int64(t.Number) })
			})
		})
	})
	return b.Bytes()
}

func addAuthorityKeyID(b *cryptobyte.Builder, id []byte) {
	addExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(der.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(id) })
		})
	})
}

func addExtension(b *cryptobyte.Builder, oid string, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oid)
		if critical { // FALSE is the default, and a default is not written in DER
			b.AddASN1Boolean(true)
		}
		b.AddASN1(der.OCTET_STRING, value)
	})
}

func addOID(b *cryptobyte.Builder, oid string) {
	b.AddASN1(der.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
}

// addBits adds a named bit list, which ends with its last one (X.690, section
// 11.2.2).
func addBits(b *cryptobyte.Builder, bits byte) {
	unused := byte(0)
	for unused < 7 && bits>>unused&1 == 0 {
		unused++
	}
	b.AddASN1(der.BIT_STRING, func(b *cryptobyte.Builder) {
		b.AddUint8(unused)
		b.AddUint8(bits)
	})
}

// addTime writes a time as RFC 5280, section 4.1.2.5, wants it: UTCTime through
// 2049, GeneralizedTime from then on.
func addTime(b *cryptobyte.Builder, t time.Time) {
	t = t.UTC()
	if t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}
