package egress

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// maxTried bounds the addresses of one name that are tried: a name with a
// thousand of them must not split the time into nothing.
const maxTried = 8

// maxDials bounds the connections of one attempt: the transport opens another
// when a receiver takes one back before it was used, for as long as it does.
const maxDials = 3

// dialer opens the connections of one transport.
type dialer struct {
	guard   *Guard
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	refused func(rule string)
	tls     *tls.Config
	own     bool // for targets under our own inspector: any address may be dialled

	certificate *tls.Certificate // for a receiver that asks for one; nil: none
}

// plain opens a connection without TLS.
func (d *dialer) plain(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel, x := bounded(ctx)
	defer cancel()
	if err := x.dials(); err != nil {
		return nil, err
	}
	conn, _, err := d.connect(ctx, x, address, true)
	if err != nil {
		return nil, err
	}
	x.reach(phaseRequest)
	return conn, nil
}

// secure opens a connection and verifies who answers.
func (d *dialer) secure(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel, x := bounded(ctx)
	defer cancel()
	if err := x.dials(); err != nil {
		return nil, err
	}
	raw, host, err := d.connect(ctx, x, address, false)
	if err != nil {
		return nil, err
	}
	x.reach(phaseTLS)
	sock := newSocket(raw, d.certificate)
	cfg := d.tls.Clone()
	cfg.ServerName = host
	// Not by cfg.Certificates: a certificate whose issuer the receiver does
	// not list would silently stay here, and the receiver may know better.
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		sock.asked.Store(true)
		if d.certificate != nil {
			return d.certificate, nil
		}
		return new(tls.Certificate), nil
	}
	conn := tls.Client(sock, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = sock.Close() // the fault is the handshake's
		return nil, tlsFault(sock, err)
	}
	x.reach(phaseRequest)
	return conn, nil
}

// bounded gives the dial the deadline of the attempt that asked for it. The
// transport cuts a dial off from its request's end, so that another request
// may use the connection; what it keeps are the context's values.
func bounded(ctx context.Context) (context.Context, context.CancelFunc, *exchange) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		x = &exchange{deadline: time.Now().Add(DefaultTimeout)}
	}
	ctx, cancel := context.WithDeadline(ctx, x.deadline)
	return ctx, cancel, x
}

// connect resolves the name once and tries the permitted answers in turn. It
// returns the host for the certificate's check.
func (d *dialer) connect(ctx context.Context, x *exchange, address string, plain bool) (net.Conn, string, error) {
	host, literal, port, err := hostPort(address)
	if err != nil {
		return nil, "", &Error{StepConnect, "the address cannot be read", err}
	}
	addrs := []netip.Addr{literal}
	if !literal.IsValid() {
		x.reach(phaseDNS)
		if addrs, err = d.resolve(ctx, host); err != nil {
			return nil, "", lookupFault(err)
		}
		if len(addrs) == 0 {
			return nil, "", lookupFault(&net.DNSError{Err: "no address", IsNotFound: true})
		}
	}
	x.reach(phaseConnect)

	var permitted []netip.Addr
	broken := ""
	for _, a := range addrs {
		if rule := d.refuse(a, port, host, plain); rule != "" {
			broken = rule
			continue
		}
		permitted = append(permitted, a.Unmap())
	}
	if len(permitted) == 0 {
		d.refused(broken)
		shown := ""
		if literal.IsValid() {
			shown = host
		}
		return nil, "", refusedFault(broken, shown)
	}
	permitted = permitted[:min(len(permitted), maxTried)]

	var last error
	for i, a := range permitted {
		nd := net.Dialer{ControlContext: d.belt(host, plain)}
		if left := len(permitted) - i; left > 1 {
			nd.Deadline = time.Now().Add(time.Until(x.deadline) / time.Duration(left))
		}
		conn, err := nd.DialContext(ctx, "tcp", netip.AddrPortFrom(a, port).String())
		if err == nil {
			return conn, host, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, "", connectFault(last)
}

func (d *dialer) refuse(a netip.Addr, port uint16, host string, plain bool) string {
	if d.own {
		return ""
	}
	return d.guard.refuse(a, port, host, plain)
}

// belt makes the same decision once more, on what the socket is about to
// connect to. A panic in it would end the process, for it runs on a goroutine
// of the dialer's: what cannot be read is refused.
func (d *dialer) belt(host string, plain bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		rule := ruleReserved
		if ap, err := netip.ParseAddrPort(address); err == nil {
			rule = d.refuse(ap.Addr(), ap.Port(), host, plain)
		}
		if rule != "" {
			d.refused(rule)
			return refusedFault(rule, "")
		}
		return nil
	}
}

// systemResolver asks the system's name servers. An empty answer is an error.
func systemResolver(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
