package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestWire_keptConnection: what a receiver did to a connection while nobody
// used it is found before the request leaves: the next connection gets it, and
// only one does.
func TestWire_keptConnection(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		after func(l *line) // what the receiver does after its first answer
		again bool          // the connection is used again
	}{
		{"nothing", func(*line) {}, true},
		{"ends it", func(l *line) { l.Close() }, false},
		{"ends its own half", func(l *line) { _ = l.raw.CloseWrite() }, false},
		{"resets it", func(l *line) { l.reset() }, false},
		{"says something", func(l *line) { l.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray") }, false},
		{"says something and ends it", func(l *line) { l.say(answer(408, "")); l.Close() }, false},
	}
	for _, scheme := range []string{"http", "https"} {
		for _, tt := range tests {
			t.Run(scheme+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				a := newAuthority(t)
				idle := make(chan struct{})
				var wired atomic.Int32
				r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
					if scheme == "https" && !l.secure() {
						return
					}
					for req := l.request(); req != nil; req = l.request() {
						l.say(answer(200, "ok"))
						if req.Header.Get("X-First") != "" {
							select {
							case <-idle:
								tt.after(l)
							case <-l.gone():
							}
						}
					}
				})
				c := testClient(t, a, func(o *Options) {
					o.Guard = testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})
				})
				req := Request{Target: testTarget(t, scheme+"://"+r.ln.Addr().String()), Body: []byte("{}"), Timeout: 10 * time.Second}
				do := func() {
					t.Helper()
					if resp, err := c.Do(t.Context(), &req); err != nil || resp.Status != 200 || resp.Body != "ok" {
						t.Fatalf("got %+v, %v, want the attempt's own answer", resp, err)
					}
				}
				if scheme == "https" {
					do() // over net/http, which learns what the receiver speaks
				}
				dials, requests := r.dials.Load(), r.requests.Load()
				req.Header = map[string][]string{"X-First": {"1"}}
				do()
				l := kept(t, c, &req)
				close(idle)
				if !tt.again {
					heardOf(t, l)
				}
				req.Header, req.May = nil, func() bool { wired.Add(1); return true }
				do()
				r.close()
				want := dials + 2
				if tt.again {
					want = dials + 1
				}
				if got := r.dials.Load(); got != want {
					t.Errorf("got %d connections, want %d", got, want)
				}
				if got := r.requests.Load() - requests; got != 2 {
					t.Errorf("the receiver got %d requests, want 2", got)
				}
				if got := wired.Load(); got != 1 {
					t.Errorf("was asked %d times whether to write, want once", got)
				}
			})
		}
	}
}

// TestWire_secondOfTwo: of two kept connections the one that had not ended gets
// the request.
func TestWire_secondOfTwo(t *testing.T) {
	t.Parallel()
	lines, both := make(chan *line, 2), make(chan struct{})
	r := newReceiver(t, tls.Certificate{}, func(l *line) {
		for n := 0; l.request() != nil; n++ {
			if n == 0 {
				lines <- l
				select {
				case <-both:
				case <-l.gone():
					return
				}
			}
			l.say(answer(200, "ok"))
		}
	})
	c := plainClient(t)
	req := &Request{Target: testTarget(t, "http://"+r.ln.Addr().String()), Body: []byte("{}"), Timeout: 10 * time.Second}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := c.Do(t.Context(), req); err != nil {
				t.Error(err)
			}
		})
	}
	var open [2]*line
	for i := range open {
		select {
		case open[i] = <-lines:
		case <-time.After(10 * time.Second):
			t.Fatal("no second connection was opened")
		}
	}
	close(both)
	wg.Wait()
	last := kept(t, c, req)
	for _, l := range open {
		if l.RemoteAddr().String() == last.conn.LocalAddr().String() {
			l.Close()
		}
	}
	heardOf(t, last)
	if _, err := c.Do(t.Context(), req); err != nil {
		t.Error(err)
	}
	if got := r.dials.Load(); got != 2 {
		t.Errorf("got %d connections, want 2", got)
	}
}

