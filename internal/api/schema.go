package api

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/body"
)

// schema is the part of JSON Schema 2020-12 that we need. A schema is built by
// the functions below and not changed afterwards.
type schema struct {
	ref      string    // name of a component; then nothing else counts
	anyOf    []*schema // of these one; then only text counts beside
	kind     string    // string, integer, number, boolean, object, array
	nullable bool
	text     string
	format   string
	pattern  string
	enum     []string
	least    *int64 // of a number, a text's length, an array's length
	most     *int64
	items    *schema
	unique   bool
	props    []property
	extra    *schema // members of any other name; nil: see closed
	closed   bool    // no other member: what we read
	def      any
	example  any
}

type property struct {
	name     string
	required bool
	schema   *schema
}

func str(text string) *schema     { return &schema{kind: "string", text: text} }
func integer(text string) *schema { return &schema{kind: "integer", text: text} }
func number(text string) *schema  { return &schema{kind: "number", text: text} }
func boolean(text string) *schema { return &schema{kind: "boolean", text: text} }
func ref(name string) *schema     { return &schema{ref: name} }
func list(of *schema) *schema     { return &schema{kind: "array", items: of} }
func mapOf(text string) *schema {
	return &schema{kind: "object", text: text, extra: &schema{kind: "string"}}
}
func anything(text string) *schema { return &schema{kind: "object", text: text} }

// object of an answer: members may be added one day.
func shown(text string, props ...property) *schema {
	return &schema{kind: "object", text: text, props: props}
}

// taken is an object of a request: any other member is refused.
func taken(text string, props ...property) *schema {
	return &schema{kind: "object", text: text, props: props, closed: true}
}

func must(name string, s *schema) property { return property{name, true, s} }
func may(name string, s *schema) property  { return property{name, false, s} }

// instant is a time as CONTRACT 9 has it.
func instant(text string) *schema {
	return str(text).as("date-time").like("2026-01-31T12:00:00.000Z")
}

// either is one of several components.
func either(text string, names ...string) *schema {
	s := &schema{text: text}
	for _, n := range names {
		s.anyOf = append(s.anyOf, ref(n))
	}
	return s
}

// hidden is a secret as a read shows it.
func hidden(text string) *schema { return &schema{kind: "null", text: text} }

func (s schema) with(f func(*schema)) *schema { f(&s); return &s }

func (s *schema) between(least, most int64) *schema {
	return s.with(func(s *schema) { s.least, s.most = &least, &most })
}
func (s *schema) atLeast(n int64) *schema { return s.with(func(s *schema) { s.least = &n }) }
func (s *schema) atMost(n int64) *schema  { return s.with(func(s *schema) { s.most = &n }) }
func (s *schema) as(format string) *schema {
	return s.with(func(s *schema) { s.format = format })
}
func (s *schema) matching(pattern string) *schema {
	return s.with(func(s *schema) { s.pattern = pattern })
}
func (s *schema) of(values ...string) *schema {
	return s.with(func(s *schema) { s.enum = values })
}
func (s *schema) or(def any) *schema  { return s.with(func(s *schema) { s.def = def }) }
func (s *schema) like(ex any) *schema { return s.with(func(s *schema) { s.example = ex }) }
func (s *schema) orNull() *schema     { return s.with(func(s *schema) { s.nullable = true }) }
func (s *schema) noTwice() *schema    { return s.with(func(s *schema) { s.unique = true }) }
func (s *schema) saying(t string) *schema {
	return s.with(func(s *schema) { s.text = t })
}

