package mtls_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/ct"
	"github.com/mutual-tls/mutual/pki/revoke"
	"github.com/mutual-tls/mutual/policy"
)

// ordersServer proves that it is what orders.crt says, and lets "web" in.
func ordersServer() (*mtls.Server, error) {
	cert, err := mtls.LoadCertificate("orders.crt", "orders.key")
	if err != nil {
		return nil, err
	}
	callers, err := authoritiesIn("ca.crt")
	if err != nil {
		return nil, err
	}
	rules, err := policy.Parse([]string{"web"}, "")
	if err != nil {
		return nil, err
	}
	return mtls.NewServer(mtls.ServerConfig{Identity: cert, Clients: mtls.Required(mtls.Allow(callers, rules))})
}

func greet(l *mtls.Listener) error {
	for {
		conn, err := l.AcceptConn() // the caller is proven and allowed
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			peer, _ := conn.Peer()
			fmt.Fprintf(conn, "hello %s\n", peer.Name())
		}()
	}
}

// askOrders reaches the server at address, which must prove that it is "orders".
func askOrders(ctx context.Context, address string) (string, error) {
	cert, err := mtls.LoadCertificate("web.crt", "web.key")
	if err != nil {
		return "", err
	}
	servers, err := authoritiesIn("ca.crt")
	if err != nil {
		return "", err
	}
	client, err := mtls.NewClient(mtls.ClientConfig{Identity: cert, Servers: servers})
	if err != nil {
		return "", err
	}
	transport, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	conn, err := client.Connect(ctx, transport, "orders")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn) // where the server refuses us, err says why
	return string(answer), err
}

func authoritiesIn(file string) (mtls.Verifier, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParsePEM(pem)
	return mtls.Authorities(pki.NewAnchors(certs...)), err
}

