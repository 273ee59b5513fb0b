package ech

import (
	"crypto/hpke"

	"github.com/mutual-tls/mutual/internal/message"
)

// Sealer encrypts the hellos of one connection to one config. The two of a
// handshake with a HelloRetryRequest share its context.
type Sealer struct {
	Config *message.ECHConfig
	Suite  message.ECHSuite
	// Enc is the encapsulated key, which goes with the first hello.
	Enc    []byte
	sender *hpke.Sender
}

// NewSealer begins to encrypt to c, which Choose gave with s.
func NewSealer(c *message.ECHConfig, s message.ECHSuite) (*Sealer, error) {
	key, err := publicKey(c)
	if err != nil {
		return nil, err
	}
	kdf, aead, err := primitives(s)
	if err != nil {
		return nil, err
	}
	enc, sender, err := hpke.NewSender(key, kdf, aead, info(c))
	if err != nil {
		return nil, err
	}
	return &Sealer{c, s, enc, sender}, nil
}

// Seal encrypts an encoded inner hello, bound to its outer one.
func (s *Sealer) Seal(aad, inner []byte) ([]byte, error) { return s.sender.Seal(aad, inner) }

// Opener decrypts the hellos of one connection, the first of which is open.
type Opener struct{ recipient *hpke.Recipient }

// Open decrypts a second hello.
func (o *Opener) Open(aad, payload []byte) ([]byte, error) { return o.recipient.Open(aad, payload) }

// Padding is how many zeros the client puts behind n bytes of an encoded inner
// hello that asks for name, "" for none (RFC 9849, section 6.1.3): names as if all
// were of maxName bytes, and the whole to a multiple of 32.
func Padding(n int, name string, maxName uint8) int {
	pad := int(maxName) + 9 // the length of a server_name around a name
	if name != "" {
		pad = max(0, int(maxName)-len(name))
	}
	return pad + 31 - (n+pad-1)%32
}
