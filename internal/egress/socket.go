package egress

import (
	"crypto/tls"
	"errors"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
)

// socket is what a TLS connection is made on. It knows what a receiver thinks
// of our client certificate, or of none: with TLS 1.3 that comes after the
// handshake, in the place of an answer, and often while we still write.
type socket struct {
	net.Conn
	given    bool        // there is a certificate for whom asks
	asked    atomic.Bool // the receiver asked for one
	answered atomic.Bool // it took it, or none: it answered a request
	closed   chan struct{}
	once     sync.Once
}

func newSocket(c net.Conn, certificate *tls.Certificate) *socket {
	return &socket{Conn: c, given: certificate != nil, closed: make(chan struct{})}
}

// socketOf returns the socket of a TLS connection; nil for any other.
func socketOf(c net.Conn) *socket {
	if t, ok := c.(*tls.Conn); ok {
		if s, ok := t.NetConn().(*socket); ok {
			return s
		}
	}
	return nil
}

// Write hides that the receiver has gone when it may have left an alert: to
// the reader, who has to find it, the connection ends all the same.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err != nil && s.undecided() && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		return len(p), nil
	}
	return n, err
}

// Close closes the connection.
func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// undecided tells whether the receiver may still refuse us for our
// certificate.
func (s *socket) undecided() bool { return s.asked.Load() && !s.answered.Load() }

// refused tells whether an error means that the receiver refuses us for our
// certificate, or for having none. t is the connection on s.
func (s *socket) refused(t *tls.Conn, err error) bool {
	if !s.undecided() {
		return false
	}
	alert, ok := remoteAlert(err)
	if _, stream := errors.AsType[http2.StreamError](err); !ok && !stream {
		// The HTTP/2 transport tells of a connection that ended before its
		// first request only that it did. The alert is what every later read
		// gives; with the socket closed, none can wait.
		select {
		case <-s.closed:
			_, err := t.Read(make([]byte, 1))
			alert, ok = remoteAlert(err)
		case <-time.After(alertWait):
		}
	}
	return ok && aboutCertificate(alert)
}

// alertWait is how long a transport may take to close a connection after it
// told that the connection ended.
const alertWait = 100 * time.Millisecond

// remoteAlert returns the TLS alert that the receiver sent. crypto/tls gives
// it a type that it does not export, but for QUIC (tls.AlertError).
func remoteAlert(err error) (uint8, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true // #nosec G115 -- its kind is uint8
}

// alertProtocolVersion is what a server answers that knows no TLS version of
// ours. Source: RFC 8446 6.2, protocol_version(70).
const alertProtocolVersion = 70

// aboutCertificate tells whether a receiver that asked for a certificate may
// mean it by an alert. Source: RFC 8446 6.2: handshake_failure(40),
// bad_certificate to unknown_ca (42 to 48), access_denied(49),
// decrypt_error(51), certificate_required(116); RFC 6101 5.4.2:
// no_certificate(41).
func aboutCertificate(alert uint8) bool {
	return slices.Contains([]uint8{40, 41, 42, 43, 44, 45, 46, 48, 49, 51, 116}, alert)
}
