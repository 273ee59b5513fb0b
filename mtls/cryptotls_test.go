package mtls_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// The standard library as the other end, in every suite and group that both
// sides have. What it says is a second opinion on what we say.

func echo(c net.Conn) error {
	_, err := io.Copy(c, c)
	if err == nil {
		if cw, ok := c.(interface{ CloseWrite() error }); ok {
			err = cw.CloseWrite()
		}
	}
	return err
}

// exchange sends data through c and wants it back.
func exchange(c net.Conn, data []byte) error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		done <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := <-done; err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%d bytes came back changed, of %d", len(got), len(data))
	}
	return nil
}

func TestTrafficWithTheStandardLibraryInEveryGroup(t *testing.T) {
	anchors, cert := smokeChain(t)
	pool := x509.NewCertPool()
	pool.AddCert(anchors.Certificates()[0].X509)
	std := tls.Certificate{Certificate: cert.Chain(), PrivateKey: smokeKey}
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	for _, g := range suite.Groups() {
		t.Run(g.String()+"/they are the server", func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan error, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					served <- err
					return
				}
				s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{std}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveID(g)}})
				served <- echo(s)
			}()
			cl, err := mtls.NewClient(mtls.ClientConfig{Identity: cert, Servers: mtls.Authorities(anchors)})
			if err != nil {
				t.Fatal(err)
			}
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c, err := cl.Connect(ctx, nc, "localhost")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.Negotiated().Group; got != g {
				t.Errorf("group %s, wanted %s", got, g)
			}
			if err := exchange(c, data); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		t.Run(g.String()+"/they are the client", func(t *testing.T) {
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
					return
				}
				_ = echo(c)
			}()
			c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{Certificates: []tls.Certificate{std}, RootCAs: pool, ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.CurveID(g)}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := exchange(c, data); err != nil {
				t.Error(err)
			}
		})
	}
}
