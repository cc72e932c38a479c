package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// replayPage chooses what an endpoint is sent again. With Preview it says how
// many that would be, and asks.
type replayPage struct {
	frame
	Name, ID     string
	Paused       bool
	From, To     string // as typed
	Status       string
	Statuses     []choice
	IncludeStale bool
	Preview      bool
	Count, Stale int
	Fault        string
	FromFault    string
	ToFault      string
}

// choice is one of a list.
type choice struct {
	Value, Label string
	Chosen       bool
}

// inputTime is how a browser's form writes an instant; we read it as UTC.
// Source: HTML, "Local date and time state".
const inputTime = "2006-01-02T15:04"

// readTime reads an instant as a form writes it: with or without seconds, or as
// on the wire.
func readTime(s string) (time.Time, bool) {
	for _, layout := range []string{inputTime, "2006-01-02T15:04:05", event.TimeFormat, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Millisecond), true
		}
	}
	return time.Time{}, false
}

// replayable are the ends of a delivery that can be sent again.
func (l lang) replayable(chosen string) []choice {
	out := []choice{{"", l.t("all that have ended"), chosen == ""}}
	for _, s := range []delivery.Status{delivery.Discarded, delivery.Exhausted, delivery.Delivered, delivery.Superseded} {
		out = append(out, choice{string(s), l.deliveryWords(s).Word, chosen == string(s)})
	}
	return out
}

func (p *Portal) askReplay(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Send again")
	if err != nil {
		return err
	}
	q, now := r.URL.Query(), time.Now().UTC()
	page := replayPage{
		frame: f, Name: nameOf(e), ID: string(e.ID), Paused: e.Status == subscription.Paused,
		From: q.Get("from"), To: q.Get("to"), Status: q.Get("status"), IncludeStale: q.Get("includeStale") != "",
	}
	asked := page.From != "" || page.To != ""
	if page.From == "" {
		from := now.Add(-24 * time.Hour)
		if e.CreatedAt.After(from) {
			from = e.CreatedAt
		}
		page.From = from.Format(inputTime)
	}
	if page.To == "" {
		page.To = now.Add(time.Minute).Format(inputTime)
	}
	page.Statuses = f.Lang.replayable(page.Status)
	status := http.StatusOK
	if asked {
		status, err = page.preview(p, r, s, e)
	}
	if err != nil {
		return err
	}
	return p.render(w, status, "replay", page)
}

// query reads what was chosen; false: something is wrong with it, which the
// page then says.
func (page *replayPage) query() (q store.ReplayQuery, ok bool) {
	q.Status, q.IncludeStale = delivery.Status(page.Status), page.IncludeStale
	var from, to bool
	if q.From, from = readTime(page.From); !from {
		page.FromFault = page.Lang.t("Write a day and a time, e.g. 2026-01-31T12:00.")
	}
	if q.To, to = readTime(page.To); !to {
		page.ToFault = page.Lang.t("Write a day and a time, e.g. 2026-01-31T12:00.")
	}
	if from && to && !q.From.Before(q.To) {
		page.ToFault = page.Lang.t("The end must come after the beginning.")
	}
	return q, page.FromFault+page.ToFault == ""
}

func (page *replayPage) preview(p *Portal, r *http.Request, s session, e subscription.Endpoint) (status int, err error) {
	q, ok := page.query()
	if !ok {
		return http.StatusUnprocessableEntity, nil
	}
	seqs, stale, err := p.store.ReplaySelection(r.Context(), s.app, e.ID, q)
	if f, is := errors.AsType[*fault.Error](err); is && f.Kind == fault.Invalid {
		page.Fault = page.Lang.t(f.Msg)
		return http.StatusUnprocessableEntity, nil
	}
	page.Preview, page.Count, page.Stale = true, len(seqs), stale
	return http.StatusOK, err
}

func (p *Portal) replay(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	page := replayPage{
		frame: frame{Lang: langOf(r)},
		From:  r.PostForm.Get("from"), To: r.PostForm.Get("to"), Status: r.PostForm.Get("status"), IncludeStale: r.PostForm.Get("includeStale") != "",
	}
	q, ok := page.query()
	if !ok {
		return fault.New(fault.Invalid, "malformed_form", "The span of time cannot be read.")
	}
	if err := p.app.TakeReplay(string(e.ID)); err != nil {
		return err
	}
	if _, err := p.app.Replay(r.Context(), s.app, e.Style, e.ID, app.ReplayRequest{ReplayQuery: q}); err != nil {
		return err
	}
	p.toEndpoint(w, r, e.ID, "replayed")
	return nil
}

// jobItems reads how far an endpoint's replays are.
func (p *Portal) jobItems(ctx context.Context, l lang, s session, id subscription.ID) ([]jobItem, error) {
	jobs, err := p.store.ReplayJobs(ctx, s.app, id)
	if err != nil {
		return nil, err
	}
	var out []jobItem
	for _, j := range jobs {
		out = append(out, jobItem{j.ID, l.at(j.CreatedAt), j.Done, j.Total, j.Ended, 100 * j.Done / max(j.Total, 1)})
	}
	return out, nil
}

// streamJobs keeps an endpoint's replays as they are now.
func (p *Portal) streamJobs(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	l := langOf(r)
	return p.live(w, r, s, func() (string, any, error) {
		jobs, err := p.jobItems(r.Context(), l, s, e.ID)
		return "jobs", jobs, err
	})
}

// redeliver sends one delivery again.
func (p *Portal) redeliver(w http.ResponseWriter, r *http.Request, s session) error {
	before, err := p.store.Delivery(r.Context(), s.app, r.PathValue("delivery"))
	if err != nil {
		return err
	}
	if err := p.app.TakeReplay(string(before.Endpoint)); err != nil {
		return err
	}
	d, err := p.app.Redeliver(r.Context(), s.app, r.PathValue("delivery"))
	if err != nil {
		return err
	}
	http.Redirect(w, r, p.base()+"/deliveries/"+d.ID+"?done=redelivered", http.StatusSeeOther)
	return nil
}