// TestWire_betweenAnswers: a TLS connection on which the receiver only minded
// its keys and tickets is still good, and what it is owed for that comes behind
// the request.
func TestWire_betweenAnswers(t *testing.T) {
	t.Parallel()
	const handshake, applicationData = 22, 23
	// Source: RFC 8446 4.6.1 and 4.6.3.
	ticket := "\x04\x00\x00\x12\x00\x00\x0e\x10\x00\x00\x00\x00\x01\x00\x00\x04tick\x00\x00"
	for name, said := range map[string]string{
		"a ticket": ticket, "two tickets": ticket + ticket, "new keys": "\x18\x00\x00\x01\x00", "new keys for both": "\x18\x00\x00\x01\x01",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			idle := make(chan struct{})
			var otherSuite atomic.Bool
			r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
				var log bytes.Buffer
				own := l.tls.Clone()
				own.KeyLogWriter, own.SessionTicketsDisabled, own.MinVersion = &log, true, tls.VersionTLS13
				c := tls.Server(peeked{l.raw, l.in}, own)
				if c.Handshake() != nil {
					return
				}
				if c.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
					otherSuite.Store(true)
					return
				}
				l.Conn, l.in = c, bufio.NewReader(c)
				_, rest, _ := strings.Cut(log.String(), "SERVER_TRAFFIC_SECRET_0 ")
				rest, _, _ = strings.Cut(rest, "\n")
				_, rest, _ = strings.Cut(rest, " ")
				secret, err := hex.DecodeString(rest)
				if err != nil {
					return
				}
				w := newRecordWriter(secret)
				for req := l.request(); req != nil; req = l.request() {
					if _, err := l.raw.Write(w.append(nil, applicationData, answer(200, "ok"))); err != nil {
						return
					}
					if req.Header.Get("X-First") == "" {
						continue
					}
					select {
					case <-idle:
					case <-l.gone():
						return
					}
					if _, err := l.raw.Write(w.append(nil, handshake, said)); err != nil {
						return
					}
					if strings.HasPrefix(said, "\x18") {
						w = w.next()
					}
				}
			})
			c := testClient(t, a)
			req := Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: 10 * time.Second}
			_, err := c.Do(t.Context(), &req)
			if otherSuite.Load() {
				t.Skip("the receiver did not choose AES, whose records this test can make")
			}
			if err != nil {
				t.Fatal(err)
			}
			req.Header = map[string][]string{"X-First": {"1"}}
			for range 3 { // the second of them finds what was said, and the third that all is well
				if _, err := c.Do(t.Context(), &req); err != nil {
					t.Fatal(err)
				}
				if req.Header != nil {
					l := kept(t, c, &req)
					close(idle)
					heardOf(t, l)
					req.Header = nil
				}
			}
			if got := r.dials.Load(); got != 2 {
				t.Errorf("got %d connections, want that the second was kept", got)
			}
		})
	}
}

// TestWire_brokenWrite: an answer that comes though the request could not be
// written on a kept connection counts, and that connection is not kept.
func TestWire_brokenWrite(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	answers := func(text string) error {
		r := newReceiver(t, tls.Certificate{}, func(l *line) {
			if l.request() == nil || !l.say(answer(200, "ok")) {
				return
			}
			if l.request() == nil { // the client has shut its half
				select {
				case <-asked:
					l.say(text)
				case <-l.gone():
				}
			}
		})
		c := plainClient(t)
		req := Request{Target: testTarget(t, "http://"+r.ln.Addr().String()), Body: []byte("{}"), Timeout: 10 * time.Second}
		if _, err := c.Do(t.Context(), &req); err != nil {
			t.Fatal(err)
		}
		l := kept(t, c, &req)
		if err := l.late.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		req.May = func() bool { close(asked); return true }
		resp, err := c.Do(t.Context(), &req)
		if err == nil && (resp.Status != 503 || resp.Body != "later") {
			t.Errorf("got %+v, want the answer", resp)
		}
		if got := r.requests.Load(); got != 1 {
			t.Errorf("the receiver got %d requests, want 1", got)
		}
		c.wire.mu.Lock()
		defer c.wire.mu.Unlock()
		if n := len(c.wire.idle[req.Target.origin]); n != 0 {
			t.Errorf("%d connections are kept, want none", n)
		}
		return err
	}
	if err := answers(answer(503, "later")); err != nil {
		t.Error(err)
	}
	asked = make(chan struct{})
	err := answers("")
	checkError(t, err, []string{StepRequest})
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want why it could not be written", err)
	}
}

