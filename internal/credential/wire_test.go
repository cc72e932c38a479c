package credential

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a receiver that keeps each request head as it arrived, byte for
// byte, and a client that may reach it.
type wire struct {
	guard  *egress.Guard
	client *egress.Client
	url    string
	heads  chan string
}

// newWire returns a receiver that answers with what answer makes of the head.
func newWire(t *testing.T, answer func(head string) string) *wire {
	t.Helper()
	source := httptest.NewUnstartedServer(http.NotFoundHandler()) // for its certificate
	source.StartTLS()
	cert := source.TLS.Certificates
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: source.Certificate().Raw})
	source.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: cert})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: "https://" + ln.Addr().String(), heads: make(chan string, 1)}
	var wg sync.WaitGroup
	serve := func(c net.Conn) {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var in bytes.Buffer
		buf := make([]byte, 4096)
		for !strings.HasSuffix(in.String(), "\r\n\r\n{}") {
			n, err := c.Read(buf)
			in.Write(buf[:n])
			if err != nil {
				return
			}
		}
		head := strings.TrimSuffix(in.String(), "{}")
		w.heads <- head
		_, _ = io.WriteString(c, answer(head))
	}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	if w.guard, err = egress.NewGuard(egress.Policy{Allow: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	if w.client, err = egress.New(egress.Options{Guard: w.guard, RootCAs: root}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.CloseIdle(); ln.Close(); wg.Wait() })
	return w
}

// send makes one request with the endpoint's credential.
func (w *wire) send(t *testing.T, e subscription.Endpoint) (*Prepared, string, *egress.Response) {
	t.Helper()
	p, err := Prepare(w.guard, e)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	p.Apply(h)
	resp, err := w.client.Do(t.Context(), &egress.Request{Target: p.Target(), Header: h, Body: []byte("{}"), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return p, <-w.heads, resp
}

func apiKey(location, key, value string) subscription.Auth {
	return subscription.Auth{Type: subscription.AuthAPIKey, APIKey: subscription.APIKey{Location: location, Key: key, Value: secret.New(value)}}
}

func bearer(token string) subscription.Auth {
	return subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New(token)}}
}

func basicAuth(user, password string) subscription.Auth {
	return subscription.Auth{Type: subscription.AuthBasic, Basic: subscription.Basic{User: user, Password: secret.New(password)}}
}

const nothing = "HTTP/1.1 204 X\r\nConnection: close\r\n\r\n"

