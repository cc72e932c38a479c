package portal

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// citizenItem is a citizen in a list.
type citizenItem struct {
	ID, Ref string
	Href    string
	Speaks  string // the citizen's language
	Changed moment
	Changes int64
}

type citizensPage struct {
	frame
	Search   string
	NotFound bool
	Items    []citizenItem
	Older    string
	Later    bool
	Failed   bool
}

func (p *Portal) citizenItem(l lang, c store.Citizen) citizenItem {
	return citizenItem{string(c.ID), c.ExternalRef, p.base() + "/citizens/" + url.PathEscape(string(c.ID)), c.Language, l.at(c.UpdatedAt), c.Version}
}

// find returns the citizen of an ID or an external reference.
func (p *Portal) find(r *http.Request, s session, text string) (store.Citizen, error) {
	c, err := p.store.Citizen(r.Context(), s.app, permission.CitizenID(text))
	if fault.KindOf(err) == fault.NotFound {
		return p.store.CitizenByRef(r.Context(), s.app, text)
	}
	return c, err
}

func (p *Portal) citizens(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Citizens")
	if err != nil {
		return err
	}
	v := r.URL.Query()
	page := citizensPage{frame: f, Search: strings.TrimSpace(v.Get("q")), Later: v.Get("after") != ""}
	if page.Search != "" {
		c, err := p.find(r, s, page.Search)
		if err == nil {
			http.Redirect(w, r, p.citizenItem(f.Lang, c).Href, http.StatusSeeOther)
			return nil
		}
		if fault.KindOf(err) != fault.NotFound {
			return err
		}
		page.NotFound = true
	}
	list, next, err := p.store.Citizens(r.Context(), s.app, store.CitizenQuery{Limit: peoplePerPage, After: v.Get("after")})
	status := http.StatusOK
	switch k := fault.KindOf(err); {
	case err == nil:
	case k == fault.Invalid:
		return fault.New(fault.NotFound, "not_found", "There is no such page of citizens.")
	default:
		page.Failed, status = true, http.StatusServiceUnavailable
		p.log.ErrorContext(r.Context(), "read citizens", "application", string(s.app), "error", err)
	}
	for _, c := range list {
		page.Items = append(page.Items, p.citizenItem(f.Lang, c))
	}
	if next != "" {
		page.Older = "?after=" + url.QueryEscape(next)
	}
	return p.render(w, status, "citizens", page)
}

// citizenPage is one citizen: what is allowed, now or at an instant in the past,
// and who was told of each change.
type citizenPage struct {
	frame
	citizenItem
	Emails      []string
	Links       []citizenItem
	At          string // as typed; empty: now
	Past        bool
	Fault       string
	Permissions []permissionItem
	Preferences []preferenceItem
	History     []recordItem
	Older       string
}

type permissionItem struct {
	Name    string
	ID      string
	State   says
	Why     string
	Since   moment
	Until   moment
	Channel string
}

type preferenceItem struct {
	Label   string
	Choices []string
}

// recordItem is a transaction and who was told of it.
type recordItem struct {
	ID      string
	At      moment
	Channel string
	Reverts string
	Changes []permissionItem
	Choices []preferenceItem
	Told    []deliveryItem
}

// recordsPerPage is how many transactions one page shows. Ours.
const recordsPerPage = 20

// permissionWords names what a citizen said.
func (l lang) permissionWords(s permission.State) says {
	switch s {
	case permission.Granted:
		return says{good, l.t("Granted"), ""}
	case permission.Denied:
		return says{bad, l.t("Denied"), ""}
	case permission.Pending:
		return says{warn, l.t("Asked by mail"), ""}
	case "":
		return says{quiet, l.t("Not in force"), ""}
	}
	return says{quiet, string(s), ""}
}

func (l lang) permissionItem(names *permission.Catalogue, e permission.Entry, s permission.State) permissionItem {
	name := string(e.Option)
	if o, err := names.Option(e.Option); err == nil {
		name = cmp.Or(o.Name, name)
	}
	return permissionItem{name, string(e.Option), l.permissionWords(s), string(e.Justification), l.at(e.ObtainedAt), l.at(e.ValidUntil), e.Origin.Channel}
}

func preferenceOf(c permission.Choice, chosen []permission.Alternative) preferenceItem {
	item := preferenceItem{Label: cmp.Or(c.Label, c.Preference)}
	for _, a := range chosen {
		item.Choices = append(item.Choices, cmp.Or(a.Label, a.Reference))
	}
	return item
}

func (p *Portal) citizen(w http.ResponseWriter, r *http.Request, s session) error {
	ctx := r.Context()
	who, err := p.app.Tied(ctx, s.app, permission.CitizenID(r.PathValue("citizen")))
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Citizen")
	if err != nil {
		return err
	}
	l := f.Lang
	page := citizenPage{frame: f, citizenItem: p.citizenItem(l, who.Citizen), Emails: who.Emails, At: strings.TrimSpace(r.URL.Query().Get("at"))}
	for _, c := range who.Links {
		if c.ID != who.ID {
			page.Links = append(page.Links, p.citizenItem(l, c))
		}
	}
	names, err := p.store.Catalogue(ctx, s.app)
	if err != nil {
		return err
	}
	at, ok := readTime(page.At)
	if page.At != "" && !ok {
		page.Fault = l.t("Write a day and a time, e.g. 2026-01-31T12:00.")
	}
	page.Past = ok
	_, view, err := p.app.Permissions(ctx, s.app, app.CitizenKey{ID: who.ID}, at)
	if err != nil {
		return err
	}
	for _, x := range view.Permissions {
		page.Permissions = append(page.Permissions, l.permissionItem(names, x.Entry, x.Effective()))
	}
	for _, x := range view.Preferences {
		page.Preferences = append(page.Preferences, preferenceOf(x.Choice, x.Effective()))
	}
	if err := page.history(p, r, s, names); err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "citizen", page)
}

// history reads a page of what was recorded, and who was told of it.
func (page *citizenPage) history(p *Portal, r *http.Request, s session, names *permission.Catalogue) error {
	ctx, l := r.Context(), page.Lang
	ts, next, err := p.store.TransactionPage(ctx, s.app, permission.CitizenID(page.ID), recordsPerPage, r.URL.Query().Get("after"))
	if fault.KindOf(err) == fault.Invalid {
		return fault.New(fault.NotFound, "not_found", "There is no such page of the history.")
	}
	if err != nil {
		return err
	}
	if next != "" {
		page.Older = "?after=" + url.QueryEscape(next)
	}
	for _, t := range ts {
		item := recordItem{ID: string(t.ID()), At: l.at(t.Origin.RecordedAt), Channel: t.Origin.Channel, Reverts: string(t.Reverts)}
		for _, e := range t.Entries {
			item.Changes = append(item.Changes, l.permissionItem(names, e, e.State))
		}
		for _, c := range t.Choices {
			item.Choices = append(item.Choices, preferenceOf(c, c.Chosen))
		}
		for _, id := range t.Told {
			told, _, err := p.listDeliveries(ctx, l, s, store.DeliveryQuery{EventID: id, Limit: maxTold})
			if err != nil {
				return err
			}
			item.Told = append(item.Told, told...)
		}
		page.History = append(page.History, item)
	}
	return nil
}
