package credential

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

const (
	clientSecret = "cl1ent s3cret/&+%ü:of-ours"
	firstRefresh = "r3fresh-token/configured+1"
)

// question is a request as the token endpoint saw it.
type question struct {
	at      time.Time
	url     string
	header  http.Header
	body    string
	form    url.Values // nil: the body is none
	refresh string
}

// bench is a token endpoint and a store of one token, in virtual time.
type bench struct {
	t      *testing.T
	guard  *egress.Guard
	t0     time.Time
	answer func(w http.ResponseWriter, q question) // one at a time

	mu     sync.Mutex
	asked  []question
	flying int // requests on the wire
	most   int // of them at a time

	kept  subscription.Token
	loads int
	saved []subscription.Token
	// save, when set, is asked first: whether the token is kept all the same,
	// and what the caller is told.
	save func() (kept bool, err error)
	load func() error
}

func newBench(t *testing.T, answer func(w http.ResponseWriter, q question)) *bench {
	t.Helper()
	guard, err := egress.NewGuard(egress.Policy{Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, guard: guard, t0: time.Now(), answer: answer}
}

// Do answers a request as egress.Client does. A handler that panics with
// http.ErrAbortHandler refuses the connection.
func (b *bench) Do(ctx context.Context, r *egress.Request) (resp *egress.Response, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	in := httptest.NewRequestWithContext(ctx, http.MethodPost, r.Target.URL(), bytes.NewReader(r.Body))
	q := question{at: time.Now(), url: r.Target.URL(), header: r.Header.Clone(), body: string(r.Body)}
	if r.Header.Get("Content-Type") == mediaForm {
		if q.form, err = url.ParseQuery(q.body); err != nil {
			b.t.Errorf("the body %q is no form: %v", q.body, err)
		}
		q.refresh = q.form.Get("refresh_token")
	}
	b.mu.Lock()
	b.asked = append(b.asked, q)
	b.flying++
	b.most = max(b.most, b.flying)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.flying--
		b.mu.Unlock()
		if recover() != nil {
			resp, err = nil, &egress.Error{Step: egress.StepConnect, Reason: "the receiver refused the connection", Err: io.EOF}
		}
	}()
	w := httptest.NewRecorder()
	b.answer(w, q)
	if in.Context().Err() != nil {
		return nil, &egress.Error{Step: egress.StepResponse, Reason: "no complete answer within the time allowed", Err: ctx.Err()}
	}
	if w.Body.Len() > r.Whole {
		return nil, &egress.Error{Step: egress.StepResponse, Reason: "the answer is too long"}
	}
	resp = &egress.Response{Status: w.Code, Whole: w.Body.Bytes(), RetryAfter: w.Header().Get("Retry-After")}
	for _, name := range slices.Sorted(maps.Keys(w.Header())) {
		for _, v := range w.Header()[name] {
			resp.Header = append(resp.Header, egress.Header{Name: name, Value: v})
		}
	}
	return resp, nil
}

func (b *bench) source(e subscription.Endpoint, change ...func(*SourceOptions)) *Source {
	o := SourceOptions{Guard: b.guard, Client: b, Agent: "Consentwire/test", Timeout: 15 * time.Second, Endpoint: e}
	o.Load = func(context.Context) (subscription.Token, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.loads++
		if b.load != nil {
			if err := b.load(); err != nil {
				return subscription.Token{}, err
			}
		}
		return b.kept, nil
	}
	o.Save = func(_ context.Context, t subscription.Token) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.save != nil {
			if kept, err := b.save(); err != nil {
				if kept {
					b.put(t)
				}
				return err
			}
		}
		if t.Generation != b.kept.Generation {
			return fault.New(fault.Conflict, "token_changed", "The token was changed meanwhile.")
		}
		b.put(t)
		return nil
	}
	for _, f := range change {
		f(&o)
	}
	return NewSource(o)
}

func (b *bench) put(t subscription.Token) {
	t.Generation++
	b.kept = t
	b.saved = append(b.saved, t)
}

// forget does what the store does when other credentials are configured.
func (b *bench) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = subscription.Token{Generation: b.kept.Generation + 1}
}

func (b *bench) requests() []question {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// count checks how many requests were made so far, and that never two were on
// the wire.
func (b *bench) count(want int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) != want {
		b.t.Errorf("%d requests, want %d", len(b.asked), want)
	}
	if b.most > 1 {
		b.t.Errorf("%d requests on the wire at a time, want 1", b.most)
	}
}

// issue answers with the tokens "access-1", "access-2", … of that many
// seconds; "" for none given.
func issue(life string) func(http.ResponseWriter, question) {
	n := 0
	return func(w http.ResponseWriter, _ question) {
		n++
		grantToken(w, fmt.Sprintf("access-%d", n), life, "")
	}
}

func grantToken(w http.ResponseWriter, access, life, refresh string) {
	body := `{"access_token":` + strconv.Quote(access) + `,"token_type":"Bearer"`
	if life != "" {
		body += `,"expires_in":` + life
	}
	if refresh != "" {
		body += `,"refresh_token":` + strconv.Quote(refresh)
	}
	say(w, 200, body+"}")
}

func say(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func credentials(change ...func(*subscription.OAuth2)) subscription.Endpoint {
	o := subscription.OAuth2{
		GrantType: subscription.ClientCredentials, AuthenticationURL: "https://127.0.0.1:9/token?tenant=a%20b", ContentType: subscription.ContentForm,
		ClientID: "client:id ü/1", ClientSecret: secret.New(clientSecret), ClientAuthMethod: subscription.ClientAuthAuto,
	}
	for _, f := range change {
		f(&o)
	}
	return subscription.Endpoint{ID: "sub_1", Version: 1, Auth: subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: o}}
}

func refreshing(change ...func(*subscription.Bearer)) subscription.Endpoint {
	b := subscription.Bearer{RefreshToken: secret.New(firstRefresh), RefreshURL: "https://127.0.0.1:9/refresh"}
	for _, f := range change {
		f(&b)
	}
	return subscription.Endpoint{ID: "sub_1", Version: 1, Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: b}}
}

func with(method string) func(*subscription.OAuth2) {
	return func(o *subscription.OAuth2) { o.ClientAuthMethod = method }
}

// get gets a token and returns it as it would be sent.
func get(t *testing.T, s *Source) string {
	t.Helper()
	b, _, err := s.Get(t.Context(), false)
	if err != nil {
		t.Fatalf("no token: %v", err)
	}
	return sent(b)
}

func sent(b *Bearer) string {
	if b == nil {
		return ""
	}
	h := http.Header{}
	b.Apply(h)
	return strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
}

// troubleOf returns the trouble that a call came to.
func troubleOf(t *testing.T, b *Bearer, err error) *Trouble {
	t.Helper()
	tr, ok := errors.AsType[*Trouble](err)
	if !ok || b != nil {
		t.Fatalf("got %v, %v, want a trouble", b, err)
	}
	return tr
}

// method tells how a request authenticated us.
func (q question) method() string {
	_, basic := q.header["Authorization"]
	body := q.form.Has("client_id") || q.form.Has("client_secret")
	switch {
	case basic && body:
		return "both"
	case basic:
		return subscription.ClientAuthBasic
	case body:
		return subscription.ClientAuthBody
	}
	return "none"
}

func methodsOf(asked []question) []string {
	var out []string
	for _, q := range asked {
		out = append(out, q.method())
	}
	return out
}

// TestO1_clientAuthMethod: Basic comes first, the body once behind it, what
// worked is remembered, over a new Source too, and what is fixed stays fixed.
func TestO1_clientAuthMethod(t *testing.T) {
	t.Parallel()
	const basic, body = subscription.ClientAuthBasic, subscription.ClientAuthBody
	tests := []struct {
		name   string
		method string
		knows  string // the way that the token endpoint understands
		status int    // for the other one
		code   string
		want   []string // the ways of the first token, then those of the next ones
		next   []string
	}{
		{"auto, Basic is understood", subscription.ClientAuthAuto, basic, 401, "", []string{basic}, []string{basic}},
		{"auto, Basic is answered with 401", subscription.ClientAuthAuto, body, 401, "invalid_client", []string{basic, body}, []string{body}},
		{"auto, Basic is answered with 400", subscription.ClientAuthAuto, body, 400, "invalid_request", []string{basic, body}, []string{body}},
		{"an unset method is auto", "", body, 401, "", []string{basic, body}, []string{body}},
		{"basic", basic, basic, 401, "", []string{basic}, []string{basic}},
		{"body", body, body, 401, "", []string{body}, []string{body}},
	}
	for _, tt := range tests {
		for _, life := range []string{"3600", "30"} { // one that is kept, and one that is not
			t.Run(tt.name+", life "+life, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t, func(w http.ResponseWriter, q question) {
						if q.method() != tt.knows {
							say(w, tt.status, `{"error":"`+tt.code+`"}`)
							return
						}
						grantToken(w, "access", life, "")
					})
					e := credentials(with(tt.method))
					s := b.source(e)
					get(t, s)
					if got := methodsOf(b.requests()); !slices.Equal(got, tt.want) {
						t.Fatalf("the first token took %v, want %v", got, tt.want)
					}
					time.Sleep(2 * time.Hour)
					get(t, s)
					if got := methodsOf(b.requests()[len(tt.want):]); !slices.Equal(got, tt.next) {
						t.Errorf("the second token took %v, want %v", got, tt.next)
					}
					n := len(b.requests())
					time.Sleep(2 * time.Hour)
					get(t, b.source(e))
					if got := methodsOf(b.requests()[n:]); !slices.Equal(got, tt.next) {
						t.Errorf("a new source took %v, want %v", got, tt.next)
					}
					b.count(n + 1)
				})
			})
		}
	}
}

