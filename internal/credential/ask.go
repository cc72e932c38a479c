package credential

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// failure is a request for a token that brought none.
type failure struct {
	exchange *Exchange     // nil: none was made
	method   string        // in which we authenticated ourselves
	status   int           // 0: no answer
	code     string        // "error" of the answer; untrusted
	reason   string        // a sentence
	final    bool          // asking again is no use
	store    bool          // it is our store's
	asked    time.Duration // the token endpoint's Retry-After
	requests int           // that were made; 0 counts as one
}

// ask makes the request, and a second one with the other way to authenticate
// ourselves where that is not known (RULES O1).
func (s *Source) ask(ctx context.Context) (*gained, *Exchange, *failure) {
	methods := s.methods()
	var worst *failure
	n := 0
	for _, method := range methods {
		g, x, f := s.try(ctx, method)
		n++
		if s.o.Asked != nil {
			s.o.Asked(f.outcome())
		}
		if f == nil {
			return g, x, nil
		}
		if f.outweighs(worst) {
			worst = f
		}
		if !f.refused() {
			break
		}
		if s.auto() && method == s.kept.ClientAuth && f.code != "invalid_client" {
			break // it worked before, so it is hardly the way
		}
	}
	worst.requests = n
	if s.auto() && worst.refused() { // what worked before may work no more
		s.kept.ClientAuth, s.probed = "", true
		switch {
		case worst.tells():
			s.guess = worst.method
		case n == 1:
			s.guess = other(methods[0])
		default:
			s.guess = methods[0]
		}
	}
	return nil, worst.exchange, worst
}

// refused tells whether the token endpoint may mean that it does not understand
// how we authenticated ourselves.
func (f *failure) refused() bool {
	return f.status == http.StatusBadRequest || f.status == http.StatusUnauthorized
}

// tells reports that the answer says more than that the way in which we
// authenticated ourselves is not understood.
func (f *failure) tells() bool {
	return f.code != "" && f.code != "invalid_client" && f.code != "invalid_request"
}

// outweighs tells which of two failures in one flight is the one to go by, f
// being the later: the one that tells more, and of two refusals the final one.
func (f *failure) outweighs(before *failure) bool {
	switch {
	case before == nil, f.tells():
		return true
	case before.tells():
		return false
	}
	return f.final || !before.final || !f.refused()
}

func other(method string) string {
	if method == subscription.ClientAuthBasic {
		return subscription.ClientAuthBody
	}
	return subscription.ClientAuthBasic
}

// auto tells whether we find out ourselves how to authenticate ourselves.
func (s *Source) auto() bool {
	o := s.o.Endpoint.Auth.OAuth2
	return !s.refreshes() && o.ContentType != subscription.ContentJSON &&
		o.ClientAuthMethod != subscription.ClientAuthBasic && o.ClientAuthMethod != subscription.ClientAuthBody
}

// methods returns the ways to authenticate ourselves that are to be tried. A
// refresh token is sent once only, in the body, as Salesforce wants it.
//
// While the way is not known both are tried; when neither worked one request
// at a time is enough. Behind the one that worked before comes the other, for
// a client that is not known any more.
func (s *Source) methods() []string {
	const basic, body = subscription.ClientAuthBasic, subscription.ClientAuthBody
	switch {
	case !s.auto():
		if s.o.Endpoint.Auth.OAuth2.ClientAuthMethod == basic && !s.refreshes() && s.o.Endpoint.Auth.OAuth2.ContentType != subscription.ContentJSON {
			return []string{basic}
		}
		return []string{body}
	case s.kept.ClientAuth != "":
		return []string{s.kept.ClientAuth, other(s.kept.ClientAuth)}
	case s.probed:
		return []string{s.guess}
	}
	return []string{basic, body}
}

