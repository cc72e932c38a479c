package permission_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

var seed = flag.Uint64("seed", 0, "the seed of the random histories; 0 draws one")

// name renders an entry by where it came from.
func name(e permission.Entry) string {
	return fmt.Sprintf("%s/%d/%s", e.Origin.Transaction, e.Place, e.Option)
}

// render renders a view, one line for each permission and preference.
func render(v permission.View) string {
	var lines []string
	for _, p := range v.Permissions {
		lines = append(lines, fmt.Sprintf("%s %s %s", p.Option, name(p.Entry), p.Effective()))
	}
	for _, s := range v.Preferences {
		lines = append(lines, fmt.Sprintf("%s %s/%d %v", s.Preference, s.Origin.Transaction, s.Place, s.Effective()))
	}
	return strings.Join(lines, "\n")
}

// log renders a history, one line for each transaction.
func log(history []permission.Transaction) string {
	var b strings.Builder
	for _, t := range history {
		fmt.Fprintf(&b, "\n%s at %v reverts %q", t.ID(), t.Origin.RecordedAt, t.Reverts)
		for _, e := range t.Entries {
			fmt.Fprintf(&b, "; %s obtained %v from %v until %v", name(e), e.ObtainedAt, e.ValidFrom, e.ValidUntil)
		}
		for _, c := range t.Choices {
			fmt.Fprintf(&b, "; %s obtained %v %v", c.Preference, c.ObtainedAt, c.Chosen)
		}
	}
	return b.String()
}

// inForce is the model: of all that was ever recorded and counts, the entry of
// an option that counts at an instant.
func inForce(history []permission.Transaction, option permission.OptionID, at time.Time) (best *permission.Entry) {
	for _, t := range history {
		for i, e := range t.Entries {
			if e.Option != option || at.Before(e.ValidFrom) || !e.ValidUntil.IsZero() && !at.Before(e.ValidUntil) || reverted(history, t) {
				continue
			}
			if best == nil || cmp.Or(e.ObtainedAt.Compare(best.ObtainedAt), e.Origin.RecordedAt.Compare(best.Origin.RecordedAt)) >= 0 {
				best = &t.Entries[i]
			}
		}
	}
	return best
}

// chosen is the model of a preference.
func chosen(history []permission.Transaction, preference string) (best *permission.Choice) {
	for _, t := range history {
		for i, c := range t.Choices {
			if c.Preference != preference || reverted(history, t) {
				continue
			}
			if best == nil || cmp.Or(c.ObtainedAt.Compare(best.ObtainedAt), c.Origin.RecordedAt.Compare(best.Origin.RecordedAt)) >= 0 {
				best = &t.Choices[i]
			}
		}
	}
	return best
}

func reverted(history []permission.Transaction, t permission.Transaction) bool {
	return slices.ContainsFunc(history, func(r permission.Transaction) bool {
		return r.Reverts == t.ID() && !reverted(history, r)
	})
}

// world is one citizen's history with its model's memory.
type world struct {
	history []permission.Transaction
	last    map[permission.OptionID]permission.Entry // what was in force last
	chose   map[string]permission.Choice
	seen    map[string]permission.View // what the deltas add up to, by option or preference
	now     time.Time
}

// pass lets the model's time come to now, over every instant at which it could
// change.
func (w *world) pass(now time.Time) {
	instants := []time.Time{now}
	for _, t := range w.history {
		for _, e := range t.Entries {
			for _, at := range []time.Time{e.ValidFrom, e.ValidUntil} {
				if at.After(w.now) && at.Before(now) {
					instants = append(instants, at)
				}
			}
		}
	}
	slices.SortFunc(instants, time.Time.Compare)
	for _, at := range instants {
		w.look(at)
	}
	w.now = now
}

func (w *world) look(at time.Time) {
	for _, o := range options {
		if e := inForce(w.history, o.ID, at); e != nil {
			w.last[o.ID] = *e
		}
	}
	for _, p := range preferences {
		if c := chosen(w.history, p.Reference); c != nil {
			w.chose[p.Reference] = *c
		}
	}
}

