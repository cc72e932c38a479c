package api

import (
	"net/url"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/wire"
)

// style is one of the two ways to register an endpoint: the same operations,
// two spellings.
type style struct {
	of      subscription.Style
	path    string
	create  func(body.Node, subscription.URLCheck) (subscription.Endpoint, error)
	replace func(body.Node, subscription.Endpoint, subscription.URLCheck) (subscription.Endpoint, bool, error)
	show    func(subscription.Endpoint, delivery.Health) any
	showNew func(subscription.Endpoint) any
}

func subscriptions() style {
	return style{
		of: subscription.Subscription, path: "/v1/subscriptions",
		create:  wire.CreateSubscription,
		replace: wire.ReplaceSubscription,
		show:    func(e subscription.Endpoint, h delivery.Health) any { return wire.Subscription(e, h) },
		showNew: func(e subscription.Endpoint) any { return wire.SubscriptionCreated(e) },
	}
}

func interceptors() style {
	return style{
		of: subscription.Interceptor, path: "/api/smart-keys/interceptors",
		create: wire.CreateInterceptor,
		replace: func(n body.Node, cur subscription.Endpoint, check subscription.URLCheck) (subscription.Endpoint, bool, error) {
			e, err := wire.ReplaceInterceptor(n, cur, check)
			return e, false, err
		},
		show:    func(e subscription.Endpoint, h delivery.Health) any { return wire.Interceptor(e, h) },
		showNew: func(e subscription.Endpoint) any { return wire.InterceptorCreated(e) },
	}
}

func (s *server) createEndpoint(st style) handler {
	return func(c *call) (reply, error) {
		n, err := c.json()
		if err != nil {
			return reply{}, err
		}
		e, err := st.create(n, s.Check)
		if err != nil {
			return reply{}, err
		}
		e, err = s.App.CreateEndpoint(c.ctx(), c.app, e)
		if err != nil {
			return reply{}, err
		}
		return created(st.showNew(e), st.path+"/"+url.PathEscape(string(e.ID)))
	}
}

func (s *server) listEndpoints(st style) handler {
	return func(c *call) (reply, error) {
		es, total, err := s.Store.Endpoints(c.ctx(), c.app, store.EndpointQuery{
			Style: st.of, Status: c.query["status"], UpdateType: subscription.UpdateType(c.query["updateType"]),
			Offset: c.number("offset"), Limit: c.number("limit"),
		})
		if err != nil {
			return reply{}, err
		}
		out := pageBody[any]{Items: []any{}, Total: total}
		for _, e := range es {
			h, err := s.Store.Health(c.ctx(), c.app, e.ID)
			if fault.KindOf(err) == fault.NotFound {
				continue // deleted meanwhile
			}
			if err != nil {
				return reply{}, err
			}
			out.Items = append(out.Items, st.show(e, h))
		}
		return ok(out)
	}
}

// endpoint reads the endpoint that the path names.
func (s *server) endpoint(c *call, st style) (subscription.Endpoint, error) {
	return s.Store.Endpoint(c.ctx(), c.app, st.of, subscription.ID(c.id()))
}

// showEndpoint answers with an endpoint and how it does.
func (s *server) showEndpoint(c *call, st style, e subscription.Endpoint) (reply, error) {
	h, err := s.Store.Health(c.ctx(), c.app, e.ID)
	if err != nil {
		return reply{}, err
	}
	return ok(st.show(e, h))
}

func (s *server) readEndpoint(st style) handler {
	return func(c *call) (reply, error) {
		e, err := s.endpoint(c, st)
		if err != nil {
			return reply{}, err
		}
		return s.showEndpoint(c, st, e)
	}
}

// editEndpoint reads a request's body and applies it to the endpoint.
func (s *server) editEndpoint(st style, apply func(body.Node, subscription.Endpoint, subscription.URLCheck) (subscription.Endpoint, bool, error)) handler {
	return func(c *call) (reply, error) {
		// An unknown endpoint is 404 whatever the body says.
		if _, err := s.endpoint(c, st); err != nil {
			return reply{}, err
		}
		n, err := c.json()
		if err != nil {
			return reply{}, err
		}
		e, err := s.App.EditEndpoint(c.ctx(), c.app, st.of, subscription.ID(c.id()), func(cur subscription.Endpoint) (app.Edit, error) {
			want, discard, err := apply(n, cur, s.Check)
			return app.Edit{Endpoint: want, Discard: discard}, err
		})
		if err != nil {
			return reply{}, err
		}
		return s.showEndpoint(c, st, e)
	}
}

