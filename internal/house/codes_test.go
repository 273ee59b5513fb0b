package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A page of docs/codes.md that nothing leads to is a promise that nobody keeps.
// The codes of family M05 are found by the alert that a peer sent (code.ByAlert).
func TestEveryCodeIsRaisedBySomebody(t *testing.T) {
	unraised := map[string]string{}
	raised := map[string]bool{}
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".peers" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == "code" {
			codes(f, unraised)
			return nil
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "code" {
					raised[s.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(unraised) < 100 {
		t.Fatalf("%d codes were found in internal/code", len(unraised))
	}
	for name, c := range unraised {
		if !raised[name] && !strings.HasPrefix(c, `"M05`) {
			t.Errorf("code.%s (%s) is raised nowhere: raise it, or take its page away", name, c)
		}
	}
}

// codes notes the constants of type Code in a file, by name.
func codes(f *ast.File, into map[string]string) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Code" {
				into[v.Names[0].Name] = v.Values[0].(*ast.BasicLit).Value
			}
		}
	}
}
