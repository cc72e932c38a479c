package app_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

var seed = flag.Uint64("seed", 0, "the seed of the random histories; 0 draws one")

// TestHistories records random transactions of several citizens at once: late
// arrivals, windows that lapse or begin later, groups, preferences, reversions,
// while the clock runs and somebody looks now and then. Each state that was
// read is found again by its time, and by permission's own model over the
// history that the store kept; what is in force is what the plain rule says;
// what was told adds up to it, in order, without a gap.
func TestHistories(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("repeat with -seed %d", *seed)
	synctest.Test(t, func(t *testing.T) {
		dice := rand.New(rand.NewPCG(*seed, 0))
		w := newWorld(t)
		w.configure()
		w.hearAll()
		const citizens, steps = 5, 300
		shown := map[string]map[time.Time][]byte{} // what a read showed, by reference and time
		known := map[string]permission.CitizenID{}
		tried := map[string]int{}
		var reversible []permission.TransactionID
		body := func(ref string, v permission.View) []byte {
			return permission.EffectiveBody(permission.Citizen{Application: string(w.app), ID: known[ref], ExternalRef: ref}, v)
		}
		for range steps {
			time.Sleep(time.Duration(dice.IntN(4)) * 20 * time.Minute)
			ref := fmt.Sprintf("crm-%d", dice.IntN(citizens))
			switch n := dice.IntN(20); {
			case n == 0:
				if _, err := w.AdvanceDue(w.ctx); err != nil {
					t.Fatal(err)
				}
			case n <= 2 && len(reversible) > 0:
				r, err := w.RevertTransaction(w.ctx, w.app, caller, reversible[dice.IntN(len(reversible))])
				switch {
				case err == nil:
					reversible = append(reversible, r.Transaction.ID())
					ref = r.Citizen.ExternalRef
					tried["reverted"]++
				case fault.CodeOf(err) != "transaction_reverted":
					t.Fatal(err)
				}
			default:
				r := w.record(randomRequest(dice, ref))
				known[ref] = r.Citizen.ID
				reversible = append(reversible, r.Transaction.ID())
				tried["recorded"]++
			}
			if known[ref] == "" {
				continue
			}
			_, v := w.now(ref)
			if shown[ref] == nil {
				shown[ref] = map[time.Time][]byte{}
			}
			shown[ref][time.Now()] = body(ref, v)
		}
		if _, err := w.AdvanceDue(w.ctx); err != nil {
			t.Fatal(err)
		}

		for ref, id := range known {
			history := w.history(id)
			for at, want := range shown[ref] {
				_, v, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: id}, at)
				if err != nil {
					t.Fatal(err)
				}
				if got := body(ref, v); !bytes.Equal(got, want) {
					t.Errorf("seed %d: %s at %s: got\n%s\nwant what was shown then\n%s", *seed, ref, at, got, want)
				}
				if got := body(ref, permission.AsRecorded(history, at)); !bytes.Equal(got, want) {
					t.Errorf("seed %d: %s at %s: the model says\n%s\nwant what was shown then\n%s", *seed, ref, at, got, want)
				}
				tried["found again"]++
			}
			c, v := w.now(ref)
			w.wantInForce(v, history)
			if c.Version < int64(len(history)) {
				t.Errorf("got version %d after %d transactions", c.Version, len(history))
			}
			w.wantTellings(id, body(ref, v))
		}
		for _, what := range []string{"recorded", "reverted", "found again"} {
			if tried[what] < 10 {
				t.Errorf("seed %d: %s %d times, want more", *seed, what, tried[what])
			}
		}
		t.Logf("tried %v, told %d events", tried, len(w.events(w.app)))
	})
}

// randomRequest draws a request about the citizen of a reference.
func randomRequest(dice *rand.Rand, ref string) permission.Request {
	now := time.Now().UTC()
	hours := func(n int) time.Duration { return time.Duration(n) * time.Hour }
	r := permission.Request{ExternalRef: &ref}
	for range 1 + dice.IntN(3) {
		c := change([]string{mailing, phoning, research}[dice.IntN(3)], []permission.State{permission.Granted, permission.Denied, permission.Pending}[dice.IntN(3)])
		if dice.IntN(6) == 0 {
			c.OptionType, c.OptionID = ptr(permission.TypeGroup), ptr(contact)
		}
		if dice.IntN(3) == 0 {
			c.ObtainedAt = ptr(now.Add(-hours(dice.IntN(20)))) // maybe late
		}
		if dice.IntN(3) == 0 {
			c.ValidFrom = ptr(now.Add(hours(dice.IntN(20) - 8)))
		}
		if dice.IntN(2) == 0 {
			from := now
			if c.ValidFrom != nil {
				from = *c.ValidFrom
			}
			c.ValidUntil = ptr(from.Add(hours(1 + dice.IntN(20))))
		}
		r.Changes = append(r.Changes, c)
	}
	if dice.IntN(3) == 0 {
		p := permission.ChoiceDraft{Preference: ptr("topics"), Choices: []permission.PickDraft{}}
		for _, reference := range []string{"jazz", "folk"} {
			if dice.IntN(2) == 0 {
				p.Choices = append(p.Choices, permission.PickDraft{Reference: &reference})
			}
		}
		if dice.IntN(2) == 0 {
			p.ObtainedAt = ptr(now.Add(-hours(dice.IntN(20))))
		}
		r.Preferences = append(r.Preferences, p)
	}
	return r
}

