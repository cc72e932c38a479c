package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"
)

// The bounds of one request. Source: RULES D4.
const (
	DefaultTimeout = 15 * time.Second
	MaxHeader      = 256 << 10 // bytes of an answer's header block
	MaxRead        = 16 << 10  // bytes that are read of an answer's body
	MaxKept        = 4 << 10   // bytes that are kept of it, and of the header fields together
)

const (
	// idlePerHost is the largest number of requests that one endpoint may have
	// in flight (CONTRACT 5, maxInFlight), so that none closes a connection
	// that the next one needs.
	idlePerHost = 1024
	// idleTimeout is below the five seconds after which common servers close
	// an idle connection (the defaults of Node.js and of Apache httpd): a
	// request that meets such a close is lost, for it is never sent twice.
	idleTimeout = 4 * time.Second
	// writeBuffer holds an ordinary request, so that it leaves in one write.
	writeBuffer = 8 << 10
	// maxStream and maxConnection bound what an HTTP/2 receiver may send ahead
	// of our reading; net/http's own bounds are 4 MiB and 1 GiB.
	maxStream, maxConnection = 64 << 10, 1 << 20
	// pingAfter and pingTimeout find an HTTP/2 connection that died silently;
	// unlike HTTP/1.1, a timed-out request does not close it.
	pingAfter, pingTimeout = 10 * time.Second, 5 * time.Second
)

// Options join a client together.
type Options struct {
	Guard *Guard // required
	// RootCAs are further PEM roots for TLS, beside the system's.
	RootCAs []byte
	// Peer, when there is any, is a certificate in PEM: TLS trusts exactly that
	// one, whatever its names, its issuer and its times are, and no other.
	Peer []byte
	// Resolve returns a name's addresses; nil asks the system.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Refused is told the rule of each dial that the guard forbade:
	// "reserved_address", "own_address" or "plain_http". It may be nil.
	Refused func(rule string)
}

// Client sends requests. It may be used by several goroutines.
type Client struct {
	public  *http.Transport
	own     *http.Transport // to our own inspector only, so that no other request finds its connections
	dialer  *dialer         // of public
	buffers sync.Pool

	identities transports
	wire       *wire
}

// New returns a client. Its error says that RootCAs or Peer holds no
// certificate.
func New(o Options) (*Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if len(o.RootCAs) > 0 {
		pool := systemRoots()
		if !pool.AppendCertsFromPEM(o.RootCAs) {
			return nil, errors.New("the file of further roots holds no PEM certificate")
		}
		cfg.RootCAs = pool
	}
	if len(o.Peer) > 0 {
		if err := pin(cfg, o.Peer); err != nil {
			return nil, err
		}
	}
	if o.Resolve == nil {
		o.Resolve = systemResolver
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	c := &Client{buffers: sync.Pool{New: func() any { return new([MaxRead]byte) }}}
	for _, t := range []struct {
		to  **http.Transport
		own bool
	}{{&c.public, false}, {&c.own, true}} {
		d := &dialer{guard: o.Guard, resolve: o.Resolve, refused: o.Refused, tls: cfg, own: t.own}
		transport, err := newTransport(d)
		if err != nil {
			return nil, err
		}
		*t.to = transport
		if !t.own {
			c.dialer = d
			c.wire = newWire(d)
		}
	}
	return c, nil
}

func newTransport(d *dialer) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                  nil, // not even from the environment
		DialContext:            d.plain,
		DialTLSContext:         d.secure,
		TLSClientConfig:        d.tls.Clone(),
		DisableCompression:     true,
		MaxResponseHeaderBytes: MaxHeader,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		WriteBufferSize:        writeBuffer,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			MaxReceiveBufferPerStream:     maxStream,
			MaxReceiveBufferPerConnection: maxConnection,
		},
	}
	// The HTTP/2 inside net/http of Go 1.26 locks itself out for good when a
	// receiver opens a stream's window beyond 31 bits (processWindowUpdate
	// takes the connection's lock twice), and with it every later request to
	// any HTTP/2 receiver. The module's does not.
	//lint:ignore SA1019 what replaces it is the implementation with that fault
	if _, err := http2.ConfigureTransports(t); err != nil {
		return nil, fmt.Errorf("configure HTTP/2: %w", err)
	}
	return t, nil
}

// CloseIdle closes the connections that nobody uses, those of identities
// included.
func (c *Client) CloseIdle() {
	c.public.CloseIdleConnections()
	c.own.CloseIdleConnections()
	c.identities.closeIdle()
	c.wire.closeIdle()
}

// Request is one request.
type Request struct {
	Method string // empty: POST
	Target *Target
	// Header is sent as it is. Neither it nor Body may be changed any more,
	// not even when Do has returned.
	Header http.Header
	Body   []byte
	// Timeout is the time for everything, from the name's look-up to the end
	// of what is read of the answer. 0: DefaultTimeout.
	Timeout time.Duration
	// May is asked at the last moment before the request is written, on any
	// goroutine; false: it is not, and Do is as if ctx had been cancelled. nil: it
	// may.
	May func() bool
	// Identity is the endpoint's own client certificate and roots; nil: none.
	Identity *Identity
	// Whole asks for the answer's whole body, of at most so many bytes: one
	// that is longer, broken off or not complete in time is an *Error with the
	// step response. 0: the verdict is in the header block, and a start of the
	// body is kept.
	Whole int
}

// Response is a complete header block and the start of the body.
type Response struct {
	Status int
	// Header holds the fields ordered by name, at most MaxKept bytes together.
	Header []Header
	// Body is the body's start, at most MaxKept bytes of valid UTF-8 without
	// NUL; what was neither shows as U+FFFD.
	Body string
	// RetryAfter is the field of that name, empty when absent.
	RetryAfter string
	// Whole is the whole body as it came, when it was asked for; Body is empty
	// then. It is nil for status 101, which has none.
	Whole []byte
}

