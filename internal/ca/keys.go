package ca

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/keystore"
)

// KeyTypes takes the name of an authority's types of key apart: one type for all of
// them, or the root's and the issuers', as in mldsa87/p256.
func KeyTypes(name string) (root, issuers string, err error) {
	root, issuers, two := strings.Cut(name, "/")
	if !two {
		issuers = root
	}
	for _, t := range []string{root, issuers} {
		if err := keystore.CheckKeyType(t); err != nil {
			return "", "", err
		}
	}
	return root, issuers, nil
}

// writeKey writes a key (PKCS #8, PEM), encrypted with a passphrase if there is
// one.
func writeKey(path string, key crypto.Signer, passphrase []byte) error {
	text, err := keystore.KeyPEM(key)
	if err != nil {
		return err
	}
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
	key, err := keystore.LoadKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s can't be used: %w", path, err)
	}
	return key, nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
