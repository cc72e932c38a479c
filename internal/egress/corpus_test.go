package egress

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// sample is one line of the corpus. Its notes: expect "refuse" is an answer
// 400 when it is configured; "block" may be configured but must never be
// dialled, and prefer "refuse" says that 400 is better; "accept" arrives as
// "wire" tells. RECEIVER stands for a receiver that answers and DEAD1 for a
// permitted address on which nobody listens.
type sample struct {
	ID, Class, Kind, Field string
	Input                  json.RawMessage
	Expect, Prefer, Stage  string
	DNS                    map[string][][]string
	Never                  []string
	Response               struct {
		Status   int
		Location string
	}
	Wire *struct {
		Path   string
		Header []string
		Query  [][]string
	}
}

func samples() ([]sample, error) {
	f, err := os.Open("testdata/ssrf-sample.jsonl")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []sample
	in := bufio.NewScanner(f)
	for in.Scan() {
		var s sample
		if err := json.Unmarshal(in.Bytes(), &s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if len(out) != 40 {
		return nil, fmt.Errorf("%d samples, want 40 (%w)", len(out), in.Err())
	}
	return out, nil
}

// pair is an input of key and value.
type pair struct{ URL, Key, Value string }

// configure writes the sample's input into a subscription as its owner would,
// and returns what is wrong with it.
func (s sample) configure(t testing.TB, g *Guard) (subscription.Endpoint, []fault.Field) {
	t.Helper()
	ptr := func(s string) *string { return &s }
	given := func(s string) subscription.SecretInput {
		return subscription.SecretInput{Given: true, Value: secret.New(s)}
	}
	var text string
	var p pair
	if err := json.Unmarshal(s.Input, &text); err != nil {
		if err := json.Unmarshal(s.Input, &p); err != nil {
			t.Fatal(err)
		}
	}
	d := subscription.Draft{URL: "https://receiver.example.org/hook", Auth: &subscription.AuthDraft{Type: ptr("none")}}
	switch s.Field {
	case "url":
		d.URL = text
	case "authentication.oauth2Auth.authenticationUrl":
		d.Auth = &subscription.AuthDraft{Type: ptr("oauth2"), OAuth2: &subscription.OAuth2Draft{
			GrantType: ptr("client-credentials"), AuthenticationURL: &text, ContentType: ptr("application-form-urlencoded"), ClientID: ptr("id"), ClientSecret: given("s"),
		}}
	case "authentication.refreshUrl":
		d.Auth = &subscription.AuthDraft{Type: ptr("token"), RefreshToken: given("r"), RefreshURL: &text}
	case "authentication.token":
		d.Auth = &subscription.AuthDraft{Type: ptr("token"), Token: given(text)}
	case "authentication.apiKeyAuth":
		location := "header"
		if s.Kind == "query" {
			location, d.URL = "query", p.URL
		}
		d.Auth = &subscription.AuthDraft{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: &location, Key: &p.Key, Value: given(p.Value)}}
	default:
		t.Fatalf("the field %q is not known", s.Field)
	}
	return d.Apply(subscription.Endpoint{}, true, func(raw string) error {
		if f := g.CheckURL(raw); f != nil {
			return fault.New(fault.Invalid, f.Code, f.Msg)
		}
		return nil
	})
}

// TestE1toE9_corpus runs the sample of the black-box corpus: what must be
// refused is, and of the rest nothing arrives where it must not.
func TestE1toE9_corpus(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour), "receiver.example.org", "*.receiver.example", "receiver.internal", "localhost", "10.20.30.40.example.org")
	all, err := samples()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		t.Run(s.ID+" "+s.Class, func(t *testing.T) {
			t.Parallel()
			guard := testGuard(t, Policy{Allow: []string{"127.0.0.1", "127.0.0.3"}}) // RECEIVER and DEAD1
			strict := testGuard(t, Policy{})
			e, fields := s.configure(t, strict)
			if refuse := s.Expect == "refuse" || s.Prefer == "refuse"; refuse != (len(fields) > 0) {
				t.Fatalf("faults %v, want some: %v", fields, refuse)
			}
			if len(fields) > 0 {
				if want := "/" + strings.ReplaceAll(s.Field, ".", "/"); !strings.HasPrefix(fields[0].Path, want) {
					t.Errorf("the fault is at %q, want it at %q", fields[0].Path, want)
				}
				return
			}
			if s.Stage == "config" {
				return
			}
			s.deliver(t, a, good, guard, e)
		})
	}
}