// TestWire_keptConnectionEnds: the time and the caller end a request on a kept
// connection as they do on a fresh one, and what ended before is not written.
func TestWire_keptConnectionEnds(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			got := make(chan struct{}, 1)
			r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
				if scheme == "https" && !l.secure() {
					return
				}
				for req := l.request(); req != nil; req = l.request() {
					if req.Header.Get("X-Silent") != "" {
						got <- struct{}{}
						l.wait()
						return
					}
					l.say(answer(200, "ok"))
				}
			})
			c := testClient(t, a, func(o *Options) {
				o.Guard = testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})
			})
			target := testTarget(t, scheme+"://"+r.ln.Addr().String())
			silent := map[string][]string{"X-Silent": {"1"}}
			warm := func() {
				t.Helper()
				for range 2 {
					if _, err := c.Do(t.Context(), &Request{Target: target, Body: []byte("{}"), Timeout: 10 * time.Second}); err != nil {
						t.Fatal(err)
					}
				}
				kept(t, c, &Request{Target: target})
			}

			warm()
			begin := time.Now()
			_, err := c.Do(t.Context(), &Request{Target: target, Header: silent, Body: []byte("{}"), Timeout: 200 * time.Millisecond})
			checkError(t, err, []string{StepResponse})
			if err == nil || !strings.Contains(err.Error(), "within the time allowed") {
				t.Errorf("got %v, want that the time was over", err)
			}
			<-got

			warm()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { <-got; cancel() }()
			_, err = c.Do(ctx, &Request{Target: target, Header: silent, Body: []byte("{}"), Timeout: time.Minute})
			checkError(t, err, []string{StepResponse})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want it called off", err)
			}
			quick(t, begin)

			for name, x := range map[string]*exchange{
				"called off":       {caller: t.Context(), err: context.Canceled, deadline: time.Now().Add(2 * time.Second)},
				"out of time":      {caller: t.Context(), deadline: time.Now().Add(-time.Second)},
				"may not be given": {caller: t.Context(), deadline: time.Now().Add(2 * time.Second), may: func() bool { return false }},
			} {
				warm()
				before := r.requests.Load()
				if _, _, err := c.wire.do(x, &Request{Target: target, Header: silent, Body: []byte("{}")}); err == nil {
					t.Errorf("%s: got an answer", name)
				}
				warm() // time for what was written before to arrive
				if got := r.requests.Load() - before; got != 2 {
					t.Errorf("%s: the receiver got %d requests, want only the two after it", name, got)
				}
			}
		})
	}
}

