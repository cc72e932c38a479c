package servertest_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newcomer is a terminal with `consentwire dev` in it.
type newcomer struct {
	t     *testing.T
	cmd   *exec.Cmd
	begin time.Time
	lines chan string
	seen  []string
	tmp   string
}

func startDev(t *testing.T, args ...string) *newcomer {
	t.Helper()
	n := &newcomer{t: t, lines: make(chan string, 10_000), tmp: t.TempDir()}
	n.cmd = exec.Command(binary(t), append([]string{"dev"}, args...)...)
	n.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + n.tmp}
	n.cmd.Dir = n.tmp
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.begin = time.Now()
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.lines)
		r := bufio.NewScanner(out)
		for r.Scan() {
			n.lines <- r.Text()
		}
	}()
	t.Cleanup(func() { n.stop() })
	return n
}

// drain reads on, unseen, so that the program is not held up.
func (n *newcomer) drain() {
	go func() {
		for range n.lines {
		}
	}()
}

// credentials returns those of the demo application, from the lines to come.
func (n *newcomer) credentials(within time.Duration) (id, secret string) {
	n.t.Helper()
	client, _ := n.wait(`Client ID +(\S+)`, within)
	sec, _ := n.wait(`Client secret +(\S+)`, within)
	return client[1], sec[1]
}

// wait returns the first line from now on that matches, and when it came.
func (n *newcomer) wait(pattern string, within time.Duration) ([]string, time.Duration) {
	n.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(within - time.Since(n.begin))
	for {
		select {
		case line, ok := <-n.lines:
			if !ok {
				n.t.Fatalf("it ended before it wrote %q; it wrote:\n%s", pattern, strings.Join(n.seen, "\n"))
			}
			n.seen = append(n.seen, line)
			if m := re.FindStringSubmatch(line); m != nil {
				return m, time.Since(n.begin)
			}
		case <-late:
			n.t.Fatalf("it did not write %q within %v; it wrote:\n%s", pattern, within, strings.Join(n.seen, "\n"))
		}
	}
}

// stop presses Ctrl-C and returns the exit status.
func (n *newcomer) stop() int {
	if n.cmd.ProcessState != nil {
		return n.cmd.ProcessState.ExitCode()
	}
	_ = n.cmd.Process.Signal(syscall.SIGINT) // it may have ended
	for line := range n.lines {
		n.seen = append(n.seen, line)
	}
	_ = n.cmd.Wait() // the exit status tells
	return n.cmd.ProcessState.ExitCode()
}

func TestDev(t *testing.T) {
	t.Parallel()
	n := startDev(t)
	link, took := n.wait(`(http://\S+/portal/\S+)`, 5*time.Second)
	if took > 5*time.Second {
		t.Errorf("the banner took %v, want at most 5s", took)
	}
	inspector, _ := n.wait(`(http://\S+/portal/inspector/bin_\S+)`, 5*time.Second)
	client, _ := n.wait(`Client ID +(\S+)`, 5*time.Second)
	secret, _ := n.wait(`Client secret +(\S+)`, 5*time.Second)
	command, _ := n.wait(`^(curl .*)`, 5*time.Second)
	_, first := n.wait(`before:consent:create .*signature valid`, 10*time.Second)
	t.Logf("banner after %v, first delivery after %v", took, first)
	if first-took > 2*time.Second {
		t.Errorf("the first delivery came %v after the banner, want at most 2s", first-took)
	}

	// The command creates a consent, whose events come by.
	var c struct{ ID, Status string }
	if out := shell(t, command[1]); json.Unmarshal([]byte(out), &c) != nil || c.ID == "" {
		t.Fatalf("the command wrote %s, want a consent", out)
	}
	n.wait(`after:consent:create +`+regexp.QuoteMeta(c.ID)+` +interceptor +signature valid`, 20*time.Second)
	for _, e := range []string{"consent:approved", "consent:rejected", "consent:expired", "consent:revoke"} {
		n.wait(`  `+e+` .*signature valid`, 40*time.Second)
	}

	// The link signs in, once.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	visit := func(url string, jar http.CookieJar) (int, string) {
		t.Helper()
		web := http.Client{Jar: jar, Timeout: 10 * time.Second}
		defer web.CloseIdleConnections()
		resp, err := web.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if status, _ := visit(link[1], jar); status != http.StatusOK {
		t.Errorf("the link was answered %d, want 200", status)
	}
	if status, page := visit(inspector[1], jar); status != http.StatusOK || !strings.Contains(page, "consent:create") {
		t.Errorf("the inspector's page was answered %d, want 200 and what came", status)
	}
	if _, page := visit(inspector[1], nil); strings.Contains(page, c.ID) {
		t.Error("the inspector's page shows itself to a stranger")
	}

	if code := n.stop(); code != 0 {
		t.Errorf("got exit status %d, want 0", code)
	}
	if left, err := filepath.Glob(filepath.Join(n.tmp, "*")); err != nil || len(left) != 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
	for _, s := range []string{client[1], secret[1]} {
		if s == "" {
			t.Error("the banner lacks the credential")
		}
	}
}

func TestDev_keepsItsFolderAndItsCredential(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	var secrets, bins []string
	for range 2 {
		n := startDev(t, "--data-dir="+dir, "--listen=127.0.0.1:0")
		bin, _ := n.wait(`/portal/inspector/(bin_\S+)`, 10*time.Second)
		secret, _ := n.wait(`Client secret +(\S+)`, 10*time.Second)
		// On its other port the endpoints lead to where the bin is now.
		n.wait(`interceptor +signature valid`, 20*time.Second)
		secrets, bins = append(secrets, secret[1]), append(bins, bin[1])
		if code := n.stop(); code != 0 {
			t.Errorf("got exit status %d, want 0", code)
		}
	}
	if secrets[0] != secrets[1] || bins[0] != bins[1] {
		t.Errorf("got the secrets and bins %v %v, want the same twice", secrets, bins)
	}
	if i, err := os.Stat(filepath.Join(dir, "demo-credential")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the credential's file: %v, %v, want mode 0600", i, err)
	}
}

// The port that a newcomer has in use already is no obstacle.
func TestDev_takesAnotherPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		defer l.Close()
	} // else somebody else has it, which is as good
	n := startDev(t)
	link, _ := n.wait(`http://127\.0\.0\.1:(\d+)/portal/`, 10*time.Second)
	if link[1] == "8080" {
		t.Error("got port 8080, want another: it was in use")
	}
}
