package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/pemfile"
	"github.com/mutual-tls/mutual/internal/suite"
)

// maxFile is the most that is read of a file. A chain with its key has some 10 KiB.
const maxFile = 1 << 20

// minRSA is the shortest RSA key that peers accept; see pki.
const minRSA = 2048

// Load reads a chain, leaf first, and the leaf's private key from PEM. The two
// may be one and the same bytes. The signer of a key with the OID id-RSASSA-PSS
// has a method RSAPSS() bool. keyPEM is the caller's to zero.
func Load(certPEM, keyPEM []byte) (chain [][]byte, key crypto.Signer, err error) {
	return load("the certificate file", "the key file", certPEM, keyPEM)
}

// LoadFiles is Load from two files, or twice the same. It does not look at who
// may read them; Warnings does.
func LoadFiles(certFile, keyFile string) (chain [][]byte, key crypto.Signer, err error) {
	certPEM, err := readFile(certFile)
	if err != nil {
		return nil, nil, err
	}
	defer clear(certPEM) // it may hold the key, too
	keyPEM, err := readFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	defer clear(keyPEM)
	return load(certFile, keyFile, certPEM, keyPEM)
}

// LoadKey reads a private key alone from PEM, which is the caller's to zero: a key
// before it has a certificate, for a raw public key, or for a delegated credential.
func LoadKey(keyPEM []byte) (crypto.Signer, error) { return loadKey("the key file", keyPEM) }

// LoadKeyFile is LoadKey from a file.
func LoadKeyFile(keyFile string) (crypto.Signer, error) {
	keyPEM, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	defer clear(keyPEM)
	return loadKey(keyFile, keyPEM)
}

func loadKey(name string, keyPEM []byte) (crypto.Signer, error) {
	keys, err := scan(name, keyPEM)
	if err != nil {
		return nil, err
	}
	defer keys.clear()
	if len(keys.keys) != 1 {
		return nil, fmt.Errorf("%s holds %d private keys, expected one: PEM \"-----BEGIN PRIVATE KEY-----\", found %s", name, len(keys.keys), keys.words())
	}
	key, err := parseKey(keys.keys[0])
	if err != nil {
		return nil, fmt.Errorf("the private key in %s: %w", name, err)
	}
	return key, nil
}

// Warnings says what is careless about a key file that works all the same: that
// others than its owner may read it. nil where nothing is, and on systems
// without permission bits.
func Warnings(keyFile string) []string {
	info, err := os.Stat(keyFile)
	if err != nil || runtime.GOOS == "windows" || !info.Mode().IsRegular() {
		return nil
	}
	who := ""
	switch mode := info.Mode().Perm(); {
	case mode&0o006 != 0:
		who = "everybody on this machine"
	case mode&0o060 != 0:
		who = "its whole group"
	default:
		return nil
	}
	return []string{fmt.Sprintf("private key %s can be read or written by %s (mode %04o); mend it with: chmod 600 %s",
		keyFile, who, info.Mode().Perm(), strconv.Quote(keyFile))}
}

// readFile reads a file into one buffer, so that no copy is left behind.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s does not exist; check the path: %w", name, err)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("%s can't be read by this user; check its owner and mode with \"ls -l\": %w", name, err)
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, expected a PEM file", name)
	}
	size := int64(maxFile) + 1 // of a pipe nobody knows
	if info.Mode().IsRegular() {
		size = min(info.Size()+1, size)
	}
	b := make([]byte, size)
	n, err := io.ReadFull(f, b)
	switch {
	case err == nil && n > maxFile:
		clear(b)
		return nil, fmt.Errorf("%s is larger than %d bytes, expected a certificate chain or a key in PEM", name, maxFile)
	case err == nil:
		clear(b)
		return nil, fmt.Errorf("%s grew while it was read; try again", name)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		clear(b)
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b[:n], nil
}

