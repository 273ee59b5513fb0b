//go:build unix

package mtls_test

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// wire counts what crosses a connection.
type wire struct {
	net.Conn
	n *atomic.Int64
}

func (w wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.n.Add(int64(n))
	return n, err
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What the kinds of keys cost in a full mutual handshake: time of both ends, and
// bytes both ways. The name says the key of the root, the intermediate and the leaf.
func BenchmarkHandshakeByKeyType(b *testing.B) {
	for _, k := range [][3]string{{"p256", "p256", "p256"}, {"mldsa44", "mldsa44", "p256"}, {"mldsa65", "mldsa65", "p256"}, {"mldsa87", "p256", "p256"},
		{"mldsa44", "mldsa44", "mldsa44"}, {"mldsa65", "mldsa65", "mldsa65"}, {"mldsa87", "mldsa87", "mldsa87"}} {
		b.Run(k[0]+"-"+k[1]+"-"+k[2], func(b *testing.B) {
			root := mint.Root("Root", mint.Key(k[0]))
			issuing := root.Intermediate("Issuing", mint.Key(k[1]))
			anchor, err := pki.Parse(root.DER)
			if err != nil {
				b.Fatal(err)
			}
			trusted := pki.NewAnchors(anchor)
			anchors := mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
				return mtls.Authorities(trusted).Verify(ctx, claim) // which has met nobody yet
			})
			own := func(name string) *mtls.Certificate {
				l := issuing.Leaf(name, mint.Key(k[2]))
				c, err := mtls.NewCertificate(l.Chain, l.Key)
				if err != nil {
					b.Fatal(err)
				}
				return c
			}
			server, err := mtls.NewServer(mtls.ServerConfig{Identity: own("orders"), Clients: mtls.Required(anchors)})
			if err != nil {
				b.Fatal(err)
			}
			client, err := mtls.NewClient(mtls.ClientConfig{Identity: own("web"), Servers: anchors})
			if err != nil {
				b.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			var bytes atomic.Int64
			ctx := context.Background()
			before := used(b)
			for b.Loop() {
				done := make(chan error, 1)
				go func() {
					c, err := l.Accept()
					if err == nil {
						var s *mtls.Conn
						if s, err = server.Accept(ctx, wire{c, &bytes}); err == nil {
							_, _ = s.Read(make([]byte, 1)) // until the client has closed
							_ = s.Close()
						}
					}
					done <- err
				}()
				raw, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				c, err := client.Connect(ctx, wire{raw, &bytes}, "orders")
				if err == nil {
					err = c.Admitted(ctx)
				}
				if err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			cpu := used(b) - before
			b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(bytes.Load())/float64(b.N), "bytes/op")
		})
	}
}
