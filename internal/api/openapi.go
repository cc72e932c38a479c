package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The security schemes of the document.
const (
	schemeBearer = "bearer"
	schemeClient = "client"
)

const textInfo = "Consentwire keeps people's consents and permissions and tells every subscriber what changed by webhook: at least once, in order per person, provably.\n\n" +
	"Names are camelCase, times RFC 3339 in UTC with milliseconds, IDs opaque strings. Members may be added to answers; do not refuse what you do not know. " +
	"Requests are read strictly: an unknown or repeated member or query parameter is refused by name. A body has at most 1 MiB.\n\n" +
	"What belongs to another application answers 404. Errors are RFC 9457 problem details; below `/api/` they come in the envelope `{\"errors\",\"meta\"}`, and at `/oauth2/token` as RFC 6749 has it."

// document returns the OpenAPI 3.1 document of the table.
func document(ops []operation, version string) []byte {
	cs := components()
	schemas := object{}
	for _, c := range cs {
		schemas = append(schemas, member{c.name, c.schema.node()})
	}
	list := []object{}
	for _, t := range tags() {
		list = append(list, object{{"name", t[0]}, {"description", t[1]}})
	}
	doc := object{
		{"openapi", "3.1.0"},
		{"info", object{{"title", "Consentwire"}, {"version", version}, {"description", textInfo}, {"license", object{{"name", "Apache License 2.0"}, {"identifier", "Apache-2.0"}}}}},
		{"servers", []object{{{"url", "/"}}}},
		{"security", []object{{{schemeBearer, []string{}}}}},
		{"tags", list},
		{"paths", pathsOf(ops, byName(cs))},
		{"webhooks", webhookNodes(byName(cs))},
		{"components", object{
			{"schemas", schemas},
			{"securitySchemes", object{
				{schemeBearer, object{{"type", "http"}, {"scheme", "bearer"}, {"description", "An access token of an application, or the operator's bearer."}}},
				{schemeClient, object{{"type", "http"}, {"scheme", "basic"}, {"description", "A client ID and a client secret, each form-encoded (RFC 6749 section 2.3.1)."}}},
			}},
		}},
	}
	b, err := encode(doc)
	if err != nil {
		panic(err) // texts and numbers only
	}
	return b
}

func pathsOf(ops []operation, components map[string]*schema) object {
	paths := object{}
	for _, op := range ops {
		if op.unlisted != "" {
			continue
		}
		entry := member{strings.ToLower(op.method), op.node(components)}
		i := slices.IndexFunc(paths, func(m member) bool { return m.name == op.path })
		if i < 0 {
			paths = append(paths, member{op.path, object{entry}})
			continue
		}
		if item, is := paths[i].value.(object); is {
			paths[i].value = append(item, entry)
		}
	}
	return paths
}

// node returns the operation as the document has it.
func (op *operation) node(components map[string]*schema) object {
	o := object{{"operationId", op.id}, {"tags", []string{op.tag}}, {"summary", op.summary}}
	if op.text != "" {
		o = append(o, member{"description", op.text})
	}
	switch {
	case op.path == "/oauth2/token":
		o = append(o, member{"security", []object{{{schemeClient, []string{}}}, {}}})
	case op.scope == public:
		o = append(o, member{"security", []object{}})
	case op.scope == operatorOrLoopback:
		o = append(o, member{"security", []object{{{schemeBearer, []string{}}}, {}}})
	}
	var params []object
	for _, name := range op.pathParams() {
		params = append(params, object{{"name", name}, {"in", "path"}, {"required", true}, {"schema", str("").between(1, int64(op.paramMax())).node()}})
	}
	for _, p := range op.parameters() {
		params = append(params, paramNode(p, "query"))
	}
	if op.keyed {
		params = append(params, paramNode(parameter{headerKey, str("A repeat with the same key and body does nothing and answers the same.").between(1, maxKey).matching("^[!-~]+$")}, "header"))
	}
	if params != nil {
		o = append(o, member{"parameters", params})
	}
	if op.takes != nil {
		o = append(o, member{"requestBody", op.takes.node(components)})
	}
	return append(o, member{"responses", op.responses(components)})
}

