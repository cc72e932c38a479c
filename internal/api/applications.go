package api

import (
	"net/http"
	"net/url"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/event"
)

type applicationBody struct {
	ApplicationID string           `json:"applicationId"`
	Name          string           `json:"name"`
	CreatedAt     string           `json:"createdAt"`
	UpdatedAt     string           `json:"updatedAt"`
	Credentials   []credentialBody `json:"credentials,omitempty"`
}

type credentialBody struct {
	ClientID  string `json:"clientId"`
	CreatedAt string `json:"createdAt"`
}

// applicationCreatedBody holds the client secret, this once.
type applicationCreatedBody struct {
	ApplicationID string `json:"applicationId"`
	Name          string `json:"name"`
	ClientID      string `json:"clientId"`
	ClientSecret  string `json:"clientSecret"`
	CreatedAt     string `json:"createdAt"`
	UpdatedAt     string `json:"updatedAt"`
}

// credentialCreatedBody holds the client secret, this once.
type credentialCreatedBody struct {
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
	CreatedAt    string `json:"createdAt"`
}

// pageBody is a list that is paged by offset.
type pageBody[T any] struct {
	Items []T `json:"items"`
	Total int `json:"total"`
}

// streamBody is a list that is paged by what was seen last. Next is absent at
// the end.
type streamBody[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

func applicationOf(a access.Application) applicationBody {
	return applicationBody{
		ApplicationID: string(a.ID), Name: a.Name,
		CreatedAt: event.Format(a.CreatedAt), UpdatedAt: event.Format(a.UpdatedAt),
	}
}

func (s *server) createApplication(c *call) (reply, error) {
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	name := o.Str("name", body.Required)
	if err := o.Err(); err != nil {
		return reply{}, err
	}
	a, cred, sec, err := s.App.CreateApplication(c.ctx(), name)
	if err != nil {
		return reply{}, err
	}
	return created(applicationCreatedBody{
		ApplicationID: string(a.ID), Name: a.Name, ClientID: cred.ClientID, ClientSecret: sec.Reveal(),
		CreatedAt: event.Format(a.CreatedAt), UpdatedAt: event.Format(a.UpdatedAt),
	}, "/v1/applications/"+url.PathEscape(string(a.ID)))
}

func (s *server) listApplications(c *call) (reply, error) {
	as, total, err := s.Store.Applications(c.ctx(), c.number("offset"), c.number("limit"))
	if err != nil {
		return reply{}, err
	}
	out := pageBody[applicationBody]{Items: []applicationBody{}, Total: total}
	for _, a := range as {
		out.Items = append(out.Items, applicationOf(a))
	}
	return ok(out)
}

func (s *server) readApplication(c *call) (reply, error) {
	id := access.ID(c.id())
	a, err := s.Store.Application(c.ctx(), id)
	if err != nil {
		return reply{}, err
	}
	creds, err := s.Store.Credentials(c.ctx(), id)
	if err != nil {
		return reply{}, err
	}
	out := applicationOf(a)
	for _, k := range creds {
		out.Credentials = append(out.Credentials, credentialBody{ClientID: k.ClientID, CreatedAt: event.Format(k.CreatedAt)})
	}
	return ok(out)
}

func (s *server) patchApplication(c *call) (reply, error) {
	id := access.ID(c.id())
	if _, err := s.Store.Application(c.ctx(), id); err != nil {
		return reply{}, err
	}
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	name := o.OptStr("name")
	if o.IsNull("name") {
		o.Refuse("name", body.CodeRequired, "An application cannot be without a name.")
	}
	if err := o.Err(); err != nil {
		return reply{}, err
	}
	a, err := s.App.RenameApplication(c.ctx(), id, name)
	if err != nil {
		return reply{}, err
	}
	return ok(applicationOf(a))
}

func (s *server) deleteApplication(c *call) (reply, error) {
	if err := s.App.DeleteApplication(c.ctx(), access.ID(c.id())); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *server) addCredential(c *call) (reply, error) {
	id := access.ID(c.id())
	if _, err := s.Store.Application(c.ctx(), id); err != nil {
		return reply{}, err
	}
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	cred, sec, err := s.App.AddCredential(c.ctx(), id)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: credentialCreatedBody{
		ClientID: cred.ClientID, ClientSecret: sec.Reveal(), CreatedAt: event.Format(cred.CreatedAt),
	}}, nil
}

func (s *server) removeCredential(c *call) (reply, error) {
	if err := s.App.RemoveCredential(c.ctx(), access.ID(c.id()), c.r.PathValue("clientId")); err != nil {
		return reply{}, err
	}
	return noContent()
}
