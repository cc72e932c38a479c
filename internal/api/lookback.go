package api

import (
	"encoding/json"
	"net/http"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/wire"
)

type eventBody struct {
	EventID       string          `json:"eventId"`
	Type          string          `json:"type"`
	Subject       string          `json:"subject"`
	Sequence      int64           `json:"sequence"`
	ApplicationID string          `json:"applicationId"`
	OccurredAt    string          `json:"occurredAt"`
	RecordedAt    string          `json:"recordedAt"`
	Body          json.RawMessage `json:"body"` // null: it was erased
	Erased        bool            `json:"erased,omitempty"`
}

func eventOf(e event.Event) eventBody {
	return eventBody{
		EventID: e.ID, Type: string(e.Type), Subject: e.Subject, Sequence: e.Sequence, ApplicationID: e.Application,
		OccurredAt: event.Format(e.OccurredAt), RecordedAt: event.Format(e.RecordedAt), Body: e.Body,
		Erased: e.Erased,
	}
}

func (s *server) listEvents(c *call) (reply, error) {
	q := store.EventQuery{Subject: c.query["subject"], Limit: c.number("limit"), After: c.query["after"]}
	if name := c.query["type"]; name != "" {
		if q.Type = event.Parse(name); q.Type == "" {
			return reply{}, fault.At(fault.Invalid, body.CodeInvalidValue, "type", "This is no event type; /docs lists them.")
		}
	}
	es, next, err := s.Store.Events(c.ctx(), c.app, q)
	if err != nil {
		return reply{}, err
	}
	out := streamBody[eventBody]{Items: []eventBody{}, Next: next}
	for _, e := range es {
		out.Items = append(out.Items, eventOf(e))
	}
	return ok(out)
}

func (s *server) readEvent(c *call) (reply, error) {
	e, err := s.Store.Event(c.ctx(), c.app, c.id())
	if err != nil {
		return reply{}, err
	}
	return ok(eventOf(e))
}

type deliveryBody struct {
	DeliveryID     string        `json:"deliveryId"`
	EventID        string        `json:"eventId"`
	SubscriptionID string        `json:"subscriptionId,omitempty"`
	InterceptorID  string        `json:"interceptorId,omitempty"`
	MailSenderID   string        `json:"mailSenderId,omitempty"`
	Type           string        `json:"type"`
	Subject        string        `json:"subject"`
	Sequence       int64         `json:"sequence"`
	Status         string        `json:"status"`
	AttemptCount   int           `json:"attemptCount"`
	NextAttemptAt  string        `json:"nextAttemptAt,omitempty"`
	DeliveredAt    string        `json:"deliveredAt,omitempty"`
	Reason         string        `json:"reason,omitempty"`
	CreatedAt      string        `json:"createdAt"`
	Erased         bool          `json:"erased,omitempty"`  // of one delivery only
	Attempts       []attemptBody `json:"attempts,omitzero"` // of one delivery only
}

type attemptBody struct {
	Attempt    int                `json:"attempt"`
	At         string             `json:"at"`
	DurationMs float64            `json:"durationMs"`
	Status     int                `json:"status,omitempty"`
	Step       string             `json:"step"`
	Reason     string             `json:"reason,omitempty"`
	Request    wire.RequestBody   `json:"request"`
	Response   *wire.ResponseBody `json:"response,omitempty"`
	Token      *wire.ExchangeBody `json:"token,omitempty"`
}

type trialBody struct {
	Delivered  bool               `json:"delivered"`
	Step       string             `json:"step"`
	DurationMs float64            `json:"durationMs"`
	Reason     string             `json:"reason,omitempty"`
	Request    wire.RequestBody   `json:"request"`
	Response   *wire.ResponseBody `json:"response,omitempty"`
	Token      *wire.ExchangeBody `json:"token,omitempty"`
}

func trialOf(t delivery.Trial) trialBody {
	return trialBody{
		Delivered: t.Delivered, Step: string(t.Step), DurationMs: wire.Milliseconds(t.Duration), Reason: t.Reason,
		Request: wire.Request(t.Request), Response: wire.Response(t.Response), Token: wire.Exchange(t.Token),
	}
}

func deliveryOf(v delivery.View) deliveryBody {
	b := deliveryBody{
		DeliveryID: v.ID, EventID: v.EventID, Type: string(v.Type), Subject: v.Subject, Sequence: v.Sequence,
		Status: string(v.Status), AttemptCount: v.AttemptCount, NextAttemptAt: when(v.NextAttemptAt),
		DeliveredAt: when(v.DeliveredAt), Reason: v.Reason, CreatedAt: event.Format(v.CreatedAt),
	}
	switch {
	case v.Interceptor:
		b.InterceptorID = string(v.Endpoint)
	case v.MailSender:
		b.MailSenderID = string(v.Endpoint)
	default:
		b.SubscriptionID = string(v.Endpoint)
	}
	return b
}

func (s *server) detailOf(d delivery.Detail) deliveryBody {
	b := deliveryOf(d.View)
	b.Erased = len(d.Body) == 0
	b.Attempts = []attemptBody{}
	agent := delivery.UserAgent(s.Version)
	for _, a := range d.Attempts {
		b.Attempts = append(b.Attempts, attemptBody{
			Attempt: a.N, At: event.Format(a.At), DurationMs: wire.Milliseconds(a.Duration), Status: a.Status,
			Step: string(a.Step), Reason: a.Reason, Request: wire.Request(d.Request(a, agent)), Response: wire.Response(a.Response),
			Token: wire.Exchange(a.Token),
		})
	}
	return b
}

func (s *server) listDeliveries(c *call) (reply, error) {
	q := store.DeliveryQuery{
		Status: delivery.Status(c.query["status"]), Subject: c.query["subject"], EventID: c.query["eventId"],
		From: c.instant("from"), To: c.instant("to"), Limit: c.number("limit"), After: c.query["after"],
	}
	for _, p := range []struct {
		name  string
		style subscription.Style
	}{{"subscriptionId", subscription.Subscription}, {"interceptorId", subscription.Interceptor}, {"mailSenderId", subscription.MailSender}} {
		id := c.query[p.name]
		switch {
		case id == "":
		case q.Endpoint != "":
			return reply{}, fault.At(fault.Invalid, "foreign_parameter", p.name, "Give one of subscriptionId, interceptorId and mailSenderId.")
		default:
			q.Endpoint, q.Style = subscription.ID(id), p.style
		}
	}
	if !q.From.IsZero() && !q.To.IsZero() && q.To.Before(q.From) {
		return reply{}, fault.At(fault.Invalid, body.CodeInvalidValue, "to", "The end must not come before the beginning.")
	}
	vs, next, err := s.Store.Deliveries(c.ctx(), c.app, q)
	if err != nil {
		return reply{}, err
	}
	out := streamBody[deliveryBody]{Items: []deliveryBody{}, Next: next}
	for _, v := range vs {
		out.Items = append(out.Items, deliveryOf(v))
	}
	return ok(out)
}

func (s *server) readDelivery(c *call) (reply, error) {
	d, err := s.Store.Delivery(c.ctx(), c.app, c.id())
	if err != nil {
		return reply{}, err
	}
	return ok(s.detailOf(d))
}

func (s *server) redeliver(c *call) (reply, error) {
	before, err := s.Store.Delivery(c.ctx(), c.app, c.id())
	if err != nil {
		return reply{}, err
	}
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	if err := s.App.TakeReplay(string(before.Endpoint)); err != nil {
		return reply{}, err
	}
	d, err := s.App.Redeliver(c.ctx(), c.app, c.id())
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusAccepted, body: s.detailOf(d)}, nil
}
