package ca

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"path/filepath"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/signing"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/failpoint"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

// defaultKeyType is what every verifier of certificates knows.
const defaultKeyType = "p256"

// Create is the first ceremony: it makes root, issuer, standby issuer and the
// first statement of anchors, in a folder without an authority. The error is
// fs.ErrExist where there is one, and folder.ErrLocked where somebody is at it.
//
// The database gets its contents last and at once: a folder without them holds an
// authority that was never finished, and nothing depends on.
func Create(ctx context.Context, o Options) error {
	o.complete()
	if o.KeyType == "" {
		o.KeyType = defaultKeyType
	}
	rootType, issuerType, err := KeyTypes(o.KeyType)
	if err != nil {
		return err
	}
	if o.Domain != "" {
		if err := checkDomain(o.Domain); err != nil {
			return err
		}
	}
	if err := folder.Make(o.Folder); err != nil {
		return err
	}
	lock, err := folder.TryLock(filepath.Join(o.Folder, fileLock))
	if err != nil {
		return err
	}
	defer lock.Release()
	if Exists(o.Folder) {
		return fmt.Errorf("there is an authority in %s: %w", o.Folder, fs.ErrExist)
	}
	failpoint.At("ca-create-1-checked")

	now := o.Clock().UTC().Truncate(time.Second)
	label, err := newLabel(o.Random)
	if err != nil {
		return err
	}
	root, err := makeRoot(o, rootType, fileRootKey, "mutual root "+label, now)
	if err != nil {
		return err
	}
	defer root.Close()
	failpoint.At("ca-create-2-root")
	issuer, err := makeIssuer(o, root, issuerType, "issuer", fileIssuer, "mutual issuer 1 "+label, now)
	if err != nil {
		return err
	}
	defer issuer.Close()
	standby, err := makeIssuer(o, root, issuerType, "standby", fileStandby, "mutual issuer 2 "+label, now)
	if err != nil {
		return err
	}
	defer standby.Close()
	failpoint.At("ca-create-3-issuers")

	if o.Domain == "" {
		o.Domain = "mutual-" + hex.EncodeToString(root.Certificate.SHA256[:4]) + ".internal"
	}
	first, err := makeStatement(o.Domain, 1, root)
	if err != nil {
		return err
	}
	if err := record(ctx, o, first, now, root, issuer, standby); err != nil {
		return err
	}
	failpoint.At("ca-create-5-recorded")
	return folder.Write(filepath.Join(o.Folder, fileRoot), certificatePEM(root.Certificate.Raw))
}

// record makes the database.
func record(ctx context.Context, o Options, first *api.Statement, now time.Time, own ...*member) error {
	db, err := store.Create(ctx, filepath.Join(o.Folder, fileStore))
	if err != nil {
		return err
	}
	failpoint.At("ca-create-4-database")
	err = db.Update(ctx, func(tx *store.Tx) error {
		for _, m := range own {
			if err := tx.AddAuthority(&store.Authority{Role: m.role, DER: m.Certificate.Raw, SHA256: m.Certificate.SHA256,
				SPKI: sha256.Sum256(m.SPKI()), KeyFile: m.keyFile, Made: now}); err != nil {
				return err
			}
		}
		if err := tx.AddStatement(1, *first, now); err != nil {
			return err
		}
		if err := tx.Set("key_type", o.KeyType); err != nil {
			return err
		}
		return tx.Set("domain", o.Domain)
	})
	return errors.Join(err, db.Close())
}

// checkDomain holds a trust domain to what SPIFFE and DNS both take.
func checkDomain(domain string) error {
	clean, err := identity.CleanDNS(domain)
	if err == nil && clean != domain {
		err = fmt.Errorf("%s is not in lower case, or ends with a dot", identity.Quote(domain))
	}
	if err == nil {
		_, err = identity.NewSPIFFE(domain, "x")
	}
	if err != nil {
		return fmt.Errorf("the trust domain: %w", err)
	}
	return nil
}

