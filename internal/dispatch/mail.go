package dispatch

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/smtp"
	"github.com/consentwire/consentwire/internal/subscription"
)

// mail hands over the mail that an event asks for, and fills in what became of
// it. The error says that the attempt was called off: then there was none.
func (e *Engine) mail(ctx context.Context, c *configured, out *result, it *delivery.Item, at time.Time) error {
	a := &out.attempt
	a.Timestamp = at.Unix()
	m, err := mail.Parse(it.Body)
	if err != nil {
		out.verdict = delivery.Refused
		a.Step, a.Reason = delivery.StepRequest, "the event holds no mail"
		return nil
	}
	o, err := e.o.Mailer.Send(ctx, &smtp.Mail{Sender: c.endpoint.Mail, Message: m, At: at, Timeout: c.timeout})
	if err != nil {
		return err
	}
	a.Step, a.Status, a.Reason = o.Step, o.Status, o.Reason
	a.Delivered = o.Verdict == delivery.Success
	if o.Status != 0 {
		a.Response = &delivery.Response{Status: o.Status, Body: c.mask(o.Reply)}
	}
	out.verdict = o.Verdict
	out.served = o.AboutMail && o.Status != 0
	return nil
}

// TestMail hands a mail over to a mail sender's server now, whatever the
// sender's status, and tells what was sent and answered, secrets masked. It is
// no delivery: nothing is recorded, and no lane is blocked. The error is ctx's.
func (e *Engine) TestMail(ctx context.Context, ep subscription.Endpoint, to string) (delivery.Trial, error) {
	e.mu.Lock()
	c := e.configure(ep, delivery.Hold{})
	e.mu.Unlock()
	at := now()
	body := mail.Trial(ep.Application, to, id.New(id.Mail))
	out := result{attempt: delivery.Attempt{N: 1, At: at, Config: ep.Version}}
	a := &out.attempt
	start := time.Now()
	if err := e.mail(ctx, c, &out, &delivery.Item{Type: event.CitizenEmail, Body: body}, at); err != nil {
		return delivery.Trial{}, ctx.Err()
	}
	d := delivery.Detail{View: delivery.View{MailSender: true}, Body: body}
	shown := delivery.NewShown(ep.MaskedURL(), ep.MaskedHeaders())
	return delivery.Trial{
		Delivered: a.Delivered, Step: a.Step, Duration: time.Since(start), Reason: a.Reason,
		Request: d.Request(delivery.AttemptView{Attempt: *a, Shown: shown}, e.agent), Response: a.Response,
	}, nil
}
