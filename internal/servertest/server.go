// Package servertest runs the whole server for tests, in process or as a
// child, and goes in by its public door: the command line, the environment,
// and HTTP.
//
// It knows nothing of the rooms. What it offers beside the server is a
// receiver of deliveries that is scripted and remembers.
package servertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/cli"
	"github.com/consentwire/consentwire/internal/secret"
)

// patience is how long anything that must happen may take.
const patience = 30 * time.Second

// Options say how a server is run. The zero value is a good start.
type Options struct {
	// Binary is the program to run as a child; empty: the server runs in
	// process.
	Binary string
	// Args are the command and its flags; nil: "serve".
	Args []string
	// Dir is the data folder; empty: a temporary one.
	Dir string
	// CA signs the receivers' certificates and is trusted by the server; nil:
	// a new one.
	CA *CA
	// Env holds further settings as "NAME=value". They win over ours: the
	// address 127.0.0.1 with any port, deliveries to 127.0.0.0/8, retries
	// after 100 ms, the log level debug.
	Env []string
}

// Server is a running server.
type Server struct {
	URL      string // without a slash at the end
	Dir      string // its data folder
	Operator string // the operator's bearer
	CA       *CA
	Log      *Log // standard error
	Out      *Log // standard output

	t    testing.TB
	o    Options
	env  []string
	http *http.Client

	mu   sync.Mutex
	stop func(os.Signal)
	done chan struct{}
	code int // exit status, when done
}

// Start starts a server, waits until it is ready, and stops it when the test
// ends. The test fails when it does not start.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := New(t, o)
	s.Start()
	return s
}

// New returns a server that is not started.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "data")
	}
	if o.CA == nil {
		o.CA = NewCA(t)
	}
	if o.Args == nil {
		o.Args = []string{"serve"}
	}
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, o.CA.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Dir: o.Dir, Operator: secret.Random(32).Reveal(), CA: o.CA, Log: newLog(), Out: newLog(),
		t: t, o: o,
		http: &http.Client{
			Transport: &http.Transport{
				MaxIdleConnsPerHost: 64, ForceAttemptHTTP2: true,
				TLSClientConfig: &tls.Config{RootCAs: o.CA.Pool(), MinVersion: tls.VersionTLS12},
			},
			Timeout: patience,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
	s.env = append([]string{
		"CONSENTWIRE_LISTEN=127.0.0.1:0",
		"CONSENTWIRE_DATA_DIR=" + o.Dir,
		"CONSENTWIRE_ADMIN_TOKEN=" + s.Operator,
		"CONSENTWIRE_EGRESS_ALLOW=127.0.0.0/8",
		"CONSENTWIRE_EGRESS_CA_FILE=" + roots,
		"CONSENTWIRE_RETRY_SCHEDULE=" + strings.TrimSuffix(strings.Repeat("100ms,", 20), ","),
		"CONSENTWIRE_LOG_LEVEL=debug",
	}, o.Env...)
	t.Cleanup(func() {
		s.Stop()
		s.http.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log.Tail(200))
		}
	})
	return s
}

// Launch starts the server and does not wait for anything.
func (s *Server) Launch() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(chan struct{})
	s.done = done
	if s.o.Binary == "" {
		ctx, cancel := context.WithCancelCause(context.Background())
		s.stop = func(sig os.Signal) { cancel(errors.New(sig.String())) }
		go func() {
			code := cli.Main(ctx, s.o.Args, s.env, s.Out, s.Log)
			s.ended(done, code)
		}()
		return
	}
	cmd := exec.Command(s.o.Binary, s.o.Args...) // #nosec G204 -- the program that the test has built
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.t.TempDir(), "TMPDIR=" + os.TempDir()}, s.env...)
	cmd.Stdout, cmd.Stderr = s.Out, s.Log
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.o.Binary, err)
	}
	s.stop = func(sig os.Signal) { _ = cmd.Process.Signal(sig) } // it may have ended by itself
	go func() {
		_ = cmd.Wait() // the exit status tells
		s.ended(done, cmd.ProcessState.ExitCode())
	}()
}

func (s *Server) ended(done chan struct{}, code int) {
	s.mu.Lock()
	s.code = code
	s.mu.Unlock()
	close(done)
}

