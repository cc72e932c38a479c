//go:build postgres

package servertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// TestMove: a server that works is stopped, its store is moved into PostgreSQL,
// and goes on there: what waited for a retry is delivered, nothing is lost,
// repeated or out of order, and the folder is not served any more.
func TestMove(t *testing.T) {
	t.Parallel()
	o := servertest.Options{CA: servertest.NewCA(t), Env: []string{"CONSENTWIRE_LOG_LEVEL=info"}}
	rcv := servertest.NewReceiver(t, o.CA)
	down := make(chan struct{})
	rcv.Answer(func(r servertest.Received) servertest.Reply {
		select {
		case <-down:
		default:
			if r.Path == "/down" && r.N%3 == 0 { // so that some of a subject wait and others pass
				return servertest.Reply{Status: 503}
			}
		}
		return servertest.Reply{}
	})
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	subscribe(t, a, rcv.URL+"/one", map[string]any{"maxInFlight": wire})
	subscribe(t, a, rcv.URL+"/down", map[string]any{"maxInFlight": wire, "retrySchedule": []string{"5s", "5s", "5s"}})
	l := startLoad(s, a)
	servertest.Eventually(t, "the load to run", func() bool { return l.acks.Load() > 300 })
	made := l.end()
	if code := s.Stop(); code != 0 {
		t.Fatalf("got status %d, want 0", code)
	}
	before := len(rcv.Received())

	key, err := os.ReadFile(filepath.Join(s.Dir, "master-key"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"CONSENTWIRE_DATABASE=" + pgtest.Shared(t).Database(t),
		"CONSENTWIRE_MASTER_KEY=" + strings.TrimSpace(string(key)),
	}
	if code, _, said := command(t, env, "migrate", "--from", filepath.Join(s.Dir, "none")); code == 0 || !strings.Contains(said, "--from") {
		t.Errorf("got %d, %q, want no folder found", code, said)
	}
	code, out, said := command(t, env, "migrate", "--from", s.Dir)
	if code != 0 || !strings.Contains(out, "Moved") {
		t.Fatalf("got %d, %q, %q, want it moved", code, out, said)
	}
	if code, out, said = command(t, env, "migrate", "--from", s.Dir); code != 0 || !strings.Contains(out, "before") {
		t.Errorf("got %d, %q, %q, want to hear that it was moved", code, out, said)
	}
	if code, _, said := command(t, []string{"CONSENTWIRE_DATA_DIR=" + s.Dir}, "serve"); code == 0 || !strings.Contains(said, "moved") {
		t.Errorf("got %d, %q, want the folder not served any more", code, said)
	}

	close(down)
	o.Env = append(o.Env, env...)
	o.Env = append(o.Env, "CONSENTWIRE_LISTEN="+strings.TrimPrefix(s.URL, "http://"))
	on := servertest.New(t, o)
	on.Operator = s.Operator
	on.Setenv("CONSENTWIRE_ADMIN_TOKEN", s.Operator)
	on.Start()
	b := servertest.Guest(t, on.URL, a.ClientID, a.ClientSecret)
	more := startLoad(on, b)
	servertest.Eventually(t, "the load to go on", func() bool { return more.acks.Load() > 100 })
	made = append(made, more.end()...)
	got := heard(t, rcv, made, "/one", "/down")
	accepted := map[string]time.Time{}
	for i, r := range got {
		key := r.Path + " " + r.ID()
		if _, twice := accepted[key]; twice && i >= before {
			t.Errorf("%s came again after the move, though it was accepted", key)
		}
		if r.Answered && r.Status < 300 {
			accepted[key] = r.At
		}
	}
	other := []string{env[0], "CONSENTWIRE_MASTER_KEY=" + strings.TrimSpace(string(key))}
	fresh := servertest.Start(t, servertest.Options{CA: o.CA})
	fresh.Stop()
	if code, _, said := command(t, other, "migrate", "--from", fresh.Dir); code == 0 || !strings.Contains(said, "empty") {
		t.Errorf("got %d, %q, want no other store moved into a database that is used", code, said)
	}
}
