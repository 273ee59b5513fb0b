package mtls

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
)

// An external key is for one client and one server, in their roles, with one hash,
// imported or not (RFC 9257, section 4; RFC 9258, section 4.1). Within one list that
// is looked at where the list is; this is for all Servers and Clients of the process:
// it keeps how each key is used, for as long as one of them, or a connection of
// theirs, has it. What other processes do with the key nobody sees.

// pskUse is how a key is used.
type pskUse struct {
	hash           crypto.Hash
	raw            bool
	client, server string
}

func (u pskUse) String() string {
	how := "imported"
	if u.raw {
		how = "raw"
	}
	return fmt.Sprintf("%s, with %s, by the client %s and the server %s", how, u.hash, u.client, u.server)
}

// pskUses are the uses of the process, by the digest of the secret.
type pskUses struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]*heldUse
}

type heldUse struct {
	pskUse
	holders int
}

var usedPSKs = pskUses{of: map[[sha256.Size]byte]*heldUse{}}

// hold notes the keys of all, whose secrets have these digests, until all is gone.
// On an error nothing is noted.
func (u *pskUses) hold(all *psks, secrets [][sha256.Size]byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, k := range all.list {
		if there := u.of[secrets[i]]; there != nil && there.pskUse != k.use() {
			return fmt.Errorf("the secret of the pre-shared key %q is in use in this process otherwise (%s), and not as here (%s): "+
				"a key has one client, one server and one hash (RFC 9257, section 4); give each use a secret of its own", k.Identity, there, k.use())
		}
	}
	for i, k := range all.list {
		there := u.of[secrets[i]]
		if there == nil {
			there = &heldUse{pskUse: k.use()}
			u.of[secrets[i]] = there
		}
		there.holders++
	}
	runtime.AddCleanup(all, u.release, secrets)
	return nil
}

func (u *pskUses) release(secrets [][sha256.Size]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range secrets {
		if there := u.of[s]; there != nil {
			if there.holders--; there.holders == 0 {
				delete(u.of, s)
			}
		}
	}
}

func (k *psk) use() pskUse { return pskUse{k.Hash, k.Raw, k.Client, k.Server} }
