package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/consentwire/consentwire/internal/credential"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// configured is one version of an endpoint's configuration, made ready.
type configured struct {
	endpoint subscription.Endpoint
	prepared *credential.Prepared
	tokens   *credential.Source // nil: the endpoint's token is not ours to get
	refused  *egress.Error      // the URL may not be requested; every attempt ends so
	hold     string             // why nothing may be sent; empty: it may
	schedule delivery.Schedule
	timeout  time.Duration
	inFlight int
	limiter  *rate.Limiter            // nil: none
	mask     func(text string) string // of a mail sender, which has nothing prepared; nil: it is none

	mu      sync.Mutex
	signers []*signature.Signer // free ones
	until   time.Time           // when one of their secrets expires; zero: none does
	round   int                 // grows when the secrets change
}

// configure makes a configuration ready. hold is what is known of the
// endpoint's token. The lock is held.
func (e *Engine) configure(ep subscription.Endpoint, hold delivery.Hold) *configured {
	c := &configured{endpoint: ep, schedule: delivery.Schedule(ep.RetrySchedule), timeout: ep.Timeout, inFlight: ep.MaxInFlight}
	if len(c.schedule) == 0 {
		c.schedule = e.o.Schedule
	}
	if c.timeout == 0 {
		c.timeout = e.o.Timeout
	}
	if c.inFlight == 0 {
		c.inFlight = defaultInFlight
	}
	if ep.RateLimit > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(ep.RateLimit), 1)
	}
	if ep.Style == subscription.MailSender {
		if ep.MaxInFlight == 0 {
			c.inFlight = subscription.DefaultMailsInFlight
		}
		c.mask = credential.Masker(ep)
		return c
	}
	prepared, err := credential.Prepare(e.o.Guard, ep)
	if held, ok := errors.AsType[*credential.HeldError](err); ok {
		c.hold = held.Reason
	} else if refused, ok := errors.AsType[*egress.Error](err); ok {
		c.refused = refused
	} else if err != nil {
		c.refused = &egress.Error{Step: egress.StepConnect, Reason: "the request cannot be prepared", Err: err}
	}
	c.prepared = prepared
	if ep.ManagesToken() {
		c.tokens = e.source(ep, hold)
	}
	return c
}

// reserve takes one request of the rate limit, or returns how long to wait for
// it.
func (c *configured) reserve(now time.Time) time.Duration {
	if c.limiter == nil {
		return 0
	}
	r := c.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// sign signs a body with every secret that signs at at.
func (c *configured) sign(at time.Time, webhookID string, body []byte) (string, error) {
	s, round, err := c.signer(at)
	if err != nil {
		return "", err
	}
	text, err := s.Sign(webhookID, at.Unix(), body)
	c.mu.Lock()
	if round == c.round {
		c.signers = append(c.signers, s)
	}
	c.mu.Unlock()
	return text, err
}

func (c *configured) signer(at time.Time) (*signature.Signer, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.until.IsZero() && !at.Before(c.until) {
		c.signers, c.until = nil, time.Time{}
		c.round++
	}
	if n := len(c.signers); n > 0 {
		s := c.signers[n-1]
		c.signers = c.signers[:n-1]
		return s, c.round, nil
	}
	lasts := func(end time.Time) {
		if !end.IsZero() && (c.until.IsZero() || end.Before(c.until)) {
			c.until = end
		}
	}
	var secrets []signature.Secret
	for _, ss := range c.endpoint.SigningAt(at) {
		s, err := signature.ParseSecret(ss.Secret.Reveal())
		if err != nil {
			return nil, 0, err
		}
		secrets = append(secrets, s)
		lasts(ss.ExpiresAt)
	}
	s, err := signature.NewSigner(secrets...)
	if err != nil || !c.endpoint.Asymmetric {
		return s, c.round, err
	}
	var keys []signature.PrivateKey
	for _, k := range subscription.KeysAt(c.endpoint.SigningKeys, at) {
		key, err := signature.ParsePrivateKey(k.PrivateKey.Reveal())
		if err != nil {
			return nil, 0, err
		}
		keys = append(keys, key)
		lasts(k.ExpiresAt)
	}
	return s.WithKeys(keys...), c.round, nil
}

// work sends until nothing may be sent.
func (e *Engine) work() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		j := e.next()
		if j == nil {
			e.workers--
			e.quiet.Broadcast()
			if len(e.dirty) > 0 && e.idle() {
				e.poked()
			}
			return
		}
		e.mu.Unlock()
		res, trouble := e.attempt(j)
		e.mu.Lock()
		if trouble != nil {
			e.putBack(j, trouble)
		} else {
			j.r.finish(j, res)
		}
		e.reopen(j.r)
		e.ready(j.r)
	}
}

// next takes the next delivery of the runner whose turn it is.
func (e *Engine) next() *job {
	if e.stopping {
		return nil
	}
	for {
		r, ok := e.turn.popFront()
		if !ok {
			return nil
		}
		r.inTurn = false
		now := time.Now()
		j := r.pick(now)
		if e.ready(r) || e.turn.len() > 0 && j != nil {
			e.hire()
		}
		if j != nil {
			return j
		}
	}
}

