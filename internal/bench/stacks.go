package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// setting is what both stacks are set to.
type setting struct {
	mutual bool
	group  uint16
	// resumed turns sessions on; each side judges the other's chain at each
	// resumption too.
	resumed bool
	// early has us send a first question early; crypto/tls has no early data over TCP.
	early bool
	// known lets us remember signatures of certificates that were checked before,
	// as a Server and a Client do. Without it both sides verify every signature
	// anew, as crypto/tls does.
	known bool
	// hidden has the client encrypt its hello (Encrypted Client Hello).
	hidden bool
	// compressed has both sides compress their certificates; crypto/tls shows them as
	// they are.
	compressed bool
}

// stack is one implementation of TLS and of path validation.
type stack struct {
	// shake makes the two ends' handshakes.
	shake func(setting) (server, client func(net.Conn) (net.Conn, error), err error)
	// verify makes what judges a path n times.
	verify func() (func(n int) error, error)
	// again is verify of a path that was verified before.
	again func() (func(n int) error, error)
	// under makes what parses and judges a path n times under a pool of roots as a
	// system has it, which is parsed each time or once.
	under func(eachTime bool) (func(n int) error, error)
}

var (
	ours   = stack{shakeOurs, verifyOurs, verifyOursAgain, underOurs}
	theirs = stack{shakeTheirs, verifyTheirs, verifyTheirs, underTheirs}
)

// The certificates: ECDSA P-256, a leaf and an intermediate on both sides.
var (
	root   = mint.Root("Bench Root")
	inter  = root.Intermediate("Bench Issuing")
	orders = inter.Leaf("orders.internal")
	web    = inter.Leaf("web.internal")
)

func shakeOurs(s setting) (server, client func(net.Conn) (net.Conn, error), err error) {
	anchor, err := pki.Parse(root.DER)
	if err != nil {
		return nil, nil, err
	}
	trusted := pki.NewAnchors(anchor)
	anchors := mtls.Authorities(trusted)
	if !s.known {
		anchors = mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
			return mtls.Authorities(trusted).Verify(ctx, claim) // which has met nobody yet
		})
	}
	own := func(l *mint.Leaf) *mtls.Certificate {
		c, e := mtls.NewCertificate(l.Chain, l.Key)
		if e != nil {
			err = e
		}
		return c
	}
	sc := mtls.ServerConfig{Identity: own(orders), Clients: mtls.Anonymous()}
	cc := mtls.ClientConfig{Servers: anchors}
	if s.mutual {
		sc.Clients, cc.Identity = mtls.Required(anchors), own(web)
	}
	if s.resumed {
		sc.Resumption, cc.Resumption = &mtls.ServerResumption{}, &mtls.ClientResumption{}
		if s.early {
			sc.Resumption.EarlyData = &mtls.ServerEarlyData{}
		}
	}
	sc.Compression.Offer, cc.Compression.Offer = s.compressed, s.compressed
	if s.hidden {
		sc.ECH = echKeys
		cc.ECH = &mtls.ClientECH{Source: echKeys.ConfigList()}
	}
	if err != nil {
		return nil, nil, err
	}
	cc.Groups, sc.Groups = []mtls.Group{mtls.Group(s.group)}, []mtls.Group{mtls.Group(s.group)}
	ms, err := mtls.NewServer(sc)
	if err != nil {
		return nil, nil, err
	}
	mc, err := mtls.NewClient(cc)
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	connect := mc.Connect
	if s.early {
		connect = mc.ConnectEarly
	}
	return func(c net.Conn) (net.Conn, error) { return asConn(ms.Accept(ctx, c)) },
		func(c net.Conn) (net.Conn, error) { return asConn(connect(ctx, c, "orders.internal")) }, nil
}

func asConn(c *mtls.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func shakeTheirs(s setting) (server, client func(net.Conn) (net.Conn, error), err error) {
	pool := x509.NewCertPool()
	pool.AddCert(root.Cert)
	// Without session tickets neither side resumes.
	sc := &tls.Config{Certificates: []tls.Certificate{{Certificate: orders.Chain, PrivateKey: orders.Key}}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: !s.resumed}
	cc := &tls.Config{RootCAs: pool, ServerName: "orders.internal", MinVersion: tls.VersionTLS13}
	if s.mutual {
		sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, pool
		cc.Certificates = []tls.Certificate{{Certificate: web.Chain, PrivateKey: web.Key}}
	}
	if s.resumed {
		cc.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		// By itself it takes the verdict of the full handshake, and looks at ends.
		sc.VerifyConnection, cc.VerifyConnection = judge(pool, "", x509.ExtKeyUsageClientAuth), judge(pool, "orders.internal", x509.ExtKeyUsageServerAuth)
	}
	if s.hidden {
		sc.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{echKey}
		cc.EncryptedClientHelloConfigList = echKeys.ConfigList()
	}
	sc.CurvePreferences, cc.CurvePreferences = []tls.CurveID{tls.CurveID(s.group)}, []tls.CurveID{tls.CurveID(s.group)}
	shake := func(c *tls.Conn) (net.Conn, error) {
		if err := c.Handshake(); err != nil {
			return nil, fmt.Errorf("crypto/tls: %w", err)
		}
		return c, nil
	}
	return func(c net.Conn) (net.Conn, error) { return shake(tls.Server(c, sc)) },
		func(c net.Conn) (net.Conn, error) { return shake(tls.Client(c, cc)) }, nil
}

// judge is what a verifier of crypto/tls does that is asked at each handshake.
func judge(roots *x509.CertPool, name string, usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("no certificate")
		}
		between := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
}

// resumed says whether c's session was.
func resumed(c net.Conn) bool {
	switch c := c.(type) {
	case *mtls.Conn:
		return c.Negotiated().Resumed
	case *tls.Conn:
		return c.ConnectionState().DidResume
	}
	return false
}
