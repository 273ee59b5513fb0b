package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
)

func (w *world) admin() *client.Admin { return client.NewAdmin(w.folder) }

func TestTheAdministratorIsServed(t *testing.T) {
	w := newWorld(t)
	info, err := os.Stat(filepath.Join(w.folder, api.AdminSocket))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	a := w.admin()
	made, err := a.Token(w.ctx, &api.TokenRequest{Name: "web", Service: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := made.Parsed()
	if err != nil || l.Root != w.ca.Root().SHA256 || l.Authority[0] != w.port {
		t.Fatalf("%v, %v", l, err)
	}
	text, _ := l.Token.MarshalText()
	if w.book.line(string(text)) != "" {
		t.Error("the log has a token")
	}
	if _, err := a.Token(w.ctx, &api.TokenRequest{Name: "authority"}); err == nil || !strings.Contains(err.Error(), "M0910") {
		t.Errorf("%v", err)
	}
	if all, err := a.Certificates(w.ctx, false); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := a.Revoke(w.ctx, &api.RevokeRequest{Target: "nobody"}); err == nil || !strings.Contains(err.Error(), "M0919") {
		t.Errorf("%v", err)
	}
	if n, err := a.Name(w.ctx, "web"); err != nil || n.Joined || !n.Waiting {
		t.Errorf("%+v, %v", n, err)
	}
	w.halt()
	if _, err := a.Status(w.ctx); err != client.ErrNoAuthority {
		t.Errorf("%v", err)
	}
}