// TestE9_onTheWire: each mode sends exactly what it should, under the very
// name that was configured, and nothing besides.
func TestE9_onTheWire(t *testing.T) {
	t.Parallel()
	utf := base64.StdEncoding.EncodeToString([]byte("jürgen:pässwörd: 💶"))
	tests := []struct {
		name    string
		path    string
		auth    subscription.Auth
		request string   // the request line's target
		fields  []string // beside those of every request
	}{
		{"none", "/hook?a=1", subscription.Auth{Type: subscription.AuthNone}, "/hook?a=1", nil},
		{"an unset type", "/hook", subscription.Auth{}, "/hook", nil},
		{"a key in a header", "/hook", apiKey("header", "X-API-Key", "abc-123_~"), "/hook", []string{"X-API-Key: abc-123_~"}},
		{"a header in letters of its own", "/hook", apiKey("header", "x-aPi-kEY", "a b"), "/hook", []string{"x-aPi-kEY: a b"}},
		{"a header of odd characters", "/hook", apiKey("header", "!#$%&'*+-.^_`|~", "v"), "/hook", []string{"!#$%&'*+-.^_`|~: v"}},
		{"a key in the query", "/hook", apiKey("query", "k", "1&2=3"), "/hook?k=1%262%3D3", []string{"Cache-Control: no-store"}},
		{"a key behind a query", "/hook?a=b+c%20d&e", apiKey("query", "k y", "+é%/?#"), "/hook?a=b+c%20d&e&k%20y=%2B%C3%A9%25%2F%3F%23", []string{"Cache-Control: no-store"}},
		{"a key behind an empty query", "/hook?", apiKey("query", "k", "v"), "/hook?k=v", []string{"Cache-Control: no-store"}},
		{"a key without a path", "", apiKey("query", "k", "v"), "/?k=v", []string{"Cache-Control: no-store"}},
		{"a token", "/hook", bearer("00Dx!AQ~.-_/+=="), "/hook", []string{"Authorization: Bearer 00Dx!AQ~.-_/+=="}},
		{"a user", "/hook", basicAuth("Aladdin", "open sesame"), "/hook", []string{"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}}, // RFC 7617 2
		{"a user in UTF-8", "/hook", basicAuth("test", "123£"), "/hook", []string{"Authorization: Basic dGVzdDoxMjPCow=="}},              // RFC 7617 2.1
		{"a password with a colon", "/hook", basicAuth("jürgen", "pässwörd: 💶"), "/hook", []string{"Authorization: Basic " + utf}},
		{"an empty user", "/hook", basicAuth("", "p"), "/hook", []string{"Authorization: Basic OnA="}},
	}
	w := newWire(t, func(string) string { return nothing })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { // one after the other: they share the receiver
			_, head, _ := w.send(t, subscription.Endpoint{URL: w.url + tt.path, Auth: tt.auth})
			lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
			if want := "POST " + tt.request + " HTTP/1.1"; lines[0] != want {
				t.Errorf("the request is %q, want %q", lines[0], want)
			}
			rest := map[string]bool{}
			for _, l := range lines[1:] {
				name, _, _ := strings.Cut(l, ":")
				switch name {
				case "Host", "User-Agent", "Content-Length", "Content-Type":
				default:
					rest[l] = true
				}
			}
			for _, f := range tt.fields {
				if !rest[f] {
					t.Errorf("the field %q is missing in %q", f, head)
				}
				delete(rest, f)
			}
			if len(rest) != 0 {
				t.Errorf("sent besides: %v", rest)
			}
		})
	}
}

// TestO5_held: without its credential nothing is sent, and the reason tells
// no secret.
func TestO5_held(t *testing.T) {
	t.Parallel()
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	refresh := bearer("tok-s3cret")
	refresh.Bearer.RefreshToken, refresh.Bearer.RefreshURL = secret.New("ref-s3cret"), "https://auth.example.org/"
	tests := []struct {
		name string
		auth subscription.Auth
		held bool
	}{
		{"none", subscription.Auth{Type: subscription.AuthNone}, false},
		{"a token", bearer("tok-s3cret"), false},
		{"a refresh token", refresh, false},
		{"OAuth 2.0", subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{ClientID: "id", ClientSecret: secret.New("cli-s3cret"), AuthenticationURL: "https://auth.example.org/"}}, false},
		{"a token of two lines", bearer("tok-s3cret\r\nX: y"), true},
		{"a token with a space", bearer("tok s3cret"), true},
		{"a token beyond ASCII", bearer("tök-s3cret"), true},
		{"no token", bearer(""), true},
		{"no password", basicAuth("bob", ""), true},
		{"a user with a colon", basicAuth("b:b", "s3cret"), true},
		{"no key", apiKey("header", "X-Key", ""), true},
		{"a header of no name", apiKey("header", "", "s3cret"), true},
		{"a header with a space", apiKey("header", "X Key", "s3cret"), true},
		{"a header of two lines", apiKey("header", "X-Key\r\nX-Other", "s3cret"), true},
		{"a value of two lines", apiKey("header", "X-Key", "s3cret\r\nX-Other: 1"), true},
		{"a value with a NUL", apiKey("header", "X-Key", "s3cret\x00"), true},
		{"a parameter of no name", apiKey("query", "", "s3cret"), true},
		{"a place that is none", apiKey("cookie", "X-Key", "s3cret"), true},
		{"an unknown type", subscription.Auth{Type: "mtls"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := subscription.Endpoint{URL: "https://receiver.example.org/hook", Auth: tt.auth}
			reason, held := Held(e)
			p, err := Prepare(guard, e)
			h, isHeld := errors.AsType[*HeldError](err)
			if held != tt.held || isHeld != tt.held || (p == nil) != tt.held {
				t.Fatalf("Held %v, Prepare %v, want held: %v", held, err, tt.held)
			}
			if held && (reason == "" || h.Reason != reason || strings.Contains(reason+err.Error(), "s3cret")) {
				t.Errorf("the reasons are %q and %q", reason, err)
			}
		})
	}
}

