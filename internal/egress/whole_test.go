package egress

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestWhole: a body that was asked for whole comes byte for byte or not at
// all, within the attempt's time.
func TestWhole(t *testing.T) {
	t.Parallel()
	const (
		limit   = 3000
		ok      = "HTTP/1.1 200 OK\r\n"
		chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
		large   = "the answer is larger than 3000 bytes"
		broken  = "the receiver broke off its answer"
		late    = "the answer did not end within the time allowed"
	)
	var (
		full    = strings.Repeat("\x00\xff", limit/2)
		hold    = (*line).wait
		closing = func(*line) {}
		zipped  = gzipBomb()[:limit]
		speak   = func(f func(w *twin, s uint32)) func(*line) {
			return http2Line(nil, func(w *twin, s uint32) {
				_ = w.headers(s, false, ":status", "200")
				f(w, s)
			})
		}
	)
	tests := []struct {
		name   string
		http2  bool
		handle func(*line)
		status int
		body   string
		reason string
		spent  bool // it uses up the attempt's time
	}{
		{name: "none", handle: respond("HTTP/1.1 204 X\r\n\r\n"), status: 204},
		{name: "an empty one", handle: respond(answer(200, "")), status: 200},
		{name: "at the limit", handle: respond(answer(200, full)), status: 200, body: full},
		{name: "of an error", handle: respond(answer(400, "{}")), status: 400, body: "{}"},
		{name: "one byte more", handle: respond(answer(200, full+"x")), reason: large},
		{name: "announced to be larger, and never sent", handle: respond(ok+"Content-Length: 3001\r\n\r\n", hold), reason: large},
		{name: "of a terabyte", handle: respond(ok+"Content-Length: 1099511627776\r\n\r\n", hold), reason: large},
		{name: "in a chunk", handle: respond(chunked + "bb8\r\n" + full + "\r\n0\r\n\r\n"), status: 200, body: full},
		{name: "in small chunks", handle: respond(chunked + strings.Repeat("1\r\nx\r\n", limit) + "0\r\n\r\n"), status: 200, body: strings.Repeat("x", limit)},
		{name: "in a chunk, one byte more", handle: respond(chunked + "bb9\r\n" + full + "x\r\n0\r\n\r\n"), reason: large},
		{name: "in chunks without end", handle: func(l *line) {
			if l.secure() && l.request() != nil && l.say(chunked) {
				l.flood(strings.Repeat("1\r\nx\r\n", 1000))
			}
		}, reason: large},
		{name: "up to the end of the connection", handle: respond(ok+"\r\n"+full, closing), status: 200, body: full},
		{name: "up to the end of the connection, one byte more", handle: respond(ok+"\r\n"+full+"x", closing), reason: large},
		{name: "without end", handle: func(l *line) {
			if l.secure() && l.request() != nil && l.say(ok+"\r\n") {
				l.flood(full)
			}
		}, reason: large},
		{name: "compressed", handle: respond(ok+"Content-Encoding: gzip\r\n\r\n"+zipped, closing), status: 200, body: zipped},
		{name: "shorter than announced", handle: respond(ok+"Content-Length: 10\r\n\r\nhalf", closing), reason: broken},
		{name: "a reset", handle: respond(ok+"Content-Length: 10\r\n\r\n", (*line).reset), reason: broken},
		{name: "chunks that do not end", handle: respond(chunked+"2\r\nok\r\n", closing), reason: broken},
		{name: "chunks that break off", handle: respond(chunked+"a\r\nok", closing), reason: broken},
		{name: "a chunk size that is none", handle: respond(chunked + "2\r\nok\r\nzz\r\n"), reason: broken},
		{name: "a stall", handle: respond(ok+"Content-Length: 10\r\n\r\nhalf", hold), reason: late, spent: true},
		{name: "that never begins", handle: respond(ok+"\r\n", hold), reason: late, spent: true},
		{name: "in a drip", handle: func(l *line) {
			if l.secure() && l.request() != nil && l.say(ok+"\r\n") {
				l.drip(full)
			}
		}, reason: late, spent: true},
		{name: "complete, but for the last chunk", handle: respond(chunked+"2\r\nok\r\n0\r\n", hold), reason: late, spent: true},
		{name: "of a 101", handle: respond("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", hold), status: 101},
		{name: "at the limit", http2: true, handle: speak(func(w *twin, s uint32) {
			_ = w.WriteData(s, false, []byte(full[:10]))
			_ = w.WriteData(s, true, []byte(full[10:]))
		}), status: 200, body: full},
		{name: "one byte more", http2: true, handle: speak(func(w *twin, s uint32) { _ = w.WriteData(s, true, []byte(full+"x")) }), reason: large},
		{name: "without end", http2: true, handle: speak(func(w *twin, s uint32) { _ = w.WriteData(s, false, []byte(full+full)) }), reason: large},
		{name: "shorter than announced", http2: true, handle: http2Line(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, ":status", "200", "content-length", "10")
			_ = w.WriteData(s, true, []byte("half"))
		}), reason: broken},
		{name: "longer than announced", http2: true, handle: http2Line(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, ":status", "200", "content-length", "2")
			_ = w.WriteData(s, true, []byte("more"))
		}), reason: broken},
		{name: "the stream is reset", http2: true, handle: speak(func(w *twin, s uint32) { _ = w.WriteRSTStream(s, http2.ErrCodeNo) }), reason: broken},
		{name: "the connection closes", http2: true, handle: speak(func(w *twin, _ uint32) { w.Conn.Close() }), reason: broken},
		{name: "a stall", http2: true, handle: speak(func(w *twin, s uint32) { _ = w.WriteData(s, false, []byte("half")) }), reason: late, spent: true},
	}
	a := newAuthority(t)
	serves := a.issue(t, time.Now().Add(time.Hour))
	for _, tt := range tests {
		if tt.http2 {
			tt.name = "HTTP/2: " + tt.name
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, serves, tt.handle)
			timeout := 10 * time.Second
			if tt.spent {
				timeout = attempt
			}
			if tt.http2 {
				r.tls.NextProtos = []string{"h2"}
			}
			c := testClient(t, a)
			begin := time.Now()
			resp, err := doOrFail(t, c, &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Whole: limit, Timeout: timeout})
			if took := time.Since(begin); tt.spent && (took < attempt || took > attempt+slack) || !tt.spent && took > timeout/2 {
				t.Errorf("took %v of %v, want all of it: %v", took, timeout, tt.spent)
			}
			if tt.reason != "" {
				if e, ok := errors.AsType[*Error](err); !ok || resp != nil || e.Step != StepResponse || e.Reason != tt.reason {
					t.Errorf("got %+v, %v, want response: %s", resp, err, tt.reason)
				}
				return
			}
			if err != nil {
				t.Fatalf("got %v, want status %d", err, tt.status)
			}
			if resp.Status != tt.status || !bytes.Equal(resp.Whole, []byte(tt.body)) || resp.Body != "" {
				t.Errorf("got %d with %.40q and %d bytes, want %d with %d bytes", resp.Status, resp.Body, len(resp.Whole), tt.status, len(tt.body))
			}
		})
	}
}

