package signature_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/consentwire/consentwire/signature"
)

// The vector of Standard Webhooks 1.0.0, as its libraries test it.
const (
	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorUnix   = 1614265330
	vectorBody   = `{"test": 2432232314}`
	vectorSig    = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func secretOf(t testing.TB, text string) signature.Secret {
	t.Helper()
	s, err := signature.ParseSecret(text)
	if err != nil {
		t.Fatalf("ParseSecret(%q): %v", text, err)
	}
	return s
}

func headerOf(id, stamp string, sigs ...string) http.Header {
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", stamp)
	for _, s := range sigs {
		h.Add("webhook-signature", s)
	}
	return h
}

func TestSign_vector(t *testing.T) {
	t.Parallel()
	s, err := signature.NewSigner(secretOf(t, vectorSecret))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the state is reused
		got, err := s.Sign(vectorID, vectorUnix, []byte(vectorBody))
		if err != nil || got != vectorSig {
			t.Fatalf("Sign = %q, %v; want %q", got, err, vectorSig)
		}
	}
}

func TestSign_refuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, id, body string
		want           error
	}{
		{"an id with a dot", "msg.1", "{}", signature.ErrID},
		{"an empty id", "", "{}", signature.ErrID},
		{"an id with a space", "msg 1", "{}", signature.ErrID},
		{"an id with a line break", "msg\r\n1", "{}", signature.ErrID},
		{"an id outside ASCII", "msgé", "{}", signature.ErrID},
		{"an empty body", "msg_1", "", signature.ErrBody},
		{"a body that is not UTF-8", "msg_1", "\"\xff\"", signature.ErrBody},
	}
	s, err := signature.NewSigner(signature.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := s.Sign(tt.id, vectorUnix, []byte(tt.body)); !errors.Is(err, tt.want) || got != "" {
				t.Errorf("Sign = %q, %v; want %v", got, err, tt.want)
			}
		})
	}
	if _, err := signature.NewSigner(); !errors.Is(err, signature.ErrNoSecret) {
		t.Errorf("NewSigner() = %v, want %v", err, signature.ErrNoSecret)
	}
	if _, err := signature.NewSigner(signature.Secret{}); !errors.Is(err, signature.ErrSecret) {
		t.Errorf("NewSigner(zero) = %v, want %v", err, signature.ErrSecret)
	}
}

func TestSign_allocates(t *testing.T) {
	s, err := signature.NewSigner(secretOf(t, vectorSecret))
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(strings.Repeat("a", 1024))
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Sign(vectorID, vectorUnix, body) }); got > 2 {
		t.Errorf("Sign allocates %v times, want at most 2", got)
	}
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	enc := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"24 bytes", "whsec_" + enc(24), true},
		{"64 bytes", "whsec_" + enc(64), true},
		{"23 bytes", "whsec_" + enc(23), false},
		{"65 bytes", "whsec_" + enc(65), false},
		{"no prefix", enc(32), false},
		{"another prefix", "whpk_" + enc(32), false},
		{"no padding", "whsec_" + strings.TrimRight(enc(32), "="), false},
		{"URL alphabet", "whsec_" + strings.Repeat("-_", 22), false},
		{"bits left over", "whsec_" + strings.TrimSuffix(enc(25), "A==") + "B==", false},
		{"a line break", "whsec_" + enc(24) + "\n", false},
		{"a line break inside", "whsec_" + enc(24)[:8] + "\n" + enc(24)[8:], false},
		{"empty", "", false},
		{"only the prefix", "whsec_", false},
		{"huge", "whsec_" + strings.Repeat("A", 1<<16), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := signature.ParseSecret(tt.text)
			if (err == nil) != tt.ok {
				t.Fatalf("ParseSecret = %v, want ok %v", err, tt.ok)
			}
			if tt.ok && s.Text() != tt.text {
				t.Errorf("Text = %q, want %q", s.Text(), tt.text)
			}
			if !tt.ok && !errors.Is(err, signature.ErrSecret) {
				t.Errorf("error %v, want %v", err, signature.ErrSecret)
			}
		})
	}
}

