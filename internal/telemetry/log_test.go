package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
)

const canary = "kN4ryS3cretValue0123456789"

type masked struct{ Token string }

type named string

type broken struct{ s *string }

func (b *broken) String() string { return *b.s }

// TestSilent: whatever way a secret is handed to the log, it is not written.
func TestSilent(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("https://user:" + canary + "@receiver.example/hook?api_key=" + canary + "#" + canary)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		msg  string
		attr slog.Attr
	}{
		{"a secret value", "m", slog.Any("reason", secret.New(canary))},
		{"secret values in a slice", "m", slog.Any("reason", []secret.Value{secret.New(canary)})},
		{"a forbidden key", "m", slog.String("password", canary)},
		{"a forbidden key in another case", "m", slog.String("X-Api-Key", canary)},
		{"a forbidden key by its end", "m", slog.String("clientSecret", canary)},
		{"a bearer by its header", "m", slog.String("Authorization", "Bearer "+canary)},
		{"a body", "m", slog.Any("body", []byte(canary))},
		{"a query", "m", slog.String("rawQuery", "k="+canary)},
		{"a forbidden group", "m", slog.Group("headers", slog.String("x", canary))},
		{"a forbidden key inside a group", "m", slog.Group("request", slog.String("cookie", canary))},
		{"a person", "m", slog.String("externalRef", canary)},
		{"a struct of unknown shape", "m", slog.Any("reason", masked{Token: canary})},
		{"a pointer to it", "m", slog.Any("reason", &masked{Token: canary})},
		{"a map", "m", slog.Any("reason", map[string]string{"a": canary})},
		{"bytes", "m", slog.Any("reason", []byte(canary))},
		{"a URL with query and user", "m", slog.Any("reason", u)},
		{"a URL in an error", "m", slog.Any("error", &url.Error{Op: "Post", URL: u.String(), Err: errors.New("refused")})},
		{"a wrapped URL in an error", "m", slog.Any("error", fmt.Errorf("send: %w", &url.Error{Op: "Post", URL: u.String(), Err: errors.New("refused")}))},
		{"a URL in a text", "m", slog.String("reason", "could not reach "+u.String()+", refused")},
		{"a relative URL", "m", slog.String("reason", `parse "/hook?key=`+canary+`": bad`)},
		{"a URL in the message", "sent to " + u.String(), slog.Int("count", 1)},
		{"a bearer in a text", "m", slog.String("reason", "sent Bearer "+canary+" and failed")},
		{"Basic credentials in a text", "m", slog.String("reason", "sent basic "+canary+"=")},
		{"a signing secret in a text", "m", slog.String("reason", "key whsec_"+canary+" refused")},
		{"what a receiver said out of turn", "Unsolicited response received on idle HTTP channel starting with \"" + canary + "\"; err=<nil>", slog.Int("count", 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, f := range []Format{JSON, Text} {
				var out bytes.Buffer
				l := NewLogger(&out, f, slog.LevelDebug)
				l.LogAttrs(t.Context(), slog.LevelInfo, tt.msg, tt.attr)
				l.With(tt.attr).Info(tt.msg)
				l.WithGroup("g").Info(tt.msg, tt.attr)
				if n := strings.Count(out.String(), "\n"); n != 3 {
					t.Errorf("%s: got %d lines, want 3", f, n)
				}
				if strings.Contains(out.String(), canary) {
					t.Errorf("%s: the secret is in the log: %s", f, out.String())
				}
			}
		})
	}
}

