package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a process of the benchmark. It speaks in lines of JSON on its
// standard output, the first of which says that it is ready, and ends when its
// standard input does.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start runs this program in a role and reads its first line into ready.
func (b *Bench) start(ctx context.Context, ready any, role string, args ...string) (*child, error) {
	cmd := exec.CommandContext(ctx, b.self, append(append(slices.Clone(b.role), role), args...)...) // #nosec G204 -- this program
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	if err := c.read(ready); err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return c, nil
}

// ask sends a line and reads the answer into v.
func (c *child) ask(line string, v any) error {
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return err
	}
	return c.read(v)
}

func (c *child) read(v any) error {
	if !c.out.Scan() {
		if err := c.out.Err(); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF
	}
	return json.Unmarshal(c.out.Bytes(), v)
}

// stop ends the process and waits for it.
func (c *child) stop() {
	if err := errors.Join(c.in.Close(), c.cmd.Wait()); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", c.cmd.Args[1], err)
	}
}

// say writes a line of JSON for the parent.
func say(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// untilStdinEnds returns a context that ends with the standard input, so that
// no child outlives its parent.
func untilStdinEnds() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, the parent is gone
	}()
	return ctx, cancel
}

// ticks is how many units of processor time /proc counts in a second. Source:
// proc(5) and sysconf(_SC_CLK_TCK), which is 100 on every Linux that Go runs on.
const ticks = 100

// cpu returns the processor time that a process has used so far.
func cpu(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses, which may hold blanks.
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has an unknown form", pid)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64) // field 14, utime
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64) // field 15, stime
	if err != nil {
		return 0, err
	}
	return time.Duration(user+system) * time.Second / ticks, nil
}

// memory returns a process's resident memory in MiB: field is "VmRSS" (now) or
// "VmHWM" (the most so far).
func memory(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, field+":")
		if !ok {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
		return kib / 1024, err
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(b))
	return strings.Join(f[:min(3, len(f))], " ")
}

// machine describes what the figures depend on.
func machine() string {
	return fmt.Sprintf("%d CPUs, %s, load %s", runtime.NumCPU(), runtime.Version(), loadAverage())
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
