package house

import (
	"bytes"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/telemetry"
)

// TestComments: an exception to a linter names the linter and the reason; an
// intention names its issue.
func TestComments(t *testing.T) {
	t.Parallel()
	forms := []struct {
		mark string
		good *regexp.Regexp
		want string
	}{
		{"no" + "lint", regexp.MustCompile(`^//no` + `lint:[a-z0-9,]+ // \S.+`), "//no" + "lint:<linter> // <reason>"},
		{"#no" + "sec", regexp.MustCompile(`#no` + `sec G\d{3}( G\d{3})* -- \S.+`), "#no" + "sec <rule> -- <reason>"},
		{"lint:" + "ignore", regexp.MustCompile(`^//lint:` + `ignore [A-Z0-9,]+ \S.+`), "//lint:" + "ignore <rule> <reason>"},
		{"lint:file-" + "ignore", regexp.MustCompile(`^//lint:file-` + `ignore [A-Z0-9,]+ \S.+`), "//lint:file-" + "ignore <rule> <reason>"},
		{"TO" + "DO", regexp.MustCompile(`TO` + `DO\(#\d+\): \S`), "TO" + "DO(#n): <what>"},
		{"FIX" + "ME", regexp.MustCompile(`\A\z`), "TO" + "DO(#n): <what>"},
	}
	for _, f := range source(t) {
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				for _, form := range forms {
					if strings.Contains(c.Text, form.mark) && !form.good.MatchString(c.Text) {
						t.Errorf("%s: got %q, want %s", f.at(c), c.Text, form.want)
					}
				}
			}
		}
	}
}

// TestDocs: what a room offers is explained, and so is the room.
func TestDocs(t *testing.T) {
	t.Parallel()
	packages := map[string]bool{}
	for _, f := range source(t) {
		if f.test {
			continue
		}
		packages[f.dir] = packages[f.dir] || f.ast.Doc != nil
		if f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d.Recv)) {
					t.Errorf("%s: %s has no doc comment", f.at(d), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
							t.Errorf("%s: %s has no doc comment", f.at(s), s.Name.Name)
						}
					case *ast.ValueSpec:
						if s.Names[0].IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							t.Errorf("%s: %s has no doc comment", f.at(s), s.Names[0].Name)
						}
					}
				}
			}
		}
	}
	for dir, documented := range packages {
		if !documented {
			t.Errorf("%s: the package has no doc comment", dir)
		}
	}
}

func exportedReceiver(l *ast.FieldList) bool {
	x := l.List[0].Type
	if s, ok := x.(*ast.StarExpr); ok {
		x = s.X
	}
	if i, ok := x.(*ast.IndexExpr); ok {
		x = i.X
	}
	i, ok := x.(*ast.Ident)
	return ok && i.IsExported()
}

// TestState: no package sets itself up behind the reader's back, and no test
// waits in real time: it sleeps in a bubble or not at all.
func TestState(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: there is an init function", f.at(fn))
			}
		}
		if !strings.HasSuffix(f.path, "_test.go") || slices.Contains(f.imports(), "testing/synctest") {
			continue
		}
		for _, u := range f.uses() {
			if u.pkg == "time" && u.name == "Sleep" {
				t.Errorf("%s: a test sleeps in real time", f.at(u.node))
			}
		}
	}
}

// TestNames: the names that hide what a package is for are not used.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		for _, part := range strings.Split(f.dir, "/") {
			if slices.Contains([]string{"util", "utils", "common", "models", "types", "helpers"}, part) {
				t.Errorf("%s: a room may not be called %q", f.path, part)
			}
		}
	}
}

// TestLogKeys: records carry keys of the vocabulary only.
func TestLogKeys(t *testing.T) {
	t.Parallel()
	vocabulary := telemetry.Keys()
	check := func(f file, x ast.Expr) {
		if l, ok := x.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if key, err := strconv.Unquote(l.Value); err == nil && !slices.Contains(vocabulary, key) {
				t.Errorf("%s: the log key %q is not in the vocabulary (telemetry.Keys)", f.at(l), key)
			}
		}
	}
	for _, f := range source(t) {
		if f.test || !slices.Contains(f.imports(), "log/slog") || f.dir == "internal/telemetry" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "slog" {
				if slices.Contains([]string{"String", "Int", "Int64", "Uint64", "Float64", "Bool", "Time", "Duration", "Any", "Group"}, s.Sel.Name) && len(call.Args) > 0 {
					check(f, call.Args[0])
				}
				return true
			}
			first := -1 // where the pairs begin
			switch s.Sel.Name {
			case "Debug", "Info", "Warn", "Error":
				first = 1
			case "DebugContext", "InfoContext", "WarnContext", "ErrorContext":
				first = 2
			case "Log":
				first = 3
			}
			if first < 0 || len(call.Args) <= first {
				return true
			}
			for i := first; i < len(call.Args); {
				if _, ok := call.Args[i].(*ast.BasicLit); !ok { // an attribute, checked by its constructor
					i++
					continue
				}
				check(f, call.Args[i])
				i += 2
			}
			return true
		})
	}
}

// TestPlaces: no file names a host of a package registry, or a folder of the
// machine it was written on.
func TestPlaces(t *testing.T) {
	t.Parallel()
	var places [][]byte
	for _, p := range [][2]string{
		{"registry.", "npmjs.org"}, {"registry.", "yarnpkg.com"}, {"proxy.", "golang.org"}, {"sum.", "golang.org"},
		{"deb.", "debian.org"}, {"pypi", ".org"}, {"files.", "pythonhosted.org"}, {"crates", ".io"},
		{"/ro", "ot/"}, {"/wo", "rk/main"}, {"/wo", "rk/shared"}, {"/tm", "p/bash"},
	} {
		places = append(places, []byte(p[0]+p[1]))
	}
	walk(t, func(path string, content func() []byte) {
		b := content()
		if bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0 {
			return
		}
		for _, p := range places {
			if i := bytes.Index(b, p); i >= 0 {
				t.Errorf("%s:%d: names the place %s", path, 1+bytes.Count(b[:i], []byte("\n")), p)
			}
		}
	})
}