// TestO1_fixedMethodFails: a fixed way is the only one, and the two ways are
// never tried for anything but 400 and 401.
func TestO1_fixedMethodFails(t *testing.T) {
	t.Parallel()
	const basic, body = subscription.ClientAuthBasic, subscription.ClientAuthBody
	inJSON := func(o *subscription.OAuth2) { o.ContentType = subscription.ContentJSON }
	tests := []struct {
		name   string
		e      subscription.Endpoint
		status int
		want   []string
	}{
		{"basic", credentials(with(basic)), 401, []string{basic}},
		{"body", credentials(with(body)), 401, []string{body}},
		{"JSON", credentials(inJSON), 401, []string{"none"}}, // no form; see TestO1_onTheWire
		{"a refresh token", refreshing(), 401, []string{"none"}},
		{"auto, 403", credentials(), 403, []string{basic}},
		{"auto, 404", credentials(), 404, []string{basic}},
		{"auto, 500", credentials(), 500, []string{basic}},
		{"auto, 302", credentials(), 302, []string{basic}},
		{"auto, 400", credentials(), 400, []string{basic, body}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) { w.WriteHeader(tt.status) })
				bearer, _, err := b.source(tt.e).Get(t.Context(), false)
				troubleOf(t, bearer, err)
				if got := methodsOf(b.requests()); !slices.Equal(got, tt.want) {
					t.Errorf("took %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestO1_learnsAnew: what worked may work no more. The other way is tried at
// once for a client that is not known any more, and later in every other case.
func TestO1_learnsAnew(t *testing.T) {
	t.Parallel()
	const basic, body = subscription.ClientAuthBasic, subscription.ClientAuthBody
	synctest.Test(t, func(t *testing.T) {
		knows, code := basic, "invalid_client"
		b := newBench(t, func(w http.ResponseWriter, q question) {
			if q.method() != knows {
				say(w, 401, `{"error":"`+code+`"}`)
				return
			}
			grantToken(w, "access", "100", "")
		})
		s := b.source(credentials())
		get(t, s)
		time.Sleep(time.Hour)
		knows = body
		get(t, s)
		if got, want := methodsOf(b.requests()), []string{basic, basic, body}; !slices.Equal(got, want) {
			t.Errorf("took %v, want %v", got, want)
		}
		time.Sleep(time.Hour)
		knows, code = basic, ""
		bearer, _, err := s.Get(t.Context(), false)
		troubleOf(t, bearer, err)
		time.Sleep(2 * time.Second)
		get(t, s)
		if got, want := methodsOf(b.requests()[3:]), []string{body, basic}; !slices.Equal(got, want) {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

// TestO1_onTheWire: the parts of each kind of request, to the letter.
func TestO1_onTheWire(t *testing.T) {
	t.Parallel()
	formed := "client%3Aid+%C3%BC%2F1:cl1ent+s3cret%2F%26%2B%25%C3%BC%3Aof-ours" // RFC 6749 2.3.1, appendix B
	tests := []struct {
		name   string
		e      subscription.Endpoint
		auth   string
		accept string
		media  string
		body   string
		url    string
	}{
		{
			name: "Basic", e: credentials(with("basic")), auth: "Basic " + base64.StdEncoding.EncodeToString([]byte(formed)),
			media: mediaForm, body: "grant_type=client_credentials", url: "https://127.0.0.1:9/token?tenant=a%20b",
		},
		{
			name: "Basic with scope and audience", e: credentials(with("basic"), func(o *subscription.OAuth2) { o.Scope, o.Audience = "a:read b&c", "https://x/?y" }),
			auth: "Basic " + base64.StdEncoding.EncodeToString([]byte(formed)), media: mediaForm,
			body: "grant_type=client_credentials&scope=a%3Aread+b%26c&audience=https%3A%2F%2Fx%2F%3Fy", url: "https://127.0.0.1:9/token?tenant=a%20b",
		},
		{
			name: "the body", e: credentials(with("body")), media: mediaForm, url: "https://127.0.0.1:9/token?tenant=a%20b",
			body: "grant_type=client_credentials&client_id=client%3Aid+%C3%BC%2F1&client_secret=cl1ent+s3cret%2F%26%2B%25%C3%BC%3Aof-ours",
		},
		{
			name: "JSON", e: credentials(func(o *subscription.OAuth2) { o.ContentType, o.Scope = subscription.ContentJSON, `a"b` }), media: mediaJSON,
			body: `{"grant_type":"client_credentials","scope":"a\"b","client_id":"client:id ü/1","client_secret":"cl1ent s3cret/&+%ü:of-ours"}`,
			url:  "https://127.0.0.1:9/token?tenant=a%20b",
		},
		{
			name: "a secret that looks like its mask", e: credentials(with("basic"), func(o *subscription.OAuth2) { o.ClientSecret = secret.New(hidden) }),
			auth: "Basic " + base64.StdEncoding.EncodeToString([]byte("client%3Aid+%C3%BC%2F1:%2A%2A%2A")), media: mediaForm,
			body: "grant_type=client_credentials", url: "https://127.0.0.1:9/token?tenant=a%20b",
		},
		{
			name: "a refresh token", e: refreshing(), media: mediaForm, url: "https://127.0.0.1:9/refresh",
			body: "grant_type=refresh_token&refresh_token=r3fresh-token%2Fconfigured%2B1",
		},
		{
			name: "a refresh token of a client", media: mediaForm, url: "https://127.0.0.1:9/refresh",
			e:    refreshing(func(b *subscription.Bearer) { b.ClientID, b.ClientSecret = "id", secret.New(clientSecret) }),
			body: "grant_type=refresh_token&refresh_token=r3fresh-token%2Fconfigured%2B1&client_id=id&client_secret=cl1ent+s3cret%2F%26%2B%25%C3%BC%3Aof-ours",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, issue("3600"))
				get(t, b.source(tt.e))
				q := b.requests()[0]
				if q.url != tt.url || q.body != tt.body {
					t.Errorf("sent %q to %q, want %q to %q", q.body, q.url, tt.body, tt.url)
				}
				want := http.Header{"Accept": {"application/json"}, "Content-Type": {tt.media}, "User-Agent": {"Consentwire/test"}}
				if tt.auth != "" {
					want["Authorization"] = []string{tt.auth}
				}
				if fmt.Sprint(q.header) != fmt.Sprint(want) {
					t.Errorf("the header is %v, want %v", q.header, want)
				}
			})
		})
	}
}

// TestO2_margins: a token of an hour is replaced after 80 % of its life, while
// it is still used, and is used no more in its last five seconds.
func TestO2_margins(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]subscription.Endpoint{"client credentials": credentials(), "a refresh token": refreshing()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, issue("3600"))
				s := b.source(e)
				check := func(at time.Duration, ready, wanted bool) {
					t.Helper()
					time.Sleep(time.Until(b.t0.Add(at)))
					r, w := s.Ready(time.Now())
					if took := s.Take(time.Now()); r != ready || w != wanted || (took != nil) != ready {
						t.Errorf("at %v: ready %v, wanted %v, token %v, want %v, %v", at, r, w, took, ready, wanted)
					}
				}
				check(0, false, true)
				get(t, s)
				check(0, true, false)
				check(2880*time.Second-1, true, false)
				check(2880*time.Second, true, true)
				check(3595*time.Second-1, true, true)
				check(3595*time.Second, false, true)
				b.count(1)
				if got := get(t, s); got != "access-2" {
					t.Errorf("got %q, want the second token", got)
				}
				check(3595*time.Second+2880*time.Second-1, true, false)
				get(t, s) // not yet
				b.count(2)
				time.Sleep(time.Nanosecond)
				if get(t, s); s.Trouble() != nil {
					t.Error("a token came, and there is trouble")
				}
				b.count(3)
				// A restart goes by the wall clock.
				time.Sleep(3595*time.Second - 1)
				s = b.source(e)
				if got := get(t, s); got != "access-3" {
					t.Errorf("after a restart got %q, want the third token", got)
				}
				time.Sleep(time.Nanosecond)
				if got := get(t, b.source(e)); got != "access-4" {
					t.Errorf("after a late restart got %q, want the fourth token", got)
				}
				b.count(4)
			})
		})
	}
}

// TestO2_expiresIn: what each value of the member comes to.
func TestO2_expiresIn(t *testing.T) {
	t.Parallel()
	const never = 365 * 24 * time.Hour
	tests := []struct {
		value string
		want  time.Duration // for which the token is used; 0: for one delivery
	}{
		{"", never}, {"null", never}, {`"soon"`, never}, {`""`, never}, {"true", never}, {"[3600]", never}, {`"NaN"`, never},
		{"0", 0}, {"-1", 0}, {"1", 0}, {"5", 0}, {"5.9", 0}, {`"0"`, 0}, {"-1e999", 0}, {"1e-9", 0}, {"-0", 0},
		{"6", time.Second}, {"10", 5 * time.Second}, {"3600", 3595 * time.Second}, {`"3600"`, 3595 * time.Second}, {`" 3600 "`, 3595 * time.Second},
		{"3599.9", 3594*time.Second + 900*time.Millisecond}, {"3.6e3", 3595 * time.Second},
		{"99999999999", maxLife - earlyBy}, {"1e999", maxLife - earlyBy}, {`"9223372036854775807"`, maxLife - earlyBy}, {"1e308", maxLife - earlyBy},
	}
	for _, tt := range tests {
		t.Run("expires_in "+tt.value, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, issue(tt.value))
				s := b.source(credentials())
				get(t, s)
				if tt.want == 0 {
					if s.Take(time.Now()) == nil || s.Take(time.Now()) != nil {
						t.Error("the token is not good for exactly one delivery")
					}
					b.count(1)
					return
				}
				if s.Take(time.Now()) == nil || s.Take(time.Now().Add(tt.want-1)) == nil || tt.want != never && s.Take(time.Now().Add(tt.want)) != nil {
					t.Errorf("the token is not used for exactly %v", tt.want)
				}
				b.count(1)
			})
		})
	}
}

// TestO2_noLoop: a token that is over before it can be used is used for one
// delivery all the same, and not asked for again and again.
func TestO2_noLoop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		life string
		took time.Duration
	}{{"0", 0}, {"-5", 0}, {"5", 0}, {"5.001", 0}, {"6", 2 * time.Second}, {"10", 12 * time.Second}, {"1", 14 * time.Second}} {
		t.Run(fmt.Sprintf("%s seconds that took %v", tt.life, tt.took), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					time.Sleep(tt.took)
					n++
					grantToken(w, fmt.Sprintf("access-%d", n), tt.life, "")
				})
				s := b.source(credentials())
				for i := range 3 {
					get(t, s)
					time.Sleep(10 * time.Millisecond) // until the engine gets to it
					if _, wanted := s.Ready(time.Now()); wanted {
						t.Fatalf("another token is wanted though the one of round %d was not used", i)
					}
					if got, want := sent(s.Take(time.Now())), fmt.Sprintf("access-%d", i+1); got != want {
						t.Errorf("round %d uses %q, want %q", i, got, want)
					}
				}
				b.count(3)
				// Who sends with it himself uses it up.
				bearer, _, err := s.Get(t.Context(), true)
				if err != nil || sent(bearer) != "access-4" || s.Take(time.Now()) != nil {
					t.Errorf("got %v, %v, and the token is there for another", sent(bearer), err)
				}
			})
		})
	}
}

