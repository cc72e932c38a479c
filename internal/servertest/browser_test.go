//go:build npm

package servertest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

// seen is what the browser reports.
type seen struct {
	Faults []string `json:"faults"`
	Pages  []string `json:"pages"`
}

// browse runs the script in a real browser.
func browse(t *testing.T, options map[string]any) seen {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			options["chromium"] = path
			break
		}
	}
	if options["chromium"] == nil {
		t.Fatal(`Chromium is not installed; "make browser" installs it.`)
	}
	if _, err := os.Stat(filepath.Join("browser", "node_modules", "playwright-core")); err != nil {
		t.Fatal(`The npm library playwright-core is not installed: run "make browser".`)
	}
	in, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "portal.mjs")
	cmd.Dir, cmd.Stdin = "browser", bytes.NewReader(in)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var got seen
	if err != nil || json.Unmarshal(out, &got) != nil {
		t.Fatalf("the script: %v\n%s%s", err, out, said.String())
	}
	for _, f := range got.Faults {
		t.Error(f)
	}
	return got
}

// busy makes two minutes of a day, for the pictures: consents that come and go,
// heard by an endpoint that works and one that does not.
func busy(t *testing.T, a *servertest.Application) {
	t.Helper()
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // it is a test's
		if rand.IntN(12) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(flaky.Close)
	down := httptest.NewServer(nil)
	down.Close()
	for name, url := range map[string]string{"CRM": flaky.URL + "/updates", "Newsletter": down.URL + "/hook"} {
		a.Call("POST", "/v1/subscriptions", map[string]any{
			"name": name, "url": url, "updateType": "consent-receipts", "authentication": map[string]any{"authType": "none"},
			"eventTypes": []string{"consent.created", "consent.approved", "consent.revoked"},
		}).Want(t, http.StatusCreated)
	}
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(100 * time.Second); time.Now().Before(end); <-tick.C {
		for range rand.IntN(4) {
			c := a.CreateConsent()
			if rand.IntN(2) == 0 {
				a.Act(c, "approve")
			}
		}
	}
}

// TestBrowser_everyPage: each page holds to what holds for every page: no
// violation that axe finds, none of the content security policy, no error,
// nothing too wide on a phone, no more than 150 kB; and it can be read without
// scripts.
func TestBrowser_everyPage(t *testing.T) {
	t.Parallel()
	n := startDev(t)
	link, _ := n.wait(`(http://\S+/portal/sign-in/\S+)`, 5*time.Second)
	client, sec := n.credentials(5 * time.Second)
	n.wait(`before:consent:create .*signature valid`, 20*time.Second)
	options := map[string]any{"link": link[1]}
	if dir := os.Getenv("CONSENTWIRE_SCREENSHOTS"); dir != "" {
		options["out"] = dir
		n.drain()
		busy(t, servertest.Guest(t, link[1][:strings.Index(link[1], "/portal")], client, sec))
	}
	got := browse(t, options)
	for _, want := range []string{"/portal/", "/portal/endpoints", "/portal/deliveries", "/portal/consents", "/portal/citizens", "/portal/events", "/portal/users", "/portal/new/subscription"} {
		found := false
		for _, p := range got.Pages {
			found = found || p == want
		}
		if !found {
			t.Errorf("%s was not found among %v", want, got.Pages)
		}
	}
	t.Logf("%d pages", len(got.Pages))
}

// TestBrowser_story is what a new user does, with no document open: register an
// endpoint with a wrong OAuth 2.0 secret, see why it fails, mend it, see it
// deliver, pause it, see what was discarded, and replay that. The token server
// is a real one.
func TestBrowser_story(t *testing.T) {
	t.Parallel()
	provider := oauth.StartProvider(t, oauth.ProviderOptions{})
	var delivered, replayed atomic.Int64
	receiver := oauth.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !provider.Introspect(token).Active {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		delivered.Add(1)
		if r.Header.Get("webhook-replay") == "true" {
			replayed.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	}), oauth.ServeOptions{Certificate: provider.Certificate})
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, provider.Certificate.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	n := startDev(t, "--egress-ca-file", roots)
	link, _ := n.wait(`(http://\S+/portal/sign-in/\S+)`, 5*time.Second)
	browse(t, map[string]any{
		"story": true, "link": link[1], "url": receiver.URL + "/updates", "tokenUrl": provider.TokenURL,
		"clientId": provider.Basic.ID, "secret": provider.Basic.Secret,
	})
	if delivered.Load() == 0 || replayed.Load() == 0 {
		t.Errorf("the receiver took %d requests, %d of them replayed, want both", delivered.Load(), replayed.Load())
	}
}

// TestBrowser_signOn: who was invited joins by a real OpenID provider, and signs
// in by it; a stranger does not.
func TestBrowser_signOn(t *testing.T) {
	t.Parallel()
	p := oauth.StartSignIn(t)
	dir := t.TempDir()
	roots, sec := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "secret")
	for file, content := range map[string][]byte{roots: p.Certificate.CA, sec: []byte(p.Secret)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := startDev(t, "--egress-ca-file", roots, "--oidc-issuer", p.URL, "--oidc-client-id", p.ID, "--oidc-client-secret-file", sec, "--oidc-name", "Aurora ID")
	link, _ := n.wait(`(http://\S+/portal/sign-in/\S+)`, 5*time.Second)
	browse(t, map[string]any{"link": link[1], "issuer": p.URL, "provider": "Aurora ID"})
}
