package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
)

type (
	templateBody struct {
		Template  string `json:"template"`
		Language  string `json:"language"`
		Subject   string `json:"subject"`
		Text      string `json:"text"`
		HTML      string `json:"html"`
		Own       bool   `json:"own"` // the application's, not ours
		UpdatedAt string `json:"updatedAt,omitempty"`
	}
	previewBody struct {
		Template string `json:"template"`
		Language string `json:"language"` // the one that is used
		Subject  string `json:"subject"`
		Text     string `json:"text"`
		HTML     string `json:"html"`
	}
)

func templateOf(t mail.Template) templateBody {
	return templateBody{string(t.Name), t.Language, t.Subject, t.Text, t.HTML, !t.UpdatedAt.IsZero(), when(t.UpdatedAt)}
}

// template returns the name and the language in the path. A name that no mail
// has is fault.NotFound.
func (c *call) template() (mail.Name, string, error) {
	name := mail.Name(c.id())
	if !slices.Contains(mail.Names(), name) {
		return "", "", fault.New(fault.NotFound, "not_found", "There is no such template.")
	}
	return name, c.r.PathValue("language"), nil
}

func readTemplate(o *body.Object) mail.Draft {
	return mail.Draft{Subject: o.OptStr("subject"), Text: o.OptStr("text"), HTML: o.OptStr("html")}
}

func (s *server) listTemplates(c *call) (reply, error) {
	own, err := s.Store.Templates(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	var all []templateBody
	for _, t := range mail.All(own) {
		all = append(all, templateOf(t))
	}
	return ok(pageOf(c, all))
}

func (s *server) readTemplate(c *call) (reply, error) {
	name, language, err := c.template()
	if err != nil {
		return reply{}, err
	}
	own, err := s.Store.Templates(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	t, err := mail.Find(own, name, language)
	if err != nil {
		return reply{}, err
	}
	return ok(templateOf(t))
}

// putTemplate writes the application's own template. Faults of shape and of
// the rules are told together.
func (s *server) putTemplate(c *call) (reply, error) {
	name, language, err := c.template()
	if err != nil {
		return reply{}, err
	}
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	d := readTemplate(o)
	if o.Err() != nil {
		_, fs := d.Template(name, language, time.Time{})
		return reply{}, further(o, fs)
	}
	t, err := s.App.PutTemplate(c.ctx(), c.app, name, language, d)
	if err != nil {
		return reply{}, err
	}
	return ok(templateOf(t))
}

func (s *server) deleteTemplate(c *call) (reply, error) {
	name, language, err := c.template()
	if err != nil {
		return reply{}, err
	}
	if err := s.App.DeleteTemplate(c.ctx(), c.app, name, language); err != nil {
		return reply{}, err
	}
	return noContent()
}

// previewTemplate fills a template in with an example: the one in the body
// if there is one, which nobody keeps, else the one that would be used.
func (s *server) previewTemplate(c *call) (reply, error) {
	name, language, err := c.template()
	if err != nil {
		return reply{}, err
	}
	o, err := c.optional()
	if err != nil {
		return reply{}, err
	}
	d := readTemplate(o)
	drafted := d != mail.Draft{}
	var fs []fault.Field
	var t mail.Template
	if drafted {
		t, fs = d.Template(name, language, time.Time{})
	}
	if err := further(o, fs); err != nil {
		return reply{}, err
	}
	own := []mail.Template{t}
	if !drafted {
		if own, err = s.Store.Templates(c.ctx(), c.app); err != nil {
			return reply{}, err
		}
	}
	a, err := s.Store.Application(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	content := mail.Sample(name)
	content.Application = cmp.Or(a.Name, content.Application)
	m, err := mail.Render(own, name, language, content)
	if err != nil {
		return reply{}, err
	}
	return ok(previewBody{string(m.Template), m.Language, m.Subject, m.Text, m.HTML})
}
