package portal

import (
	"context"
	"net/http"
	"time"

	"github.com/consentwire/consentwire/internal/store"
)

// How much the start page lists. Ours.
const (
	overviewEndpoints  = 10
	overviewDeliveries = 8
	maxListed          = 100 // bins
)

// overviewPage is the start page. A part that cannot be read says so and
// leaves the others alone.
type overviewPage struct {
	frame
	Notice string

	Endpoints       []endpointItem
	MoreEndpoints   int
	EndpointsFailed bool

	Plots plots

	Latest       []deliveryItem
	LatestFailed bool

	Bins       []binItem
	More       int // bins
	BinsFailed bool
}

type binItem struct {
	Name, URL, Script string
	Kept              string
	Latest            moment
}

func (p *Portal) overview(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Overview")
	if err != nil {
		return err
	}
	page := overviewPage{frame: f, Notice: f.notice(r)}
	status := http.StatusOK
	failed := func(what string, err error) bool {
		if err == nil {
			return false
		}
		status = http.StatusServiceUnavailable
		p.log.ErrorContext(r.Context(), "read "+what, "application", string(s.app), "error", err)
		return true
	}
	page.Plots, err = p.plots(r.Context(), f.Lang, s, r.URL.Query().Get("time"), time.Now())
	page.Plots.Failed = failed("tallies", err)
	var total int
	page.Endpoints, total, err = p.endpointItems(r.Context(), f.Lang, s, 0, overviewEndpoints)
	page.MoreEndpoints, page.EndpointsFailed = total-len(page.Endpoints), failed("endpoints", err)
	page.Latest, _, err = p.listDeliveries(r.Context(), f.Lang, s, store.DeliveryQuery{Limit: overviewDeliveries})
	page.LatestFailed = failed("deliveries", err)
	page.Bins, page.More, err = p.bins(r.Context(), f.Lang, s)
	page.BinsFailed = failed("bins", err)
	return p.render(w, status, "overview", page)
}

func (p *Portal) bins(ctx context.Context, l lang, s session) (items []binItem, more int, err error) {
	bins, err := p.store.Bins(ctx, s.app)
	if err != nil {
		return nil, 0, err
	}
	for _, b := range bins[:min(len(bins), maxListed)] {
		sum := p.sink.Summary(b.Name)
		items = append(items, binItem{
			Name: b.Name, URL: p.sink.URL(b.Name), Script: l.scriptWords(b.Script),
			Kept: l.number(sum.Kept), Latest: l.at(sum.LatestAt),
		})
	}
	return items, len(bins) - len(items), nil
}
