package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/mutual-tls/mutual/internal/folder"
)

// rsaBits is the size of the authority's own RSA keys (NIST SP 800-57: 128 bits of
// strength, for what stands beyond 2030).
const rsaBits = 3072

// newKey makes a key for an authority.
func newKey(kind string, random io.Reader) (crypto.Signer, error) {
	switch kind {
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), random)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), random)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(random)
		return key, err
	case "rsa":
		return rsa.GenerateKey(random, rsaBits)
	}
	return nil, fmt.Errorf("%q is not a type of key; take p256, p384, ed25519 or rsa", kind)
}

// writeKey writes a key (PKCS #8, PEM), encrypted with a passphrase if there is
// one.
func writeKey(path string, key crypto.Signer, passphrase []byte) error {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	defer clear(b)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
	defer clear(text)
	if passphrase == nil {
		return folder.Write(path, text)
	}
	to, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	shell := armor.NewWriter(&out)
	in, err := age.Encrypt(shell, to)
	if err != nil {
		return err
	}
	_, err = in.Write(text)
	if err := errors.Join(err, in.Close(), shell.Close()); err != nil {
		return fmt.Errorf("the key can't be encrypted: %w", err)
	}
	return folder.Write(path+fileEncrypted, out.Bytes())
}

func readKey(path string) (crypto.Signer, error) {
	text, err := folder.Read(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return parseKey(path, text)
}

// readRootKey opens the key of a root. Only ceremonies call it.
func readRootKey(path string, passphrase []byte) (crypto.Signer, error) {
	sealed, err := folder.Read(path + fileEncrypted)
	if errors.Is(err, fs.ErrNotExist) {
		return readKey(path)
	}
	if err != nil {
		return nil, err
	}
	path += fileEncrypted
	if passphrase == nil {
		return nil, fmt.Errorf("the root's key %s is encrypted; give its passphrase with --passphrase-file FILE", path)
	}
	by, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	out, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), by)
	if err != nil {
		return nil, fmt.Errorf("the root's key %s does not open with this passphrase: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(out, folder.MaxFile))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("the root's key %s is damaged: %w", path, err)
	}
	return parseKey(path, text)
}

func parseKey(path string, text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s does not hold one private key in PEM (PKCS #8)", path)
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the key in %s does not parse: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key in %s can't sign", path)
	}
	return signer, nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
