package app

import (
	"cmp"
	"slices"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// words are what mails are made of besides what happened. They are read when
// the first mail needs them, and serve one transaction of the store.
type words struct {
	tx          store.Tx // nil: nothing was read
	app         access.ID
	application string // its name
	templates   []mail.Template
	catalogue   *permission.Catalogue
	parts       map[permission.Part]string // names by kind and ID
}

func (w *words) read(tx store.Tx, app access.ID) error {
	if w.tx != nil {
		return nil
	}
	owner, err := tx.Application(app)
	if err != nil {
		return err
	}
	templates, err := tx.Templates(app)
	if err != nil {
		return err
	}
	catalogue, err := tx.Catalogue(app)
	if err != nil {
		return err
	}
	*w = words{tx, app, owner.Name, templates, catalogue, make(map[permission.Part]string)}
	return nil
}

// choices puts entries in words, each as often as it reads otherwise.
func (w *words) choices(es []permission.Entry) ([]mail.Choice, error) {
	var out []mail.Choice
	for _, e := range es {
		o, err := w.catalogue.Option(e.Option)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return nil, err
		}
		c := mail.Choice{ValidUntil: e.ValidUntil, State: e.State}
		for _, p := range []struct {
			kind permission.Kind
			id   string
			to   *string
		}{{permission.Data, o.DataID, &c.Name}, {permission.Purpose, o.PurposeID, &c.Purpose}, {permission.Party, o.PartyID, &c.Party}} {
			if *p.to, err = w.part(p.kind, p.id); err != nil {
				return nil, err
			}
		}
		c.Name = cmp.Or(o.Name, c.Name, string(e.Option))
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// part returns the name of a part, which is its ID when nobody named it.
func (w *words) part(k permission.Kind, pid string) (string, error) {
	key := permission.Part{Kind: k, ID: pid}
	if name, known := w.parts[key]; known || w.tx == nil || pid == "" {
		return cmp.Or(name, pid), nil
	}
	p, err := w.tx.Part(w.app, k, pid)
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return "", err
	}
	w.parts[key] = cmp.Or(p.Name, pid)
	return w.parts[key], nil
}

// shown returns the text of the statement and the address of the policy that
// all of some records refer to, each empty when there is none or when it is not
// the current version.
func (w *words) shown(os []*permission.Origin) (statement, policyURL string) {
	if len(os) == 0 {
		return "", ""
	}
	first := os[0]
	s, _ := w.catalogue.Statement(first.Statement) // unknown: no text
	l, _ := w.catalogue.Policy(first.Policy)
	if s.Version == first.StatementVersion && !slices.ContainsFunc(os, func(o *permission.Origin) bool {
		return o.Statement != first.Statement || o.StatementVersion != first.StatementVersion
	}) {
		statement = s.Text
	}
	if l.Version == first.PolicyVersion && !slices.ContainsFunc(os, func(o *permission.Origin) bool {
		return o.Policy != first.Policy || o.PolicyVersion != first.PolicyVersion
	}) {
		policyURL = l.URL
	}
	return statement, policyURL
}
