package install

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
)

// Entry is one thing that we added, with what it takes to undo it. An entry is
// written before the thing is done: one that a crash left without its deed undoes
// nothing.
type Entry struct {
	Store  Kind   `json:"store"`
	Place  string `json:"place"`
	SHA256 string `json:"sha256"`
	// Name is what the store calls it: a file, a nickname, an alias.
	Name string `json:"name"`
	// Before is what the store had said of it before us: NSS, which may know a
	// certificate that it does not trust.
	Before string `json:"before,omitempty"`
	// Made are files and folders that were not there before.
	Made []string `json:"made,omitempty"`
	PEM  string   `json:"pem"`
}

// Receipt is what we added to the stores of a machine, in a file.
type Receipt struct {
	path    string
	held    *folder.Lock
	Entries []Entry `json:"entries"`
}

func openReceipt(path string) (*Receipt, error) {
	r := &Receipt{path: path}
	return r, r.read()
}

func (r *Receipt) read() error {
	r.Entries = nil
	b, err := folder.Read(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return fmt.Errorf("the receipt %s can't be read (%w); it says what to take out of the trust stores: mend it, or move it away and take that out by hand", r.path, err)
	}
	return nil
}

// lock keeps other processes out, and reads what they have written.
func (r *Receipt) lock() error {
	if err := folder.Make(filepath.Dir(r.path)); err != nil {
		return err
	}
	l, err := folder.TryLock(r.path + ".lock")
	if errors.Is(err, folder.ErrLocked) {
		return fmt.Errorf("another process changes the trust stores just now; try again when it is done")
	}
	if err != nil {
		return err
	}
	r.held = l
	return r.read()
}

func (r *Receipt) unlock() { r.held.Release() }

func (r *Receipt) write() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return folder.Write(r.path, append(b, '\n'))
}

// note puts e on the receipt, in the place of one for the same deed.
func (r *Receipt) note(e Entry) error {
	r.Entries = append(slices.DeleteFunc(r.Entries, e.same), e)
	return r.write()
}

// strike takes e off.
func (r *Receipt) strike(e Entry) error {
	r.Entries = slices.DeleteFunc(r.Entries, e.same)
	return r.write()
}

func (e Entry) same(o Entry) bool {
	return e.Store == o.Store && e.Place == o.Place && e.SHA256 == o.SHA256
}

func entry(s store, c *pki.Certificate, name string) Entry {
	return Entry{Store: s.kind(), Place: s.place(), SHA256: fingerprint(c), Name: name, PEM: string(encode(c))}
}

func (r *Receipt) find(s store, c *pki.Certificate) (Entry, bool) {
	i := slices.IndexFunc(r.Entries, entry(s, c, "").same)
	if i < 0 {
		return Entry{}, false
	}
	return r.Entries[i], true
}

func (r *Receipt) has(s store, c *pki.Certificate) bool {
	_, ok := r.find(s, c)
	return ok
}

// certificates are those on the receipt, each once.
func (r *Receipt) certificates() ([]*pki.Certificate, error) {
	var all []*pki.Certificate
	for _, e := range r.Entries {
		certs, err := pki.ParsePEM([]byte(e.PEM))
		if err != nil || len(certs) != 1 {
			return nil, fmt.Errorf("the receipt %s holds a certificate that can't be read: %v", r.path, err)
		}
		if !slices.ContainsFunc(all, certs[0].Equal) {
			all = append(all, certs[0])
		}
	}
	return all, nil
}

func fingerprint(c *pki.Certificate) string { return fmt.Sprintf("%x", c.SHA256) }

func encode(c *pki.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
