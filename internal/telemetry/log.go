// Package telemetry is what a night operator looks at: the log, the metrics,
// and the ID that ties a caller's complaint to a line.
//
// Loggers and metrics are values that are passed in; there is no default one.
// The package refuses to write what must not be written: attributes under a
// forbidden key are dropped, URLs lose their query and user, and a value
// whose shape it does not know is shown by its type only.
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Format is how log lines look.
type Format string

// The formats.
const (
	JSON Format = "json" // one object a line
	Text Format = "text" // key=value
)

// NewLogger returns a logger that writes one line per record to w, at level
// and above, redacted. Times are UTC with milliseconds. A record that is
// logged with a context of WithRequestID carries "requestId". It is safe for
// use by several goroutines; lines do not mix.
func NewLogger(w io.Writer, format Format, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: newRedactor().attr}
	var h slog.Handler = slog.NewJSONHandler(w, o)
	if format == Text {
		h = slog.NewTextHandler(w, o)
	}
	return slog.New(handler{h})
}

// Keys returns the vocabulary of the log: the keys that records may carry
// beside time, level and msg. A test holds the source to it.
//
// The record with msg "listening" carries "addr", and programs wait for it.
// One record "request" is written per request, one record "attempt" per
// attempt.
func Keys() []string {
	return []string{
		"addr",          // where we listen, host:port
		"application",   // ID of the tenant
		"attempt",       // number of the try, from 1
		"bytes",         // a size
		"bin",           // an inspector's bin
		"clientId",      // the credential that called
		"commit",        // of the build
		"consent",       // ID, never the citizen's
		"count",         // how many
		"delivery",      // ID
		"durationMs",    // whole or fractional milliseconds
		"endpoint",      // ID of a subscription or interceptor
		"error",         // the cause, for us
		"event",         // ID
		"file",          // a path of ours, e.g. of a key
		"go",            // version of the toolchain
		"method",        // of the request
		"nextAttemptAt", // when the delivery is tried again
		"outcome",       // what became of a delivery
		"publicUrl",     // how the world reaches us
		"reason",        // why, in plain words
		"requestId",     // of the caller's request
		"route",         // the pattern, never the path
		"setting",       // name of one
		"signal",        // that stops us
		"stack",         // of a panic
		"status",        // an HTTP status
		"step",          // where an attempt ended
		"type",          // of an event
		"version",       // of the build
	}
}

// handler adds the request's ID and else hands on.
type handler struct{ slog.Handler }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("requestId", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(as []slog.Attr) slog.Handler { return handler{h.Handler.WithAttrs(as)} }

func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }

// stamp is how times look in the log.
func stamp(t time.Time) slog.Value {
	return slog.StringValue(t.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}
