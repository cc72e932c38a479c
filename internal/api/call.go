package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/fault"
)

// MaxBody is the largest body of a request, in bytes.
const MaxBody = 1 << 20

type callKey struct{}

// callOf returns the request's call; ServeHTTP put it there.
func callOf(r *http.Request) *call {
	c, _ := r.Context().Value(callKey{}).(*call)
	return c
}

// call is one request on its way through the face.
type call struct {
	w         http.ResponseWriter
	r         *http.Request
	route     string // the pattern, for log and metrics
	op        *operation
	requestID string

	caller access.Caller
	app    access.ID         // whose data the operation is about; empty for the operator's own
	query  map[string]string // checked; a parameter that is absent or empty is missing
}

func (c *call) ctx() context.Context { return c.r.Context() }

// id returns the value of the path's parameter.
func (c *call) id() string { return c.r.PathValue(c.op.param) }

// number returns a query parameter that admit has checked, or its default.
func (c *call) number(name string) int {
	n, err := strconv.Atoi(c.query[name])
	if err != nil { // it was absent
		for _, p := range c.op.query {
			if d, ok := p.schema.def.(int); ok && p.name == name {
				return d
			}
		}
	}
	return n
}

// instant returns a query parameter that admit has checked; zero when absent.
func (c *call) instant(name string) time.Time {
	t, _ := body.ParseTime(c.query[name])
	return t
}

// admit checks in this order: who calls, the parameters, and for whom.
func (s *server) admit(c *call) error {
	if err := s.identify(c); err != nil {
		return err
	}
	if err := c.parameters(); err != nil {
		return err
	}
	if c.op.scope != application {
		return nil
	}
	named := access.ID(c.query[applicationParam])
	switch {
	case !c.caller.Operator:
		c.app = c.caller.Application
		if named != "" && named != c.app {
			return fault.New(fault.NotFound, "not_found", "There is no such application.")
		}
		return nil
	case named == "":
		return fault.At(fault.Invalid, "required", applicationParam, "The operator names the application by this query parameter.")
	}
	if _, err := s.Store.Application(c.ctx(), named); err != nil {
		return err
	}
	c.app = named
	return nil
}

// identify finds out who calls and whether the operation is for them.
func (s *server) identify(c *call) error {
	switch c.op.scope {
	case public:
		return nil
	case operatorOrLoopback:
		if len(c.r.Header.Values("Authorization")) == 0 && direct(c.r) {
			return nil
		}
	}
	bearer, err := bearerOf(c.r)
	if err != nil {
		return err
	}
	c.caller, err = s.App.Authenticate(c.ctx(), bearer)
	if err != nil {
		return err
	}
	if c.op.scope != application && !c.caller.Operator {
		c.app = c.caller.Application // for the log
		return errNoRoute()
	}
	return nil
}

// direct tells whether the request comes from this machine itself and nobody
// passed it on. Source: CONTRACT 1, /metrics.
func direct(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	for name := range r.Header {
		n := strings.ToLower(name)
		if n == "forwarded" || n == "x-real-ip" || n == "via" || strings.HasPrefix(n, "x-forwarded-") {
			return false
		}
	}
	return true
}

// maxBearer bounds a bearer, in bytes. Ours are shorter by far.
const maxBearer = 4096

// bearerOf returns the request's bearer. Source: RFC 6750 section 2.1.
func bearerOf(r *http.Request) (string, error) {
	fields := r.Header.Values("Authorization")
	if len(fields) == 0 {
		return "", fault.New(fault.Unauthenticated, "token_required", "Send an access token: Authorization: Bearer <access_token>.")
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.TrimLeft(token, " ")
	if len(fields) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxBearer ||
		strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fault.New(fault.Unauthenticated, "invalid_token", "The Authorization header holds no bearer token.")
	}
	return token, nil
}

// parameters checks the path's parameter and the query against the table.
// Every faulty one is named; an empty value counts as absent.
func (c *call) parameters() error {
	var faults []fault.Field
	add := func(name, code, msg string) { faults = append(faults, fault.Field{Path: name, Code: code, Msg: msg}) }

	if name := c.op.param; name != "" {
		v, most := c.r.PathValue(name), c.op.paramMax()
		switch n := utf8.RuneCountInString(v); {
		case n < 1 || n > most:
			add(name, "out_of_range", fmt.Sprintf("This part of the path has 1 to %d characters.", most))
		case !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0:
			add(name, "invalid_character", "This part of the path is not valid text.")
		}
	}

	given, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		// The text of err repeats the query.
		return fault.At(fault.Invalid, "invalid_query", "query", "The query is not well-formed.")
	}
	c.query = make(map[string]string, len(given))
	known := c.op.parameters()
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		i := slices.IndexFunc(known, func(p parameter) bool { return p.name == name })
		switch values := given[name]; {
		case i < 0:
			add(shortName(name), "unknown_parameter", "This query parameter is not known here; leave it out.")
		case len(values) > 1:
			add(name, "duplicate_parameter", "This query parameter is given more than once.")
		case values[0] == "":
		default:
			if code, msg := known[i].schema.refuse(values[0]); code != "" {
				add(name, code, msg)
				continue
			}
			c.query[name] = values[0]
		}
	}
	return fault.InvalidFields(faults)
}

