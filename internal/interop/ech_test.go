package interop

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// Encrypted Client Hello (RFC 9849).

const publicName = "public.example"

func echKey(t *testing.T) *mtls.ECHKey {
	t.Helper()
	k, err := mtls.NewECHKey(mtls.ECHShape{PublicName: publicName, MaxNameLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// byName shows a certificate for each name, so that a peer sees which hello counted.
type byName map[string]*mtls.Certificate

func (b byName) Certificate(_ context.Context, a *mtls.Ask) (*mtls.Certificate, error) {
	return b[a.ServerName], nil
}

// hidden is a server of ours that is orders behind the public name.
func (w *world) hidden(k *mtls.ECHKey) mtls.ServerConfig {
	w.t.Helper()
	keys, err := mtls.NewECHKeys([]*mtls.ECHKey{k})
	if err != nil {
		w.t.Fatal(err)
	}
	return mtls.ServerConfig{
		Identity: byName{"orders": own(w.t, w.issuing.Leaf("orders")), publicName: own(w.t, w.issuing.Leaf(publicName))},
		Clients:  mtls.Anonymous(), ECH: keys,
	}
}

// onTheWire checks which of the names went over the wire.
func onTheWire(t *testing.T, up []byte, shown, hidden string) {
	t.Helper()
	if !bytes.Contains(up, []byte(shown)) || bytes.Contains(up, []byte("\x00\x06"+hidden)) {
		t.Errorf("%s is on the wire: %v; %s: %v", shown, bytes.Contains(up, []byte(shown)), hidden, bytes.Contains(up, []byte("\x00\x06"+hidden)))
	}
}

func TestNSSEncryptsItsHello(t *testing.T) {
	for name, groups := range map[string][]mtls.Group{"at once": {suite.X25519}, "after a retry": {suite.P384}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := echKey(t)
			cfg := w.hidden(k)
			cfg.Groups = groups
			port, result := w.serveOnce(cfg, 7)
			tp := w.tapped(port)
			p := w.typed(w.tstclnt(tp.port, w.database(nil, ""), "-N", base64.StdEncoding.EncodeToString(k.ConfigList())), "hidden\n")
			p.Await("hidden\n")
			p.Stop()
			if o := await(t, result); o.err != nil || o.neg.ECH != mtls.ECHAccepted || o.neg.ServerName != "orders" || o.neg.Retried != (groups[0] == suite.P384) {
				t.Errorf("%+v", o)
			}
			up, _ := tp.wires(t)
			onTheWire(t, up, publicName, "orders")
		})
	}
}

// tstclnt leaves it to its caller to expect the public name, and tells of the configs
// that we gave.
func TestNSSIsToldOfNewConfigs(t *testing.T) {
	w := newWorld(t)
	k := echKey(t)
	cfg := w.hidden(k)
	cfg.Identity = own(t, w.issuing.Leaf("orders", mint.Names("orders", publicName)))
	port, result := w.serveOnce(cfg, 1)
	p := w.typed(w.tstclnt(port, w.database(nil, ""), "-v", "-N", base64.StdEncoding.EncodeToString(echKey(t).ConfigList())), "x\n")
	p.Await(base64.StdEncoding.EncodeToString(k.ConfigList()))
	refusedUs(t, nil, await(t, result).err, "ech_required")
}

func TestNSSGreases(t *testing.T) {
	w := newWorld(t)
	port, result := w.serveOnce(w.hidden(echKey(t)), 6)
	p := w.typed(w.tstclnt(port, w.database(nil, ""), "-i", "100"), "clear\n")
	p.Await("clear\n")
	p.Stop()
	if o := await(t, result); o.err != nil || o.neg.ECH != mtls.ECHRejected || o.neg.ServerName != "orders" {
		t.Errorf("%+v", o)
	}
}

// nssECH is the key as selfserv takes it: in PKCS #8, and its config.
func (w *world) nssECH(k *mtls.ECHKey) string {
	w.t.Helper()
	file, err := k.PEM()
	if err != nil {
		w.t.Fatal(err)
	}
	block, _ := pem.Decode(file)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	key := parsed.(*ecdh.PrivateKey)
	// NSS wants X25519 as if it were a curve of ECDSA's, and the public key with it.
	inner, err := asn1.Marshal(struct {
		Version int
		Key     []byte
		Public  asn1.BitString `asn1:"explicit,tag:1"`
	}{1, key.Bytes(), asn1.BitString{Bytes: key.PublicKey().Bytes(), BitLength: 256}})
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Version   int
		Algorithm []asn1.ObjectIdentifier
		Key       []byte
	}{0, []asn1.ObjectIdentifier{{1, 2, 840, 10045, 2, 1}, {1, 3, 6, 1, 4, 1, 11591, 15, 1}}, inner})
	if err != nil {
		w.t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(len(der)))
	return base64.StdEncoding.EncodeToString(append(append(b, der...), k.ConfigList()...))
}

func TestNSSReadsOurEncryptedHello(t *testing.T) {
	w := newWorld(t)
	k := echKey(t)
	_, port := w.selfserv(w.database(w.issuing.Leaf("orders", mint.Names("orders", publicName)), "orders"), "orders", "-X", w.nssECH(k))
	visit := func(list mtls.ECHConfigList, groups ...mtls.Group) (*mtls.Conn, *tap, error) {
		tp := w.tapped(port)
		cfg := mtls.ClientConfig{Servers: w.verifier(), ECH: &mtls.ClientECH{Source: list}}
		if groups != nil {
			cfg.Groups, cfg.KeyShares = groups, 1
		}
		c, err := w.call(cfg, tp.port)
		return c, tp, err
	}
	for _, groups := range [][]mtls.Group{nil, {suite.SecP384r1MLKEM1024, suite.P256}} {
		c, tp, err := visit(k.ConfigList(), groups...)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.Negotiated(); n.ECH != mtls.ECHAccepted || n.Retried != (groups != nil) {
			t.Errorf("agreed on %+v", n)
		}
		if err := exchange(c, []byte("GET / HTTP/1.0\r\n\r\n"), []byte("HTTP")); err != nil {
			t.Error(err)
		}
		up, _ := tp.wires(t)
		onTheWire(t, up, publicName, "orders")
	}
	_, _, err := visit(echKey(t).ConfigList())
	var rejection *mtls.ECHRejection
	if !errors.As(err, &rejection) || rejection.PublicName != publicName || !bytes.Equal(rejection.RetryConfigs, k.ConfigList()) {
		t.Errorf("expected new configs, found %v", err)
	}
}
