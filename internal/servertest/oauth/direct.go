package oauth

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Direct returns a transport that calls a handler in a goroutine of its own,
// without any network, so that it works inside a bubble of testing/synctest.
//
// A handler that panics with http.ErrAbortHandler cuts the connection: what
// was written before arrives, then comes io.ErrUnexpectedEOF. Interim answers
// are dropped. The handler's context ends with the request's.
func Direct(h http.Handler) http.RoundTripper { return direct{h} }

type direct struct{ h http.Handler }

// RoundTrip calls the handler.
func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI, in.RemoteAddr = req.URL.RequestURI(), "127.0.0.1:1"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	read, write := io.Pipe()
	w := &directWriter{header: http.Header{}, began: make(chan struct{}), body: write}
	stop := context.AfterFunc(ctx, func() { _ = write.CloseWithError(context.Cause(ctx)) }) // it never fails
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop()
		defer func() {
			cut := recover()
			if cut == nil {
				w.WriteHeader(http.StatusOK)
			} else if cut != http.ErrAbortHandler {
				panic(cut)
			}
			if cut == nil || w.whole() {
				_ = write.Close() // it never fails
			}
			_ = write.CloseWithError(io.ErrUnexpectedEOF) // it never fails, and the first one counts
			_ = in.Body.Close()                           // nothing is left to do about it
		}()
		d.h.ServeHTTP(w, in)
	}()
	select {
	case <-w.began:
	case <-done:
		select {
		case <-w.began:
		default:
			cancel()
			return nil, io.ErrUnexpectedEOF
		}
	case <-ctx.Done():
		cancel()
		return nil, context.Cause(req.Context())
	}
	length := int64(-1)
	if n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); err == nil {
		length = n
	}
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: length, Body: &directBody{read, cancel}, Request: req,
	}, nil
}

type directBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close lets go of the handler.
func (b *directBody) Close() error {
	defer b.cancel()
	return b.PipeReader.Close()
}

type directWriter struct {
	header http.Header
	once   sync.Once
	began  chan struct{} // closed when status and sent are set
	status int
	sent   http.Header
	body   *io.PipeWriter
	n      int64 // bytes of the body that were written
}

// whole tells whether the body is as long as the header said.
func (w *directWriter) whole() bool {
	return w.sent != nil && w.sent.Get("Content-Length") == strconv.FormatInt(w.n, 10)
}

// Header returns the fields that will be sent.
func (w *directWriter) Header() http.Header { return w.header }

// WriteHeader sends the header, unless it is that of an interim answer.
func (w *directWriter) WriteHeader(status int) {
	if status < 200 {
		return
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.began)
	})
}

// Write sends a part of the body, and waits until it was read.
func (w *directWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	n, err := w.body.Write(p)
	w.n += int64(n)
	return n, err
}

// Flush sends the header; the body never waits.
func (w *directWriter) Flush() { w.WriteHeader(http.StatusOK) }
