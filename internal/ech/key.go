package ech

import (
	"crypto/hpke"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/mutual-tls/mutual/internal/message"
)

// Key is a config and its private key. It is immutable.
type Key struct {
	Config  *message.ECHConfig
	private hpke.PrivateKey
}

// Shape is what a new config says of itself.
type Shape struct {
	PublicName string
	MaxNameLen uint8
	KEM        uint16 // 0: X25519
}

// suites are what our own configs allow.
var suites = []message.ECHSuite{{KDF: KDFSHA256, AEAD: AEADAES128}, {KDF: KDFSHA256, AEAD: AEADAES256}, {KDF: KDFSHA256, AEAD: AEADChaCha20}}

// Generate makes a key, and a config for it whose identifier none of besides has
// (RFC 9849, section 4.1).
func Generate(shape Shape, besides ...*Key) (*Key, error) {
	if !IsPublicName(shape.PublicName) {
		return nil, fmt.Errorf("the public name %q is not a DNS name", shape.PublicName)
	}
	if shape.KEM == 0 {
		shape.KEM = KEMX25519
	}
	kem, err := kemOf(shape.KEM)
	if err != nil {
		return nil, err
	}
	if len(besides) > maxKeys {
		return nil, fmt.Errorf("there are %d keys already; at most %d can be used beside each other", len(besides), maxKeys)
	}
	private, err := kem.GenerateKey()
	if err != nil {
		return nil, err
	}
	c := message.ECHConfig{
		Version: message.ECHVersion, KEM: shape.KEM, PublicKey: private.PublicKey().Bytes(), Suites: suites,
		MaxNameLen: shape.MaxNameLen, PublicName: shape.PublicName,
	}
	for {
		var id [1]byte
		_, _ = rand.Read(id[:]) // crypto/rand.Read never fails: it ends the program instead
		c.ID = id[0]
		if !slices.ContainsFunc(besides, func(k *Key) bool { return k.Config.ID == c.ID }) {
			break
		}
	}
	if c.Raw, err = c.Append(nil); err != nil {
		return nil, err
	}
	return &Key{&c, private}, nil
}

// NewKey puts one ECHConfig and its private key together, as HPKE serializes it.
func NewKey(config, private []byte) (*Key, error) {
	c, err := message.ParseECHConfig(config)
	if err != nil {
		return nil, fmt.Errorf("the ECH config does not parse: %w", err)
	}
	return newKey(c, func(kem hpke.KEM) (hpke.PrivateKey, error) { return kem.NewPrivateKey(private) })
}

func newKey(c *message.ECHConfig, load func(hpke.KEM) (hpke.PrivateKey, error)) (*Key, error) {
	if c.Version != message.ECHVersion {
		return nil, fmt.Errorf("the ECH config is of the version %#04x; %#04x is the one that we speak", c.Version, message.ECHVersion)
	}
	kem, err := kemOf(c.KEM)
	if err != nil {
		return nil, err
	}
	private, err := load(kem)
	if err != nil {
		return nil, fmt.Errorf("the private key does not fit the ECH config: %w", err)
	}
	if !slices.Equal(private.PublicKey().Bytes(), c.PublicKey) {
		return nil, errors.New("the private key is not that of the ECH config")
	}
	if c.Mandatory() {
		return nil, errors.New("the ECH config has a mandatory extension, and we know none")
	}
	if !IsPublicName(c.PublicName) {
		return nil, fmt.Errorf("the public name %q of the ECH config is not a DNS name", c.PublicName)
	}
	return &Key{c, private}, nil
}

const (
	privateBlock = "PRIVATE KEY"
	configBlock  = "ECHCONFIG"
)

// ParsePEM reads a key and its config as RFC 9934 keeps them: a private key in
// PKCS #8, and a list of one config.
func ParsePEM(b []byte) (*Key, error) {
	var private, list []byte
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		switch {
		case block.Type == privateBlock && private == nil:
			private = block.Bytes
			defer clear(private)
		case block.Type == configBlock && list == nil:
			list = block.Bytes
		default:
			return nil, fmt.Errorf("the PEM block %q has no place in a file of one ECH key", block.Type)
		}
		b = rest
	}
	if private == nil || list == nil {
		return nil, fmt.Errorf("a block %q and a block %q are expected (RFC 9934)", privateBlock, configBlock)
	}
	all, err := message.ParseECHConfigList(list)
	if err != nil {
		return nil, fmt.Errorf("the ECH config list does not parse: %w", err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("the ECH config list holds %d configs for one private key; one is expected", len(all))
	}
	return newKey(&all[0], func(hpke.KEM) (hpke.PrivateKey, error) {
		key, err := x509.ParsePKCS8PrivateKey(private)
		if err != nil {
			return nil, err
		}
		return fromStandard(key)
	})
}

// List is the ECHConfigList of this one key, to be published.
func (k *Key) List() []byte {
	b, err := message.AppendECHConfigList(nil, k.Config.Raw)
	if err != nil {
		panic("ech: a config that was parsed can't be listed: " + err.Error())
	}
	return b
}

// Open decrypts the payload of the extension h, bound to aad; false where it was
// not encrypted to k.
func (k *Key) Open(h *message.ECHHello, aad []byte) ([]byte, *Opener, bool) {
	if h.ConfigID != k.Config.ID || !slices.Contains(k.Config.Suites, h.Suite) {
		return nil, nil, false
	}
	kdf, aead, err := primitives(h.Suite)
	if err != nil {
		return nil, nil, false
	}
	r, err := hpke.NewRecipient(h.Enc, k.private, kdf, aead, info(k.Config))
	if err != nil {
		return nil, nil, false
	}
	inner, err := r.Open(aad, h.Payload)
	if err != nil {
		return nil, nil, false
	}
	return inner, &Opener{r}, true
}

const (
	// maxKeys bounds the keys of one server: the current one and those that caches
	// may still have.
	maxKeys = 32
	// maxSameID bounds how many keys may share an identifier: each costs a
	// decryption, and who sends the hello has paid nothing yet.
	maxSameID = 4
)

// CheckSet says why keys can't be used beside each other.
func CheckSet(keys []*Key) error {
	if len(keys) > maxKeys {
		return fmt.Errorf("%d ECH keys were given; at most %d can be used", len(keys), maxKeys)
	}
	var count [256]int
	for i, k := range keys {
		if k == nil {
			return fmt.Errorf("ECH key %d is nil", i+1)
		}
		if count[k.Config.ID]++; count[k.Config.ID] > maxSameID {
			return fmt.Errorf("more than %d ECH keys have the identifier %d: clients name the key by it, and each would have to be tried", maxSameID, k.Config.ID)
		}
	}
	return nil
}
