package body_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/fault"
)

func nest(open, inner, shut string, depth int) string {
	return strings.Repeat(open, depth) + inner + strings.Repeat(shut, depth)
}

func list(n int, item func(i int) string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = item(i)
	}
	return strings.Join(items, ",")
}

func TestParse_refuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body, code, path string
	}{
		{"nothing at all", "", "empty_body", ""},
		{"blanks only", " \t\r\n", "empty_body", ""},
		{"a byte order mark", "\ufeff{}", "invalid_json", ""},
		{"a byte order mark alone", "\ufeff", "invalid_json", ""},
		{"a form", "a=1&b=2", "invalid_json", ""},
		{"a single NUL byte", "\x00", "invalid_json", ""},
		{"a NUL byte after the value", "{}\x00", "trailing_data", ""},
		{"an object that is not closed", `{`, "invalid_json", ""},
		{"an object cut after a name", `{"a"`, "invalid_json", "/a"},
		{"an object cut after a colon", `{"a":`, "invalid_json", "/a"},
		{"an object cut after a value", `{"a":1`, "invalid_json", ""},
		{"an object cut after a comma", `{"a":1,`, "invalid_json", ""},
		{"an array that is not closed", `[1,2`, "invalid_json", ""},
		{"a string that is not closed", `{"a":"b`, "invalid_json", "/a"},
		{"a trailing comma in an object", `{"a":1,}`, "invalid_json", ""},
		{"a trailing comma in a nested object", `{"x":{"a":1,}}`, "invalid_json", "/x"},
		{"a trailing comma in an array", `{"x":[1,]}`, "invalid_json", "/x"},
		{"a missing comma", `{"a":1 "b":2}`, "invalid_json", ""},
		{"a missing colon", `{"a" 1}`, "invalid_json", "/a"},
		{"a missing value", `{"a":}`, "invalid_json", "/a"},
		{"two commas", `[1,,2]`, "invalid_json", "/1"},
		{"a leading comma", `[,1]`, "invalid_json", ""},
		{"a bracket of the other kind", `{"a":1]`, "invalid_json", ""},
		{"a bracket too many", `{"a":1}}`, "trailing_data", ""},
		{"a name without quotes", `{a:1}`, "invalid_json", ""},
		{"a name in single quotes", `{'a':1}`, "invalid_json", ""},
		{"a name that is a number", `{1:2}`, "invalid_json", ""},
		{"a string in single quotes", `{"a":'b'}`, "invalid_json", "/a"},
		{"a comment in a line", "{\"a\":1} // x", "trailing_data", ""},
		{"a comment in a block", `{/* x */"a":1}`, "invalid_json", ""},
		{"a literal that is cut", `{"a":tru}`, "invalid_json", "/a"},
		{"a literal in capitals", `{"a":True}`, "invalid_json", "/a"},
		{"undefined", `{"a":undefined}`, "invalid_json", "/a"},
		{"not a number", `{"a":NaN}`, "invalid_json", "/a"},
		{"infinity", `{"a":-Infinity}`, "invalid_json", "/a"},
		{"a number with a leading zero", `{"a":01}`, "invalid_json", ""},
		{"a number with a plus", `{"a":+1}`, "invalid_json", "/a"},
		{"a number with nothing after the point", `{"a":1.}`, "invalid_json", "/a"},
		{"a number with nothing before the point", `{"a":.5}`, "invalid_json", "/a"},
		{"a number with an empty exponent", `{"a":1e}`, "invalid_json", "/a"},
		{"a hexadecimal number", `{"a":0x10}`, "invalid_json", ""},
		{"a minus alone", `{"a":-}`, "invalid_json", "/a"},
		{"a line end in a string", "{\"a\":\"x\ny\"}", "invalid_json", "/a"},
		{"a tab in a string", "{\"a\":\"x\ty\"}", "invalid_json", "/a"},
		{"a raw NUL in a string", "{\"a\":\"x\x00y\"}", "invalid_json", "/a"},
		{"an unknown escape", `{"a":"\x41"}`, "invalid_json", "/a"},
		{"an escape that is cut", `{"a":"\u12"}`, "invalid_json", "/a"},
		{"a byte that is no UTF-8", "{\"a\":\"\xff\"}", "invalid_utf8", "/a"},
		{"a byte that is no UTF-8 in a name", "{\"\xff\":1}", "invalid_utf8", ""},
		{"Latin-1", "{\"a\":{\"b\":\"caf\xe9\"}}", "invalid_utf8", "/a/b"},
		{"an overlong encoding", "{\"a\":\"\xc0\xaf\"}", "invalid_utf8", "/a"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "invalid_utf8", "/a"},
		{"a code point beyond the last", "{\"a\":\"\xf4\x90\x80\x80\"}", "invalid_utf8", "/a"},
		{"a character that is cut", "{\"a\":\"\xe2\x82\"}", "invalid_utf8", "/a"},
		{"a high surrogate alone", `{"a":"\ud800"}`, "invalid_utf8", "/a"},
		{"a low surrogate alone", `{"a":["\udc00"]}`, "invalid_utf8", "/a/0"},
		{"surrogates in the wrong order", `{"a":"\udc00\ud800"}`, "invalid_utf8", "/a"},
		{"a high surrogate twice", `{"a":"\uD83D\uD83D"}`, "invalid_utf8", "/a"},
		{"a surrogate in a name", `{"\uDBFF":1}`, "invalid_utf8", ""},
		{"UTF-16", "{\x00\"\x00a\x00\"\x00", "invalid_json", ""},
		{"an escaped NUL in a string", `{"a":"x\u0000y"}`, "invalid_character", "/a"},
		{"an escaped NUL in an element", `{"a":["b","\u0000"]}`, "invalid_character", "/a/1"},
		{"an escaped NUL in a name", `{"x":{"a\u0000":1}}`, "invalid_character", "/x"},
		{"a name twice", `{"a":1,"a":2}`, "duplicate_member", "/a"},
		{"a name twice, once escaped", `{"x":[{"a":1,"\u0061":1}]}`, "duplicate_member", "/x/0/a"},
		{"an empty name twice", `{"":1,"":1}`, "duplicate_member", "/"},
		{"a name to be escaped in a pointer, twice", `{"a/b~c":1,"a/b~c":2}`, "duplicate_member", "/a~1b~0c"},
		{"a second object", `{"a":1}{"b":2}`, "trailing_data", ""},
		{"a second object after a line end", "{}\n{}", "trailing_data", ""},
		{"a second literal", `null null`, "trailing_data", ""},
		{"arrays nested too deep", nest("[", "", "]", body.MaxDepth+1), "too_deep", strings.Repeat("/0", body.MaxDepth)},
		{"objects nested too deep", nest(`{"a":`, "1", "}", body.MaxDepth+1), "too_deep", strings.Repeat("/a", body.MaxDepth)},
		{"arrays without end", strings.Repeat("[", 500_000), "too_deep", strings.Repeat("/0", body.MaxDepth)},
		{"an array with too many elements", `{"a":[` + list(body.MaxWidth+1, strconv.Itoa) + `]}`, "too_large", "/a"},
		{"an object with too many members", `{` + list(body.MaxWidth+1, func(i int) string { return strconv.Quote(strconv.Itoa(i)) + ":0" }) + `}`, "too_large", ""},
		{"too many values in all", `[` + list(20, func(int) string { return `[` + list(body.MaxWidth/2, strconv.Itoa) + `]` }) + `]`, "too_large", "/19/4979"},
	}
	if len(tests) < 60 {
		t.Errorf("there are %d bad bodies, want at least 60", len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := body.Parse([]byte(tt.body))
			f, ok := errors.AsType[*fault.Error](err)
			if !ok {
				t.Fatalf("got %v, want a fault", err)
			}
			if f.Kind != fault.Invalid || f.Code != tt.code || f.Field != tt.path || len(f.Fields) != 1 {
				t.Errorf("got %v %s at %q, want %v %s at %q", f.Kind, f.Code, f.Field, fault.Invalid, tt.code, tt.path)
			}
			if f.Err != nil {
				t.Errorf("the cause %v is kept, which may repeat the body", f.Err)
			}
		})
	}
}

