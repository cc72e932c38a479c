//go:build npm

package oauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// node is a server that runs in a child process.
type node struct {
	t      testing.TB
	url    string
	client *http.Client
}

// startNode runs a script of the folder node with its options, waits until it
// is ready, and ends it with the test.
func startNode(t testing.TB, script, library string, c *Certificate, options any) *node {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(`node is not installed; "make interop" installs it.`)
	}
	dir := filepath.Join(moduleRoot(t), "internal", "servertest", "oauth", "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", library, "package.json")); err != nil {
		t.Fatalf(`The npm library %s is not installed: run "make interop", or "npm ci" in internal/servertest/oauth/node.`, library)
	}
	line, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, script) // #nosec G204 -- a script of ours
	out, said := &firstLine{done: make(chan struct{})}, &bytes.Buffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", script, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed in the end
	}()
	n := &node{t: t, client: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Pool()}},
	}}
	t.Cleanup(func() {
		n.client.CloseIdleConnections()
		_ = stdin.Close()      // it may have ended by itself
		_ = cmd.Process.Kill() // likewise
		<-ended
		if t.Failed() && said.Len() > 0 {
			t.Logf("%s said:\n%s", script, said)
		}
	})
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("tell %s its options: %v", script, err)
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-out.done:
	case <-ended:
		t.Fatalf("%s ended before it was ready", script)
	case <-deadline.C:
		t.Fatalf("%s did not get ready", script)
	}
	var ready struct{ URL string }
	if err := json.Unmarshal(out.text(), &ready); err != nil || ready.URL == "" {
		t.Fatalf("%s said %q (%v), want its address", script, out.text(), err)
	}
	n.url = ready.URL
	return n
}

// moduleRoot returns the folder of go.mod above the test's.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod is above the test's folder")
		}
		dir = up
	}
}

// firstLine keeps what is written up to the first line feed.
type firstLine struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	once sync.Once
	done chan struct{} // closed when the line is whole
}

// Write takes a part.
func (l *firstLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(p)
	if bytes.IndexByte(p, '\n') >= 0 {
		l.once.Do(func() { close(l.done) })
	}
	return len(p), nil
}

func (l *firstLine) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, _, _ := bytes.Cut(l.buf.Bytes(), []byte("\n"))
	return bytes.Clone(line)
}

// ask asks the server what OAuth has no words for.
func (n *node) ask(path string, query url.Values, into any) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, n.url+"/test/"+path+"?"+query.Encode(), nil)
	if err == nil {
		err = n.do(req, into)
	}
	if err != nil {
		n.t.Errorf("ask %s of the token server: %v", path, err)
	}
}

// post sends a form as a client that authenticates by Basic.
func (n *node) post(path string, c Client, form url.Values, into any) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, n.url+path, strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
		err = n.do(req, into)
	}
	if err != nil {
		n.t.Errorf("post to %s of the token server: %v", path, err)
	}
}

func (n *node) do(req *http.Request, into any) error {
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got %d %s", resp.StatusCode, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}
