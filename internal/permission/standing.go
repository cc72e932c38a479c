package permission

import (
	"math"
	"slices"
	"time"
)

// Standing is a citizen's state from one instant on, kept with the citizen so
// that a transaction can be recorded without its history being read. It holds
// the entries that are or will be in force, as matters stand, and for what is
// no more in force the entry that was last; what another entry covers for good
// is not in it. So it grows with the options and with the windows that begin in
// the future, not with the history.
//
// The zero Standing is that of a citizen about whom nothing was recorded. A
// Standing is never changed: its methods return the next one. They may be
// called with a clock that is behind: nothing happens before AsOf.
type Standing struct {
	AsOf    time.Time // since when it holds: the last transaction, lapse or beginning that it counts
	lines   []line    // by option
	answers []answer  // by preference
}

// line is what the future of one option looks like.
type line struct {
	option OptionID
	ahead  []segment // disjoint, in order of time, ending after AsOf; two that touch are of two entries
	last   *Entry    // what was in force last when nothing is; else nil
}

// segment is a stretch of time in which one entry is in force.
type segment struct {
	from, until int64 // Unix milliseconds; until is outside
	entry       *Entry
}

// never is the end of what has none.
const never = math.MaxInt64

type answer struct {
	choice *Choice
	unset  bool
}

// Delta is what one update changed: exactly the permissions and preferences of
// which another entry counts now than before, or none any more.
type Delta struct {
	At time.Time // when it happened
	View
}

// Empty tells whether nothing changed.
func (d Delta) Empty() bool { return len(d.Permissions) == 0 && len(d.Preferences) == 0 }

// Record counts a transaction that is no reversion at now. The delta is empty
// when nothing in force changes by it, as with a late arrival that something
// later has overtaken.
//
// Call Advance before it until nothing is due, else what lapsed meanwhile is in
// the transaction's delta.
func (s Standing) Record(t Transaction, now time.Time) (Standing, Delta) {
	next := Standing{AsOf: s.Clock(now), lines: slices.Clone(s.lines), answers: slices.Clone(s.answers)}
	at := next.AsOf.UnixMilli()
	for i := range next.lines {
		next.lines[i] = next.lines[i].after(at)
	}
	next.count(t, at)
	return next, s.delta(next)
}

// Rebuild makes the state anew at now from a citizen's whole history in the
// order in which it was recorded, reversions included: after a reversion,
// which brings back what the Standing no longer holds, and after histories were
// joined or parted. The delta is against s, and what was in force by s and is
// not by the history shows as lapsed.
func (s Standing) Rebuild(history []Transaction, now time.Time) (Standing, Delta) {
	next := Standing{AsOf: s.Clock(now)}
	at := next.AsOf.UnixMilli()
	for _, t := range Counting(history) {
		next.count(t, at)
	}
	for _, l := range s.lines {
		if e, _ := l.at(at); e != nil {
			i, found := slices.BinarySearchFunc(next.lines, l.option, byOption)
			if !found {
				next.lines = slices.Insert(next.lines, i, line{option: l.option})
			}
			next.lines[i].last = e
			next.lines[i] = next.lines[i].after(at)
		}
	}
	for _, a := range s.answers {
		if i, found := slices.BinarySearchFunc(next.answers, a.choice.Preference, byReference); !found {
			next.answers = slices.Insert(next.answers, i, answer{a.choice, true})
		}
	}
	return next, s.delta(next)
}

// Advance lets the time come to the next instant at which something lapses or
// begins, at most to now. An empty delta means that nothing is due, and then s
// comes back as it is; else there may be more, so call it again. Each such
// instant is an update of its own, and what happened, happened then (Delta.At).
//
// Source: CONTRACT 6: reaching validFrom or validUntil is an update; DOMAIN
// 7.10, B8.
func (s Standing) Advance(now time.Time) (Standing, Delta) {
	due := s.Next()
	if due.IsZero() || due.After(now) {
		return s, Delta{}
	}
	next := Standing{AsOf: due, lines: slices.Clone(s.lines), answers: s.answers}
	for i := range next.lines {
		next.lines[i] = next.lines[i].after(due.UnixMilli())
	}
	return next, s.delta(next)
}

// Next returns the first instant after AsOf at which something lapses or
// begins, whether or not that has come already; zero: never. It is when Advance
// is due.
func (s Standing) Next() time.Time {
	as, due := s.AsOf.UnixMilli(), int64(never)
	for _, l := range s.lines {
		switch {
		case len(l.ahead) == 0:
		case l.ahead[0].from > as:
			due = min(due, l.ahead[0].from)
		default:
			due = min(due, l.ahead[0].until)
		}
	}
	if due == never {
		return time.Time{}
	}
	return time.UnixMilli(due).UTC()
}

