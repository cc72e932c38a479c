package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the module's folder, seen from this one.
const root = "../.."

// skipped are the folders that hold nothing of ours.
func skipped(name string) bool {
	return name == ".git" || name == "node_modules" || name == "bin" || name == "testdata" || name == "results"
}

// file is one Go file of the module.
type file struct {
	path string // from the module's root, with slashes
	dir  string
	test bool // a test file, or under test/
	set  *token.FileSet
	ast  *ast.File
	text []byte
}

// at tells where in the file n is.
func (f file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.set.Position(n.Pos()).Line)
}

func (f file) imports() []string {
	var out []string
	for _, s := range f.ast.Imports {
		if p, err := strconv.Unquote(s.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// walk calls fn for every file of the module that is not skipped, with its
// path from the root.
func walk(t *testing.T, fn func(path string, content func() []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		fn(filepath.ToSlash(rel), func() []byte {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// source returns every Go file of the module, whatever its build constraints.
func source(t *testing.T) []file {
	t.Helper()
	var out []file
	walk(t, func(p string, content func() []byte) {
		if !strings.HasSuffix(p, ".go") {
			return
		}
		set, text := token.NewFileSet(), content()
		parsed, err := parser.ParseFile(set, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		dir := filepath.ToSlash(filepath.Dir(p))
		out = append(out, file{
			path: p, dir: dir, set: set, ast: parsed, text: text,
			test: strings.HasSuffix(p, "_test.go") || strings.HasPrefix(dir+"/", "test/"),
		})
	})
	if len(out) == 0 {
		t.Fatal("no Go file was found")
	}
	return out
}
