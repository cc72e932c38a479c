package body_test

import (
	"encoding/json"
	"testing"

	"github.com/consentwire/consentwire/internal/body"
)

func parse(t *testing.T, s string) body.Node {
	t.Helper()
	n, err := body.Parse([]byte(s))
	if err != nil {
		t.Fatalf("parse %s: %v", s, err)
	}
	return n
}

// plain returns n as encoding/json would read it; numbers are left out, for
// the tests need none.
func plain(n body.Node) any {
	switch n.Kind() {
	case body.Bool:
		return n.True()
	case body.String:
		return n.Text()
	case body.Struct:
		m := map[string]any{}
		for _, name := range n.Names() {
			v, _ := n.Member(name)
			m[name] = plain(v)
		}
		return m
	case body.Array:
		return "array"
	case body.Number:
		return "number"
	}
	return nil
}

func show(n body.Node) string {
	b, _ := json.Marshal(plain(n)) // maps come out sorted by name
	return string(b)
}

// TestMerge takes the cases of RFC 7396 appendix A, numbers written as texts.
func TestMerge(t *testing.T) {
	t.Parallel()
	tests := []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":"array"}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":"1"}`, `{"a":"1","e":null}`},
		{`["1","2"]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a":"b"}`, `{}`, `{"a":"b"}`},
		{`{"a":true}`, `{"a":{"b":null,"c":false}}`, `{"a":{"c":false}}`},
		{`{"a":{"b":"c"},"d":"e"}`, `{"a":null,"d":{"a":"x"}}`, `{"d":{"a":"x"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.target+" with "+tt.patch, func(t *testing.T) {
			t.Parallel()
			target := parse(t, tt.target)
			if got := show(body.Merge(target, parse(t, tt.patch))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got, want := show(target), show(parse(t, tt.target)); got != want {
				t.Errorf("the target became %s, want %s", got, want)
			}
		})
	}
}

func TestNode_With(t *testing.T) {
	t.Parallel()
	n := parse(t, `{"a":"1","b":"2"}`)
	got := n.With("a", body.OfString("3")).With("c", body.OfBool(true)).With("d", body.OfObject()).Without("b")
	if want := `{"a":"3","c":true,"d":{}}`; show(got) != want {
		t.Errorf("got %s, want %s", show(got), want)
	}
	if want := `{"a":"1","b":"2"}`; show(n) != want {
		t.Errorf("the object became %s, want %s", show(n), want)
	}
	if _, ok := n.Member("A"); ok {
		t.Error("a name matched in another case of letters")
	}
}
