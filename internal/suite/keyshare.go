package suite

import (
	"errors"
	"fmt"
	"io"
)

// ErrBadShare is wrapped by every error for which the peer's share is to blame:
// a wrong length, a point off its curve, an encapsulation key out of range, a
// result of zero. The alert is illegal_parameter (RFC 8446, section 4.2.8).
var ErrBadShare = errors.New("the peer's key share is not usable")

var (
	errDestroyed   = errors.New("this key share was used or destroyed before; generate a new one for each handshake")
	errUnsupported = errors.New("key exchange group is not supported")
)

// KeyShare is one client's ephemeral private key in one group, for one
// handshake. It is not safe for concurrent use.
type KeyShare struct {
	group  GroupID
	live   bool
	curve  curveKey
	kem    kemKey
	public []byte
}

// Generate makes a fresh key from the random source. An error of the source is
// returned; there is no other source to fall back to.
func Generate(g GroupID, rand io.Reader) (*KeyShare, error) {
	p := g.parts()
	if p == (parts{}) {
		return nil, fmt.Errorf("%w: %v", errUnsupported, g)
	}
	k := &KeyShare{group: g, public: make([]byte, g.ClientShareLen())}
	point, key := p.split(k.public, p.kem.keyLen())
	if err := k.kem.generate(p.kem, rand, key); err != nil {
		return nil, err
	}
	if err := k.curve.generate(p.curve, rand, point); err != nil {
		k.Destroy()
		return nil, err
	}
	k.live = true
	return k, nil
}

// Group tells which group the key is in.
func (k *KeyShare) Group() GroupID { return k.group }

// Public returns the key_exchange field to send. Not to be changed by the caller.
func (k *KeyShare) Public() []byte { return k.public }

// Agree takes the server's share and returns the shared secret, which the caller
// zeroes after use. The key is destroyed, whatever the outcome. The error wraps
// ErrBadShare when the share is at fault.
func (k *KeyShare) Agree(peer []byte) (secret []byte, err error) {
	if !k.live {
		return nil, errDestroyed
	}
	defer k.Destroy()
	if want := k.group.ServerShareLen(); len(peer) != want {
		return nil, wrongLength(k.group, "server", len(peer), want)
	}
	p := k.group.parts()
	secret = make([]byte, k.group.secretLen())
	curveSecret, kemSecret := p.split(secret, p.kem.secretLen())
	point, ciphertext := p.split(peer, p.kem.ciphertextLen())
	if err := k.curve.agree(curveSecret, point); err != nil {
		return nil, fmt.Errorf("%v: %w", k.group, err)
	}
	k.kem.decapsulate(kemSecret, ciphertext)
	return secret, nil
}

// Destroy forgets the private key, and zeroes what of it is in our hands: the
// X25519 scalar. What crypto/ecdh and the KEM keep inside is left to the garbage
// collector. It may be called more than once.
func (k *KeyShare) Destroy() {
	k.live = false
	k.curve.destroy()
	k.kem.destroy()
}

// Respond is the server's whole part: it checks the client's share, makes a
// fresh key (for a hybrid, an encapsulation as well), and returns the
// key_exchange field to send and the shared secret, which the caller zeroes
// after use. The error wraps ErrBadShare when the client's share is at fault.
func Respond(g GroupID, rand io.Reader, clientShare []byte) (share, secret []byte, err error) {
	p := g.parts()
	if p == (parts{}) {
		return nil, nil, fmt.Errorf("%w: %v", errUnsupported, g)
	}
	if want := g.ClientShareLen(); len(clientShare) != want {
		return nil, nil, wrongLength(g, "client", len(clientShare), want)
	}
	// One allocation for both: they are made and given up together.
	n := g.ServerShareLen()
	both := make([]byte, n+g.secretLen())
	share, secret = both[:n:n], both[n:]

	peerPoint, peerKey := p.split(clientShare, p.kem.keyLen())
	point, ciphertext := p.split(share, p.kem.ciphertextLen())
	curveSecret, kemSecret := p.split(secret, p.kem.secretLen())

	own := new(struct { // one allocation, as in kemKey
		curve curveKey
		seed  [32]byte
	})
	defer own.curve.destroy()
	if err := own.curve.generate(p.curve, rand, point); err != nil {
		return nil, nil, err
	}
	if err := own.curve.agree(curveSecret, peerPoint); err != nil {
		return nil, nil, fmt.Errorf("%v: %w", g, err)
	}
	if err := p.kem.encapsulate(rand, &own.seed, ciphertext, kemSecret, peerKey); err != nil {
		clear(secret)
		return nil, nil, fmt.Errorf("%v: %w", g, err)
	}
	return share, secret, nil
}

func wrongLength(g GroupID, side string, got, want int) error {
	return fmt.Errorf("%w: the %s's share for %v has %d bytes, expected %d", ErrBadShare, side, g, got, want)
}