func load(certName, keyName string, certPEM, keyPEM []byte) ([][]byte, crypto.Signer, error) {
	certs, err := scan(certName, certPEM)
	if err != nil {
		return nil, nil, err
	}
	defer certs.clear()
	keys, err := scan(keyName, keyPEM)
	if err != nil {
		return nil, nil, err
	}
	defer keys.clear()

	same := bytes.Equal(certPEM, keyPEM)
	if len(certs.certs) == 0 && len(certs.keys) > 0 && len(keys.certs) > 0 && !same {
		return nil, nil, fmt.Errorf("the two files are swapped: %s holds a private key and %s a certificate; exchange them", certName, keyName)
	}
	if len(certs.certs) == 0 {
		return nil, nil, fmt.Errorf("%s holds no certificate: expected PEM \"-----BEGIN CERTIFICATE-----\", found %s", certName, certs.words())
	}
	if len(keys.keys) == 0 {
		mend := "give the file with the private key that the certificate was requested with"
		if len(certs.keys) > 0 {
			mend = "the key seems to be in " + certName + ": give that file as the key, too"
		}
		return nil, nil, fmt.Errorf("%s holds no private key: expected PEM \"-----BEGIN PRIVATE KEY-----\", found %s; %s", keyName, keys.words(), mend)
	}
	if len(keys.keys) > 1 {
		return nil, nil, fmt.Errorf("%s holds %d private keys, expected one; leave only the key of the leaf certificate", keyName, len(keys.keys))
	}

	chain := make([][]byte, len(certs.certs))
	for i, block := range certs.certs {
		// The whole certificate, so that what peers would refuse is refused here.
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, nil, fmt.Errorf("certificate %d in %s does not parse: %s", i+1, certName, identity.Quote(err.Error()))
		}
		chain[i] = block.Bytes
	}
	key, err := parseKey(keys.keys[0])
	if err != nil {
		return nil, nil, fmt.Errorf("the private key in %s: %w", keyName, err)
	}
	key, err = match(certName, keyName, chain, key)
	if err != nil {
		return nil, nil, err
	}
	return chain, key, nil
}

// match holds the key against the leaf's, and gives back a signer that goes by
// the leaf's OID.
func match(certName, keyName string, chain [][]byte, key crypto.Signer) (crypto.Signer, error) {
	public, err := suite.PublicOf(key)
	if err != nil {
		return nil, fmt.Errorf("the private key in %s: %w", keyName, err)
	}
	if k, ok := public.Key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return nil, fmt.Errorf("the private key in %s is RSA with %d bits, expected at least %d; make a new one, best ECDSA (openssl ecparam -name prime256v1 -genkey -noout), and issue the certificate anew",
			keyName, k.N.BitLen(), minRSA)
	}
	for i, der := range chain {
		c, err := suite.CertificateKey(der)
		if err != nil || !equalKeys(c.Key, public.Key) {
			continue
		}
		if i > 0 {
			return nil, fmt.Errorf("the private key belongs to certificate %d in %s (%s), not to the first (%s); put the leaf first and its intermediates behind it",
				i+1, certName, label(der), label(chain[0]))
		}
		return suite.GoBy(key, c.PSS), nil
	}
	leaf, err := suite.CertificateKey(chain[0])
	if err != nil {
		return nil, fmt.Errorf("the leaf %s in %s: %w; use a certificate with an ECDSA key on P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA", label(chain[0]), certName, err)
	}
	return nil, fmt.Errorf("the private key in %s (%s) does not belong to the certificate %s in %s (%s); give the key that the certificate was made with",
		keyName, kind(public), label(chain[0]), certName, kind(leaf))
}

// label is what to call a certificate in words.
func label(der []byte) string {
	c, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return "unreadable"
	case c.Subject.CommonName != "":
		return identity.Quote(c.Subject.CommonName)
	case len(c.DNSNames) > 0:
		return identity.Quote(c.DNSNames[0])
	}
	return "serial " + c.SerialNumber.Text(16)
}

// kind is a key in words.
func kind(k *suite.PublicKey) string {
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + pub.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", pub.N.BitLen())
	case *mldsa.PublicKey:
		return pub.Parameters().String()
	}
	return "Ed25519"
}

func equalKeys(a, b crypto.PublicKey) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// blocks are what a PEM file holds.
type blocks struct {
	certs, keys []*pem.Block
	others      []string // the types of what is neither
}

func (b *blocks) clear() {
	for _, k := range b.keys {
		clear(k.Bytes)
	}
}

func (b *blocks) words() string {
	switch {
	case len(b.keys) > 0:
		return "a private key"
	case len(b.certs) > 0:
		return "certificates"
	case len(b.others) > 0:
		return "PEM " + identity.Quote(b.others[0])
	}
	return "no PEM at all"
}

// maxBlocks is how many PEM blocks are looked at in one file.
const maxBlocks = 1000

// scan sorts the PEM blocks of a file.
func scan(name string, b []byte) (*blocks, error) {
	out := &blocks{}
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return nil, fmt.Errorf("%s is empty", name)
	case bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")):
		return nil, fmt.Errorf("%s is UTF-16 text, as PowerShell writes it; save it as UTF-8 or ASCII", name)
	case b[0] == 0x30:
		return nil, fmt.Errorf("%s looks like DER, expected PEM; convert it with \"openssl x509 -inform der\" (a certificate) or \"openssl pkey -inform der\" (a key)", name)
	}
	all, err := pemfile.Blocks(b, maxBlocks)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, block := range all {
		switch block.Type {
		case "CERTIFICATE":
			out.certs = append(out.certs, block)
		case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "DSA PRIVATE KEY":
			out.keys = append(out.keys, block)
		case "EC PARAMETERS", "DH PARAMETERS": // OpenSSL puts them before keys; they say nothing new
		default:
			out.others = append(out.others, block.Type)
		}
	}
	return out, nil
}