// TestO3_waitersShare: whoever waits waits for one request, and has what it
// came to, but no longer than he wants to.
func TestO3_waitersShare(t *testing.T) {
	t.Parallel()
	for _, good := range []bool{true, false} {
		t.Run(fmt.Sprintf("a token comes: %v", good), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					time.Sleep(3 * time.Second)
					if !good {
						w.WriteHeader(500)
						return
					}
					grantToken(w, "access", "3600", "")
				})
				s := b.source(credentials())
				var wg sync.WaitGroup
				for i := range 100 {
					if i == 1 {
						synctest.Wait() // who gives up made the request
						b.count(1)
					}
					wg.Go(func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						if i%10 == 0 { // the first one among them
							time.AfterFunc(time.Second, cancel)
						}
						bearer, x, err := s.Get(ctx, i%3 == 0)
						waited := time.Since(b.t0)
						switch {
						case i%10 == 0:
							if !errors.Is(err, context.Canceled) || bearer != nil || waited != time.Second {
								t.Errorf("who gave up got %v, %v after %v", bearer, err, waited)
							}
						case good:
							if err != nil || sent(bearer) != "access" || x == nil || waited != 3*time.Second {
								t.Errorf("got %v, %v, %v after %v", bearer, x, err, waited)
							}
						default:
							if tr := troubleOf(t, bearer, err); x == nil || tr.Exchange != x || waited != 3*time.Second {
								t.Errorf("got %v, %v after %v", x, err, waited)
							}
						}
					})
				}
				wg.Wait()
				b.count(1)
				if ready, _ := s.Ready(time.Now()); ready != good {
					t.Errorf("ready %v, want %v", ready, good)
				}
				done, cancel := context.WithCancel(t.Context())
				cancel()
				if _, _, err := b.source(credentials()).Get(done, false); !errors.Is(err, context.Canceled) {
					t.Errorf("who had given up before got %v", err)
				}
				b.count(1)
			})
		})
	}
}

// TestO3_backOff: of 40 that come one after another to a token endpoint that
// does not work, few make a request.
func TestO3_backOff(t *testing.T) {
	t.Parallel()
	tests := map[string]func(http.ResponseWriter, question){
		"500":                    func(w http.ResponseWriter, _ question) { w.WriteHeader(500) },
		"401 without a code":     func(w http.ResponseWriter, _ question) { w.WriteHeader(401) },
		"401 invalid_client":     func(w http.ResponseWriter, _ question) { say(w, 401, `{"error":"invalid_client"}`) },
		"400 without a code":     func(w http.ResponseWriter, _ question) { w.WriteHeader(400) },
		"400 invalid_request":    func(w http.ResponseWriter, _ question) { say(w, 400, `{"error":"invalid_request"}`) },
		"400 invalid_scope":      func(w http.ResponseWriter, _ question) { say(w, 400, `{"error":"invalid_scope"}`) },
		"HTML":                   func(w http.ResponseWriter, _ question) { _, _ = io.WriteString(w, "<html>") },
		"a time-out":             func(http.ResponseWriter, question) { time.Sleep(16 * time.Second) },
		"no connection":          func(http.ResponseWriter, question) { panic(http.ErrAbortHandler) },
		"429 with a short delay": func(w http.ResponseWriter, _ question) { w.Header().Set("Retry-After", "0"); w.WriteHeader(429) },
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, answer)
				s := b.source(credentials())
				for i := range 40 {
					bearer, _, err := s.Get(t.Context(), false)
					tr := troubleOf(t, bearer, err)
					if last := b.requests()[len(b.requests())-1].at; !tr.NextAt.IsZero() && tr.NextAt.Before(last.Add(time.Second)) {
						t.Fatalf("call %d: the next try is %v after the last request, want a second at least", i, tr.NextAt.Sub(last))
					}
					time.Sleep(250 * time.Millisecond)
				}
				if n := len(b.requests()); n > 5 {
					t.Errorf("%d requests within %v, want at most 5", n, time.Since(b.t0))
				}
				// It grows to some minutes, no further, and for ever: no overflow.
				n := len(b.requests())
				if s.Trouble().Reauthorise {
					return
				}
				for time.Since(b.t0) < 1000*time.Hour {
					time.Sleep(time.Until(s.Trouble().NextAt))
					bearer, _, err := s.Get(t.Context(), false)
					troubleOf(t, bearer, err)
				}
				more := len(b.requests()) - n
				if least := int(1000 * time.Hour / (6*time.Minute + 15*time.Second)); more < least || more > int(1000*time.Hour/maxWait)+10 {
					t.Errorf("%d requests within 1000 h, want one in five to six minutes", more)
				}
			})
		})
	}
}

// TestO3_retryAfter: what the token endpoint asks for is obeyed, within
// reason, and a success forgets every failure.
func TestO3_retryAfter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		value  string
		least  time.Duration
		most   time.Duration
	}{
		{429, "90", 90 * time.Second, 108*time.Second + time.Millisecond},
		{503, "90", 90 * time.Second, 108*time.Second + time.Millisecond},
		{503, "Sat, 01 Jan 2000 00:02:00 GMT", 2 * time.Minute, 145 * time.Second}, // a bubble begins at midnight
		{503, "Sat, 01 Jan 2050 00:00:00 GMT", time.Hour, 73 * time.Minute},
		{503, "999999999999", time.Hour, 73 * time.Minute},
		{503, "99999999999999999999999", time.Hour, 73 * time.Minute},
		{503, "-5", time.Second, 1300 * time.Millisecond},
		{503, "0", time.Second, 1300 * time.Millisecond},
		{503, "soon", time.Second, 1300 * time.Millisecond},
		{500, "90", time.Second, 1300 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d %s", tt.status, tt.value), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				broken := true
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					if broken {
						w.Header().Set("Retry-After", tt.value)
						w.WriteHeader(tt.status)
						return
					}
					grantToken(w, "access", "100", "")
				})
				s := b.source(credentials())
				bearer, _, err := s.Get(t.Context(), false)
				tr := troubleOf(t, bearer, err)
				wait := time.Until(tr.NextAt)
				if wait < tt.least || wait > tt.most {
					t.Errorf("waits %v, want %v to %v", wait, tt.least, tt.most)
				}
				broken = false
				time.Sleep(wait - 2*time.Millisecond)
				if _, wanted := s.Ready(time.Now()); wanted {
					t.Error("wanted before its time")
				}
				bearer, _, err = s.Get(t.Context(), false)
				troubleOf(t, bearer, err)
				b.count(1)
				time.Sleep(2 * time.Millisecond)
				if _, wanted := s.Ready(time.Now()); !wanted {
					t.Error("not wanted when its time has come")
				}
				get(t, s)
				if s.Trouble() != nil {
					t.Error("there is trouble after a success")
				}
				broken = true
				time.Sleep(time.Hour)
				bearer, _, err = s.Get(t.Context(), false)
				if wait := time.Until(troubleOf(t, bearer, err).NextAt); wait < tt.least && tt.value[0] != 'S' || wait > tt.most {
					t.Errorf("after a success waits %v, want %v to %v", wait, tt.least, tt.most)
				}
			})
		})
	}
}

// TestO3_earlyFailure: a failed request ahead of need takes nobody's token.
func TestO3_earlyFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		b := newBench(t, func(w http.ResponseWriter, _ question) {
			if n++; n > 1 {
				w.WriteHeader(500)
				return
			}
			grantToken(w, "access", "100", "")
		})
		s := b.source(credentials())
		get(t, s)
		time.Sleep(80 * time.Second)
		bearer, _, err := s.Get(t.Context(), false)
		troubleOf(t, bearer, err)
		if ready, wanted := s.Ready(time.Now()); !ready || wanted || sent(s.Take(time.Now())) != "access" {
			t.Errorf("ready %v, wanted %v, want the token to be used", ready, wanted)
		}
		if bearer, _, err := s.Get(t.Context(), true); err != nil || sent(bearer) != "access" {
			t.Errorf("a test got %v, %v, want the token", bearer, err)
		}
		b.count(2)
		time.Sleep(15 * time.Second)
		if ready, _ := s.Ready(time.Now()); ready {
			t.Error("ready five seconds before the end")
		}
	})
}

// TestO3_insist: a test asks where deliveries wait, once a second.
func TestO3_insist(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]subscription.Endpoint{"client credentials": credentials(with("body")), "a refresh token": refreshing()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				broken := true
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					if broken {
						say(w, 400, `{"error":"invalid_grant"}`)
						return
					}
					grantToken(w, "access", "100", "")
				})
				s := b.source(e)
				_, _, _ = s.Get(t.Context(), false)
				for range 40 {
					bearer, x, err := s.Get(t.Context(), true)
					if troubleOf(t, bearer, err); x == nil {
						t.Error("a test is not told of the request that failed")
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := len(b.requests()); n < 3 || n > 5 {
					t.Errorf("%d requests in 4 s, want about one a second", n)
				}
				broken = false
				time.Sleep(time.Second)
				if bearer, _, err := s.Get(t.Context(), true); err != nil || sent(bearer) != "access" {
					t.Errorf("got %v, %v, want a token", bearer, err)
				}
				if ready, _ := s.Ready(time.Now()); !ready || s.Trouble() != nil {
					t.Error("deliveries do not go on with the token of a test")
				}
			})
		})
	}
}

// TestO3_wrongClock: a next try far in the future, written by a clock that was
// wrong, holds nothing for long.
func TestO3_wrongClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, issue("100"))
		s := b.source(credentials(), func(o *SourceOptions) {
			o.Trouble = &Trouble{Reason: "Broken.", NextAt: time.Now().Add(5 * 365 * 24 * time.Hour)}
		})
		tr := s.Trouble()
		if wait := time.Until(tr.NextAt); wait > 2*time.Hour || tr.Reason != "Broken." {
			t.Errorf("%q holds for %v, want two hours at most", tr.Reason, wait)
		}
		bearer, _, err := s.Get(t.Context(), false)
		troubleOf(t, bearer, err)
		time.Sleep(time.Until(tr.NextAt))
		get(t, s)
	})
}

