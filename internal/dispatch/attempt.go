package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"github.com/consentwire/consentwire/internal/credential"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// configured is one version of an endpoint's configuration, made ready. Its
// signers and its limiter are guarded by the engine's lock.
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
	may      func() bool              // of a delivery: it may be written; nil: any may
	mask     func(text string) string // of a mail sender, which has nothing prepared; nil: it is none

	signers []*signing // free ones
}

// signing signs with the secrets of one version of a configuration, one body at
// a time.
type signing struct {
	*signature.Signer
	until time.Time // when the first of its secrets expires; zero: none does
}

func (s *signing) good(at time.Time) bool {
	return s != nil && (s.until.IsZero() || at.Before(s.until))
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

// share leaves to one part its share of what the owner allows.
func (c *configured) share(part, parts int) {
	if parts == 1 {
		return
	}
	n := c.inFlight / parts
	if part <= c.inFlight%parts {
		n++
	}
	c.inFlight = max(1, n)
	if c.limiter != nil {
		c.limiter.SetLimit(c.limiter.Limit() / rate.Limit(parts))
	}
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

// signer takes a free signer that is good at now; nil: there is none, and who
// needs one makes it.
func (c *configured) signer(now time.Time) *signing {
	for n := len(c.signers); n > 0; n-- {
		s := c.signers[n-1]
		c.signers[n-1] = nil
		if c.signers = c.signers[:n-1]; s.good(now) {
			return s
		}
	}
	return nil
}

// newSigning makes a signer with every secret that signs at at.
func (c *configured) newSigning(at time.Time) (*signing, error) {
	out := &signing{}
	lasts := func(end time.Time) {
		if !end.IsZero() && (out.until.IsZero() || end.Before(out.until)) {
			out.until = end
		}
	}
	var secrets []signature.Secret
	for _, ss := range c.endpoint.SigningAt(at) {
		s, err := signature.ParseSecret(ss.Secret.Reveal())
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, s)
		lasts(ss.ExpiresAt)
	}
	s, err := signature.NewSigner(secrets...)
	if err != nil {
		return nil, err
	}
	if c.endpoint.Asymmetric {
		var keys []signature.PrivateKey
		for _, k := range subscription.KeysAt(c.endpoint.SigningKeys, at) {
			key, err := signature.ParsePrivateKey(k.PrivateKey.Reveal())
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
			lasts(k.ExpiresAt)
		}
		s = s.WithKeys(keys...)
	}
	out.Signer = s
	return out, nil
}

// work sends until the engine stops, or enough others wait for something to
// send.
func (e *Engine) work() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for now := time.Now(); ; now = time.Now() {
		j := e.next(now)
		if j == nil {
			if len(e.dirty) > 0 && e.idle(now) {
				e.poked()
			}
			if !e.rest() {
				return
			}
			continue
		}
		e.mu.Unlock()
		done, trouble := e.attempt(j)
		now = time.Now()
		e.mu.Lock()
		r := j.r
		if j.sign != nil {
			j.conf.signers = append(j.conf.signers, j.sign)
			j.sign = nil
		}
		if trouble != nil {
			e.putBack(j, trouble, now)
		} else {
			r.finish(j, now, done)
		}
		e.reopen(r)
		e.ready(r, now)
	}
}

// next takes the next delivery of the runner whose turn it is.
func (e *Engine) next(now time.Time) *job {
	if e.stopping {
		return nil
	}
	for {
		r := e.take()
		if r == nil {
			e.startable() // it sees to those that are quick no more
			return nil
		}
		j := r.pick(now)
		if more := e.ready(r, now); (more || j != nil) && e.startable() {
			e.hire()
		}
		if j != nil {
			return j
		}
	}
}

// attempt makes one; done is false when it was called off, or when no token was
// to be had, which is no attempt.
func (e *Engine) attempt(j *job) (done bool, trouble *credential.Trouble) {
	e.o.Metrics.AttemptStarted()
	start := time.Now()
	a := &j.attempt
	*a = delivery.Attempt{
		Seq: j.item.Seq, Subject: j.item.Subject, N: j.n(), At: start.UTC().Truncate(time.Millisecond), Replay: j.exc.Replay,
		Config: j.conf.endpoint.Version, InteractionID: id.Interaction(),
	}
	err := e.send(e.sending(), j.conf, j.bearer, &j.sign, start, &j.result, &j.item)
	a.Duration = time.Since(start)
	e.o.Metrics.AttemptEnded(string(a.Step), a.Status, a.Duration)
	if err != nil {
		t, _ := errors.AsType[*credential.Trouble](err)
		return false, t
	}
	if j.verdict == delivery.Success {
		e.o.Metrics.Delivered(a.At.Add(a.Duration).Sub(j.item.RecordedAt))
	}
	e.log(j, a)
	return true, nil
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

// send makes the request of an attempt at at and fills in what became of it; b is
// nil unless the endpoint's tokens are ours to get. A token that the receiver
// refuses is replaced once, and the request is sent once more: same event,
// same attempt (RULES O4).
//
// The error is a *credential.Trouble, or says that the attempt was called off:
// then there was none.
func (e *Engine) send(ctx context.Context, c *configured, b *credential.Bearer, s **signing, at time.Time, out *result, it *delivery.Item) error {
	if c.mask != nil {
		return e.mail(ctx, c, out, it, at)
	}
	a := &out.attempt
	if !c.stamp(s, a, it, at) {
		return nil
	}
	if c.refused != nil {
		a.Step, a.Reason = delivery.Step(c.refused.Step), c.refused.Reason
		return nil
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
			return trouble
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
			return err
		}
		return nil
	}
	a.Status, a.Step = resp.Status, delivery.StepResponse
	c.keep(out, resp, b)
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
	return nil
}

