package egress

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestWire_headersThatEndEarly: what would end a field before its time is
// refused with net/http's words and sent over neither way.
func TestWire_headersThatEndEarly(t *testing.T) {
	t.Parallel()
	got := make(chan string, 8)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.Path }))
	defer s.Close()
	c := plainClient(t)
	for _, h := range []http.Header{
		{"X-Name": {"a\r\nX-Other: b"}}, {"X-Name": {"a\nb"}}, {"X-Name": {"a\x00b"}}, {"X\r\nOther": {"a"}}, {"X-Name": {"fine", "a\rb"}},
	} {
		_, err := c.Do(t.Context(), &Request{Target: testTarget(t, s.URL+"/hook"), Header: h, Body: []byte("{}"), Timeout: 5 * time.Second})
		if err == nil {
			t.Errorf("%q: got an answer, want it refused", h)
		}
	}
	if len(got) != 0 {
		t.Errorf("got %d requests, want none", len(got))
	}
}

// TestWire_sameAsNetHTTP: a receiver sees the same request and we see the same
// answer both ways.
func TestWire_sameAsNetHTTP(t *testing.T) {
	t.Parallel()
	type seen struct {
		method, uri, host, proto, body string
		length                         int64
		header                         http.Header
	}
	requests := make(chan seen, 1)
	answers := map[string]func(w http.ResponseWriter){
		"empty":   func(w http.ResponseWriter) { w.WriteHeader(204) },
		"short":   func(w http.ResponseWriter) { fmt.Fprint(w, "ok") },
		"chunked": func(w http.ResponseWriter) { fmt.Fprint(w, "one"); w.(http.Flusher).Flush(); fmt.Fprint(w, "two") },
		"long":    func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("long ", 40_000)) },
		"failure": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
			fmt.Fprint(w, "later")
		},
		"redirect":    func(w http.ResponseWriter) { w.Header().Set("Location", "http://example.org/"); w.WriteHeader(307) },
		"early hints": func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(202) },
		"closes":      func(w http.ResponseWriter) { w.Header().Set("Connection", "close"); fmt.Fprint(w, "bye") },
		"trailers": func(w http.ResponseWriter) {
			w.Header().Set("Trailer", "X-End")
			fmt.Fprint(w, "body")
			w.Header().Set("X-End", "1")
		},
		"many headers":  func(w http.ResponseWriter) { w.Header()["X-Many"] = []string{"a", "b", "c"}; fmt.Fprint(w, "ok") },
		"not modified":  func(w http.ResponseWriter) { w.WriteHeader(304) },
		"invalid UTF-8": func(w http.ResponseWriter) { fmt.Fprint(w, "a\xff\xfeb\x00c") },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := new(strings.Builder)
		if _, err := fmt.Fprint(b, readAll(r)); err != nil {
			t.Error(err)
		}
		requests <- seen{r.Method, r.RequestURI, r.Host, r.Proto, b.String(), r.ContentLength, r.Header.Clone()}
		w.Header()["Date"] = nil
		answers[r.URL.Query().Get("answer")](w)
	}))
	defer s.Close()
	c := plainClient(t)
	for name := range answers {
		target := testTarget(t, s.URL+"/hook?answer="+strings.ReplaceAll(name, " ", "%20"))
		header := http.Header{"Content-Type": {"application/json"}, "webhook-id": {"evt_1"}, "User-Agent": {"Consentwire"}, "X-Two": {"a", "b"}}
		req := Request{Target: target, Header: header, Body: []byte(`{"a":1}`), Timeout: 5 * time.Second}
		if !c.wire.takes(&req) {
			t.Fatalf("%s: the wire does not take the request", name)
		}
		wired, err := c.Do(t.Context(), &req)
		if err != nil {
			t.Fatalf("%s, over the wire: %v", name, err)
		}
		over := <-requests
		large := req
		large.Body = append(append([]byte(nil), req.Body...), strings.Repeat(" ", maxWired)...) // not the wire's
		if c.wire.takes(&large) {
			t.Fatalf("%s: the wire takes a large request", name)
		}
		plain, err := c.Do(t.Context(), &large)
		if err != nil {
			t.Fatalf("%s, over net/http: %v", name, err)
		}
		beside := <-requests
		beside.body, beside.length = strings.TrimRight(beside.body, " "), over.length
		beside.header.Set("Content-Length", over.header.Get("Content-Length"))
		if !reflect.DeepEqual(over, beside) {
			t.Errorf("%s: the receiver got\n%+v\nover the wire and\n%+v\nover net/http", name, over, beside)
		}
		if !reflect.DeepEqual(wired, plain) {
			t.Errorf("%s: got the answer\n%+v\nover the wire and\n%+v\nover net/http", name, wired, plain)
		}
	}
}

func readAll(r *http.Request) string {
	b := new(strings.Builder)
	buf := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func plainClient(t testing.TB) *Client {
	t.Helper()
	c, err := New(Options{Guard: testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// BenchmarkDo sends one small request after the other on a kept connection.
func BenchmarkDo(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	defer s.Close()
	c := plainClient(b)
	target := testTarget(b, s.URL+"/hook")
	for _, way := range []struct {
		name string
		size int
	}{{"wire", 1024}, {"net/http", maxWired + 1}} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			r := Request{Target: target, Body: make([]byte, way.size), Header: http.Header{"Content-Type": {"application/json"}}, Timeout: 5 * time.Second}
			for b.Loop() {
				if _, err := c.Do(b.Context(), &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
