package permission_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

// TestReminders tells in stories who is reminded of what.
func TestReminders(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type answer struct {
		day                   int // since t0
		option, says          string
		obtained, from, until int // days since t0; 0: absent
	}
	tests := []struct {
		name    string
		answers []answer
		want    string // "day option …" of every reminder from t0 on
	}{
		{"7 days before its end", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}}, "23 opt-a"},
		{"what has no end has no reminder", []answer{{0, "opt-a", "GRANTED", 0, 0, 0}}, ""},
		{"a refusal has none", []answer{{0, "opt-a", "DENIED", 0, 0, 30}}, ""},
		{"a question has none", []answer{{0, "opt-a", "PENDING", 0, 0, 30}}, ""},
		{"what is not by consent has none", []answer{{0, "opt-a", "CLAIMED", 0, 0, 30}}, ""},
		{"recorded at the very instant", []answer{{23, "opt-a", "GRANTED", 0, 0, 30}}, "23 opt-a"},
		{"recorded later than that", []answer{{24, "opt-a", "GRANTED", 0, 0, 30}}, ""},
		{"beginning at the very instant", []answer{{0, "opt-a", "GRANTED", 0, 23, 30}}, "23 opt-a"},
		{"beginning later than that", []answer{{0, "opt-a", "GRANTED", 0, 24, 30}}, ""},
		{"withdrawn before", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}, {20, "opt-a", "DENIED", 0, 0, 0}}, ""},
		{"withdrawn in the last 7 days", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}, {25, "opt-a", "DENIED", 0, 0, 0}}, "23 opt-a"},
		{"a withdrawal is to come in the last 7 days", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}, {1, "opt-a", "DENIED", 0, 28, 0}}, ""},
		{"given anew with a later end", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}, {10, "opt-a", "GRANTED", 0, 0, 60}}, "53 opt-a"},
		{"a pause that ends before", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}, {5, "opt-a", "DENIED", 0, 0, 20}}, "23 opt-a"},
		{"a pause over the instant", []answer{{0, "opt-a", "GRANTED", 0, 0, 30}, {5, "opt-a", "DENIED", 0, 0, 24}}, ""},
		{"two at one instant", []answer{{0, "opt-b", "GRANTED", 0, 0, 30}, {1, "opt-a", "GRANTED", 0, 0, 30}, {1, "opt-c", "GRANTED", 0, 0, 40}}, "23 opt-a opt-b; 33 opt-c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := func(days int) *time.Time {
				if days == 0 {
					return nil
				}
				return ptr(t0.Add(time.Duration(days) * day))
			}
			var s permission.Standing
			var seen time.Time
			var got []string
			look := func(upto time.Time) {
				for at := s.NextReminder(seen); !at.IsZero() && !at.After(upto); at = s.NextReminder(seen) {
					line := fmt.Sprint(int(at.Sub(t0) / day))
					for _, e := range s.Reminders(at) {
						line += " " + string(e.Option)
					}
					got, seen = append(got, line), at
				}
			}
			for i, a := range tt.answers {
				now := t0.Add(time.Duration(a.day) * day)
				look(now)
				j := "consent"
				if a.says == "CLAIMED" {
					j = "contract"
				}
				d := change(of("option", a.option), says(j, a.says))
				d.ObtainedAt, d.ValidFrom, d.ValidUntil = at(a.obtained), at(a.from), at(a.until)
				txn, fs := request(d).Transaction(basis(permission.TransactionID(fmt.Sprint("txn-", i)), now), catalogue())
				if len(fs) > 0 {
					t.Fatal(places(fs))
				}
				s, _ = s.Record(txn, now)
			}
			look(t0.Add(1000 * day))
			if g := strings.Join(got, "; "); g != tt.want {
				t.Errorf("got %q, want %q", g, tt.want)
			}
		})
	}
}