// deliver sends one attempt per answer of the name servers.
func (s sample) deliver(t *testing.T, a *authority, good tls.Certificate, guard *Guard, e subscription.Endpoint) {
	t.Helper()
	type arrival struct{ uri string }
	arrived := make(chan arrival, 10)
	r := newReceiver(t, good, func(l *line) {
		if !l.secure() {
			return
		}
		req := l.request()
		if req == nil {
			return
		}
		arrived <- arrival{req.RequestURI}
		head := "HTTP/1.1 200 X\r\n"
		if s.Response.Status != 0 {
			head = fmt.Sprintf("HTTP/1.1 %d X\r\nLocation: %s\r\n", s.Response.Status, s.Response.Location)
		}
		l.say(head + "Connection: close\r\nContent-Length: 0\r\n\r\n")
	})
	n := &names{answers: map[string][][]string{}}
	dials := 1
	for name, answers := range s.DNS {
		for _, addrs := range answers {
			var known []string
			for _, addr := range addrs {
				addr = strings.NewReplacer("RECEIVER", "127.0.0.1", "DEAD1", "127.0.0.3").Replace(addr)
				if addr == "127.0.0.1" && !slices.Contains(addrs, "RECEIVER") {
					addr = "127.0.0.2" // the real loopback, which the guard of this test would permit
				}
				known = append(known, addr)
			}
			n.answers[name] = append(n.answers[name], known)
		}
		dials = max(dials, len(answers))
	}
	target, refused := guard.Parse(e.URL)
	if refused != nil {
		t.Fatal(refused)
	}
	if e.Auth.Type == subscription.AuthAPIKey {
		target = target.WithQuery(e.Auth.APIKey.Key, e.Auth.APIKey.Value.Reveal())
	}
	u := *target.url // to the port of the receiver
	u.Host = net.JoinHostPort(u.Hostname(), fmt.Sprint(r.addrPort().Port()))
	c := testClient(t, a, func(o *Options) { o.Guard, o.Resolve = guard, n.resolve })
	answered := 0
	for range dials {
		resp, err := c.Do(t.Context(), &Request{Target: &Target{url: &u}, Body: []byte("{}"), Timeout: 10 * time.Second})
		if err != nil {
			checkError(t, err, []string{StepConnect})
			continue
		}
		answered++
		if want := cmp.Or(s.Response.Status, http.StatusOK); resp.Status != want {
			t.Errorf("status %d, want %d", resp.Status, want)
		}
	}
	// How many answers the receiver's own address gives a right to.
	want := 0
	for _, answers := range n.answers {
		for _, addrs := range answers {
			if slices.Contains(addrs, "127.0.0.1") {
				want++
			}
		}
	}
	if got := int(r.requests.Load()); got != want || answered != want {
		t.Errorf("%d requests and %d answers, want %d", got, answered, want)
	}
	if s.Wire == nil {
		return
	}
	got := <-arrived
	path, query, _ := strings.Cut(got.uri, "?")
	if s.Wire.Path != "" && got.uri != s.Wire.Path {
		t.Errorf("requested %q, want %q", got.uri, s.Wire.Path)
	}
	values, err := url.ParseQuery(query)
	if err != nil || path != "/hook" && s.Wire.Query != nil {
		t.Errorf("requested %q: %v", got.uri, err)
	}
	for _, kv := range s.Wire.Query {
		if len(values) != len(s.Wire.Query) || values.Get(kv[0]) != kv[1] {
			t.Errorf("the query is %v, want %v", values, s.Wire.Query)
		}
	}
}