// stamp signs an attempt's request with a signer that is good at at, s or
// another that takes its place; false: it cannot be signed.
func (c *configured) stamp(s **signing, a *delivery.Attempt, it *delivery.Item, at time.Time) bool {
	a.Timestamp = at.Unix()
	var err error
	if !(*s).good(at) {
		*s, err = c.newSigning(at)
	}
	if err == nil {
		a.Signature, err = (*s).Sign(it.EventID, a.Timestamp, it.Body)
	}
	if err != nil {
		a.Step, a.Reason = delivery.StepRequest, "the request cannot be signed"
		return false
	}
	return true
}

// request sends the request of an attempt, once.
func (e *Engine) request(ctx context.Context, c *configured, b *credential.Bearer, a *delivery.Attempt, it *delivery.Item, timeout time.Duration) (*egress.Response, error) {
	h := e.header(c, a, it)
	if b != nil {
		b.Apply(h)
	}
	return e.o.Client.Do(ctx, &egress.Request{
		Target: c.prepared.Target(), Header: h, Body: it.Body, Timeout: timeout, Identity: c.prepared.Identity(), May: c.may,
	})
}

// fill tells in the attempt why there was no answer.
func fill(a *delivery.Attempt, err error) {
	a.Step, a.Reason = delivery.StepRequest, "the request could not be sent"
	if f, ok := errors.AsType[*egress.Error](err); ok {
		a.Step, a.Reason = delivery.Step(f.Step), f.Reason
	}
}

// contentType is the value of every delivery's field. Source: CONTRACT 7.
var contentType = []string{"application/json"}

// header returns the request's fields, spelled as CONTRACT 7 has them. The
// values that differ from request to request share one array.
func (e *Engine) header(c *configured, a *delivery.Attempt, it *delivery.Item) http.Header {
	h := make(http.Header, 12)
	values := make([]string, 0, 8)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	h["Content-Type"] = contentType
	h["User-Agent"] = e.agentField
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

// keep takes over what is kept of an answer, the endpoint's secrets masked.
func (c *configured) keep(out *result, resp *egress.Response, b *credential.Bearer) {
	out.headers = out.headers[:0]
	if b != nil {
		for _, h := range resp.Header {
			out.headers = append(out.headers, delivery.Header{Name: b.Mask(h.Name), Value: b.Mask(h.Value)})
		}
		out.response = delivery.Response{Status: resp.Status, Headers: out.headers, Body: b.Mask(resp.Body)}
	} else {
		for _, h := range resp.Header {
			out.headers = append(out.headers, delivery.Header{Name: c.prepared.Mask(h.Name), Value: c.prepared.Mask(h.Value)})
		}
		out.response = delivery.Response{Status: resp.Status, Headers: out.headers, Body: c.prepared.Mask(resp.Body)}
	}
	out.attempt.Response = &out.response
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
	out := result{attempt: delivery.Attempt{N: 1, At: at, Config: ep.Version, InteractionID: id.Interaction()}}
	a := &out.attempt
	start := time.Now()
	if err := e.try(ctx, c, &out, &it); err != nil {
		return delivery.Trial{}, ctx.Err()
	}
	shown := delivery.NewShown(ep.MaskedURL(), ep.MaskedHeaders())
	d := delivery.Detail{View: delivery.View{EventID: it.EventID, Subject: it.Subject}, Body: it.Body}
	return delivery.Trial{
		Delivered: a.Delivered, Step: a.Step, Duration: time.Since(start), Reason: a.Reason, Token: a.Token,
		Request: d.Request(delivery.AttemptView{Attempt: *a, Shown: shown}, e.agent), Response: a.Response,
	}, nil
}

// try makes the request of a test, its token first. The error is ctx's.
func (e *Engine) try(ctx context.Context, c *configured, out *result, it *delivery.Item) error {
	a := &out.attempt
	var s *signing
	if !c.stamp(&s, a, it, time.Now()) { // what is not sent is shown all the same
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
		for _, r := range e.runnersOf(delivery.Endpoint(c.endpoint.ID)) {
			e.kick(r) // it may go on now, or has to wait
		}
		e.mu.Unlock()
	}
	if err == nil {
		err = e.send(ctx, c, b, &s, time.Now(), out, it)
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
