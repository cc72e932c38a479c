package api

import (
	"net/url"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// citizenBody is a citizen without what only a read of the one citizen shows:
// its links and parts, and the e-mail addresses, which are kept apart.
type citizenBody struct {
	CitizenID   string `json:"citizenId"`
	ExternalRef string `json:"externalRef,omitempty"`
	Language    string `json:"language,omitempty"`
	Version     int64  `json:"version"`
	CreatedAt   string `json:"createdAt"`
	UpdatedAt   string `json:"updatedAt"`
}

type citizenDetailBody struct {
	citizenBody
	Emails []emailBody `json:"emails"`
	tiesBody
}

type emailBody struct {
	Address string `json:"address"`
}

func citizenOf(c store.Citizen) citizenBody {
	return citizenBody{string(c.ID), c.ExternalRef, c.Language, c.Version, event.Format(c.CreatedAt), event.Format(c.UpdatedAt)}
}

func citizenLocation(id permission.CitizenID) string {
	return "/v1/citizens/" + url.PathEscape(string(id))
}

// readCitizen reads a whole citizen.
func readCitizen(o *body.Object) app.CitizenDraft {
	return app.CitizenDraft{
		ID: o.OptStr("citizenId"), ExternalRef: o.OptStr("externalRef"), Emails: readEmails(o), Language: o.OptStr("language"),
	}
}

func readEmails(o *body.Object) []string {
	var out []string
	for _, e := range o.Objects("emails", body.Optional) {
		out = append(out, e.Str("address", body.Required))
	}
	return out
}

// patchCitizen reads a merge patch (RFC 7396) of a citizen: null takes a
// member away.
func patchCitizen(o *body.Object, cur store.Citizen) app.CitizenDraft {
	d := readCitizen(o)
	if o.IsNull("citizenId") {
		o.Refuse("citizenId", permission.CodeImmutable, "It names the citizen and never changes.")
	}
	if !o.Has("externalRef") && !o.IsNull("externalRef") && cur.ExternalRef != "" {
		d.ExternalRef = &cur.ExternalRef
	}
	if !o.Has("language") && !o.IsNull("language") && cur.Language != "" {
		d.Language = &cur.Language
	}
	if !o.Has("emails") && !o.IsNull("emails") {
		d.Emails = cur.Emails
	}
	return d
}

func (s *server) createCitizen(c *call) (reply, error) {
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	d := readCitizen(o)
	if o.Err() != nil {
		return reply{}, further(o, d.Check(store.Citizen{}))
	}
	made, err := s.App.CreateCitizen(c.ctx(), c.app, d)
	if err != nil {
		return reply{}, err
	}
	return created(citizenOf(made), citizenLocation(made.ID))
}

// editCitizen writes what draft makes of a body and the citizen as it is.
func (s *server) editCitizen(draft func(*body.Object, store.Citizen) app.CitizenDraft) handler {
	return func(c *call) (reply, error) {
		id := permission.CitizenID(c.id())
		if _, err := s.Store.Citizen(c.ctx(), c.app, id); err != nil {
			return reply{}, err
		}
		n, err := c.json()
		if err != nil {
			return reply{}, err
		}
		next, err := s.App.EditCitizen(c.ctx(), c.app, id, func(cur store.Citizen) (app.CitizenDraft, error) {
			o, err := body.NewObject(n)
			if err != nil {
				return app.CitizenDraft{}, err
			}
			d := draft(o, cur)
			if o.Err() != nil {
				return d, further(o, d.Check(cur))
			}
			return d, nil
		})
		if err != nil {
			return reply{}, err
		}
		return ok(citizenOf(next))
	}
}

func replaceCitizen(o *body.Object, _ store.Citizen) app.CitizenDraft { return readCitizen(o) }

func (s *server) readCitizen(c *call) (reply, error) {
	found, err := s.App.Tied(c.ctx(), c.app, permission.CitizenID(c.id()))
	if err != nil {
		return reply{}, err
	}
	out := citizenDetailBody{citizenOf(found.Citizen), []emailBody{}, tiesOf(found)}
	for _, a := range found.Emails {
		out.Emails = append(out.Emails, emailBody{a})
	}
	return ok(out)
}

func (s *server) listCitizens(c *call) (reply, error) {
	if ref := c.query["externalRef"]; ref != "" {
		return s.citizenByRef(c, ref)
	}
	cs, next, err := s.Store.Citizens(c.ctx(), c.app, store.CitizenQuery{Limit: c.number("limit"), After: c.query["after"]})
	if err != nil {
		return reply{}, err
	}
	out := streamBody[citizenBody]{Items: []citizenBody{}, Next: next}
	for _, x := range cs {
		out.Items = append(out.Items, citizenOf(x))
	}
	return ok(out)
}

// citizenByRef lists the one citizen of an externalRef, or none.
func (s *server) citizenByRef(c *call, ref string) (reply, error) {
	out := streamBody[citizenBody]{Items: []citizenBody{}}
	found, err := s.Store.CitizenByRef(c.ctx(), c.app, ref)
	switch {
	case err == nil:
		out.Items = append(out.Items, citizenOf(found))
	case fault.KindOf(err) != fault.NotFound:
		return reply{}, err
	}
	return ok(out)
}