// TestReminders_histories: whatever was recorded, a reminder is due at an
// instant for exactly those grants that end ReminderAhead later and that are in
// force from then on without a gap, by what was known at each instant of that
// time.
func TestReminders_histories(t *testing.T) {
	t.Parallel()
	const citizens, transactions, step = 400, 12, 24 * time.Hour // ReminderAhead is 7 steps
	salt := *seed
	if salt == 0 {
		salt = rand.Uint64()
	}
	found := 0
	for citizen := range uint64(citizens) {
		dice := rand.New(rand.NewPCG(salt, citizen))
		var s permission.Standing
		var history []permission.Transaction
		now, rebuilt := t0, time.Time{}
		for n := range transactions {
			now = now.Add(step * time.Duration(dice.IntN(4)))
			for next, d := s.Advance(now); !d.Empty(); next, d = s.Advance(now) {
				s = next
			}
			id := permission.TransactionID(fmt.Sprint("txn-", n))
			if dice.IntN(12) == 0 && len(history) > 0 {
				r, err := permission.Revert(history, history[dice.IntN(len(history))].ID(), permission.Origin{Transaction: id, RecordedAt: now})
				if err != nil {
					continue // it was reverted
				}
				history, rebuilt = append(history, r), now
				s, _ = s.Rebuild(history, now)
			} else {
				r := random(dice, step, now)
				for i := range r.Changes { // mostly grants, and long enough
					d := &r.Changes[i]
					if dice.IntN(3) > 0 {
						d.Justification, d.State = ptr("consent"), ptr("GRANTED")
					}
					if d.ValidUntil != nil && dice.IntN(2) == 0 {
						d.ValidUntil = ptr(d.ValidUntil.Add(8 * step))
					}
				}
				txn, fs := r.Transaction(permission.Basis{ID: id, Citizen: "ctz", Now: now}, catalogue())
				if len(fs) > 0 {
					t.Fatal(places(fs))
				}
				history = append(history, txn)
				s, _ = s.Record(txn, now)
			}
			back, err := permission.DecodeStanding(s.Encode())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []permission.Standing{s, back} {
				var next time.Time
				for day := 40; day >= 0; day-- { // from far ahead to what may be past
					at := now.Add(step * time.Duration(day-6))
					if at.Before(rebuilt) {
						break // a state that was made anew begins then
					}
					want := ending(history, now, at)
					var got []string
					for _, e := range s.Reminders(at) {
						got = append(got, name(e))
					}
					if !slices.Equal(got, want) {
						t.Fatalf("seed %d, citizen %d, at %v for %v: got %v, want %v of %s", salt, citizen, now, at, got, want, log(history))
					}
					if found += len(want); len(want) > 0 {
						next = at
					}
					if due := s.NextReminder(at.Add(-time.Millisecond)); !due.Equal(next) {
						t.Fatalf("seed %d, citizen %d, at %v: got the next from %v at %v, want %v", salt, citizen, now, at, due, next)
					}
				}
			}
		}
	}
	if found < 1000 {
		t.Errorf("got %d reminders in all, want at least 1000 to call it tried", found)
	}
}

// ending is the model of Reminders at an instant, by what is recorded up to
// now. Times are whole days.
func ending(history []permission.Transaction, now, at time.Time) []string {
	var out []string
	for _, o := range options {
		e := inForce(known(history, now, at), o.ID, at)
		if e == nil || e.State != permission.Granted || !e.ValidUntil.Equal(at.Add(permission.ReminderAhead)) || !now.Before(e.ValidUntil) {
			continue
		}
		whole := true
		for day := at; day.Before(e.ValidUntil); day = day.Add(24 * time.Hour) {
			f := inForce(known(history, now, day), o.ID, day)
			whole = whole && f != nil && name(*f) == name(*e)
		}
		if whole {
			out = append(out, name(*e))
		}
	}
	return out
}

// known is what was recorded by an instant, or by now when that is still to
// come.
func known(history []permission.Transaction, now, at time.Time) []permission.Transaction {
	if at.After(now) {
		at = now
	}
	return slices.DeleteFunc(slices.Clone(history), func(t permission.Transaction) bool { return t.Origin.RecordedAt.After(at) })
}
