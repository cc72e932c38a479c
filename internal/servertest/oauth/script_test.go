package oauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

func TestScript_answersInTurnAndRemembers(t *testing.T) {
	t.Parallel()
	s := oauth.StartScripted(t, oauth.ServeOptions{},
		oauth.Error(http.StatusBadRequest, "invalid_request", "first"), oauth.Token("one", 60), oauth.Token("two", 60))
	c := newClient(t, s.Certificate)
	who := oauth.Client{ID: "a:b", Secret: "ü+/ %41"}
	ask := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}}
	got := []string{c.post(s.TokenURL+"?tenant=7", &who, ask).Code}
	for range 3 {
		got = append(got, c.postJSON(s.TokenURL, map[string]any{"grant_type": "client_credentials", "client_id": "x"}).Token)
	}
	if want := []string{"invalid_request", "one", "two", "two"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	all := s.Wait(t, 4)
	if len(all) != 4 || s.Count() != 4 {
		t.Fatalf("got %d requests, want 4", len(all))
	}
	first, second := all[0], all[1]
	if first.Method != "POST" || first.Path != "/token" || first.Query != "tenant=7" || first.At.IsZero() || first.N != 0 || second.N != 1 {
		t.Errorf("got %+v, want the request as it was sent", first)
	}
	if !first.Basic || first.ID != who.ID || first.Secret != who.Secret || first.RawID != url.QueryEscape(who.ID) || first.RawSecret == who.Secret {
		t.Errorf("got the client %q %q, want %q %q", first.ID, first.Secret, who.ID, who.Secret)
	}
	if first.Param("scope") != "a b" || !first.Has("scope") || first.Has("client_id") || first.JSON != nil {
		t.Errorf("got the form %v", first.Form)
	}
	if second.Basic || second.Param("client_id") != "x" || !second.Has("client_id") || second.Form != nil {
		t.Errorf("got %+v, want JSON", second)
	}
	s.Answer(oauth.Token("three", 60))
	if a := c.post(s.TokenURL, nil, ask); a.Token != "three" {
		t.Errorf("got %q, want the answer that was set last", a.Token)
	}
}

func TestScript_withoutAnswers(t *testing.T) {
	t.Parallel()
	if a := direct(t, oauth.NewScript()).post("https://as.example/token", nil, nil); a.Status != http.StatusNotFound {
		t.Errorf("got %d, want 404", a.Status)
	}
}

func TestClient_guards(t *testing.T) {
	t.Parallel()
	who := oauth.Client{ID: "a:b", Secret: "s %41+"}
	with := func(f func(*oauth.Client)) oauth.Client {
		c := who
		f(&c)
		return c
	}
	tests := []struct {
		name   string
		server oauth.Client
		basic  *oauth.Client
		query  string
		body   bool
		status int
		code   string
	}{
		{"either, by Basic", who, &who, "", false, 200, ""},
		{"either, in the body", who, nil, "", true, 200, ""},
		{"both at once", who, &who, "", true, 400, "invalid_request"},
		{"in the URL", who, nil, "?client_id=a%3Ab&client_secret=x", false, 400, "invalid_request"},
		{"nobody", who, nil, "", false, 401, "invalid_client"},
		{"Basic only, by Basic", with(func(c *oauth.Client) { c.Basic = true }), &who, "", false, 200, ""},
		{"Basic only, in the body", with(func(c *oauth.Client) { c.Basic = true }), nil, "", true, 401, "invalid_client"},
		{"body only, by Basic", with(func(c *oauth.Client) { c.Body, c.Status = true, 400 }), &who, "", false, 400, "invalid_client"},
		{"body only, in the body", with(func(c *oauth.Client) { c.Body = true }), nil, "", true, 200, ""},
		{"wrong secret", with(func(c *oauth.Client) { c.Secret = "x" }), &who, "", false, 401, "invalid_client"},
		{"wrong id", with(func(c *oauth.Client) { c.ID = "x" }), nil, "", true, 401, "invalid_client"},
		{"Basic as it is, encoded", with(func(c *oauth.Client) { c.Raw = true }), &who, "", false, 401, "invalid_client"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			form := url.Values{"grant_type": {"client_credentials"}}
			if tt.body {
				form.Set("client_id", who.ID)
				form.Set("client_secret", who.Secret)
			}
			a := direct(t, tt.server.Guard(oauth.Token("t", 1))).post("https://as.example/token"+tt.query, tt.basic, form)
			if a.Status != tt.status || a.Code != tt.code || (a.Token == "t") != (tt.status == 200) {
				t.Errorf("got %d %q, want %d %q", a.Status, a.Code, tt.status, tt.code)
			}
			if asks := a.Header.Get("Www-Authenticate") != ""; asks != (a.Status == 401) {
				t.Errorf("got %d and a WWW-Authenticate: %v", a.Status, asks)
			}
		})
	}
	t.Run("Basic as it is, as it is", func(t *testing.T) {
		t.Parallel()
		raw := oauth.Client{ID: "a", Secret: "s %41+", Raw: true}
		c := direct(t, raw.Guard(oauth.Token("t", 1)))
		req := c.request(t.Context(), "https://as.example/token", nil, nil)
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("a:s %41+")))
		if a := c.send(req); a.Token != "t" {
			t.Errorf("got %d %s, want a token", a.Status, a.Body)
		}
	})
}

