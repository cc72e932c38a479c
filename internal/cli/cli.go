// Package cli holds the commands: it reads the settings, builds the rooms,
// joins them, and starts and stops the whole.
//
// It decides nothing that a room could decide. Whatever stops a start is told
// in one sentence on standard error that names the setting to look at.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/load"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // the start failed, or the server broke
	exitUsage  = 2 // the command line is wrong
)

// Main carries out the command line and returns the exit status. args are the
// arguments without the program's name, environ holds "NAME=value".
//
// It returns when the command has ended, or, soon after ctx has, when what was
// in flight is finished: at most 20 s (CONTRACT 1).
func Main(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "help" {
		args = []string{"--help"}
	}
	if len(args) > 0 && args[0] == benchRole {
		_, err := load.Play(args[1:])
		return exit(ctx, err, stderr)
	}
	cmd, cfg, err := config.Parse(args, environ, stdout, stderr)
	if err == nil {
		switch cmd {
		case config.Bench:
			err = bench(ctx, args[1:], stdout, stderr)
		case config.Serve:
			limitMemory(environ)
			err = serve(ctx, cfg, stderr)
		case config.Dev:
			limitMemory(environ)
			err = dev(ctx, cfg, stdout, stderr)
		case config.Migrate:
			err = migrate(ctx, cfg, stdout)
		case config.RotateKeys:
			err = rotateKeys(ctx, cfg, stdout, stderr)
		case config.Backup:
			err = backup(cfg, stdout)
		case config.Restore:
			err = restore(cfg, stdout)
		case config.Version:
			_, err = fmt.Fprintln(stdout, thisBuild())
		}
	}
	return exit(ctx, err, stderr)
}

// exit says what went wrong and returns the exit status.
func exit(ctx context.Context, err error, stderr io.Writer) int {
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) { // stopped while it started
		return exitOK
	}
	// Nothing can be done about a standard error that takes nothing.
	_, _ = fmt.Fprintln(stderr, "consentwire: "+sentence(err))
	if fault.CodeOf(err) == "usage" {
		return exitUsage
	}
	return exitFailed
}

// settingError is a start that failed and the setting to look at.
type settingError struct {
	setting string
	err     error
}

func (e *settingError) Error() string { return e.setting + ": " + e.err.Error() }

func (e *settingError) Unwrap() error { return e.err }

// about names the setting that an error is about; nil stays nil.
func about(setting string, err error) error {
	if err == nil {
		return nil
	}
	return &settingError{setting, err}
}

// sentence returns what to tell the person who started us, on one line: the
// setting, the room's sentence, and the system's own reason when there is one.
func sentence(err error) string {
	about := ""
	if s, ok := errors.AsType[*settingError](err); ok {
		about, err = s.setting+": ", s.err
	}
	text := err.Error()
	if f, ok := errors.AsType[*fault.Error](err); ok {
		text = f.Msg
		if _, told := errors.AsType[*fault.Error](f.Err); f.Err != nil && !told {
			text = strings.TrimSuffix(text, ".") + ": " + f.Err.Error()
		}
	}
	text = strings.Join(strings.Fields(about+text), " ")
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") {
		text += "."
	}
	return text
}

// storeSetting returns the setting that a fault of opening the store is about.
func storeSetting(cfg config.Config, err error) string {
	if strings.HasPrefix(fault.CodeOf(err), "master_key") {
		return cfg.MasterKeySetting()
	}
	if cfg.Database.IsSet() {
		return "CONSENTWIRE_DATABASE"
	}
	return "CONSENTWIRE_DATA_DIR"
}

// opener returns what opens the database that the settings name.
func opener(cfg config.Config, l *slog.Logger) db.Opener {
	if cfg.Database.IsSet() {
		return postgres.Server{URL: cfg.Database.Reveal(), NoMigrate: cfg.NoMigrate, Log: l}
	}
	return sqlite.File{Dir: cfg.DataDir, NoMigrate: cfg.NoMigrate, Log: l}
}

// keys are the two secrets that a server starts with.
type keys struct {
	admin    secret.Value
	ring     *secret.Keyring
	made     []string // files that were written for them
	warnings []string // sentences for the log
}

// ensureKeys makes the data folder and the secrets that the settings leave
// out.
func ensureKeys(ctx context.Context, cfg config.Config) (keys, error) {
	var k keys
	warn := func(w string) {
		if w != "" {
			k.warnings = append(k.warnings, w)
		}
	}
	w, err := config.EnsureDataDir(cfg.DataDir)
	if err != nil {
		return k, about("CONSENTWIRE_DATA_DIR", err)
	}
	warn(w)
	note := func(key config.Key) {
		warn(key.Warning)
		if key.Made {
			k.made = append(k.made, key.File)
		}
	}
	admin := config.Key{Value: cfg.AdminToken}
	if !admin.Value.IsSet() {
		if admin, err = config.EnsureAdminToken(cfg.DataDir); err != nil {
			return k, about("CONSENTWIRE_ADMIN_TOKEN", err)
		}
		if cfg.Database.IsSet() {
			warn("the operator's bearer is that of this node's data folder; give all nodes the same by CONSENTWIRE_ADMIN_TOKEN")
		}
	}
	note(admin)
	k.admin = admin.Value
	master, err := masterKeys(ctx, cfg)
	if err != nil {
		return k, err
	}
	note(master)
	k.ring, err = secret.ParseKeyring(master.Value)
	return k, about(cfg.MasterKeySetting(), err)
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, cfg config.Config, stdout io.Writer) error {
	if cfg.From != "" {
		return moveStore(ctx, cfg, stdout)
	}
	if cfg.Database.IsSet() {
		if err := postgres.Migrate(ctx, postgres.Server{URL: cfg.Database.Reveal()}); err != nil {
			return about(storeSetting(cfg, err), err)
		}
		return nil
	}
	if _, err := config.EnsureDataDir(cfg.DataDir); err != nil {
		return about("CONSENTWIRE_DATA_DIR", err)
	}
	err := sqlite.Migrate(ctx, sqlite.File{Dir: cfg.DataDir})
	if err != nil {
		return about(storeSetting(cfg, err), err)
	}
	return nil
}
