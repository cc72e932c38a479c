package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// grace is how long after the attempt's time a transport may need to notice
// it. One that is still busy then is stuck in a connection, which is closed
// under it.
const grace = 250 * time.Millisecond

// The phases of an exchange, in order; each has its step.
const (
	phaseStart = iota
	phaseDNS
	phaseConnect
	phaseTLS
	phaseRequest
	phaseResponse
)

// exchange follows one request. It is the request's context, which ends with
// the attempt's time, with the caller's context and with Do, and it tells how
// far the request came. The transport's goroutines share it with Do and may
// keep it for longer.
//
// It does what context.WithDeadline and context.WithValue would, in one piece
// and without a table of children, for there is one per delivery.
type exchange struct {
	caller   context.Context
	may      func() bool // Request.May
	deadline time.Time
	trace    httptrace.ClientTrace
	done     chan struct{}

	mu     sync.Mutex
	phase  int32
	dialed int      // connections that were asked for
	conn   net.Conn // what the request was written to
	err    error    // why done is closed
	ended  bool     // Do came back
	off    bool     // the request was not to be written any more
	timer  *time.Timer
	unhook func() bool // takes end off the caller's context; nil when that never ends
	after  []*func()   // what the transport wants to be called at the end
}

func newExchange(caller context.Context, timeout time.Duration) *exchange {
	x := &exchange{caller: caller, deadline: time.Now().Add(timeout), done: make(chan struct{})}
	x.mu.Lock()
	x.timer = time.AfterFunc(timeout, x.expire)
	x.mu.Unlock()
	if caller.Done() != nil {
		x.unhook = context.AfterFunc(caller, func() { x.cancel(caller.Err()) })
	}
	return x
}

// traced returns the context that also tells the exchange which connection
// it got and when it is written. It must never ask for interim responses: a
// transport that is asked for them reads them without end.
func (x *exchange) traced() context.Context {
	x.trace.GotConn = func(info httptrace.GotConnInfo) {
		x.mu.Lock()
		x.conn, x.phase = info.Conn, max(x.phase, phaseRequest)
		x.mu.Unlock()
		if !x.mayWrite() {
			x.cancel(context.Canceled)
			if t, ok := info.Conn.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != http2.NextProtoTLS {
				x.cutOff() // HTTP/1.1 writes what it has begun with
			}
		}
	}
	x.trace.WroteRequest = func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			x.reach(phaseResponse)
		}
	}
	return httptrace.WithClientTrace(x, &x.trace)
}

// expire ends the exchange when its time is over, and later closes the
// connection when Do has not come back or left the closing to the transport:
// that waits, without a bound, for a write that the receiver may hold up.
func (x *exchange) expire() {
	if x.cancel(context.DeadlineExceeded) {
		x.mu.Lock()
		x.timer.Reset(grace)
		x.mu.Unlock()
		return
	}
	x.mu.Lock()
	conn, ended := x.conn, x.ended
	x.mu.Unlock()
	if t, ok := conn.(*tls.Conn); ok {
		if ended && t.ConnectionState().NegotiatedProtocol == http2.NextProtoTLS {
			return // other requests may be on it, and this one is off it
		}
		conn = t.NetConn()
	}
	if conn != nil {
		conn.Close()
	}
}

// cancel ends the context; only the first reason counts.
func (x *exchange) cancel(reason error) (first bool) {
	x.mu.Lock()
	if x.err != nil {
		x.mu.Unlock()
		return false
	}
	x.err = reason
	after := x.after
	x.after = nil
	close(x.done)
	x.mu.Unlock()
	for _, f := range after {
		(*f)()
	}
	return true
}

// cutOff closes the connection that the request is on.
func (x *exchange) cutOff() {
	x.mu.Lock()
	conn := x.conn
	x.mu.Unlock()
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if conn != nil {
		conn.Close()
	}
}

// end is the last thing that Do does. failed tells that there was no answer:
// then the connection of an exchange that was cut off is nobody's any more.
func (x *exchange) end(failed bool) {
	cutOff := !x.cancel(context.Canceled)
	x.mu.Lock()
	x.ended = true
	if s := socketOf(x.conn); s != nil && !failed {
		s.answered.Store(true)
	}
	if !failed || !cutOff {
		x.timer.Stop()
		x.conn = nil
	}
	x.mu.Unlock()
	if x.unhook != nil {
		x.unhook()
	}
}

// mayWrite asks whether the request may still be written.
func (x *exchange) mayWrite() bool {
	if x.may == nil || x.may() {
		return true
	}
	x.mu.Lock()
	x.off = true
	x.mu.Unlock()
	return false
}

// calledOff tells whether the caller gave the exchange up.
func (x *exchange) calledOff() bool {
	x.mu.Lock()
	off := x.off
	x.mu.Unlock()
	return off || errors.Is(x.caller.Err(), context.Canceled)
}

// over tells whether the exchange has ended, or is not to go on.
func (x *exchange) over() bool {
	return x.Err() != nil || x.calledOff() || !time.Now().Before(x.deadline)
}

// dials counts one more connection of the attempt; an error: it had enough.
func (x *exchange) dials() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dialed++; x.dialed > maxDials {
		return &Error{StepConnect, "the receiver closes its connections before they can be used", nil}
	}
	return nil
}

// reach notes that the exchange came to a phase; it never goes back.
func (x *exchange) reach(phase int32) {
	x.mu.Lock()
	x.phase = max(x.phase, phase)
	x.mu.Unlock()
}

// step returns where the exchange is. One that has not started waits for a
// connection.
func (x *exchange) step() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return [...]string{StepConnect, StepDNS, StepConnect, StepTLS, StepRequest, StepResponse}[x.phase]
}

// fault explains a round trip's error.
func (x *exchange) fault(err error) *Error {
	step := x.step()
	if x.calledOff() {
		return &Error{step, "the attempt was called off", context.Canceled}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	expired := x.Err() != nil
	x.mu.Lock()
	conn := x.conn
	x.mu.Unlock()
	sock := socketOf(conn)
	if sock == nil || expired {
		return exchangeFault(step, expired, err)
	}
	if sock.refused(conn.(*tls.Conn), err) {
		return certificateFault(sock, err)
	}
	return hinted(sock, exchangeFault(step, false, err))
}

// bodyFault explains why a body that was asked for whole is not there.
func (x *exchange) bodyFault(err error) *Error {
	if x.calledOff() {
		return &Error{StepResponse, "the attempt was called off", context.Canceled}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if x.Err() != nil {
		return &Error{StepResponse, "the answer did not end within the time allowed", err}
	}
	return &Error{StepResponse, "the receiver broke off its answer", err}
}

// Deadline is the attempt's. An earlier one of the caller's is kept by the
// caller's context itself.
func (x *exchange) Deadline() (time.Time, bool) { return x.deadline, true }

// Done is closed when the exchange ends.
func (x *exchange) Done() <-chan struct{} { return x.done }

// Err tells why Done is closed.
func (x *exchange) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

type exchangeKey struct{}

// Value returns the exchange for its key.
func (x *exchange) Value(key any) any {
	if _, ok := key.(exchangeKey); ok {
		return x
	}
	return x.caller.Value(key)
}

// AfterFunc lets a context that derives from this one end with it, without a
// goroutine that waits for it (see context.AfterFunc).
func (x *exchange) AfterFunc(f func()) (stop func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		go f()
		return func() bool { return false }
	}
	p := &f
	x.after = append(x.after, p)
	return func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		i := slices.Index(x.after, p)
		if i < 0 {
			return false
		}
		x.after = slices.Delete(x.after, i, i+1)
		return true
	}
}