func TestNewLogger_writes(t *testing.T) {
	t.Parallel()
	var nowhere *broken
	at := time.Date(2026, 5, 4, 3, 2, 1, 234567890, time.FixedZone("", -3*3600))
	tests := []struct {
		name string
		attr slog.Attr
		want any
	}{
		{"a text as it is", slog.String("reason", "TLS handshake failed"), "TLS handshake failed"},
		{"the scheme in words as it is", slog.String("reason", "Basic authentication was refused"), "Basic authentication was refused"},
		{"a number as a number", slog.Int("status", 503), 503.0},
		{"a fraction", slog.Any("durationMs", 1.5), 1.5},
		{"a boolean of a named type", slog.Any("reason", true), true},
		{"a named text as its text", slog.Any("step", named("tls")), "tls"},
		{"a number of a named type", slog.Any("count", time.Month(3)), "March"},
		{"nothing as null", slog.Any("error", nil), nil},
		{"an error by its text", slog.Any("error", errors.New("disk full")), "disk full"},
		{"an address by its text", slog.Any("addr", netip.MustParseAddrPort("127.0.0.1:80")), "127.0.0.1:80"},
		{"a time in UTC with milliseconds", slog.Time("nextAttemptAt", at), "2026-05-04T06:02:01.234Z"},
		{"texts joined", slog.Any("reason", []string{"a", "b"}), "a b"},
		{"a URL without its query", slog.String("publicUrl", "http://127.0.0.1:8080/x?y=1"), "http://127.0.0.1:8080/x?[query]"},
		{"a URL without secrets as it is", slog.String("publicUrl", "http://127.0.0.1:8080"), "http://127.0.0.1:8080"},
		{"the type of a value that panics", slog.Any("reason", nowhere), "[*telemetry.broken]"},
		{"a text cut at a whole character", slog.String("reason", strings.Repeat("é", maxText)), strings.Repeat("é", maxText/2) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			NewLogger(&out, JSON, slog.LevelInfo).LogAttrs(t.Context(), slog.LevelInfo, "m", tt.attr)
			var line map[string]any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			if got, ok := line[tt.attr.Key]; !ok || got != tt.want {
				t.Errorf("got %v (present: %t), want %v", got, ok, tt.want)
			}
		})
	}
}

func TestNewLogger_line(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := NewLogger(&out, JSON, slog.LevelInfo)
	l.Debug("not written")
	l.InfoContext(WithRequestID(context.Background(), "req_1"), "listening", "addr", "127.0.0.1:8080")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %s", err, out.Bytes())
	}
	at, err := time.Parse("2006-01-02T15:04:05.000Z", line["time"].(string))
	if err != nil || time.Since(at) > time.Minute {
		t.Errorf("got time %v (%v), want now in UTC with milliseconds", line["time"], err)
	}
	delete(line, "time")
	want := map[string]any{"level": "INFO", "msg": "listening", "addr": "127.0.0.1:8080", "requestId": "req_1"}
	if fmt.Sprint(line) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", line, want)
	}
	if !strings.Contains(out.String(), `"msg":"listening"`) {
		t.Errorf("got %s, want a line with \"msg\":\"listening\"", out.String())
	}
}

func TestKeys_areNotForbidden(t *testing.T) {
	t.Parallel()
	r := newRedactor()
	clear(r.allowed)
	for _, k := range Keys() {
		if r.drops(k) {
			t.Errorf("the key %q of the vocabulary is dropped", k)
		}
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(Keys())))); n != len(Keys()) {
		t.Errorf("got %d different keys of %d, want no key twice", n, len(Keys()))
	}
}

func TestAcceptRequestID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		proposed string
		kept     bool
	}{
		{"a plain one is kept", "Ab-1_2.z", true},
		{"one of 64 characters is kept", strings.Repeat("a", 64), true},
		{"a longer one is replaced", strings.Repeat("a", 65), false},
		{"none is made", "", false},
		{"a line break is replaced", "a\nb", false},
		{"a quote is replaced", `a"b`, false},
		{"another script is replaced", "é", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := AcceptRequestID(tt.proposed)
			if (got == tt.proposed) != tt.kept {
				t.Errorf("got %q for %q, want it kept: %t", got, tt.proposed, tt.kept)
			}
			if !tt.kept && (!strings.HasPrefix(got, "req_") || len(got) != 30 || got == NewRequestID()) {
				t.Errorf("got %q, want a fresh ID", got)
			}
		})
	}
}