// Effective returns the full state at now, also when something is due that
// nobody has advanced to yet.
func (s Standing) Effective(now time.Time) View {
	at := s.Clock(now).UnixMilli()
	v := View{Permissions: make([]Permission, 0, len(s.lines)), Preferences: make([]Selection, 0, len(s.answers))}
	for _, l := range s.lines {
		if e, lapsed := l.at(at); e != nil {
			v.Permissions = append(v.Permissions, Permission{*e, lapsed})
		}
	}
	for _, a := range s.answers {
		v.Preferences = append(v.Preferences, Selection{*a.choice, a.unset})
	}
	return v
}

// Clock returns now, or AsOf when that is later: what to take for recordedAt, so
// that a history stands in the order of its recordedAt even when the clocks of
// several nodes differ.
func (s Standing) Clock(now time.Time) time.Time {
	if now.Before(s.AsOf) {
		return s.AsOf
	}
	return now.UTC().Truncate(time.Millisecond)
}

// count adds what a transaction says to a Standing that nobody else has yet.
func (s *Standing) count(t Transaction, now int64) {
	for k := range t.Entries {
		e := &t.Entries[k]
		i, found := slices.BinarySearchFunc(s.lines, e.Option, byOption)
		switch {
		case found:
			s.lines[i] = s.lines[i].insert(e, now)
		case e.until() > now:
			s.lines = slices.Insert(s.lines, i, line{option: e.Option}.insert(e, now))
		}
	}
	for k := range t.Choices {
		c := &t.Choices[k]
		i, found := slices.BinarySearchFunc(s.answers, c.Preference, byReference)
		switch {
		case !found:
			s.answers = slices.Insert(s.answers, i, answer{choice: c})
		case s.answers[i].unset || !s.answers[i].choice.outranks(c):
			s.answers[i] = answer{choice: c}
		}
	}
}

// delta returns what differs between s and a later Standing.
func (s Standing) delta(next Standing) Delta {
	d := Delta{At: next.AsOf}
	was, is := s.AsOf.UnixMilli(), next.AsOf.UnixMilli()
	// Both are in the same order. What next has no line of was never in force.
	i := 0
	for _, l := range next.lines {
		for i < len(s.lines) && s.lines[i].option < l.option {
			i++
		}
		var before *Entry
		var lapsedBefore bool
		if i < len(s.lines) && s.lines[i].option == l.option {
			before, lapsedBefore = s.lines[i].at(was)
		}
		if e, lapsed := l.at(is); e != nil && (lapsed != lapsedBefore || !e.is(before)) {
			d.Permissions = append(d.Permissions, Permission{*e, lapsed})
		}
	}
	i = 0
	for _, a := range next.answers { // which has every preference that s has
		var before answer
		if i < len(s.answers) && s.answers[i].choice.Preference == a.choice.Preference {
			before = s.answers[i]
			i++
		}
		if !a.choice.is(before.choice) || a.unset != before.unset && len(a.choice.Chosen) > 0 {
			d.Preferences = append(d.Preferences, Selection{*a.choice, a.unset})
		}
	}
	return d
}

// at returns the entry that is in force at an instant, or with lapsed the one
// that was last; nil: there is none.
func (l line) at(t int64) (e *Entry, lapsed bool) {
	e, lapsed = l.last, l.last != nil
	for _, g := range l.ahead {
		switch {
		case g.from > t:
			return e, lapsed
		case g.until > t:
			return g.entry, false
		}
		e, lapsed = g.entry, true
	}
	return e, lapsed
}

// after returns the line without what no longer matters at t.
func (l line) after(t int64) line {
	for len(l.ahead) > 0 && l.ahead[0].until <= t {
		l.last, l.ahead = l.ahead[0].entry, l.ahead[1:]
	}
	if len(l.ahead) > 0 && l.ahead[0].from <= t {
		l.last = nil
	}
	return l
}

// insert returns the line with e, which stands behind all others in the
// history, counted from now on.
func (l line) insert(e *Entry, now int64) line {
	from, until := max(e.ValidFrom.UnixMilli(), now), e.until()
	if from >= until {
		return l
	}
	out := make([]segment, 0, len(l.ahead)+2)
	add := func(from, until int64, by *Entry) {
		switch n := len(out); {
		case from >= until:
		case n > 0 && out[n-1].until == from && out[n-1].entry == by:
			out[n-1].until = until
		default:
			out = append(out, segment{from, until, by})
		}
	}
	free := from // where e may begin to fill
	for _, g := range l.ahead {
		add(g.from, min(g.until, from), g.entry)
		add(free, min(g.from, until), e)
		by := e
		if g.entry.outranks(e) {
			by = g.entry
		}
		add(max(g.from, from), min(g.until, until), by)
		add(max(g.from, until), g.until, g.entry)
		free = max(free, min(g.until, until))
	}
	add(free, until, e)
	l.ahead = out
	return l.after(now)
}

// until returns where the entry ends.
func (e *Entry) until() int64 {
	if e.ValidUntil.IsZero() {
		return never
	}
	return e.ValidUntil.UnixMilli()
}