// attempt makes one; nil: it was called off, or no token was to be had, which
// is no attempt.
func (e *Engine) attempt(j *job) (*result, *credential.Trouble) {
	e.o.Metrics.AttemptStarted()
	a := delivery.Attempt{
		Seq: j.item.Seq, Subject: j.item.Subject, N: j.n(), At: now(), Replay: j.exc.Replay,
		Config: j.conf.endpoint.Version, InteractionID: id.Interaction(),
	}
	start := time.Now()
	out, err := e.send(e.wire, j.conf, j.bearer, &a, j.item)
	a.Duration = time.Since(start)
	e.o.Metrics.AttemptEnded(string(a.Step), a.Status, a.Duration)
	if t, ok := errors.AsType[*credential.Trouble](err); ok {
		return nil, t
	}
	if err != nil {
		return nil, nil
	}
	out.job, out.attempt = j, a
	if out.verdict == delivery.Success {
		e.o.Metrics.Delivered(a.At.Add(a.Duration).Sub(j.item.RecordedAt))
	}
	e.log(j, &a)
	return &out, nil
}

// log writes the attempt's line: what failed at level info, what passed at
// level debug, for the store keeps every attempt and a line for each of
// thousands a second helps nobody.
func (e *Engine) log(j *job, a *delivery.Attempt) {
	level := slog.LevelDebug
	if !a.Delivered {
		level = slog.LevelInfo
	}
	if !e.o.Logger.Enabled(e.wire, level) {
		return
	}
	e.o.Logger.LogAttrs(e.wire, level, "attempt",
		slog.String("endpoint", string(j.r.id)), slog.String("event", j.item.EventID), slog.String("type", string(j.item.Type)),
		slog.Int("attempt", a.N), slog.Int("status", a.Status), slog.String("step", string(a.Step)),
		slog.String("reason", a.Reason), slog.Float64("durationMs", float64(a.Duration.Microseconds())/1000))
}

// send makes the request of an attempt and fills in what became of it; b is
// nil unless the endpoint's tokens are ours to get. A token that the receiver
// refuses is replaced once, and the request is sent once more: same event,
// same attempt (RULES O4).
//
// The error is a *credential.Trouble, or says that the attempt was called off:
// then there was none.
func (e *Engine) send(ctx context.Context, c *configured, b *credential.Bearer, a *delivery.Attempt, it delivery.Item) (out result, err error) {
	at := time.Now()
	if c.mask != nil {
		return e.mail(ctx, c, a, it, at)
	}
	if !c.stamp(a, it, at) {
		return out, nil
	}
	if c.refused != nil {
		a.Step, a.Reason = delivery.Step(c.refused.Step), c.refused.Reason
		return out, nil
	}
	resp, err := e.request(ctx, c, b, a, it, c.timeout)
	also := ""
	if err == nil && b != nil && resp.Status == http.StatusUnauthorized {
		left := max(c.timeout-time.Since(at), leastAgain)
		fresh, x, trouble := c.tokens.Renew(ctx, b)
		a.Token = exchange(x)
		switch {
		case errors.Is(trouble, credential.ErrRefused):
			also = "; so it did to the tokens before, and no other is fetched for a while"
		case trouble != nil:
			return out, trouble
		default:
			b, also = fresh, "; so it did to a fresh token"
			if resp, err = e.request(ctx, c, b, a, it, left); err == nil && resp.Status == http.StatusUnauthorized {
				c.tokens.Refused()
			}
		}
	}
	if err != nil {
		fill(a, err)
		if errors.Is(err, context.Canceled) {
			return out, err
		}
		return out, nil
	}
	a.Status, a.Step = resp.Status, delivery.StepResponse
	a.Response = c.kept(resp, b)
	switch out.verdict = delivery.Judge(resp.Status); out.verdict {
	case delivery.Success:
		a.Delivered = true
		if b != nil {
			c.tokens.Accepted()
		}
	case delivery.Gone:
		a.Reason = "the receiver answered 410 Gone: the endpoint is retired"
	default:
		a.Reason = "the receiver answered " + strconv.Itoa(resp.Status)
		if text := http.StatusText(resp.Status); text != "" {
			a.Reason += " " + text
		}
		switch {
		case resp.Status >= 300 && resp.Status <= 399:
			a.Reason += "; redirects are not followed"
		case resp.Status == http.StatusUnauthorized:
			a.Reason += also
		}
		out.asked = delivery.RetryAfter(resp.Status, resp.RetryAfter, time.Now())
	}
	return out, nil
}

// stamp signs an attempt's request; false: it cannot be.
func (c *configured) stamp(a *delivery.Attempt, it delivery.Item, at time.Time) bool {
	a.Timestamp = at.Unix()
	sig, err := c.sign(at, it.EventID, it.Body)
	if err != nil {
		a.Step, a.Reason = delivery.StepRequest, "the request cannot be signed"
		return false
	}
	a.Signature = sig
	return true
}

