// Package pgtest gives tests a PostgreSQL server of their own: a throwaway
// cluster made with initdb, which ends with the process that asked for it,
// whatever ends that. It is for tests only.
package pgtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Cluster is a server. Its superuser is "postgres", without a password, from
// this machine only.
type Cluster struct {
	dir  string
	bin  string
	port int
	who  *syscall.Credential // nil: ourselves
	n    atomic.Int64

	watch    io.Closer // ends the watchdog, and with it the cluster
	guardian *exec.Cmd // the watchdog
}

var shared struct {
	once sync.Once
	c    *Cluster
	err  error
}

// Start returns a cluster that ends with the process, or by End.
func Start() (*Cluster, error) { return start() }

// End ends the cluster and removes its folder.
func (c *Cluster) End() error { return c.end() }

// Shared returns the cluster that all tests of the process use. It ends with
// the process.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.once.Do(func() { shared.c, shared.err = start() })
	if shared.err != nil {
		t.Fatalf("PostgreSQL: %v (install the package postgresql)", shared.err)
	}
	return shared.c
}

// Own returns a cluster of the test's, which it may stop, restart and kill.
func Own(t testing.TB) *Cluster {
	t.Helper()
	c, err := start()
	if err != nil {
		t.Fatalf("PostgreSQL: %v (install the package postgresql)", err)
	}
	t.Cleanup(func() { _ = c.end() }) // its status is the last command's
	return c
}

// binaries returns the folder of the server's programs.
func binaries() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("no initdb was found")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// start makes a cluster and starts it. As root it belongs to another user, for
// the server refuses to run as root.
func start() (c *Cluster, err error) {
	c = &Cluster{}
	if c.bin, err = binaries(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if c.who, err = another(); err == nil {
			err = os.Chown(c.dir, int(c.who.Uid), int(c.who.Gid))
		}
	}
	if err == nil {
		err = c.guard()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	data := filepath.Join(c.dir, "data")
	if err := c.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"); err != nil {
		return nil, errors.Join(err, c.end())
	}
	if c.port, err = freePort(); err != nil {
		return nil, errors.Join(err, c.end())
	}
	conf := fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = '%s'\nmax_connections = 300\nshared_buffers = 128MB\nlog_min_messages = fatal\n", c.port, c.dir)
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0) // #nosec G304 -- a fixed name in our own folder
	if err == nil {
		_, err = f.WriteString(conf)
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, errors.Join(err, c.end())
	}
	return c, nil
}

// another returns a user who is not root.
func another() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("the server does not run as root, and there is no other user")
}

// guard starts the watchdog: a shell that waits for the end of this process,
// however it comes, then ends the server and removes its folder.
func (c *Cluster) guard() error {
	const script = `cat >/dev/null
if [ -f data/postmaster.pid ]; then kill -QUIT "$(head -n 1 data/postmaster.pid)" 2>/dev/null; fi
for i in 1 2 3 4 5 6 7 8 9 10; do [ -f data/postmaster.pid ] || break; sleep 0.1; done
cd / && rm -rf "$1"`
	cmd := exec.Command("sh", "-c", script, "sh", c.dir) // #nosec G204 -- a fixed script
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.watch, c.guardian = in, cmd
	return nil
}

// end ends the cluster and waits until its folder is gone.
func (c *Cluster) end() error { return errors.Join(c.watch.Close(), c.guardian.Wait()) }

// run runs one of the server's programs.
func (c *Cluster) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(c.bin, name), args...) // #nosec G204 -- the server's own programs
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.who}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Start starts the server; it returns when connections are taken.
func (c *Cluster) Start() error {
	return c.run("pg_ctl", "-D", filepath.Join(c.dir, "data"), "-l", filepath.Join(c.dir, "log"), "-w", "-t", "60", "start")
}

// Stop ends the server; how is smart, fast or immediate, the last as a crash
// does.
func (c *Cluster) Stop(how string) error {
	return c.run("pg_ctl", "-D", filepath.Join(c.dir, "data"), "-m", how, "-w", "-t", "60", "stop")
}

// Log returns what the server said.
func (c *Cluster) Log() string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "log")) // #nosec G304 -- a fixed name in our own folder
	return string(b)
}

// Database makes an empty database and returns its address.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	url, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// Create is Database for whoever is no test.
func (c *Cluster) Create() (url string, err error) {
	name := fmt.Sprintf("test_%d", c.n.Add(1))
	if out, err := c.SQL("postgres", "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return c.URL(name), nil
}

// URL returns the address of a database.
func (c *Cluster) URL(name string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", c.port, name)
}

// SQL runs statements in a database by psql and returns what it says.
func (c *Cluster) SQL(database, statements string) (string, error) {
	cmd := exec.Command(filepath.Join(c.bin, "psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", c.URL(database), "-c", statements) // #nosec G204 -- the server's own program
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Wait calls ready until it tells that something is so; the test fails when that
// takes too long.
func Wait(t testing.TB, what string, ready func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ready(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
