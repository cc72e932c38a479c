package egress

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"sync"
	"time"
)

// wire sends a request that is in memory over HTTP/1.1 and reads the answer,
// all on the goroutine that asks for it. net/http's transport has two
// goroutines for each connection and hands every request to one and every
// answer to the other; for a small request that costs as much as the system
// calls. What an answer means is net/http's here too: http.ReadResponse reads
// it.
//
// A receiver that has not shown yet that it speaks HTTP/1.1 is not the wire's,
// nor is a request that may take long to write.
type wire struct {
	d *dialer

	mu     sync.Mutex
	speaks map[string]time.Time // by origin: that it speaks HTTP/1.1, until when we rely on that
	idle   map[string][]*wired  // by origin; the one that was used last is the last
	sweep  *time.Timer          // nil: nothing is idle
}

const (
	// maxWired is the largest body that goes over the wire: with its header
	// fields it fits into the socket's buffer, so that writing it never waits
	// for a receiver that has answered already.
	maxWired = 16 << 10
	// speaksFor is how long a receiver is taken to speak HTTP/1.1 without being
	// asked again, and maxSpeaks for how many that is known.
	speaksFor, maxSpeaks = 10 * time.Minute, 4096
	// maxInterim bounds the interim answers before the one that counts.
	maxInterim = 5
)

func newWire(d *dialer) *wire {
	own := *d
	own.tls = d.tls.Clone()
	own.tls.NextProtos = []string{"http/1.1"}
	return &wire{d: &own, speaks: map[string]time.Time{}, idle: map[string][]*wired{}}
}

// wired is one connection.
type wired struct {
	origin string
	conn   net.Conn
	late   *late // conn, or what is below its TLS
	in     *bufio.Reader
	out    []byte // the request, kept for the next one
	left   int64  // bytes that may still be read
	since  time.Time
}

// Read reads from the connection, no more than may be. Whatever comes before
// the request has left answers nothing, and is an error.
func (l *wired) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHeaderTooLarge
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.conn.Read(p)
	if err == nil && l.late.holding {
		return 0, errOutOfTurn
	}
	l.left -= int64(n)
	return n, err
}

var errOutOfTurn = errors.New("the receiver speaks before it is asked")

var errHeaderTooLarge = errors.New("net/http: server response headers exceeded " + strconv.Itoa(MaxHeader) + " bytes; aborted")