// TestO3_restart: what is known of a failure holds over a restart.
func TestO3_restart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, issue("100"))
		s := b.source(credentials(), func(o *SourceOptions) {
			o.Trouble = &Trouble{Reason: "Broken.", NextAt: time.Now().Add(time.Minute)}
		})
		time.Sleep(time.Minute - 1)
		if _, wanted := s.Ready(time.Now()); wanted {
			t.Error("wanted before its time")
		}
		time.Sleep(time.Nanosecond)
		if _, wanted := s.Ready(time.Now()); !wanted {
			t.Error("not wanted when its time has come")
		}
		dead := b.source(refreshing(), func(o *SourceOptions) { o.Trouble = &Trouble{Reason: "Dead.", Reauthorise: true} })
		time.Sleep(1000 * time.Hour)
		bearer, _, err := dead.Get(t.Context(), false)
		if tr := troubleOf(t, bearer, err); !tr.Reauthorise {
			t.Error("a dead refresh token is asked for after a restart")
		}
		b.count(0)
	})
}

// TestO4_renew: of many whose token was refused one makes a request, and
// nobody who comes when another token is there.
func TestO4_renew(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("the same token comes again: %v", same), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					if n++; same {
						n = 1
					}
					time.Sleep(time.Second)
					grantToken(w, fmt.Sprintf("access-%d", n), "", "")
				})
				s := b.source(refreshing())
				get(t, s)
				refused := s.Take(time.Now())
				var wg sync.WaitGroup
				for i := range 50 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 60 * time.Millisecond) // two thirds come when it is over
						got, x, err := s.Renew(t.Context(), refused)
						if late := i >= 17; err != nil || sent(got) != fmt.Sprintf("access-%d", n) || late != (x == nil) {
							t.Errorf("call %d: got %v, %v, %v", i, sent(got), x, err)
						}
					})
				}
				time.Sleep(30 * time.Millisecond)
				if s.Take(time.Now()) != nil {
					t.Error("a token that was refused is sent once more")
				}
				wg.Wait()
				b.count(2)
				get(t, s)
				b.count(2)
			})
		})
	}
}

// TestO4_refusedAgainAndAgain: a receiver that refuses every token does not
// make us ask for one each time.
func TestO4_refusedAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("the same token comes again: %v", same), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					if n++; same {
						n = 1
					}
					grantToken(w, fmt.Sprintf("access-%d", n), "", "")
				})
				s := b.source(refreshing())
				get(t, s)
				deliver := func() error {
					bearer := s.Take(time.Now())
					if bearer == nil {
						t.Fatal("no token to send with")
					}
					_, _, err := s.Renew(t.Context(), bearer)
					if err == nil {
						s.Refused()
					}
					return err
				}
				for range 1000 { // as fast as can be
					if err := deliver(); err != nil && !errors.Is(err, ErrRefused) {
						t.Fatal(err)
					}
				}
				b.count(1 + freeRefused)
				for range 1000 { // for two hours
					time.Sleep(7200 * time.Millisecond)
					_ = deliver()
				}
				if n := len(b.requests()); n < 15 || n > 45 {
					t.Errorf("%d requests in two hours, want one in five minutes at last", n)
				}
				s.Accepted()
				before := len(b.requests())
				if err := deliver(); err != nil {
					t.Errorf("after a success: %v, want another token", err)
				}
				b.count(before + 1)
			})
		})
	}
}

// TestO4_refusedInParallel: fifty who are refused the same fresh token are one
// refusal.
func TestO4_refusedInParallel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, issue(""))
		s := b.source(refreshing())
		get(t, s)
		bearer := s.Take(time.Now())
		if _, _, err := s.Renew(t.Context(), bearer); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			s.Refused()
		}
		if _, _, err := s.Renew(t.Context(), s.Take(time.Now())); err != nil {
			t.Errorf("after one refusal: %v, want another token", err)
		}
		b.count(3)
	})
}

// TestO4_renewFails: the refused token is gone, and everybody waits.
func TestO4_renewFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		b := newBench(t, func(w http.ResponseWriter, _ question) {
			if n++; n == 2 {
				w.WriteHeader(500)
				return
			}
			grantToken(w, fmt.Sprintf("access-%d", n), "", "")
		})
		s := b.source(refreshing())
		get(t, s)
		refused := s.Take(time.Now())
		for range 40 {
			bearer, _, err := s.Renew(t.Context(), refused)
			troubleOf(t, bearer, err)
		}
		if ready, _ := s.Ready(time.Now()); ready || s.Take(time.Now()) != nil {
			t.Error("a token that was refused is sent once more")
		}
		b.count(2)
		time.Sleep(2 * time.Second)
		if got := get(t, s); got != "access-3" {
			t.Errorf("got %q, want the third token", got)
		}
		// A receiver that answers late for the first one costs nothing.
		if got, _, err := s.Renew(t.Context(), refused); err != nil || sent(got) != "access-3" {
			t.Errorf("got %v, %v, want the third token", got, err)
		}
		b.count(3)
	})
}

// TestO5_noToken: without a token there is nothing to send with.
func TestO5_noToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		url  string
		load error
	}{
		{"the token endpoint is down", "https://127.0.0.1:9/token", nil},
		{"it may not be requested", "https://10.20.30.40/token", nil},
		{"it has no TLS", "http://192.0.2.1/token", nil},
		{"the store is down", "https://127.0.0.1:9/token", errors.New("s3cret of the store")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(http.ResponseWriter, question) { panic(http.ErrAbortHandler) })
				b.load = func() error { return tt.load }
				s := b.source(credentials(func(o *subscription.OAuth2) { o.AuthenticationURL = tt.url }))
				for range 3 {
					bearer, _, err := s.Get(t.Context(), true)
					tr := troubleOf(t, bearer, err)
					if ready, _ := s.Ready(time.Now()); ready || s.Take(time.Now()) != nil || tr.Reason == "" || tr.Reauthorise || tr.NextAt.IsZero() {
						t.Errorf("ready %v, %+v", ready, tr)
					}
					if strings.Contains(tr.Reason, "s3cret") || !strings.HasSuffix(tr.Reason, ".") {
						t.Errorf("the reason is %q", tr.Reason)
					}
				}
				if n := len(b.requests()); n > 1 || n == 1 && tt.name != "the token endpoint is down" {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

// badAnswers are answers that bring no token. Source: RULES O6.
var badAnswers = []struct {
	name   string
	status int
	body   string
	reason string // a part of it
}{
	{"nothing", 200, "", "not one JSON object"},
	{"no content", 204, "", "not one JSON object"},
	{"null", 200, "null", "not one JSON object"},
	{"a list", 200, `[{"access_token":"t0ken-value","token_type":"Bearer"}]`, "not one JSON object"},
	{"a text", 200, `"t0ken-value"`, "not one JSON object"},
	{"two objects", 200, `{"access_token":"t0ken-value","token_type":"Bearer"}{}`, "not one JSON object"},
	{"a text behind", 200, `{"access_token":"t0ken-value","token_type":"Bearer"} x`, "not one JSON object"},
	{"a comma behind the last member", 200, `{"access_token":"t0ken-value","token_type":"Bearer",}`, "not one JSON object"},
	{"a cut object", 200, `{"access_token":"t0ken-value","token_type":"Bearer"`, "not one JSON object"},
	{"a member twice", 200, `{"access_token":"t0ken-value","token_type":"Bearer","access_token":"t0ken-value"}`, "not one JSON object"},
	{"a member twice, escaped", 200, `{"access_token":"t0ken-value","token_type":"Bearer","access\u005ftoken":"t0ken-value"}`, "not one JSON object"},
	{"a byte order mark", 200, "\ufeff" + `{"access_token":"t0ken-value","token_type":"Bearer"}`, "not one JSON object"},
	{"no UTF-8", 200, `{"access_token":"t0ken-value","token_type":"Bearer","x":"` + "\xff" + `"}`, "not one JSON object"},
	{"half a character", 200, `{"access_token":"t0ken-value","token_type":"Bearer","x":"\ud800"}`, "not one JSON object"},
	{"a form", 200, "access_token=t0ken-value&token_type=bearer", "not one JSON object"},
	{"HTML", 200, "<html><body>t0ken-value</body></html>", "not one JSON object"},
	{"no token", 200, `{"token_type":"Bearer"}`, "no access_token"},
	{"another case", 200, `{"Access_Token":"t0ken-value","token_type":"Bearer"}`, "no access_token"},
	{"a long s", 200, `{"acceſſ_token":"t0ken-value","token_type":"Bearer"}`, "no access_token"},
	{"an empty token", 200, `{"access_token":"","token_type":"Bearer"}`, "no access_token"},
	{"no text", 200, `{"access_token":12345678,"token_type":"Bearer"}`, "no access_token"},
	{"null as token", 200, `{"access_token":null,"token_type":"Bearer"}`, "no access_token"},
	{"an object as token", 200, `{"access_token":{"value":"t0ken-value"},"token_type":"Bearer"}`, "no access_token"},
	{"a space", 200, `{"access_token":"t0ken value","token_type":"Bearer"}`, "characters"},
	{"a second line", 200, `{"access_token":"t0ken-value\r\nX-Evil: 1","token_type":"Bearer"}`, "characters"},
	{"beyond ASCII", 200, `{"access_token":"t0ken-välue","token_type":"Bearer"}`, "characters"},
	{"a NUL", 200, `{"access_token":"t0ken\u0000value","token_type":"Bearer"}`, "characters"},
	{"too long", 200, `{"access_token":"` + strings.Repeat("x", MaxAccessToken+1) + `","token_type":"Bearer"}`, "longer than 16 KiB"},
	{"another type", 200, `{"access_token":"t0ken-value","token_type":"mac"}`, "not of the type Bearer"},
	{"a type with more", 200, `{"access_token":"t0ken-value","token_type":"Bearer "}`, "not of the type Bearer"},
	{"a type that is none", 200, `{"access_token":"t0ken-value","token_type":["Bearer"]}`, "not of the type Bearer"},
	{"an error beside it", 200, `{"access_token":"t0ken-value","token_type":"Bearer","error":"temporarily_unavailable"}`, "temporarily_unavailable"},
	{"an error that is none beside it", 200, `{"access_token":"t0ken-value","token_type":"Bearer","error":{"x":1}}`, "reports an error"},
	{"an empty error beside it", 200, `{"access_token":"t0ken-value","token_type":"Bearer","error":""}`, "reports an error"},
	{"a failure's status", 500, `{"access_token":"t0ken-value","token_type":"Bearer"}`, "500 Internal Server Error."},
	{"a refusal's status", 403, `{"access_token":"t0ken-value","token_type":"Bearer"}`, "403 Forbidden."},
	{"a redirect", 302, `{"access_token":"t0ken-value","token_type":"Bearer"}`, "redirects are not followed"},
	{"too much", 200, `{"access_token":"t0ken-value","token_type":"Bearer","x":"` + strings.Repeat("x", MaxAnswer) + `"}`, "too long"},
}

// TestO6_badAnswers: each of them is trouble, shows nothing of a token, and
// asks nothing of the owner.
func TestO6_badAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range badAnswers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) { say(w, tt.status, tt.body) })
				s := b.source(refreshing())
				bearer, x, err := s.Get(t.Context(), false)
				tr := troubleOf(t, bearer, err)
				if !strings.Contains(tr.Reason, tt.reason) || tr.Reauthorise || tr.NextAt.IsZero() {
					t.Errorf("got %+v, want the reason %q", tr, tt.reason)
				}
				if show := fmt.Sprintf("%+v", *x) + tr.Reason; strings.Contains(show, "t0ken") || strings.Contains(show, "12345678") {
					t.Errorf("shows %q", show)
				}
				if s.Take(time.Now()) != nil || len(b.saved) != 0 {
					t.Error("there is a token")
				}
			})
		})
	}
}

