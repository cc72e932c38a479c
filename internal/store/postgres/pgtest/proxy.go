package pgtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands between a node and its database. It counts round trips, and it
// cuts a connection at a COMMIT when it is told to.
type Proxy struct {
	l      net.Listener
	server string // its address
	path   string // of the URL, with what follows

	trips atomic.Int64
	cut   atomic.Int32 // a Cut
	deaf  atomic.Bool
	done  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Cut says when a connection ends.
type Cut int32

// The places of a cut.
const (
	Never        Cut = iota
	BeforeCommit     // the server does not get the next COMMIT
	AfterCommit      // the server carries out the next COMMIT, but the answer is lost
)

// NewProxy returns a proxy for the database of an address. It ends with the test.
func NewProxy(t testing.TB, url string) *Proxy {
	t.Helper()
	rest, ok := strings.CutPrefix(url, "postgres://postgres@")
	if !ok {
		t.Fatalf("got the address %q, want one of a cluster's", url)
	}
	server, path, _ := strings.Cut(rest, "/")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{l: l, server: server, path: path, conns: map[net.Conn]struct{}{}}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // ends accept
		p.Break()
		p.done.Wait()
	})
	return p
}

// URL returns the address of the database by way of the proxy.
func (p *Proxy) URL() string { return fmt.Sprintf("postgres://postgres@%s/%s", p.l.Addr(), p.path) }

// Trips returns how many round trips there were: how often the server was asked
// for all that it had to say.
func (p *Proxy) Trips() int64 { return p.trips.Load() }

// Cut ends the connection over which the next COMMIT is sent.
func (p *Proxy) Cut(at Cut) { p.cut.Store(int32(at)) }

// Deafen lets whoever listens from now on hear nothing, as PgBouncer does in
// transaction mode.
func (p *Proxy) Deafen() { p.deaf.Store(true) }

// Break ends all connections.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // its goroutines notice
	}
}

func (p *Proxy) accept() {
	for {
		node, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = node.Close() // the node tries again
			continue
		}
		p.mu.Lock()
		p.conns[node], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		var lost atomic.Bool // answers no longer go through
		p.done.Go(func() {
			defer p.end(node, server)
			_ = p.ask(server, node, &lost) // either side has gone
		})
		p.done.Go(func() {
			defer p.end(node, server)
			answer(node, server, &lost)
		})
	}
}

func (p *Proxy) end(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
		_ = c.Close() // either side may have done so
	}
}

// answer carries what the server says, until it must not be heard any more.
func answer(node, server net.Conn, lost *atomic.Bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil || lost.Load() {
			return
		}
		if _, err := node.Write(buf[:n]); err != nil {
			return
		}
	}
}

// errCut ends a connection on purpose.
var errCut = errors.New("cut")

// ask carries what the node says, message by message (PostgreSQL, message
// formats: a type, but for the first, then a length that counts itself).
func (p *Proxy) ask(server, node net.Conn, lost *atomic.Bool) error {
	for first := true; ; first = false {
		head := make([]byte, 5)
		if first {
			head = head[1:]
		}
		if _, err := io.ReadFull(node, head); err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
		if size < 0 || size > 1<<26 {
			return fmt.Errorf("a message of %d bytes", size)
		}
		message := append(head, make([]byte, size)...)
		body := message[len(head):]
		if _, err := io.ReadFull(node, body); err != nil {
			return err
		}
		if first {
			if _, err := server.Write(message); err != nil {
				return err
			}
			continue
		}
		if head[0] == 'Q' || head[0] == 'S' {
			p.trips.Add(1)
		}
		if at := bytes.Index(body, []byte("LISTEN ")); at >= 0 && p.deaf.Load() {
			copy(body[at:], "SELECT'")
			body[len(body)-2] = '\''
		}
		if (head[0] == 'Q' || head[0] == 'P') && bytes.Contains(body, []byte("COMMIT\x00")) {
			switch Cut(p.cut.Load()) {
			case BeforeCommit:
				p.cut.Store(int32(Never))
				return errCut
			case AfterCommit:
				p.cut.Store(int32(Never))
				lost.Store(true)
			}
		}
		if _, err := server.Write(message); err != nil {
			return err
		}
	}
}
