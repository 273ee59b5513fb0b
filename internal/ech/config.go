package ech

import (
	"crypto/hpke"
	"errors"
	"fmt"
	"strings"

	"github.com/mutual-tls/mutual/internal/message"
)

// The code points of HPKE that we speak (RFC 9180, section 7; X-Wing as
// draft-ietf-hpke-pq has it).
const (
	KEMP256   = 0x0010
	KEMP384   = 0x0011
	KEMP521   = 0x0012
	KEMX25519 = 0x0020
	KEMXWing  = 0x647a // X25519 with ML-KEM-768: what is recorded today can't be read tomorrow

	KDFSHA256 = 1
	KDFSHA512 = 3

	AEADAES128   = 1
	AEADAES256   = 2
	AEADChaCha20 = 3

	// TagLen is by how much each of the three AEADs makes a text longer.
	TagLen = 16
)

// ErrUnusable is why Choose chose nothing: what the list holds is for others.
var ErrUnusable = errors.New("none of the ECH configs can be used: each is of another version, asks for what we do not have, or has no fit public name")

// Choose is the first config of an ECHConfigList that we can use, with the suite
// to use of it. ErrUnusable says that the list is well-formed, and has none.
func Choose(list []byte) (*message.ECHConfig, message.ECHSuite, error) {
	all, err := message.ParseECHConfigList(list)
	if err != nil {
		return nil, message.ECHSuite{}, fmt.Errorf("the ECH config list does not parse: %w", err)
	}
	for i := range all {
		c := &all[i]
		if c.Version != message.ECHVersion || c.Mandatory() || !IsPublicName(c.PublicName) {
			continue
		}
		if _, err := publicKey(c); err != nil {
			continue
		}
		for _, s := range c.Suites {
			if supported(s) {
				return c, s, nil
			}
		}
	}
	return nil, message.ECHSuite{}, ErrUnusable
}

func supported(s message.ECHSuite) bool {
	return s.KDF >= KDFSHA256 && s.KDF <= KDFSHA512 && s.AEAD >= AEADAES128 && s.AEAD <= AEADChaCha20
}

func kemOf(id uint16) (hpke.KEM, error) {
	switch id {
	case KEMP256, KEMP384, KEMP521, KEMX25519, KEMXWing:
		return hpke.NewKEM(id)
	}
	return nil, fmt.Errorf("the KEM %#04x is not one that we have", id)
}

func publicKey(c *message.ECHConfig) (hpke.PublicKey, error) {
	kem, err := kemOf(c.KEM)
	if err != nil {
		return nil, err
	}
	return kem.NewPublicKey(c.PublicKey)
}

func primitives(s message.ECHSuite) (hpke.KDF, hpke.AEAD, error) {
	if !supported(s) {
		return nil, nil, fmt.Errorf("the HPKE suite %#04x, %#04x is not one that we have", s.KDF, s.AEAD)
	}
	kdf, err := hpke.NewKDF(s.KDF)
	if err != nil {
		return nil, nil, err
	}
	aead, err := hpke.NewAEAD(s.AEAD)
	return kdf, aead, err
}

// info is what a key schedule of HPKE is bound to (RFC 9849, section 6.1).
func info(c *message.ECHConfig) []byte { return append([]byte("tls ech\x00"), c.Raw...) }

// IsPublicName says whether a public name is one that a client may ask for: a
// DNS name in its preferred syntax that nobody takes for an IPv4 address (RFC
// 9849, section 6.1.7).
func IsPublicName(name string) bool {
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, c := range []byte(l) {
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	digits := "0123456789"
	if len(last) >= 2 && (last[:2] == "0x" || last[:2] == "0X") {
		last, digits = last[2:], "0123456789abcdefABCDEF"
	}
	return len(name) <= 253 && strings.Trim(last, digits) != ""
}