// TestWhole_calledOff: a caller that goes away while the body comes is told
// that nothing is known.
func TestWhole_calledOff(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), respond("HTTP/1.1 200 OK\r\n\r\nhalf", func(l *line) { cancel(); l.wait() }))
	_, err := testClient(t, a).Do(ctx, &Request{Target: testTarget(t, r.url()), Whole: 100, Timeout: 10 * time.Second})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it called off", err)
	}
}

// TestWhole_keeps: the connection serves again after a whole body, what was
// returned stays as it is, and a small answer costs no large one's memory.
func TestWhole_keeps(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
		if !l.secure() {
			return
		}
		for n := byte('a'); l.request() != nil; n++ {
			l.say(answer(http.StatusOK, strings.Repeat(string(n), 100)))
		}
	})
	c := testClient(t, a)
	var got [][]byte
	for range 3 {
		resp, err := c.Do(t.Context(), &Request{Target: testTarget(t, r.url()), Whole: 1 << 20, Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if cap(resp.Whole) > 4096 {
			t.Errorf("got %d bytes of memory for an answer of 100", cap(resp.Whole))
		}
		got = append(got, resp.Whole)
	}
	for i, b := range got {
		if want := strings.Repeat(string(rune('a'+i)), 100); string(b) != want {
			t.Errorf("answer %d is %q now, want %q", i, b, want)
		}
	}
	if n := r.dials.Load(); n != 1 {
		t.Errorf("%d dials, want 1", n)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]string{
		1: "1 bytes", 1000: "1000 bytes", 1024: "1 KiB", 1025: "1025 bytes", 1 << 20: "1 MiB", 3 << 19: "1536 KiB",
	} {
		if got := tooLarge(limit).Reason; got != "the answer is larger than "+want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
