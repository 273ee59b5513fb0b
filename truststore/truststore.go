package truststore

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/pki"
)

// Bounds of what is read: a real bundle has some 250 KiB and 150 certificates.
const (
	maxFile    = 16 << 20
	maxEntries = 10000
)

// Where Linux distributions and the BSDs keep the bundle; the first that exists counts.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Gentoo, Alpine
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
	"/etc/pki/tls/certs/ca-bundle.crt",                  // older Fedora, RHEL, Amazon Linux
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/ssl/cert.pem",                                 // Alpine, FreeBSD, OpenBSD
	"/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD's port
}

// Where they keep single certificates, read if there is no bundle.
var folders = []string{
	"/etc/ssl/certs",
	"/etc/pki/tls/certs",
}

// Store is what was found.
type Store struct {
	Anchors *pki.Anchors
	// Sources are the files and folders that were read.
	Sources []string
	// Skipped is how many certificates or blocks did not parse, and are not among
	// the anchors.
	Skipped int
}

var system struct {
	mu    sync.Mutex
	store *Store
}

// System is the system's anchors. They are read once in the life of a process and
// kept; an error is not kept. It is safe for concurrent use.
//
// SSL_CERT_FILE (a bundle) and SSL_CERT_DIR (folders, with colons between) take
// the place of the system's, both together if both are set. Naming what cannot be
// read is an error: the system's anchors are not trusted instead.
func System() (*pki.Anchors, error) {
	s, err := Load()
	if err != nil {
		return nil, err
	}
	return s.Anchors, nil
}

// Load is System with the story of where the anchors came from. The Store must
// not be changed.
func Load() (*Store, error) {
	system.mu.Lock()
	defer system.mu.Unlock()
	if system.store != nil {
		return system.store, nil
	}
	s, err := load(runtime.GOOS, os.Getenv, bundles, folders)
	if err == nil {
		system.store = s
	}
	return s, err
}

func load(goos string, getenv func(string) string, bundles, folders []string) (*Store, error) {
	var r reader
	file, dirs := getenv("SSL_CERT_FILE"), getenv("SSL_CERT_DIR")
	switch {
	case file != "" || dirs != "":
		if file != "" {
			if err := r.file(file); err != nil {
				return nil, fmt.Errorf("SSL_CERT_FILE: %w", err)
			}
		}
		for _, d := range filepath.SplitList(dirs) {
			if err := r.folder(d); err != nil {
				return nil, fmt.Errorf("SSL_CERT_DIR: %w", err)
			}
		}
	case goos == "darwin" || goos == "windows" || goos == "ios":
		return nil, fmt.Errorf("the trusted authorities of %s can't be read from files; give the authority with --server-ca FILE, or set SSL_CERT_FILE to a PEM bundle", goos)
	default:
		for _, f := range bundles {
			err := r.file(f)
			if err == nil {
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		for _, d := range folders {
			if len(r.sources) > 0 {
				break
			}
			if err := r.folder(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	if len(r.certs) == 0 {
		where := "in the usual places"
		if len(r.sources) > 0 {
			where = "in " + strings.Join(r.sources, ", ")
		}
		return nil, fmt.Errorf("no trusted authority was found %s (%d did not parse); install the package ca-certificates, or give the authority with --server-ca FILE", where, r.skipped)
	}
	return &Store{Anchors: pki.NewAnchors(r.certs...), Sources: r.sources, Skipped: r.skipped}, nil
}

type reader struct {
	certs   []*pki.Certificate
	sources []string
	skipped int
}

// file reads a bundle. What is in it and does not parse is counted: one odd
// authority among a hundred is no reason to trust none.
func (r *reader) file(name string) error {
	b, err := read(name)
	if err != nil {
		return err
	}
	r.sources = append(r.sources, name)
	r.pem(b)
	return nil
}

func (r *reader) pem(b []byte) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	for len(r.certs)+r.skipped < maxEntries {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			return
		}
		if block.Type != "CERTIFICATE" {
			r.skipped++
			continue
		}
		c, err := pki.Parse(block.Bytes)
		if err != nil {
			r.skipped++
			continue
		}
		r.certs = append(r.certs, c)
	}
}

// folder reads every regular file of a folder, links followed. Those without PEM
// are passed over: such folders hold indexes and notes, too.
func (r *reader) folder(name string) error {
	entries, err := os.ReadDir(name)
	if err != nil {
		return fmt.Errorf("folder %s can't be read: %w", identity.Quote(name), err)
	}
	if len(entries) > maxEntries {
		return fmt.Errorf("folder %s has more than %d entries", identity.Quote(name), maxEntries)
	}
	r.sources = append(r.sources, name)
	// The links that OpenSSL's rehash makes lead to files that are read anyway.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		path := filepath.Join(name, e.Name())
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		b, err := read(path)
		if err != nil {
			r.skipped++
			continue
		}
		r.pem(b)
	}
	return nil
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("bundle %s can't be read: %w", identity.Quote(name), err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("bundle %s can't be read: %w", identity.Quote(name), err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("bundle %s is larger than %d bytes", identity.Quote(name), maxFile)
	}
	return b, nil
}
