package portal

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/store"
)

// maxMails is how many mails one page lists. Ours.
const maxMails = 50

// mailboxPage shows the mails to citizens that were asked for, whoever sends
// them.
type mailboxPage struct {
	frame
	Mails  []mailItem // newest first
	Later  bool       // it is not the first page
	Older  string     // the after of the next page; empty: this is the last
	Failed bool
}

// mailItem is a mail as the page shows it: as text, whatever it holds.
type mailItem struct {
	Event    string // ID
	Citizen  string // ID
	At       moment
	Template string
	Language string
	To       string // empty: nobody's address is kept
	Subject  string
	Text     string
	Action   string // address of its link; may be empty
	Opens    bool   // the link may be followed from here
	Expires  moment
	Note     string // why nothing else is shown; empty: all is
}

func (p *Portal) mailbox(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Mailbox")
	if err != nil {
		return err
	}
	page := mailboxPage{frame: f}
	after := r.URL.Query().Get("after")
	es, next, err := p.store.Events(r.Context(), s.app, store.EventQuery{Type: event.CitizenEmail, Newest: true, Limit: maxMails, After: after})
	if fault.KindOf(err) == fault.Invalid {
		return fault.New(fault.NotFound, "not_found", "There is no such page of mails.")
	}
	status := http.StatusOK
	if err != nil {
		page.Failed, status = true, http.StatusServiceUnavailable
		p.log.ErrorContext(r.Context(), "read mails", "application", string(s.app), "error", err)
	}
	page.Later, page.Older = after != "", next
	for _, e := range es {
		page.Mails = append(page.Mails, p.mailItem(f.Lang, e))
	}
	return p.render(w, status, "mailbox", page)
}

func (p *Portal) mailItem(l lang, e event.Event) mailItem {
	item := mailItem{Event: e.ID, Citizen: e.Subject, At: l.at(e.RecordedAt)}
	if e.Erased {
		item.Note = l.t("The person was erased, and the mail with them.")
		return item
	}
	m, err := mail.Parse(e.Body)
	if err != nil {
		item.Note = l.t("This mail cannot be shown.")
		return item
	}
	item.Template, item.Language, item.To, item.Subject, item.Text = string(m.Template), m.Language, m.To, m.Subject, m.Text
	item.Action, item.Opens, item.Expires = m.ActionURL, p.opens(m.ActionURL), l.at(m.ExpiresAt)
	return item
}

// opens tells whether a page may lead to an address that is in a mail: it is
// https, or it is ours.
func (p *Portal) opens(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || strings.HasPrefix(address, strings.TrimSuffix(p.publicURL(), "/")+"/")
}