func paramNode(p parameter, in string) object {
	s := *p.schema
	o := object{{"name", p.name}, {"in", in}}
	if s.text != "" {
		o = append(o, member{"description", s.text})
		s.text = ""
	}
	return append(o, member{"schema", s.node()})
}

// component returns the name of the payload's schema.
func (p *payload) component() string {
	if p.schema == "" {
		return "Nothing"
	}
	return p.schema
}

// shows returns the payload's examples, at least one.
func (p *payload) shows(components map[string]*schema) []example {
	if len(p.examples) > 0 {
		return p.examples
	}
	return []example{{"example", "", ref(p.component()).sample(components)}}
}

func (p *payload) node(components map[string]*schema) object {
	content := object{}
	for _, m := range p.media {
		examples := object{}
		for _, e := range p.shows(components) {
			x := object{}
			if e.summary != "" {
				x = append(x, member{"summary", e.summary})
			}
			examples = append(examples, member{e.name, append(x, member{"value", e.value})})
		}
		content = append(content, member{m, object{{"schema", ref(p.component()).node()}, {"examples", examples}}})
	}
	return object{{"required", !p.optional}, {"content", content}}
}

// failures returns the statuses of the errors that the operation may answer,
// ascending, without those that are our fault.
func (op *operation) failures() []int {
	out := append([]int{http.StatusBadRequest}, op.errors...)
	if op.scope != public {
		out = append(out, http.StatusUnauthorized)
	}
	if op.scope == operator || op.scope == application {
		out = append(out, http.StatusNotFound)
	}
	if op.takes != nil {
		out = append(out, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// failure returns the schema and the media type of the operation's errors.
func (op *operation) failure() (schema, media string) {
	switch dialectOf(op.path) {
	case envelope:
		return "ErrorEnvelope", mediaJSON
	case oauthError:
		return "TokenError", mediaJSON
	}
	return "Problem", "application/problem+json"
}

func (op *operation) responses(components map[string]*schema) object {
	header := func(text string) object {
		return object{{"description", text}, {"schema", object{{"type", "string"}}}}
	}
	o := object{}
	for _, a := range op.answers {
		r := object{{"description", a.text}}
		headers := object{}
		if a.status == http.StatusCreated && !op.noLocation {
			headers = append(headers, member{"Location", header("Where it can be read.")})
		}
		for _, h := range a.headers {
			headers = append(headers, member{h.name, header(h.schema.text)})
		}
		if len(headers) > 0 {
			r = append(r, member{"headers", headers})
		}
		switch {
		case a.schema != "":
			r = append(r, member{"content", object{{cmp.Or(a.media, mediaJSON), object{{"schema", ref(a.schema).node()}, {"example", ref(a.schema).sample(components)}}}}})
		case a.media != "":
			r = append(r, member{"content", object{{a.media, object{{"schema", object{{"type", "string"}}}}}}})
		}
		o = append(o, member{strconv.Itoa(a.status), r})
	}
	schema, media := op.failure()
	failed := func(text string, headers object) object {
		r := object{{"description", text}}
		if headers != nil {
			r = append(r, member{"headers", headers})
		}
		return append(r, member{"content", object{{media, object{{"schema", ref(schema).node()}}}}})
	}
	for _, status := range op.failures() {
		var headers object
		switch status {
		case http.StatusUnauthorized:
			headers = object{{"WWW-Authenticate", header("How to authenticate.")}}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			headers = object{{"Retry-After", header("In seconds.")}}
		}
		o = append(o, member{strconv.Itoa(status), failed(statusText(status), headers)})
	}
	return append(o, member{"default", failed("Something went wrong on our side, or not now (503, with `Retry-After`).", nil)})
}
