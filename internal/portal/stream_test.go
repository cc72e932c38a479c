package portal

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
)

// page is a live page: it reads a stream.
type page struct {
	t      *testing.T
	r      *http.Response
	lines  *bufio.Scanner
	lastID string
}

func (v *visitor) watch(t *testing.T, server *httptest.Server, ctx context.Context, query, lastID string) *page {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/portal/inspector/"+v.h.bin+"/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(v.cookie)
	r.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	p := &page{t: t, r: res, lines: bufio.NewScanner(res.Body)}
	p.lines.Buffer(nil, 4<<20)
	return p
}

// next returns the next event's name and row; the name is empty at the end.
func (p *page) next() (event string, r row) {
	p.t.Helper()
	for p.lines.Scan() {
		switch line := p.lines.Text(); {
		case line == "" && event != "":
			return event, r
		case strings.HasPrefix(line, "id: "):
			p.lastID = line[4:]
		case strings.HasPrefix(line, "event: "):
			event = line[7:]
		case strings.HasPrefix(line, "data: ") && event == "request":
			if err := json.Unmarshal([]byte(line[6:]), &r); err != nil {
				p.t.Errorf("got %q: %v", line, err)
			}
		}
	}
	return "", row{}
}

func TestStream_atOnce(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.deliver("before")
	p := v.watch(t, server, t.Context(), "", "")
	if got := p.r.Header.Get("Content-Type"); p.r.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("got %d %s, want a stream", p.r.StatusCode, got)
	}
	if _, got := p.next(); got.Body != "before" {
		t.Errorf("got %q, want what was there before", got.Body)
	}
	for i := range 5 {
		t0 := time.Now()
		h.deliver(fmt.Sprintf(`{"event":"consent:approved","n":%d}`, i), "Consentwire-Subject", "con_1", "Consentwire-Sequence", "9", "Consentwire-Attempt", "2")
		event, got := p.next()
		if took := time.Since(t0); took > time.Second {
			t.Errorf("took %v, want at most a second", took)
		}
		if event != "request" || got.Event != "consent:approved" || got.Subject != "con_1" || got.Sequence != "9" || got.Attempt != "2" ||
			got.Verdict != "none" || got.Signature != "Unsigned" || got.Answer != 200 || len(got.Headers) == 0 || got.ID != p.lastID {
			t.Errorf("got %s %+v", event, got)
		}
	}
}

func TestStream_goesOnWhereItWas(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	ctx, leave := context.WithCancel(t.Context())
	h.deliver("1")
	p := v.watch(t, server, ctx, "", "")
	p.next()
	leave()
	h.deliver("2")
	h.deliver("3")
	for name, again := range map[string]*page{
		"by the header":       v.watch(t, server, t.Context(), "?after=ignored", p.lastID),
		"by the page's query": v.watch(t, server, t.Context(), "?after="+p.lastID, ""),
	} {
		_, second := again.next()
		_, third := again.next()
		if second.Body != "2" || third.Body != "3" {
			t.Errorf("%s: got %q and %q, want 2 and 3", name, second.Body, third.Body)
		}
	}
}

// TestStream_flood: a page that is slower than the senders sees what is kept,
// each once and in order.
func TestStream_flood(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	p := v.watch(t, server, t.Context(), "", "")
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for range 100 {
				h.deliver("x")
			}
		})
	}
	seen := map[string]bool{}
	for range 400 {
		_, r := p.next()
		if seen[r.ID] || r.ID == "" {
			t.Fatalf("got %q twice", r.ID)
		}
		seen[r.ID] = true
	}
	senders.Wait()
}

func TestStream_ends(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	var open []*page
	for range maxStreams {
		open = append(open, v.watch(t, server, t.Context(), "", ""))
	}
	if p := v.watch(t, server, t.Context(), "", ""); p.r.StatusCode != http.StatusTooManyRequests || !strings.Contains(bodyOf(t, p.r), "close one") {
		t.Errorf("one too many: got %d, want 429", p.r.StatusCode)
	}
	h.sink.Close() // the server stops
	for _, p := range open {
		if event, _ := p.next(); event != "" {
			t.Errorf("got %s, want the end", event)
		}
	}
}

// recorder is a page that keeps what it is sent.
type recorder struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ResponseRecorder.Write(b)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Body.String()
}

func TestStream_endsWithTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		v := h.visit(t, h.owner)
		r := httptest.NewRequest(http.MethodGet, "/portal/inspector/"+h.bin+"/stream", nil)
		r.AddCookie(v.cookie)
		w, t0 := &recorder{ResponseRecorder: httptest.NewRecorder()}, time.Now()
		time.AfterFunc(20*time.Minute, func() { h.deliver("late") }) // no sign of the visitor
		h.ServeHTTP(w, r)
		if took := time.Since(t0); took < access.SessionIdle || took > access.SessionIdle+heartbeat {
			t.Errorf("it ended after %v, want %v", took, access.SessionIdle)
		}
		text := w.text()
		if !strings.Contains(text, `"body":"late"`) || !strings.HasSuffix(text, "event: end\ndata: session\n\n") {
			t.Errorf("got %q, want the request and the end", text)
		}
	})
}

// TestStream_rests: without requests nothing is read: the stream waits to be
// woken, and sends a beat now and then.
func TestStream_rests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		v := h.visit(t, h.owner)
		looks := &counted{breakable: h.broken}
		h.sink.Close()
		h.Portal.sink = sink.New(sink.Options{Store: looks, PublicURL: func() string { return h.public }})
		ctx, leave := context.WithTimeout(t.Context(), 10*time.Minute)
		defer leave()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/portal/inspector/"+h.bin+"/stream", nil)
		r.AddCookie(v.cookie)
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, r)
		beats := int(10 * time.Minute / heartbeat)
		if got := strings.Count(w.text(), ": beat"); got < beats-1 || got > beats {
			t.Errorf("got %d beats in 10 minutes, want %d", got, beats)
		}
		if looks.bins > beats+2 {
			t.Errorf("got %d looks at the store, want at most one a beat", looks.bins)
		}
		h.Portal.sink.Close()
	})
}

// counted counts the looks at a bin.
type counted struct {
	*breakable
	bins int
}

func (c *counted) Bin(ctx context.Context, name string) (store.Bin, error) {
	c.bins++
	return c.breakable.Bin(ctx, name)
}