func TestSecret_printsNothing(t *testing.T) {
	t.Parallel()
	s := signature.NewSecret()
	if s.Text() == signature.NewSecret().Text() {
		t.Fatal("two fresh secrets are equal")
	}
	j, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Text(), "whsec_"))
	if err != nil || len(key) != 32 {
		t.Fatalf("key of %d bytes, %v; want 32", len(key), err)
	}
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintf("%+v|%#v|%x|%q", s, s, s, s), string(j), s.LogValue().String()} {
		if strings.Contains(got, s.Text()[6:]) || strings.Contains(got, string(key)) || strings.Contains(got, fmt.Sprintf("%x", key)) {
			t.Errorf("the secret shows in %q", got)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	current, former := signature.NewSecret(), secretOf(t, vectorSecret)
	now := time.Unix(vectorUnix, 0)
	stamp := strconv.Itoa(vectorUnix)
	both, err := signature.NewSigner(current, former)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := both.Sign(vectorID, vectorUnix, []byte(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	good := headerOf(vectorID, stamp, vectorSig)
	tests := []struct {
		name    string
		header  http.Header
		body    string
		now     time.Time
		secrets []signature.Secret
		want    error
	}{
		{"the vector", good, vectorBody, now, []signature.Secret{former}, nil},
		{"two signatures, the receiver knows the new secret", headerOf(vectorID, stamp, pair), vectorBody, now, []signature.Secret{current}, nil},
		{"two signatures, the receiver knows the old secret", headerOf(vectorID, stamp, pair), vectorBody, now, []signature.Secret{former}, nil},
		{"one signature, the receiver knows both secrets", good, vectorBody, now, []signature.Secret{current, former}, nil},
		{"two header lines", headerOf(vectorID, stamp, "v1,AAAA", vectorSig), vectorBody, now, []signature.Secret{former}, nil},
		{"beside an asymmetric one", headerOf(vectorID, stamp, "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== "+vectorSig), vectorBody, now, []signature.Secret{former}, nil},
		{"five minutes late", good, vectorBody, now.Add(5 * time.Minute), []signature.Secret{former}, nil},
		{"five minutes early", good, vectorBody, now.Add(-5 * time.Minute), []signature.Secret{former}, nil},
		{"a moment more than five minutes late", good, vectorBody, now.Add(5*time.Minute + 1), []signature.Secret{former}, signature.ErrTooOld},
		{"a moment more than five minutes early", good, vectorBody, now.Add(-5*time.Minute - 1), []signature.Secret{former}, signature.ErrTooNew},
		{"the end of time", headerOf(vectorID, "9223372036854775807", vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"another body", good, vectorBody + " ", now, []signature.Secret{former}, signature.ErrNoMatches},
		{"another id", headerOf("msg_other", stamp, vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrNoMatches},
		{"another timestamp", headerOf(vectorID, strconv.Itoa(vectorUnix+1), vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrNoMatches},
		{"another secret", good, vectorBody, now, []signature.Secret{current}, signature.ErrNoMatches},
		{"another version", headerOf(vectorID, stamp, "v2"+vectorSig[2:]), vectorBody, now, []signature.Secret{former}, signature.ErrNoMatches},
		{"a truncated signature", headerOf(vectorID, stamp, vectorSig[:len(vectorSig)-4]), vectorBody, now, []signature.Secret{former}, signature.ErrNoMatches},
		{"no comma", headerOf(vectorID, stamp, "v1"), vectorBody, now, []signature.Secret{former}, signature.ErrNoMatches},
		{"no signature", headerOf(vectorID, stamp), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"an id with a dot", headerOf("msg.1", stamp, vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"a timestamp with a plus", headerOf(vectorID, "+"+stamp, vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"a timestamp with a zero before it", headerOf(vectorID, "0"+stamp, vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"a timestamp of letters", headerOf(vectorID, "now", vectorSig), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"no headers", http.Header{}, vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"two ids", func() http.Header { h := good.Clone(); h.Add("webhook-id", "msg_2"); return h }(), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"two timestamps", func() http.Header { h := good.Clone(); h.Add("webhook-timestamp", stamp); return h }(), vectorBody, now, []signature.Secret{former}, signature.ErrHeaders},
		{"no secret", good, vectorBody, now, nil, signature.ErrNoSecret},
		{"a zero secret", good, vectorBody, now, []signature.Secret{{}}, signature.ErrSecret},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := signature.Verify(tt.header, []byte(tt.body), tt.now, tt.secrets...); !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestVerify_looksAtFewSignatures(t *testing.T) {
	t.Parallel()
	flood := strings.Repeat("v1,x ", 100_000) + vectorSig
	err := signature.Verify(headerOf(vectorID, strconv.Itoa(vectorUnix), flood), []byte(vectorBody), time.Unix(vectorUnix, 0), secretOf(t, vectorSecret))
	if err == nil {
		t.Error("a signature behind 100,000 others was looked at")
	}
}

// Interop with the official Go library, both ways.
func TestOfficialLibrary(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, body := range []string{"{}", vectorBody, `{"name":"Ærøskøbing 🌊","n":[1,2.50]}`, strings.Repeat("x", 100_000)} {
		current, former := signature.NewSecret(), signature.NewSecret()
		s, err := signature.NewSigner(current, former)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := s.Sign("evt_1", now.Unix(), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		withKeys := signed(t, "evt_1", now.Unix(), body, []signature.Secret{current, former}, signature.NewPrivateKey(), signature.NewPrivateKey())
		for _, secret := range []signature.Secret{current, former} {
			wh, err := standardwebhooks.NewWebhook(secret.Text())
			if err != nil {
				t.Fatal(err)
			}
			h := headerOf("evt_1", strconv.FormatInt(now.Unix(), 10), withKeys)
			if err := wh.Verify([]byte(body), h); err != nil {
				t.Errorf("the official library refuses our signature beside those of keys: %v", err)
			}
			h.Set("webhook-signature", sig)
			if err := wh.Verify([]byte(body), h); err != nil {
				t.Errorf("the official library refuses our signature: %v", err)
			}
			if err := wh.Verify([]byte(body+"!"), h); err == nil {
				t.Error("the official library accepts another body")
			}
			theirs, err := wh.Sign("evt_1", now, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			h.Set("webhook-signature", theirs)
			if err := signature.Verify(h, []byte(body), now, secret); err != nil {
				t.Errorf("we refuse the official library's signature: %v", err)
			}
		}
	}
}

// What is accepted is exactly what the signer would have made: whatever the
// input, nothing panics, and nothing but the true signature passes.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, strconv.Itoa(vectorUnix), vectorSig, vectorBody)
	f.Add(vectorID, strconv.Itoa(vectorUnix), "v1,AAAA "+vectorSig, vectorBody)
	f.Add("a.b", "-1", "v1,", "")
	f.Add("", "99999999999999999999", "v1a,x v1,=", "\xff")
	f.Add("x", "1614265330.x", strings.Repeat(" ", 300), "{}")
	secret := secretOf(f, vectorSecret)
	signer, err := signature.NewSigner(secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, stamp, sig, body string) {
		if err := signature.Verify(headerOf(id, stamp, sig), []byte(body), time.Unix(vectorUnix, 0), secret); err != nil {
			return
		}
		unix, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil {
			t.Fatalf("accepted with the timestamp %q", stamp)
		}
		if body == "" || !json.Valid([]byte(strconv.Quote(body))) {
			return // the signer would not sign it; the verifier does not care
		}
		want, err := signer.Sign(id, unix, []byte(body))
		if err == nil && !strings.Contains(sig, want) {
			t.Fatalf("accepted %q for %q.%q.%q", sig, id, stamp, body)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s, err := signature.NewSigner(secretOf(b, vectorSecret))
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(strings.Repeat("a", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(vectorID, vectorUnix, body); err != nil {
			b.Fatal(err)
		}
	}
}