// shortName returns a name as an answer repeats it.
func shortName(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) > 100 {
		return string([]rune(s)[:100]) + "…"
	}
	return s
}

// raw returns the body as it was sent. media are the content types that it
// may have; an empty body needs none.
//
// Errors: fault.TooLarge "body_too_large", fault.Unsupported
// "unsupported_media_type" and "unsupported_encoding", fault.Invalid
// "incomplete_body".
func (c *call) raw(media ...string) ([]byte, error) {
	if c.r.ContentLength > MaxBody {
		return nil, errTooLarge()
	}
	// The type is looked at first when a body is announced, so that a large
	// one of the wrong kind is not read.
	announced := c.r.ContentLength > 0
	if announced {
		if err := c.media(media); err != nil {
			return nil, err
		}
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge()
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "incomplete_body", "The body did not arrive whole.", err)
	}
	if len(b) > 0 && !announced {
		if err := c.media(media); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func errTooLarge() error {
	return fault.New(fault.TooLarge, "body_too_large", fmt.Sprintf("The body has more than %d bytes; send less.", MaxBody))
}

// media checks Content-Type and Content-Encoding.
func (c *call) media(allowed []string) error {
	if e := c.r.Header.Values("Content-Encoding"); len(e) > 1 || len(e) == 1 && !strings.EqualFold(e[0], "identity") {
		return fault.At(fault.Unsupported, "unsupported_encoding", "Content-Encoding", "Send the body as it is, without a content encoding.")
	}
	if given := c.r.Header.Values("Content-Type"); len(given) == 1 {
		kind, params, err := mime.ParseMediaType(given[0])
		charset, has := params["charset"]
		plainParams := len(params) == 0 || len(params) == 1 && has && strings.EqualFold(charset, "utf-8")
		if err == nil && plainParams && slices.Contains(allowed, kind) {
			return nil
		}
	}
	return fault.At(fault.Unsupported, "unsupported_media_type", "Content-Type", "Send the body as "+strings.Join(allowed, " or ")+", in UTF-8.")
}

// The media types of bodies.
const (
	mediaJSON  = "application/json"
	mediaPatch = "application/merge-patch+json" // RFC 7396
	mediaForm  = "application/x-www-form-urlencoded"
)

// json reads a body that must be there.
func (c *call) json() (body.Node, error) {
	media := []string{mediaJSON}
	if c.op.method == http.MethodPatch {
		media = append(media, mediaPatch)
	}
	b, err := c.raw(media...)
	if err != nil {
		return body.Node{}, err
	}
	return body.Parse(b)
}

// fields reads an object that must be there.
func (c *call) fields() (*body.Object, error) {
	n, err := c.json()
	if err != nil {
		return nil, err
	}
	return body.NewObject(n)
}

// optional reads an object that may be left out altogether.
func (c *call) optional() (*body.Object, error) {
	b, err := c.raw(mediaJSON)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return body.NewObject(body.OfObject())
	}
	return body.ParseObject(b)
}

// nothing refuses any member: the operation takes no body, or an empty object.
func (c *call) nothing() error {
	o, err := c.optional()
	if err != nil {
		return err
	}
	return o.Err()
}

// reply is what an operation answers.
type reply struct {
	status   int
	body     any    // encoded as JSON; nil: none
	raw      []byte // instead of body, as it is
	media    string // of raw; empty: JSON
	location string
	policy   string       // Content-Security-Policy, where it is not the strictest
	cache    string       // Cache-Control, where the answer may be kept
	headers  [][2]string  // more of them: name, value
	handler  http.Handler // instead of all others
}

func ok(v any) (reply, error)       { return reply{status: http.StatusOK, body: v}, nil }
func accepted(v any) (reply, error) { return reply{status: http.StatusAccepted, body: v}, nil }
func noContent() (reply, error)     { return reply{status: http.StatusNoContent}, nil }
func created(v any, at string) (reply, error) {
	return reply{status: http.StatusCreated, body: v, location: at}, nil
}

// write sends a reply.
func (s *server) write(w http.ResponseWriter, r *http.Request, c *call, rep reply) {
	if rep.handler != nil {
		rep.handler.ServeHTTP(w, r)
		return
	}
	b, media := rep.raw, rep.media
	if media == "" {
		media = mediaJSON
	}
	if b == nil && rep.body != nil {
		var err error
		if b, err = encode(rep.body); err != nil {
			s.fail(w, r, c, fmt.Errorf("encode answer: %w", err))
			return
		}
	}
	if rep.location != "" {
		w.Header().Set("Location", rep.location)
	}
	if rep.policy != "" {
		w.Header().Set("Content-Security-Policy", rep.policy)
	}
	if rep.cache != "" {
		w.Header().Set("Cache-Control", rep.cache)
	}
	for _, h := range rep.headers {
		w.Header().Set(h[0], h[1])
	}
	send(w, r, rep.status, media, b)
}

// send writes status and body, the body not in answer to HEAD.
func send(w http.ResponseWriter, r *http.Request, status int, media string, b []byte) {
	if status != http.StatusNoContent {
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead && len(b) > 0 {
		_, _ = w.Write(b) // whoever does not read it has gone
	}
}
