package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/portal"
	"github.com/consentwire/consentwire/internal/sink"
)

// The bounds of one caller. Ours.
const (
	headerTime = 10 * time.Second // to send a request's header
	idleTime   = 2 * time.Minute  // between two requests of a connection
	maxHeader  = 32 << 10         // bytes
	answerTime = 3 * time.Minute  // to take an answer, the longest delay of an inspector's bin included
	rotateTime = 30 * time.Minute // the same when everything is sealed anew before
	// A body has bodyTime and then must arrive at bodyRate bytes a second.
	bodyTime = 20 * time.Second
	bodyRate = 8 << 10
	// The body of an import may take as long as it needs, but must not pause for
	// longer than this.
	stallTime = time.Minute
)

// importPath is the route that takes transactions line by line.
const importPath = "/v1/permissions/import"

// newHTTPServer returns a server for TLS 1.2 and newer, HTTP/1.1 and HTTP/2.
// What net/http would write to the standard logger never reaches it.
func newHTTPServer(h http.Handler, l *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12},
		ErrorLog:          log.New(egress.QuietStdLog(l), "", 0),
	}
}

// faces sends each request to the face that answers it.
type faces struct {
	api, portal, sink http.Handler
	streams           context.Context // ends when the server stops
}

// ServeHTTP bounds how long a caller may take, and hands on.
//
// The server has no time limit of its own for bodies, because that would end
// streams, too. A stream (text/event-stream) may last, and ends when the
// server stops: nothing else would end it.
func (f *faces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	if isStream(r) {
		_ = c.SetWriteDeadline(time.Time{}) // left over from the request before
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(f.streams, cancel)()
		r = r.WithContext(ctx)
	} else {
		within := answerTime
		if r.URL.Path == rotatePath {
			within = rotateTime
		}
		_ = c.SetWriteDeadline(time.Now().Add(within)) // a writer without deadlines writes to memory
	}
	if r.Body != nil && r.Body != http.NoBody {
		b := &patientBody{ReadCloser: r.Body, c: c, start: time.Now(), long: r.URL.Path == importPath}
		b.expect() // also for what nobody reads, which the server reads itself
		r.Body = b
	}
	switch p := r.URL.Path; {
	case p == strings.TrimSuffix(portal.Prefix, "/") || strings.HasPrefix(p, portal.Prefix) || strings.HasPrefix(p, app.ConfirmPath):
		f.portal.ServeHTTP(w, r)
	case strings.HasPrefix(p, sink.Prefix):
		f.sink.ServeHTTP(w, r)
	case p == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		http.Redirect(w, r, portal.Prefix, http.StatusSeeOther)
	default:
		f.api.ServeHTTP(w, r)
	}
}

func isStream(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// patientBody waits for a body as long as it comes along.
type patientBody struct {
	io.ReadCloser
	c     *http.ResponseController
	start time.Time
	read  int64
	long  bool // it may take as long as bytes come; the answer has its time from the last one on
}

// expect sets the deadline for what comes next.
func (b *patientBody) expect() {
	if b.long {
		_ = b.c.SetReadDeadline(time.Now().Add(stallTime))
		_ = b.c.SetWriteDeadline(time.Now().Add(stallTime + answerTime))
		return
	}
	_ = b.c.SetReadDeadline(b.start.Add(bodyTime + time.Duration(b.read)*time.Second/bodyRate))
}

// Read reads on, by a deadline that moves with what has come. With the end of
// the body the deadline goes, for it would end the request.
func (b *patientBody) Read(p []byte) (int, error) {
	b.expect()
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if errors.Is(err, io.EOF) {
		_ = b.c.SetReadDeadline(time.Time{})
	}
	return n, err
}
