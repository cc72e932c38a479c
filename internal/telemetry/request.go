package telemetry

import (
	"context"
	"crypto/rand"
	"strings"
)

type requestKey struct{}

// NewRequestID returns a fresh ID for a request: "req_" and 26 characters
// that carry at least 128 random bits.
func NewRequestID() string {
	return "req_" + strings.ToLower(rand.Text())
}

// AcceptRequestID returns the ID that a caller proposed, when it is 1..64
// letters, digits, dots, hyphens or underscores, else a fresh one: what a
// caller says must not forge a line of the log.
func AcceptRequestID(proposed string) string {
	if proposed == "" || len(proposed) > 64 {
		return NewRequestID()
	}
	for _, c := range []byte(proposed) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
		if !ok {
			return NewRequestID()
		}
	}
	return proposed
}

// WithRequestID returns a context whose log records carry id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID returns the context's ID, empty when it has none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