// TestO6_goodAnswers: what is odd and good all the same.
func TestO6_goodAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"the longest token", `{"access_token":"` + strings.Repeat("x", MaxAccessToken) + `","token_type":"Bearer"}`, strings.Repeat("x", MaxAccessToken)},
		{"no type", `{"access_token":"a"}`, "a"},
		{"null as type", `{"access_token":"a","token_type":null}`, "a"},
		{"a type in capitals", `{"access_token":"a","token_type":"BEARER"}`, "a"},
		{"no error", `{"access_token":"a","token_type":"bearer","error":null}`, "a"},
		{"white space around", " \r\n\t" + `{"access_token":"a!~=+/"}` + "\n", "a!~=+/"},
		{"unknown members", `{"access_token":"a","x":{"y":[1,2]},"instance_url":"https://evil.example/","expires_in":"3600"}`, "a"},
		{"an escape", `{"access_token":"\u0061"}`, "a"},
		{"Salesforce", `{"access_token":"00Dx!AQ","instance_url":"https://na1.salesforce.com","id":"https://login.salesforce.com/id/00D/005","issued_at":"1278448384422","signature":"SSSbLO/gBhmmyNUvN18ODBDFYHzakxOMgqYtu+hDPsc="}`, "00Dx!AQ"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) { say(w, 200, tt.body) })
				if got := get(t, b.source(refreshing())); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestO6_refreshTokenOfClientCredentials: it is ignored, whatever it looks
// like (RFC 6749 4.4.3).
func TestO6_refreshTokenOfClientCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(w http.ResponseWriter, _ question) {
			say(w, 200, `{"access_token":"a","token_type":"Bearer","refresh_token":"b\u0000"}`)
		})
		if get(t, b.source(credentials())); b.kept.Refresh.IsSet() || !b.kept.Access.IsSet() {
			t.Error("its refresh token is kept, or its token is not")
		}
		bearer, _, err := b.source(refreshing(), func(o *SourceOptions) {
			o.Load = func(context.Context) (subscription.Token, error) { return subscription.Token{}, nil }
		}).Get(t.Context(), false)
		if tr := troubleOf(t, bearer, err); !strings.Contains(tr.Reason, "refresh_token cannot be kept") {
			t.Errorf("got %q", tr.Reason)
		}
	})
}

// family is a token endpoint that rotates: each refresh token is good once,
// and one that comes again ends them all.
type family struct {
	valid string
	n     int
	dead  bool
}

func (f *family) answer(w http.ResponseWriter, q question) {
	if f.valid == "" {
		f.valid = firstRefresh
	}
	if f.dead || q.refresh != f.valid {
		f.dead = true
		say(w, 400, `{"error":"invalid_grant"}`)
		return
	}
	f.n++
	f.valid = fmt.Sprintf("refresh-%d", f.n)
	grantToken(w, fmt.Sprintf("access-%d", f.n), "", f.valid)
}

// renew has the present token refused.
func renew(t *testing.T, s *Source) (string, error) {
	t.Helper()
	bearer := s.Take(time.Now())
	if bearer == nil {
		t.Fatal("no token to send with")
	}
	got, _, err := s.Renew(t.Context(), bearer)
	return sent(got), err
}

// TestO7_storedBeforeUse: a token is handed out when it is kept, not before.
func TestO7_storedBeforeUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &family{}
		b := newBench(t, f.answer)
		var s *Source
		s = b.source(refreshing(), func(o *SourceOptions) {
			save := o.Save
			o.Save = func(ctx context.Context, tok subscription.Token) error {
				if ready, _ := s.Ready(time.Now()); ready {
					t.Error("the token can be used before it is kept")
				}
				time.Sleep(5 * time.Second)
				if ready, _ := s.Ready(time.Now()); ready || s.Take(time.Now()) != nil {
					t.Error("the token can be used before it is kept")
				}
				return save(ctx, tok)
			}
		})
		if got := get(t, s); got != "access-1" || time.Since(b.t0) != 5*time.Second {
			t.Errorf("got %q after %v", got, time.Since(b.t0))
		}
		if k := b.kept; k.Refresh.Reveal() != "refresh-1" || k.Access.Reveal() != "access-1" || k.Generation != 1 {
			t.Errorf("kept %q of generation %d", k.Refresh.Reveal(), k.Generation)
		}
		// A restart goes on with what was kept.
		s2 := b.source(refreshing())
		if got := get(t, s2); got != "access-1" {
			t.Errorf("after a restart got %q, want the token that was kept", got)
		}
		if got, err := renew(t, s2); got != "access-2" || err != nil {
			t.Errorf("after a restart renewed to %q, %v", got, err)
		}
		b.count(2)
	})
}

// TestO7_saveFails: a token that came and cannot be kept waits, unused, and
// nothing else is asked for; its refresh token is not lost.
func TestO7_saveFails(t *testing.T) {
	t.Parallel()
	for _, effect := range []bool{false, true} {
		t.Run(fmt.Sprintf("it was kept all the same: %v", effect), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &family{}
				b := newBench(t, f.answer)
				failing := 5
				b.save = func() (bool, error) {
					if failing--; failing >= 0 {
						return effect, errors.New("disk full")
					}
					return false, nil
				}
				s := b.source(refreshing())
				if effect {
					failing = 1
				}
				var last *Trouble
				for n := 0; ; n++ {
					if n > 100 {
						t.Fatal("no token after 100 rounds")
					}
					bearer, _, err := s.Get(t.Context(), false)
					if err == nil {
						break
					}
					if last = troubleOf(t, bearer, err); last.Reauthorise || s.Take(time.Now()) != nil {
						t.Fatalf("%+v", last)
					}
					if wait := time.Until(last.NextAt); wait > 12*time.Second+time.Millisecond {
						t.Errorf("waits %v for our own store", wait)
					}
					time.Sleep(time.Until(last.NextAt))
				}
				if last == nil || !strings.Contains(last.Reason, "could not be stored") {
					t.Fatalf("%+v", last)
				}
				b.count(1)
				if got := sent(s.Take(time.Now())); got != "access-1" || b.kept.Refresh.Reveal() != "refresh-1" || b.kept.Generation != 1 {
					t.Errorf("uses %q, and kept %q of generation %d", got, b.kept.Refresh.Reveal(), b.kept.Generation)
				}
				if got, err := renew(t, s); got != "access-2" || err != nil || f.dead {
					t.Errorf("renewed to %q, %v", got, err)
				}
			})
		})
	}
}

// TestO7_savedLate: a token whose life was over before it could be kept is not
// used; the refresh token that came with it is.
func TestO7_savedLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		valid, n := firstRefresh, 0
		b := newBench(t, func(w http.ResponseWriter, q question) {
			if q.refresh != valid {
				say(w, 400, `{"error":"invalid_grant"}`)
				return
			}
			n++
			valid = fmt.Sprintf("refresh-%d", n)
			grantToken(w, fmt.Sprintf("access-%d", n), "60", valid)
		})
		broken := true
		b.save = func() (bool, error) {
			if broken {
				return false, errors.New("disk full")
			}
			return false, nil
		}
		s := b.source(refreshing())
		// An edit of the endpoint, while the token waits, does not lose it.
		bearer, _, err := s.Get(t.Context(), false)
		troubleOf(t, bearer, err)
		e := refreshing()
		e.Version++
		if !s.Adopt(e) {
			t.Fatal("not adopted")
		}
		time.Sleep(2 * time.Minute)
		broken = false
		if got := get(t, s); got != "access-2" || b.kept.Refresh.Reveal() != "refresh-2" {
			t.Errorf("got %q, and kept %q", got, b.kept.Refresh.Reveal())
		}
		b.count(2)
	})
}

// TestO7_slowStore: two slow requests leave the store its time.
func TestO7_slowStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(w http.ResponseWriter, _ question) {
			time.Sleep(14 * time.Second)
			grantToken(w, "access", "", "refresh-1")
		})
		s := b.source(refreshing(), func(o *SourceOptions) {
			load, save := o.Load, o.Save
			o.Load = func(ctx context.Context) (subscription.Token, error) {
				time.Sleep(31 * time.Second)
				return load(ctx)
			}
			o.Save = func(ctx context.Context, tok subscription.Token) error {
				time.Sleep(10 * time.Second)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return save(ctx, tok)
			}
		})
		if got := get(t, s); got != "access" || b.kept.Refresh.Reveal() != "refresh-1" {
			t.Errorf("got %q, and kept %q", got, b.kept.Refresh.Reveal())
		}
	})
}

// TestO7_otherProcess: what another process kept meanwhile is taken over, in
// whatever order the two came.
func TestO7_otherProcess(t *testing.T) {
	t.Parallel()
	t.Run("before we ask", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := &family{}
			b := newBench(t, f.answer)
			one, two := b.source(refreshing()), b.source(refreshing())
			get(t, one)
			get(t, two)
			if got, err := renew(t, two); got != "access-2" || err != nil {
				t.Fatalf("renewed to %q, %v", got, err)
			}
			if got, err := renew(t, one); got != "access-2" || err != nil {
				t.Errorf("renewed to %q, %v, want what the other one kept", got, err)
			}
			b.count(2)
		})
	})
	t.Run("while we ask, and both are answered", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int32
			b := newBench(t, func(w http.ResponseWriter, _ question) {
				mine := n.Add(1)
				time.Sleep(time.Duration(mine) * time.Second)
				grantToken(w, fmt.Sprintf("access-%d", mine), "", fmt.Sprintf("refresh-%d", mine))
			})
			one, two := b.source(refreshing()), b.source(refreshing())
			var wg sync.WaitGroup
			for _, s := range []*Source{one, two} {
				wg.Go(func() {
					if got := get(t, s); got != "access-1" {
						t.Errorf("got %q, want what was kept first", got)
					}
				})
			}
			wg.Wait()
			if b.kept.Refresh.Reveal() != "refresh-1" || b.kept.Generation != 1 {
				t.Errorf("kept %q of generation %d", b.kept.Refresh.Reveal(), b.kept.Generation)
			}
		})
	})
	for _, late := range []time.Duration{0, 500 * time.Millisecond} {
		t.Run(fmt.Sprintf("while we ask, and we are refused, %v before it is kept", late), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.answer = func(w http.ResponseWriter, q question) {
					if q.refresh != firstRefresh {
						t.Errorf("asked with %q", q.refresh)
					}
					time.AfterFunc(late, func() { // the other one's answer
						b.mu.Lock()
						defer b.mu.Unlock()
						b.put(subscription.Token{Access: secret.New("access-of-another"), Refresh: secret.New("refresh-of-another"), Generation: b.kept.Generation})
					})
					time.Sleep(time.Millisecond)
					say(w, 400, `{"error":"invalid_grant"}`)
				}
				s := b.source(refreshing())
				if got := get(t, s); got != "access-of-another" || s.Trouble() != nil {
					t.Errorf("got %q, %v, want what another process kept", got, s.Trouble())
				}
				b.count(1)
			})
		})
	}
}