// member is one of the authority's own, for the time of a ceremony.
type member struct {
	*signing.Signer
	role, keyFile string
}

// makeRoot makes a key, and the certificate that it signs for itself.
func makeRoot(o Options, keyType, keyFile, name string, now time.Time) (*member, error) {
	key, own, err := makeKey(o, keyType, keyFile, o.Passphrase)
	if err != nil {
		return nil, err
	}
	id, err := signing.KeyID(own.SPKI())
	if err != nil {
		return nil, err
	}
	subject := signing.Name(name)
	c, err := certify(own, o, &signing.Template{Profile: signing.Root, Issuer: subject, Subject: subject, SPKI: own.SPKI(),
		NotBefore: now.Add(-signing.Backdate), NotAfter: now.Add(signing.Root.Lifetime), AuthorityKeyID: id})
	if err != nil {
		return nil, err
	}
	s, err := signing.New(key, c, o.Random)
	return &member{s, "root", keyFile}, err
}

// makeIssuer makes a key, and has the root certify it as an issuer's.
func makeIssuer(o Options, root *member, keyType, role, keyFile, name string, now time.Time) (*member, error) {
	key, own, err := makeKey(o, keyType, keyFile, nil)
	if err != nil {
		return nil, err
	}
	by := root.Certificate
	c, err := certify(root.Signer, o, &signing.Template{Profile: signing.Issuer, Issuer: by.X509.RawSubject, Subject: signing.Name(name),
		SPKI: own.SPKI(), NotBefore: now.Add(-signing.Backdate), NotAfter: now.Add(signing.Issuer.Lifetime), AuthorityKeyID: by.X509.SubjectKeyId})
	if err != nil {
		return nil, err
	}
	s, err := signing.New(key, c, o.Random)
	return &member{s, role, keyFile}, err
}

func makeKey(o Options, keyType, file string, passphrase []byte) (crypto.Signer, *signing.Signer, error) {
	key, err := keystore.NewKey(keyType)
	if err != nil {
		return nil, nil, err
	}
	if err := writeKey(filepath.Join(o.Folder, file), key, passphrase); err != nil {
		return nil, nil, err
	}
	own, err := signing.New(key, nil, o.Random)
	return key, own, err
}

// onFile is the record of what a ceremony signs: its folder. Until that is whole
// nothing leaves that was signed.
func onFile() error { return nil }

// certify signs a certificate of the authority's own.
func certify(by *signing.Signer, o Options, t *signing.Template) (*pki.Certificate, error) {
	var err error
	if t.Serial, err = newSerial(o.Random); err != nil {
		return nil, err
	}
	t.Algorithm = by.Algorithm()
	tbs, err := t.Bytes()
	if err != nil {
		return nil, err
	}
	judged, err := by.Judge(t.Profile, signing.Grant{}, tbs)
	if err != nil {
		return nil, err
	}
	leave, err := judged.Record(onFile)
	if err != nil {
		return nil, err
	}
	der, err := by.Sign(leave)
	if err != nil {
		return nil, err
	}
	return pki.Parse(der)
}

// newSerial is a serial number of 18 octets with 142 random bits: positive, never
// twice, and not to be foreseen.
func newSerial(random io.Reader) (*big.Int, error) {
	b := make([]byte, 18)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("there is no randomness for a serial number: %w", err)
	}
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b), nil
}

