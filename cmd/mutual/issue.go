package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/sign"
)

func (a *app) issueCommand() *cobra.Command {
	var out, keyType string
	var names []string
	var lifetime time.Duration
	c := &cobra.Command{
		Use:   "issue NAME --out DIR",
		Short: "Make PEM files for software that brings its own TLS",
		Long: `issue makes a key and a certificate, and writes them as PEM:
  NAME.crt   the certificate and its intermediates
  NAME.key   its private key
  ca.crt     the roots, to verify others by
Nothing renews them: issue again before they end, or use join lines.`,
		Example: `  mutual issue db --names db.internal,10.0.0.9 --lifetime 720h --out /etc/postgresql/tls`,
		Args:    exactly("the NAME to certify"),
		RunE: func(c *cobra.Command, args []string) error {
			r := &api.IssueRequest{Names: trimmed(names), Lifetime: int64(lifetime / time.Second)}
			var err error
			if r.Name, err = identity.CleanDNS(args[0]); err != nil {
				return usage("the name to certify: %w", err)
			}
			if out == "" {
				return usage("issue needs --out: the folder to write %s.crt, %s.key and ca.crt to", r.Name, r.Name)
			}
			key, err := newKey("--key-type", keyType)
			if err != nil {
				return err
			}
			return a.issue(c, r, key, out)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&out, "out", "", "folder to write the files to; it is made where it is missing")
	f.StringSliceVar(&names, "names", nil, "more DNS names and IP addresses")
	f.DurationVar(&lifetime, "lifetime", 0, "how long the certificate is good for (default 24h)")
	f.StringVar(&keyType, "key-type", "p256", "the kind of the key: "+keyTypes())
	return c
}

// writable makes the folder where it is missing, and tries whether a file can be
// made in it.
func writable(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".new-*"); err == nil {
			_ = f.Close()
			return os.Remove(f.Name())
		}
	}
	return fmt.Errorf("nothing was issued: --out %s can't be written: %w", dir, err)
}

func (a *app) issue(c *cobra.Command, r *api.IssueRequest, key crypto.Signer, out string) error {
	admin, err := a.administer()
	if err != nil {
		return err
	}
	if r.CSR, err = sign.Request(nil, &x509.CertificateRequest{}, key); err != nil {
		return fail(exitFailed, err)
	}
	// What is issued is on record: first that there is a place for it.
	_, missing := os.Stat(out)
	if err := writable(out); err != nil {
		return fail(exitFailed, err)
	}
	issued, err := admin.Issue(c.Context(), r)
	if err != nil {
		if missing != nil {
			_ = os.Remove(out)
		}
		return a.ofAdmin(err)
	}
	leaf, err := pki.Parse(issued.Chain[0])
	if err != nil {
		return fail(exitFailed, err)
	}
	private, err := keystore.KeyPEM(key)
	if err != nil {
		return fail(exitFailed, err)
	}
	defer clear(private)
	var anchors api.Anchors
	if err := json.Unmarshal(issued.Statement.Signed, &anchors); err != nil {
		return fail(exitFailed, fmt.Errorf("the authority's statement of anchors does not parse: %w", err))
	}
	for _, f := range []struct {
		name string
		b    []byte
	}{{r.Name + ".key", private}, {r.Name + ".crt", pemChain(issued.Chain)}, {"ca.crt", pemChain(anchors.Roots)}} {
		if err := writePEM(out, f.name, f.b); err != nil {
			return fail(exitFailed, err)
		}
	}
	if a.json {
		return a.printJSON(map[string]any{
			"name": r.Name, "serial": leaf.Serial(), "not_before": leaf.NotBefore(), "not_after": leaf.NotAfter(), "lineage": issued.Lineage,
			"names": leaf.Names(), "certificate": filepath.Join(out, r.Name+".crt"), "key": filepath.Join(out, r.Name+".key"), "ca": filepath.Join(out, "ca.crt"),
		})
	}
	fmt.Fprintf(a.err, "%s is certified until %s: %s, %s, %s\n", r.Name, leaf.NotAfter().UTC().Format(time.RFC3339),
		filepath.Join(out, r.Name+".crt"), filepath.Join(out, r.Name+".key"), filepath.Join(out, "ca.crt"))
	return nil
}

// newKey makes a key of the type that a flag names.
func newKey(flag, keyType string) (crypto.Signer, error) {
	if err := keystore.CheckKeyType(keyType); err != nil {
		return nil, usage("%s: %w", flag, err)
	}
	key, err := keystore.NewKey(keyType)
	if err != nil {
		return nil, fail(exitFailed, err)
	}
	return key, nil
}

// keyTypes are the types of key, in words.
func keyTypes() string {
	all := keystore.KeyTypes()
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

func pemChain(chain [][]byte) []byte {
	var b []byte
	for _, c := range chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return b
}
