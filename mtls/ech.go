package mtls

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
)

// ECHStatus is what became of Encrypted Client Hello in a handshake.
type ECHStatus = handshake.ECHStatus

// What can become of it. A client never has a connection with ECHRejected.
const (
	ECHNone     = handshake.ECHNone
	ECHGreased  = handshake.ECHGreased
	ECHAccepted = handshake.ECHAccepted
	ECHRejected = handshake.ECHRejected
)

// ECHRejection is the Cause of the Refusal (M0331) of a client whose encrypted
// hello the server could not read; errors.As finds it. Its RetryConfigs were
// proven to come from PublicName, as the client's Verifier sees it: a client may
// try once more with them, over a new connection.
type ECHRejection = handshake.ECHRejection

// ClientECH has a client encrypt its hello, and with it the name of the server
// that it means (Encrypted Client Hello, RFC 9849). Who looks on sees the config's
// public name.
//
// A server that can't read the hello has to prove that it is the public name, to
// the same Verifier; it is shown no certificate, and the client ends with a
// Refusal that carries an *ECHRejection. A client that has a config never goes on
// with the name in the clear.
type ClientECH struct {
	// Source gives the configs of each server, as DNS or whoever runs it
	// publishes them: ECHConfigList, or a func as ECHSourceFunc. nil encrypts
	// nothing, which makes sense with Grease alone.
	Source ECHSource
	// Grease makes a connection where Source has no config that we can use, with
	// the name in the clear and a made-up encrypted hello beside it, so that those
	// with a real one do not stand out (RFC 9849, section 6.2). Without it such a
	// connection is refused (M0631).
	Grease bool
	// Retry has Dial and DialEarly try once more, over a new connection, with the
	// configs that a server gave when it rejected the first ones.
	Retry bool
}

// ECHSource gives the ECHConfigList for a server, nil where it has none. It is
// called before each handshake, concurrently. An error ends the attempt.
type ECHSource interface {
	ECHConfigs(ctx context.Context, serverName string) ([]byte, error)
}

// ECHConfigList is an ECHConfigList (RFC 9849, section 4) as a source: the same
// for every server that the client is to reach.
type ECHConfigList []byte

// ECHConfigs is the list.
func (l ECHConfigList) ECHConfigs(context.Context, string) ([]byte, error) { return l, nil }

// ECHSourceFunc is an ECHSource that is a function.
type ECHSourceFunc func(ctx context.Context, serverName string) ([]byte, error)

// ECHConfigs calls f.
func (f ECHSourceFunc) ECHConfigs(ctx context.Context, serverName string) ([]byte, error) {
	return f(ctx, serverName)
}

func (c *ClientECH) check() error {
	if c.Source == nil && !c.Grease {
		return errors.New("ClientECH has no Source and no Grease: give one, or leave ECH out")
	}
	if c.Retry && c.Source == nil {
		return errors.New("ClientECH.Retry without a Source: a made-up hello is never tried again")
	}
	return nil
}

// sealer is what encrypts the hello for name, nil where it is to be made up.
func (c *ClientECH) sealer(ctx context.Context, name string) (*ech.Sealer, error) {
	if c.Source == nil {
		return nil, nil
	}
	list, err := c.Source.ECHConfigs(ctx, name)
	if err != nil {
		return nil, refuseECHConfigs("the ECH configs can't be had: "+err.Error(), err)
	}
	if len(list) == 0 {
		if c.Grease {
			return nil, nil
		}
		return nil, refuseECHConfigs("there is no ECH config for the server, so its name would travel in the clear", nil)
	}
	config, s, err := ech.Choose(list)
	if errors.Is(err, ech.ErrUnusable) && c.Grease {
		return nil, nil
	}
	if err != nil {
		return nil, refuseECHConfigs(err.Error(), err)
	}
	sealer, err := ech.NewSealer(config, s)
	if err != nil {
		return nil, refuseECHConfigs(err.Error(), err)
	}
	return sealer, nil
}

// conceal has m encrypt its hello to the server that name is, where it should;
// again, if not nil, is what to encrypt it to.
func (c *Client) conceal(ctx context.Context, m *handshake.Client, name string, again ECHConfigList) error {
	how := c.concealing
	switch {
	case how == nil:
		return nil
	case again != nil:
		how = &ClientECH{Source: again}
	}
	sealer, err := how.sealer(ctx, name)
	if sealer != nil {
		m.Conceal(sealer)
	}
	return err
}

func refuseECHConfigs(reason string, cause error) *Refusal {
	return newRefusal(code.ECHConfigs, Misuse, "before the handshake", reason, cause)
}

// retryWith is the configs to try once more with after err, nil where there is
// nothing to be tried.
func (c *ClientECH) retryWith(err error) ECHConfigList {
	var r *ECHRejection
	if c == nil || !c.Retry || !errors.As(err, &r) {
		return nil
	}
	if _, _, err := ech.Choose(r.RetryConfigs); err != nil {
		return nil
	}
	return r.RetryConfigs
}

