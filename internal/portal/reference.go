package portal

import (
	"net/http"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/portal/receivers"
	"github.com/consentwire/consentwire/internal/subscription"
)

// referencePage describes what an endpoint may be told, and how to verify it.
type referencePage struct {
	frame
	Docs    []docItem
	One     *docItem // a type that is looked at alone
	Samples []receivers.Sample
}

type docItem struct {
	Type, Source string
	Summary      string
	Schema       string
	Example      string
	Current      bool
}

func (p *Portal) reference(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Events")
	if err != nil {
		return err
	}
	page := referencePage{frame: f, Samples: receivers.All()}
	want := r.PathValue("type")
	for _, d := range p.docs {
		item := docItem{Type: string(d.Type), Source: d.Type.SourceName(), Summary: f.Lang.t(d.Summary), Current: want == string(d.Type)}
		if item.Current {
			item.Schema, _ = pretty(string(d.Schema), maxWhole)
			item.Example, _ = pretty(string(d.Example), maxWhole)
			one := item
			page.One, page.Title = &one, item.Type
		}
		page.Docs = append(page.Docs, item)
	}
	if want != "" && page.One == nil {
		return fault.New(fault.NotFound, "not_found", "There is no such event.")
	}
	return p.render(w, http.StatusOK, "events", page)
}

// docFor describes what an endpoint is told first.
func (p *Portal) docFor(e subscription.Endpoint) Doc {
	want := event.ConsentApproved
	switch {
	case len(e.EventTypes) > 0:
		want = e.EventTypes[0]
	case e.Style == subscription.Interceptor:
	case e.UpdateType == subscription.ConsentReceipts:
		want = event.PermissionsDelta
	case e.UpdateType == subscription.CitizenEmails:
		want = event.CitizenEmail
	default:
		want = event.PermissionsEffective
	}
	for _, d := range p.docs {
		if d.Type == want {
			return d
		}
	}
	return Doc{Type: want, Example: []byte("{}")}
}
