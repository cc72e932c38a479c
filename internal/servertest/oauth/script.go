package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one request that a scripted server got.
type Request struct {
	N      int // from 0, in the order of arrival
	At     time.Time
	Method string
	Path   string
	Query  string
	Header http.Header
	Body   []byte
	Form   url.Values     // nil when the body is no form
	JSON   map[string]any // nil when the body is no JSON object

	// Basic tells that the client showed itself by HTTP Basic; ID and Secret
	// are what it said there, form-decoded (RFC 6749 2.3.1), and RawID and
	// RawSecret the same as it came.
	Basic            bool
	ID, Secret       string
	RawID, RawSecret string
}

// Read reads a request. Its body can be read again afterwards.
func Read(r *http.Request) Request {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	out := Request{
		At: time.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(), Body: body,
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // a broken one is none
	switch kind {
	case "application/x-www-form-urlencoded":
		if form, err := url.ParseQuery(string(body)); err == nil {
			out.Form = form
		}
	case "application/json":
		if json.Unmarshal(body, &out.JSON) != nil {
			out.JSON = nil
		}
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return out
	}
	out.Basic = true
	if text, err := base64.StdEncoding.DecodeString(value); err == nil {
		out.RawID, out.RawSecret, _ = strings.Cut(string(text), ":")
		out.ID, out.Secret = decoded(out.RawID), decoded(out.RawSecret)
	}
	return out
}

// decoded undoes the form encoding; what is none stays as it is.
func decoded(s string) string {
	if text, err := url.QueryUnescape(s); err == nil {
		return text
	}
	return s
}

// Param returns a parameter of the body, a form or a JSON object; "" when
// there is none, or none that is a text.
func (r Request) Param(name string) string {
	if r.Form != nil {
		return r.Form.Get(name)
	}
	s, _ := r.JSON[name].(string)
	return s
}

// Has tells whether the body has the parameter at all.
func (r Request) Has(name string) bool {
	_, inJSON := r.JSON[name]
	return r.Form.Has(name) || inJSON
}

// Script answers by a list: the first request gets the first answer, and so
// on; the last one repeats. It remembers every request. Its zero value answers
// 404.
type Script struct {
	mu       sync.Mutex
	requests []Request
	answers  []http.Handler
	next     int
}

// NewScript returns a script.
func NewScript(answers ...http.Handler) *Script { return &Script{answers: answers} }

// Answer tells how to answer from now on.
func (s *Script) Answer(answers ...http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers, s.next = answers, 0
}

// ServeHTTP records the request and gives the next answer, which may read the
// body again.
func (s *Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := Read(r)
	s.mu.Lock()
	got.N = len(s.requests)
	s.requests = append(s.requests, got)
	var answer http.Handler = Answer{Status: http.StatusNotFound}
	if len(s.answers) > 0 {
		answer = s.answers[min(s.next, len(s.answers)-1)]
		s.next++
	}
	s.mu.Unlock()
	answer.ServeHTTP(w, r)
}

// Requests returns what came, in the order of arrival.
func (s *Script) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests came.
func (s *Script) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// Wait waits until n requests have come and returns all; the test fails when
// they do not come. Inside a bubble, use synctest.Wait and Requests.
func (s *Script) Wait(t testing.TB, n int) []Request {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for s.Count() < n {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %d token requests; %d came", n, s.Count())
		}
	}
	return s.Requests()
}

// Scripted is a token server that plays a script over TLS on loopback.
type Scripted struct {
	*Script
	*Server
	TokenURL string
}

// StartScripted starts a token server with the answers of NewScript. It ends
// with the test.
func StartScripted(t testing.TB, o ServeOptions, answers ...http.Handler) *Scripted {
	t.Helper()
	s := NewScript(answers...)
	srv := Serve(t, s, o)
	return &Scripted{Script: s, Server: srv, TokenURL: srv.URL + "/token"}
}
