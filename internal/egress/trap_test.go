package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// The traps of net/http that RULES section 4 lists, by their numbers. Trap 8
// is about reading JSON and trap 9 is the table of behaviours.

// TestD6_trap1_goAwayStorm: a receiver that denies every HTTP/2 stream gets
// each request once, whatever its method, its body and its header fields.
func TestD6_trap1_goAwayStorm(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	tests := []struct {
		name string
		req  Request
	}{
		{"a delivery", Request{Body: []byte("{}")}},
		{"an empty body", Request{}},
		{"a GET", Request{Method: http.MethodGet}},
		{"a key that makes it repeatable", Request{Body: []byte("{}"), Header: http.Header{"Idempotency-Key": {"1"}}}},
		{"an empty body and such a key", Request{Header: http.Header{"X-Idempotency-Key": {"1"}}}},
	}
	for _, tt := range tests {
		for _, how := range []struct {
			name string
			deny func(w *twin, stream uint32)
		}{
			{"GOAWAY", func(w *twin, _ uint32) { _ = w.WriteGoAway(0, http2.ErrCodeNo, nil) }},
			{"GOAWAY and close", func(w *twin, _ uint32) { _ = w.WriteGoAway(0, http2.ErrCodeNo, nil); w.Conn.Close() }},
			{"refused", func(w *twin, s uint32) { _ = w.WriteRSTStream(s, http2.ErrCodeRefusedStream) }},
			{"a stream's protocol error", func(w *twin, s uint32) { _ = w.WriteRSTStream(s, http2.ErrCodeProtocol) }},
		} {
			t.Run(tt.name+", "+how.name, func(t *testing.T) {
				t.Parallel()
				r := newReceiver(t, good, http2Line(nil, how.deny))
				r.tls.NextProtos = []string{"h2"}
				c := testClient(t, a)
				req := tt.req
				req.Target, req.Timeout = testTarget(t, r.url()), 2*time.Second
				const attempts = 3
				for range attempts {
					if resp, err := c.Do(t.Context(), &req); err == nil {
						t.Errorf("an answer with status %d, want an error", resp.Status)
					}
				}
				c.CloseIdle()
				r.close()
				if got := r.requests.Load(); got != attempts {
					t.Errorf("%d requests for %d attempts", got, attempts)
				}
			})
		}
	}
}

// TestD6_trap2_droppedKeepAlive: a request that meets the end of a kept
// connection is not sent again by itself.
func TestD6_trap2_droppedKeepAlive(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	tests := []struct {
		name string
		req  Request
	}{
		{"a delivery", Request{Body: []byte("{}")}},
		{"Idempotency-Key", Request{Body: []byte("{}"), Header: http.Header{"Idempotency-Key": {"1"}}}},
		{"X-Idempotency-Key", Request{Body: []byte("{}"), Header: http.Header{"X-Idempotency-Key": {"1"}}}},
		{"an empty body and Idempotency-Key", Request{Header: http.Header{"Idempotency-Key": {"1"}}}},
		{"a GET", Request{Method: http.MethodGet}},
		{"webhook-id", Request{Body: []byte("{}"), Header: http.Header{"webhook-id": {"evt_1"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, good, func(l *line) { // answers once per connection
				if l.secure() && l.request() != nil && l.say(answer(200, "ok")) {
					l.request()
				}
			})
			c := testClient(t, a)
			req := tt.req
			req.Target, req.Timeout = testTarget(t, r.url()), 5*time.Second
			// What a receiver speaks is learned on another connection than those
			// that are used for it then.
			var attempts int32
			for err := error(nil); err == nil; attempts++ {
				var resp *Response
				if resp, err = c.Do(t.Context(), &req); err == nil && (resp.Status != 200 || attempts == 2) {
					t.Fatalf("attempt %d: status %d, want 200 for the first of a connection and then an error", attempts+1, resp.Status)
				}
			}
			c.CloseIdle()
			r.close()
			if dials, requests := r.dials.Load(), r.requests.Load(); attempts < 2 || requests != attempts || dials != attempts-1 {
				t.Errorf("%d requests on %d connections for %d attempts, want one each, the last on a kept connection", requests, dials, attempts)
			}
		})
	}
}

// quick fails when something that should end by itself took longer.
func quick(t *testing.T, begin time.Time) {
	t.Helper()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v, want a moment", took)
	}
}