func TestParse_accepts(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"an empty object":            `{}`,
		"blanks around":              " \n{ } \r\n",
		"a literal":                  `null`,
		"the deepest nesting":        nest("[", "", "]", body.MaxDepth),
		"the widest array":           `[` + list(body.MaxWidth, strconv.Itoa) + `]`,
		"a pair of surrogates":       `{"a":"\ud83d\ude00"}`,
		"every escape":               `["\"\\\/\b\f\n\r\t\u0041"]`,
		"names that differ in case":  `{"a":1,"A":2}`,
		"an empty name":              `{"":1}`,
		"the same name in two":       `{"a":{"x":1},"b":{"x":1}}`,
		"a number beyond all bounds": `[1e999999,-0,0.1E+2]`,
		"U+FFFD itself":              `["\ufffd","` + "\ufffd" + `"]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := body.Parse([]byte(in)); err != nil {
				t.Errorf("got %v, want none", err)
			}
		})
	}
}

func TestParse_boundsWhatAnAnswerRepeats(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("n", 5000)
	_, err := body.Parse([]byte(`{"a":{"` + name + `":1,"` + name + `":2}}`))
	f, _ := errors.AsType[*fault.Error](err)
	if f == nil || f.Field != "/a" {
		t.Errorf("got %v, want a fault at /a", err)
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, name, want string }{
		{"", "a", "/a"},
		{"/a", "0", "/a/0"},
		{"/a", "", "/a/"},
		{"", "a/b", "/a~1b"},
		{"", "m~n", "/m~0n"},
		{"", "~1", "/~01"},
	} {
		if got := body.Join(tt.path, tt.name); got != tt.want {
			t.Errorf("Join(%q, %q): got %q, want %q", tt.path, tt.name, got, tt.want)
		}
	}
}

// FuzzParse: whatever arrives is read or refused with one fault, and what was
// read holds only valid text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `{"a":[1,2.5e3,null,true,"x"],"b":{"c":{}}}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, "{\"\xff\":1}",
		`{"a":"\u0000"}`, nest("[", "", "]", 40), `{} {}`, `{"~/":1,"~/":1}`, "\ufeff{}", `[1,]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := body.Parse(data)
		if err != nil {
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Kind != fault.Invalid || len(e.Fields) != 1 || e.Err != nil {
				t.Fatalf("got %v, want one fault of kind Invalid without a cause", err)
			}
			return
		}
		o, err := body.NewObject(n)
		if err != nil {
			return
		}
		for _, name := range o.Names() {
			if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
				t.Fatalf("the name %q was let through", name)
			}
			if s := o.OptStr(name); s != nil && (!utf8.ValidString(*s) || strings.ContainsRune(*s, 0)) {
				t.Fatalf("the text %q was let through", *s)
			}
		}
		if merged := body.Merge(n, n); len(merged.Names()) > len(o.Names()) {
			t.Fatalf("a value merged with itself has %d members, want at most %d", len(merged.Names()), len(o.Names()))
		}
	})
}