// Start starts the server and waits until it is ready. One that was stopped
// comes back on the same folder and the same address.
func (s *Server) Start() {
	s.t.Helper()
	from := s.Log.Len()
	s.Launch()
	line := s.Log.Wait(s.t, from, `"msg":"listening"`, s.Done())
	var l struct{ Addr, PublicURL string }
	if err := json.Unmarshal([]byte(line), &l); err != nil || l.Addr == "" {
		s.t.Fatalf("the line %q: %v, want an addr", line, err)
	}
	if s.URL != l.PublicURL { // callers that go on over a restart read it meanwhile
		s.URL = l.PublicURL
	}
	s.Setenv("CONSENTWIRE_LISTEN", l.Addr)
	s.WaitReady()
}

// WaitReady waits until /readyz says so.
func (s *Server) WaitReady() {
	s.t.Helper()
	Eventually(s.t, "the server to be ready", func() bool {
		select {
		case <-s.Done():
			s.t.Fatalf("the server ended with status %d; its log:\n%s", s.ExitCode(), s.Log.Tail(50))
		default:
		}
		resp, err := s.http.Get(s.URL + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// Done is closed when the server that was started last has ended.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// ExitCode returns the exit status of a server that has ended; -1 when a
// signal ended it.
func (s *Server) ExitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code
}

// Stop asks the server to stop, as SIGTERM does, waits for its end and returns
// its exit status. It may be called again.
func (s *Server) Stop() int {
	s.t.Helper()
	return s.end(syscall.SIGTERM)
}

// Terminate asks the server to stop and does not wait for it.
func (s *Server) Terminate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop(syscall.SIGTERM)
}

// Signal sends a child a signal and waits for nothing.
func (s *Server) Signal(sig os.Signal) {
	s.t.Helper()
	if s.o.Binary == "" {
		s.t.Fatal("only a child takes signals")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop(sig)
}

// Kill ends a child at once, as a cable that is pulled does.
func (s *Server) Kill() {
	s.t.Helper()
	if s.o.Binary == "" {
		s.t.Fatal("only a child can be killed")
	}
	s.end(syscall.SIGKILL)
}

func (s *Server) end(sig os.Signal) int {
	s.t.Helper()
	s.mu.Lock()
	stop, done := s.stop, s.done
	s.mu.Unlock()
	if stop == nil {
		return 0
	}
	stop(sig)
	return s.WaitEnd(done)
}

// WaitEnd waits until done, from Done, and returns the exit status.
func (s *Server) WaitEnd(done <-chan struct{}) int {
	s.t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Errorf("the server did not end; its log:\n%s", s.Log.Tail(50))
	}
	return s.ExitCode()
}

// Restart stops the server and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	if code := s.Stop(); code != 0 {
		s.t.Errorf("stopped with status %d, want 0", code)
	}
	s.Start()
}

// Setenv changes a setting for the next start.
func (s *Server) Setenv(name, value string) { s.env = append(s.env, name+"="+value) }

// Eventually waits until ok says so; the test fails when it never does.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Log keeps what was written, and lets a test wait for a line.
type Log struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	grew chan struct{} // closed and replaced by each write
}

func newLog() *Log { return &Log{grew: make(chan struct{})} }

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grew)
	l.grew = make(chan struct{})
	return l.buf.Write(p)
}

// String returns everything that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Len returns how many bytes were written.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Len()
}

// Tail returns the last n lines.
func (l *Log) Tail(n int) string {
	lines := strings.SplitAfter(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n-1):], "")
}

// Wait returns the first whole line that holds part and begins at or after
// from bytes. The test fails when it does not come, or when ended is closed
// before.
func (l *Log) Wait(t testing.TB, from int, part string, ended <-chan struct{}) string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	last := false
	for {
		l.mu.Lock()
		text, grew := l.buf.String()[from:], l.grew
		l.mu.Unlock()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, part) {
				return strings.TrimSuffix(line, "\n")
			}
		}
		if last {
			t.Fatalf("it ended before it wrote %q; it wrote:\n%s", part, l.Tail(50))
		}
		select {
		case <-grew:
		case <-ended:
			last = true
		case <-deadline.C:
			t.Fatalf("waited in vain for %q; it wrote:\n%s", part, l.Tail(50))
		}
	}
}
