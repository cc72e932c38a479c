package egress

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Lend returns an http.Client for libraries that want one. Each of its requests is
// one of c, to an address that g lets through; it follows no redirect, keeps no
// cookie, and an answer of more than most bytes is an error. A request has within
// from its look-up to its end.
func (c *Client) Lend(g *Guard, within time.Duration, most int) *http.Client {
	return &http.Client{
		Transport:     &lent{c, g, within, most},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type lent struct {
	client *Client
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
	a, err := l.client.Do(r.Context(), q)
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
