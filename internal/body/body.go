// Package body reads the JSON body of a request, and refuses whatever could
// be read in two ways.
//
// It goes in two steps. Parse takes the syntax: it refuses duplicate names,
// invalid Unicode, NUL, trailing data and anything too deep or too wide, and
// names the first place at fault. An Object then takes the members one by one
// by their exact names; it notes every fault instead of stopping at the first,
// and what nobody asked for is a fault too.
//
// The package knows no field of any body and repeats no value of one: a value
// may be a secret.
package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/consentwire/consentwire/internal/fault"
)

// The limits of a body. Ours: the largest legal body is a batch of permission
// changes, a tenth of this.
const (
	MaxDepth  = 32      // objects and arrays within one another
	MaxWidth  = 10_000  // members of one object, elements of one array
	MaxValues = 100_000 // values in all
)

// The codes of the syntax faults that Parse returns.
const (
	CodeEmptyBody        = "empty_body"
	CodeInvalidJSON      = "invalid_json"
	CodeInvalidUnicode   = "invalid_utf8"      // bytes that are no UTF-8, or an escaped surrogate without its other half
	CodeInvalidCharacter = "invalid_character" // U+0000 in a string or a name
	CodeDuplicateMember  = "duplicate_member"
	CodeTrailingData     = "trailing_data"
	CodeTooDeep          = "too_deep"
	CodeTooLarge         = "too_large" // MaxWidth or MaxValues
)

// Parse reads one JSON text (RFC 8259) strictly.
//
// The error is a fault.Invalid with one field: the JSON Pointer of the first
// place at fault and one of the codes above.
func Parse(data []byte) (Node, error) {
	if len(bytes.Trim(data, " \t\r\n")) == 0 {
		return Node{}, syntax(CodeEmptyBody, "", "The request needs a JSON body.")
	}
	p := parser{data: data, dec: jsontext.NewDecoder(bytes.NewReader(data))}
	tok, err := p.dec.ReadToken()
	if err != nil {
		return Node{}, p.fault(err)
	}
	n, err := p.value(tok, 0)
	if err != nil {
		return Node{}, err
	}
	rest := bytes.TrimLeft(data[p.dec.InputOffset():], " \t\r\n")
	if len(rest) > 0 {
		return Node{}, syntax(CodeTrailingData, "", "The body holds more than one JSON value; something follows the first.")
	}
	return n, nil
}

// ParseObject reads one JSON object strictly. Besides the errors of Parse
// there is "wrong_type" for any other value.
func ParseObject(data []byte) (*Object, error) {
	n, err := Parse(data)
	if err != nil {
		return nil, err
	}
	return NewObject(n)
}

type parser struct {
	data   []byte
	dec    *jsontext.Decoder
	values int
}

// value reads the value that starts with tok, which lies within depth objects
// and arrays.
func (p *parser) value(tok jsontext.Token, depth int) (Node, error) {
	if p.values++; p.values > MaxValues {
		return Node{}, syntax(CodeTooLarge, p.pointer(), fmt.Sprintf("The body holds more than %d values.", MaxValues))
	}
	switch tok.Kind() {
	case 'n':
		return Node{kind: Null}, nil
	case 't', 'f':
		return Node{kind: Bool, truth: tok.Bool()}, nil
	case '0':
		return Node{kind: Number, text: tok.String()}, nil
	case '"':
		s := tok.String()
		if strings.IndexByte(s, 0) >= 0 {
			return Node{}, syntax(CodeInvalidCharacter, p.pointer(), "The text holds the character U+0000, which is not allowed anywhere.")
		}
		return Node{kind: String, text: s}, nil
	}

	if depth == MaxDepth {
		return Node{}, syntax(CodeTooDeep, p.pointer(), fmt.Sprintf("The body nests deeper than %d levels.", MaxDepth))
	}
	out := Node{kind: Array}
	if tok.Kind() == '{' {
		out.kind = Struct
	}
	for {
		tok, err := p.dec.ReadToken()
		if err != nil {
			return Node{}, p.fault(err)
		}
		if k := tok.Kind(); k == '}' || k == ']' {
			return out, nil
		}
		if len(out.kids) == MaxWidth {
			return Node{}, syntax(CodeTooLarge, parent(p.pointer()), fmt.Sprintf("There are more than %d entries here.", MaxWidth))
		}
		name := ""
		if out.kind == Struct {
			name = tok.String()
			if strings.IndexByte(name, 0) >= 0 {
				return Node{}, syntax(CodeInvalidCharacter, parent(p.pointer()), "A member's name holds the character U+0000, which is not allowed anywhere.")
			}
			if tok, err = p.dec.ReadToken(); err != nil {
				return Node{}, p.fault(err)
			}
		}
		kid, err := p.value(tok, depth+1)
		if err != nil {
			return Node{}, err
		}
		kid.name = name
		out.kids = append(out.kids, kid)
	}
}

// pointer names the place of the token that was read last.
func (p *parser) pointer() string { return string(p.dec.StackPointer()) }

// fault translates an error of the decoder. Its text is dropped, for it
// repeats a piece of the body.
func (p *parser) fault(err error) error {
	var se *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF):
		return syntax(CodeInvalidJSON, "", "The body ends before its JSON value is complete.")
	case !errors.As(err, &se):
		return fmt.Errorf("read body: %w", err) // a reader over bytes has no other error
	}
	path := string(se.JSONPointer)
	at := min(max(int(se.ByteOffset), 0), len(p.data))
	switch rest := p.data[at:]; {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return syntax(CodeDuplicateMember, path, "This member occurs twice in its object.")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return syntax(CodeInvalidJSON, path, "The body ends before its JSON value is complete.")
	case badUTF8(rest), surrogate(rest):
		return syntax(CodeInvalidUnicode, path, fmt.Sprintf("The text at byte %d is not valid Unicode.", at))
	default:
		return syntax(CodeInvalidJSON, path, fmt.Sprintf("The body is not valid JSON at byte %d.", at))
	}
}

func badUTF8(b []byte) bool {
	r, n := utf8.DecodeRune(b)
	return r == utf8.RuneError && n == 1
}

// surrogate tells whether b starts with the escape of half a surrogate pair.
func surrogate(b []byte) bool {
	return len(b) >= 4 && b[0] == '\\' && b[1] == 'u' && (b[2] == 'd' || b[2] == 'D') && strings.IndexByte("89abcdefABCDEF", b[3]) >= 0
}

func syntax(code, path, msg string) error { return fault.At(fault.Invalid, code, short(path), msg) }

// maxPath bounds what an answer repeats of the names in a request.
const maxPath = 512

// short returns path, or, when it is longer than an answer should repeat, the
// place it lies in.
func short(path string) string {
	for len(path) > maxPath {
		path = parent(path)
	}
	return path
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// Join returns the JSON Pointer (RFC 6901) of the member or index name in the
// value that path names.
func Join(path, name string) string {
	if strings.ContainsAny(name, "~/") {
		name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	return path + "/" + name
}
