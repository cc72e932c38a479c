package credential

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// overTLS returns a source whose token endpoint is a real server, and how many
// requests that had.
func overTLS(t *testing.T, e subscription.Endpoint, timeout time.Duration, h http.HandlerFunc) (*Source, *atomic.Int32) {
	t.Helper()
	n := &atomic.Int32{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	guard, err := egress.NewGuard(egress.Policy{Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client, err := egress.New(egress.Options{Guard: guard, RootCAs: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.CloseIdle(); server.CloseClientConnections(); server.Close() })
	if e.Auth.Type == subscription.AuthOAuth2 {
		e.Auth.OAuth2.AuthenticationURL = server.URL + "/token?tenant=a%20b&x"
	} else {
		e.Auth.Bearer.RefreshURL = server.URL + "/token"
	}
	var mu sync.Mutex
	var kept subscription.Token
	return NewSource(SourceOptions{
		Guard: guard, Client: client, Agent: "Consentwire/test", Timeout: timeout, Endpoint: e,
		Load: func(context.Context) (subscription.Token, error) { mu.Lock(); defer mu.Unlock(); return kept, nil },
		Save: func(_ context.Context, tok subscription.Token) error {
			mu.Lock()
			defer mu.Unlock()
			kept = tok
			kept.Generation++
			return nil
		},
	}), n
}

// TestO1_O3_overTLS: a hundred who wait for a token of a real server make two
// requests, for it does not know Basic, and those arrive as they should.
func TestO1_O3_overTLS(t *testing.T) {
	t.Parallel()
	everybody := make(chan struct{})
	s, n := overTLS(t, credentials(func(o *subscription.OAuth2) { o.Scope = "a b" }), 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "tenant=a%20b&x" || r.Header.Get("Accept") != "application/json" ||
			r.Header.Get("Content-Type") != mediaForm || r.Header.Get("User-Agent") != "Consentwire/test" || r.ContentLength != int64(len(body)) {
			t.Errorf("%s %s %v, %v", r.Method, r.URL, r.Header, err)
		}
		if user, password, basic := r.BasicAuth(); basic {
			if user != "client%3Aid+%C3%BC%2F1" || password != "cl1ent+s3cret%2F%26%2B%25%C3%BC%3Aof-ours" || string(body) != "grant_type=client_credentials&scope=a+b" {
				t.Errorf("got %q, %q, %q", user, password, body)
			}
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		<-everybody
		grantToken(w, "over-tls", "3600", "")
	})
	var wg, here sync.WaitGroup
	here.Add(100)
	for range 100 {
		wg.Go(func() {
			here.Done()
			if got := get(t, s); got != "over-tls" {
				t.Errorf("got %q", got)
			}
		})
	}
	here.Wait()
	close(everybody)
	wg.Wait()
	if n.Load() != 2 {
		t.Errorf("%d requests, want 2", n.Load())
	}
}

// TestO6_overTLS: what a real server may do instead of an answer. Each is one
// request and shows no secret.
func TestO6_overTLS(t *testing.T) {
	t.Parallel()
	long := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			const head, tail = `{"access_token":"a","x":"`, `"}`
			_, _ = io.WriteString(w, head+strings.Repeat("x", n-len(head)-len(tail))+tail)
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		step   string // empty: a token comes
		reason string // a part
	}{
		{"1 MiB", long(MaxAnswer), "", ""},
		{"1 MiB and a byte", long(MaxAnswer + 1), egress.StepResponse, ""},
		{"no end", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, egress.StepResponse, ""},
		{"an answer that is cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"access_token":"a"}`)
			_ = http.NewResponseController(w).Flush() // or the step is a race of the two directions
			panic(http.ErrAbortHandler)
		}, egress.StepResponse, ""},
		{"none in time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, egress.StepResponse, "within the time allowed"},
		{"half in time", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"a"}`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, egress.StepResponse, ""},
		{"a redirect to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}, egress.StepResponse, "redirects are not followed"},
		{"compressed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			b, _ := base64.StdEncoding.DecodeString("H4sIAAAAAAAA/6tWKi1OLVKyUkpUqgUA")
			_, _ = w.Write(b)
		}, egress.StepResponse, "not one JSON object"},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>")
		}, egress.StepResponse, "answered 200 OK, but its answer is not one JSON object (text/html)."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, n := overTLS(t, refreshing(), 2*time.Second, tt.answer)
			bearer, x, err := s.Get(t.Context(), false)
			if tt.step == "" {
				if err != nil || sent(bearer) != "a" {
					t.Errorf("got %v, %v, want a token", bearer, err)
				}
				return
			}
			tr := troubleOf(t, bearer, err)
			if x == nil || x.Step != tt.step || !strings.Contains(tr.Reason, tt.reason) || tr.Reauthorise {
				t.Errorf("got %+v, %q", x, tr.Reason)
			}
			for range 10 {
				_, _, _ = s.Get(t.Context(), false)
			}
			if n.Load() != 1 {
				t.Errorf("%d requests, want 1", n.Load())
			}
			if got := leaks(exchangeText(x)+tr.Reason, firstRefresh); len(got) != 0 {
				t.Errorf("shows %v", got)
			}
		})
	}
}

// TestO4_overTLS: fifty whose token was refused at the same time make one
// request to a real server that rotates.
func TestO4_overTLS(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	f := &family{}
	s, n := overTLS(t, refreshing(func(b *subscription.Bearer) { b.ClientID, b.ClientSecret = "id", secret.New(clientSecret) }), 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.FormValue("client_secret") != clientSecret || r.FormValue("client_id") != "id" || r.FormValue("grant_type") != "refresh_token" {
			t.Errorf("got %v", r.Form)
		}
		f.answer(w, question{refresh: r.FormValue("refresh_token")})
	})
	get(t, s)
	for round := range 10 {
		refused := s.Take(time.Now())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				got, _, err := s.Renew(t.Context(), refused)
				if want := fmt.Sprintf("access-%d", round+2); err != nil || sent(got) != want {
					t.Errorf("round %d: got %q, %v, want %q", round, sent(got), err, want)
				}
			})
		}
		wg.Wait()
	}
	if n.Load() != 11 || f.dead {
		t.Errorf("%d requests, want 11", n.Load())
	}
}
