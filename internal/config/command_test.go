package config

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// commanded returns the settings with a command for the master keys. Its
// environment has a PATH, and secrets that it must not see.
func commanded(t *testing.T, command string, env ...string) Config {
	t.Helper()
	env = append(env, "PATH="+os.Getenv("PATH"), "CONSENTWIRE_ADMIN_TOKEN="+goodToken, "CONSENTWIRE_MASTER_KEY_COMMAND="+command)
	_, c, err := Parse([]string{"serve"}, env, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfig_MasterKeys_fromCommand(t *testing.T) {
	t.Parallel()
	dir := files(t)
	tests := []struct {
		name    string
		command string
		want    string // the keys
		says    string // of the fault, when there are none
	}{
		{"one key", "echo " + goodKey, goodKey, ""},
		{"several keys without a line break", "printf %s, " + goodKey + "; printf " + goodKey, goodKey + "," + goodKey, ""},
		{"a foreign line end", `printf '` + goodKey + `\r\n'`, goodKey, ""},
		{"from a file, by the environment", `cat "$FOLDER/keys"`, goodKey + "," + goodKey, ""},
		{"as the operator's token is not its business", `test -z "$CONSENTWIRE_ADMIN_TOKEN" && echo ` + goodKey, goodKey, ""},
		{"and talks beside it", "echo hunter2 >&2; echo " + goodKey, goodKey, ""},

		{"a command that fails", "echo " + goodKey + "; echo hunter2 >&2; exit 3", "", "exit status 3"},
		{"a command that there is not", "no-such-command-hunter2", "", "exit status 127"},
		{"a command that kills itself", "kill -9 $$", "", "signal: killed"},
		{"nothing", "true", "", "printed nothing"},
		{"a line break", "echo", "", "printed nothing"},
		{"no key", "echo hunter2", "", "base 64"},
		{"two lines", "echo " + goodKey + "; echo " + goodKey, "", "base 64"},
		{"too much", "head -c 70000 /dev/zero", "", "65536 bytes"},
		{"without end", "exec cat /dev/zero", "", "65536 bytes"},
		{"an output that a child holds open", "sleep 20 & echo " + goodKey, "", "holds its output open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := commanded(t, tt.command, "FOLDER="+dir)
			for _, get := range []func(context.Context) (got interface{ Reveal() string }, err error){
				func(ctx context.Context) (interface{ Reveal() string }, error) { return c.MasterKeys(ctx) },
				func(ctx context.Context) (interface{ Reveal() string }, error) { return c.MasterKeysAgain(ctx) },
			} {
				got, err := get(t.Context())
				if got.Reveal() != tt.want || (err == nil) != (tt.says == "") {
					t.Fatalf("got %q, %v, want %q", got.Reveal(), err, tt.want)
				}
				if err == nil {
					continue
				}
				f, ok := errors.AsType[*fault.Error](err)
				if !ok || f.Code != "master_key_unreadable" || !strings.HasPrefix(f.Msg, "CONSENTWIRE_MASTER_KEY_COMMAND ") || !strings.Contains(f.Msg, tt.says) {
					t.Errorf("got %v, want a sentence that names the setting and says %q", err, tt.says)
				}
				if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), goodKey) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %q, which tells what the command wrote", err)
				}
			}
		})
	}
}

// A stop that comes while the command runs takes the command along, and what
// it has started.
func TestConfig_MasterKeys_stopped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "began")
	c := commanded(t, `(while :; do echo >>"$FILE"; sleep 0.01; done) & wait`, "FILE="+pipe)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.MasterKeys(ctx)
		done <- err
	}()
	size := func() int64 {
		i, err := os.Stat(pipe)
		if err != nil {
			return 0
		}
		return i.Size()
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for size() == 0 {
		<-tick.C
	}
	stop()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the command was not ended")
	}
	was := size()
	for range 20 {
		<-tick.C
	}
	if now := size(); now != was {
		t.Errorf("its child went on: %d bytes, then %d", was, now)
	}
}

func TestConfig_runKeyCommand_slow(t *testing.T) {
	t.Parallel()
	c := commanded(t, "echo "+goodKey+"; sleep 20")
	began := time.Now()
	v, err := c.runKeyCommand(t.Context(), 100*time.Millisecond)
	if fault.CodeOf(err) != "master_key_unreadable" || !strings.Contains(err.Error(), "did not end within 100ms") || v.IsSet() {
		t.Errorf("got %q, %v, want it told to be too slow", v.Reveal(), err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v, want soon after 100ms", took)
	}
}
