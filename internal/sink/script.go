package sink

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// The bounds of a script. Ours.
const (
	MaxDelay         = 2 * time.Minute // twice the longest attempt (CONTRACT 5, timeoutSeconds)
	MaxScriptHeaders = 20
	MaxScriptBody    = 64 << 10 // bytes
	maxHeaderName    = 100
	maxHeaderValue   = 2000
)

// CheckScript tells what is wrong with a script, every faulty field by the
// JSON Pointer of CONTRACT 9: /status, /delayMs, /failureRatio,
// /headers/<name>, /body. A status of 0 is 200.
func CheckScript(s store.Script) error {
	var fs []fault.Field
	add := func(path, code, msg string) { fs = append(fs, fault.Field{Path: path, Code: code, Msg: msg}) }
	if s.Status != 0 && (s.Status < 200 || s.Status > 599) {
		add("/status", "out_of_range", "Give a status from 200 to 599.")
	}
	if s.Delay < 0 || s.Delay > MaxDelay {
		add("/delayMs", "out_of_range", fmt.Sprintf("Give a delay from 0 to %d milliseconds.", MaxDelay.Milliseconds()))
	}
	if math.IsNaN(s.FailureRatio) || s.FailureRatio < 0 || s.FailureRatio > 1 {
		add("/failureRatio", "out_of_range", "Give a failure ratio from 0 to 1.")
	}
	if len(s.Headers) > MaxScriptHeaders {
		add("/headers", "too_many", fmt.Sprintf("Give at most %d headers.", MaxScriptHeaders))
	} else {
		for _, name := range sortedNames(s.Headers) {
			path := "/headers/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			switch value := s.Headers[name]; {
			case len(name) > maxHeaderName || !httpguts.ValidHeaderFieldName(name):
				add(path, "invalid_header", fmt.Sprintf("A header's name has 1 to %d letters, digits and !#$%%&'*+-.^_`|~.", maxHeaderName))
			case withheld(name):
				add(path, "reserved_header", "A bin must not send this header: it would act on the connection or on the portal's origin.")
			case len(value) > maxHeaderValue || !visible(value):
				add(path, "invalid_header", fmt.Sprintf("A header's value has at most %d visible ASCII characters and spaces.", maxHeaderValue))
			}
		}
	}
	switch {
	case !utf8.ValidString(s.Body):
		add("/body", "invalid_character", "The body is not valid UTF-8.")
	case len(s.Body) > MaxScriptBody:
		add("/body", "too_long", fmt.Sprintf("The body has more than %d bytes; shorten it.", MaxScriptBody))
	}
	return fault.InvalidFields(fs)
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// withheld tells whether a bin may not send a header of that name: those that
// frame the answer, and those by which one answer changes what a browser does
// with the rest of the origin, which is the portal's.
func withheld(name string) bool {
	n := strings.ToLower(name)
	switch n {
	case "connection", "content-length", "content-encoding", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
		"alt-svc", "clear-site-data", "nel", "origin-agent-cluster", "public-key-pins", "report-to", "reporting-endpoints",
		"service-worker-allowed", "set-cookie", "set-cookie2", "set-login", "sourcemap", "strict-transport-security",
		"x-content-type-options", "x-frame-options", "referrer-policy", "activate-storage-access", "speculation-rules",
		"use-as-dictionary":
		return true
	}
	return strings.HasPrefix(n, "content-security-policy") || strings.HasPrefix(n, "cross-origin-") || strings.HasPrefix(n, "proxy-")
}

// guard sets the headers of every answer: whatever it holds, a browser shows
// it as a lone, lifeless document and keeps no copy.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// status is the script's status.
func status(s store.Script) int {
	if s.Status < 200 || s.Status > 599 {
		return http.StatusOK
	}
	return s.Status
}

// answer writes what the script says. Without a Content-Type the body is plain
// text; one of a script or a style is sent as plain text, because the portal
// runs those of its own origin.
func answer(w http.ResponseWriter, s store.Script) {
	h := w.Header()
	for name, value := range s.Headers {
		if !withheld(name) && httpguts.ValidHeaderFieldName(name) && visible(value) {
			h.Set(name, value)
		}
	}
	kind := strings.ToLower(h.Get("Content-Type"))
	if s.Body != "" && kind == "" || strings.Contains(kind, "script") || strings.Contains(kind, "css") || strings.Contains(kind, "wasm") {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	code := status(s)
	w.WriteHeader(code)
	if code == http.StatusNoContent || code == http.StatusNotModified {
		return
	}
	_, _ = w.Write([]byte(s.Body)) // a sender that has gone misses nothing
}

// problem answers in the form of RFC 9457.
func problem(w http.ResponseWriter, code int, name, detail string) {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(code), code, name, detail})
	if err != nil {
		panic(err) // strings and a number
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_, _ = w.Write(body) // a sender that has gone misses nothing
}
