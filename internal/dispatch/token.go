package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/consentwire/consentwire/internal/credential"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/subscription"
)

// leastAgain is what a request that is sent again with a fresh token has of
// time, even when the first one took all of the attempt's. Ours.
const leastAgain = time.Second

// source returns the one source of an endpoint's tokens. It outlives runners
// and versions of the configuration, so that never two requests for a token
// are on the wire at a time; other credentials need another one. The lock is
// held.
func (e *Engine) source(ep subscription.Endpoint, hold delivery.Hold) *credential.Source {
	endpoint := delivery.Endpoint(ep.ID)
	former := e.sources[endpoint]
	if former != nil && former.Adopt(ep) {
		return former
	}
	timeout := egress.DefaultTimeout
	if e.o.Timeout > 0 {
		timeout = e.o.Timeout
	}
	s := credential.NewSource(credential.SourceOptions{
		Guard: e.o.Guard, Client: e.o.Client, Agent: e.agent, Timeout: timeout, Endpoint: ep, Trouble: trouble(ep, hold), Replaces: former, Asked: e.o.Metrics.TokenRequest,
		Load: func(ctx context.Context) (subscription.Token, error) { return e.o.Log.Token(ctx, endpoint) },
		Save: func(ctx context.Context, t subscription.Token) error { return e.o.Log.SaveToken(ctx, endpoint, t) },
	})
	if !s.Retired() { // else ep was read before a change that we know of, and a test that came late is told so
		e.sources[endpoint] = s
	}
	return s
}

// settleSource drops the source of an endpoint whose token is not ours to get
// any more. The lock is held.
func (e *Engine) settleSource(r *runner) {
	if r.conf.tokens == nil {
		delete(e.sources, r.id.Whole())
	}
}

// trouble is what a hold that was recorded says of the token; nil: nothing,
// for there was none, or it has no next try and no need of its owner, or the
// owner has written another configuration since.
func trouble(ep subscription.Endpoint, hold delivery.Hold) *credential.Trouble {
	if !hold.Held() || !ep.UpdatedAt.Before(hold.Since) || hold.NextAt.IsZero() && hold.State != delivery.NeedsReauthorisation {
		return nil
	}
	return &credential.Trouble{Reason: hold.Reason, Reauthorise: hold.State == delivery.NeedsReauthorisation, NextAt: hold.NextAt}
}

// hasToken tells whether there is a token to send with, if one is needed.
func (r *runner) hasToken(now time.Time) bool {
	if r.conf.tokens == nil {
		return true
	}
	ready, _ := r.conf.tokens.Ready(now)
	return ready
}

// seekToken sees to it that an endpoint with something to send has a token.
// One that is near its end is replaced while it is still used. While none is
// to be had the endpoint is held. Nothing is asked for an endpoint that has
// nothing to send.
func (e *Engine) seekToken(r *runner, now time.Time) {
	if r.state != open || r.stale || r.conf.tokens == nil || r.fetching == r.conf.tokens || r.conf.hold != "" ||
		!r.hold.Held() && r.items == 0 && r.retries.len() == 0 {
		return
	}
	ready, wanted := r.conf.tokens.Ready(now)
	switch {
	case wanted:
		r.fetching = r.conf.tokens
		e.fetchers++
		go e.fetch(r, r.conf.tokens)
	case !ready:
		if t := r.conf.tokens.Trouble(); t != nil {
			r.holdBack(t, "")
		}
	}
	if ready {
		r.authorised()
	}
}

// fetch gets an endpoint's next token.
func (e *Engine) fetch(r *runner, tokens *credential.Source) {
	_, _, err := tokens.Get(e.wire, false)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fetchers--
	e.quiet.Broadcast()
	if r.fetching == tokens { // else other credentials came meanwhile, and their source is asked already
		r.fetching = nil
	}
	if r.state != open || r.conf.tokens != tokens {
		e.kick(r)
		return
	}
	if t, ok := errors.AsType[*credential.Trouble](err); ok && !r.hasToken(time.Now()) {
		r.holdBack(t, "")
	} else if err == nil {
		r.authorised()
	}
	e.kick(r)
}

// holdBack stops an endpoint for want of a token. What waits stays where it
// is: it uses no attempt, and no breaker counts it.
func (r *runner) holdBack(t *credential.Trouble, why string) {
	h := delivery.Hold{State: delivery.TokenTrouble, Since: now(), Reason: why + t.Reason, NextAt: t.NextAt, Exchange: exchange(t.Exchange)}
	if t.Reauthorise {
		h.State = delivery.NeedsReauthorisation
	}
	if h.Exchange == nil {
		h.Exchange = r.hold.Exchange
	}
	if h.State == r.hold.State {
		h.Since = r.hold.Since
		if h.Reason == r.hold.Reason && h.NextAt.Equal(r.hold.NextAt) {
			return
		}
	} else {
		r.e.o.Logger.Warn("the endpoint is held for want of a token", "endpoint", string(r.id), "reason", h.Reason)
	}
	r.hold, r.holdDirty = h, true
}

// authorised lets an endpoint go on.
func (r *runner) authorised() {
	if r.hold.State == delivery.Authorised {
		return
	}
	if r.hold.Held() {
		r.e.o.Logger.Info("the endpoint has a token again", "endpoint", string(r.id))
	}
	r.hold, r.holdDirty = delivery.Hold{State: delivery.Authorised, Since: now()}, true
}

// putBack takes back a delivery at now, whose token the receiver refused when
// no other was to be had. It is as if it had never been picked.
func (e *Engine) putBack(j *job, t *credential.Trouble, now time.Time) {
	r, conf := j.r, j.conf
	e.offWire(j, now)
	if r.state == closing { // it is read again
		e.freeJob(j)
		return
	}
	l := j.lane
	l.busy = false
	if j.trouble {
		r.retries.pushFront(delivery.Loaded{Exception: j.exc, Item: j.item})
		r.settleLane(l)
	} else {
		l.unshift(e.newEntry(&j.item, j.pos))
		r.items++
		r.release(l)
	}
	e.freeJob(j)
	if r.conf.tokens == conf.tokens && !r.hasToken(now) {
		r.holdBack(t, "The receiver refused the token with 401, and no other was to be had. ")
	}
}

// exchange is a request for a token as it is recorded.
func exchange(x *credential.Exchange) *delivery.Exchange {
	if x == nil {
		return nil
	}
	out := &delivery.Exchange{
		At: x.At, Duration: x.Duration, Step: delivery.Step(x.Step), Reason: x.Reason,
		Request: delivery.Request{Method: x.Method, URL: x.URL, Headers: fields(x.Headers), Body: x.Body},
	}
	if x.Answered {
		out.Response = &delivery.Response{Status: x.Status, Headers: fields(x.AnswerHeaders), Body: x.AnswerBody}
	}
	return out
}

func fields(in [][2]string) []delivery.Header {
	out := make([]delivery.Header, len(in))
	for i, f := range in {
		out[i] = delivery.Header{Name: f[0], Value: f[1]}
	}
	return out
}
