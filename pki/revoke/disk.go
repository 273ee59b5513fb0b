package revoke

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
)

// disk is a folder of what was fetched. A file is named by the hash of what it is an
// answer to, and holds the answer as it came: who loads it holds it to its signature
// again, so that whoever writes into the folder can take news away, and make none.
type disk struct {
	dir  string
	most int64
	mu   sync.Mutex
}

// cacheMagic is the first line of each file.
const cacheMagic = "mutual revocation 1\n"

// cacheEnding is the ending of each file's name.
const cacheEnding = ".rev"

func (d *disk) load(id *key) ([]byte, error) {
	b, err := readFile(filepath.Join(d.dir, id.name()+cacheEnding), pki.MaxRevocationList+int64(len(cacheMagic)))
	if err != nil {
		return nil, err
	}
	return readCached(b)
}

func readCached(b []byte) ([]byte, error) {
	der, ok := bytes.CutPrefix(b, []byte(cacheMagic))
	if !ok {
		return nil, fmt.Errorf("not a file of fetched revocations")
	}
	return der, nil
}

func (d *disk) store(id *key, b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := int64(len(cacheMagic) + len(b))
	if size > d.most {
		return fmt.Errorf("%d bytes are more than the %d that may lie in %s", size, d.most, d.dir)
	}
	if err := d.makeRoom(size); err != nil {
		return err
	}
	return folder.Write(filepath.Join(d.dir, id.name()+cacheEnding), append([]byte(cacheMagic), b...))
}

// makeRoom removes the oldest files until there is room for size bytes.
func (d *disk) makeRoom(size int64) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	type file struct {
		name string
		size int64
		at   time.Time
	}
	var files []file
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || filepath.Ext(e.Name()) != cacheEnding {
			continue
		}
		files = append(files, file{e.Name(), info.Size(), info.ModTime()})
		size += info.Size()
	}
	slices.SortFunc(files, func(a, b file) int { return a.at.Compare(b.at) })
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
