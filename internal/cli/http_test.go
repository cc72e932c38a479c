package cli

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of in-memory connections, whose clock is a bubble's.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serveFaces runs f in a bubble and returns how to connect to it.
func serveFaces(t *testing.T, f *faces) (dial func() net.Conn) {
	t.Helper()
	l := pipes{make(chan net.Conn)}
	srv := newHTTPServer(f, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // it says that it was closed
	}()
	t.Cleanup(func() {
		close(l.conns)
		_ = srv.Close() // the bubble shows whether something is left
		<-done
	})
	return func() net.Conn {
		client, server := net.Pipe()
		l.conns <- server
		return client
	}
}

// trickle sends a request whose body comes in chunks, one each pause, and
// returns the status of the answer, or the error.
func trickle(t *testing.T, conn net.Conn, length, chunk int, pause time.Duration) (int, error) {
	t.Helper()
	done := make(chan struct{})
	defer func() { conn.Close(); <-done }()
	go func() {
		defer close(done)
		_, err := io.WriteString(conn, "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: "+strconv.Itoa(length)+"\r\n\r\n")
		for sent := 0; sent < length && err == nil; sent += chunk {
			time.Sleep(pause)
			_, err = conn.Write(make([]byte, min(chunk, length-sent)))
		}
	}()
	begin := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if took := time.Since(begin); took > 3*time.Minute {
		t.Errorf("the answer took %v", took)
	}
	return resp.StatusCode, nil
}

func TestFaces_bodies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		length, chunk int
		pause         time.Duration
		want          int
	}{
		{"at once", 1 << 10, 1 << 10, 0, 200},
		{"slow but steady for a minute", 1 << 20, 32 << 10, 2 * time.Second, 200},
		{"byte by byte", 1 << 20, 1, time.Second, 400},
		{"stalled", 10, 1, time.Hour, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dial := serveFaces(t, &faces{streams: t.Context(), api: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						w.WriteHeader(400)
					}
				})})
				begin := time.Now()
				got, err := trickle(t, dial(), tt.length, tt.chunk, tt.pause)
				if err != nil || got != tt.want {
					t.Errorf("got %d, %v after %v, want %d", got, err, time.Since(begin), tt.want)
				}
			})
		})
	}
}

// The body of an import may take hours, but not pause for long; then the answer
// still has its time.
func TestFaces_import(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		pause time.Duration
		want  int
		after time.Duration
	}{
		{"slow for hours", 59 * time.Second, 200, 300 * 59 * time.Second},
		{"stalled", 61 * time.Second, 400, stallTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dial := serveFaces(t, &faces{streams: t.Context(), api: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						w.WriteHeader(400)
					}
				})})
				conn := dial()
				done := make(chan struct{})
				defer func() { conn.Close(); <-done }()
				go func() {
					defer close(done)
					_, err := io.WriteString(conn, "POST "+importPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n")
					for i := 0; i < 300 && err == nil; i++ {
						time.Sleep(tt.pause)
						_, err = conn.Write([]byte("x"))
					}
				}()
				begin := time.Now()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("got %v after %v, want %d", err, time.Since(begin), tt.want)
				}
				resp.Body.Close()
				if took := time.Since(begin); resp.StatusCode != tt.want || took < tt.after || took > tt.after+time.Second {
					t.Errorf("got %d after %v, want %d after %v", resp.StatusCode, took, tt.want, tt.after)
				}
			})
		})
	}
}

// A body that no handler reads is read by the server: that must end, too.
func TestFaces_unreadBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dial := serveFaces(t, &faces{streams: t.Context(), api: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
		conn := dial()
		defer conn.Close()
		go func() {
			_, _ = io.WriteString(conn, "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1") // the answer tells
		}()
		begin := time.Now()
		_, _ = io.Copy(io.Discard, conn) // until the server closes it
		if took := time.Since(begin); took > bodyTime+10*time.Second {
			t.Errorf("the connection was open for %v, want about %v", took, bodyTime)
		}
	})
}

func TestFaces_streams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		streams, stop := context.WithCancel(t.Context())
		ended := make(chan time.Time, 1)
		dial := serveFaces(t, &faces{streams: streams, portal: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "data: 1\n\n") // the reader tells
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			ended <- time.Now()
		})})
		conn := dial()
		defer conn.Close()
		begin := time.Now()
		time.AfterFunc(time.Hour, stop)
		go func() {
			_, _ = io.WriteString(conn, "GET /portal/live HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
		}()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		if took := (<-ended).Sub(begin); took != time.Hour {
			t.Errorf("the stream ended after %v, want an hour: when the server stops", took)
		}
	})
}

func TestFaces_routes(t *testing.T) {
	t.Parallel()
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	}
	f := &faces{streams: t.Context(), api: named("api"), portal: named("portal"), sink: named("sink")}
	tests := []struct{ method, path, want string }{
		{"GET", "/portal", "portal"},
		{"GET", "/portal/", "portal"},
		{"POST", "/portal/sign-in", "portal"},
		{"GET", "/portalx", "api"},
		{"GET", "/confirm/x", "portal"},
		{"POST", "/confirm/x", "portal"},
		{"GET", "/confirm/", "portal"},
		{"GET", "/confirm", "api"},
		{"POST", "/inspect/bin_1//a/../b", "sink"},
		{"GET", "/inspect", "api"},
		{"GET", "/v1/inspect/bin_1/requests", "api"},
		{"GET", "/healthz", "api"},
		{"POST", "/", "api"},
		{"GET", "/none", "api"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if got := w.Body.String(); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.path, got, tt.want)
		}
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/portal/" {
		t.Errorf("GET /: got %d to %q, want 303 to /portal/", w.Code, w.Header().Get("Location"))
	}
}

func TestNewHTTPServer(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := newHTTPServer(nil, slog.New(slog.NewTextHandler(&out, nil)))
	if s.TLSConfig.MinVersion != tls.VersionTLS12 || s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("got %+v, want every bound set", s)
	}
	s.ErrorLog.Print("hunter2")
	if strings.Contains(out.String(), "hunter2") || out.Len() == 0 {
		t.Errorf("got %q, want a line without what was written", out.String())
	}
}