// view is what the model says at an instant that it has come to.
func (w *world) view(at time.Time) permission.View {
	var v permission.View
	for _, o := range options {
		if e, known := w.last[o.ID]; known {
			v.Permissions = append(v.Permissions, permission.Permission{Entry: e, Lapsed: inForce(w.history, o.ID, at) == nil})
		}
	}
	for _, p := range preferences {
		if c, known := w.chose[p.Reference]; known {
			v.Preferences = append(v.Preferences, permission.Selection{Choice: c, Unset: chosen(w.history, p.Reference) == nil})
		}
	}
	return v
}

// apply adds a delta to what was seen; false: an element of it changes nothing.
func (w *world) apply(d permission.Delta) bool {
	news := true
	put := func(key string, v permission.View) {
		if was, known := w.seen[key]; known && render(was) == render(v) {
			news = false
		}
		w.seen[key] = v
	}
	for _, p := range d.Permissions {
		put("option "+string(p.Option), permission.View{Permissions: []permission.Permission{p}})
	}
	for _, s := range d.Preferences {
		put("preference "+s.Preference, permission.View{Preferences: []permission.Selection{s}})
	}
	return news
}

func (w *world) sum() permission.View {
	var v permission.View
	for _, o := range options {
		v.Permissions = append(v.Permissions, w.seen["option "+string(o.ID)].Permissions...)
	}
	for _, p := range preferences {
		v.Preferences = append(v.Preferences, w.seen["preference "+p.Reference].Preferences...)
	}
	return v
}

