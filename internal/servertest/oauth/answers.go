package oauth

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Answer is an answer as it is sent. It is an http.Handler. The zero value is
// 200 with an empty body.
type Answer struct {
	Status int         // 0: 200
	Type   string      // the Content-Type; empty: application/json
	Header http.Header // further fields
	Body   string
}

// ServeHTTP sends the answer.
func (a Answer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Cache-Control", "no-store") // RFC 6749 5.1
	if a.Type != "" {
		h.Set("Content-Type", a.Type)
	}
	maps.Copy(h, a.Header)
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	_, _ = io.WriteString(w, a.Body) // the client may be gone
}

// Object returns a JSON object of names and values in turn, in this order;
// names may come twice. A json.RawMessage goes in as it is.
func Object(pairs ...any) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(pairs[i+1])
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%q:%s", pairs[i], value)
	}
	b.WriteByte('}')
	return b.String()
}

// Token answers with a bearer token that lives so many seconds, and further
// members as for Object.
func Token(access string, seconds int, more ...any) Answer {
	return Answer{Body: Object(append([]any{"access_token", access, "token_type", "Bearer", "expires_in", seconds}, more...)...)}
}

// Error answers with an error of RFC 6749 5.2; with 401 it asks for Basic.
func Error(status int, code, description string) Answer {
	a := Answer{Status: status, Body: Object("error", code, "error_description", description)}
	if status == http.StatusUnauthorized {
		a.Header = http.Header{"Www-Authenticate": {`Basic realm="token"`}}
	}
	return a
}

// Busy answers with a status and, unless it is empty, a Retry-After: seconds
// or a date.
func Busy(status int, retryAfter string) Answer {
	a := Answer{Status: status, Type: "text/plain", Body: "busy\n"}
	if retryAfter != "" {
		a.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return a
}

// Redirect answers with a redirect.
func Redirect(status int, to string) Answer {
	return Answer{Status: status, Type: "text/html", Header: http.Header{"Location": {to}}, Body: "<a href=\"#\">there</a>"}
}

// Held waits until the channel is closed, then answers with next. It gives up
// when the client does.
func Held(until <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-until:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	})
}

// Late waits so long, then answers with next. It gives up when the client
// does.
func Late(d time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	})
}

// Huge is a token answer of two mebibytes: good JSON, with a long member
// behind the token.
func Huge(access string) Answer {
	return Token(access, 3600, "padding", strings.Repeat("x", 2<<20))
}

// Endless sends a token answer that does not end before the client hangs up.
func Endless(access string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, `{"access_token":"`+access+`","token_type":"Bearer","padding":"`)
		for block := strings.Repeat("x", 16<<10); err == nil && r.Context().Err() == nil; {
			_, err = io.WriteString(w, block)
		}
	})
}

// Flood sends n interim answers with a fat field each, then next.
func Flood(n int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fat := strings.Repeat("x", 1000)
		for range n {
			w.Header().Set("Link", "<"+fat+">")
			w.WriteHeader(http.StatusEarlyHints)
			if r.Context().Err() != nil {
				return
			}
		}
		w.Header().Del("Link")
		next.ServeHTTP(w, r)
	})
}

// played calls next and returns what it would have sent. If it cuts the
// connection itself, so does this.
func played(next http.Handler, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return rec
}

// CutBefore lets next do its work and cuts the connection before a byte of the
// answer: the server has rotated, the client does not know.
func CutBefore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		played(next, r)
		panic(http.ErrAbortHandler)
	})
}

// CutInside lets next do its work, sends the header and half of the body, and
// cuts the connection.
func CutInside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		send(w, played(next, r), 2)
		panic(http.ErrAbortHandler)
	})
}

// CutAfter sends the whole answer of next and cuts the connection behind it.
func CutAfter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		send(w, played(next, r), 1)
		panic(http.ErrAbortHandler)
	})
}

// send sends the first of so many equal parts of what was recorded.
func send(w http.ResponseWriter, rec *httptest.ResponseRecorder, parts int) {
	body := rec.Body.Bytes()
	maps.Copy(w.Header(), rec.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body[:len(body)/parts]) // the client may be gone
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// Garbage answers with what is not HTTP. Where the connection cannot be taken
// over, it is cut instead.
func Garbage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hj, ok := w.(http.Hijacker)
		if !ok {
			panic(http.ErrAbortHandler)
		}
		conn, _, err := hj.Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.6\r\n\r\n") // the client may be gone
		_ = conn.Close()                                           // it is broken off either way
	})
}

// Client is who may ask for a token, and how it must show itself.
type Client struct {
	ID, Secret string
	// Basic and Body are the ways that the server knows; neither: both.
	Basic, Body bool
	// Raw takes Basic's two parts as they come, not form-decoded, as some
	// servers do.
	Raw bool
	// Status refuses; 0: 401.
	Status int
}

// Guard answers with next when the client showed itself, and else with
// invalid_client. Both ways in one request are refused with invalid_request
// (RFC 6749 2.3), and so are credentials in the URL (2.3.1).
func (c Client) Guard(next http.Handler) http.Handler {
	if c.Status == 0 {
		c.Status = http.StatusUnauthorized
	}
	either := !c.Basic && !c.Body
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := Read(r)
		q := r.URL.Query()
		if got.Basic && got.Has("client_secret") || q.Has("client_secret") || q.Has("client_id") {
			Error(http.StatusBadRequest, "invalid_request", "one way of client authentication").ServeHTTP(w, r)
			return
		}
		id, secret := got.Param("client_id"), got.Param("client_secret")
		known := either || c.Body
		if got.Basic {
			id, secret, known = got.ID, got.Secret, either || c.Basic
			if c.Raw {
				id, secret = got.RawID, got.RawSecret
			}
		}
		if !known || id != c.ID || secret != c.Secret {
			Error(c.Status, "invalid_client", "client authentication failed").ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Issuer answers each request with a new token, and knows which are good. Its
// zero value is good: tokens without an expiry.
type Issuer struct {
	// Prefix begins each token; behind it comes "-" and a number from 1.
	Prefix string
	// Seconds is what expires_in says; 0: it is left out. Nothing expires
	// here by itself.
	Seconds int

	mu     sync.Mutex
	issued []string
	bad    int // so many of issued were revoked
}

// ServeHTTP issues a token.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	token := fmt.Sprintf("%s-%d", i.Prefix, len(i.issued)+1)
	i.issued = append(i.issued, token)
	i.mu.Unlock()
	members := []any{"access_token", token, "token_type", "Bearer"}
	if i.Seconds != 0 {
		members = append(members, "expires_in", i.Seconds)
	}
	Answer{Body: Object(members...)}.ServeHTTP(w, r)
}

// Issued returns every token, in order.
func (i *Issuer) Issued() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.issued)
}

// Revoke makes every token bad that was issued so far.
func (i *Issuer) Revoke() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bad = len(i.issued)
}

// Valid tells whether a token was issued and not revoked.
func (i *Issuer) Valid(token string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.issued[i.bad:], token)
}

// Guard answers with next when the bearer is valid, and else with 401
// invalid_token.
func (i *Issuer) Guard(next http.Handler) http.Handler { return guard(i.Valid, next) }

// guard is an API behind bearer tokens. Source: RFC 6750 3.1.
func guard(valid func(token string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !valid(bearer(r)) {
			Answer{
				Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Bearer realm="api", error="invalid_token"`}},
				Body: Object("error", "invalid_token"),
			}.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bearer returns the token of a request; "" when there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