// newLabel tells the authorities of one ceremony from those of another by name.
func newLabel(random io.Reader) (string, error) {
	b := make([]byte, 4)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("there is no randomness: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// makeStatement is a statement of anchors that names the roots given, in their
// order, and is signed by each of them.
func makeStatement(domain string, number int64, roots ...*member) (*api.Statement, error) {
	a := api.Anchors{Domain: domain, Number: number}
	for _, r := range roots {
		a.Roots = append(a.Roots, r.Certificate.Raw)
		if end := r.Certificate.NotAfter().UTC(); a.NotAfter.IsZero() || end.Before(a.NotAfter) {
			a.NotAfter = end
		}
	}
	signed, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	s := &api.Statement{Signed: signed}
	for _, r := range roots {
		judged, err := r.JudgeStatement(signed)
		if err != nil {
			return nil, err
		}
		leave, err := judged.Record(onFile)
		if err != nil {
			return nil, err
		}
		signature, err := r.Sign(leave)
		if err != nil {
			return nil, err
		}
		s.Signatures = append(s.Signatures, api.StatementSignature{Root: r.Certificate.SHA256[:], Signature: signature})
	}
	return s, nil
}

// NewRoot is the second ceremony: it opens the keys of the roots in force, makes
// another root beside them, and answers with the statement that all have signed.
// Nobody follows the new root before the statement is announced. A process may
// have the authority open meanwhile.
func NewRoot(ctx context.Context, o Options) (*api.Statement, error) {
	o.complete()
	db, err := store.Peek(filepath.Join(o.Folder, fileStore))
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // of what was read
	var domain, keyType string
	var own []*store.Authority
	var current api.Statement
	err = db.View(ctx, func(tx *store.Tx) (err error) {
		if domain, err = tx.Setting("domain"); err != nil {
			return err
		}
		if keyType, err = tx.Setting("key_type"); err != nil {
			return err
		}
		if current, _, err = tx.Statement(); err != nil {
			return err
		}
		own, err = tx.Authorities()
		return err
	})
	if err != nil {
		return nil, err
	}
	if o.KeyType != "" {
		if err := keystore.CheckKeyType(o.KeyType); err != nil {
			return nil, err
		}
		keyType = o.KeyType
	}
	rootType, _, err := KeyTypes(keyType)
	if err != nil {
		return nil, err
	}
	now := o.Clock().UTC().Truncate(time.Second)
	inForce, err := anchors(&current)
	if err != nil {
		return nil, err
	}
	verified, err := current.Verify(domain, inForce, now)
	if err != nil {
		return nil, fmt.Errorf("the statement in force: %w", err)
	}
	var roots []*member
	defer func() {
		for _, r := range roots {
			r.Close()
		}
	}()
	for _, c := range verified.Roots {
		r, err := openRoot(o, own, c)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	next, err := makeNext(o, rootType, now)
	if err != nil {
		return nil, err
	}
	roots = append(roots, next)
	return makeStatement(domain, verified.Number+1, roots...)
}

// openRoot opens the key of a root.
func openRoot(o Options, own []*store.Authority, c *pki.Certificate) (*member, error) {
	for _, a := range own {
		if a.SHA256 != c.SHA256 || a.KeyFile == "" {
			continue
		}
		key, err := readRootKey(filepath.Join(o.Folder, a.KeyFile), o.Passphrase)
		if err != nil {
			return nil, err
		}
		s, err := signing.New(key, c, o.Random)
		return &member{s, "root", a.KeyFile}, err
	}
	return nil, fmt.Errorf("the key of the root %s is not on this machine", c.Label())
}

// makeNext makes another root, under the first name that is free. Its certificate
// lies beside its key: an announcement finds the one by the other.
func makeNext(o Options, keyType string, now time.Time) (*member, error) {
	label, err := newLabel(o.Random)
	if err != nil {
		return nil, err
	}
	keyFile := ""
	for n := 2; keyFile == ""; n++ {
		name := fmt.Sprintf("root-%d.key", n)
		if path := filepath.Join(o.Folder, name); !here(path) && !here(path+fileEncrypted) {
			keyFile = name
		}
	}
	next, err := makeRoot(o, keyType, keyFile, "mutual root "+label, now)
	if err != nil {
		return nil, err
	}
	certificate := strings.TrimSuffix(keyFile, ".key") + ".crt"
	return next, folder.Write(filepath.Join(o.Folder, certificate), certificatePEM(next.Certificate.Raw))
}