// TestStanding_histories records 10,000 random transactions of many citizens:
// late arrivals, windows that lapse, begin later or never hold, equal instants,
// groups, reversions, reversions of those, clocks that lag. At each step the
// Standing shows what the model makes of the whole history, now and at random
// instants ahead; the deltas add up to it and hold nothing that did not change;
// it holds exactly what can still matter; and AsRecorded finds each former
// state again.
func TestStanding_histories(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("repeat with -seed %d", *seed)
	const citizens, transactions = 250, 40
	tried := map[string]int{}
	for citizen := range uint64(citizens) {
		dice := rand.New(rand.NewPCG(*seed, citizen))
		unit := []time.Duration{time.Millisecond, time.Second, 24 * time.Hour}[dice.IntN(3)]
		w := &world{
			last: map[permission.OptionID]permission.Entry{}, chose: map[string]permission.Choice{},
			seen: map[string]permission.View{}, now: t0,
		}
		now := t0
		var s permission.Standing
		var shown []permission.View // by the instants below, the last of each
		var instants []time.Time
		var standings []permission.Standing // by them too
		for n := range transactions {
			fail := func(format string, args ...any) {
				t.Helper()
				t.Fatalf("seed %d, citizen %d, transaction %d, at %v: %s", *seed, citizen, n, now, fmt.Sprintf(format, args...))
			}
			now = now.Add(unit * time.Duration(dice.IntN(4)))
			for dice.IntN(10) > 0 { // else it is overdue, and the transaction's delta tells
				next := s.Next()
				advanced, d := s.Advance(now)
				if d.Empty() {
					if !next.IsZero() && !next.After(now) {
						fail("got nothing due, want what Next says of %v", next)
					}
					break
				}
				tried["lapse or beginning"]++
				w.pass(d.At)
				if s = advanced; !d.At.Equal(next) || !w.apply(d) {
					fail("got a delta at %v, want one at %v of changes only", d.At, next)
				}
				if got, want := render(w.sum()), render(w.view(d.At)); got != want {
					fail("after the lapse at %v: got\n%s\nwant\n%s\nof %s", d.At, got, want, log(w.history))
				}
			}
			w.pass(now)
			if got, want := render(s.Effective(now)), render(w.view(now)); got != want {
				fail("before: got\n%s\nwant\n%s", got, want)
			}

			id := permission.TransactionID(fmt.Sprintf("txn_%d_%d", citizen, n))
			clock := now
			if s.AsOf.Equal(now) {
				clock = now.Add(-unit) // another node's, which lags
			}
			if dice.IntN(10) == 0 && len(w.history) > 0 {
				target := w.history[dice.IntN(len(w.history))]
				r, err := permission.Revert(w.history, target.ID(), permission.Origin{Transaction: id, RecordedAt: now})
				if done := reverted(w.history, target); done != (err != nil) {
					fail("reverting %s: got %v, want an error only if it was reverted: %v", target.ID(), err, done)
				}
				if err != nil {
					tried["reverted twice"]++
					for next, d := s.Advance(now); !d.Empty(); next, d = s.Advance(now) {
						s = next // the model has come to now
						w.apply(d)
					}
					continue
				}
				if target.Reverts != "" {
					tried["reversion of a reversion"]++
				}
				w.history = append(w.history, r)
				next, d := s.Rebuild(w.history, clock)
				if s = next; !w.apply(d) {
					fail("reverting %s: got a delta that holds what did not change: %s\nof %s", target.ID(), render(d.View), log(w.history))
				}
			} else {
				txn, fs := random(dice, unit, now).Transaction(permission.Basis{ID: id, Citizen: "ctz", Now: now}, catalogue())
				if len(fs) > 0 {
					fail("got faults %v, want none", places(fs))
				}
				w.history = append(w.history, txn)
				next, d := s.Record(txn, clock)
				if s = next; !w.apply(d) {
					fail("got a delta that holds what did not change")
				}
				if d.Empty() {
					tried["nothing changed"]++
				}
			}
			w.look(now)
			if !s.AsOf.Equal(now) {
				fail("got a state as of %v, want now", s.AsOf)
			}
			want := w.view(now)
			if got := render(s.Effective(now)); got != render(want) {
				fail("got\n%s\nwant\n%s\nof %s", got, render(want), log(w.history))
			}
			if got := render(w.sum()); got != render(want) {
				fail("by its deltas: got\n%s\nwant\n%s", got, render(want))
			}
			for range 3 {
				at := now.Add(unit * time.Duration(dice.IntN(20)))
				var got []string
				for _, p := range s.Effective(at).Permissions {
					if !p.Lapsed {
						got = append(got, name(p.Entry))
					}
				}
				var want, all []string
				for _, o := range options {
					if e := inForce(w.history, o.ID, at); e != nil {
						want = append(want, name(*e))
					}
				}
				var entries []permission.Entry
				for _, t := range permission.Counting(w.history) {
					entries = append(entries, t.Entries...)
				}
				for _, e := range permission.Effective(entries, at) {
					all = append(all, name(e))
				}
				if !slices.Equal(got, want) || !slices.Equal(all, want) {
					fail("ahead at %v: got %v by the standing and %v by Effective, want %v", at, got, all, want)
				}
			}
			matters(w, s, now, fail)
			back, err := permission.DecodeStanding(s.Encode())
			if err != nil || string(back.Encode()) != string(s.Encode()) || render(back.Effective(now)) != render(want) || !back.Next().Equal(s.Next()) {
				fail("kept and read: got %v and\n%s\nwant\n%s", err, render(back.Effective(now)), render(want))
			}
			if dice.IntN(2) == 0 {
				s = back
			}
			if k := len(instants) - 1; k >= 0 && instants[k].Equal(now) {
				shown[k], standings[k] = s.Effective(now), s
				tried["two in one millisecond"]++
			} else {
				instants, shown, standings = append(instants, now), append(shown, s.Effective(now)), append(standings, s)
			}
		}
		for k, at := range instants {
			if got, want := render(permission.AsRecorded(w.history, at)), render(shown[k]); got != want {
				t.Fatalf("seed %d, citizen %d: as recorded at %v: got\n%s\nwant\n%s", *seed, citizen, at, got, want)
			}
			from := dice.IntN(k + 1)
			var tail []permission.Transaction
			for _, t := range w.history {
				if t.Origin.RecordedAt.After(instants[from]) {
					tail = append(tail, t)
				}
			}
			if slices.ContainsFunc(tail, func(t permission.Transaction) bool { return t.Reverts != "" && !t.Origin.RecordedAt.After(at) }) {
				continue
			}
			before := string(standings[from].Encode())
			if got, want := render(permission.Replay(standings[from], tail, at)), render(shown[k]); got != want {
				t.Fatalf("seed %d, citizen %d: from %v to %v: got\n%s\nwant\n%s", *seed, citizen, instants[from], at, got, want)
			}
			if string(standings[from].Encode()) != before {
				t.Fatalf("seed %d, citizen %d: the standing of %v was changed", *seed, citizen, instants[from])
			}
			if from < k {
				tried["replayed"]++
			}
		}
	}
	for _, k := range []string{"lapse or beginning", "reverted twice", "reversion of a reversion", "nothing changed", "two in one millisecond", "replayed"} {
		if tried[k] < 20 {
			t.Errorf("got %d of %q, want at least 20 to call it tried", tried[k], k)
		}
	}
}

