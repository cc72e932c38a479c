package egress

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// The package's tests run with proxy variables that point to a canary, and
// with the standard logger as the program sets it. Both are the process's, so
// they are set once, before any test.
var (
	proxyDials atomic.Int32
	stdLog     lockedBuffer
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestMain(m *testing.M) {
	if os.Getenv(hermeticEnv) != "" { // this is the inner half of TestHermetic
		os.Exit(hermeticInside())
	}
	canary, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := canary.Accept()
			if err != nil {
				return
			}
			proxyDials.Add(1)
			c.Close()
		}
	})
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		os.Setenv(name, "http://"+canary.Addr().String())
	}
	log.SetOutput(QuietStdLog(slog.New(slog.NewJSONHandler(&stdLog, nil))))
	code := m.Run()
	canary.Close()
	wg.Wait()
	if n := proxyDials.Load(); n != 0 {
		fmt.Fprintf(os.Stderr, "E7: the proxy of the environment was dialled %d times\n", n)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
