package portal

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/sink"
)

// The most bytes of a body that are shown in a list and on a page of its own.
// Ours.
const (
	maxShown = 8 << 10
	maxWhole = 1 << 20
)

// maxDepth is the deepest JSON that is written with indents: each level makes
// every line of it longer.
const maxDepth = 32

// row is a request as a page shows it, and as the stream sends it to a page.
type row struct {
	ID        string   `json:"id"`
	Href      string   `json:"-"`    // of its own page
	At        string   `json:"at"`   // "20:28:31.042"
	ISO       string   `json:"iso"`  // as on the wire
	Date      string   `json:"date"` // "24 Nov 2026, 20:28:31 UTC"
	Method    string   `json:"method"`
	Path      string   `json:"path"` // behind the bin, with the query
	Event     string   `json:"event"`
	Subject   string   `json:"subject"`
	Sequence  string   `json:"sequence"`
	Attempt   string   `json:"attempt"`
	Replay    bool     `json:"replay"`
	Verdict   string   `json:"verdict"` // valid, invalid, none
	Signature string   `json:"signature"`
	Answer    int      `json:"answer"`
	Headers   []header `json:"headers"`
	Body      string   `json:"body"`
	Note      string   `json:"note"` // what is not shown, in words; may be empty
}

type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// verdicts are the words for a signature.
var verdicts = map[sink.Signature]string{sink.Valid: "Valid", sink.Invalid: "Invalid", sink.None: "Unsigned"}

// rowOf shows a request, at most so many bytes of its body. base is the path
// of the portal.
func (l lang) rowOf(r sink.Request, base string, most int) row {
	path := strings.TrimPrefix(r.Path, sink.Prefix+r.Bin)
	if path == "" {
		path = "/"
	}
	if r.Query != "" {
		path += "?" + r.Query
	}
	out := row{
		ID: r.ID, Href: base + "/inspector/" + r.Bin + "/requests/" + r.ID, At: r.At.UTC().Format("15:04:05.000"), ISO: event.Format(r.At), Date: l.at(r.At).Text,
		Method: r.Method, Path: path, Event: eventName(r.Body),
		Subject: r.Header(delivery.HeaderSubject), Sequence: r.Header(delivery.HeaderSequence), Attempt: r.Header(delivery.HeaderAttempt),
		Replay: r.Header(delivery.HeaderReplay) == "true", Verdict: string(r.Signature), Signature: l.t(verdicts[r.Signature]), Answer: r.Status,
		Headers: []header{},
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, header{h.Name, h.Value})
	}
	var cut bool
	out.Body, cut = pretty(r.Body, most)
	switch {
	case r.Size == 0:
		out.Note = l.t("The request had no body.")
	case r.Truncated:
		out.Note = l.t("Only a part of the request was kept; its body was read to %s bytes.", l.number(r.Size))
	case cut:
		out.Note = l.t("The beginning of %s bytes.", l.number(r.Size))
	}
	return out
}

// eventName returns the member "event" or "type" of a JSON object, whichever
// comes first as a text, at most 100 letters of it.
func eventName(body string) string {
	d := json.NewDecoder(strings.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for range 50 { // members
		name, err := d.Token()
		if err != nil {
			return ""
		}
		if name != "event" && name != "type" {
			var skip json.RawMessage
			if d.Decode(&skip) != nil {
				return ""
			}
			continue
		}
		var value any
		if d.Decode(&value) != nil {
			return ""
		}
		if s, ok := value.(string); ok {
			s, _ = short(s, 100)
			return s
		}
	}
	return ""
}

// pretty returns JSON with indents, anything else as it is, and whether
// something was cut off.
func pretty(body string, most int) (text string, cut bool) {
	if len(body) <= most && shallow(body) {
		var b bytes.Buffer
		if json.Indent(&b, []byte(body), "", "  ") == nil {
			return short(b.String(), 2*most)
		}
	}
	return short(body, most)
}

// shallow tells whether brackets nest at most maxDepth deep.
func shallow(s string) bool {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// short returns at most n bytes of s, cut before a letter.
func short(s string, n int) (string, bool) {
	if len(s) <= n {
		return s, false
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

// writeTo writes the row as one server-sent event. Source: HTML, "Server-sent
// events". JSON has no line break within, so it is one line of data.
func (r row) writeTo(w io.Writer) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "id: "+r.ID+"\nevent: request\ndata: "+string(data)+"\n\n")
	return err
}