// matters checks that a Standing holds, for each option, the entries that win
// at some instant from now on and no other, but the last when none is in force.
func matters(w *world, s permission.Standing, now time.Time, fail func(string, ...any)) {
	held := s.Held()
	for _, o := range options {
		want := map[string]bool{}
		if e, known := w.last[o.ID]; known && inForce(w.history, o.ID, now) == nil {
			want[name(e)] = true
		}
		instants := []time.Time{now}
		for _, t := range w.history {
			for _, e := range t.Entries {
				if e.Option == o.ID {
					instants = append(instants, e.ValidFrom, e.ValidUntil)
				}
			}
		}
		for _, at := range instants {
			if e := inForce(w.history, o.ID, at); e != nil && !at.Before(now) {
				want[name(*e)] = true
			}
		}
		if _, line := held[o.ID]; line != (len(want) > 0) {
			fail("%s: got a line: %v, want one for %v only", o.ID, line, want)
		}
		for _, e := range held[o.ID] {
			if !want[name(e)] {
				fail("%s: got %s held, which cannot matter any more", o.ID, name(e))
			}
			delete(want, name(e))
		}
		if len(want) > 0 {
			fail("%s: got it held without %v", o.ID, want)
		}
	}
}

// random draws a request whose times are few, so that many are equal.
func random(dice *rand.Rand, unit time.Duration, now time.Time) permission.Request {
	at := func(from, n int) *time.Time {
		at := now.Add(unit * time.Duration(from+dice.IntN(n)))
		return &at
	}
	r := permission.Request{ExternalRef: ptr("CRM-1")}
	for range 1 + dice.IntN(3) {
		d := permission.ChangeDraft{OptionID: ptr(string(options[dice.IntN(len(options))].ID))}
		if dice.IntN(4) == 0 {
			d.OptionType, d.OptionID = ptr("group"), ptr(string(groups[dice.IntN(len(groups))].ID))
		}
		js := permission.Justifications()
		j := js[dice.IntN(len(js))]
		d.Justification, d.State = ptr(string(j)), ptr(string(j.States()[dice.IntN(len(j.States()))]))
		from := now
		if dice.IntN(2) == 0 {
			if d.ObtainedAt = at(-8, 9); dice.IntN(4) == 0 && unit <= time.Second {
				d.ObtainedAt = at(0, 4) // a clock ahead of ours
			}
			from = *d.ObtainedAt
		}
		if dice.IntN(2) == 0 {
			d.ValidFrom = at(-8, 20)
			from = *d.ValidFrom
		}
		if dice.IntN(3) > 0 {
			until := from.Add(unit * time.Duration(1+dice.IntN(12)))
			d.ValidUntil = &until
		}
		r.Changes = append(r.Changes, d)
	}
	for range dice.IntN(3) {
		p := preferences[dice.IntN(len(preferences))]
		d := permission.ChoiceDraft{Preference: ptr(p.Reference), Choices: []permission.PickDraft{}}
		if dice.IntN(4) > 0 {
			d.Choices = append(d.Choices, permission.PickDraft{Reference: ptr(p.Choices[dice.IntN(len(p.Choices))].Reference)})
		}
		if dice.IntN(2) == 0 {
			d.ObtainedAt = at(-8, 9)
		}
		r.Preferences = append(r.Preferences, d)
	}
	return r
}
