// Package sink is the request inspector: bins that take any request, answer
// as they were told, and show what came.
//
// Requests live in memory only, bounded per bin and in all; a restart forgets
// them, and what tells of somebody goes when that one is erased. What is shown
// is text, and without the secrets that an owner gave us to prove ourselves
// with. A bin's answer is on the portal's own origin, so nothing in it may act
// there: no cookie, no script, no policy of the origin.
package sink

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/signature"
)

// The bounds of what is kept. Ours.
const (
	MaxRequests = 500       // kept of one bin; the oldest go first
	MaxBytes    = 64 << 20  // kept in all, about; the oldest go first
	MaxBody     = 256 << 10 // bytes kept of one body
	MaxRead     = 1 << 20   // bytes read of one body; a longer one is answered 413
)

// readTimeout bounds how long a body may take to arrive. Ours: twice the
// longest attempt that the default settings allow.
const readTimeout = 30 * time.Second

// Prefix is the path that all bins are below.
const Prefix = "/inspect/"

// Signature says whether a request was signed as our deliveries are.
type Signature string

// The verdicts.
const (
	Valid   Signature = "valid"   // by an endpoint of the bin's application that points at the bin
	Invalid Signature = "invalid" // there is a signature that proves nothing
	None    Signature = "none"    // there is no signature header
)

// Request is one request as it is shown: valid UTF-8, secrets masked.
type Request struct {
	ID        string // "req_…"
	Bin       string
	At        time.Time // when it had arrived; UTC, milliseconds
	Method    string
	Path      string            // as it was sent, escaped, from "/inspect/" on
	Query     string            // as it was sent, without "?"
	Headers   []delivery.Header // Host first, then by name; of one name in the order sent
	Body      string            // at most MaxBody bytes
	Size      int               // of the body as it was read, in bytes
	Truncated bool              // something was left out of Headers or Body
	Signature Signature
	Status    int // what the bin answered, or answers after its delay
}

// Header returns the first value of a header field, in any case of letters,
// empty when there is none.
func (r Request) Header(name string) string {
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// Options configure a Sink.
type Options struct {
	Store     store.Reader
	Logger    *slog.Logger  // nil: none
	PublicURL func() string // how the world reaches us, without the bin's path
}

// Sink is the inspector. It is an http.Handler for everything below Prefix.
type Sink struct {
	store     store.Reader
	log       *slog.Logger
	publicURL func() string
	kept      *kept
	receivers *receivers

	stop    sync.Once
	stopped chan struct{}
}

// New returns an inspector without requests.
func New(o Options) *Sink {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sink{
		store: o.Store, log: log, publicURL: o.PublicURL,
		kept:      newKept(),
		receivers: newReceivers(o.Store),
		stopped:   make(chan struct{}),
	}
}

// Close ends every delay and every watch. What was kept stays readable.
// Idempotent.
func (s *Sink) Close() {
	s.stop.Do(func() {
		close(s.stopped)
		s.kept.close()
	})
}

// URL returns a bin's address.
func (s *Sink) URL(bin string) string {
	return strings.TrimSuffix(s.publicURL(), "/") + Prefix + bin
}

// Requests returns a bin's requests in the order in which they arrived, those
// that came after the request with the ID after, at most limit (1 at least).
// next is the after of the following page, empty when nothing more has come.
//
// An after that is not kept (any more) starts at the oldest that is, so that
// a reader who fell behind goes on with what there is. fault.NotFound when the
// application has no such bin.
func (s *Sink) Requests(ctx context.Context, app access.ID, bin, after string, limit int) (rs []Request, next string, err error) {
	if err := s.owns(ctx, app, bin); err != nil {
		return nil, "", err
	}
	rs, next = s.kept.page(bin, after, max(limit, 1))
	return rs, next, nil
}

// Get returns one request. fault.NotFound when the application has no such
// bin, or the bin no such request (any more).
func (s *Sink) Get(ctx context.Context, app access.ID, bin, request string) (Request, error) {
	if err := s.owns(ctx, app, bin); err != nil {
		return Request{}, err
	}
	r, ok := s.kept.get(bin, request)
	if !ok {
		return Request{}, fault.New(fault.NotFound, "not_found", "The bin keeps no such request.")
	}
	return r, nil
}

// Clear forgets a bin's requests; those who watch go on. fault.NotFound when
// the application has no such bin. Call it before a bin is removed.
func (s *Sink) Clear(ctx context.Context, app access.ID, bin string) error {
	if err := s.owns(ctx, app, bin); err != nil {
		return err
	}
	s.kept.clear(bin)
	return nil
}

// Forget drops the requests that tell of subjects who were erased, from all
// bins of their applications. Of one that tells of the erasure itself it stays
// known that it came, without its body. It returns at once; those who watch are
// not told. It may be called again for the same subject.
func (s *Sink) Forget(subjects ...store.Subject) {
	if len(subjects) > 0 {
		s.kept.forget(subjects, time.Now())
	}
}

// keep keeps a request about a subject. One that was on its way when its
// subject was erased comes too late for Forget: whether the event with the ID
// was erased is looked up once it is kept, so that either finds it.
func (s *Sink) keep(ctx context.Context, r Request, subject store.Subject, eventID string) {
	if erased := s.kept.add(r, subject); !erased {
		return
	}
	e, err := s.store.Event(context.WithoutCancel(ctx), subject.Application, eventID)
	if err == nil && !e.Erased {
		return // one of those that tell of the end
	}
	s.kept.forgetOne(r.Bin, r.ID)
}

// Watch returns a channel of the bin's new requests and a function that ends
// the watch; the channel is closed then, and when the inspector is closed. A
// watcher that does not keep up loses requests: it reads them by Requests.
//
// It does not ask whose the bin is: look the bin up first.
func (s *Sink) Watch(bin string) (requests <-chan Request, cancel func()) {
	return s.kept.watch(bin)
}

// Summary is a bin at a glance.
type Summary struct {
	Kept     int       // requests that can be read
	LatestAt time.Time // zero: none is kept
}

// Summary returns what is kept of a bin. It does not ask whose the bin is.
func (s *Sink) Summary(bin string) Summary { return s.kept.summary(bin) }

func (s *Sink) owns(ctx context.Context, app access.ID, bin string) error {
	b, err := s.store.Bin(ctx, bin)
	if err != nil {
		return err
	}
	if b.Application != app {
		return errNoBin()
	}
	return nil
}

func errNoBin() *fault.Error {
	return fault.New(fault.NotFound, "not_found", "There is no such bin.")
}

// ServeHTTP takes a request for a bin, keeps it, and answers by the bin's
// script. It is kept before the delay, so it is seen while its sender waits.
//
// A body of more than MaxRead bytes is answered 413, one that does not arrive
// whole 400; both are kept with what was read, and a signature on them counts
// as invalid.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	ctx := r.Context()
	path := r.URL.EscapedPath()
	rest, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		problem(w, http.StatusNotFound, "not_found", "There is no such bin.")
		return
	}
	name, _, _ := strings.Cut(rest, "/")
	bin, err := s.store.Bin(ctx, name)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		problem(w, http.StatusNotFound, "not_found", "There is no such bin.")
		return
	case err != nil:
		s.unavailable(ctx, w, "read bin", err)
		return
	}

	body, whole, readErr := read(w, r)
	arrived := time.Now()
	known, verdict, err := s.judge(ctx, r, bin, body, whole && readErr == nil, arrived)
	if err != nil {
		s.unavailable(ctx, w, "read endpoints of a bin", err)
		return
	}

	req := show(r, path, body, known.mask)
	req.ID, req.Bin, req.Signature = id.New(id.Request), bin.Name, verdict
	req.At = arrived.UTC().Truncate(time.Millisecond)
	script := bin.Script
	failed := false
	switch {
	case readErr != nil:
		req.Status = http.StatusBadRequest
	case !whole:
		req.Status = http.StatusRequestEntityTooLarge
	case fails(script.FailureRatio):
		failed, req.Status = true, http.StatusInternalServerError
	default:
		req.Status = status(script)
	}
	s.keep(ctx, req, store.Subject{Application: bin.Application, ID: r.Header.Get(delivery.HeaderSubject)}, r.Header.Get(signature.HeaderID))
	s.log.DebugContext(ctx, "request kept", "bin", bin.Name, "method", req.Method, "bytes", req.Size, "status", req.Status)

	switch {
	case readErr != nil:
		problem(w, req.Status, "incomplete_body", "The body did not arrive whole.")
	case !whole:
		w.Header().Set("Connection", "close")
		problem(w, req.Status, "body_too_large", "The body has more than "+strconv.Itoa(MaxRead)+" bytes; send less.")
	case !s.wait(ctx, script.Delay):
		// The sender may be gone; if it is not, the server is about to be.
		problem(w, http.StatusServiceUnavailable, "stopping", "The server is stopping; try again later.")
	case failed:
		problem(w, req.Status, "scripted_failure", "The bin was told to fail this part of its requests.")
	default:
		answer(w, script)
	}
}

