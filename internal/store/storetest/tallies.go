package storetest

import (
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
)

func tallies(_ *testing.T, r *room) {
	r.apps()
	one := delivery.Tally{Sent: 3, Accepted: 2, Exhausted: 1, Waiting: 5}
	one.Notify.Add(time.Second)
	two := delivery.Tally{Sent: 1, Accepted: 1, Waiting: 4}
	two.Notify.Add(time.Second)
	two.Notify.Add(time.Hour)
	count := func(at time.Time, t delivery.Tally) {
		r.must(r.Store.Tally(r.ctx, at, map[access.ID]*delivery.Tally{app1: &t, "app_none": &one}))
	}
	sum := one
	sum.Merge(&two)
	at := t0.Truncate(6 * time.Hour).Add(5 * time.Minute)
	count(at, one)
	count(at.Add(59*time.Second), two)
	count(at.Add(2*time.Minute), one)
	get := func(app access.ID, span delivery.Span, from time.Time) []delivery.Tally {
		list, err := r.Store.Tallies(r.ctx, app, span, from)
		r.must(err)
		return list
	}
	in := func(begin time.Time, t delivery.Tally) delivery.Tally {
		t.At = begin
		return t
	}
	r.same("by the minute", get(app1, delivery.Minutely, at), []delivery.Tally{in(at, sum), in(at.Add(2*time.Minute), one)})
	r.same("from the second minute on", get(app1, delivery.Minutely, at.Add(61*time.Second)), []delivery.Tally{in(at.Add(2*time.Minute), one)})
	all := sum
	all.Merge(&one)
	r.same("by the quarter", get(app1, delivery.Quarters, at.Add(9*time.Minute)), []delivery.Tally{in(at.Add(-5*time.Minute), all)})
	r.same("another's", get(app2, delivery.Minutely, at), []delivery.Tally(nil))
	_, err := r.Store.Tallies(r.ctx, "app_none", delivery.Minutely, at)
	r.notFound("an unknown application's", err)

	later := at.Add(3 * time.Hour)
	count(later, two)
	r.same("by the minute, later", get(app1, delivery.Minutely, at.Add(-time.Hour)), []delivery.Tally{in(later, two)})
	if n := len(get(app1, delivery.Quarters, at.Add(-time.Hour))); n != 2 {
		r.t.Errorf("got %d quarters, want both", n)
	}
	all.Merge(&two)
	r.same("six hours", get(app1, delivery.SixHours, at), []delivery.Tally{in(at.Add(-5*time.Minute), all)})
}