// TestD4_trap3_switchingProtocols: the answer is taken and the connection
// closed, long before the attempt's time is over.
func TestD4_trap3_switchingProtocols(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	closed := make(chan struct{})
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), respond(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
		func(l *line) { l.wait(); close(closed) }))
	c := testClient(t, a)
	begin := time.Now()
	resp, err := c.Do(t.Context(), &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: time.Minute})
	if err != nil || resp.Status != 101 || resp.Body != "" {
		t.Errorf("got %+v, %v, want status 101 and no body", resp, err)
	}
	<-closed
	quick(t, begin)
}

// TestD4_trap4_interimFlood: what net/http bounds unless it is traced stays
// bounded with the trace that the client sets.
func TestD4_trap4_interimFlood(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, interim := range []string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "HTTP/1.1 102 X\r\nA: " + strings.Repeat("a", 8000) + "\r\n\r\n"} {
		r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
			if l.secure() && l.request() != nil {
				l.flood(interim)
			}
		})
		begin := time.Now()
		_, err := testClient(t, a).Do(t.Context(), &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: time.Minute})
		checkError(t, err, []string{StepResponse})
		quick(t, begin)
		r.close()
		if got := r.written.Load(); got > 8<<20 {
			t.Errorf("%.20q: the receiver got rid of %d bytes", interim, got)
		}
	}
	x := newExchange(t.Context(), time.Minute)
	defer x.end(false)
	x.traced()
	if x.trace.Got1xxResponse != nil || x.trace.Got100Continue != nil {
		t.Error("the trace asks for interim responses")
	}
}

// TestD4_trap5_errorTexts: no form of an error shows the URL, its query or a
// byte of the receiver's, however it is printed.
func TestD4_trap5_errorTexts(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	for name, handle := range map[string]func(*line){
		"closed": func(*line) {},
		"junk":   respond("receiver-bytes\r\n\r\n"),
		"field":  respond("HTTP/1.1 200 OK\r\nreceiver-bytes\r\n\r\n"),
		"stall":  func(l *line) { l.wait() },
	} {
		r := newReceiver(t, good, handle)
		target := testTarget(t, r.url()).WithQuery("api_key", "query-secret")
		_, err := testClient(t, a).Do(t.Context(), &Request{Target: target, Body: []byte("{}"), Timeout: 200 * time.Millisecond})
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Error("x", "err", err, "target", target)
		text := fmt.Sprintf("%v %+v %s %q", err, err, err, fmt.Errorf("deliver: %w", err)) + log.String()
		for _, leak := range []string{"query-secret", "api_key", "receiver-bytes"} {
			if strings.Contains(text, leak) {
				t.Errorf("%s: %s shows %q", name, text, leak)
			}
		}
	}
}

// TestE8_trap6_outOfTurn: what a receiver sends on an idle connection reaches
// neither the log nor the next attempt.
func TestE8_trap6_outOfTurn(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ended := make(chan struct{}, 10)
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), respond(answer(200, "ok"), func(l *line) {
		l.say("HTTP/1.1 200 OK\r\nX-Evil: receiver-bytes\r\n\r\n")
		l.wait()
		ended <- struct{}{}
	}))
	c := testClient(t, a)
	for range 2 {
		resp, err := c.Do(t.Context(), &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: 10 * time.Second})
		if err != nil || resp.Body != "ok" || len(resp.Header) != 1 {
			t.Errorf("got %+v, %v, want the attempt's own answer", resp, err)
		}
		<-ended // the client has closed the connection
	}
	if got := stdLog.String(); strings.Contains(got, "receiver-bytes") || strings.Contains(got, "X-Evil") || !strings.Contains(got, "withheld") {
		t.Errorf("the log holds %.300q, want that something was withheld and nothing of it", got)
	}
}