// TestO7_crash: a process that ends between the answer and the store loses the
// refresh token, which nobody can help; the next one is told so once and says
// so, for good.
func TestO7_crash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &family{}
		b := newBench(t, f.answer)
		s := b.source(refreshing())
		get(t, s)
		b.save = func() (bool, error) { return false, errors.New("killed") }
		if _, err := renew(t, s); err == nil {
			t.Fatal("a token that is not kept is used")
		}
		b.save = nil
		b.count(2)

		s = b.source(refreshing())
		if got := get(t, s); got != "access-1" {
			t.Fatalf("after a restart got %q, want the token that was kept", got)
		}
		if _, err := renew(t, s); !errors.As(err, new(*Trouble)) {
			t.Fatalf("got %v, want a trouble", err)
		}
		b.count(3)
		for range 100 {
			time.Sleep(time.Hour)
			bearer, _, err := s.Get(t.Context(), false)
			if tr := troubleOf(t, bearer, err); !tr.Reauthorise || !tr.NextAt.IsZero() || !strings.Contains(tr.Reason, "invalid_grant") {
				t.Fatalf("%+v", tr)
			}
			if _, wanted := s.Ready(time.Now()); wanted {
				t.Fatal("wanted")
			}
		}
		b.count(3)
	})
}

// TestO7_kills: a process that is killed at any moment around a rotation goes
// on with the newest refresh token, or says that it cannot.
func TestO7_kills(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				f := &family{}
				var killed atomic.Bool
				b := newBench(t, func(w http.ResponseWriter, q question) {
					time.Sleep(10 * time.Millisecond)
					f.answer(w, q)
					time.Sleep(10 * time.Millisecond)
				})
				alive := func(o *SourceOptions) {
					save := o.Save
					o.Save = func(ctx context.Context, tok subscription.Token) error {
						time.Sleep(10 * time.Millisecond)
						if killed.Load() {
							return errors.New("killed")
						}
						return save(ctx, tok)
					}
				}
				s := b.source(refreshing(), alive)
				get(t, s)
				gone := make(chan struct{})
				go func() { defer close(gone); _, _ = renew(t, s) }()
				time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
				killed.Store(true)
				<-gone
				killed.Store(false)

				s = b.source(refreshing(), alive)
				get(t, s)
				got, err := renew(t, s)
				if newest := b.kept.Refresh.Reveal() == f.valid; err == nil && (!newest || f.dead || got == "access-1") {
					t.Errorf("goes on with %q, and kept %q where %q is the newest", got, b.kept.Refresh.Reveal(), f.valid)
				}
				if tr, ok := errors.AsType[*Trouble](err); err != nil && (!ok || !tr.Reauthorise) {
					t.Errorf("got %v, want the owner to be told", err)
				}
			})
		})
	}
}

// TestO8_final: credentials that are refused are flagged and not sent again; a
// refresh token never, client credentials each hour.
func TestO8_final(t *testing.T) {
	t.Parallel()
	codes := []string{"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type", "access_denied", "inactive_user"}
	for _, code := range codes {
		for name, e := range map[string]subscription.Endpoint{"client credentials": credentials(), "a refresh token": refreshing()} {
			t.Run(code+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t, func(w http.ResponseWriter, _ question) { say(w, 400, `{"error":"`+code+`"}`) })
					s := b.source(e)
					first := 1
					if e.Auth.Type == subscription.AuthOAuth2 {
						first = 2 // the two ways to authenticate ourselves
					}
					for range 14 * 60 {
						bearer, _, err := s.Get(t.Context(), false)
						tr := troubleOf(t, bearer, err)
						if !tr.Reauthorise || !strings.Contains(tr.Reason, code) || tr.NextAt.IsZero() != (first == 1) {
							t.Fatalf("%+v", tr)
						}
						time.Sleep(time.Second)
					}
					b.count(first)
					time.Sleep(100 * time.Hour)
					bearer, _, err := s.Get(t.Context(), false)
					troubleOf(t, bearer, err)
					b.count(2*first - 1)
				})
			})
		}
	}
}

// TestO8_notFinal: what may pass by itself is not the owner's trouble.
func TestO8_notFinal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		code   string
	}{{500, "invalid_grant"}, {503, "invalid_client"}, {429, "access_denied"}, {400, "temporarily_unavailable"}, {400, "slow_down"}, {400, "invalid_request"}, {400, ""}, {404, "x"}} {
		t.Run(fmt.Sprintf("%d %s", tt.status, tt.code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) { say(w, tt.status, `{"error":"`+tt.code+`"}`) })
				bearer, _, err := b.source(refreshing()).Get(t.Context(), false)
				if tr := troubleOf(t, bearer, err); tr.Reauthorise || tr.NextAt.IsZero() {
					t.Errorf("%+v", tr)
				}
			})
		})
	}
}

// TestO8_whichFailure: of the answers to the two ways to authenticate
// ourselves the one that tells more counts.
func TestO8_whichFailure(t *testing.T) {
	t.Parallel()
	type said struct {
		status int
		code   string
	}
	tests := []struct {
		name        string
		basic, body said
		want        string
		final       bool
	}{
		{"both do not know us", said{401, "invalid_client"}, said{401, "invalid_client"}, "invalid_client", true},
		{"the body is not understood", said{401, "invalid_client"}, said{400, "invalid_request"}, "invalid_client", true},
		{"Basic is not understood", said{400, "invalid_request"}, said{401, "invalid_client"}, "invalid_client", true},
		{"the scope is refused", said{400, "invalid_scope"}, said{401, "invalid_client"}, "invalid_scope", true},
		{"the scope is refused in the body", said{401, "invalid_client"}, said{400, "invalid_scope"}, "invalid_scope", true},
		{"the body meets a failure", said{401, "invalid_client"}, said{503, ""}, "503", false},
		{"neither tells anything", said{401, ""}, said{400, ""}, "400", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, q question) {
					a := tt.basic
					if q.method() == subscription.ClientAuthBody {
						a = tt.body
					}
					body := ""
					if a.code != "" {
						body = `{"error":"` + a.code + `"}`
					}
					say(w, a.status, body)
				})
				bearer, _, err := b.source(credentials()).Get(t.Context(), false)
				if tr := troubleOf(t, bearer, err); tr.Reauthorise != tt.final || !strings.Contains(tr.Reason, tt.want) {
					t.Errorf("%+v, want %q, final: %v", tr, tt.want, tt.final)
				}
				b.count(2)
			})
		})
	}
}

// TestO8_adopt: another version with the same credentials is tried at once;
// one that was seen before, or an older one, changes nothing.
func TestO8_adopt(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]subscription.Endpoint{"client credentials": credentials(with("body")), "a refresh token": refreshing()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) { say(w, 400, `{"error":"invalid_grant"}`) })
				e.Version = 5
				s := b.source(e)
				try := func(want int) {
					t.Helper()
					bearer, _, err := s.Get(t.Context(), false)
					troubleOf(t, bearer, err)
					b.count(want)
				}
				try(1)
				for _, v := range []int64{5, 4, 1, 5} {
					if e.Version = v; !s.Adopt(e) {
						t.Errorf("version %d with the same credentials is not adopted", v)
					}
					try(1)
				}
				if e.Version = 6; !s.Adopt(e) {
					t.Error("a newer version with the same credentials is not adopted")
				}
				try(2)
				other := e
				other.Version, other.Auth.OAuth2.Scope = 7, "x"
				if s.Adopt(other) {
					t.Error("other credentials are adopted")
				}
				try(2)
			})
		})
	}
}

// TestO8_adoptKeepsTheNewerMask: what an older version knows does not unmask
// what a newer one hides.
func TestO8_adoptKeepsTheNewerMask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, issue(""))
		old := refreshing()
		s := b.source(old)
		get(t, s)
		next := old
		next.Version, next.SigningSecrets = 2, []subscription.SigningSecret{{Secret: secret.New("whsec_bmV3LXNpZ25pbmctc2VjcmV0")}}
		for _, e := range []subscription.Endpoint{next, old} {
			if !s.Adopt(e) {
				t.Fatal("not adopted")
			}
			bearer := s.Take(time.Now())
			if got := bearer.Mask("access-1 " + firstRefresh + " bmV3LXNpZ25pbmctc2VjcmV0"); got != "*** *** ***" {
				t.Errorf("masked to %q", got)
			}
		}
		b.count(1)
	})
}