// A server that lets one name in, and a client that knows whom it means.
func Example() {
	defer inFolderWithFiles()()

	server, err := ordersServer()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	go greet(listener)

	answer, err := askOrders(context.Background(), listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(answer)
	// Output: hello web
}

// A refusal says whose fault it is, which rule, and what mends it.
func ExampleRefusalOf() {
	defer inFolderWithFiles()()
	servers, err := authoritiesIn("ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	client, err := mtls.NewClient(mtls.ClientConfig{Servers: servers}) // shows nothing
	if err != nil {
		log.Fatal(err)
	}
	server, err := ordersServer()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()

	ctx := context.Background()
	transport, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	conn, err := client.Connect(ctx, transport, "orders")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if refusal, ok := mtls.RefusalOf(conn.Admitted(ctx)); ok {
		fmt.Println(refusal.Code, refusal.Fault, refusal.Alert)
	}
	// Output: M0501 peer_refused_us certificate_required
}

// inFolderWithFiles makes the files that the examples read, and goes where they
// are until the answer is called.
func inFolderWithFiles() (leave func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	former, err := os.Getwd()
	if err != nil {
		log.Fatal(err)
	}
	root := mint.Root("Example Root")
	if err := root.WriteFile(dir + "/ca.crt"); err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"orders", "web"} {
		if _, _, err := root.Leaf(name).WriteFiles(dir, name); err != nil {
			log.Fatal(err)
		}
	}
	if err := os.Chdir(dir); err != nil {
		log.Fatal(err)
	}
	return func() {
		_ = os.Chdir(former)
		_ = os.RemoveAll(dir)
	}
}

// What a QUIC stack does when a connection begins, and each time after Receive.
func ExampleServer_QUIC() {
	var (
		ctx    = context.Background()
		server *mtls.Server                         // of NewServer
		addr   net.Addr                             // of the client
		encode func(peer []byte) ([]byte, error)    // makes our transport parameters
		send   func(level mtls.QUICLevel, b []byte) // puts b into CRYPTO frames
		keys   func(e mtls.QUICEvent)               // protects packets from here on
	)
	_ = func() error {
		q, err := server.QUIC(mtls.QUICConfig{Parameters: encode, Remote: addr})
		for more := true; more && err == nil; {
			more, err = q.Work(ctx)
		}
		for e, ok := q.Next(); ok; e, ok = q.Next() {
			switch e.Kind {
			case mtls.QUICSend:
				send(e.Level, e.Bytes)
			case mtls.QUICReadSecret, mtls.QUICWriteSecret:
				keys(e)
			}
		}
		return err
	}
}

// A sensor and its collector, with one key that both were given.
func ExamplePSK() {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // once, for both

	key := mtls.PSK{Identity: []byte("sensor-7"), Secret: secret, Context: []byte("site 3"), Client: "sensor-7", Server: "collector"}
	server, err := mtls.NewServer(mtls.ServerConfig{PSKs: []mtls.PSK{key}})
	if err != nil {
		log.Fatal(err)
	}
	client, err := mtls.NewClient(mtls.ClientConfig{PSKs: []mtls.PSK{key}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(server.Standing(), client.Standing())
	// Output: 0 0
}

// A client that says something before the server has answered: something that may
// safely come twice.
func ExampleClient_DialEarly() {
	var (
		ctx      = context.Background()
		sc       mtls.ServerConfig
		client   *mtls.Client // of NewClient, with ClientResumption
		question []byte
	)
	_ = func() error {
		sc.Resumption = &mtls.ServerResumption{EarlyData: &mtls.ServerEarlyData{}} // in the server's configuration

		conn, err := client.DialEarly(ctx, "tcp", "orders:8443") // answers at once where a session allows it
		if err != nil {
			return err
		}
		if _, err = conn.WriteEarly(question); errors.Is(err, mtls.ErrEarlyDataOver) {
			_, err = conn.Write(question) // no session allowed it
		}
		return err
	}
}

// A server whose clients hide whom they ask for.
func ExampleECHKeys() {
	var (
		sc mtls.ServerConfig
		cc mtls.ClientConfig
	)
	err := func() error {
		key, err := mtls.NewECHKey(mtls.ECHShape{PublicName: "public.example", MaxNameLength: 40})
		if err != nil {
			return err
		}
		keys, err := mtls.NewECHKeys([]*mtls.ECHKey{key}) // keys.ConfigList() is what to publish; keys.Set rotates
		if err != nil {
			return err
		}
		sc.ECH = keys // in the server's configuration
		cc.ECH = &mtls.ClientECH{Source: keys.ConfigList(), Retry: true}
		return nil
	}()
	fmt.Println(err, sc.ECH != nil, cc.ECH != nil)
	// Output: <nil> true true
}

// A client that asks public servers for timestamps of public logs.
func ExampleRequireTimestamps() {
	_ = func() (*mtls.Client, error) {
		file, err := os.ReadFile("log_list.json")
		if err != nil {
			return nil, err
		}
		logs, err := ct.ParseLogs(file)
		if err != nil {
			return nil, err
		}
		policy, err := ct.NewPolicy(logs, ct.Chrome) // two logs of two operators, three for more than 180 days
		if err != nil {
			return nil, err
		}
		return mtls.NewClient(mtls.ClientConfig{
			Servers: mtls.RequireTimestamps(mtls.SystemTrust(), policy),
			Common:  mtls.Common{Beside: mtls.Beside{Timestamps: true, OCSP: true}}, // for those that are not in the certificate
		})
	}
}

// refuseRevoked is a server whose clients are asked about at their authority, by the
// side: what is revoked is refused, and what stands by it is cut.
func refuseRevoked(ctx context.Context, cfg mtls.ServerConfig, anchors *pki.Anchors) (*mtls.Server, error) {
	checker, err := revoke.New(revoke.Config{Fetch: true, Cache: "/var/cache/orders/revocations", Recall: true})
	if err != nil {
		return nil, err
	}
	callers := mtls.WithRevocation(mtls.Authorities(anchors), mtls.Revocation{Source: checker, Mode: pki.RevocationSoft})
	cfg.Clients = mtls.Required(callers)
	server, err := mtls.NewServer(cfg)
	if err != nil {
		return nil, err
	}
	checker.OnChange(func() { server.Recheck(ctx) })
	return server, nil
}

func ExampleWithRevocation() {
	ca, err := os.ReadFile("ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	certs, err := pki.ParsePEM(ca)
	if err != nil {
		log.Fatal(err)
	}
	own, err := mtls.LoadCertificate("orders.crt", "orders.key")
	if err != nil {
		log.Fatal(err)
	}
	server, err := refuseRevoked(context.Background(), mtls.ServerConfig{Identity: own}, pki.NewAnchors(certs...))
	if err != nil {
		log.Fatal(err)
	}
	defer server.Abort()
}

// A server with a certificate of a new authority and one of an old, and a client
// that trusts the new one and tells only who has it.
func ExampleTrustAnchors() {
	var (
		sc           mtls.ServerConfig
		cc           mtls.ClientConfig
		newer, older = underRoot("New Root"), underRoot("Old Root")
	)
	err := func() error {
		id, err := mtls.ParseTrustAnchorID("32473.2")
		if err != nil {
			return err
		}
		newer, err = newer.WithProperties(mtls.CertificateProperties{TrustAnchor: id})
		if err != nil {
			return err
		}
		sc.Identity = mtls.Choose(newer, older)
		cc.TrustAnchors = &mtls.TrustAnchors{IfOffered: []mtls.TrustAnchorID{id}}
		return nil
	}()
	fmt.Println(err, cc.TrustAnchors.IfOffered[0], sc.Identity != nil)
	// Output: <nil> 32473.2 true
}

// underRoot is a certificate of an authority of that name.
func underRoot(name string) *mtls.Certificate {
	l := mint.Root(name).Leaf("orders")
	c, err := mtls.NewCertificate(l.Chain, l.Key)
	if err != nil {
		log.Fatal(err)
	}
	return c
}
