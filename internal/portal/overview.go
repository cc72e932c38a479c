package portal

import (
	"context"
	"net/http"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// maxListed is how many bins, and how many endpoints of a style, one page
// lists. Ours.
const maxListed = 100

// overviewPage is the start page. A part that cannot be read says so and
// leaves the other alone.
type overviewPage struct {
	frame
	Notice string

	Bins       []binItem
	MoreBins   int
	BinsFailed bool

	Endpoints       []endpointItem
	MoreEndpoints   int
	EndpointsFailed bool
}

type binItem struct {
	Name, URL, Script string
	Kept              string
	Latest            moment
}

type endpointItem struct {
	Kind    string // Subscription, Interceptor
	Name    string // may be empty
	ID      string
	URL     string
	Feed    string
	Status  says
	Backlog says
	Circuit says
}

func (p *Portal) overview(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r.Context(), s, "Overview")
	if err != nil {
		return err
	}
	page := overviewPage{frame: f, Notice: notices[r.URL.Query().Get("done")]}
	if page.Bins, page.MoreBins, err = p.bins(r.Context(), s); err != nil {
		page.BinsFailed = true
		p.log.ErrorContext(r.Context(), "read bins", "application", string(s.app), "error", err)
	}
	if page.Endpoints, page.MoreEndpoints, err = p.endpoints(r.Context(), s); err != nil {
		page.EndpointsFailed = true
		p.log.ErrorContext(r.Context(), "read endpoints", "application", string(s.app), "error", err)
	}
	status := http.StatusOK
	if page.BinsFailed || page.EndpointsFailed {
		status = http.StatusServiceUnavailable
	}
	return p.render(w, status, "overview", page)
}

func (p *Portal) bins(ctx context.Context, s session) (items []binItem, more int, err error) {
	bins, err := p.store.Bins(ctx, s.app)
	if err != nil {
		return nil, 0, err
	}
	for _, b := range bins[:min(len(bins), maxListed)] {
		sum := p.sink.Summary(b.Name)
		items = append(items, binItem{
			Name: b.Name, URL: p.sink.URL(b.Name), Script: scriptWords(b.Script),
			Kept: number(sum.Kept), Latest: at(sum.LatestAt),
		})
	}
	return items, len(bins) - len(items), nil
}

func (p *Portal) endpoints(ctx context.Context, s session) (items []endpointItem, more int, err error) {
	now := time.Now()
	for _, style := range []subscription.Style{subscription.Subscription, subscription.Interceptor} {
		es, total, err := p.store.Endpoints(ctx, s.app, store.EndpointQuery{Style: style, Limit: maxListed})
		if err != nil {
			return nil, 0, err
		}
		for _, e := range es {
			h, err := p.store.Health(ctx, s.app, e.ID)
			if err != nil {
				return nil, 0, err
			}
			items = append(items, endpointItem{
				Kind: kind(e), Name: e.Name, ID: string(e.ID), URL: e.URL, Feed: feed(e),
				Status: statusWords(e, h), Backlog: backlogWords(h, now), Circuit: circuitWords(h.Breaker),
			})
		}
		more += total - len(es)
	}
	return items, more, nil
}

func kind(e subscription.Endpoint) string {
	if e.Style == subscription.Interceptor {
		return "Interceptor"
	}
	return "Subscription"
}

// feed tells what an endpoint hears.
func feed(e subscription.Endpoint) string {
	switch {
	case e.Feed == event.LifecyclePayment:
		return "payment consents"
	case e.Style == subscription.Interceptor:
		return "data consents"
	case len(e.EventTypes) > 0:
		return count(len(e.EventTypes), "listed event type", "listed event types")
	}
	return string(e.UpdateType)
}