func (s *server) deleteEndpoint(st style) handler {
	return func(c *call) (reply, error) {
		if err := s.App.DeleteEndpoint(c.ctx(), c.app, st.of, subscription.ID(c.id())); err != nil {
			return reply{}, err
		}
		return noContent()
	}
}

func (s *server) testEndpoint(st style) handler {
	return func(c *call) (reply, error) {
		e, err := s.endpoint(c, st)
		if err != nil {
			return reply{}, err
		}
		if err := c.nothing(); err != nil {
			return reply{}, err
		}
		if err := s.App.TakeTest(string(e.ID)); err != nil {
			return reply{}, err
		}
		t, err := s.Tester.Test(c.ctx(), e)
		if err != nil {
			return reply{}, err
		}
		return ok(trialOf(t))
	}
}

type signingSecretBody struct {
	SigningSecret string `json:"signingSecret"`
}

func (s *server) rotateSecret(st style) handler {
	return func(c *call) (reply, error) {
		e, err := s.endpoint(c, st)
		if err != nil {
			return reply{}, err
		}
		if err := c.nothing(); err != nil {
			return reply{}, err
		}
		fresh, err := s.App.RotateSecret(c.ctx(), c.app, st.of, e.ID)
		if err != nil {
			return reply{}, err
		}
		return ok(signingSecretBody{fresh.Reveal()})
	}
}

// maxReplayIDs is how many events one replay may name. Ours: a longer list is
// better said as a span of time.
const maxReplayIDs = 1000

type replayBody struct {
	ReplayID string `json:"replayId"`
	Count    int    `json:"count"`
	Skipped  int    `json:"skipped,omitzero"`
}

func (s *server) replay(st style) handler {
	return func(c *call) (reply, error) {
		e, err := s.endpoint(c, st)
		if err != nil {
			return reply{}, err
		}
		r, err := readReplay(c)
		if err != nil {
			return reply{}, err
		}
		if err := s.App.TakeReplay(string(e.ID)); err != nil {
			return reply{}, err
		}
		job, err := s.App.Replay(c.ctx(), c.app, st.of, e.ID, r)
		if err != nil {
			return reply{}, err
		}
		return accepted(replayBody{ReplayID: job.ID, Count: job.Count, Skipped: job.Stale})
	}
}

// readReplay reads {"eventIds"} or {"from","to","status"?}, each with
// "includeStale".
func readReplay(c *call) (app.ReplayRequest, error) {
	o, err := c.fields()
	if err != nil {
		return app.ReplayRequest{}, err
	}
	var r app.ReplayRequest
	r.IncludeStale = o.Bool("includeStale", body.Optional)
	byID := o.Has("eventIds")
	byTime := o.Has("from") || o.Has("to") || o.Has("status")
	r.EventIDs = o.Strings("eventIds", body.Optional, body.Chars(1, 50))
	r.From, r.To = o.Time("from", body.Optional), o.Time("to", body.Optional)
	r.Status = delivery.Status(o.Str("status", body.Optional, body.OneOf(statuses()...)))
	switch {
	case byID && byTime:
		o.Refuse("eventIds", "foreign_member", "Choose by eventIds or by from and to, not by both.")
	case byID:
		switch n := len(r.EventIDs); {
		case r.EventIDs == nil: // of the wrong type, which is noted
		case n == 0:
			o.Refuse("eventIds", body.CodeTooShort, "Name at least one event.")
		case n > maxReplayIDs:
			o.Refuse("eventIds", body.CodeTooMany, "Name at most 1000 events.")
		}
	case byTime:
		if !o.Has("from") {
			o.Refuse("from", body.CodeRequired, "A span of time needs its beginning, which is inside.")
		}
		if !o.Has("to") {
			o.Refuse("to", body.CodeRequired, "A span of time needs its end, which is outside.")
		}
		if !r.From.IsZero() && !r.To.IsZero() && r.To.Before(r.From) {
			o.Refuse("to", body.CodeInvalidValue, "The end must not come before the beginning.")
		}
	default:
		o.Refuse("eventIds", body.CodeRequired, "Choose what to send again: eventIds, or from and to.")
	}
	return r, o.Err()
}

func statuses() []string {
	var out []string
	for _, st := range delivery.Statuses() {
		out = append(out, string(st))
	}
	return out
}
