package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
)

// caller is the plain client of everything but the engine.
var caller = &http.Client{
	Transport: local(inFlight),
	Timeout:   30 * time.Second,
}

// call sends a JSON body (nil: none) and decodes the answer into out (nil: it
// is thrown away). Any status but 2xx is an error.
func call(ctx context.Context, method, url, bearer string, in, out any) error {
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := caller.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.300s", method, req.URL.Path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

func getJSON(ctx context.Context, url, bearer string, out any) error {
	return call(ctx, http.MethodGet, url, bearer, nil, out)
}

// server is a running consentwire.
type server struct {
	cmd      *exec.Cmd
	url      string
	operator string
	logs     <-chan struct{} // closed when its standard error ends
}

// startServer runs a command of the server's binary on a free port and waits
// until it listens. Its data folder is new.
func (b *Bench) startServer(ctx context.Context, command string) (*server, error) {
	if _, err := os.Stat(b.server); err != nil {
		return nil, fmt.Errorf("the server's binary is missing (make build): %w", err)
	}
	dir, err := os.MkdirTemp(b.dir, command+"-")
	if err != nil {
		return nil, err
	}
	return b.startOn(ctx, command, filepath.Join(dir, "data"))
}

// startOn is startServer for a data folder, with further arguments.
func (b *Bench) startOn(ctx context.Context, command, data string, args ...string) (*server, error) {
	s := &server{operator: secret.Random(32).Reveal()}
	s.cmd = exec.CommandContext(ctx, b.server, append([]string{command, "--listen", "127.0.0.1:0", "--data-dir", data}, args...)...) // #nosec G204 -- this program, or one that the developer names
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.Env = append(plainEnvironment(),
		"CONSENTWIRE_ADMIN_TOKEN="+s.operator, "CONSENTWIRE_LOG_FORMAT=json", "CONSENTWIRE_LOG_LEVEL=info",
		"CONSENTWIRE_EGRESS_ALLOW=127.0.0.0/8", "CONSENTWIRE_EGRESS_ALLOW_HTTP=true",
	)
	said, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	addr, logs := make(chan string, 1), make(chan struct{})
	s.logs = logs
	go func() {
		defer close(logs)
		for in := bufio.NewScanner(said); in.Scan(); {
			var line struct{ Msg, Addr string }
			if json.Unmarshal(in.Bytes(), &line) == nil && line.Msg == "listening" {
				addr <- line.Addr
			} else if strings.Contains(in.Text(), `"level":"ERROR"`) || !strings.HasPrefix(in.Text(), "{") {
				fmt.Fprintln(os.Stderr, "bench: server:", in.Text())
			}
		}
	}()
	select {
	case a := <-addr:
		s.url = "http://" + a
		return s, nil
	case <-logs:
		return nil, errors.Join(errors.New("the server did not start"), s.cmd.Wait())
	case <-ctx.Done():
		s.stop()
		return nil, ctx.Err()
	}
}

// served starts a server that has an application, and returns the bearer of its
// calls.
func (b *Bench) served(ctx context.Context) (s *server, bearer string, err error) {
	if s, err = b.startServer(ctx, "serve"); err != nil {
		return nil, "", err
	}
	if bearer, err = s.application(ctx); err != nil {
		s.stop()
		return nil, "", err
	}
	return s, bearer, nil
}

// plainEnvironment is ours without settings, which are meant for another server.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "CONSENTWIRE_") })
}

// stop ends the server and waits for it.
func (s *server) stop() {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		fmt.Fprintln(os.Stderr, "bench: stop the server:", err)
	}
	<-s.logs
	if err := s.cmd.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: the server ended with:", err)
	}
}

// application makes an application and returns a bearer of it.
func (s *server) application(ctx context.Context) (string, error) {
	var app struct{ ClientID, ClientSecret string }
	err := call(ctx, http.MethodPost, s.url+"/v1/applications", s.operator, map[string]string{"name": "bench"}, &app)
	if err != nil {
		return "", err
	}
	var token struct {
		Bearer string `json:"access_token"`
	}
	err = call(ctx, http.MethodPost, s.url+"/api/portal/onboard/v1/token", "",
		map[string]string{"client_id": app.ClientID, "client_secret": app.ClientSecret}, &token)
	return token.Bearer, err
}

// consentRequest is the consent that the benchmarks ask for.
var consentRequest = []byte(`{"type":"DATA","permissions":["ACCOUNTS_READ","ACCOUNTS_BALANCES_READ","RESOURCES_READ"],` +
	`"loggedUser":{"document":{"identification":"11111111111","rel":"CPF"}}}`)