// TestLate: what is held leaves whole and once, however much the system takes
// at a time, and its writing ends with the deadline and with the connection.
func TestLate(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, more than the buffers take
	open := func(t *testing.T) (*late, *net.TCPConn, *exchange) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		other, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); other.Close() })
		_, l, err := newLate(c)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
		if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		l.hold()
		l.x = &exchange{caller: t.Context()}
		return l, other.(*net.TCPConn), l.x
	}
	put := func(t *testing.T, l *late, p []byte) {
		t.Helper()
		for _, part := range [][]byte{p[:3], p[3:]} {
			if n, err := l.Write(part); n != len(part) || err != nil {
				t.Fatalf("wrote %d, %v, want %d held back", n, err, len(part))
			}
		}
	}

	t.Run("short", func(t *testing.T) {
		t.Parallel()
		l, other, x := open(t)
		put(t, l, []byte("question"))
		go func() {
			b := make([]byte, 100)
			n, _ := other.Read(b)
			_, _ = other.Write(b[:n])
		}()
		b := make([]byte, 100)
		if n, err := l.Read(b); err != nil || string(b[:n]) != "question" {
			t.Errorf("got %q, %v, want the question back", b[:n], err)
		}
		if got := x.step(); got != StepResponse {
			t.Errorf("the exchange is at %q, want %q", got, StepResponse)
		}
	})
	t.Run("in parts", func(t *testing.T) {
		t.Parallel()
		l, other, x := open(t)
		put(t, l, long)
		got := make(chan []byte, 1)
		go func() {
			b := make([]byte, len(long))
			n, _ := io.ReadFull(other, b)
			_, _ = other.Write([]byte("ok"))
			_ = other.CloseWrite()
			rest, _ := io.ReadAll(other)
			got <- append(b[:n], rest...)
		}()
		b := make([]byte, 100)
		if n, err := l.Read(b); err != nil || string(b[:n]) != "ok" || l.failed != nil {
			t.Errorf("got %q, %v, %v, want ok", b[:n], err, l.failed)
		}
		if x.step() != StepResponse {
			t.Errorf("the exchange is at %q, want %q", x.step(), StepResponse)
		}
		l.Close()
		if !bytes.Equal(<-got, long) {
			t.Error("the other side got something else than what was held")
		}
	})
	t.Run("never taken", func(t *testing.T) {
		t.Parallel()
		l, _, x := open(t)
		put(t, l, long)
		if err := l.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || l.holding {
			t.Errorf("got %d bytes, %v, want the deadline while it writes", n, err)
		}
		if x.step() != StepRequest {
			t.Errorf("the exchange is at %q, want %q", x.step(), StepRequest)
		}
	})
	t.Run("closed while it writes", func(t *testing.T) {
		t.Parallel()
		l, other, _ := open(t)
		put(t, l, long)
		go func() {
			_, _ = other.Read(make([]byte, 1)) // it has begun
			l.Close()
		}()
		if n, err := l.Read(make([]byte, 100)); !errors.Is(err, net.ErrClosed) || l.holding {
			t.Errorf("got %d bytes, %v, want that it is closed", n, err)
		}
	})
	t.Run("closed while it waits", func(t *testing.T) {
		t.Parallel()
		l, other, _ := open(t)
		put(t, l, []byte("question"))
		go func() {
			_, _ = other.Read(make([]byte, 100))
			l.Close()
		}()
		if n, err := l.Read(make([]byte, 100)); !errors.Is(err, net.ErrClosed) || l.holding {
			t.Errorf("got %d bytes, %v, want that it is closed", n, err)
		}
	})
	t.Run("closed before", func(t *testing.T) {
		t.Parallel()
		l, other, _ := open(t)
		put(t, l, []byte("question"))
		l.Close()
		if n, err := l.Read(make([]byte, 100)); !errors.Is(err, net.ErrClosed) || !l.holding {
			t.Errorf("got %d bytes, %v, want that it is closed and nothing was written", n, err)
		}
		if b, err := io.ReadAll(other); err != nil || len(b) != 0 {
			t.Errorf("the other side got %q, %v, want nothing", b, err)
		}
	})
	t.Run("out of time before", func(t *testing.T) {
		t.Parallel()
		l, other, _ := open(t)
		put(t, l, []byte("question"))
		if err := l.SetDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || !l.holding {
			t.Errorf("got %d bytes, %v, want the deadline and nothing written", n, err)
		}
		l.Close()
		if b, err := io.ReadAll(other); err != nil || len(b) != 0 {
			t.Errorf("the other side got %q, %v, want nothing", b, err)
		}
	})
}

// kept returns the connection that the next request of the same receiver gets.
func kept(t *testing.T, c *Client, r *Request) *wired {
	t.Helper()
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	list := c.wire.idle[r.Target.origin]
	if len(list) == 0 {
		t.Fatal("no connection is kept")
	}
	return list[len(list)-1]
}

// heardOf waits until the system knows of something that the other side did.
func heardOf(t *testing.T, l *wired) {
	t.Helper()
	err := l.late.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return !errors.Is(err, syscall.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
}