// TestO8_newCredentials: they take effect at once, whatever the former ones
// came to, and nothing of those is used or kept any more.
func TestO8_newCredentials(t *testing.T) {
	t.Parallel()
	other := credentials(with("body"), func(o *subscription.OAuth2) { o.Scope = "new" })
	other.Version = 2
	t.Run("the former ones failed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(w http.ResponseWriter, q question) {
				if q.form.Get("scope") != "new" {
					say(w, 400, `{"error":"invalid_client"}`)
					return
				}
				grantToken(w, "access-new", "3600", "")
			})
			s := b.source(credentials(with("body")))
			bearer, _, err := s.Get(t.Context(), false)
			troubleOf(t, bearer, err)
			b.forget()
			if s.Adopt(other) {
				t.Fatal("adopted")
			}
			next := b.source(other, func(o *SourceOptions) { o.Replaces = s })
			if got := get(t, next); got != "access-new" || time.Since(b.t0) != 0 {
				t.Errorf("got %q after %v", got, time.Since(b.t0))
			}
			b.count(2)
			if !s.Retired() || next.Retired() || s.Adopt(credentials(with("body"))) {
				t.Error("the former source goes on")
			}
			for _, insist := range []bool{false, true} {
				bearer, _, err = s.Get(t.Context(), insist)
				troubleOf(t, bearer, err)
			}
			b.count(2)
		})
	})
	t.Run("the former ones are in use", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(w http.ResponseWriter, q question) {
				time.Sleep(time.Second)
				grantToken(w, "access-"+q.form.Get("scope"), "3600", "")
			})
			s := b.source(credentials(with("body")))
			get(t, s)
			old := s.Take(time.Now())
			// The owner's change is in the store, and the engine does not know yet.
			b.forget()
			bearer, _, err := s.Renew(t.Context(), old)
			if tr := troubleOf(t, bearer, err); !strings.Contains(tr.Reason, "changed meanwhile") || tr.Reauthorise {
				t.Errorf("%+v", tr)
			}
			b.count(1) // a token of the former ones would be kept as one of the new ones
			next := b.source(other, func(o *SourceOptions) { o.Replaces = s })
			if got := get(t, next); got != "access-new" {
				t.Errorf("got %q", got)
			}
			if got := get(t, b.source(other)); got != "access-new" {
				t.Errorf("kept %q", got)
			}
			b.count(2)
		})
	})
	t.Run("and back again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, issue("100"))
			e := credentials(with("body"))
			s := b.source(e)
			get(t, s)
			b.forget()
			b.forget()
			if e.Version = 3; !s.Adopt(e) {
				t.Fatal("not adopted")
			}
			time.Sleep(time.Hour)
			if got := get(t, s); got != "access-2" {
				t.Errorf("got %q, want another token", got)
			}
		})
	})
	t.Run("a request is on the wire", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(w http.ResponseWriter, q question) {
				if q.form.Get("scope") == "" {
					time.Sleep(10 * time.Second)
				}
				grantToken(w, "access-"+q.form.Get("scope"), "3600", "")
			})
			s := b.source(credentials(with("body")))
			done := make(chan struct{})
			go func() {
				defer close(done)
				bearer, _, err := s.Get(t.Context(), false)
				troubleOf(t, bearer, err)
			}()
			time.Sleep(time.Second)
			b.forget()
			next := b.source(other, func(o *SourceOptions) { o.Replaces = s })
			if got := get(t, next); got != "access-new" || time.Since(b.t0) != time.Second {
				t.Errorf("got %q after %v", got, time.Since(b.t0))
			}
			if <-done; b.kept.Access.Reveal() != "access-new" || s.Take(time.Now()) != nil {
				t.Errorf("kept %q", b.kept.Access.Reveal())
			}
		})
	})
}

// TestO8_sameRefreshToken: a client secret that changes while a request is on
// the wire does not send its refresh token twice at a time.
func TestO8_sameRefreshToken(t *testing.T) {
	t.Parallel()
	client := func(s string) func(*subscription.Bearer) {
		return func(b *subscription.Bearer) { b.ClientID, b.ClientSecret = "id", secret.New(s) }
	}
	synctest.Test(t, func(t *testing.T) {
		f := &family{}
		b := newBench(t, func(w http.ResponseWriter, q question) {
			time.Sleep(5 * time.Second)
			f.answer(w, q)
		})
		one := b.source(refreshing(client("one")))
		var wg sync.WaitGroup
		wg.Go(func() {
			bearer, _, err := one.Get(t.Context(), false)
			troubleOf(t, bearer, err)
		})
		time.Sleep(time.Second)
		e := refreshing(client("two"))
		e.Version = 2
		two := b.source(e, func(o *SourceOptions) { o.Replaces = one })
		e = refreshing(client("three"))
		e.Version = 3
		three := b.source(e, func(o *SourceOptions) { o.Replaces = two })
		if got := get(t, three); got != "access-1" || f.dead {
			t.Errorf("got %q, want what the former request brought", got)
		}
		wg.Wait()
		if got, err := renew(t, three); got != "access-2" || err != nil {
			t.Errorf("renewed to %q, %v", got, err)
		}
		b.count(2)
		// A test with what was read before the change asks for nothing.
		stale := b.source(refreshing(client("one")), func(o *SourceOptions) { o.Replaces = three })
		if bearer, _, err := stale.Get(t.Context(), true); !stale.Retired() || three.Retired() {
			t.Errorf("an older version got %v, %v", bearer, err)
		}
		b.count(2)
	})
}

// TestO8_neverShared: two endpoints with the same credentials have a token
// each.
func TestO8_neverShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one, two := newBench(t, issue("3600")), newBench(t, func(w http.ResponseWriter, _ question) { grantToken(w, "other", "3600", "") })
		a, b := one.source(credentials()), two.source(credentials())
		if get(t, a) != "access-1" || get(t, b) != "other" || get(t, a) != "access-1" {
			t.Error("two sources share a token")
		}
		one.count(1)
		two.count(1)
	})
}

// TestWait: whoever stops waits for what is on the wire.
func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &family{}
		b := newBench(t, func(w http.ResponseWriter, q question) {
			time.Sleep(5 * time.Second)
			f.answer(w, q)
		})
		s := b.source(refreshing())
		if err := s.Wait(t.Context()); err != nil {
			t.Errorf("with nothing under way: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.Get(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if err := s.Wait(t.Context()); err != nil || b.kept.Refresh.Reveal() != "refresh-1" || time.Since(b.t0) != 5*time.Second {
			t.Errorf("got %v, and kept %q after %v", err, b.kept.Refresh.Reveal(), time.Since(b.t0))
		}
	})
}

// leaks returns the forms of a secret that a text holds.
func leaks(text string, secrets ...string) []string {
	var out []string
	scan := strings.ToLower(text)
	for _, s := range secrets {
		for _, enc := range encodings {
			if strings.Contains(enc.name, "in a longer text") {
				continue // said with what surrounds it
			}
			if strings.Contains(scan, strings.ToLower(enc.encode(s))) {
				out = append(out, enc.name+" of "+s)
			}
		}
	}
	return out
}

// everything is all that is to be seen of a source and what it handed out.
func everything(s *Source, values ...any) string {
	var log bytes.Buffer
	out := ""
	for _, v := range append(values, s, s.o.Endpoint, s.Trouble()) {
		out += fmt.Sprintf("%v\n%+v\n%#v\n%s\n", v, v, v, v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		if j, err := json.Marshal(v); err == nil {
			out += string(j)
		}
	}
	return out + log.String()
}

func exchangeText(x *Exchange) string {
	if x == nil {
		return ""
	}
	return fmt.Sprintf("%+v", *x)
}

// TestO9_tokenEndpointEchoes: a token endpoint that sends back all that it got, in every
// form, as description, header or bare text, shows no secret.
func TestO9_tokenEndpointEchoes(t *testing.T) {
	t.Parallel()
	for _, e := range []subscription.Endpoint{
		credentials(with("basic")), credentials(with("body")), credentials(func(o *subscription.OAuth2) { o.ContentType = subscription.ContentJSON }),
		refreshing(func(b *subscription.Bearer) { b.ClientID, b.ClientSecret = "id", secret.New(clientSecret) }),
	} {
		for _, enc := range encodings {
			for _, how := range []string{"description", "spread description", "cut description", "code", "member", "text", "media type", "header", "token type"} {
				t.Run(string(e.Auth.Type)+" "+how+" "+enc.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						basic := "" // as it was sent
						one := clientSecret
						if e.Auth.Type == subscription.AuthToken {
							one = firstRefresh
						}
						b := newBench(t, func(w http.ResponseWriter, q question) {
							all := enc.encode(clientSecret + " " + one + " " + q.header.Get("Authorization"))
							quoted, _ := json.Marshal(all)
							_, basic, _ = strings.Cut(q.header.Get("Authorization"), " ")
							w.Header().Set("Content-Type", "application/json")
							body := `{"error":"server_error"}`
							switch how {
							case "description":
								body = `{"error":"server_error","error_description":` + string(quoted) + `}`
							case "spread description": // its parts come together again when the text is cleaned
								quoted, _ = json.Marshal("\u202e" + strings.Join(strings.Split(all, ""), "\u200b\x00"))
								body = `{"error":"server_error","error_description":` + string(quoted) + `}`
							case "cut description":
								quoted, _ = json.Marshal(strings.Repeat("x", maxDescription-10) + all)
								body = `{"error":"server_error","error_description":` + string(quoted) + `}`
							case "code":
								quoted, _ = json.Marshal(enc.encode(one))
								body = `{"error":` + string(quoted) + `}`
							case "member":
								body = `{` + string(quoted) + `:1,"message":` + string(quoted) + `}`
							case "text":
								body = all + strings.Repeat("y", maxShown-20-len(all)) + all
							case "media type":
								w.Header().Set("Content-Type", "x/"+strings.ToLower(strings.NewReplacer("/", "", "=", "").Replace(base64.StdEncoding.EncodeToString([]byte(one)))))
								body = `{"no":"token"}`
								w.WriteHeader(200)
								_, _ = io.WriteString(w, body)
								return
							case "header":
								w.Header().Set("Www-Authenticate", `Basic realm="`+strings.NewReplacer("\r", "", "\n", "").Replace(all)+`"`)
							case "token type":
								body = `{"access_token":"new-acc3ss-token","token_type":` + string(quoted) + `,"scope":"new-acc3ss-token"}`
								say(w, 200, body)
								return
							}
							w.WriteHeader(418)
							_, _ = io.WriteString(w, body)
						})
						s := b.source(e)
						bearer, x, err := s.Get(t.Context(), false)
						tr := troubleOf(t, bearer, err)
						seen := tr.Reason + exchangeText(x) + everything(s, tr, err, x)
						if got := leaks(seen, clientSecret, one, "new-acc3ss-token"); len(got) != 0 || basic != "" && strings.Contains(seen, basic[:len(basic)-2]) {
							t.Errorf("shows %v in %q", got, seen)
						}
						if len([]rune(tr.Reason)) > 400 {
							t.Errorf("the reason has %d characters", len([]rune(tr.Reason)))
						}
					})
				})
			}
		}
	}
}

