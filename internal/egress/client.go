package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
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
	// pingAfter and pingTimeout find an HTTP/2 connection that died silently;
	// unlike HTTP/1.1, a timed-out request does not close it.
	pingAfter, pingTimeout = 10 * time.Second, 5 * time.Second
)

// Options join a client together.
type Options struct {
	Guard *Guard // required
	// RootCAs are further PEM roots for TLS, beside the system's.
	RootCAs []byte
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
	buffers sync.Pool
}

// New returns a client. Its error says that RootCAs holds no certificate.
func New(o Options) (*Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if len(o.RootCAs) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a machine without roots of its own
		}
		if !pool.AppendCertsFromPEM(o.RootCAs) {
			return nil, errors.New("the file of further roots holds no PEM certificate")
		}
		cfg.RootCAs = pool
	}
	if o.Resolve == nil {
		o.Resolve = systemResolver
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	transport := func(own bool) *http.Transport {
		d := &dialer{guard: o.Guard, resolve: o.Resolve, refused: o.Refused, tls: cfg, own: own}
		return &http.Transport{
			Proxy:                  nil, // not even from the environment
			DialContext:            d.plain,
			DialTLSContext:         d.secure,
			TLSClientConfig:        cfg.Clone(),
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: MaxHeader,
			MaxIdleConnsPerHost:    idlePerHost,
			IdleConnTimeout:        idleTimeout,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		}
	}
	return &Client{
		public:  transport(false),
		own:     transport(true),
		buffers: sync.Pool{New: func() any { return new([MaxRead]byte) }},
	}, nil
}

// CloseIdle closes the connections that nobody uses.
func (c *Client) CloseIdle() {
	c.public.CloseIdleConnections()
	c.own.CloseIdleConnections()
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
}

// Header is one field.
type Header struct{ Name, Value string }

// Do sends the request, at most once, and returns when the answer's body has
// ended, when enough of it is read, or when the time is over. A complete
// header block is an answer, whatever the body does after it.
//
// Its error is always an *Error. When ctx was cancelled it unwraps to
// context.Canceled, and nothing is known about what the receiver did.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	x := &exchange{deadline: time.Now().Add(timeout), body: r.Body}
	bound, cancel := context.WithDeadline(ctx, x.deadline)
	defer cancel()

	req := (&http.Request{
		Method:        r.Method,
		URL:           r.Target.url,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        r.Header,
		Body:          x,
		ContentLength: int64(len(r.Body)),
		// No GetBody: with it the transport would send the request again and
		// again at a receiver's will.
	}).WithContext(exchangeContext{bound, x})
	if r.Method == "" {
		req.Method = http.MethodPost
	}
	if len(r.Body) == 0 {
		req.Body = http.NoBody
	}
	transport := c.public
	if r.Target.own {
		transport = c.own
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, x.fault(ctx, bound, err)
	}
	out := &Response{Status: resp.StatusCode, Header: keepHeader(resp.Header), RetryAfter: resp.Header.Get("Retry-After")}
	if resp.StatusCode != http.StatusSwitchingProtocols { // its body is the bare connection, which knows no deadline
		out.Body = c.keepBody(resp.Body)
	}
	resp.Body.Close()
	return out, nil
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

func keepHeader(h http.Header) []Header {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	out, left := make([]Header, 0, len(names)), MaxKept
	for _, name := range names {
		for _, value := range h[name] {
			if left -= len(name); left <= 0 {
				return out
			}
			kept := keepText(value, left)
			out = append(out, Header{name, kept})
			left -= len(kept)
		}
	}
	return out
}

// The phases of an exchange, in order; each has its step.
const (
	phaseStart = iota
	phaseDNS
	phaseConnect
	phaseTLS
	phaseRequest
	phaseResponse
)

// exchange follows one request: it is the request's body, and it tells how
// far the request came. The transport's goroutines share it with Do.
type exchange struct {
	deadline time.Time
	phase    atomic.Int32
	body     []byte
	sent     int // of body; touched by the one goroutine that reads it
}

// reach notes that the exchange came to a phase; it never goes back.
func (x *exchange) reach(phase int32) {
	for {
		old := x.phase.Load()
		if phase <= old || x.phase.CompareAndSwap(old, phase) {
			return
		}
	}
}

// step returns where the exchange is. One that has not started waits for a
// connection.
func (x *exchange) step() string {
	return [...]string{StepConnect, StepDNS, StepConnect, StepTLS, StepRequest, StepResponse}[x.phase.Load()]
}

// Read hands the body out once.
func (x *exchange) Read(p []byte) (int, error) {
	x.reach(phaseRequest)
	n := copy(p, x.body[x.sent:])
	x.sent += n
	if x.sent == len(x.body) {
		x.reach(phaseResponse)
		return n, io.EOF
	}
	return n, nil
}

// Close does nothing: the body is the caller's.
func (x *exchange) Close() error { return nil }

// fault explains a round trip's error.
func (x *exchange) fault(caller, bound context.Context, err error) *Error {
	step := x.step()
	if errors.Is(caller.Err(), context.Canceled) {
		return &Error{step, "the attempt was called off", context.Canceled}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return exchangeFault(step, bound.Err() != nil, err)
}

type exchangeKey struct{}

// exchangeContext carries the exchange to the dialer in one allocation.
type exchangeContext struct {
	context.Context
	x *exchange
}

// Value returns the exchange for its key.
func (c exchangeContext) Value(key any) any {
	if _, ok := key.(exchangeKey); ok {
		return c.x
	}
	return c.Context.Value(key)
}
