package cli

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

// startOn starts a server on a data folder and stops it again. The error is
// why it does not start.
func startOn(t *testing.T, dir string, env ...string) error {
	t.Helper()
	_, cfg, err := config.Parse([]string{"serve", "--listen=127.0.0.1:0", "--data-dir=" + dir}, env, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	n, err := newNode(t.Context(), cfg, slog.New(slog.DiscardHandler), listen)
	if err != nil {
		return err
	}
	return n.close()
}

// rotated reads the line of a rotation that went well.
var rotated = regexp.MustCompile(`^The master key ([0-9a-f]{16}) seals everything now: (\d+) records were sealed anew, .*\n$`)

// rotateOn carries out the command and returns the key's ID and the number of
// records.
func rotateOn(t *testing.T, dir string, env ...string) (keyID, records string) {
	t.Helper()
	code, out, said := run(t, env, "keys", "rotate", "--data-dir="+dir)
	m := rotated.FindStringSubmatch(out)
	if code != exitOK || m == nil || said != "" {
		t.Fatalf("got status %d, %q, %q, want %d and the line of a rotation", code, out, said, exitOK)
	}
	return m[1], m[2]
}

// ownRecords is how many records a store has that nobody has used: its check
// and its index.
const ownRecords = "2"

func TestMain_keysRotate_ownKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, config.MasterKeyName)
	read := func() string {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	write := func(keys string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(keys+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := startOn(t, dir); err != nil {
		t.Fatal(err)
	}
	list, seen := read(), map[string]bool{}
	for range 3 {
		id, records := rotateOn(t, dir)
		got := read()
		if !strings.HasSuffix(got, ","+list) || records != ownRecords || seen[id] {
			t.Errorf("got key %s, %s records, and %d bytes of keys after %d, want a new key before the others", id, records, len(got), len(list))
		}
		list, seen[id] = got, true
	}
	if i, err := os.Stat(file); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", i.Mode(), err)
	}
	newest, former, _ := strings.Cut(list, ",")
	write(former)
	if err := startOn(t, dir); fault.CodeOf(err) != "master_key_wrong" {
		t.Errorf("got %v with the former keys only, want master_key_wrong", err)
	}
	write(newest)
	if err := startOn(t, dir); err != nil {
		t.Errorf("got %v with the newest key only, want it to open everything", err)
	}
}

// A rotation that ended at any point leaves the list with both keys; what it
// did not do the next one does.
func TestMain_keysRotate_again(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := startOn(t, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := config.PrependMasterKey(dir); err != nil { // and then the cable was pulled
		t.Fatal(err)
	}
	if err := startOn(t, dir); err != nil {
		t.Fatalf("start between: %v", err)
	}
	if _, records := rotateOn(t, dir); records != ownRecords {
		t.Errorf("got %s records, want %s", records, ownRecords)
	}
	k, err := config.LoadMasterKey(dir)
	if err != nil || strings.Count(k.Value.Reveal(), ",") != 2 {
		t.Errorf("got %d commas, %v, want three keys", strings.Count(k.Value.Reveal(), ","), err)
	}
}

func TestMain_keysRotate_givenKeys(t *testing.T) {
	t.Parallel()
	oldKey, newKey := secret.RandomStd(32), secret.RandomStd(32)
	tests := []struct {
		name    string
		setting string
		value   func(file, keys string) string
	}{
		{"from the environment", "CONSENTWIRE_MASTER_KEY", func(_, keys string) string { return keys }},
		{"from a file", "CONSENTWIRE_MASTER_KEY_FILE", func(file, _ string) string { return file }},
		{"from a command", "CONSENTWIRE_MASTER_KEY_COMMAND", func(file, _ string) string { return "cat '" + file + "'" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, file := t.TempDir(), filepath.Join(t.TempDir(), "keys")
			give := func(keys string) (env string) {
				t.Helper()
				if err := os.WriteFile(file, []byte(keys+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return tt.setting + "=" + tt.value(file, keys)
			}
			if err := startOn(t, dir, give(oldKey)); err != nil {
				t.Fatal(err)
			}
			if _, records := rotateOn(t, dir, give(oldKey)); records != "0" {
				t.Errorf("got %s records for the same list, want none", records)
			}
			id, records := rotateOn(t, dir, give(newKey+","+oldKey))
			if records != ownRecords {
				t.Errorf("got %s records, want %s", records, ownRecords)
			}
			ring, err := secret.ParseKeyring(secret.New(newKey))
			if err != nil || ring.KeyID() != id {
				t.Errorf("got the key %s, %v, want the new one", id, err)
			}
			if err := startOn(t, dir, give(oldKey)); fault.CodeOf(err) != "master_key_wrong" || !strings.HasPrefix(sentence(err), tt.setting+": ") {
				t.Errorf("got %v with the old key, want it refused under the setting's name", err)
			}
			if err := startOn(t, dir, give(newKey)); err != nil {
				t.Errorf("got %v with the new key, want a start", err)
			}
			if _, err := os.Stat(filepath.Join(dir, config.MasterKeyName)); err == nil {
				t.Error("there is a master key in the data folder, want none beside the one that is given")
			}
		})
	}
}

// What a server sealed until now must stay openable until all is sealed anew.
func TestKeyMaster_refusesToDropTheKeyThatSeals(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	write := func(keys string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three := secret.RandomStd(32), secret.RandomStd(32), secret.RandomStd(32)
	ring, err := secret.ParseKeyring(secret.New(one))
	if err != nil {
		t.Fatal(err)
	}
	k := &keyMaster{cfg: config.Config{MasterKeyFile: file}, ring: ring, log: slog.New(slog.DiscardHandler)}
	was := ring.KeyID()
	write(two)
	if _, err := k.Renew(t.Context()); fault.CodeOf(err) != "master_key_dropped" || !strings.Contains(err.Error(), "CONSENTWIRE_MASTER_KEY_FILE") || ring.KeyID() != was {
		t.Errorf("got %v, want master_key_dropped that names the setting, and the key unchanged", err)
	}
	write("hunter2")
	if _, err := k.Renew(t.Context()); fault.CodeOf(err) != "master_key_unreadable" || ring.KeyID() != was {
		t.Errorf("got %v, want master_key_unreadable, and the key unchanged", err)
	}
	for _, keys := range []string{two + "," + one, three + "," + two} { // the oldest may go, for it seals nothing
		write(keys)
		id, err := k.Renew(t.Context())
		if err != nil || id == was || id != ring.KeyID() {
			t.Errorf("got %q, %v, want another key", id, err)
		}
		was = id
	}
}

// A rotation that is stopped is told from one that ended.
func TestMain_keysRotate_stopped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := startOn(t, dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var said strings.Builder
	if code := Main(ctx, []string{"keys", "rotate", "--data-dir=" + dir}, nil, io.Discard, &said); code != exitFailed || !strings.Contains(said.String(), "again") {
		t.Errorf("got status %d and %q, want %d and what to do", code, said.String(), exitFailed)
	}
	rotateOn(t, dir)
}

func TestAddress(t *testing.T) {
	t.Parallel()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("leaf")}))
	chain := filepath.Join(t.TempDir(), "chain.pem")
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}))
	if err := os.WriteFile(chain, []byte(key+certificate+certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  config.Config
		at   string
		url  string
		cert string
	}{
		{"the loopback", config.Config{}, "127.0.0.1:8080", "http://127.0.0.1:8080", ""},
		{"not where the world reaches us", config.Config{PublicURL: "https://consent.example"}, "127.0.0.1:8080", "http://127.0.0.1:8080", ""},
		{"all addresses", config.Config{}, "[::]:8080", "http://127.0.0.1:8080", ""},
		{"all addresses of IPv4", config.Config{}, "0.0.0.0:80", "http://127.0.0.1:80", ""},
		{"another address of ours, over TLS", config.Config{TLSCertFile: chain}, "[::1]:443", "https://[::1]:443", certificate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.DataDir = t.TempDir()
			want := func(when, url, cert string) {
				t.Helper()
				got, gotCert, err := runningServer(tt.cfg.DataDir)
				if err != nil || got != url || string(gotCert) != cert {
					t.Errorf("%s: got %q, %q, %v, want %q, %q", when, got, gotCert, err, url, cert)
				}
			}
			want("before", "", "")
			for range 2 {
				a, err := publishAddress(tt.cfg, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.at)))
				if err != nil {
					t.Fatal(err)
				}
				want("while it runs", tt.url, tt.cert)
				entries, err := os.ReadDir(tt.cfg.DataDir)
				if err != nil || len(entries) != 1 {
					t.Fatalf("got %v, %v in the folder, want the file alone", entries, err)
				}
				if i, err := entries[0].Info(); err != nil || i.Mode().Perm() != 0o600 {
					t.Errorf("got mode %v, %v, want 0600", i.Mode(), err)
				}
				if b, err := os.ReadFile(a.file); err != nil || strings.Contains(string(b), "PRIVATE") {
					t.Errorf("got %q, %v, want no private key in it", b, err)
				}
				if err := a.f.Close(); err != nil { // as the end of a process does
					t.Fatal(err)
				}
				want("when it was killed", "", "")
			}
			a, err := publishAddress(tt.cfg, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.at)))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.remove(); err != nil {
				t.Error(err)
			}
			want("when it has stopped", "", "")
			if left, err := os.ReadDir(tt.cfg.DataDir); err != nil || len(left) != 0 {
				t.Errorf("got %v, %v in the folder, want nothing left", left, err)
			}
		})
	}
}

// A file of a server that is dead leads nowhere, whoever has its port now.
func TestMain_keysRotate_staleAddress(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := startOn(t, dir); err != nil {
		t.Fatal(err)
	}
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	go func() {
		if c, err := stranger.Accept(); err == nil {
			c.Close()
			close(called)
		}
	}()
	t.Cleanup(func() { stranger.Close() })
	if err := os.WriteFile(filepath.Join(dir, addressName), fmt.Appendf(nil, "http://%s\n", stranger.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	rotateOn(t, dir)
	select {
	case <-called:
		t.Error("the stranger was asked")
	default:
	}
}
