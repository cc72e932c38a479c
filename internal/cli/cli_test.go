package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/config"
)

// run carries out a command line that must end by itself.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var out, errs bytes.Buffer
	code = Main(ctx, args, env, &out, &errs)
	return code, out.String(), errs.String()
}

func TestMain_saysWhatStopsAStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		f := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	sealed := func() string { // a folder of its own for each
		t.Helper()
		dir := t.TempDir()
		if code, _, said := run(t, []string{"CONSENTWIRE_LISTEN=" + taken.Addr().String(), "CONSENTWIRE_DATA_DIR=" + dir}, "serve"); code != exitFailed {
			t.Fatalf("got status %d and %q, want a folder with its store and then a taken address", code, said)
		}
		return dir
	}
	keyless := func() string {
		t.Helper()
		dir := sealed()
		key := filepath.Join(dir, config.MasterKeyName)
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := os.Stat(key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v about the missing master key, want that none was made", err)
			}
		})
		return dir
	}
	zero := base64.StdEncoding.EncodeToString(make([]byte, 32))
	file := write("file", "")
	old := filepath.Join(dir, "old")

	tests := []struct {
		name string
		env  []string
		args []string
		code int
		want []string // parts of what is said
	}{
		{"an unknown command", nil, []string{"server"}, exitUsage, []string{"server"}},
		{"no command", nil, nil, exitUsage, []string{"serve", "dev"}},
		{"a secret as a flag", nil, []string{"serve", "--admin-token=x"}, exitUsage, []string{"CONSENTWIRE_ADMIN_TOKEN"}},
		{"an unknown setting", []string{"CONSENTWIRE_LISTN=x"}, []string{"serve"}, exitFailed, []string{"CONSENTWIRE_LISTN"}},
		{"a malformed setting", []string{"CONSENTWIRE_ATTEMPT_TIMEOUT=soon"}, []string{"serve"}, exitFailed, []string{"CONSENTWIRE_ATTEMPT_TIMEOUT", "60m"}},
		{"a database without a master key", []string{"CONSENTWIRE_DATABASE=postgres://hunter2@x/y", "CONSENTWIRE_DATA_DIR=" + t.TempDir()}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "database"}},
		{"a database that is not there", []string{
			"CONSENTWIRE_DATABASE=postgres://hunter2:hunter2@127.0.0.1:1/y", "CONSENTWIRE_DATA_DIR=" + t.TempDir(), "CONSENTWIRE_MASTER_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		}, []string{"serve"}, exitFailed, []string{"CONSENTWIRE_DATABASE", "cannot be reached"}},
		{"an address in use", []string{"CONSENTWIRE_LISTEN=" + taken.Addr().String(), "CONSENTWIRE_DATA_DIR=" + t.TempDir()}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_LISTEN", taken.Addr().String(), "in use"}},
		{"an address in use, for a newcomer who asked for it", []string{"CONSENTWIRE_LISTEN=" + taken.Addr().String()}, []string{"dev"}, exitFailed,
			[]string{"CONSENTWIRE_LISTEN", "in use"}},
		{"a data folder that is a file", []string{"CONSENTWIRE_DATA_DIR=" + file}, []string{"serve"}, exitFailed, []string{"CONSENTWIRE_DATA_DIR", "not a directory"}},
		{"a data folder below a file", []string{"CONSENTWIRE_DATA_DIR=" + file + "/x"}, []string{"migrate"}, exitFailed, []string{"CONSENTWIRE_DATA_DIR", "not a directory"}},
		{"a file that is no store", []string{"CONSENTWIRE_DATA_DIR=" + filepath.Dir(write("no-store/consentwire.db", strings.Repeat("hunter2 ", 1000)))}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_DATA_DIR", "store"}},
		{"another master key", []string{"CONSENTWIRE_DATA_DIR=" + sealed(), "CONSENTWIRE_MASTER_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "sealed"}},
		{"another master key, from a file", []string{"CONSENTWIRE_DATA_DIR=" + sealed(), "CONSENTWIRE_MASTER_KEY_FILE=" + write("zero", zero)}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY_FILE:", "sealed"}},
		{"another master key, from a command", []string{"CONSENTWIRE_DATA_DIR=" + sealed(), "CONSENTWIRE_MASTER_KEY_COMMAND=echo " + zero + " # hunter2"}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY_COMMAND:", "sealed"}},
		{"a command for the master keys that fails", []string{"CONSENTWIRE_DATA_DIR=" + t.TempDir(), "CONSENTWIRE_MASTER_KEY_COMMAND=echo hunter2 >&2; exit 4"}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY_COMMAND", "exit status 4"}},
		{"a missing master key", []string{"CONSENTWIRE_DATA_DIR=" + keyless()}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "master-key", "missing", "put it back"}},
		{"a missing master key, for a newcomer", []string{"CONSENTWIRE_DATA_DIR=" + keyless(), "CONSENTWIRE_LISTEN=127.0.0.1:0"}, []string{"dev"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "put it back"}},
		{"a missing master key that is to be rotated", []string{"CONSENTWIRE_DATA_DIR=" + keyless()}, []string{"keys", "rotate"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "put it back"}},
		{"a folder without anything to rotate", []string{"CONSENTWIRE_DATA_DIR=" + filepath.Join(dir, "nowhere")}, []string{"keys", "rotate"}, exitFailed,
			[]string{"CONSENTWIRE_DATA_DIR", "no store"}},
		{"a wrong master key to rotate", []string{"CONSENTWIRE_DATA_DIR=" + sealed(), "CONSENTWIRE_MASTER_KEY=" + zero}, []string{"keys", "rotate"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "sealed"}},
		{"a spoilt key in the data folder", []string{"CONSENTWIRE_DATA_DIR=" + filepath.Dir(write("spoilt/master-key", "hunter2\n"))}, []string{"serve"}, exitFailed,
			[]string{"CONSENTWIRE_MASTER_KEY", "base 64"}},
		{"a store that is not to be migrated", []string{"CONSENTWIRE_DATA_DIR=" + old}, []string{"serve", "--no-migrate"}, exitFailed, []string{"CONSENTWIRE_DATA_DIR", "migrate"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out, said := run(t, append(tt.env, "CONSENTWIRE_LOG_LEVEL=error"), tt.args...)
			if code != tt.code {
				t.Errorf("got status %d, want %d; said %q", code, tt.code, said)
			}
			if !strings.HasPrefix(said, "consentwire: ") || strings.Count(said, "\n") != 1 {
				t.Errorf("said %q, want one line", said)
			}
			for _, part := range tt.want {
				if !strings.Contains(said, part) {
					t.Errorf("said %q, want it to name %q", said, part)
				}
			}
			if strings.Contains(said+out, "hunter2") {
				t.Errorf("said %q, which holds a secret", said+out)
			}
		})
	}
}

func TestMain_onlyOneProcessHasTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n, err := newNode(t.Context(), config.Config{
		Listen: "127.0.0.1:0", DataDir: dir, RetrySchedule: []time.Duration{time.Second},
	}, slog.New(slog.DiscardHandler), listen)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	code, _, said := run(t, nil, "serve", "--listen=127.0.0.1:0", "--log-level=error", "--data-dir="+dir)
	if code != exitFailed || !strings.Contains(said, "CONSENTWIRE_DATA_DIR") || !strings.Contains(said, "Another process") {
		t.Errorf("got status %d and %q, want %d and a word on the other process", code, said, exitFailed)
	}
}

func TestMain_migrate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 { // it may be called again
		if code, out, said := run(t, nil, "migrate", "--data-dir="+dir); code != exitOK || out+said != "" {
			t.Fatalf("got status %d, %q, want %d and nothing to say", code, out+said, exitOK)
		}
	}
	n, err := newNode(t.Context(), config.Config{
		Listen: "127.0.0.1:0", DataDir: dir, NoMigrate: true, RetrySchedule: []time.Duration{time.Second},
	}, slog.New(slog.DiscardHandler), listen)
	if err != nil {
		t.Fatalf("start on the migrated folder: %v", err)
	}
	if err := n.close(); err != nil {
		t.Error(err)
	}
}

// A stop that comes while the server starts is a stop like any other.
func TestMain_stoppedWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var out, errs bytes.Buffer
	for _, cmd := range []string{"serve", "dev"} {
		args := []string{cmd, "--listen=127.0.0.1:0", "--data-dir=" + t.TempDir()}
		if code := Main(ctx, args, nil, &out, &errs); code != exitOK {
			t.Errorf("%s: got status %d, want %d; said %q", cmd, code, exitOK, errs.String())
		}
	}
}

func TestMain_help(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"--help"}, {"serve", "--help"}, {"dev", "--help"}} {
		code, out, said := run(t, nil, args...)
		if code != exitOK || said != "" || !strings.Contains(out, "consentwire") {
			t.Errorf("%v: got status %d, %q, %q, want help on standard output", args, code, out, said)
		}
	}
	if _, out, _ := run(t, nil, "serve", "--help"); !strings.Contains(out, "CONSENTWIRE_RETRY_SCHEDULE") {
		t.Errorf("got %q, want every setting", out)
	}
}

func TestMain_version(t *testing.T) {
	t.Parallel()
	code, out, said := run(t, []string{"CONSENTWIRE_NONSENSE=x"}, "version")
	if want := thisBuild().String() + "\n"; code != exitOK || out != want || said != "" {
		t.Errorf("got status %d, %q, %q, want %q", code, out, said, want)
	}
}
