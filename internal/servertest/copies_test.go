package servertest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/cli"
	"github.com/consentwire/consentwire/internal/servertest"
)

// command runs a command of the program and returns its status and what it says.
func command(t *testing.T, env []string, args ...string) (code int, out, said string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Main(t.Context(), args, env, &o, &e)
	return code, o.String(), e.String()
}

// TestBackup: a copy taken from a server that works is restored into another
// folder and served: it has what was acknowledged before.
func TestBackup(t *testing.T) {
	t.Parallel()
	o := servertest.Options{CA: servertest.NewCA(t)}
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	id := a.CreateConsent()
	a.Act(id, "approve").Want(t, 200)
	copied := filepath.Join(t.TempDir(), "copy.db")
	code, out, said := command(t, []string{"CONSENTWIRE_DATA_DIR=" + s.Dir}, "backup", copied)
	if code != 0 || !strings.Contains(out, "1 applications") {
		t.Fatalf("got %d, %q, %q, want a copy", code, out, said)
	}
	later := a.CreateConsent() // not in it
	code, _, said = command(t, []string{"CONSENTWIRE_DATA_DIR=" + s.Dir}, "restore", copied)
	if code == 0 || !strings.Contains(said, "data folder") {
		t.Errorf("got %d, %q, want the folder of a running server left alone", code, said)
	}
	into := filepath.Join(t.TempDir(), "restored")
	if code, out, said = command(t, []string{"CONSENTWIRE_DATA_DIR=" + into}, "restore", copied); code != 0 {
		t.Fatalf("got %d, %q, %q, want it restored", code, out, said)
	}
	for _, name := range []string{"master-key", "admin-token"} {
		b, err := os.ReadFile(filepath.Join(s.Dir, name))
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(into, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	o.Dir = into
	restored := servertest.Start(t, o)
	b := servertest.Guest(t, restored.URL, a.ClientID, a.ClientSecret)
	var c struct{ Status string }
	b.Call("GET", "/v1/consents/"+id, nil).Want(t, 200).Into(t, &c)
	if c.Status == "" {
		t.Errorf("got %+v, want the consent as it was", c)
	}
	b.Call("GET", "/v1/consents/"+later, nil).Want(t, 404)
}
