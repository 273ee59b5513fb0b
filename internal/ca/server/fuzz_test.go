package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/mtls"
)

// bare is a server without doors: its handlers alone.
func bare(f *testing.F) (*Server, *ca.Authority) {
	o := ca.Options{Folder: filepath.Join(f.TempDir(), "ca"), Log: slog.New(slog.DiscardHandler)}
	err := ca.Create(context.Background(), o)
	if err != nil {
		f.Fatal(err)
	}
	a, err := ca.Open(context.Background(), o)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { a.Close() })
	s, err := New(context.Background(), Config{Authority: a, Advertise: []string{"127.0.0.1:8440"}, Log: o.Log})
	if err != nil {
		f.Fatal(err)
	}
	return s, a
}

// answer is what a handler says to a request, which is either JSON of ours or a
// problem with a code.
func answer(t *testing.T, h http.Handler, method, path string, body []byte) (int, []byte) {
	req, err := http.NewRequest(method, "https://authority/", bytes.NewReader(body))
	if err != nil || len(path) > 1<<12 {
		t.Skip() // net/http would not have let it in
	}
	u, err := req.URL.Parse(path)
	if err != nil || u.Host != "authority" {
		t.Skip()
	}
	req.URL = u
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	b := w.Body.Bytes()
	var p api.Problem
	switch {
	case w.Code/100 == 2:
		if len(b) > 0 && !json.Valid(b) {
			t.Errorf("%d %q", w.Code, b)
		}
	case w.Code >= 500 && w.Code != http.StatusServiceUnavailable:
		t.Errorf("%s %q: %d %s", method, path, w.Code, b)
	case w.Header().Get("Content-Type") != api.ProblemType || json.Unmarshal(b, &p) != nil || p.Code == "" || p.ID == "" || p.Status != w.Code:
		t.Errorf("%s %q: %d without a problem: %q", method, path, w.Code, b)
	}
	return w.Code, b
}

// FuzzFront sends what strangers may: nobody is proven, and so nothing of it may
// be signed or recorded.
func FuzzFront(f *testing.F) {
	s, a := bare(f)
	h := s.front()
	csr, _ := request(f)
	for _, path := range []string{api.PathJoin, api.PathRenew, api.PathUpdates + "?since=x&service=web", api.PathService + "web", api.PathCRL, "//", "/v1/../admin/status", "/v1/services/a%2fb"} {
		for _, method := range []string{"GET", "POST", "PUT", "CONNECT"} {
			b, _ := io.ReadAll(asJSON(f, api.JoinRequest{CSR: csr}))
			f.Add(method, path, b)
			f.Add(method, path, []byte(`{"addresses":["127.0.0.1:1"]}`))
		}
	}
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		code, _ := answer(t, h, method, path, body)
		if code/100 == 2 && !strings.Contains(path, "crl") {
			t.Errorf("%s %q: %d for a stranger", method, path, code)
		}
		if s, err := a.Status(context.Background()); err != nil || s.Lineages != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// FuzzJoin fuzzes the body of those who have a token, behind the check that they
// came by the right protocol.
func FuzzJoin(f *testing.F) {
	s, a := bare(f)
	k, _, err := a.NewToken(context.Background(), api.TokenRequest{Name: "web"})
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range [][]byte{nil, {0x30}, {0x30, 0x80}, []byte("no request")} {
		f.Add(c, int64(0))
	}
	good, _ := request(f, "orders")
	f.Add(good, int64(60))
	f.Add(good[:len(good)-1], int64(-1))
	f.Fuzz(func(t *testing.T, csr []byte, lifetime int64) {
		h := s.working(s.busy, func(r *http.Request) (any, error) {
			in, err := body[api.JoinRequest](r)
			if err != nil {
				return nil, err
			}
			life, err := seconds(in.Lifetime)
			if err != nil {
				return nil, err
			}
			return s.issued(s.authority.Join(r.Context(), in.Token, in.CSR, life))
		})
		b, err := json.Marshal(api.JoinRequest{Token: k, CSR: csr, Lifetime: lifetime})
		if err != nil {
			t.Fatal(err)
		}
		answer(t, h, http.MethodPost, api.PathJoin, b)
	})
}

// FuzzAdmin sends the administrator's mistakes.
func FuzzAdmin(f *testing.F) {
	s, _ := bare(f)
	h := s.admin()
	for _, c := range []struct{ method, path, body string }{
		{"GET", api.PathAdminStatus, ""},
		{"POST", api.PathAdminTokens, `{"name":"web","service":"orders","names":["10.0.0.1"],"lifetime":60}`},
		{"POST", api.PathAdminTokens, `{"name":"authority"}`},
		{"POST", api.PathAdminTokens, `{"name":"a..b","lifetime":-9223372036854775808}`},
		{"POST", api.PathAdminIssue, `{"name":"web","csr":"MAo="}`},
		{"GET", api.PathAdminCertificates + "?all=1", ""},
		{"POST", api.PathAdminRevoke, `{"target":"00:ff"}`},
		{"POST", api.PathAdminRevoke, `{"lineage":"x","reason":"y"}`},
		{"POST", api.PathAdminStatement, `{"signed":"e30=","signatures":[{"root":"AA==","signature":"AA=="}]}`},
		{"GET", api.PathAdminNames + "web", ""},
		{"GET", api.PathAdminNames + "%00", ""},
	} {
		f.Add(c.method, c.path, []byte(c.body))
	}
	f.Fuzz(func(t *testing.T, method, path string, body []byte) { answer(t, h, method, path, body) })
}

var _ mtls.Verifier = (*callers)(nil)