// ECHKey is a config for Encrypted Client Hello and its private key. It is
// immutable.
type ECHKey struct{ key *ech.Key }

// ECHShape is what a new config tells clients.
type ECHShape struct {
	// PublicName is the DNS name that clients show instead of the one that they
	// mean. The server needs a certificate for it that they accept: without one
	// no client whose config is out of date finds the way to the new one.
	PublicName string
	// MaxNameLength is the length of the longest name that the server has, so that
	// all look equally long; 0 where it is not known.
	MaxNameLength uint8
	// PostQuantum takes X25519 with ML-KEM-768 for the key (X-Wing), which few
	// clients have yet, instead of X25519 alone.
	PostQuantum bool
}

// NewECHKey makes a key and its config. Clients name the config by one byte,
// which none of besides has: give those that are used beside the new one.
func NewECHKey(shape ECHShape, besides ...*ECHKey) (*ECHKey, error) {
	s := ech.Shape{PublicName: shape.PublicName, MaxNameLen: shape.MaxNameLength}
	if shape.PostQuantum {
		s.KEM = ech.KEMXWing
	}
	others := make([]*ech.Key, len(besides))
	for i, b := range besides {
		if b == nil {
			return nil, fmt.Errorf("ECH key %d beside the new one is nil", i+1)
		}
		others[i] = b.key
	}
	key, err := ech.Generate(s, others...)
	if err != nil {
		return nil, err
	}
	return &ECHKey{key}, nil
}

// ParseECHKey reads a key from PEM, as RFC 9934 has it: the private key in PKCS
// #8, and its config.
func ParseECHKey(pem []byte) (*ECHKey, error) {
	key, err := ech.ParsePEM(pem)
	if err != nil {
		return nil, err
	}
	return &ECHKey{key}, nil
}

// ECHKeyOf puts one ECHConfig together with its private key, as HPKE writes it
// (RFC 9180, section 7.1.2).
func ECHKeyOf(config, private []byte) (*ECHKey, error) {
	key, err := ech.NewKey(config, private)
	if err != nil {
		return nil, err
	}
	return &ECHKey{key}, nil
}

// PEM is the key as ParseECHKey reads it: a secret. A post-quantum key has no
// such form yet.
func (k *ECHKey) PEM() ([]byte, error) { return k.key.PEM() }

// ConfigList is the ECHConfigList of this key alone.
func (k *ECHKey) ConfigList() ECHConfigList { return k.key.List() }

// ECHKeys are the keys of a server, for ServerConfig.ECH: those that are
// published now, and those that clients may still have. They can be exchanged
// while the server runs. It is safe for concurrent use.
type ECHKeys struct{ set atomic.Pointer[echSet] }

type echSet struct {
	keys []*ech.Key
	list ECHConfigList
}

// NewECHKeys are the current keys, by preference, and former ones. At most 32,
// and at most four of one identifier.
func NewECHKeys(current []*ECHKey, former ...*ECHKey) (*ECHKeys, error) {
	k := &ECHKeys{}
	return k, k.Set(current, former...)
}

// Set exchanges the keys. To rotate: a new key first with the old one behind it,
// and without the old one when caches have forgotten its config. On an error
// nothing changes.
func (k *ECHKeys) Set(current []*ECHKey, former ...*ECHKey) error {
	if len(current) == 0 {
		return errors.New("a server with ECH needs a current key: clients that have an old config are told of it")
	}
	set := &echSet{}
	var raw [][]byte
	for i, e := range append(current[:len(current):len(current)], former...) {
		if e == nil {
			return fmt.Errorf("ECH key %d is nil", i+1)
		}
		set.keys = append(set.keys, e.key)
		if i < len(current) {
			raw = append(raw, e.key.Config.Raw)
		}
	}
	if err := ech.CheckSet(set.keys); err != nil {
		return err
	}
	list, err := message.AppendECHConfigList(nil, raw...)
	if err != nil {
		return err
	}
	set.list = list
	k.set.Store(set)
	return nil
}

// ConfigList is what to publish: the configs of the current keys. Clients that
// come with something else are told the same.
func (k *ECHKeys) ConfigList() ECHConfigList {
	if set := k.set.Load(); set != nil {
		return set.list
	}
	return nil
}

// decryptECH tries the keys that the hello can be meant for.
func (k *ECHKeys) decryptECH(op *handshake.Op) handshake.Answer {
	set := k.set.Load()
	for _, key := range set.keys {
		if inner, opener, ok := key.Open(op.ECH, op.AAD); ok {
			return handshake.Answer{Opened: &handshake.ECHOpened{Inner: inner, Opener: opener}}
		}
	}
	return handshake.Answer{RetryConfigs: set.list}
}