// request sends the request of an attempt, once.
func (e *Engine) request(ctx context.Context, c *configured, b *credential.Bearer, a *delivery.Attempt, it delivery.Item, timeout time.Duration) (*egress.Response, error) {
	h := e.header(c, a, it)
	if b != nil {
		b.Apply(h)
	}
	return e.o.Client.Do(ctx, &egress.Request{
		Target: c.prepared.Target(), Header: h, Body: it.Body, Timeout: timeout, Identity: c.prepared.Identity(),
	})
}

// fill tells in the attempt why there was no answer.
func fill(a *delivery.Attempt, err error) {
	a.Step, a.Reason = delivery.StepRequest, "the request could not be sent"
	if f, ok := errors.AsType[*egress.Error](err); ok {
		a.Step, a.Reason = delivery.Step(f.Step), f.Reason
	}
}

// header returns the request's fields, spelled as CONTRACT 7 has them. Their
// values share one array.
func (e *Engine) header(c *configured, a *delivery.Attempt, it delivery.Item) http.Header {
	h := make(http.Header, 12)
	values := make([]string, 0, 10)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("Content-Type", "application/json")
	set("User-Agent", e.agent)
	set("webhook-id", it.EventID)
	set("webhook-timestamp", strconv.FormatInt(a.Timestamp, 10))
	set("webhook-signature", a.Signature)
	set(delivery.HeaderSubject, it.Subject)
	set(delivery.HeaderSequence, strconv.FormatInt(it.Sequence, 10))
	set(delivery.HeaderAttempt, strconv.Itoa(a.N))
	set(delivery.HeaderInteraction, a.InteractionID)
	if a.Replay {
		set(delivery.HeaderReplay, "true")
	}
	c.prepared.Apply(h)
	return h
}

// kept is what is kept of an answer, the endpoint's secrets masked.
func (c *configured) kept(resp *egress.Response, b *credential.Bearer) *delivery.Response {
	mask := c.prepared.Mask
	if b != nil {
		mask = b.Mask
	}
	out := &delivery.Response{Status: resp.Status, Body: mask(resp.Body)}
	if len(resp.Header) > 0 {
		out.Headers = make([]delivery.Header, len(resp.Header))
		for i, h := range resp.Header {
			out.Headers[i] = delivery.Header{Name: mask(h.Name), Value: mask(h.Value)}
		}
	}
	return out
}

// Test sends a webhook.test to the endpoint now, whatever its status, and
// tells what was sent and answered, secrets masked. A token is fetched when
// there is none, also where a failed request for one makes deliveries wait. It
// is no delivery: nothing is recorded, and no lane is blocked. The error is
// ctx's.
//
// Source: CONTRACT 5 and 9.
func (e *Engine) Test(ctx context.Context, ep subscription.Endpoint) (delivery.Trial, error) {
	e.mu.Lock()
	c := e.configure(ep, delivery.Hold{})
	e.mu.Unlock()
	at := now()
	it := delivery.Item{EventID: id.New(id.Event), Subject: string(ep.ID), Sequence: 0, Body: delivery.TestBody(at)}
	a := delivery.Attempt{N: 1, At: at, Config: ep.Version, InteractionID: id.Interaction()}
	start := time.Now()
	if err := e.try(ctx, c, &a, it); err != nil {
		return delivery.Trial{}, ctx.Err()
	}
	shown := delivery.NewShown(ep.MaskedURL(), ep.MaskedHeaders())
	d := delivery.Detail{View: delivery.View{EventID: it.EventID, Subject: it.Subject}, Body: it.Body}
	return delivery.Trial{
		Delivered: a.Delivered, Step: a.Step, Duration: time.Since(start), Reason: a.Reason, Token: a.Token,
		Request: d.Request(delivery.AttemptView{Attempt: a, Shown: shown}, e.agent), Response: a.Response,
	}, nil
}

// try makes the request of a test, its token first. The error is ctx's.
func (e *Engine) try(ctx context.Context, c *configured, a *delivery.Attempt, it delivery.Item) error {
	if !c.stamp(a, it, time.Now()) { // what is not sent is shown all the same
		return nil
	}
	if c.hold != "" {
		a.Step, a.Reason = delivery.StepToken, c.hold
		return nil
	}
	var b *credential.Bearer
	var x *credential.Exchange
	var err error
	if c.tokens != nil {
		b, x, err = c.tokens.Get(ctx, true)
		e.mu.Lock()
		if r := e.runners[delivery.Endpoint(c.endpoint.ID)]; r != nil {
			e.kick(r) // it may go on now, or has to wait
		}
		e.mu.Unlock()
	}
	if err == nil {
		_, err = e.send(ctx, c, b, a, it)
	}
	if a.Token == nil {
		a.Token = exchange(x)
	}
	if t, ok := errors.AsType[*credential.Trouble](err); ok {
		a.Step, a.Reason, a.Token = delivery.StepToken, t.Reason, exchange(t.Exchange)
		return nil
	}
	return err
}
