package agent

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/sign"
)

// home is an identity's folder, DATA/id/DOMAIN/NAME.
type home string

// The files in it, each 0600 and written whole or not at all.
const (
	identityFile    = "identity.pem"     // the key and its chain: one file, so that they change together
	anchorsFile     = "anchors.json"     // the statement that says whom to trust
	stateFile       = "state.json"       // who this is, and where the authority is
	revocationsFile = "revocations.json" // the last good lists
	nextKeyFile     = "next.key"         // made for a request that was not answered yet
	lockFile        = "lock"             // held by the process that renews
)

// state is what is known of an identity beside its certificate. Nothing in it is
// secret.
type state struct {
	Name     string    `json:"name"`
	Domain   string    `json:"domain"`
	Service  string    `json:"service,omitempty"`
	Lineage  string    `json:"lineage"`
	IssuedAt time.Time `json:"issued_at"`
	// Origin is the root that the join line named, and Token the hash of its
	// token: by them a line finds what it made, however trust went on since.
	Origin    string              `json:"origin"`
	Token     string              `json:"token_sha256"`
	Authority []string            `json:"authority"`
	Services  map[string][]string `json:"services,omitempty"`
	// Standing is what the authority said last of the identity.
	Standing string `json:"standing,omitempty"`
}

func (h home) file(name string) string { return filepath.Join(string(h), name) }

func (h home) readState() (state, error) {
	var s state
	err := h.readJSON(stateFile, &s)
	return s, err
}

func (h home) writeState(s state) error { return h.writeJSON(stateFile, s) }

func (h home) readJSON(name string, v any) error {
	b, err := folder.Read(h.file(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s does not parse: %w", name, err)
	}
	return nil
}

func (h home) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return folder.Write(h.file(name), append(b, '\n'))
}

// readIdentity reads key and chain. The stamp tells whether the file has changed
// since.
func (h home) readIdentity() (cert *mtls.Certificate, leaf *pki.Certificate, stamp string, err error) {
	stamp = h.stamp()
	b, err := folder.Read(h.file(identityFile))
	if err != nil {
		return nil, nil, "", err
	}
	defer clear(b)
	chain, key, err := keystore.Load(b, b)
	if err != nil {
		return nil, nil, "", err
	}
	if cert, err = mtls.NewCertificate(chain, key); err != nil {
		return nil, nil, "", err
	}
	leaf, err = pki.Parse(chain[0])
	return cert, leaf, stamp, err
}

func (h home) stamp() string {
	info, err := os.Stat(h.file(identityFile))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

func (h home) writeIdentity(key crypto.Signer, chain [][]byte) error {
	b, err := keystore.KeyPEM(key)
	if err != nil {
		return err
	}
	for _, c := range chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	defer clear(b)
	return folder.Write(h.file(identityFile), b)
}

// homes are the folders of the identities of a name, by their trust domains.
func homes(ids, name string) []home {
	domains, err := os.ReadDir(ids) // no pattern: the path may hold any character
	if err != nil {
		return nil
	}
	var out []home
	for _, d := range domains {
		h := home(filepath.Join(ids, d.Name(), name))
		if _, err := os.Lstat(h.file(stateFile)); err == nil {
			out = append(out, h)
		}
	}
	return out
}

// find is the folder that a line's identity lies in.
func find(ids string, l *join.Line) (home, bool) {
	for _, h := range homes(ids, l.Name) {
		if s, err := h.readState(); err == nil && s.Origin == hexOf(l.Root) {
			return h, true
		}
	}
	return "", false
}

// nextKey is the key of the next certificate. It is on disk before anybody is
// told its public half: an answer that is lost can be asked for again. One that is
// in use already is what a crash left behind; used is nil where there is none.
//
// keyType is what a new one is to be; "" is the type of the one in use, and
// defaultKeyType where there is none.
func nextKey(file, keyType string, used *pki.Certificate) (crypto.Signer, error) {
	b, err := folder.Read(file)
	switch {
	case err == nil:
		defer clear(b)
		if k, err := keystore.LoadKey(b); err == nil && !isOf(k, used) {
			return k, nil
		}
		// Damaged, or in use: nothing depends on the file.
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if keyType == "" && used != nil && used.Key != nil {
		keyType = keystore.TypeOf(used.Key.Key)
	}
	key, err := keystore.NewKey(cmp.Or(keyType, defaultKeyType))
	if err != nil {
		return nil, err
	}
	text, err := keystore.KeyPEM(key)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return key, folder.Write(file, text)
}

// defaultKeyType is what signs and verifies fastest, and every peer knows.
const defaultKeyType = "p256"

// isOf says whether a certificate is for a key.
func isOf(key crypto.Signer, c *pki.Certificate) bool {
	if c == nil || c.Key == nil {
		return false
	}
	p, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.Equal(c.Key.Key)
}

// request is a certificate request that says nothing but the key: names come from
// the grant.
func request(key crypto.Signer) ([]byte, error) {
	return sign.Request(nil, &x509.CertificateRequest{}, key)
}

// await waits for a lock.
func await(ctx context.Context, file string) (*folder.Lock, error) {
	for {
		l, err := folder.TryLock(file)
		if !errors.Is(err, folder.ErrLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process works on %s: %w", filepath.Dir(file), context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fresh checks an answer of the authority's before anything of it is used: the
// certificate is for our key and our name, its path stands, and it can be shown by
// both sides.
func fresh(issued *api.Issued, key crypto.Signer, spiffe string, anchors *pki.Anchors, now time.Time) (*mtls.Certificate, *pki.Certificate, error) {
	chain, err := pki.ParseChain(issued.Chain)
	if err != nil {
		return nil, nil, err
	}
	if len(chain) == 0 {
		return nil, nil, errors.New("it holds no certificate")
	}
	// An answer that was lost is given again, perhaps when its time is over: it can
	// still be renewed, and nothing else can.
	at := now
	if end := chain[0].NotAfter(); at.After(end) {
		at = end
	}
	for _, purpose := range []pki.Purpose{pki.ForServer, pki.ForClient} {
		v := pki.Verify(pki.Question{Chain: chain, Anchors: anchors, Purpose: purpose, Name: spiffe, At: at, Profile: pki.SVID})
		if !v.OK {
			return nil, nil, errors.New(v.Sentence())
		}
	}
	cert, err := mtls.NewCertificate(issued.Chain, key) // the key is the leaf's
	return cert, chain[0], err
}

// removeFile removes a next key that is in use now; where that fails, nextKey finds
// that it is.
func removeFile(file string) { _ = os.Remove(file) }
