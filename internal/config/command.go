package config

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
)

// The bounds of the command that prints the master keys. Ours.
const (
	commandTime   = 30 * time.Second
	commandOutput = maxSecretFile // bytes
	// commandDrain is how long its output may stay open when it has ended.
	commandDrain = time.Second
)

// runKeyCommand returns the list that the command prints. What it writes to
// standard error is thrown away, for it may hold a secret. The error, a
// sentence about the setting, holds nothing that it wrote.
//
// When the time is over or ctx ends, the command is killed with all that it
// started.
func (c Config) runKeyCommand(ctx context.Context, within time.Duration) (secret.Value, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errSlow)
	defer cancel()
	out := &bounded{left: commandOutput}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", c.MasterKeyCommand) // #nosec G204 -- the operator's own command, which a setting gives
	cmd.Env, cmd.Stdout = append([]string{}, c.commandEnviron...), out   // nil would be all of ours
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                // so that the shell's children can be killed with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = commandDrain
	err := cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(context.Cause(ctx), errSlow):
		return secret.Value{}, c.keysUnreadable(fmt.Sprintf("is a command that did not end within %s", within))
	case ctx.Err() != nil:
		return secret.Value{}, ctx.Err()
	case out.left < 0:
		return secret.Value{}, c.keysUnreadable(fmt.Sprintf("is a command that prints more than %d bytes", commandOutput))
	case exited:
		return secret.Value{}, c.keysUnreadable("is a command that failed: " + exit.ProcessState.String())
	case errors.Is(err, exec.ErrWaitDelay):
		return secret.Value{}, c.keysUnreadable("is a command that ended and left a process behind that holds its output open")
	case err != nil:
		return secret.Value{}, c.keysUnreadable("is a command that cannot be run: " + cause(err))
	}
	text := line(out.b)
	if text == "" {
		return secret.Value{}, c.keysUnreadable("is a command that printed nothing")
	}
	if wrong := checkMasterKey(text); wrong != "" {
		return secret.Value{}, c.keysUnreadable("is a command whose output " + wrong)
	}
	return secret.New(text), nil
}

// errSlow tells that the command used up its time.
var errSlow = errors.New("the command is too slow")

// bounded keeps what is written, up to a limit. A write that goes beyond it
// fails, which ends the command's output.
type bounded struct {
	b    []byte
	left int // bytes; negative: it was too much
}

// Write keeps p.
func (w *bounded) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("the output is too long")
	}
	w.b = append(w.b, p...)
	return len(p), nil
}
