package mtls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// TicketKeys seal the tickets of one server, or of a fleet that shares them. The
// first key seals, all of them open. It is safe for concurrent use; the zero
// value holds no key, and without a key there are no tickets.
//
// Sharing keys does not share trust: a ticket counts only where the server that
// opens it has the same authorities, rules, client authentication and
// certificate as the one that sealed it, and judges the client again.
type TicketKeys struct {
	mu       sync.Mutex
	rotation time.Duration // 0: keys change by Set alone
	keys     []ticketKey
	strikes  strikes // of hellos that brought early data with tickets of ours
	chains   chainMemory
}

type ticketKey struct {
	name   [ticketName]byte
	secret [32]byte
	made   time.Time // of a key that was drawn
}

const (
	// maxTicketKeys bounds the keys that are tried and kept.
	maxTicketKeys = 200
	// minRotation keeps what is kept for a week below that.
	minRotation = time.Hour
	// DefaultRotation is how long a key of our own seals.
	DefaultRotation = 24 * time.Hour

	ticketName = 8
	ticketSalt = 32
)

// NewTicketKeys are keys drawn here, at random, the next one after each
// rotation; 0 is DefaultRotation. An old key opens what it sealed for as long as
// that may live, and is zeroed then.
func NewTicketKeys(rotation time.Duration) (*TicketKeys, error) {
	if rotation == 0 {
		rotation = DefaultRotation
	}
	if rotation < minRotation || rotation > sessionLife {
		return nil, fmt.Errorf("ticket keys can rotate every %v to %v, not every %v", minRotation, sessionLife, rotation)
	}
	return &TicketKeys{rotation: rotation, strikes: strikes{most: maxStrikes}}, nil
}

// SharedTicketKeys are keys that were drawn elsewhere, for several servers to
// share. To rotate: Set with the new key behind the old one everywhere, then
// with the new one first, then without the old one.
func SharedTicketKeys(keys ...[32]byte) (*TicketKeys, error) {
	k := &TicketKeys{}
	return k, k.Set(keys...)
}

// Set exchanges the keys. The first seals from now on. On an error nothing
// changes.
func (k *TicketKeys) Set(keys ...[32]byte) error {
	if k.rotation != 0 {
		return errors.New("these ticket keys are drawn here and rotate by themselves: make them with SharedTicketKeys to set them")
	}
	if len(keys) == 0 || len(keys) > maxTicketKeys {
		return fmt.Errorf("%d ticket keys were given; 1 to %d can be used", len(keys), maxTicketKeys)
	}
	fresh := make([]ticketKey, len(keys))
	for i, secret := range keys {
		if secret == ([32]byte{}) {
			return errors.New("a ticket key is all zeros: draw 32 random bytes")
		}
		if slices.Contains(keys[:i], secret) {
			return errors.New("a ticket key is given twice")
		}
		fresh[i].secret = secret
		fresh[i].name = nameOf(&secret)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.keys)
	k.keys = fresh
	return nil
}

// nameOf is what a key is found by in a ticket. It tells nothing of the key.
func nameOf(secret *[32]byte) (name [ticketName]byte) {
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte("mutual ticket key name"))
	copy(name[:], m.Sum(nil))
	return name
}

// empty says whether there is no key and none will be drawn.
func (k *TicketKeys) empty() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rotation == 0 && len(k.keys) == 0
}

// turn draws the next key where it is due, and zeroes those that are over.
func (k *TicketKeys) turn(now time.Time) {
	if k.rotation == 0 {
		return
	}
	if len(k.keys) == 0 || !now.Before(k.keys[0].made.Add(k.rotation)) {
		next := ticketKey{made: now}
		_, _ = rand.Read(next.secret[:]) // crypto/rand.Read never fails: it ends the program instead
		next.name = nameOf(&next.secret)
		old := k.keys
		k.keys = append([]ticketKey{next}, old...)
		clear(old)
	}
	for n := len(k.keys); n > maxTicketKeys || n > 1 && !now.Before(k.keys[n-1].made.Add(k.rotation+sessionLife)); n = len(k.keys) {
		k.keys[n-1] = ticketKey{}
		k.keys = k.keys[:n-1]
	}
}

// seal makes a ticket of plain; false where there is no key.
func (k *TicketKeys) seal(now time.Time, plain []byte) ([]byte, bool) {
	return k.sealFor(now, plain, "")
}

// sealFor is seal for what is no ticket, and opens for the same use alone.
func (k *TicketKeys) sealFor(now time.Time, plain []byte, use string) ([]byte, bool) {
	k.mu.Lock()
	k.turn(now)
	if len(k.keys) == 0 {
		k.mu.Unlock()
		return nil, false
	}
	key := k.keys[0]
	k.mu.Unlock()
	defer clear(key.secret[:])

	ticket := make([]byte, ticketName+ticketSalt, ticketName+ticketSalt+len(plain)+16)
	copy(ticket, key.name[:])
	_, _ = rand.Read(ticket[ticketName:])
	return key.aead(ticket[ticketName:]).Seal(ticket, zeroNonce, plain, append(ticket[:len(ticket):len(ticket)], use...)), true
}

// open is what a ticket was made of; false where we did not make it.
func (k *TicketKeys) open(now time.Time, ticket []byte) ([]byte, bool) {
	return k.openFor(now, ticket, "")
}

func (k *TicketKeys) openFor(now time.Time, ticket []byte, use string) ([]byte, bool) {
	const head = ticketName + ticketSalt
	if len(ticket) <= head {
		return nil, false
	}
	k.mu.Lock()
	k.turn(now)
	i := slices.IndexFunc(k.keys, func(key ticketKey) bool { return string(key.name[:]) == string(ticket[:ticketName]) })
	if i < 0 {
		k.mu.Unlock()
		return nil, false
	}
	key := k.keys[i]
	k.mu.Unlock()
	defer clear(key.secret[:])

	plain, err := key.aead(ticket[ticketName:head]).Open(nil, zeroNonce, ticket[head:], append(ticket[:head:head], use...))
	return plain, err == nil
}

// zeroNonce is the nonce of every ticket: no key of an AEAD seals two.
var zeroNonce = make([]byte, 12)

// aead is AES-256-GCM under a key for one ticket alone. Servers that share a key
// can't count nonces together, and random ones of 96 bits wear a key out; a
// salt of 256 bits does not.
func (t *ticketKey) aead(salt []byte) cipher.AEAD {
	m := hmac.New(sha256.New, t.secret[:])
	m.Write([]byte("mutual ticket"))
	m.Write(salt)
	var sum [32]byte
	block, err := aes.NewCipher(m.Sum(sum[:0]))
	if err != nil {
		panic("mtls: AES-256 does not take 32 bytes of key: " + err.Error())
	}
	clear(sum[:])
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("mtls: GCM does not take AES: " + err.Error())
	}
	return gcm
}