func TestPrepare_refusesTheAddress(t *testing.T) {
	t.Parallel()
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://receiver.example.org/", "https://10.20.30.40/", "https://u:s3cret@receiver.example.org/", ""} {
		_, err := Prepare(guard, subscription.Endpoint{URL: url, Auth: apiKey("query", "k", "s3cret")})
		if e, ok := errors.AsType[*egress.Error](err); !ok || e.Step != egress.StepConnect || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Prepare(%q) = %v, want an error with the step connect", url, err)
		}
	}
}

func TestPrepared_printsNothing(t *testing.T) {
	t.Parallel()
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	for _, auth := range []subscription.Auth{bearer("s3cret"), basicAuth("bob", "s3cret"), apiKey("header", "X-Key", "s3cret"), apiKey("query", "k", "s3cret")} {
		p, err := Prepare(guard, subscription.Endpoint{URL: "https://receiver.example.org/hook", Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "a", p, "b", p.Target())
		text := fmt.Sprintf("%v %+v %#v %s %v %+v %#v", p, p, p, p, p.Target(), p.Target(), p.Target()) + log.String()
		if strings.Contains(text, "s3cret") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("bob:s3cret"))) {
			t.Errorf("%s: %s", auth.Type, text)
		}
	}
}

// TestO9_echo: a receiver that sends back all that it got, in every form, as
// header and body and across the limit of what is kept, shows no secret.
func TestO9_echo(t *testing.T) {
	t.Parallel()
	const value = `s3cr3t/Value+"of<an>endpoint'&%41=`
	signing := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for name, auth := range map[string]subscription.Auth{
		"header": apiKey("header", "X-Key", value), "query": apiKey("query", "k", value),
		"token": bearer(value), "basic": basicAuth("jürgen", value),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			padding := 0
			w := newWire(t, func(head string) string {
				all := value + " " + signing + "\n" + head
				body := strings.Repeat(".", padding)
				for _, enc := range encodings {
					body += enc.encode(all) + "\n"
				}
				if padding == 0 { // few enough to be kept whole
					body = all + encodings[len(encodings)-1].encode(all)
				}
				_, sent, _ := strings.Cut(head, "\r\n")
				sent = strings.NewReplacer("Content-Length", "X-Length", "Host", "X-Host", "Content-Type", "X-Type").Replace(sent)
				return "HTTP/1.1 200 X\r\nConnection: close\r\nX-Echo: " + value + "\r\nX-Encoded: " +
					egress.PercentEncode(value) + "," + base64.StdEncoding.EncodeToString([]byte(value)) + "\r\n" +
					"S3CR3T-" + base64.RawURLEncoding.EncodeToString([]byte(signing)) + ": x\r\n" + sent[:len(sent)-2] +
					"\r\n" + body
			})
			e := subscription.Endpoint{URL: w.url + "/hook", Auth: auth, SigningSecrets: []subscription.SigningSecret{{Secret: secret.New(signing)}}}
			for n := range 120 {
				padding = n * 40
				p, _, resp := w.send(t, e)
				if padding < 1000 && !strings.Contains(resp.Body, "s3cr3t") {
					t.Fatalf("the receiver did not echo: %q", resp.Body)
				}
				var kept strings.Builder
				for _, h := range resp.Header {
					kept.WriteString(p.Mask(h.Name) + ": " + p.Mask(h.Value) + "\n")
				}
				kept.WriteString(p.Mask(resp.Body))
				scan := strings.ToLower(kept.String())
				for _, s := range []string{value, signing, signing[6:]} {
					for _, enc := range encodings {
						if strings.Contains(enc.name, "in a longer text") {
							continue // said with what surrounds it
						}
						if f := strings.ToLower(enc.encode(s)); strings.Contains(scan, f) {
							t.Fatalf("padding %d: the kept answer shows %s: %q", padding, enc.name, f)
						}
					}
				}
			}
		})
	}
}
