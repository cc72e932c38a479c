package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
)

// dialect is how a path's errors are spelled.
type dialect uint8

const (
	problemDetails dialect = iota // RFC 9457
	envelope                      // source A: {"errors":[…],"meta":{…}}
	oauthError                    // RFC 6749 section 5.2
)

// dialectOf returns the dialect of a path.
func dialectOf(path string) dialect {
	switch {
	case strings.HasPrefix(path, "/api/"):
		return envelope
	case path == "/oauth2/token":
		return oauthError
	}
	return problemDetails
}

// statusOf is the table of kinds.
func statusOf(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unprocessable:
		return http.StatusUnprocessableEntity
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden, fault.NotFound:
		return http.StatusNotFound // what is not yours does not exist (CONTRACT 2)
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unsupported:
		return http.StatusUnsupportedMediaType
	case fault.TooMany:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// codeMethod marks the one refusal that has no kind of its own.
const codeMethod = "method_not_allowed"

func errMethod(allow []string) error {
	return fault.New(fault.Invalid, codeMethod, "This path takes "+strings.Join(allow, ", ")+".")
}

const codeInternal = "internal_error"

// errBroken is what a caller learns of a fault of ours.
func errBroken() error { return fault.New(fault.Internal, codeInternal, "") }

// fail writes the body of an error, in the dialect of the path. What nobody
// classified is logged with its cause, and the caller learns the request's ID.
func (s *server) fail(w http.ResponseWriter, r *http.Request, c *call, err error) {
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		s.Logger.ErrorContext(r.Context(), "answer after an answer", "route", c.route, "error", err)
		return
	}
	f, known := errors.AsType[*fault.Error](err)
	switch {
	case known && f.Kind != fault.Internal:
		if f.Err != nil && f.Kind == fault.Unavailable {
			s.Logger.WarnContext(r.Context(), "unavailable", "route", c.route, "error", err)
		}
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		f = fault.New(fault.Unavailable, "cancelled", "The request was given up by its sender.")
	default:
		if !known || f.Code != codeInternal {
			s.Logger.ErrorContext(r.Context(), "request failed", "route", c.route, "error", err)
		}
		f = fault.New(fault.Internal, codeInternal, "Something went wrong on our side; the request ID is "+c.requestID+".")
	}

	status := statusOf(f.Kind)
	if f.Code == codeMethod {
		status = http.StatusMethodNotAllowed
	}
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		if h.Get("WWW-Authenticate") == "" {
			h.Set("WWW-Authenticate", challenge(r, f))
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.FormatInt(max(1, int64((f.RetryAfter+time.Second-1)/time.Second)), 10))
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close")
	}

	var v any
	media := "application/json"
	switch dialectOf(r.URL.Path) {
	case envelope:
		v = envelopeOf(f, time.Now())
	case oauthError:
		v = oauthErrorOf(f)
		h.Set("Pragma", "no-cache")
	default:
		media = "application/problem+json"
		v = problemOf(f, status, c.requestID)
	}
	body, encErr := encode(v)
	if encErr != nil {
		s.Logger.ErrorContext(r.Context(), "encode error", "route", c.route, "error", encErr)
		status, body = http.StatusInternalServerError, nil
	}
	send(w, r, status, media, body)
}

// challenge tells how to authenticate. Source: RFC 6750 section 3, RFC 6749
// section 5.2.
func challenge(r *http.Request, f *fault.Error) string {
	const realm = `realm="consentwire"`
	switch {
	case dialectOf(r.URL.Path) == oauthError:
		return "Basic " + realm
	case f.Code == "invalid_token":
		return "Bearer " + realm + `, error="invalid_token"`
	}
	return "Bearer " + realm
}

// places returns every faulty place, at least one.
func places(f *fault.Error) []fault.Field {
	if len(f.Fields) > 0 {
		return f.Fields
	}
	return []fault.Field{{Path: f.Field, Code: f.Code, Msg: f.Msg}}
}

// problemOf returns RFC 9457 problem details. Code and the places are members
// of ours (section 3.2), as are the details that an error brings.
func problemOf(f *fault.Error, status int, requestID string) object {
	o := object{
		{"type", "about:blank"},
		{"title", http.StatusText(status)},
		{"status", status},
		{"detail", f.Msg},
		{"code", f.Code},
	}
	for _, name := range slices.Sorted(maps.Keys(f.Details)) {
		o = append(o, member{name, f.Details[name]})
	}
	list := []object{}
	for _, p := range places(f) {
		list = append(list, object{{"path", p.Path}, {"code", p.Code}, {"message", p.Msg}})
	}
	return append(o, member{"requestId", requestID}, member{"errors", list})
}

// The bounds of the envelope's texts in characters. Source: Open Finance
// Brasil, Consents API 3.3.1, ResponseErrorSingle.
const (
	maxTitle  = 255
	maxDetail = 2048
)

// envelopeOf returns source A's envelope: one entry per faulty place, which
// title and detail name. Source: CONTRACT 3; DOMAIN 2.1.
func envelopeOf(f *fault.Error, now time.Time) object {
	list := []object{}
	for _, p := range places(f) {
		title, detail := "The request was refused", p.Msg
		if name := strings.TrimPrefix(p.Path, "/"); name != "" {
			title, detail = "Faulty field: "+name, name+": "+p.Msg
		}
		if p.Code == codeInternal {
			title = "Internal error"
		}
		list = append(list, object{{"code", cut(p.Code, maxTitle)}, {"title", cut(title, maxTitle)}, {"detail", cut(detail, maxDetail)}})
	}
	return object{{"errors", list}, {"meta", object{{"requestDateTime", event.Format(now)}}}}
}

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most])
}

// oauthErrorOf returns an error of RFC 6749 section 5.2.
func oauthErrorOf(f *fault.Error) object {
	code := "invalid_request"
	switch f.Kind {
	case fault.Internal:
		code = "server_error"
	case fault.Unavailable:
		code = "temporarily_unavailable"
	default:
		switch f.Code {
		case "invalid_client", "unsupported_grant_type", "invalid_scope", "slow_down":
			code = f.Code
		}
	}
	msg := f.Msg
	if len(f.Fields) > 1 {
		var names []string
		for _, p := range f.Fields {
			names = append(names, p.Path)
		}
		msg = fmt.Sprintf("%s (%s)", f.Msg, strings.Join(names, ", "))
	}
	return object{{"error", code}, {"error_description", plain(msg)}}
}

// plain keeps the characters that an error_description may hold.
// Source: RFC 6749 section 5.2.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, s)
}
