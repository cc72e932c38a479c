package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Sender sends one request, at most once; Client is one.
type Sender interface {
	Do(ctx context.Context, r *Request) (*Response, error)
}

// Lend returns an http.Client for libraries that want one. Each of its requests is
// one of s, to an address that g lets through; it follows no redirect, keeps no
// cookie, and an answer of more than most bytes is an error. A request has within
// from its look-up to its end.
func Lend(s Sender, g *Guard, within time.Duration, most int) *http.Client {
	return &http.Client{
		Transport:     &lent{s, g, within, most},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type lent struct {
	sender Sender
	guard  *Guard
	within time.Duration
	most   int
}

// RoundTrip implements http.RoundTripper.
func (l *lent) RoundTrip(r *http.Request) (*http.Response, error) {
	q := &Request{Method: r.Method, Header: r.Header.Clone(), Timeout: l.within, Whole: l.most}
	if r.Body != nil {
		b, err := io.ReadAll(io.LimitReader(r.Body, int64(l.most)))
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		q.Body = b
	}
	target, bad := l.guard.Parse(r.URL.String())
	if bad != nil {
		return nil, errors.New("this address may not be dialled: " + bad.Msg)
	}
	q.Target = target
	a, err := l.sender.Do(r.Context(), q)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	for _, f := range a.Header {
		h.Add(f.Name, f.Value)
	}
	return &http.Response{
		Status: strconv.Itoa(a.Status) + " " + http.StatusText(a.Status), StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(a.Whole)), ContentLength: int64(len(a.Whole)), Request: r,
	}, nil
}
