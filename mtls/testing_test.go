package mtls_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

var smokeKey *ecdsa.PrivateKey

func smokeChain(t testing.TB) (anchors *pki.Anchors, cert *mtls.Certificate) {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	lkey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	smokeKey = lkey
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"localhost"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &lkey.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.Parse(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	cert, err = mtls.NewCertificate([][]byte{leafDER}, lkey)
	if err != nil {
		t.Fatal(err)
	}
	return pki.NewAnchors(c), cert
}

func TestSmoke(t *testing.T) {
	anchors, cert := smokeChain(t)
	s, err := mtls.NewServer(mtls.ServerConfig{Identity: cert, Clients: mtls.Required(mtls.Authorities(anchors))})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.AcceptConn()
		if err != nil {
			t.Error(err)
			return
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		t.Log(string(b[:n]), err)
		c.Write([]byte("pong"))
		n, err = c.Read(b)
		t.Log(n, err)
		c.Close()
	}()
	cl, err := mtls.NewClient(mtls.ClientConfig{Identity: cert, Servers: mtls.Authorities(anchors)})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := cl.Connect(ctx, nc, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c.Negotiated(), c.Admitted(ctx))
	c.Write([]byte("ping"))
	b := make([]byte, 100)
	n, err := c.Read(b)
	t.Log(string(b[:n]), err)
	c.Close()
	time.Sleep(10 * time.Millisecond)
}
