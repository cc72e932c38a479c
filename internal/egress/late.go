package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// late is a TCP connection that can hold back what is written to it until
// somebody reads from it. That read looks first: when the other side has ended
// the connection or says something out of turn, the reader gets that and
// nothing was written. Otherwise what was held leaves in one write, and the
// read waits for what comes.
//
// So a request is never given to a connection that is known to have ended, and
// it costs a system call less than to look, to write, and to read in vain
// before the wait. One goroutine uses it; any may close it.
type late struct {
	net.Conn
	raw syscall.RawConn
	try func(fd uintptr) bool // tryRead, made once

	holding bool
	held    []byte
	x       *exchange // of what is held
	sent    int       // how much of held is written
	failed  error     // why the request could not be written whole

	in  []byte // of the read that is going on: where to,
	n   int    // how much was read,
	err error  // and why no more
}

// newLate puts a late connection into one that is open: below its TLS, or around
// it. It returns that one and the late one.
func newLate(c net.Conn) (net.Conn, *late, error) {
	s := socketOf(c)
	under := c
	if s != nil {
		under = s.Conn
	}
	sc, ok := under.(syscall.Conn)
	if !ok {
		return nil, nil, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	l := &late{Conn: under, raw: raw}
	l.try = l.tryRead
	if s != nil {
		s.Conn = l
		return c, l, nil
	}
	return l, l, nil
}

// hold begins to hold back what is written, until a read finds that the other
// side has said nothing. x must be set before that.
func (l *late) hold() {
	l.holding, l.held, l.x, l.sent, l.failed = true, l.held[:0], nil, 0, nil
}

// Write writes, or holds back.
func (l *late) Write(p []byte) (int, error) {
	if l.holding {
		l.held = append(l.held, p...)
		return len(p), nil
	}
	return l.Conn.Write(p)
}

// Read reads, and writes before that what was held back.
func (l *late) Read(p []byte) (int, error) {
	if !l.holding || len(p) == 0 {
		return l.Conn.Read(p)
	}
	l.in, l.n, l.err = p, 0, nil
	err := l.raw.Read(l.try)
	l.in = nil
	switch {
	case l.err != nil:
		return 0, l.err
	case err != nil:
		return 0, err
	case l.n > 0:
		return l.n, nil
	}
	if l.failed == nil { // the system took a part of it
		var n int
		n, l.failed = l.Conn.Write(l.held[l.sent:])
		if l.sent += n; l.failed == nil {
			l.x.reach(phaseResponse)
		}
	}
	// What could not be written whole may have been answered all the same.
	return l.Conn.Read(p)
}

// tryRead is called when nothing is known of what there is to read, and again
// when there is something; true ends the read.
func (l *late) tryRead(fd uintptr) bool {
	n, err := again(syscall.Read, fd, l.in)
	switch {
	case err == nil && n > 0:
		l.n = n
		return true
	case err == nil:
		l.err = io.EOF
		return true
	case !errors.Is(err, syscall.EAGAIN):
		l.err = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
		return true
	case !l.holding:
		return false
	}
	l.x.reach(phaseRequest)
	if !l.x.mayWrite() {
		l.err = context.Canceled
		return true
	}
	l.holding = false
	switch n, err = again(syscall.Write, fd, l.held); {
	case err == nil:
		l.sent = n
	case !errors.Is(err, syscall.EAGAIN):
		l.failed = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", err)}
	}
	if l.sent < len(l.held) {
		return true
	}
	l.x.reach(phaseResponse)
	return false
}

// again calls until no signal comes between.
func again(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(int(fd), p) // #nosec G115 -- a file descriptor
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
