package portal

import (
	"context"
	"net/http"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// applicationPage is an application's settings.
type applicationPage struct {
	frame
	Notice      string
	ID          string
	Name        string
	NameFault   string
	Created     moment
	Credentials []credentialItem
	Endpoints   int
	Bins        int
	Usage       []fact // of the last 30 days
	TokenURL    string
	Fresh       *freshCredential // shown this once
}

type credentialItem struct {
	ID string
	At moment
}

type freshCredential struct{ ID, Secret string }

func (p *Portal) application(w http.ResponseWriter, r *http.Request, s session) error {
	page, err := p.applicationPage(r, s)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "application", page)
}

func (p *Portal) applicationPage(r *http.Request, s session) (*applicationPage, error) {
	ctx := r.Context()
	f, err := p.signedFrame(r, s, "Application")
	if err != nil {
		return nil, err
	}
	a, err := p.store.Application(ctx, s.app)
	if err != nil {
		return nil, err
	}
	page := &applicationPage{frame: f, Notice: f.notice(r), ID: string(a.ID), Name: a.Name, Created: f.Lang.at(a.CreatedAt), TokenURL: p.root() + "/oauth2/token"}
	cs, err := p.store.Credentials(ctx, s.app)
	if err != nil {
		return nil, err
	}
	for _, c := range cs {
		page.Credentials = append(page.Credentials, credentialItem{c.ClientID, f.Lang.at(c.CreatedAt)})
	}
	if _, page.Endpoints, err = p.store.Endpoints(ctx, s.app, store.EndpointQuery{Limit: 1}); err != nil {
		return nil, err
	}
	bins, err := p.store.Bins(ctx, s.app)
	if err != nil {
		return nil, err
	}
	page.Bins = len(bins)
	page.Usage, err = p.usage(ctx, f.Lang, s, time.Now())
	return page, err
}

// usage tells what an application's endpoints were sent in the last 30 days.
func (p *Portal) usage(ctx context.Context, l lang, s session, now time.Time) ([]fact, error) {
	list, err := p.store.Tallies(ctx, s.app, delivery.SixHours, now.Add(-30*24*time.Hour))
	if err != nil {
		return nil, err
	}
	var all delivery.Tally
	for i := range list {
		all.Merge(&list[i])
	}
	out := []fact{
		{l.t("Accepted deliveries"), l.number(all.Accepted), false}, {l.t("Attempts"), l.number(all.Sent), false}, {l.t("Given up"), l.number(all.Exhausted), false},
	}
	if all.Notify.Count() > 0 {
		out = append(out, fact{l.t("Time to notify"), l.within(&all.Notify), false})
	}
	return out, nil
}

func (p *Portal) rename(w http.ResponseWriter, r *http.Request, s session) error {
	name := r.PostForm.Get("name")
	_, err := p.app.RenameApplication(r.Context(), s.app, &name)
	if fault.KindOf(err) == fault.Invalid {
		page, perr := p.applicationPage(r, s)
		if perr != nil {
			return perr
		}
		page.Name, page.NameFault = name, page.Lang.t(sentenceOf(err))
		return p.render(w, http.StatusUnprocessableEntity, "application", page)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, p.base()+"/application?done=renamed", http.StatusSeeOther)
	return nil
}

// addCredential makes a credential and shows its secret, this once: so there is
// no redirect.
func (p *Portal) addCredential(w http.ResponseWriter, r *http.Request, s session) error {
	cred, sec, err := p.app.AddCredential(r.Context(), s.app)
	if err != nil {
		return err
	}
	page, err := p.applicationPage(r, s)
	if err != nil {
		return err
	}
	page.Fresh = &freshCredential{cred.ClientID, sec.Reveal()}
	return p.render(w, http.StatusOK, "application", page)
}

func (p *Portal) removeCredential(w http.ResponseWriter, r *http.Request, s session) error {
	if err := p.app.RemoveCredential(r.Context(), s.app, r.PathValue("client")); err != nil {
		return err
	}
	http.Redirect(w, r, p.base()+"/application?done=revoked", http.StatusSeeOther)
	return nil
}

// applicationsPage lists all applications, for operators.
type applicationsPage struct {
	frame
	Items     []applicationItem
	Total     int
	Name      string
	NameFault string
	Fresh     *freshCredential // of an application that was just made
	FreshName string
}

type applicationItem struct {
	ID, Name string
	Created  moment
	Current  bool
}

// maxApplications is how many applications one page lists. Ours.
const maxApplications = 200

func (p *Portal) applications(w http.ResponseWriter, r *http.Request, s session) error {
	page, err := p.applicationsPage(r, s)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "applications", page)
}

func (p *Portal) applicationsPage(r *http.Request, s session) (*applicationsPage, error) {
	f, err := p.signedFrame(r, s, "Applications")
	if err != nil {
		return nil, err
	}
	list, total, err := p.store.Applications(r.Context(), 0, maxApplications)
	page := &applicationsPage{frame: f, Total: total}
	for _, a := range list {
		page.Items = append(page.Items, applicationItem{string(a.ID), a.Name, f.Lang.at(a.CreatedAt), a.ID == s.app})
	}
	return page, err
}

func (p *Portal) makeApplication(w http.ResponseWriter, r *http.Request, s session) error {
	name := r.PostForm.Get("name")
	a, cred, sec, err := p.app.CreateApplication(r.Context(), name)
	invalid := fault.KindOf(err) == fault.Invalid
	if err != nil && !invalid {
		return err
	}
	page, perr := p.applicationsPage(r, s)
	if perr != nil {
		return perr
	}
	if invalid {
		page.Name, page.NameFault = name, page.Lang.t(sentenceOf(err))
		return p.render(w, http.StatusUnprocessableEntity, "applications", page)
	}
	page.Fresh, page.FreshName = &freshCredential{cred.ClientID, sec.Reveal()}, a.Name
	return p.render(w, http.StatusOK, "applications", page)
}

// openApplication makes an application the one whose pages are shown.
func (p *Portal) openApplication(w http.ResponseWriter, r *http.Request, s session) error {
	a, err := p.store.Application(r.Context(), access.ID(r.PathValue("application")))
	if err != nil {
		return err
	}
	if err := p.app.ShowApplication(r.Context(), s.key, a.ID); err != nil {
		return err
	}
	http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
	return nil
}
