package ca_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/pki"
)

// The process that is killed is this test's own program, built with the tag
// "failpoints", which does one thing and writes down what it was answered.
const (
	envAct    = "MUTUAL_CA_ACT"
	envFolder = "MUTUAL_CA_FOLDER"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(envAct); what != "" {
		if err := act(what, os.Getenv(envFolder)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// errand is what the process has in hand; it lies beside the authority's folder.
type errand struct {
	Token     join.Token
	CSR       []byte
	Shown     []byte
	Statement api.Statement
}

func act(what, dir string) error {
	ctx := context.Background()
	o := ca.Options{Folder: filepath.Join(dir, "ca")}
	if what == "create" {
		return ca.Create(ctx, o)
	}
	b, err := os.ReadFile(filepath.Join(dir, "errand"))
	if err != nil {
		return err
	}
	var e errand
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	a, err := ca.Open(ctx, o)
	if err != nil {
		return err
	}
	defer a.Close()
	var shown *pki.Certificate
	if e.Shown != nil {
		if shown, err = pki.Parse(e.Shown); err != nil {
			return err
		}
	}
	var out *api.Issued
	switch what {
	case "recover":
	case "token":
		_, _, err = a.NewToken(ctx, api.TokenRequest{Name: "more"})
	case "join":
		out, err = a.Join(ctx, e.Token, e.CSR, 0)
	case "renew", "freeze":
		out, err = a.Renew(ctx, shown, e.CSR, 0)
	case "issue":
		out, err = a.Issue(ctx, api.IssueRequest{Name: "web", CSR: e.CSR})
	case "serving":
		_, _, err = a.Serving(ctx)
	case "revoke":
		_, err = a.Revoke(ctx, api.RevokeRequest{Target: "web"})
	case "announce":
		err = a.Announce(ctx, e.Statement)
	default:
		err = errors.New("no such errand")
	}
	if err == nil && out != nil {
		err = os.WriteFile(filepath.Join(dir, "answer"), out.Chain[0], 0o600)
	}
	return err
}

// acts are what passes the failpoints of a kind, by the second word of their names.
var acts = map[string][]string{
	"create": {"create"}, "token": {"token"}, "issue": {"join", "renew", "issue", "serving", "recover"}, "recover": {"recover"},
	"freeze": {"freeze"}, "revoke": {"revoke"}, "list": {"revoke"}, "announce": {"announce"},
}

// failpoints are the names at all calls of failpoint.At in the authority.
func failpoints(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{".", "signing", "store"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if s, ok := call.Fun.(*ast.SelectorExpr); !ok || s.Sel.Name != "At" || fmt.Sprint(s.X) != "failpoint" {
					return true
				}
				l, ok := call.Args[0].(*ast.BasicLit)
				if !ok {
					t.Errorf("%s: the name of a failpoint is not a string", f)
					return true
				}
				name, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
				return true
			})
		}
	}
	slices.Sort(names)
	return names
}

func TestKilledAtEveryStepNothingIsLostAndNothingIsThereTwice(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ca.test")
	if out, err := exec.Command("go", "test", "-tags", "failpoints", "-c", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	names := failpoints(t)
	if len(names) < 15 {
		t.Fatalf("found the failpoints %v alone", names)
	}
	for _, name := range names {
		kind := strings.Split(name, "-")[1]
		if acts[kind] == nil {
			t.Errorf("nothing here passes %s: add what does to acts", name)
		}
		for _, what := range acts[kind] {
			t.Run(name+"/"+what, func(t *testing.T) { killedAt(t, program, name, what) })
		}
	}
}

// kill runs the process until its failpoint, and wants it dead.
func kill(t *testing.T, program, name, what, dir string) bool {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), envAct+"="+what, envFolder+"="+dir, "MUTUAL_FAILPOINT="+name)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() >= 0 {
		if what == "recover" && strings.HasPrefix(name, "ca-issue-") && name < "ca-issue-5" {
			return false // recovery begins behind it
		}
		t.Fatalf("%s came by %s unharmed: %v: %s", what, name, err, out)
	}
	if _, err := os.Lstat(filepath.Join(dir, "answer")); err == nil {
		t.Fatal("the answer left before the end")
	}
	return true
}

// intents are what is on record to be signed, and whether it was.
func intents(t *testing.T, folder string) (tbs [][]byte, signed [][]byte) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(folder, "ca.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT i.tbs, c.der FROM intents i LEFT JOIN certificates c ON c.id = i.id ORDER BY i.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var a, b []byte
		if err := rows.Scan(&a, &b); err != nil {
			t.Fatal(err)
		}
		tbs, signed = append(tbs, a), append(signed, b)
	}
	return tbs, signed
}