// wantInForce compares what a state says to be in force now with the plain
// rule over the whole history.
func (w *world) wantInForce(v permission.View, history []permission.Transaction) {
	w.t.Helper()
	var entries []permission.Entry
	var choices []permission.Choice
	for _, t := range permission.Counting(history) {
		entries, choices = append(entries, t.Entries...), append(choices, t.Choices...)
	}
	var want, got []string
	for _, e := range permission.Effective(entries, time.Now()) {
		want = append(want, fmt.Sprint(e.Option, e.State, e.Origin.Transaction, e.Place))
	}
	for _, c := range permission.Selected(choices) {
		want = append(want, fmt.Sprint(c.Preference, c.Chosen, c.Origin.Transaction, c.Place))
	}
	for _, p := range v.Permissions {
		if !p.Lapsed {
			got = append(got, fmt.Sprint(p.Option, p.State, p.Origin.Transaction, p.Place))
		}
	}
	for _, s := range v.Preferences {
		if !s.Unset {
			got = append(got, fmt.Sprint(s.Preference, s.Chosen, s.Origin.Transaction, s.Place))
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("seed %d: in force are\n%v\nwant\n%v", *seed, got, want)
	}
}

// wantTellings checks what was told of a citizen: deltas and full states in
// turn, each full state the sum of the deltas so far, the last one final unless
// that is nil, and the sequence without a gap.
func (w *world) wantTellings(id permission.CitizenID, final []byte) {
	w.t.Helper()
	type state struct {
		ApplicationID json.RawMessage   `json:"applicationId"`
		CitizenID     json.RawMessage   `json:"citizenId"`
		ExternalRef   json.RawMessage   `json:"externalRef"`
		MergedInto    json.RawMessage   `json:"mergedInto,omitempty"`
		Permissions   []json.RawMessage `json:"permissions"`
		Preferences   []json.RawMessage `json:"preferences"`
	}
	key := func(raw json.RawMessage) string {
		var k struct{ OptionID, Preference string }
		if err := json.Unmarshal(raw, &k); err != nil {
			w.t.Fatal(err)
		}
		return k.OptionID + "/" + k.Preference
	}
	sum := map[string]json.RawMessage{}
	var sequence int64
	var last event.Event
	for _, e := range w.events(w.app) {
		if e.Subject != string(id) {
			continue
		}
		sequence++
		var b state
		if err := json.Unmarshal(e.Body, &b); err != nil {
			w.t.Fatal(err)
		}
		all := slices.Concat(b.Permissions, b.Preferences)
		switch {
		case e.Sequence != sequence || last.Type == event.PermissionsDelta && e.Type != event.PermissionsEffective:
			w.t.Fatalf("seed %d: got %s with sequence %d behind %s, want %d, and a full state behind each delta", *seed, e.Type, e.Sequence, last.Type, sequence)
		case e.OccurredAt.Before(last.OccurredAt) || e.OccurredAt.After(e.RecordedAt):
			w.t.Errorf("seed %d: event %d occurred at %s, after one of %s, and was recorded at %s", *seed, sequence, e.OccurredAt, last.OccurredAt, e.RecordedAt)
		case e.Type == event.PermissionsDelta:
			for _, raw := range all {
				sum[key(raw)] = raw
			}
		default:
			b.Permissions, b.Preferences = []json.RawMessage{}, []json.RawMessage{}
			for _, k := range slices.Sorted(maps.Keys(sum)) {
				if k[0] != '/' {
					b.Permissions = append(b.Permissions, sum[k])
				} else {
					b.Preferences = append(b.Preferences, sum[k])
				}
			}
			if want, err := json.Marshal(b); err != nil || !bytes.Equal(e.Body, want) {
				w.t.Errorf("seed %d: event %d tells\n%s\nwant the sum of the deltas\n%s", *seed, sequence, e.Body, want)
			}
		}
		last = e
	}
	if sequence > 0 && final != nil && !bytes.Equal(last.Body, final) {
		w.t.Errorf("seed %d: the last full state told is\n%s\nwant\n%s", *seed, last.Body, final)
	}
}
