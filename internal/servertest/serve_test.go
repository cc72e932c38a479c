package servertest_test

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
)

func TestServe_TLS(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	cert, key := ca.Files(t)
	s := servertest.Start(t, servertest.Options{CA: ca, Env: []string{
		"CONSENTWIRE_TLS_CERT_FILE=" + cert, "CONSENTWIRE_TLS_KEY_FILE=" + key,
	}})
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Errorf("got the public URL %s, want https", s.URL)
	}
	if r := s.Call("GET", "/healthz", "", nil).Want(t, 200); r.Proto != "HTTP/2.0" {
		t.Errorf("got %s, want HTTP/2.0", r.Proto)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{RootCAs: ca.Pool(), MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("%s: got %v, want accepted: %v", tls.VersionName(version), err, ok)
		}
		if err == nil {
			conn.Close()
		}
	}

	// The inspector is reached over our own TLS, without any allowance.
	a := s.NewApplication("Bank")
	r := a.Call("POST", "/v1/inspect", map[string]any{}).Want(t, 201)
	_, _ = subscribe(t, a, r.Text(t, "url")+"/x", nil)
	a.CreateConsent()
	servertest.Eventually(t, "a delivery in the inspector", func() bool {
		return bytes.Contains(a.Call("GET", "/v1/inspect/"+r.Text(t, "bin")+"/requests", nil).Want(t, 200).Body, []byte(`"valid"`))
	})
}

// What a start makes, nobody else may read.
func TestServe_generatesItsKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := servertest.Start(t, servertest.Options{Dir: dir})
	if i, err := os.Stat(dir); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("the data folder: %v, %v, want mode 0700", i, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if i, err := e.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", e.Name(), i, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "master-key")); err != nil {
		t.Errorf("the master key: %v", err)
	}
	// The operator's bearer was given, so none is made.
	if _, err := os.Stat(filepath.Join(dir, "admin-token")); err == nil {
		t.Error("there is a file admin-token, want none: the token was given")
	}
	s.Setenv("CONSENTWIRE_ADMIN_TOKEN_FILE", filepath.Join(dir, "master-key"))
	s.Stop()
	s.Launch()
	if code := s.WaitEnd(s.Done()); code != 1 || !strings.Contains(s.Log.Tail(1), "CONSENTWIRE_ADMIN_TOKEN") {
		t.Errorf("got status %d and %q, want 1 and the setting named: it was given twice", code, s.Log.Tail(1))
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{})
	s.Call("GET", "/healthz", "", nil).Want(t, 200)
	s.Call("GET", "/readyz", "", nil).Want(t, 200)
	s.Call("GET", "/metrics", s.Operator, nil).Want(t, 200)
	s.Call("GET", "/", "", nil).Want(t, 303)
	s.Call("GET", "/nowhere", "", nil).Want(t, 404)
}