// over runs a test with the handler over TLS and without a network.
func over(t *testing.T, h http.Handler, test func(t *testing.T, c *client, url string)) {
	t.Helper()
	t.Run("HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		s := oauth.Serve(t, h, oauth.ServeOptions{})
		test(t, newClient(t, s.Certificate), s.URL)
	})
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		test(t, direct(t, h), "https://as.example")
	})
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cut  func(http.Handler) http.Handler
		ok   bool
		part bool
	}{
		{"before the answer", oauth.CutBefore, false, false},
		{"inside the answer", oauth.CutInside, false, true},
		{"after the answer", oauth.CutAfter, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			over(t, tt.cut(&oauth.Issuer{Prefix: "t"}), func(t *testing.T, c *client, url string) {
				a := c.post(url, nil, nil)
				if whole := a.Err == nil && strings.HasPrefix(a.Token, "t-"); whole != tt.ok {
					t.Errorf("got a whole answer: %v (%v), want %v", whole, a.Err, tt.ok)
				}
				if part := a.Status == 200 && len(a.Body) > 0; part != tt.part {
					t.Errorf("got %d and %d bytes, want a part: %v", a.Status, len(a.Body), tt.part)
				}
				if !tt.ok && !errors.Is(a.Err, io.EOF) && !errors.Is(a.Err, io.ErrUnexpectedEOF) {
					t.Errorf("got %v, want the end of the connection", a.Err)
				}
			})
		})
	}
	t.Run("the work is done all the same", func(t *testing.T) {
		t.Parallel()
		i := &oauth.Issuer{Prefix: "t"}
		direct(t, oauth.CutBefore(i)).post("https://as.example", nil, nil)
		if got := i.Issued(); len(got) != 1 {
			t.Errorf("got %v, want one token", got)
		}
	})
}

func TestHeld(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	over(t, oauth.Held(release, oauth.Token("t", 1)), func(t *testing.T, c *client, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if a := c.send(c.request(ctx, url, nil, nil)); !errors.Is(a.Err, context.DeadlineExceeded) {
			t.Errorf("got %d (%v), want no answer before it is released", a.Status, a.Err)
		}
	})
	t.Run("released", func(t *testing.T) {
		t.Parallel()
		open := make(chan struct{})
		close(open)
		if a := direct(t, oauth.Held(open, oauth.Token("t", 1))).post("https://as.example", nil, nil); a.Token != "t" {
			t.Errorf("got %+v, want the token", a)
		}
	})
}

func TestLate_inABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		script := oauth.NewScript(oauth.Late(40*time.Second, oauth.Token("t", 1)))
		a := direct(t, script).post("https://as.example", nil, nil)
		if took := time.Since(begin); a.Token != "t" || took != 40*time.Second {
			t.Errorf("got %q after %v, want t after 40s", a.Token, took)
		}
		if at := script.Requests()[0].At; !at.Equal(begin) {
			t.Errorf("it came at %v, want %v", at, begin)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c := direct(t, script)
		if a := c.send(c.request(ctx, "https://as.example", nil, nil)); !errors.Is(a.Err, context.DeadlineExceeded) {
			t.Errorf("got %+v, want none within 10 s", a)
		}
	})
}

func TestEndless(t *testing.T) {
	t.Parallel()
	over(t, oauth.Endless("t"), func(t *testing.T, c *client, url string) {
		resp, err := c.http.Do(c.request(t.Context(), url, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.CopyN(io.Discard, resp.Body, 4<<20); err != nil {
			t.Errorf("it ended after %d bytes: %v", n, err)
		}
	})
}

func TestFlood(t *testing.T) {
	t.Parallel()
	// More than the client takes of an answer's header block.
	over(t, oauth.Flood(2000, oauth.Token("t", 1)), func(t *testing.T, c *client, url string) {
		a := c.post(url, nil, nil)
		if strings.HasSuffix(t.Name(), "direct") {
			if a.Token != "t" || a.Header.Get("Link") != "" {
				t.Errorf("got %+v, want the token", a)
			}
			return
		}
		if a.Err == nil {
			t.Error("two megabytes of interim answers were taken")
		}
	})
}

func TestServe_HTTP2(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		s := oauth.StartScripted(t, oauth.ServeOptions{HTTP2: h2}, oauth.Token("t", 1))
		c := newClient(t, s.Certificate)
		c.http.Transport.(*http.Transport).ForceAttemptHTTP2 = true
		resp, err := c.http.Do(c.request(t.Context(), s.TokenURL, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if (resp.ProtoMajor == 2) != h2 {
			t.Errorf("got HTTP/%d, want HTTP/2: %v", resp.ProtoMajor, h2)
		}
	}
}