func killedAt(t *testing.T, program, name, what string) {
	if what == "create" {
		killedInCeremony(t, program, name)
		return
	}
	w := newWorld(t)
	dir := filepath.Dir(w.options.Folder)
	who := apply(t)
	e := errand{CSR: who.csr}
	var first *pki.Certificate
	switch what {
	case "join", "recover":
		e.Token = w.token("web")
	case "renew", "revoke", "freeze":
		_, first = w.join("web")
		e.Shown = first.Raw
		if what == "freeze" {
			if _, err := w.Renew(w.ctx, first, apply(t).csr, 0); err != nil {
				t.Fatal(err)
			}
		}
	case "announce":
		s, err := ca.NewRoot(w.ctx, w.options)
		if err != nil {
			t.Fatal(err)
		}
		e.Statement = *s
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "errand"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if what == "recover" {
		kill(t, program, "ca-issue-4-recorded", "join", dir)
		what = "join"
		if !kill(t, program, name, "recover", dir) {
			w.open()
			return
		}
	} else {
		kill(t, program, name, what, dir)
	}
	tbs, signed := intents(t, w.options.Folder)
	w.open()
	afterKill(w, name, what, &e, first)

	// What was recorded before the kill was signed as it was recorded, once; what
	// was signed stayed.
	tbs2, signed2 := intents(t, w.options.Folder)
	serials := map[string]bool{}
	for i, der := range signed2 {
		if der == nil {
			t.Fatalf("intent %d was not signed", i)
		}
		c, err := pki.Parse(der)
		if err != nil {
			t.Fatal(err)
		}
		if serials[c.Serial()] {
			t.Errorf("serial number %s twice", c.Serial())
		}
		serials[c.Serial()] = true
		if !bytes.Equal(c.X509.RawTBSCertificate, tbs2[i]) {
			t.Errorf("certificate %d is not what was recorded to be signed", i)
		}
		if i < len(tbs) && (!bytes.Equal(tbs[i], tbs2[i]) || signed[i] != nil && !bytes.Equal(signed[i], der)) {
			t.Errorf("record %d was changed", i)
		}
	}
}

func afterKill(w *world, name, what string, e *errand, first *pki.Certificate) {
	w.Helper()
	count := func(want int) {
		w.Helper()
		all, err := w.Certificates(w.ctx, true)
		if err != nil || len(all) != want {
			w.Errorf("%d certificates, expected %d, %v", len(all), want, err)
		}
		heads := map[string]int{}
		for _, c := range all {
			if c.Head {
				heads[c.Lineage]++
			}
		}
		for l, n := range heads {
			if n != 1 {
				w.Errorf("the lineage %s has %d heads", l, n)
			}
		}
	}
	recorded := name >= "ca-issue-4"
	switch what {
	case "token":
		w.join("more")
		count(1)
	case "join":
		out, err := w.Join(w.ctx, e.Token, e.CSR, 0)
		if err != nil {
			w.Fatalf("the token was lost: %v", err)
		}
		w.verify(out.Chain, "web", pki.ForServer)
		_, err = w.Join(w.ctx, e.Token, apply(w).csr, 0)
		w.refused(err, code.TokenOtherKey)
		count(1)
	case "renew":
		out, err := w.Renew(w.ctx, first, e.CSR, 0)
		if err != nil {
			w.Fatalf("the renewal was lost: %v", err)
		}
		w.verify(out.Chain, "web", pki.ForServer)
		_, err = w.Renew(w.ctx, first, apply(w).csr, 0)
		w.refused(err, code.LineageFrozen)
		count(2)
	case "issue":
		_, err := w.Issue(w.ctx, api.IssueRequest{Name: "web", CSR: e.CSR})
		if recorded {
			w.refused(err, code.KeyNotAccepted) // it is on record, and can be revoked
		} else if err != nil {
			w.Error(err)
		}
		count(1)
		if _, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil {
			w.Error(err)
		}
	case "serving":
		before := 0
		if recorded {
			before = 1
		}
		count(before)
		if _, _, err := w.Serving(w.ctx); err != nil {
			w.Error(err)
		}
		count(before + 1)
	case "freeze":
		_, err := w.Renew(w.ctx, first, e.CSR, 0)
		w.refused(err, code.LineageFrozen)
		if got := w.alarms(); !slices.Equal(got, []string{string(code.LineageFrozen)}) {
			w.Errorf("alarms: %v", got)
		}
		count(2)
	case "revoke":
		if _, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); name == "ca-revoke-1-checked" {
			if err != nil {
				w.Error(err)
			}
		} else {
			w.refused(err, code.NothingToRevoke)
		}
		lists, err := w.Lists(w.ctx)
		if err != nil {
			w.Fatal(err)
		}
		l, err := x509.ParseRevocationList(lists[0])
		if err != nil || len(l.RevokedCertificateEntries) != 1 || l.RevokedCertificateEntries[0].SerialNumber.Cmp(first.X509.SerialNumber) != 0 {
			w.Errorf("%+v, %v", l, err)
		}
		_, err = w.Renew(w.ctx, first, e.CSR, 0)
		w.refused(err, code.LineageRevoked)
		count(1)
	case "announce":
		err := w.Announce(w.ctx, e.Statement)
		if name == "ca-announce-1-checked" && err != nil {
			w.Error(err)
		} else if name != "ca-announce-1-checked" {
			w.refused(err, code.StatementRefused)
		}
		if s, err := w.Status(w.ctx); err != nil || s.Statement != 2 {
			w.Errorf("%+v, %v", s, err)
		}
	}
}

// killedInCeremony wants an authority that is whole, or a refusal to take one that
// is not for one.
func killedInCeremony(t *testing.T, program, name string) {
	dir := t.TempDir()
	o := ca.Options{Folder: filepath.Join(dir, "ca")}
	kill(t, program, name, "create", dir)
	switch {
	case name < "ca-create-2":
		if ca.Exists(o.Folder) {
			t.Error("there is an authority before there is a key")
		}
		if err := ca.Create(t.Context(), o); err != nil {
			t.Error(err)
		}
	case name < "ca-create-5":
		_, err := ca.Open(t.Context(), o)
		var p *api.Problem
		if !ca.Exists(o.Folder) || !errors.As(err, &p) || p.Code != string(code.AuthorityUnfinished) {
			t.Errorf("%v", err)
		}
	default:
		a, err := ca.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if b, err := os.ReadFile(filepath.Join(o.Folder, "ca.crt")); err != nil || len(b) == 0 {
			t.Error(err)
		}
	}
}
