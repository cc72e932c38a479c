package portal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// texts returns every text that pages translate: those that templates name,
// those that the code gives to t and n, and the values of the tables of titles,
// notices and verdicts.
func texts(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	literal := regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	add := func(quoted string) {
		text, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		if text != "" {
			seen[text] = true
		}
	}
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range regexp.MustCompile(`\{\{-? ?[^}]*\}\}`).FindAllString(string(b), -1) {
			if m := regexp.MustCompile(`\{\{t ("(?:[^"\\]|\\.)*")`).FindStringSubmatch(action); m != nil {
				add(m[1])
			}
			if strings.HasPrefix(action, "{{n ") {
				for _, q := range literal.FindAllString(action, -1) {
					add(q)
				}
			}
		}
	}
	sources, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range sources {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") || strings.HasPrefix(e.Name(), "texts_") || strings.HasPrefix(e.Name(), "confirm") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name, args := "", n.Args
				switch f := n.Fun.(type) {
				case *ast.SelectorExpr:
					name = f.Sel.Name
				case *ast.Ident:
					name = f.Name
				}
				switch name {
				case "t":
					args = args[:min(1, len(args))]
				case "n":
					args = args[min(1, len(args)):]
				case "signedFrame", "frame":
					args = args[min(2, len(args)):]
				case "New", "At": // an error of ours
					args = args[max(len(args)-1, 0):]
				case "add":
					args = args[:min(1, len(args))]
				default:
					return true
				}
				for _, a := range args {
					if b, ok := a.(*ast.BasicLit); ok && b.Kind == token.STRING {
						add(b.Value)
					}
				}
			case *ast.ValueSpec:
				if len(n.Names) == 1 && slices.Contains([]string{"notices", "failures", "verdicts"}, n.Names[0].Name) {
					ast.Inspect(n, func(n ast.Node) bool {
						if kv, ok := n.(*ast.KeyValueExpr); ok {
							ast.Inspect(kv.Value, func(n ast.Node) bool {
								if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
									add(b.Value)
								}
								return true
							})
							return false
						}
						return true
					})
				}
			}
			return true
		})
	}
	var out []string
	for text := range seen {
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// untranslated are texts that are the same in both languages.
var untranslated = []string{"Consentwire", "JSON", "DATA", "PAYMENT", "curl"}

func TestTexts_areAllTranslated(t *testing.T) {
	t.Parallel()
	verbs := regexp.MustCompile(`%[sd%]`)
	for _, text := range texts(t) {
		if slices.Contains(untranslated, text) {
			continue
		}
		got, ok := inPortuguese[text]
		if !ok {
			t.Errorf("%q is not translated", text)
		}
		if ok && !slices.Equal(verbs.FindAllString(got, -1), verbs.FindAllString(text, -1)) {
			t.Errorf("%q: %q takes other arguments", text, got)
		}
	}
}
