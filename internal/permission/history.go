package permission

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Permission is what a citizen's state says of one option.
type Permission struct {
	Entry       // in force; with Lapsed the one that was in force last
	Lapsed bool // nothing is in force any more: it lapsed or was reverted
}

// Effective returns the state: null when nothing is in force any more.
func (p Permission) Effective() State {
	if p.Lapsed {
		return ""
	}
	return p.State
}

// Selection is what a citizen's state says of one preference.
type Selection struct {
	Choice      // that counts; with Unset the one that counted last
	Unset  bool // no choice counts any more: it was reverted
}

// Effective returns the alternatives that are chosen; none when no choice
// counts any more.
func (s Selection) Effective() []Alternative {
	if s.Unset {
		return nil
	}
	return s.Chosen
}

// View is a citizen's state, whole or in part: permissions by the bytes of
// their option's ID, preferences by the bytes of their reference. An option or
// a preference about which nothing was ever in force is not in it.
type View struct {
	Permissions []Permission
	Preferences []Selection
}

// outranks tells whether what was obtained and recorded at the first two times
// goes before what was at the other two. At a tie neither does, and the one
// that stands later in the history counts.
//
// Source: CONTRACT 6: the latest obtainedAt wins, then the later recordedAt,
// then the later in the request.
func outranks(obtained, recorded, otherObtained, otherRecorded time.Time) bool {
	if c := obtained.Compare(otherObtained); c != 0 {
		return c > 0
	}
	return recorded.After(otherRecorded)
}

func (e *Entry) outranks(f *Entry) bool {
	return outranks(e.ObtainedAt, e.Origin.RecordedAt, f.ObtainedAt, f.Origin.RecordedAt)
}

func (c *Choice) outranks(d *Choice) bool {
	return outranks(c.ObtainedAt, c.Origin.RecordedAt, d.ObtainedAt, d.Origin.RecordedAt)
}

// is tells whether both are one entry, even if one was read anew.
func (e *Entry) is(f *Entry) bool {
	return e == f || e != nil && f != nil && e.Place == f.Place && e.Option == f.Option && e.Origin.Transaction == f.Origin.Transaction
}

func (c *Choice) is(d *Choice) bool {
	return c == d || c != nil && d != nil && c.Place == d.Place && c.Preference == d.Preference && c.Origin.Transaction == d.Origin.Transaction
}

// Effective returns what is in force at an instant by a list of entries, one
// for each option that has something in force, by the bytes of its ID.
//
// Of the entries of an option that are valid at the instant the latest
// obtainedAt counts, then the later recordedAt, then the later in the list. So
// the list is in the order of the history: transactions as they were recorded,
// entries as they stand in each.
func Effective(entries []Entry, at time.Time) []Entry {
	best := make(map[OptionID]*Entry)
	for i := range entries {
		e := &entries[i]
		if b := best[e.Option]; e.ValidAt(at) && (b == nil || !b.outranks(e)) {
			best[e.Option] = e
		}
	}
	out := make([]Entry, 0, len(best))
	for _, id := range slices.Sorted(maps.Keys(best)) {
		out = append(out, *best[id])
	}
	return out
}

// Selected returns the choice that counts of each preference, by the bytes of
// its reference: the latest obtainedAt, then the later recordedAt, then the
// later in the list, which is in the order of the history. A choice counts as
// soon as it is recorded, and for ever.
func Selected(choices []Choice) []Choice {
	best := make(map[string]*Choice)
	for i := range choices {
		c := &choices[i]
		if b := best[c.Preference]; b == nil || !b.outranks(c) {
			best[c.Preference] = c
		}
	}
	out := make([]Choice, 0, len(best))
	for _, reference := range slices.Sorted(maps.Keys(best)) {
		out = append(out, *best[reference])
	}
	return out
}

// AsRecorded returns the state of a citizen at an instant in the past, by what
// was recorded then, that instant inside: what came in late or was reverted
// since is not in it. It equals what the Standing of that time showed.
//
// The history is whole and in the order in which it was recorded.
func AsRecorded(history []Transaction, at time.Time) View { return Replay(Standing{}, history, at) }

// Replay returns what AsRecorded does, from the Standing of an earlier instant
// and the tail of the history behind it. Only the whole history, behind the
// zero Standing, may hold a reversion: what comes back by one is in no Standing.
func Replay(s Standing, tail []Transaction, at time.Time) View {
	s.lines, s.answers = slices.Clone(s.lines), slices.Clone(s.answers)
	var seen []Transaction
	for _, t := range tail {
		if t.Origin.RecordedAt.After(at) {
			continue
		}
		seen = append(seen, t)
		if t.Reverts != "" {
			s, _ = s.Rebuild(seen, t.Origin.RecordedAt)
			continue
		}
		s.AsOf = s.Clock(t.Origin.RecordedAt)
		s.count(t, s.AsOf.UnixMilli())
	}
	return s.Effective(at)
}

// byOption and byReference order what a Standing holds.
func byOption(l line, id OptionID) int           { return cmp.Compare(l.option, id) }
func byReference(s answer, reference string) int { return cmp.Compare(s.choice.Preference, reference) }
