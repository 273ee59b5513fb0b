package house

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents are the files for people, by their names from the root.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join(root(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			name, _ := filepath.Rel(root(t), f)
			out = append(out, name)
		}
	}
	return out
}

func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root(t), filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}

// What the documents show of Go is compiled as an example, or run as one.
func TestTheGoOfTheDocumentsIsTested(t *testing.T) {
	flat := func(s string) string {
		var b strings.Builder
		for line := range strings.Lines(s) {
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
		return b.String()
	}
	tested := flat(read(t, "example_test.go")) + flat(read(t, "mtls/example_test.go")) + flat(read(t, "mtls/nethttp/example_test.go")) +
		flat(read(t, "pki/sign/example_test.go"))
	for name, least := range map[string]int{"README.md": 5, "docs/library.md": 2} {
		blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(read(t, name), -1)
		if len(blocks) < least {
			t.Errorf("%s shows %d blocks of Go, expected %d", name, len(blocks), least)
		}
		for _, b := range blocks {
			if !strings.Contains(tested, flat(b[1])) {
				t.Errorf("this of %s is in no example:\n%s", name, b[1])
			}
		}
	}
}

// DESIGN.md shows every room of the house, and none that is not there.
func TestTheDesignNamesEveryRoom(t *testing.T) {
	design := read(t, "DESIGN.md")
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?:^|[\\s`,(])((?:cmd|internal|mtls|pki|policy|identity|keystore|truststore)(?:/[a-z0-9]+)*)\\b").FindAllStringSubmatch(design, -1) {
		named[m[1]] = true
	}
	for _, floor := range floors {
		for _, room := range floor {
			if room != "" && !named[room] {
				t.Errorf("DESIGN.md does not name %s", room)
			}
		}
	}
	for room := range named {
		if room == "internal" || room == "cmd" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root(t), filepath.FromSlash(room))); err != nil {
			t.Errorf("DESIGN.md names %s, which is not there", room)
		}
	}
}

// modules are the folders with a go.mod.
func modules(t *testing.T) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".peers"):
			return filepath.SkipDir
		case d.Name() == "go.mod":
			dir, _ := filepath.Rel(root(t), filepath.Dir(path))
			out = append(out, dir)
		}
		return nil
	})
	if err != nil || len(out) < 3 {
		t.Fatalf("the modules are %q: %v", out, err)
	}
	return out
}

func TestDependenciesHaveTheirReasons(t *testing.T) {
	reasons := read(t, "DEPENDENCIES.md")
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`([a-z0-9.-]+\\.[a-z]+/[^` ]+)`").FindAllStringSubmatch(reasons, -1) {
		named[m[1]] = true
	}
	known := map[string]bool{module: true}
	for _, dir := range modules(t) {
		cmd := exec.Command("go", "mod", "edit", "-json")
		cmd.Dir = filepath.Join(root(t), dir)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var mod struct {
			Require []struct {
				Path     string
				Indirect bool
			}
			Tool []struct{ Path string }
		}
		if err := json.Unmarshal(out, &mod); err != nil {
			t.Fatal(err)
		}
		for _, r := range mod.Require {
			known[r.Path] = true
			tool := slices.ContainsFunc(mod.Tool, func(x struct{ Path string }) bool { return strings.HasPrefix(x.Path, r.Path+"/") })
			if (!r.Indirect || tool) && !named[r.Path] && r.Path != module {
				t.Errorf("%s/go.mod requires %s, and DEPENDENCIES.md does not say why", dir, r.Path)
			}
		}
	}
	for path := range named {
		if !known[path] {
			t.Errorf("DEPENDENCIES.md names %s, which nothing requires", path)
		}
	}
}

// constants are a package's, by name, as far as they can be known without the
// packages of ours that it imports.
func constants(t *testing.T, room string) *types.Scope {
	t.Helper()
	files := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(root(t), room, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	conf := types.Config{Error: func(error) {}, IgnoreFuncBodies: true, Importer: standard{importer.Default()}}
	p, _ := conf.Check(room, files, parsed, nil)
	return p.Scope()
}

// standard imports what constants of ours are made of, and nothing else.
type standard struct{ types.Importer }

func (s standard) Import(path string) (*types.Package, error) {
	if path == "time" {
		return s.Importer.Import(path)
	}
	return nil, errors.New("not needed")
}

// amount reads "16", "8 KiB" and "5 s".
func amount(s string) (int64, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(s), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	switch unit {
	case "KiB":
		n <<= 10
	case "s":
		n *= int64(time.Second)
	case "":
	default:
		return 0, errors.New("unknown unit " + unit)
	}
	return n, err
}

func TestTheLimitsInSecurityAreThose(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\|[^|]+\\|([^|]+)\\|([^|]*`[^|]+`[^|]*)\\|$")
	rows := row.FindAllStringSubmatch(read(t, "SECURITY.md"), -1)
	if len(rows) < 20 {
		t.Fatalf("SECURITY.md has %d limits", len(rows))
	}
	scopes := make(map[string]*types.Scope)
	for _, r := range rows {
		values, names := strings.Split(r[1], ","), strings.Split(r[2], ",")
		if len(values) != len(names) {
			t.Errorf("%q are not as many as %q", r[1], r[2])
			continue
		}
		for i, name := range names {
			name = strings.Trim(name, " `")
			room, ident, _ := strings.Cut(name, ".")
			if scopes[room] == nil {
				scopes[room] = constants(t, room)
			}
			c, ok := scopes[room].Lookup(ident).(*types.Const)
			if !ok {
				t.Errorf("there is no constant %s", name)
				continue
			}
			want, err := amount(values[i])
			if got, exact := constant.Int64Val(constant.ToInt(c.Val())); err != nil || !exact || got != want {
				t.Errorf("%s is %s, and SECURITY.md says %s", name, c.Val(), values[i])
			}
		}
	}
}

// Whoever imports a package, or opens a room, finds words on everything in it.
func TestWhatIsExportedIsDocumented(t *testing.T) {
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".peers" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if f.Name.Name == "main" {
			return nil
		}
		bare := func(id *ast.Ident) { t.Errorf("%s: %s has no comment", files.Position(id.Pos()), id.Name) }
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverIsExported(d.Recv)) {
					bare(d.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
							bare(s.Name)
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
								bare(n)
							}
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func receiverIsExported(r *ast.FieldList) bool {
	x := r.List[0].Type
	if s, ok := x.(*ast.StarExpr); ok {
		x = s.X
	}
	if i, ok := x.(*ast.IndexExpr); ok {
		x = i.X
	}
	id, ok := x.(*ast.Ident)
	return ok && id.IsExported()
}
