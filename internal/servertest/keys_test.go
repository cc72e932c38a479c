package servertest_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/cli"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/servertest"
)

// keys carries out a command for the master keys, as an operator does who has
// the data folder before them.
func keys(t *testing.T, s *servertest.Server, env ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(t.Context(), []string{"keys", "rotate", "--data-dir", s.Dir}, env, &out, &errs)
	return code, out.String(), errs.String()
}

var rotated = regexp.MustCompile(`^The master key ([0-9a-f]{16}) seals everything now: (\d+) records were sealed anew`)

// rotate is keys for a rotation that must go well. It returns the key's ID and
// the number of records.
func rotate(t *testing.T, s *servertest.Server, env ...string) (id string, records int) {
	t.Helper()
	code, out, said := keys(t, s, append(env, "CONSENTWIRE_ADMIN_TOKEN="+s.Operator)...)
	m := rotated.FindStringSubmatch(out)
	if code != 0 || m == nil || strings.Count(out, "\n") != 1 || said != "" {
		t.Fatalf("got status %d, %q, %q, want 0 and one line on the rotation", code, out, said)
	}
	records, err := strconv.Atoi(m[2])
	if err != nil {
		t.Fatal(err)
	}
	return m[1], records
}

// keyFile returns the file of the data folder's own master keys, and the keys.
func keyFile(t *testing.T, s *servertest.Server) (file string, list []string) {
	t.Helper()
	file = filepath.Join(s.Dir, "master-key")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.Split(strings.TrimSpace(string(b)), ",")
}

func writeKeys(t *testing.T, file string, list ...string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(strings.Join(list, ",")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sealedSubscription makes a subscription whose credential is kept sealed.
func sealedSubscription(t *testing.T, a *servertest.Application, url string) {
	t.Helper()
	subscribe(t, a, url, map[string]any{"maxInFlight": wire, "authentication": map[string]any{
		"authType": "api-key", "apiKeyAuth": map[string]string{"location": "header", "key": "X-API-Key", "value": "sealed-key"},
	}})
}

// wantInOrder checks that every acknowledged event arrives, with the sealed
// credential, and that no subject's order is broken.
func wantInOrder(t *testing.T, rcv *servertest.Receiver, made []promise) {
	t.Helper()
	missing := func() (n int) {
		got := map[string]bool{}
		for _, r := range rcv.Received() {
			got[r.Subject()+" "+r.Event()] = got[r.Subject()+" "+r.Event()] || r.Answered
		}
		for _, p := range made {
			for _, e := range p.events {
				if !got[p.consent+" "+e] {
					n++
				}
			}
		}
		return n
	}
	servertest.Eventually(t, "all acknowledged events", func() bool { return missing() == 0 })
	for subject, rs := range bySubject(rcv.Received()) {
		for i, r := range rs {
			if r.Header.Get("X-API-Key") != "sealed-key" {
				t.Errorf("%s arrived with the credential %q, want the one that is kept sealed", r.ID(), r.Header.Get("X-API-Key"))
			}
			if i > 0 && (r.Sequence() < rs[i-1].Sequence() || r.Sequence() == rs[i-1].Sequence() && r.ID() != rs[i-1].ID()) {
				t.Errorf("the order of %s is broken: %d after %d", subject, r.Sequence(), rs[i-1].Sequence())
			}
		}
	}
}

// wantReadable checks that the consents and their events can be read.
func wantReadable(t *testing.T, a *servertest.Application, made []promise) {
	t.Helper()
	for i, p := range made {
		if i%10 == 0 { // each is opened by a key of its own; all of them would take a while
			a.Call("GET", "/v1/consents/"+p.consent, nil).Want(t, 200)
		}
	}
	logged := map[string]int{}
	for _, e := range events(t, a) {
		logged[e.Subject]++
	}
	for _, p := range made {
		if logged[p.consent] < len(p.events) {
			t.Errorf("%s has %d events in the log, want at least %d", p.consent, logged[p.consent], len(p.events))
		}
	}
}

// The master key is rotated three times while deliveries run; then the newest
// key alone opens everything, and the former ones open nothing.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	s := servertest.Start(t, servertest.Options{CA: ca, Env: []string{"CONSENTWIRE_LOG_LEVEL=info"}})
	a := s.NewApplication("Bank")
	sealedSubscription(t, a, rcv.URL)

	l, seen := startLoad(s, a), map[string]bool{}
	for range 3 {
		acked, arrived := l.acks.Load(), len(rcv.Received())
		servertest.Eventually(t, "the load to run and deliveries to arrive", func() bool {
			return l.acks.Load() > acked+150 && len(rcv.Received()) > arrived+150
		})
		id, records := rotate(t, s)
		if seen[id] || records < 10 {
			t.Errorf("got key %s and %d records, want another key and more records", id, records)
		}
		seen[id] = true
	}
	made := l.end()
	wantInOrder(t, rcv, made)
	wantReadable(t, a, made)
	if code := s.Stop(); code != 0 {
		t.Errorf("stopped with status %d, want 0", code)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "address")); err == nil {
		t.Error("the file address is left after a clean stop")
	}
	file, list := keyFile(t, s)
	if len(list) != 4 {
		t.Fatalf("got %d keys, want the first and three more", len(list))
	}

	writeKeys(t, file, list[1:]...)
	s.Launch()
	if code := s.WaitEnd(s.Done()); code != 1 || !strings.Contains(s.Log.Tail(1), "CONSENTWIRE_MASTER_KEY") {
		t.Errorf("got status %d and %q with the former keys, want 1 and the setting named", code, s.Log.Tail(1))
	}
	writeKeys(t, file, list[0])
	s.Start()
	wantReadable(t, a, made)
	consent := a.CreateConsent()
	servertest.Eventually(t, "a delivery under the newest key alone", func() bool {
		return slices.ContainsFunc(rcv.Received(), func(r servertest.Received) bool {
			return r.Subject() == consent && r.Header.Get("X-API-Key") == "sealed-key"
		})
	})
	t.Logf("%d consents, %d requests", len(made), len(rcv.Received()))
}