// Header is one field.
type Header struct{ Name, Value string }

// Do sends the request, at most once, and returns when the answer's body has
// ended, when enough of it is read, or when the time is over. A complete
// header block is an answer, whatever the body does after it, unless the whole
// body was asked for.
//
// Its error is always an *Error. When ctx was cancelled, or the request may not
// be written any more, it unwraps to context.Canceled, and nothing is known about
// what the receiver did.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if c.wire.takes(r) {
		return c.doWired(ctx, r, timeout)
	}
	x := newExchange(ctx, timeout)
	x.may = r.May

	req := (&http.Request{
		Method:     r.Method,
		URL:        r.Target.url,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     r.Header,
		// A reader that the transport knows to be in memory leaves with the
		// header fields in one write. An empty one is a body all the same, and
		// there is no GetBody: with it, or without a body, the transport would
		// send the request again and again at a receiver's will.
		Body:          io.NopCloser(bytes.NewReader(r.Body)),
		ContentLength: int64(len(r.Body)),
	}).WithContext(x.traced())
	if r.Method == "" {
		req.Method = http.MethodPost
	}
	if r.Header == nil {
		req.Header = http.Header{}
	}
	transport := c.public
	if r.Target.own {
		transport = c.own
	}
	if r.Identity != nil {
		var err error
		if transport, err = r.Identity.transport(c, r.Target.own); err != nil {
			defer x.end(true)
			return nil, &Error{StepConnect, "the connection cannot be prepared", err}
		}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		defer x.end(true)
		return nil, x.fault(err)
	}
	defer x.end(false)
	c.wire.learn(r, resp.ProtoMajor)
	out := &Response{Status: resp.StatusCode, Header: keepHeader(resp.Header)}
	if v := resp.Header["Retry-After"]; len(v) > 0 {
		out.RetryAfter = v[0]
	}
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols: // its body is the bare connection, which knows no deadline
	case r.Whole > 0:
		out.Whole, err = wholeBody(resp, r.Whole)
		if err == nil && endless(resp) {
			// Its end is the connection's, and when the time is over that may be
			// our own doing: the receiver closes when we begin to.
			err = x.Err()
		}
	default:
		out.Body = c.keepBody(resp.Body)
	}
	resp.Body.Close()
	if err != nil {
		return nil, x.bodyFault(err)
	}
	return out, nil
}

// doWired is Do over the wire.
func (c *Client) doWired(ctx context.Context, r *Request, timeout time.Duration) (*Response, error) {
	x := &exchange{caller: ctx, may: r.May, deadline: time.Now().Add(timeout), done: make(chan struct{})}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { x.cancel(ctx.Err()); x.cutOff() })()
	}
	resp, l, err := c.wire.do(x, r)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			x.cancel(context.DeadlineExceeded)
		}
		x.mu.Lock()
		x.ended = true
		x.mu.Unlock()
		return nil, x.fault(err)
	}
	out := &Response{Status: resp.StatusCode, Header: keepHeader(resp.Header)}
	if v := resp.Header["Retry-After"]; len(v) > 0 {
		out.RetryAfter = v[0]
	}
	ended := false
	if resp.StatusCode != http.StatusSwitchingProtocols {
		out.Body, ended = c.keepWired(resp.Body)
	}
	x.mu.Lock()
	if s := socketOf(x.conn); s != nil {
		s.answered.Store(true)
	}
	x.conn = nil
	x.mu.Unlock()
	c.wire.finish(l, resp, ended && x.Err() == nil)
	return out, nil
}

// wholeBody reads a body to its end. One that announces to be too long is not
// read at all.
func wholeBody(resp *http.Response, limit int) ([]byte, error) {
	if resp.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > limit:
		return nil, tooLarge(limit)
	}
	return b, nil
}

// endless tells whether a body has no end of its own. Source: RFC 9112 6.3,
// item 8.
func endless(resp *http.Response) bool {
	return resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
}

// keepBody reads at most MaxRead bytes and returns their start. Errors end
// the reading: the verdict is in the header block.
func (c *Client) keepBody(body io.Reader) string {
	if body == http.NoBody {
		return ""
	}
	buf := c.buffers.Get().(*[MaxRead]byte)
	defer c.buffers.Put(buf)
	n, err := 0, error(nil)
	for n < len(buf) && err == nil {
		var k int
		k, err = body.Read(buf[n:])
		n += k
	}
	return keepText(string(buf[:cut(buf[:n], MaxKept)]), MaxKept)
}

// cut returns the longest length up to limit that splits no character.
func cut[T string | []byte](s T, limit int) int {
	if len(s) <= limit {
		return len(s)
	}
	for n := limit; n > limit-utf8.UTFMax && n > 0; n-- {
		if utf8.RuneStart(s[n]) {
			return n
		}
	}
	return limit // not UTF-8 anyway
}

// keepText returns s as valid UTF-8 without NUL, cut to at most limit bytes
// between two characters.
func keepText(s string, limit int) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return s[:cut(s, limit)]
}

// keepHeader returns the fields ordered by name, cut to MaxKept bytes.
func keepHeader(h http.Header) []Header {
	if len(h) == 0 {
		return nil
	}
	out := make([]Header, 0, len(h))
	for name, values := range h {
		for _, value := range values {
			out = append(out, Header{name, value})
		}
	}
	slices.SortStableFunc(out, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	left := MaxKept
	for i := range out {
		if left -= len(out[i].Name); left <= 0 {
			return slices.Clip(out[:i])
		}
		out[i].Value = keepText(out[i].Value, left)
		left -= len(out[i].Value)
	}
	return out
}