// try makes one request for a token.
func (s *Source) try(ctx context.Context, method string) (*gained, *Exchange, *failure) {
	client, refresh := s.o.Endpoint.Auth.OAuth2.ClientSecret, secret.Value{}
	if s.refreshes() {
		client, refresh = s.o.Endpoint.Auth.Bearer.ClientSecret, s.kept.Refresh
		if !refresh.IsSet() {
			refresh = s.o.Endpoint.Auth.Bearer.RefreshToken
		}
	}
	s.mu.Lock()
	secrets := append(s.base[:len(s.base):len(s.base)], refresh)
	if s.bearer != nil {
		secrets = append(secrets, secret.New(s.bearer.access))
	}
	s.mu.Unlock()
	at := time.Now()
	x := &Exchange{At: at.UTC().Truncate(time.Millisecond), Step: egress.StepRequest}
	g := grantOf(s.o.Endpoint, method, s.o.Agent)
	g.show(x, newMask(secrets).hide(s.address()), client.IsSet(), refresh.IsSet())
	header, content, err := g.render(client.Reveal(), refresh.Reveal())
	if err != nil {
		x.Reason = "the request cannot be written"
		return nil, x, &failure{exchange: x, method: method, reason: "The request for a token cannot be written."}
	}
	resp, err := s.o.Client.Do(ctx, &egress.Request{
		Target: s.target, Header: header, Body: content, Timeout: s.o.Timeout, Whole: MaxAnswer, Identity: s.ident,
	})
	took := time.Since(at)
	x.Duration = took
	if err != nil {
		x.Reason = "the request could not be made"
		if e, ok := errors.AsType[*egress.Error](err); ok {
			x.Step, x.Reason = e.Step, ourWords.Replace(e.Reason)
		}
		return nil, x, &failure{exchange: x, method: method, reason: "The token endpoint gave no answer that can be used: " + x.Reason + "."}
	}
	tokens, found := tokensOf(resp.Whole)
	m := newMask(append(secrets, tokens...))
	x.Step, x.Answered, x.Status = egress.StepResponse, true, resp.Status
	a, err := parseAnswer(resp.Status, resp.Whole)
	if found {
		x.AnswerHeaders, x.AnswerBody = showHeader(resp.Header, m), showAnswer(resp.Status, resp.Whole, m)
	} else {
		x.AnswerBody = "(" + strconv.Itoa(len(resp.Whole)) + " bytes; not shown, for their tokens cannot be told from the rest)"
		if e, ok := errors.AsType[*answerError](err); ok {
			e.description = ""
		}
	}
	if err == nil && s.refreshes() && !a.keepable() {
		err = &answerError{reason: "its refresh_token cannot be kept"}
	}
	if err == nil {
		return &gained{answer: a, at: at, took: took, method: method}, x, nil
	}
	f := &failure{exchange: x, method: method, status: resp.Status}
	f.reason = explain(resp, err, f, m)
	x.Reason = f.reason
	if resp.Status == http.StatusTooManyRequests || resp.Status == http.StatusServiceUnavailable {
		f.asked = retryAfter(resp.RetryAfter, time.Now())
	}
	return nil, x, f
}

// ourWords makes the way out's words about a receiver those about a token
// endpoint.
var ourWords = strings.NewReplacer("the receiver's", "its", "the receiver", "it")

// explain says in plain words what an answer without a token means.
func explain(resp *egress.Response, err error, f *failure, m *mask) string {
	said := "The token endpoint answered " + strconv.Itoa(resp.Status)
	if t := http.StatusText(resp.Status); t != "" {
		said += " " + t
	}
	e, _ := errors.AsType[*answerError](err)
	switch {
	case e == nil:
		return said + "."
	case e.code != "":
		f.code, f.final = e.code, isFinal(resp.Status, e.code)
		said += ": " + showCode(e.code, m)
		if d := plain(e.description, m); d != "" {
			said += " (" + d + ")"
		}
		return said + "." + advice(e.code)
	case resp.Status >= 300 && resp.Status <= 399:
		return said + "; redirects are not followed."
	case resp.Status >= 200 && resp.Status <= 299:
		return said + ", but " + e.reason + " (" + shorten(m.hide(mediaType(resp.Header)), maxCode) + ")."
	}
	return said + "."
}

// advice says what an owner can do about an error.
func advice(code string) string {
	switch code {
	case "invalid_client", "invalid_client_id", "unauthorized_client":
		return " It does not accept the clientId with its clientSecret: give both again."
	case "invalid_grant":
		return " The grant is used up, expired or withdrawn: give a new refreshToken."
	case "invalid_scope":
		return " It does not grant the scope: ask for another."
	}
	return ""
}

// retryAfter reads the field of that name: seconds or a date; anything else is
// none.
func retryAfter(v string, now time.Time) time.Duration {
	n, err := strconv.ParseInt(v, 10, 64)
	if n > 0 && (err == nil || errors.Is(err, strconv.ErrRange)) {
		return time.Duration(min(n, int64(maxAsked/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// outcome is a word for the metrics; a nil failure brought a token.
func (f *failure) outcome() string {
	switch {
	case f == nil:
		return "issued"
	case f.final || f.status == http.StatusUnauthorized:
		return "refused"
	}
	return "failed"
}