// A server that is killed while it rotates starts again, and a further
// rotation ends what was begun.
func TestKeysRotate_killed(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	s := servertest.Start(t, servertest.Options{Binary: binary(t), CA: ca, Env: []string{"CONSENTWIRE_LOG_LEVEL=info"}})
	a := s.NewApplication("Bank")
	sealedSubscription(t, a, rcv.URL)

	l, cutOff := startLoad(s, a), 0
	for range 3 {
		acked := l.acks.Load()
		servertest.Eventually(t, "the load to run", func() bool { return l.acks.Load() > acked+150 })
		done := make(chan int)
		go func() {
			code, _, _ := keys(t, s, "CONSENTWIRE_ADMIN_TOKEN="+s.Operator)
			done <- code
		}()
		<-time.After(time.Duration(random.IntN(100)) * time.Millisecond)
		s.Kill()
		if <-done != 0 {
			cutOff++
		}
		s.Start()
	}
	made := l.end()
	id, _ := rotate(t, s)
	wantInOrder(t, rcv, made)
	t.Logf("%d consents, %d of 3 rotations cut off", len(made), cutOff)
	s.Stop()
	file, list := keyFile(t, s)
	ring, err := secret.ParseKeyring(secret.New(list[0]))
	if err != nil || ring.KeyID() != id {
		t.Fatalf("got the key %s, %v, want the first of the file", id, err)
	}
	writeKeys(t, file, list[0])
	s.Start()
	wantReadable(t, a, made)
}

// Whoever may open the data folder reaches the server that has it open,
// wherever it listens; what it refuses is told.
func TestKeysRotate_asksTheServer(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	cert, key := ca.Files(t)
	folder := t.TempDir()
	list := filepath.Join(folder, "keys")
	first, second := secret.RandomStd(32), secret.RandomStd(32)
	writeKeys(t, list, first)
	s := servertest.Start(t, servertest.Options{CA: ca, Env: []string{
		"CONSENTWIRE_LISTEN=0.0.0.0:0", "CONSENTWIRE_TLS_CERT_FILE=" + cert, "CONSENTWIRE_TLS_KEY_FILE=" + key,
		"CONSENTWIRE_MASTER_KEY_COMMAND=cat '" + list + "'",
	}})
	s.NewApplication("Bank").CreateConsent()

	refused := func(what, env string, parts ...string) {
		t.Helper()
		code, out, said := keys(t, s, env)
		if code != 1 || out != "" || !strings.HasPrefix(said, "consentwire: ") || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: got status %d, %q, %q, want 1 and one sentence", what, code, out, said)
		}
		for _, part := range parts {
			if !strings.Contains(said, part) {
				t.Errorf("%s: said %q, want it to name %q", what, said, part)
			}
		}
	}
	refused("no bearer", "CONSENTWIRE_LOG_LEVEL=info", "CONSENTWIRE_ADMIN_TOKEN")
	if _, err := os.Stat(filepath.Join(s.Dir, "admin-token")); err == nil {
		t.Error("a bearer was made, want none: the server would not know it")
	}
	refused("another bearer", "CONSENTWIRE_ADMIN_TOKEN="+strings.Repeat("x", 32), "CONSENTWIRE_ADMIN_TOKEN", "another")
	bearer := "CONSENTWIRE_ADMIN_TOKEN=" + s.Operator
	writeKeys(t, list, second)
	refused("a list without the key that seals", bearer, "CONSENTWIRE_MASTER_KEY_COMMAND", "must still hold")
	writeKeys(t, list, "hunter2")
	refused("a list that is none", bearer, "CONSENTWIRE_MASTER_KEY_COMMAND", "base 64")
	writeKeys(t, list, second, first)
	if _, records := rotate(t, s); records < 3 {
		t.Errorf("got %d records, want those of the store and of a consent", records)
	}
	if _, records := rotate(t, s); records != 0 {
		t.Errorf("got %d records for the same list, want none", records)
	}
	if text := s.Log.String(); strings.Contains(text, "hunter2") || strings.Contains(text, first) || strings.Contains(text, second) {
		t.Error("the log holds what the command printed")
	}
	writeKeys(t, list, second)
	s.Restart()

	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "master-key" {
			t.Error("there is a master key in the data folder, want none beside the one that is given")
		}
		if i, err := e.Info(); err == nil && i.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", e.Name(), fmt.Sprintf("%04o", i.Mode().Perm()))
		} else if err != nil && !os.IsNotExist(err) && err != fs.ErrNotExist {
			t.Error(err)
		}
	}
}
