package revoke

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
)

// disk is a folder of what was fetched. A file is named by the hash of what it is an
// answer to, says what that is, and holds the answer as it came: who loads it holds it
// to its signature again, so that whoever writes into the folder can take news away,
// and make none.
type disk struct {
	dir  string
	most int64
	mu   sync.Mutex
}

// cacheMagic is the first line of each file.
const cacheMagic = "mutual revocation 2\n"

// cacheEnding is the ending of each file's name.
const cacheEnding = ".rev"

// maxCached is the longest file that is read: an answer, and what it is an answer to.
const maxCached = pki.MaxRevocationList + 2*pki.MaxCertificate + maxURL + 64

// appendCached is the file of an answer.
func appendCached(it *item, answer []byte) ([]byte, error) {
	var about []byte
	if it.kind == aResponse {
		about = it.about.Raw
	}
	b := cryptobyte.NewBuilder([]byte(cacheMagic))
	b.AddUint8(uint8(it.kind))
	for _, part := range [][]byte{[]byte(it.url), it.issuer.Raw, about} {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(part) })
	}
	b.AddBytes(answer)
	return b.Bytes()
}

// readCached reads such a file: what it is an answer to, and the answer. Nothing of it
// is proven.
func readCached(b []byte) (it *item, answer []byte, err error) {
	bad := errors.New("it is not a file of fetched revocations")
	rest, ok := bytes.CutPrefix(b, []byte(cacheMagic))
	in := cryptobyte.String(rest)
	var sort uint8
	var place, issuer, about cryptobyte.String
	if !ok || !in.ReadUint8(&sort) || !in.ReadUint24LengthPrefixed(&place) || !in.ReadUint24LengthPrefixed(&issuer) || !in.ReadUint24LengthPrefixed(&about) {
		return nil, nil, bad
	}
	it = &item{key: key{kind: kind(sort), url: string(place)}}
	if it.issuer, err = pki.Parse(issuer); err != nil {
		return nil, nil, bad
	}
	it.key.issuer = it.issuer.SHA256
	switch it.kind {
	case aList:
		if !about.Empty() {
			return nil, nil, bad
		}
	case aResponse:
		if it.about, err = pki.Parse(about); err != nil {
			return nil, nil, bad
		}
		it.key.about = it.about.SHA256
	default:
		return nil, nil, bad
	}
	return it, in, nil
}

// read reads the file of a name, which has to be that of what it is an answer to: who
// exchanges files makes no other answer of them.
func (d *disk) read(name string) (*item, []byte, error) {
	b, err := readFile(filepath.Join(d.dir, name), maxCached)
	if err != nil {
		return nil, nil, err
	}
	it, answer, err := readCached(b)
	if err == nil && it.name()+cacheEnding != name {
		return nil, nil, errors.New("it is the answer to something else than its name says")
	}
	return it, answer, err
}

// load is the answer for it that is there.
func (d *disk) load(it *item) ([]byte, error) {
	_, answer, err := d.read(it.name() + cacheEnding)
	return answer, err
}

// names are those of the files that are there, the newest first.
func (d *disk) names() ([]string, error) {
	files, err := d.files()
	var out []string
	for i := len(files) - 1; i >= 0; i-- {
		out = append(out, files[i].name)
	}
	return out, err
}

func (d *disk) store(it *item, answer []byte) error {
	b, err := appendCached(it, answer)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	size := int64(len(b))
	if size > d.most {
		return fmt.Errorf("%d bytes are more than the %d that may lie in %s", size, d.most, d.dir)
	}
	if err := d.makeRoom(size); err != nil {
		return err
	}
	return folder.Write(filepath.Join(d.dir, it.name()+cacheEnding), b)
}

// cached is a file of the folder.
type cached struct {
	name string
	size int64
	at   time.Time
}

// files are those of the folder, the oldest first.
func (d *disk) files() (files []cached, err error) {
	entries, err := os.ReadDir(d.dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && filepath.Ext(e.Name()) == cacheEnding {
			files = append(files, cached{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b cached) int { return a.at.Compare(b.at) })
	return files, err
}

// makeRoom removes the oldest files until there is room for size bytes, and what a
// process left half written that did not come to its end.
func (d *disk) makeRoom(size int64) error {
	halves, _ := filepath.Glob(filepath.Join(d.dir, ".new-*"))
	for _, name := range halves {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()).Abs() > time.Hour {
			_ = os.Remove(name)
		}
	}
	files, err := d.files()
	if err != nil {
		return err
	}
	for _, f := range files {
		size += f.size
	}
	for _, f := range files {
		if size <= d.most {
			break
		}
		if err := os.Remove(filepath.Join(d.dir, f.name)); err != nil && !os.IsNotExist(err) {
			return err
		}
		size -= f.size
	}
	return nil
}

// readFile reads a file of at most so many bytes.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	case info.Size() > most:
		return nil, fmt.Errorf("%s has %d bytes; at most %d are taken", name, info.Size(), most)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return b, err
}
