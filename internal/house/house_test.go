package house

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mutual-tls/mutual"

// floors are the rooms from the top of the house down; a room knows rooms of the
// floors below its own, and none beside it unless beside names them. A new room
// has to be put in its place here.
var floors = [][]string{
	{"cmd/mutual", "internal/bench", "internal/bench/authority", "internal/bogo", "internal/bogo/count", "internal/bogo/shim"},
	{"internal/demo", "internal/e2e", "internal/e2e/joined", "internal/interop"},
	{"internal/e2e/stage"},
	{"internal/explain", "internal/gateway", "internal/credential"},
	{""}, // the module's root: the product as a library
	{"internal/agent", "internal/ca/server", "internal/host"},
	{"internal/ca"},
	{"internal/ca/store", "internal/ca/signing"},
	{"internal/api/client"},
	{"internal/api", "internal/refusals"},
	{"internal/join"},
	{"mtls/nethttp", "mtls/brotli"},
	{"mtls"},
	{"internal/live"},
	{"internal/mint", "internal/peers", "internal/house", "internal/house/report"},
	{"truststore/install"},
	{"policy", "truststore", "keystore", "pki/revoke"},
	{"pki"},
	{"pki/ct", "pki/sign"},
	{"internal/stream", "internal/quic"},
	{"internal/handshake"},
	{"internal/record"},
	{"internal/observe", "internal/ech", "internal/schedule/rfc8448", "internal/compress"},
	{"internal/message", "internal/schedule"},
	{"internal/suite"},
	{"identity"},
	{"internal/code"},
	{"internal/alert"},
	{"internal/folder", "internal/clock", "internal/failpoint", "internal/fair", "internal/pemfile"},
}

// strangers are arrows that would point down, and are forbidden all the same.
var strangers = map[string][]string{
	"internal/handshake": {"internal/record", "internal/stream"},
	"internal/quic":      {"internal/record", "internal/stream"},
	"internal/record":    {"internal/handshake", "internal/message"},
}

// standardTLS are the rooms that may know crypto/tls: it is a peer to measure by,
// and the language of what others wrote.
var standardTLS = []string{"mtls/nethttp", "internal/bench"}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Doc        string
	GoFiles    []string
}

func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Doc,GoFiles", "./...")
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]pkg)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	return all
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestArrows(t *testing.T) {
	floor := make(map[string]int)
	for i, rooms := range floors {
		for _, r := range rooms {
			floor[r] = i
		}
	}
	all := list(t)
	for room := range floor {
		if _, open := all[strings.TrimSuffix(module+"/"+room, "/")]; !open {
			t.Errorf("%s has a floor, and there is no such room", room)
		}
	}
	for path, p := range all {
		room, ours := strings.CutPrefix(path, module+"/")
		if !ours && path != module {
			continue
		}
		if path == module {
			room = ""
		}
		at, placed := floor[room]
		if !placed {
			t.Errorf("%s has no place in the house: give it a floor", room)
			continue
		}
		for _, imported := range p.Imports {
			below, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if to, ok := floor[below]; ok && to <= at {
				t.Errorf("%s knows %s, which is not below it", room, below)
			}
			if slices.Contains(strangers[room], below) {
				t.Errorf("%s knows %s", room, below)
			}
		}
		if slices.Contains(p.Imports, "crypto/tls") && !slices.Contains(standardTLS, room) {
			t.Errorf("%s knows crypto/tls", room)
		}
		if strings.TrimSpace(p.Doc) == "" {
			t.Errorf("%s has no package comment", room)
		}
	}
}

func TestTheLibraryStandsOnItsOwn(t *testing.T) {
	all := list(t)
	for room, banned := range map[string][]string{
		"mtls":               {"crypto/tls", "net/http"},
		"pki":                {"crypto/tls", "net/http", "net"},
		"internal/handshake": {"net", "os", module + "/internal/record", module + "/internal/stream"},
		"internal/stream":    {"net", "os"},
	} {
		for _, b := range banned {
			p := all[module+"/"+room]
			// crypto/x509 brings net along, for its types of addresses.
			if b == "net" || b == "os" {
				if slices.Contains(p.Imports, b) {
					t.Errorf("%s imports %s", room, b)
				}
			} else if slices.Contains(p.Deps, b) {
				t.Errorf("%s depends on %s", room, b)
			}
		}
	}
}

// A program that uses the library is no authority, and carries none.
func TestTheLibraryHasNoAuthority(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"/internal/agent") {
		t.Fatalf("the root's packages are not all here: %v", deps)
	}
	for _, d := range deps {
		for _, banned := range []string{"database/sql", "modernc.org/", module + "/internal/ca", module + "/internal/host", module + "/cmd/"} {
			if d == strings.TrimSuffix(banned, "/") || strings.HasPrefix(d, strings.TrimSuffix(banned, "/")+"/") {
				t.Errorf("the library depends on %s", d)
			}
		}
	}
}

// maxLines is where a file is probably two stories.
const maxLines = 750

// unfinished and paths are what no file may say. They are put together here, or
// this file would say it.
var (
	unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)
	paths      = regexp.MustCompile(`(^|[^A-Za-z0-9.])/(wo` + `rk|ro` + `ot|ho` + `me/[a-z]+)/`)
)

func TestFilesAreFinished(t *testing.T) {
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		switch {
		case name == ".git" || name == ".peers" || name == "bin": // files, where the tree is a second one of a repository
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if most := 1 << 20; len(b) > most && (!strings.Contains(name, "testdata") || len(b) > 2*most) { // test suites of others are large
			t.Errorf("%s has %d bytes", name, len(b))
		}
		if bytes.IndexByte(b, 0) >= 0 || filepath.Ext(name) == ".sum" || strings.Contains(name, "testdata") {
			return nil
		}
		if m := unfinished.Find(b); m != nil {
			t.Errorf("%s says %s", name, m)
		}
		if m := paths.Find(b); m != nil {
			t.Errorf("%s names a place on somebody's machine: %s", name, m)
		}
		if filepath.Ext(name) == ".go" {
			if n := bytes.Count(b, []byte("\n")); n > maxLines {
				t.Errorf("%s has %d lines: it is probably two stories", name, n)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), path, b, parser.PackageClauseOnly); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
