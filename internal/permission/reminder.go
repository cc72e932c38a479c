package permission

import "time"

// ReminderAhead is how long before its end a citizen is reminded of a
// permission. Source: CONTRACT 6.
const ReminderAhead = 7 * 24 * time.Hour

// NextReminder returns the first instant behind after at which the end of a
// granted permission is ReminderAhead away; zero: there is none. A permission
// that began or was recorded later than that has none, and so has one that
// something else will have taken the place of by then.
func (s Standing) NextReminder(after time.Time) time.Time {
	var due time.Time
	s.reminders(func(_ *Entry, at time.Time) {
		if at.After(after) && (due.IsZero() || at.Before(due)) {
			due = at
		}
	})
	return due
}

// Reminders returns the permissions that NextReminder means at an instant, in
// the order of their options.
func (s Standing) Reminders(at time.Time) []Entry {
	var out []Entry
	s.reminders(func(e *Entry, due time.Time) {
		if due.Equal(at) {
			out = append(out, *e)
		}
	})
	return out
}

func (s Standing) reminders(each func(e *Entry, at time.Time)) {
	for _, l := range s.lines {
		for _, g := range l.ahead {
			at := g.until - ReminderAhead.Milliseconds()
			if g.until != never && g.until == g.entry.until() && g.from <= at && g.entry.State == Granted {
				each(g.entry, time.UnixMilli(at).UTC())
			}
		}
	}
}
