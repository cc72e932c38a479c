package api

import (
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/wire"
)

const senderPath = "/v1/mail-sender"

// senders is the third kind of endpoint, of which an application has one: its
// path names none, and the empty ID stands for it.
func senders() style {
	return style{
		of: subscription.MailSender, path: senderPath,
		show: func(e subscription.Endpoint, h delivery.Health) any { return wire.MailSender(e, h) },
	}
}

func (s *server) putSender(c *call) (reply, error) {
	n, err := c.json()
	if err != nil {
		return reply{}, err
	}
	e, made, err := s.App.PutSender(c.ctx(), c.app, func(cur subscription.Endpoint) (subscription.Endpoint, error) {
		return wire.ReplaceSender(n, cur, s.Host)
	})
	if err != nil {
		return reply{}, err
	}
	if made {
		return created(wire.MailSender(e, delivery.Health{}), senderPath)
	}
	return s.showEndpoint(c, senders(), e)
}

func (s *server) patchSender(c *call) (reply, error) {
	// A sender that is not there is 404 whatever the body says.
	if _, err := s.endpoint(c, senders()); err != nil {
		return reply{}, err
	}
	n, err := c.json()
	if err != nil {
		return reply{}, err
	}
	e, err := s.App.PatchSender(c.ctx(), c.app, func(cur subscription.Endpoint) (subscription.Endpoint, error) {
		return wire.PatchSender(n, cur, s.Host)
	})
	if err != nil {
		return reply{}, err
	}
	return s.showEndpoint(c, senders(), e)
}

func (s *server) deleteSender(c *call) (reply, error) {
	if err := s.App.DeleteSender(c.ctx(), c.app); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *server) testSender(c *call) (reply, error) {
	e, err := s.endpoint(c, senders())
	if err != nil {
		return reply{}, err
	}
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	to := o.Str("to", body.Required, body.Chars(1, subscription.MaxAddress),
		body.Where(subscription.IsAddress, subscription.CodeInvalidEmail, "The address must look like name@example.org."))
	if err := o.Err(); err != nil {
		return reply{}, err
	}
	if err := s.App.TakeTest(string(e.ID)); err != nil {
		return reply{}, err
	}
	t, err := s.Tester.TestMail(c.ctx(), e, to)
	if err != nil {
		return reply{}, err
	}
	return ok(trialOf(t))
}
