package gateway

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// The service behind is said to have broken a connection off where it was the one,
// and not where the caller went away.
func TestTheServiceBehindIsBlamedForItsOwn(t *testing.T) {
	t.Parallel()
	root := mint.Root("Example Root")
	authorities := trusting(t, root)
	client, err := mtls.NewClient(mtls.ClientConfig{Identity: own(t, root.Leaf("web")), Servers: authorities})
	if err != nil {
		t.Fatal(err)
	}
	server, err := mtls.NewServer(mtls.ServerConfig{Identity: own(t, root.Leaf("orders")), Clients: mtls.Required(authorities)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		breaks func(caller, service net.Conn)
		blamed bool
	}{
		{"the caller", func(caller, _ net.Conn) { reset(caller) }, false},
		{"the service", func(_, service net.Conn) { reset(service) }, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			here, there := pair(t, "tcp", "127.0.0.1:0")
			plain, service := pair(t, "tcp", "127.0.0.1:0")
			accepted := make(chan error, 1)
			var secure *mtls.Conn
			go func() {
				var err error
				secure, err = server.Accept(t.Context(), there)
				accepted <- err
			}()
			calling, err := client.Connect(t.Context(), here, "orders")
			if err := errors.Join(err, <-accepted); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = calling.Abort() }()
			var out bytes.Buffer
			g := newGateway(Config{Log: slog.New(slog.NewTextHandler(&out, nil))}, slog.LevelInfo)
			g.serving = true
			c.breaks(here, service)
			g.carry(t.Context(), plain, secure, "web")
			if got := out.String(); strings.Contains(got, "M0810") != c.blamed {
				t.Errorf("where %s broke the connection off this is told: %q", c.what, got)
			}
		})
	}
}