// takes tells whether the request is one for the wire.
func (w *wire) takes(r *Request) bool {
	if len(r.Body) > maxWired || r.Whole > 0 || r.Identity != nil || r.Target.own || r.Method != "" && r.Method != http.MethodPost {
		return false
	}
	for name, values := range r.Header {
		for _, v := range values {
			if !plain(name) || !plain(v) {
				return false // net/http says what is wrong with it
			}
		}
	}
	if r.Target.url.Scheme == "http" {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	until, known := w.speaks[r.Target.origin]
	return known && time.Now().Before(until)
}

// plain tells whether a field's name or value surely ends where it should: it has
// no control character.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// learn notes which version of HTTP a receiver speaks.
func (w *wire) learn(r *Request, major int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if major != 1 {
		delete(w.speaks, r.Target.origin)
		return
	}
	if len(w.speaks) >= maxSpeaks {
		clear(w.speaks)
	}
	w.speaks[r.Target.origin] = time.Now().Add(speaksFor)
}

// do sends the request and reads the answer's header block; finish is to be
// called with whether its body was read to the end.
func (w *wire) do(x *exchange, r *Request) (*http.Response, *wired, error) {
	for l := w.pop(r.Target.origin); l != nil; l = w.pop(r.Target.origin) {
		resp, err := l.send(x, r)
		if err == nil {
			return resp, l, nil
		}
		l.close()
		if !l.late.holding || x.over() {
			return nil, nil, err
		}
		// The connection had ended before, and nobody has the request.
	}
	l, err := w.dial(x, r)
	if err != nil {
		return nil, nil, err
	}
	resp, err := l.send(x, r)
	if err != nil {
		l.close()
		return nil, nil, err
	}
	return resp, l, nil
}

// dial opens a connection to the request's receiver.
func (w *wire) dial(x *exchange, r *Request) (*wired, error) {
	dial := w.d.secure
	if r.Target.url.Scheme == "http" {
		dial = w.d.plain
	}
	conn, err := dial(x, "tcp", r.Target.address)
	if err != nil {
		return nil, err
	}
	l := &wired{origin: r.Target.origin}
	if l.conn, l.late, err = newLate(conn); err != nil {
		conn.Close()
		return nil, err
	}
	l.in = bufio.NewReaderSize(l, 4<<10)
	return l, nil
}

// take makes the connection the exchange's.
func (l *wired) take(x *exchange) error {
	x.mu.Lock()
	x.conn = l.conn
	err := x.err
	x.mu.Unlock()
	if err != nil {
		return err
	}
	return l.conn.SetDeadline(x.deadline)
}

// send writes the request and reads the answer's header block. When a kept
// connection had ended, or the receiver spoke out of turn, there is an error and
// the request is still held back.
func (l *wired) send(x *exchange, r *Request) (*http.Response, error) {
	if err := l.take(x); err != nil {
		return nil, err
	}
	b := l.out[:0]
	b = append(b, "POST "...)
	b = append(b, r.Target.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Target.url.Host...)
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, r.Body...)
	l.out = b
	if err := l.write(x, b); err != nil {
		return nil, err
	}
	// What could not be written whole may have been answered all the same.
	l.left = MaxHeader
	for range maxInterim + 1 {
		resp, err := http.ReadResponse(l.in, posted)
		if err != nil {
			return nil, cmp.Or(l.late.failed, err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			l.left = math.MaxInt64
			if l.late.failed != nil {
				resp.Close = true
			}
			return resp, nil
		}
	}
	return nil, textproto.ProtocolError("too many interim responses")
}

// write writes the request; on a kept connection the first read does.
func (l *wired) write(x *exchange, b []byte) error {
	if l.late.holding {
		l.late.x = x
		if _, ok := l.conn.(*tls.Conn); ok {
			_, err := l.conn.Write(b)
			return err
		}
		l.late.held = b // as it is, for the connection is the late one
		return nil
	}
	x.reach(phaseRequest)
	if !x.mayWrite() {
		return context.Canceled
	}
	_, l.late.failed = l.conn.Write(b)
	if l.late.failed == nil {
		x.reach(phaseResponse)
	} else if errors.Is(l.late.failed, os.ErrDeadlineExceeded) {
		return l.late.failed
	}
	return nil
}

// finish gives a connection back, whose answer was read to the end, or closes
// it.
func (w *wire) finish(l *wired, resp *http.Response, ended bool) {
	if !ended || resp.Close || resp.StatusCode == http.StatusSwitchingProtocols || l.in.Buffered() > 0 {
		l.close()
		return
	}
	l.since = time.Now()
	l.late.hold()
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.idle[l.origin]
	if len(list) >= idlePerHost {
		l.close()
		return
	}
	w.idle[l.origin] = append(list, l)
	if w.sweep == nil {
		w.sweep = time.AfterFunc(idleTimeout, w.expire)
	}
}

func (w *wire) pop(origin string) *wired {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.idle[origin]
	n := len(list)
	if n == 0 {
		return nil
	}
	l := list[n-1]
	list[n-1] = nil
	w.idle[origin] = list[:n-1]
	return l
}

// expire closes what was idle for long.
func (w *wire) expire() {
	before := time.Now().Add(-idleTimeout)
	w.mu.Lock()
	defer w.mu.Unlock()
	left := 0
	for origin, list := range w.idle {
		n := 0
		for n < len(list) && !list[n].since.After(before) {
			list[n].close()
			n++
		}
		if n == len(list) {
			delete(w.idle, origin)
			continue
		}
		copy(list, list[n:])
		clear(list[len(list)-n:])
		w.idle[origin] = list[:len(list)-n]
		left += len(list) - n
	}
	if w.sweep = nil; left > 0 {
		w.sweep = time.AfterFunc(idleTimeout/4, w.expire)
	}
}

// closeIdle closes the connections that nobody uses.
func (w *wire) closeIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range w.idle {
		for _, l := range list {
			l.close()
		}
	}
	clear(w.idle)
}

// close closes the connection without a word: a goodbye may have to wait.
func (l *wired) close() {
	c := l.conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.Close()
}

// keepWired reads the body's start; ended tells that it came to its end.
func (c *Client) keepWired(body io.Reader) (text string, ended bool) {
	if body == http.NoBody {
		return "", true
	}
	buf := c.buffers.Get().(*[MaxRead]byte)
	defer c.buffers.Put(buf)
	n, err := 0, error(nil)
	for n < len(buf) && err == nil {
		var k int
		k, err = body.Read(buf[n:])
		n += k
	}
	return keepText(string(buf[:cut(buf[:n], MaxKept)]), MaxKept), errors.Is(err, io.EOF)
}

// posted is all that an answer's reading must know of its request.
var posted = &http.Request{Method: http.MethodPost}
