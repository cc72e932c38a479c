package api

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

//go:embed docs
var docsFiles embed.FS

// docsPolicy is the content security policy of the page. Source: RULES 5,
// portal.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// docsData is what the page shows.
type docsData struct {
	Version string
	Groups  []docsGroup
	Errors  []docsSchema
}

type docsGroup struct {
	ID, Name   string
	Text       template.HTML
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Lower, Path, Summary string
	Text                             template.HTML
	Scope                            string
	Parameters                       []docsField
	Takes                            *docsBody
	Answers                          []docsAnswer
	Failures                         []docsFailure
}

// docsField is one row; Depth tells within how many others it lies.
type docsField struct {
	Name, In, Kind string
	Depth          int
	Required       bool
	Text           template.HTML
	Default        string
	Choices        []string
}

type docsBody struct {
	Media    string
	Optional bool
	Form     bool
	Fields   []docsField
	Examples []docsExample
}

type docsExample struct{ Name, Summary, Text string }

type docsAnswer struct {
	Status int
	Text   template.HTML
	Fields []docsField
	JSON   string
}

type docsFailure struct {
	Status int
	Text   template.HTML
}

type docsSchema struct {
	Name, Text string
	Fields     []docsField
	JSON       string
}

// docsPage renders the page of the table.
func docsPage(ops []operation, version string) []byte {
	cs := byName(components())
	data := docsData{Version: version}
	for _, t := range tags() {
		g := docsGroup{ID: slug(t[0]), Name: t[0], Text: prose(t[1])}
		for _, op := range ops {
			if op.tag == t[0] && op.unlisted == "" {
				g.Operations = append(g.Operations, docsOf(op, cs))
			}
		}
		data.Groups = append(data.Groups, g)
	}
	for _, name := range []string{"Problem", "ErrorEnvelope", "TokenError"} {
		data.Errors = append(data.Errors, docsSchema{Name: name, Text: cs[name].text, Fields: fieldsOf(cs[name], cs, 0), JSON: pretty(cs[name].sample(cs))})
	}
	var b bytes.Buffer
	t := template.Must(template.ParseFS(docsFiles, "docs/page.html"))
	if err := t.Execute(&b, data); err != nil {
		panic(err) // the page is fixed: a test renders it
	}
	return b.Bytes()
}

func docsOf(op operation, cs map[string]*schema) docsOperation {
	d := docsOperation{
		ID: op.id, Method: op.method, Lower: strings.ToLower(op.method), Path: op.path, Summary: op.summary,
		Text: prose(op.text), Scope: string(op.scope),
	}
	for _, name := range op.pathParams() {
		d.Parameters = append(d.Parameters, docsField{Name: name, In: "path", Kind: "string", Required: true})
	}
	for _, p := range op.parameters() {
		f := fieldOf(p.name, false, p.schema, cs, 0)
		f.In = "query"
		d.Parameters = append(d.Parameters, f)
	}
	if op.id == "createConsent" {
		d.Parameters = append(d.Parameters, docsField{Name: headerKey, In: "header", Kind: "string", Text: prose("1 to 255 visible ASCII characters.")})
	}
	if p := op.takes; p != nil {
		s := cs[p.component()]
		body := &docsBody{Media: strings.Join(p.media, " or "), Optional: p.optional, Form: p.media[0] == mediaForm, Fields: fieldsOf(s, cs, 0)}
		for _, e := range p.shows(cs) {
			text := pretty(e.value)
			if body.Form {
				text = "grant_type=client_credentials&client_id=<client id>&client_secret=<client secret>"
			}
			body.Examples = append(body.Examples, docsExample{e.name, e.summary, text})
		}
		d.Takes = body
	}
	for _, a := range op.answers {
		x := docsAnswer{Status: a.status, Text: prose(a.text)}
		if s := cs[a.schema]; s != nil {
			x.Fields = fieldsOf(s, cs, 0)
			x.JSON = pretty(s.sample(cs))
		}
		d.Answers = append(d.Answers, x)
	}
	for _, status := range op.failures() {
		d.Failures = append(d.Failures, docsFailure{status, prose(statusText(status))})
	}
	return d
}

// docsDepth is how deep the page lists members within members.
const docsDepth = 4

func fieldsOf(s *schema, cs map[string]*schema, depth int) []docsField {
	for s != nil && (s.ref != "" || s.kind == "array") {
		if s.ref != "" {
			s = cs[s.ref]
		} else {
			s = s.items
		}
	}
	if s == nil || depth == docsDepth {
		return nil
	}
	var out []docsField
	for _, x := range s.anyOf {
		out = append(out, fieldOf(x.ref, false, x, cs, depth))
		out = append(out, fieldsOf(x, cs, depth+1)...)
	}
	for _, p := range s.props {
		out = append(out, fieldOf(p.name, p.required, p.schema, cs, depth))
		out = append(out, fieldsOf(p.schema, cs, depth+1)...)
	}
	return out
}

func fieldOf(name string, required bool, s *schema, cs map[string]*schema, depth int) docsField {
	f := docsField{Name: name, Depth: depth, Required: required, Kind: kindOf(s, cs), Text: prose(s.text), Choices: s.enum}
	if s.ref != "" && s.text == "" {
		f.Text = prose(cs[s.ref].text)
	}
	if s.items != nil && s.items.enum != nil {
		f.Choices = s.items.enum
	}
	if s.def != nil {
		f.Default = pretty(s.def)
	}
	return f
}

// kindOf returns a schema's type and bounds in few words.
func kindOf(s *schema, cs map[string]*schema) string {
	if s.ref != "" {
		return kindOf(cs[s.ref], cs)
	}
	out := s.kind
	switch {
	case s.kind == "array":
		out = "array of " + kindOf(s.items, cs)
	case s.format == "date-time":
		out = "time"
	case s.format == "uri":
		out = "URL"
	}
	if s.nullable {
		out += " or null"
	}
	unit := map[string]string{"string": " characters", "array": " items", "object": " members"}[s.kind]
	switch {
	case s.format == "date-time" || s.least == nil && s.most == nil:
	case s.most == nil:
		out += ", " + strconv.FormatInt(*s.least, 10) + " or more" + unit
	case s.least == nil:
		out += ", at most " + strconv.FormatInt(*s.most, 10) + unit
	default:
		out += ", " + strconv.FormatInt(*s.least, 10) + " to " + strconv.FormatInt(*s.most, 10) + unit
	}
	return out
}

// prose turns a text of ours with words in backquotes into HTML.
func prose(s string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		text := template.HTMLEscapeString(part)
		if i%2 == 1 {
			text = "<code>" + text + "</code>"
		}
		b.WriteString(text)
	}
	return template.HTML(b.String()) // #nosec G203 -- escaped above, and the texts are constants of ours
}

func slug(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "-") }

func pretty(v any) string {
	b, err := encode(v)
	if err != nil {
		return ""
	}
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") != nil {
		return string(b)
	}
	return out.String()
}

func (s *server) docs(*call) (reply, error) {
	return reply{status: http.StatusOK, raw: s.page, media: "text/html; charset=utf-8", policy: docsPolicy}, nil
}

func (s *server) docsFile(name, media string) handler {
	return func(*call) (reply, error) {
		b, err := docsFiles.ReadFile("docs/" + name)
		return reply{status: http.StatusOK, raw: b, media: media}, err
	}
}
