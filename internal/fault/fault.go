// Package fault defines the errors that may cross a room's door.
//
// A *Error tells a caller what it can do next (Kind), names the case for
// programs (Code), and explains it in one sentence (Msg). What nobody
// classified has kind Internal and stays inside. The package knows nothing of
// HTTP: only the faces translate a Kind into a status.
package fault

import (
	"errors"
	"time"
)

// Kind says what the caller can do about an error.
type Kind uint8

// The kinds. Internal is the zero kind, so an error that nobody classified
// never reaches a caller with its text.
const (
	Internal        Kind = iota // nothing; it is our fault
	Invalid                     // mend the request: its shape is wrong
	Unprocessable               // mend the content: the shape is right, a rule of the field refuses it
	Unauthenticated             // present a valid credential
	Forbidden                   // never for what is another's: that is NotFound
	NotFound                    // it does not exist, or is not the caller's
	Conflict                    // its state does not allow that now
	TooLarge                    // send less
	Unsupported                 // send another media type
	TooMany                     // slow down; RetryAfter tells when
	Unavailable                 // try again later
)

// Error is an error with a kind. Compare kinds with KindOf and codes with
// CodeOf; never compare texts.
type Error struct {
	Kind  Kind
	Code  string // documented and never renamed, e.g. "consent_not_awaiting"
	Msg   string // one sentence for the caller; never holds a secret
	Field string // JSON Pointer (RFC 6901) into the request body, or a parameter's name; may be empty

	// Fields holds every faulty field when more than one place is at fault or
	// when a face should list them; Field then is empty or the first of them.
	Fields []Field

	// Details are extra members for the answer, e.g. "currentStatus".
	// They never hold a secret.
	Details map[string]string

	// RetryAfter, when positive, tells a caller of kind TooMany or Unavailable
	// how long to wait.
	RetryAfter time.Duration

	Err error // the cause: logged, never sent
}

// Field is one faulty place of a request.
type Field struct {
	Path string // JSON Pointer into the body, or the name of a query, path or header parameter
	Code string // e.g. "required", "too_long", "unknown_member"
	Msg  string // one sentence that says what to do; never holds the refused value of a secret
}

// New returns an error of kind k.
func New(k Kind, code, msg string) *Error { return &Error{Kind: k, Code: code, Msg: msg} }

// At returns an error of kind k about one field.
func At(k Kind, code, path, msg string) *Error {
	return &Error{Kind: k, Code: code, Msg: msg, Field: path, Fields: []Field{{Path: path, Code: code, Msg: msg}}}
}

// Wrap returns an error of kind k that keeps its cause for the log.
func Wrap(k Kind, code, msg string, err error) *Error {
	return &Error{Kind: k, Code: code, Msg: msg, Err: err}
}

// InvalidFields returns one error of kind Invalid that lists every faulty
// field, or nil when there is none.
func InvalidFields(fields []Field) error {
	switch len(fields) {
	case 0:
		return nil
	case 1:
		return &Error{Kind: Invalid, Code: "invalid_request", Msg: fields[0].Msg, Field: fields[0].Path, Fields: fields}
	}
	return &Error{Kind: Invalid, Code: "invalid_request", Msg: "Several fields of the request are faulty.", Field: fields[0].Path, Fields: fields}
}

// With returns a copy of e with a detail added to its answer.
func (e *Error) With(name, value string) *Error {
	c := *e
	c.Details = map[string]string{name: value}
	for k, v := range e.Details {
		if k != name {
			c.Details[k] = v
		}
	}
	return &c
}

// Error returns the code, the sentence and the cause. It is meant for the log.
func (e *Error) Error() string {
	s := e.Code + ": " + e.Msg
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err: Internal when nobody classified it.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// CodeOf returns the code of err: empty when nobody classified it.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
