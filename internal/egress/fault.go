package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// The steps of a request, in order; an Error tells in which one it ended.
const (
	StepDNS      = "dns"
	StepConnect  = "connect"
	StepTLS      = "tls"
	StepRequest  = "request"
	StepResponse = "response"
)

// Error is why no complete header block arrived, or not the whole body that
// was asked for. Its text is ours alone: no
// URL, no header, no byte of the receiver's.
type Error struct {
	Step   string // dns, connect, tls, request or response
	Reason string // in plain words, for the endpoint's owner
	Err    error  // the cause, for errors.Is; its text may hold what must not be logged
}

// Error returns the step and the reason.
func (e *Error) Error() string { return e.Step + ": " + e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// lookupFault explains why a name gave no address.
func lookupFault(err error) *Error {
	reason := "the name servers gave no answer for the host name"
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			reason = "the host name does not exist or has no address"
		case dns.IsTimeout:
			reason = "the host name was not resolved in time"
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		reason = "the host name was not resolved in time"
	}
	return &Error{StepDNS, reason, err}
}

// refusedFault explains why nothing may be dialled. It does not tell what a
// name resolved to: an internal address is no caller's business.
func refusedFault(rule, literal string) *Error {
	subject := "the host's address"
	if literal != "" {
		subject = literal
	}
	switch rule {
	case ruleOwn:
		return &Error{StepConnect, subject + " is this server's own address", nil}
	case rulePlain:
		return &Error{StepConnect, "plain http is only allowed towards addresses that the operator lists, and " + subject + " is none", nil}
	}
	return &Error{StepConnect, subject + " is not a public address and the operator does not allow it", nil}
}

// connectFault explains why no connection came about.
func connectFault(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok { // the check right before the connect
		return e
	}
	reason := "the connection failed"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "the receiver refused the connection"
	case errors.Is(err, syscall.ECONNRESET):
		reason = "the receiver reset the connection"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		reason = "there is no route to the receiver"
	case timedOut(err):
		reason = "no connection within the time allowed"
	}
	return &Error{StepConnect, reason, err}
}

// tlsFault explains why a handshake on a socket failed.
func tlsFault(s *socket, err error) *Error {
	reason := "the TLS handshake failed"
	alert, alerted := remoteAlert(err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case unknown:
		reason = "the receiver's certificate is not signed by an authority that we trust"
	case name:
		reason = "the receiver's certificate is for another host name"
	case isInvalid && invalid.Reason == x509.Expired:
		reason = "the receiver's certificate has expired or is not valid yet"
	case isInvalid, unverified:
		reason = "the receiver's certificate is not valid"
	case plain:
		reason = "the receiver does not speak TLS"
	case alerted && alert == alertProtocolVersion:
		reason = "the receiver does not offer TLS 1.2 or newer"
	case alerted && s.undecided() && aboutCertificate(alert):
		return certificateFault(s, err)
	case alerted:
		reason = "the receiver refused the TLS handshake"
	case timedOut(err):
		reason = "the TLS handshake was not finished in time"
	case brokenOff(err):
		reason = "the receiver closed the connection during the TLS handshake"
	}
	return hinted(s, &Error{StepTLS, reason, err})
}

// certificateFault explains that a receiver refuses us for our client
// certificate.
func certificateFault(s *socket, err error) *Error {
	if s.given {
		return &Error{StepTLS, "the receiver refused our client certificate", err}
	}
	return &Error{StepTLS, "the receiver asks for a client certificate", err}
}

// hinted adds to an error what may be its reason: some receivers close the
// connection without a word when they get no certificate.
func hinted(s *socket, e *Error) *Error {
	if s.undecided() && !s.given && brokenOff(e.Err) {
		e.Reason += "; it had asked for a client certificate"
	}
	return e
}

// tooLarge explains why a body is not read.
func tooLarge(limit int) *Error {
	size := fmt.Sprintf("%d bytes", limit)
	switch {
	case limit%(1<<20) == 0:
		size = fmt.Sprintf("%d MiB", limit>>20)
	case limit%(1<<10) == 0:
		size = fmt.Sprintf("%d KiB", limit>>10)
	}
	return &Error{StepResponse, "the answer is larger than " + size, nil}
}

// exchangeFault explains why a request on an open connection gave no complete
// header block. expired tells that the attempt's time was over.
func exchangeFault(step string, expired bool, err error) *Error {
	if expired {
		reason := map[string]string{
			StepDNS:      "the host name was not resolved in time",
			StepConnect:  "no connection within the time allowed",
			StepTLS:      "the TLS handshake was not finished in time",
			StepRequest:  "the receiver did not take the request in time",
			StepResponse: "no complete answer within the time allowed",
		}[step]
		return &Error{step, reason, err}
	}
	if step != StepRequest {
		step = StepResponse
	}
	switch {
	case brokenOff(err) && step == StepRequest:
		return &Error{step, "the receiver closed the connection while the request was sent", err}
	case brokenOff(err):
		return &Error{step, "the receiver closed the connection before its answer was complete", err}
	}
	return &Error{step, "the receiver broke off its answer, or the answer is not valid HTTP or its header block is larger than 256 KiB", err}
}

func timedOut(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

func brokenOff(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