// node returns the schema as the document has it.
func (s *schema) node() object {
	if s.ref != "" {
		o := object{{"$ref", "#/components/schemas/" + s.ref}}
		if s.text != "" {
			o = append(o, member{"description", s.text})
		}
		return o
	}
	if s.anyOf != nil {
		var of []object
		for _, x := range s.anyOf {
			of = append(of, x.node())
		}
		return object{{"description", s.text}, {"anyOf", of}}
	}
	var o object
	add := func(name string, v any) { o = append(o, member{name, v}) }
	if s.nullable {
		add("type", []string{s.kind, "null"})
	} else {
		add("type", s.kind)
	}
	if s.text != "" {
		add("description", s.text)
	}
	if s.format != "" {
		add("format", s.format)
	}
	if s.pattern != "" {
		add("pattern", s.pattern)
	}
	if s.enum != nil {
		var values []any
		for _, v := range s.enum {
			values = append(values, v)
		}
		if s.nullable {
			values = append(values, nil)
		}
		add("enum", values)
	}
	low, high := s.bounds()
	if s.least != nil {
		add(low, *s.least)
	}
	if s.most != nil {
		add(high, *s.most)
	}
	if s.items != nil {
		add("items", s.items.node())
	}
	if s.unique {
		add("uniqueItems", true)
	}
	if s.props != nil {
		props := object{}
		var required []string
		for _, p := range s.props {
			props = append(props, member{p.name, p.schema.node()})
			if p.required {
				required = append(required, p.name)
			}
		}
		add("properties", props)
		if required != nil {
			add("required", required)
		}
	}
	switch {
	case s.extra != nil:
		add("additionalProperties", s.extra.node())
	case s.closed:
		add("additionalProperties", false)
	}
	if s.def != nil {
		add("default", s.def)
	}
	if s.example != nil {
		add("examples", []any{s.example})
	}
	return o
}

// bounds returns the keywords for least and most.
func (s *schema) bounds() (low, high string) {
	switch s.kind {
	case "string":
		return "minLength", "maxLength"
	case "array":
		return "minItems", "maxItems"
	case "object":
		return "minProperties", "maxProperties"
	}
	return "minimum", "maximum"
}

// sample returns an example of a value: the schema's own, or one put together
// from its members, of which optional ones without an example are left out.
func (s *schema) sample(components map[string]*schema) any {
	switch {
	case s.example != nil:
		return s.example
	case s.ref != "":
		return components[s.ref].sample(components)
	case s.anyOf != nil:
		return s.anyOf[0].sample(components)
	case s.enum != nil:
		return s.enum[0]
	case s.def != nil:
		return s.def
	}
	switch s.kind {
	case "object":
		o := object{}
		for _, p := range s.props {
			if v := p.schema.sample(components); p.required || v != nil && p.schema.telling(components) {
				o = append(o, member{p.name, v})
			}
		}
		return o
	case "array":
		return []any{s.items.sample(components)}
	case "integer", "number":
		if s.least != nil {
			return *s.least
		}
		return 0
	case "boolean":
		return true
	case "string":
		return "text"
	}
	return nil
}

// telling tells whether an optional member is worth a place in an example.
func (s *schema) telling(components map[string]*schema) bool {
	switch {
	case s.example != nil:
		return true
	case s.ref != "":
		return components[s.ref].telling(components)
	}
	return slices.ContainsFunc(s.props, func(p property) bool { return p.required })
}

// refuse checks the text of a query parameter; an empty code means that it is
// good.
func (s *schema) refuse(v string) (code, msg string) {
	switch {
	case s.enum != nil:
		return body.OneOf(s.enum...)(v)
	case s.format == "date-time":
		if _, good := body.ParseTime(v); !good {
			return body.CodeInvalidTime, "The value must be an instant such as 2026-01-31T12:00:00.000Z (RFC 3339)."
		}
	case s.kind == "integer":
		n, err := strconv.ParseUint(v, 10, 31)
		if s.most == nil {
			if err != nil {
				return body.CodeOutOfRange, fmt.Sprintf("The value must be a whole number from %d.", *s.least)
			}
			return "", ""
		}
		if err != nil || int64(n) < *s.least || int64(n) > *s.most { // 31 bits
			return body.CodeOutOfRange, fmt.Sprintf("The value must be a whole number from %d to %d.", *s.least, *s.most)
		}
	default:
		if !utf8.ValidString(v) {
			return "invalid_character", "The text must be valid UTF-8."
		}
		if code, msg := body.NoControl()(v); code != "" {
			return code, msg
		}
		return body.Chars(int(*s.least), int(*s.most))(v)
	}
	return "", ""
}
