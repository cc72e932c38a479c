// Package api is the face for programs: REST in two dialects, tokens, and the
// document that describes them.
//
// Operations are data. One table (operations) says for each its path, who may
// call it, what it takes and what it answers; the mux, the check of the query
// and the OpenAPI document are made from it. A handler returns an answer or an
// error and writes nothing itself; one function turns errors into bodies.
//
// The package holds no rule: it reads requests strictly, calls a use case or
// the store, and shows the result. It never shows a secret but the once that
// it is made.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/telemetry"
)

// Tester sends a webhook.test to an endpoint at once. The error is for what
// kept it from trying; what the receiver made of it is in the trial.
type Tester interface {
	Test(ctx context.Context, e subscription.Endpoint) (delivery.Trial, error)
	// TestMail sends a mail to an address by a mail sender.
	TestMail(ctx context.Context, e subscription.Endpoint, to string) (delivery.Trial, error)
}

// Options join the face to the rooms behind it. All but Logger, Metrics and
// Ready are required.
type Options struct {
	App     *app.App
	Store   store.Reader
	Check   subscription.URLCheck
	Host    subscription.HostCheck // of mail servers
	Tester  Tester
	Sink    *sink.Sink
	Ready   func(context.Context) error // nil: always ready
	Version string                      // of the program
	Commit  string

	PublicURL func() string // how the world reaches us
	Logger    *slog.Logger  // nil: none
	Metrics   *telemetry.Metrics
}

// server answers every request that comes to the face.
type server struct {
	Options
	mux      *http.ServeMux
	document []byte // openapi.json
	page     []byte // docs
}

// New returns the face. It answers what it does not know with its own 404. It
// panics when its table contradicts itself, which a test finds.
func New(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{
		Options: o,
		mux:     http.NewServeMux(),
	}
	ops := s.operations()
	s.document = document(ops, o.Version)
	s.page = docsPage(ops, o.Version)
	routes := map[string]*route{}
	for i := range ops {
		op := &ops[i]
		r := routes[op.path]
		if r == nil {
			r = &route{server: s, path: op.path, ops: map[string]*operation{}}
			routes[op.path] = r
			s.mux.Handle(op.path, r)
		}
		if r.ops[op.method] != nil {
			panic("api: two operations on " + op.method + " " + op.path)
		}
		r.ops[op.method] = op
		r.allow = append(r.allow, op.method)
		if op.method == http.MethodGet {
			r.allow = append(r.allow, http.MethodHead)
		}
	}
	for _, r := range routes {
		slices.Sort(r.allow)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, callOf(r), errNoRoute())
	})
	return s
}

func errNoRoute() error {
	return fault.New(fault.NotFound, "not_found", "There is nothing at this path; /docs lists what there is.")
}

// ServeHTTP answers one request and writes one line about it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{route: "none", requestID: telemetry.AcceptRequestID(r.Header.Get("X-Request-Id"))}
	ctx := telemetry.WithRequestID(r.Context(), c.requestID)
	r = r.WithContext(context.WithValue(ctx, callKey{}, c))
	rec := &recorder{ResponseWriter: w}
	guard(rec.Header(), r)
	rec.Header().Set("X-Request-Id", c.requestID)
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			s.Logger.ErrorContext(r.Context(), "panic", "route", c.route, "error", p, "stack", string(debug.Stack()))
			if rec.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			s.fail(rec, r, c, errBroken())
		}
		s.say(r, c, rec.status, time.Since(start))
	}()
	if unclean(r.URL.EscapedPath()) {
		s.fail(rec, r, c, errNoRoute())
		return
	}
	s.mux.ServeHTTP(rec, r)
}

// unclean tells whether the mux would redirect to a tidier path. A client that
// sends one made a mistake, and must hear of it.
func unclean(p string) bool {
	if !strings.HasPrefix(p, "/") {
		return true
	}
	return p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/")
}

// guard sets what every answer carries. Source: RULES 5, API8.
func guard(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// say writes the request's line and counts it.
func (s *server) say(r *http.Request, c *call, status int, took time.Duration) {
	method := r.Method
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method) {
		method = "other" // a label, and a log, must not grow by what a caller invents
	}
	s.Metrics.Request(c.route, method, status, took)
	level := slog.LevelInfo
	if c.op != nil && c.op.quiet {
		level = slog.LevelDebug
	}
	if !s.Logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", method), slog.String("route", c.route), slog.Int("status", status),
		slog.Float64("durationMs", float64(took.Microseconds())/1000),
	}
	if c.caller.ClientID != "" {
		attrs = append(attrs, slog.String("clientId", c.caller.ClientID))
	}
	if c.app != "" {
		attrs = append(attrs, slog.String("application", string(c.app)))
	}
	s.Logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the first status that is final.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the answer.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// route is the operations of one path.
type route struct {
	server *server
	path   string
	ops    map[string]*operation
	allow  []string
}

// ServeHTTP carries out the operation that the method names.
func (rt *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, c := rt.server, callOf(r)
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	c.r, c.w = r, w
	op, ok := rt.ops[method]
	if !ok {
		c.route = rt.path
		w.Header().Set("Allow", strings.Join(rt.allow, ", "))
		s.fail(w, r, c, errMethod(rt.allow))
		return
	}
	c.op, c.route = op, op.path
	if err := s.admit(c); err != nil {
		s.fail(w, r, c, err)
		return
	}
	rep, err := op.serve(c)
	if err != nil {
		s.fail(w, r, c, err)
		return
	}
	s.write(w, r, c, rep)
}