// TestE7_E8_trap7_elsewhere: no redirect is followed, no header field goes to
// another host, no proxy variable is read, no cookie comes back and nothing
// is decompressed. That no proxy was dialled is checked when all tests ended.
func TestE7_E8_trap7_elsewhere(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	other := newReceiver(t, good, respond(answer(200, "other")))
	seen := make(chan http.Header, 20)
	c := testClient(t, a, func(o *Options) {
		o.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		r := newReceiver(t, good, func(l *line) {
			if !l.secure() {
				return
			}
			for {
				req := l.request()
				if req == nil {
					return
				}
				seen <- req.Header
				l.say(fmt.Sprintf("HTTP/1.1 %d X\r\nLocation: %s\r\nRefresh: 0; url=%s\r\nAlt-Svc: h2=\"%s\"\r\nSet-Cookie: a=b\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
					status, other.url(), other.url(), other.ln.Addr()))
			}
		})
		url := strings.Replace(r.url(), "127.0.0.1", "receiver.example.org", 1)
		for range 2 {
			resp, err := c.Do(t.Context(), &Request{Target: testTarget(t, url), Header: http.Header{"X-API-Key": {"k"}}, Body: []byte("{}"), Timeout: 10 * time.Second})
			if err != nil || resp.Status != status || resp.Body != "ok" {
				t.Fatalf("got %+v, %v, want status %d and the body as it is", resp, err, status)
			}
			h := <-seen
			if h.Get("Cookie") != "" || h.Get("Accept-Encoding") != "" || h.Get("Referer") != "" {
				t.Errorf("the request carried %v", h)
			}
		}
	}
	if got := other.dials.Load(); got != 0 {
		t.Errorf("the other receiver was dialled %d times", got)
	}
}

// TestD4_trap9_callerEnds: a caller who gives up is not kept waiting, and the
// error says that nothing is known.
func TestD4_trap9_callerEnds(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	asked := make(chan struct{})
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
		if l.secure() && l.request() != nil {
			close(asked)
			l.wait()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	begin := time.Now()
	_, err := testClient(t, a).Do(ctx, &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: time.Minute})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	checkError(t, err, []string{StepResponse})
	quick(t, begin)

	deadline, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	silent := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) { l.wait() })
	_, err = testClient(t, a).Do(deadline, &Request{Target: testTarget(t, silent.url()), Body: []byte("{}"), Timeout: time.Minute})
	checkError(t, err, []string{StepTLS})
	if errors.Is(err, context.Canceled) {
		t.Errorf("a caller's deadline counts as %v", err)
	}
	quick(t, begin)
}

// TestE5_trap10_noPanicBeforeTheConnect: the check right before the connect
// refuses what it cannot read.
func TestE5_trap10_noPanicBeforeTheConnect(t *testing.T) {
	t.Parallel()
	d := &dialer{guard: testGuard(t, Policy{Allow: []string{"0.0.0.0/0", "::/0"}}), refused: func(string) {}}
	belt := d.belt("h", false)
	for _, address := range []string{"", ":", "x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", "[fe80::1%eth0]:1", "[::1", "0.0.0.0:1", "/run/docker.sock", "\x00:1", "[::ffff:1.2.3.4%x]:1"} {
		if err := belt(t.Context(), "tcp4", address, nil); err == nil {
			t.Errorf("a connect to %q is allowed", address)
		}
	}
	if err := belt(t.Context(), "tcp4", "127.0.0.1:443", nil); err != nil {
		t.Errorf("a listed address is refused: %v", err)
	}
}