// judge returns what is known of the endpoints that point at the bin, and
// whether one of them signed the request.
func (s *Sink) judge(ctx context.Context, r *http.Request, bin store.Bin, body []byte, whole bool, arrived time.Time) (*known, Signature, error) {
	prefix := pathOf(s.publicURL()) + Prefix + bin.Name
	k, err := s.receivers.of(ctx, bin, prefix)
	if err != nil {
		return nil, "", err
	}
	switch {
	case len(r.Header.Values(signature.HeaderSignature)) == 0:
		return k, None, nil
	case !whole:
		return k, Invalid, nil
	case k.signed(r, body, arrived):
		return k, Valid, nil
	}
	// The secret may be younger than what is known.
	k, err = s.receivers.fresh(ctx, bin, prefix, arrived)
	switch {
	case err != nil:
		return nil, "", err
	case k.signed(r, body, arrived):
		return k, Valid, nil
	}
	return k, Invalid, nil
}

func (s *Sink) unavailable(ctx context.Context, w http.ResponseWriter, doing string, err error) {
	if ctx.Err() == nil {
		s.log.ErrorContext(ctx, doing, "error", err)
	}
	problem(w, http.StatusServiceUnavailable, "unavailable", "The inspector cannot read its store now; try again later.")
}

// read returns at most MaxRead bytes of the body; whole is false when there is
// more. err is that the body ended early or took too long.
func read(w http.ResponseWriter, r *http.Request) (body []byte, whole bool, err error) {
	c := http.NewResponseController(w)
	// A writer that knows no deadlines reads from memory.
	deadlines := c.SetReadDeadline(time.Now().Add(readTimeout)) == nil
	body, err = io.ReadAll(io.LimitReader(r.Body, MaxRead+1))
	if deadlines && err == nil {
		// Else the deadline would end the delay below.
		err = c.SetReadDeadline(time.Time{})
	}
	if len(body) > MaxRead {
		return body[:MaxRead], false, nil
	}
	return body, true, err
}

// wait returns after d, or false as soon as the sender has gone or the server
// stops.
func (s *Sink) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-s.stopped:
		return false
	}
}

// fails tells whether a request belongs to the part that is failed.
func fails(ratio float64) bool {
	return ratio > 0 && rand.Float64() < ratio // #nosec G404 -- which request fails is no secret
}