// TestO9_description: an untrusted text is printable, on one line and short.
func TestO9_description(t *testing.T) {
	t.Parallel()
	m := newMask([]secret.Value{secret.New("s3cr3t-value"), secret.New("0ther\u00a0one")})
	tests := []struct{ name, text, want string }{
		{"a secret that is cleaned", "is 0ther\u00a0one not", "is *** not"},
		{"plain", "The client is unknown.", "The client is unknown."},
		{"lines", " a\r\nb\tc\u2028d ", "a  b c d"},
		{"control characters", "a\x00\x1b[31mb\x7f\u0085c", "a[31mb c"},
		{"bidi", "a\u202eb\u2066c\u200f", "abc"},
		{"no characters", "a\ufffdb\ue000", "ab"},
		{"HTML stays text", "<script>alert(1)</script>", "<script>alert(1)</script>"},
		{"10,000 characters", strings.Repeat("ä", 10000), strings.Repeat("ä", maxDescription) + "…"},
		{"a secret", "is s3cr3t-value not", "is *** not"},
		{"a spread secret", "s3cr3t\u200b-\x00value", "***"},
		{"a cut secret", strings.Repeat("x", maxDescription-4) + "s3cr3t-value", strings.Repeat("x", maxDescription-4) + "***"},
		{"a secret cut by what is read", strings.Repeat("\u200b", (maxShown-6)/3) + "s3cr3t-value", "***"},
		{"the longest", strings.Repeat("x", maxDescription), strings.Repeat("x", maxDescription)},
	}
	for _, tt := range tests {
		if got := plain(tt.text, m); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestO9_exchange: what is shown of a request and its answer.
func TestO9_exchange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		e      subscription.Endpoint
		status int
		answer string
		auth   string
		body   string
		shown  string
	}{
		{
			"Basic", credentials(with("basic")), 200, `{"access_token":"acc3ss-token","token_type":"Bearer","expires_in":3600,"x":1,"scope":"acc3ss-token"}`,
			"Basic ***", "grant_type=client_credentials", `{"access_token":"***","expires_in":3600,"scope":"***","token_type":"Bearer","x":"***"}`,
		},
		{
			"the body", credentials(with("body")), 401, `{"error":"invalid_client","error_description":"No."}`, "",
			"grant_type=client_credentials&client_id=client%3Aid+%C3%BC%2F1&client_secret=***", `{"error":"invalid_client","error_description":"No."}`,
		},
		{
			"JSON", credentials(func(o *subscription.OAuth2) { o.ContentType = subscription.ContentJSON }), 200, `{"access_token":"acc3ss-token","id_token":{"a":["acc3ss-token"]},"message":"acc3ss-token"}`,
			"", `{"grant_type":"client_credentials","client_id":"client:id ü/1","client_secret":"***"}`, `{"access_token":"***","id_token":"***","message":"***"}`,
		},
		{
			"a refresh token", refreshing(), 200, `{"access_token":"acc3ss-token","refresh_token":"n3w-refresh","acc3ss-token":2}`, "",
			"grant_type=refresh_token&refresh_token=***", `{"***":"***","access_token":"***","refresh_token":"***"}`,
		},
		{"a form that is a success", refreshing(), 200, "access_token=acc3ss-token", "", "grant_type=refresh_token&refresh_token=***", "(25 bytes that are no JSON object; not shown, for they may hold a token)"},
		{"a form that is a failure", refreshing(), 403, "access_token=acc3ss-token", "", "grant_type=refresh_token&refresh_token=***", "(25 bytes that are no JSON object; not shown, for they may hold a token)"},
		{"HTML that is a success", refreshing(), 200, "<p>acc3ss-token", "", "grant_type=refresh_token&refresh_token=***", "(15 bytes that are no JSON object; not shown, for they may hold a token)"},
		{"HTML that holds a field", refreshing(), 502, `<input name="access_token" value="acc3ss-token">`, "", "grant_type=refresh_token&refresh_token=***", "(48 bytes that are no JSON object; not shown, for they may hold a token)"},
		{"an object twice", refreshing(), 502, `{"accessToken":"acc3ss-token"}{}`, "", "grant_type=refresh_token&refresh_token=***", "(32 bytes that are no JSON object; not shown, for they may hold a token)"},
		{"HTML of a proxy", refreshing(), 502, "<h1>Bad gateway</h1>", "", "grant_type=refresh_token&refresh_token=***", "<h1>Bad gateway</h1>"},
		{"a list", refreshing(), 403, `[{"errorCode":"API_DISABLED"}]`, "", "grant_type=refresh_token&refresh_token=***", `[{"errorCode":"API_DISABLED"}]`},
		{"more tokens than there can be", refreshing(), 403, `{"message":"x","tokens":[` + strings.Repeat(`"acc3ss-token",`, 100) + `""]}`, "", "grant_type=refresh_token&refresh_token=***", "(1529 bytes; not shown, for their tokens cannot be told from the rest)"},
		{"a deep one", refreshing(), 403, strings.Repeat(`{"a":`, 9000) + `"acc3ss-token"` + strings.Repeat("}", 9000), "", "grant_type=refresh_token&refresh_token=***", "(54014 bytes; not shown, for their tokens cannot be told from the rest)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(w http.ResponseWriter, _ question) {
					time.Sleep(250 * time.Millisecond)
					w.Header().Set("Set-Cookie", "a=acc3ss-token")
					w.Header().Set("Server", "acc3ss")
					say(w, tt.status, tt.answer)
				})
				s := b.source(tt.e)
				bearer, x, err := s.Get(t.Context(), false)
				want := [][2]string{{"Content-Type", mediaForm}, {"Accept", "application/json"}, {"User-Agent", "Consentwire/test"}}
				if strings.HasPrefix(tt.body, "{") {
					want[0][1] = mediaJSON
				}
				if tt.auth != "" {
					want = append(want, [2]string{"Authorization", tt.auth})
				}
				if !slices.Equal(x.Headers, want) || x.Body != tt.body || x.Method != http.MethodPost || x.URL != s.address() {
					t.Errorf("shows the request %q %q %v %q, want %v %q", x.Method, x.URL, x.Headers, x.Body, want, tt.body)
				}
				if !x.Answered || x.Status != tt.status || x.AnswerBody != tt.shown || x.Step != egress.StepResponse || x.Duration != 250*time.Millisecond || !x.At.Equal(b.t0) || x.At.Location() != time.UTC {
					t.Errorf("shows the answer %+v, want %q", x, tt.shown)
				}
				if (err == nil) != (x.Reason == "") {
					t.Errorf("the reason is %q beside %v", x.Reason, err)
				}
				seen := exchangeText(x) + everything(s, x, bearer, err)
				if got := leaks(seen, "acc3ss-token", "n3w-refresh", clientSecret, firstRefresh); len(got) != 0 {
					t.Errorf("shows %v in %q", got, seen)
				}
			})
		})
	}
}

// TestO9_printsNothing: no way of printing shows a secret of what this room
// hands out or keeps.
func TestO9_printsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(w http.ResponseWriter, _ question) { grantToken(w, "acc3ss-token", "", "n3w-refresh") })
		s := b.source(refreshing())
		bearer, x, err := s.Get(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAnswer(200, []byte(`{"access_token":"acc3ss-token","refresh_token":"n3w-refresh"}`))
		if err != nil {
			t.Fatal(err)
		}
		g := gained{answer: a, at: time.Now()}
		seen := everything(s, bearer, *bearer, x, a, &a, g, &g, s.o.Endpoint, b.kept, grantOf(s.o.Endpoint, "body", "x"))
		if got := leaks(seen, "acc3ss-token", "n3w-refresh", firstRefresh); len(got) != 0 {
			t.Errorf("shows %v in %q", got, seen)
		}
		if got := bearer.Mask("acc3ss-token n3w-refresh " + url.QueryEscape(firstRefresh)); got != "*** *** ***" {
			t.Errorf("masked to %q", got)
		}
	})
}

// FuzzParseAnswer: whatever a token endpoint says, what is taken for a token
// may be sent, and what is shown of it shows no token.
func FuzzParseAnswer(f *testing.F) {
	for _, tt := range badAnswers {
		if len(tt.body) < 4096 {
			f.Add(tt.status, []byte(tt.body))
		}
	}
	f.Add(200, []byte(`{"access_token":"a.b-c","token_type":"Bearer","expires_in":"1e3","refresh_token":"x"}`))
	f.Add(400, []byte(`{"error":"invalid_grant","error_description":"\u202e"}`))
	m := newMask(nil)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a, err := parseAnswer(status, body)
		if err != nil {
			e, ok := errors.AsType[*answerError](err)
			if !ok || e.code == "" && e.reason == "" || a != (answer{}) && e.code != "" {
				t.Fatalf("got %v, %#v", a, err)
			}
			if d := plain(e.description, m); len([]rune(d)) > maxDescription+1 || strings.ContainsAny(d, "\x00\n\r\u202e\u2066") {
				t.Errorf("shows %q", d)
			}
			return
		}
		if status < 200 || status > 299 || !visible(a.access) || len(a.access) > MaxAccessToken || a.life < 0 || a.life > maxLife {
			t.Errorf("%d %q is taken for a token", status, body)
		}
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil || members["access_token"] != a.access || members["error"] != nil {
			t.Errorf("%q is taken for the token %q", body, a.access)
		}
	})
}

// FuzzShowAnswer: what is shown of an answer shows none of its tokens,
// wherever else in it they stand.
func FuzzShowAnswer(f *testing.F) {
	for _, tt := range badAnswers {
		if len(tt.body) < 4096 {
			f.Add(tt.status, []byte(tt.body))
		}
	}
	f.Add(200, []byte(`{"access_token":"abcdefgh","scope":"abcdefgh","id_token":"ijklmnop","ijklmnop":1}`))
	f.Add(400, []byte(`{"refresh_token":"abc/defgh\"","message":"abc\/defgh\"","error":["abc/defgh\""]}`))
	f.Add(400, []byte(`{"a":{"access_token":"abcdefgh"},"title":"YWJjZGVmZ2g="}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		tokens, ok := tokensOf(body)
		if !ok {
			return
		}
		shown := showAnswer(status, body, newMask(tokens))
		if len(shown) > maxShown {
			t.Fatalf("shows %d bytes", len(shown))
		}
		var members map[string]any
		if json.Unmarshal(body, &members) != nil {
			return
		}
		for _, name := range []string{"access_token", "refresh_token", "id_token"} {
			v, _ := members[name].(string)
			if len(v) < 6 || strings.Contains(v, "*") || strings.Contains("access_token refresh_token id_token (bytes that are no JSON object; not shown, for they may hold a token)", v) {
				continue // too short to be a token, or our own words
			}
			if strings.Contains(strings.ReplaceAll(shown, hidden, "\uffff"), v) {
				t.Errorf("%q shows %s: %q", body, name, shown)
			}
		}
	})
}
