package api

import (
	"net/http"

	"github.com/consentwire/consentwire/internal/fault"
)

type stateBody struct {
	Status string `json:"status"`
}

func (s *server) alive(*call) (reply, error) { return ok(stateBody{"alive"}) }

func (s *server) readiness(c *call) (reply, error) {
	if s.Ready != nil {
		if err := s.Ready(c.ctx()); err != nil {
			return reply{}, fault.Wrap(fault.Unavailable, "not_ready", "The server is not ready: its store cannot be used or its engine does not run.", err)
		}
	}
	return ok(stateBody{"ready"})
}

func (s *server) metrics(*call) (reply, error) {
	if s.Metrics == nil {
		return reply{}, errNoRoute()
	}
	return reply{handler: s.Metrics.Handler()}, nil
}

func (s *server) openAPI(*call) (reply, error) {
	return reply{status: http.StatusOK, raw: s.document}, nil
}
