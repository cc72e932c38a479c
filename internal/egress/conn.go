package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// MaxHeard bounds what a peer may say on one Conn, in bytes, TLS included: it
// is answers of a few lines. Ours.
const MaxHeard = 256 << 10

// errHeard is what a reader of a Conn gets behind MaxHeard.
var errHeard = errors.New("the peer says more than is read")

// CheckHost tells whether a host may be connected to for what is not HTTP
// (RULES E3 to E6): nil when it may. plain says that nothing on the connection
// will be encrypted. An IPv6 address may stand in brackets. An address that may
// not be dialled is refused; a name is not, for what it means is known only at
// the dial.
func (g *Guard) CheckHost(raw string, port uint16, plain bool) *URLFault {
	host, addr, fault := hostOf(raw)
	switch {
	case fault != nil:
		return fault
	case plain && !g.allowHTTP:
		return &URLFault{"plain_refused", "A plain connection is only allowed where the operator allows plain http."}
	case !addr.IsValid():
		return nil
	}
	switch g.refuse(addr, port, host, plain) {
	case "":
		return nil
	case rulePlain:
		return &URLFault{"plain_refused", "A plain connection is only allowed towards addresses that the operator lists."}
	case ruleOwn:
		return &URLFault{"forbidden_address", "The address is this server's own."}
	}
	return &URLFault{"forbidden_address", "The address is not a public address and the operator does not allow it."}
}

// hostOf returns a host as it is looked up and checked, and its address when it
// is one. Its fault speaks of a host alone, not of a URL's.
func hostOf(raw string) (string, netip.Addr, *URLFault) {
	bad := func(msg string) (string, netip.Addr, *URLFault) {
		return "", netip.Addr{}, &URLFault{"invalid_host", msg}
	}
	if strings.ContainsFunc(raw, forbiddenRune) || strings.ContainsAny(raw, "/?#@") {
		return bad("The host must be a name or an address, and nothing beside it.")
	}
	host, addr, fault := normalHost(bracketed(raw))
	if fault != nil {
		return bad(strings.NewReplacer("The URL's host", "The host", "The URL has no host", "There is no host", "the URL's host", "the host").Replace(fault.Msg))
	}
	return host, addr, nil
}

// Peer is whom Dial connects to.
type Peer struct {
	Host  string // a name or an address
	Port  uint16
	Plain bool // nothing on the connection will be encrypted
}

// Conn is a connection for a protocol that is not HTTP. Everything on it ends
// at the deadline that it was opened with, and no more than MaxHeard bytes are
// read from it.
type Conn struct {
	net.Conn
	cfg    *tls.Config
	sock   *socket
	host   string
	ctx    context.Context // the caller's
	unhook func() bool
	ends   time.Time
}

// Dial opens a connection by the rules of every request: the name is resolved
// once, the answers are filtered, and what is not permitted is not dialled.
// Nothing has been said on it. timeout is the time for everything, from the
// look-up to the last byte; when ctx ends the connection is closed.
//
// Its error is always an *Error; when ctx was cancelled it unwraps to
// context.Canceled.
func (c *Client) Dial(ctx context.Context, to Peer, timeout time.Duration) (*Conn, error) {
	host, _, fault := hostOf(to.Host)
	if fault != nil {
		return nil, &Error{StepConnect, "the host cannot be read", fault}
	}
	d := c.dialer
	if to.Plain && !d.guard.allowHTTP {
		d.refused(rulePlain)
		return nil, &Error{StepConnect, "plain connections are not allowed", nil}
	}
	x := &exchange{caller: ctx, deadline: time.Now().Add(timeout)}
	until, cancel := context.WithDeadline(ctx, x.deadline)
	defer cancel()
	raw, host, err := d.connect(until, x, net.JoinHostPort(host, strconv.Itoa(int(to.Port))), to.Plain)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &Error{x.step(), "the attempt was called off", context.Canceled}
		}
		return nil, err
	}
	if err := raw.SetDeadline(x.deadline); err != nil {
		_ = raw.Close() // what counts is that it cannot be used
		return nil, connectFault(err)
	}
	cfg := d.tls.Clone()
	cfg.ServerName, cfg.NextProtos = host, nil
	sock := newSocket(&heard{Conn: raw}, nil)
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		sock.asked.Store(true)
		return new(tls.Certificate), nil
	}
	conn := &Conn{Conn: sock, cfg: cfg, sock: sock, host: host, ctx: ctx, ends: x.deadline}
	conn.unhook = context.AfterFunc(ctx, func() { _ = raw.Close() }) // whoever waits on it hears so
	return conn, nil
}

// Host returns the host as its certificate must name it.
func (c *Conn) Host() string { return c.host }

// TLS returns how a TLS connection on it is made: at least version 1.2, and the
// peer verified against the client's roots. It may be changed.
func (c *Conn) TLS() *tls.Config { return c.cfg.Clone() }

// Secure makes a TLS connection on it and verifies who answers. Its error is
// an *Error of the step tls.
func (c *Conn) Secure() (net.Conn, error) {
	t := tls.Client(c, c.TLS())
	if err := t.HandshakeContext(c.ctx); err != nil {
		return nil, c.TLSFault(err)
	}
	return t, nil
}

// SetDeadline moves the end of everything; never behind that of Dial.
func (c *Conn) SetDeadline(t time.Time) error {
	if t.IsZero() || t.After(c.ends) {
		t = c.ends
	}
	return c.Conn.SetDeadline(t)
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.unhook()
	return c.Conn.Close()
}

// TLSFault explains why a handshake on the connection failed.
func (c *Conn) TLSFault(err error) *Error {
	if errors.Is(c.ctx.Err(), context.Canceled) {
		return &Error{StepTLS, "the attempt was called off", context.Canceled}
	}
	if errors.Is(err, errHeard) {
		return &Error{StepTLS, "the TLS handshake is too long", err}
	}
	return tlsFault(c.sock, err)
}

// Fault explains why the conversation on the connection broke off in a step,
// request or response.
func (c *Conn) Fault(step string, err error) *Error {
	switch {
	case errors.Is(c.ctx.Err(), context.Canceled):
		return &Error{step, "the attempt was called off", context.Canceled}
	case errors.Is(err, errHeard):
		return &Error{step, "the receiver's answers are too long", err}
	case timedOut(err) && step == StepRequest:
		return &Error{step, "the receiver did not take the request in time", err}
	case timedOut(err):
		return &Error{step, "no complete answer within the time allowed", err}
	case brokenOff(err) && step == StepRequest:
		return &Error{step, "the receiver closed the connection while the request was sent", err}
	case brokenOff(err):
		return &Error{step, "the receiver closed the connection before its answer was complete", err}
	}
	return &Error{step, "the receiver's answer cannot be read", err}
}

// heard counts what is read.
type heard struct {
	net.Conn
	n atomic.Int64
}

// Read reads at most MaxHeard bytes in all.
func (h *heard) Read(p []byte) (int, error) {
	left := MaxHeard - h.n.Load()
	if left <= 0 {
		return 0, errHeard
	}
	n, err := h.Conn.Read(p[:min(int64(len(p)), left)])
	h.n.Add(int64(n))
	return n, err
}
