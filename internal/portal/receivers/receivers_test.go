//go:build npm

package receivers

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/signature"
)

// patience is how long a receiver may take to start.
const patience = 60 * time.Second

// said keeps what a program writes.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		s.mu.Unlock()
	}
}

func (s *said) count(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

// start runs a sample and returns its address.
func start(t *testing.T, s Sample, secret string) (url string, out *said) {
	t.Helper()
	dir := t.TempDir()
	file := strings.TrimSuffix(s.File, ".txt")
	if err := os.WriteFile(filepath.Join(dir, file), []byte(s.Code), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close() // the sample takes it
	run := func(name string, args ...string) *exec.Cmd {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf(`%s is not installed; "make receivers" installs it.`, name)
		}
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PORT="+port, "WEBHOOK_SECRET="+secret)
		return cmd
	}
	build := func(cmd *exec.Cmd) {
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, b)
		}
	}
	var cmd *exec.Cmd
	switch s.Language {
	case "Go":
		build(run("go", "build", "-o", "receiver", file))
		cmd = run(filepath.Join(dir, "receiver"))
	case "JavaScript":
		cmd = run("node", file)
	case "Python":
		cmd = run("python3", file)
	case "Java":
		cmd = run("java", file)
	case "C#":
		build(run("mcs", file))
		cmd = run("mono", "Receiver.exe")
	case "PHP":
		cmd = run("php", "-S", "127.0.0.1:"+port, file)
		cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	default:
		t.Fatalf("nobody knows how to start %s", s.Language)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out = &said{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		out.read(stdout)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("it said:\n%s", strings.Join(out.lines, "\n"))
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
			return "http://127.0.0.1:" + port + "/", out
		}
		if time.Now().After(end) {
			t.Fatalf("it does not listen: %v", err)
		}
	}
}

// TestSamples: each receiver takes what is ours, once, and nothing else.
func TestSamples(t *testing.T) {
	t.Parallel()
	for _, s := range All() {
		t.Run(s.Language, func(t *testing.T) {
			t.Parallel()
			ours, other := signature.NewSecret(), signature.NewSecret()
			url, out := start(t, s, ours.Text())
			send := func(id string, at time.Time, body string, change func(http.Header), secrets ...signature.Secret) int {
				t.Helper()
				signer, err := signature.NewSigner(secrets...)
				if err != nil {
					t.Fatal(err)
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				signed, err := signer.Sign(id, at.Unix(), []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("webhook-id", id)
				r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
				r.Header.Set("webhook-signature", signed)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Consentwire-Subject", "con_"+id)
				r.Header.Set("Consentwire-Sequence", "1")
				if change != nil {
					change(r.Header)
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				return resp.StatusCode
			}
			now := time.Now()
			const body = `{"event":"consent:approved","data":{"name":"São João 🌊 \u2028"}}`
			for _, tt := range []struct {
				name string
				got  int
				want int
			}{
				{"a delivery", send("evt_1", now, body, nil, ours), 204},
				{"the same once more", send("evt_1", now, body, nil, ours), 204},
				{"two signatures, the second is known", send("evt_2", now, body, nil, other, ours), 204},
				{"a signature of another scheme beside it", send("evt_3", now, body, func(h http.Header) {
					h.Set("webhook-signature", "v1a,AAAA "+h.Get("webhook-signature"))
				}, ours), 204},
				{"another secret", send("evt_4", now, body, nil, other), 401},
				{"no base 64", send("evt_5", now, body, func(h http.Header) { h.Set("webhook-signature", "v1,*** v1,") }, ours), 401},
				{"no signature", send("evt_6", now, body, func(h http.Header) { h.Del("webhook-signature") }, ours), 401},
				{"another id", send("evt_7", now, body, func(h http.Header) { h.Set("webhook-id", "evt_8") }, ours), 401},
				{"too old", send("evt_9", now.Add(-6*time.Minute), body, nil, ours), 400},
				{"from the future", send("evt_10", now.Add(6*time.Minute), body, nil, ours), 400},
				{"no time", send("evt_11", now, body, func(h http.Header) { h.Del("webhook-timestamp") }, ours), 400},
				{"a malformed time", send("evt_12", now, body, func(h http.Header) { h.Set("webhook-timestamp", "1e9") }, ours), 400},
				{"no id", send("evt_13", now, body, func(h http.Header) { h.Del("webhook-id") }, ours), 400},
			} {
				if tt.got != tt.want {
					t.Errorf("%s: got %d, want %d", tt.name, tt.got, tt.want)
				}
			}
			// The last that is taken is told last, so all before it are.
			if got := send("evt_last", now, body, nil, ours); got != 204 {
				t.Errorf("the last: got %d, want 204", got)
			}
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(patience); out.count("con_evt_last") == 0 && time.Now().Before(end); {
				<-tick.C
			}
			for id, want := range map[string]int{"con_evt_1 ": 1, "con_evt_2 ": 1, "con_evt_3 ": 1, "con_evt_4": 0, "con_evt_9": 0, "con_evt_last": 1} {
				if got := out.count(id); got != want {
					t.Errorf("it told of %s %d times, want %d", id, got, want)
				}
			}
			if out.count("consent:approved") == 0 {
				t.Error("it does not tell the event's name")
			}
		})
	}
}
