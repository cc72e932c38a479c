package permission_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

// step is one line of a citizen's story: at some minute after t0 an answer to
// opt-a is recorded, a transaction is reverted, or nothing but time passes.
type step struct {
	minute                int
	says                  string // a state of consent; empty: nothing is recorded
	obtained, from, until string // durations such as "-5m" from t0 on; empty: absent
	reverts               int    // 1: the first transaction
	want                  string // what the deltas of this minute say, each with its minute
}

// TestStanding tells in stories what counts; the random histories prove the
// rest.
func TestStanding(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		story []step
	}{
		{"the later answer counts", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "DENIED", "", "", "", 0, "1 2 DENIED"}, {2, "", "", "", "", 0, ""},
		}},
		{"the same answer again is an update", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "GRANTED", "", "", "", 0, "1 2 GRANTED"},
		}},
		{"a late arrival changes nothing", []step{
			{0, "DENIED", "", "", "", 0, "0 1 DENIED"}, {1, "GRANTED", "-5m", "", "", 0, ""},
		}},
		{"of equal times the later recorded counts", []step{
			{0, "DENIED", "", "", "", 0, "0 1 DENIED"}, {1, "GRANTED", "0m", "", "", 0, "1 2 GRANTED"},
		}},
		{"in one millisecond the one recorded behind counts", []step{
			{0, "DENIED", "", "", "", 0, "0 1 DENIED"}, {0, "GRANTED", "", "", "", 0, "0 2 GRANTED"},
		}},
		{"validUntil is outside, and then nothing is in force", []step{
			{0, "GRANTED", "", "", "3m", 0, "0 1 GRANTED"}, {2, "", "", "", "", 0, ""}, {3, "", "", "", "", 0, "3 1 null"}, {9, "", "", "", "", 0, ""},
		}},
		{"a lapse brings back what it covered", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "DENIED", "", "", "3m", 0, "1 2 DENIED"}, {5, "", "", "", "", 0, "3 1 GRANTED"},
		}},
		{"a late arrival lasts longer", []step{
			{0, "GRANTED", "", "", "3m", 0, "0 1 GRANTED"}, {1, "DENIED", "-5m", "", "6m", 0, ""}, {9, "", "", "", "", 0, "3 2 DENIED; 6 2 null"},
		}},
		{"an answer begins later, validFrom inside", []step{
			{0, "GRANTED", "", "2m", "", 0, ""}, {1, "", "", "", "", 0, ""}, {2, "", "", "", "", 0, "2 1 GRANTED"},
		}},
		{"an answer obtained ahead of our clock begins then", []step{
			{0, "DENIED", "2m", "", "", 0, ""}, {1, "GRANTED", "", "", "", 0, "1 2 GRANTED"}, {2, "", "", "", "", 0, "2 1 DENIED"},
		}},
		{"an answer is withdrawn before it begins", []step{
			{0, "GRANTED", "", "5m", "", 0, ""}, {1, "DENIED", "", "", "", 0, "1 2 DENIED"}, {9, "", "", "", "", 0, ""},
		}},
		{"what was valid only before it was recorded never was in force", []step{
			{0, "GRANTED", "-9m", "", "-2m", 0, ""}, {1, "", "", "", "", 0, ""},
		}},
		{"each instant that was missed is an update", []step{
			{0, "GRANTED", "", "", "2m", 0, "0 1 GRANTED"}, {0, "DENIED", "-1m", "4m", "6m", 0, ""},
			{9, "", "", "", "", 0, "2 1 null; 4 2 DENIED; 6 2 null"},
		}},
		{"a reversion brings back what was replaced", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "DENIED", "", "", "", 0, "1 2 DENIED"}, {2, "", "", "", "", 2, "2 1 GRANTED"},
		}},
		{"a reversion leaves nothing", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "", "", "", "", 1, "1 1 null"}, {2, "", "", "", "", 0, ""},
		}},
		{"a reversion is reverted", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "", "", "", "", 1, "1 1 null"}, {2, "", "", "", "", 2, "2 1 GRANTED"},
		}},
		{"what was overtaken is reverted", []step{
			{0, "GRANTED", "", "", "", 0, "0 1 GRANTED"}, {1, "DENIED", "", "", "", 0, "1 2 DENIED"}, {2, "", "", "", "", 1, ""}, {3, "", "", "", "", 2, "3 2 null"},
		}},
		{"what would have begun is reverted", []step{
			{0, "GRANTED", "", "5m", "", 0, ""}, {1, "", "", "", "", 1, ""}, {9, "", "", "", "", 0, ""},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s permission.Standing
			var history []permission.Transaction
			at := func(d string) *time.Duration {
				if d == "" {
					return nil
				}
				v, err := time.ParseDuration(d)
				if err != nil {
					t.Fatal(err)
				}
				return &v
			}
			for _, st := range tt.story {
				now := t0.Add(time.Duration(st.minute) * time.Minute)
				var got []string
				tell := func(next permission.Standing, d permission.Delta) {
					for _, p := range d.Permissions {
						state := p.Effective()
						if state == "" {
							state = "null"
						}
						got = append(got, fmt.Sprintf("%d %s %s", int(d.At.Sub(t0).Minutes()), p.Origin.Transaction, state))
					}
					s = next
				}
				for due := s.Next(); !due.IsZero() && !due.After(now); due = s.Next() {
					tell(s.Advance(now))
				}
				if next, d := s.Advance(now); !d.Empty() || next.AsOf != s.AsOf {
					t.Errorf("minute %d: got %+v, want nothing due any more", st.minute, d)
				}
				id := permission.TransactionID(fmt.Sprint(len(history) + 1))
				switch {
				case st.says != "":
					txn, fs := request(change(says("consent", st.says), times(at(st.obtained), at(st.from), at(st.until)))).Transaction(basis(id, now), catalogue())
					if len(fs) > 0 {
						t.Fatal(places(fs))
					}
					history = append(history, txn)
					tell(s.Record(txn, now))
				case st.reverts > 0:
					r, err := permission.Revert(history, history[st.reverts-1].ID(), permission.Origin{Transaction: id, RecordedAt: now})
					if err != nil {
						t.Fatal(err)
					}
					history = append(history, r)
					tell(s.Rebuild(history, now))
				}
				if g := strings.Join(got, "; "); g != st.want {
					t.Errorf("minute %d: got %q, want %q", st.minute, g, st.want)
				}
			}
		})
	}
}

// TestRequest_order: within one request the later change of equal times counts,
// a group's included, and of unequal ones the later obtained.
func TestRequest_order(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		changes []permission.ChangeDraft
		want    string
	}{
		"the later":                       {[]permission.ChangeDraft{change(), change(says("consent", "DENIED"))}, "opt-a DENIED"},
		"the group behind the option":     {[]permission.ChangeDraft{change(), change(of("group", "grp-ab"), says("consent", "DENIED"))}, "opt-a DENIED opt-b DENIED"},
		"the option behind the group":     {[]permission.ChangeDraft{change(of("group", "grp-ab"), says("consent", "DENIED")), change()}, "opt-a GRANTED opt-b DENIED"},
		"the later obtained stands first": {[]permission.ChangeDraft{change(), change(says("consent", "DENIED"), times(ptr(-time.Minute), nil, nil))}, "opt-a GRANTED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			txn, fs := request(tt.changes...).Transaction(basis("txn-1", t0), catalogue())
			if len(fs) > 0 {
				t.Fatal(places(fs))
			}
			_, d := permission.Standing{}.Record(txn, t0)
			var got []string
			for _, p := range d.Permissions {
				got = append(got, string(p.Option), string(p.Effective()))
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("got %s, want %s", g, tt.want)
			}
		})
	}
}

// TestSelected: preferences count by obtainedAt, recordedAt and order, as
// permissions do.
func TestSelected(t *testing.T) {
	t.Parallel()
	var all []permission.Choice
	for i, d := range []struct {
		recorded int
		obtained *time.Time
		choice   permission.ChoiceDraft
	}{
		{0, nil, picks("topics", "topics_jazz")},
		{0, nil, picks("pace", "daily")},
		{1, ptr(t0), picks("topics", "topics_rock")},
		{1, ptr(t0), picks("topics", "topics_folk")},
		{2, ptr(t0.Add(-time.Hour)), picks("topics", "topics_jazz")},
		{3, ptr(t0.Add(-time.Hour)), picks("pace")},
	} {
		d.choice.ObtainedAt = d.obtained
		r := permission.Request{CitizenID: ptr("ctz-9f31"), Preferences: []permission.ChoiceDraft{d.choice}}
		txn, fs := r.Transaction(basis(permission.TransactionID(fmt.Sprint("txn-", i)), t0.Add(time.Duration(d.recorded)*time.Minute)), catalogue())
		if len(fs) > 0 {
			t.Fatal(places(fs))
		}
		all = append(all, txn.Choices...)
	}
	var got []string
	for _, c := range permission.Selected(all) {
		got = append(got, string(c.Origin.Transaction), c.Preference, c.Chosen[0].Reference)
	}
	if g, want := strings.Join(got, " "), "txn-1 pace daily txn-3 topics topics_folk"; g != want {
		t.Errorf("got %s, want %s", g, want)
	}
}

// TestStanding_pure: recording leaves the receiver alone, so that a transaction
// of the store may run again.
func TestStanding_pure(t *testing.T) {
	t.Parallel()
	txn, _ := request(change(times(nil, nil, ptr(time.Hour))), change(of("group", "grp-bcx"))).Transaction(basis("txn-1", t0), catalogue())
	s, _ := permission.Standing{}.Record(txn, t0)
	before, shown := string(s.Encode()), render(s.Effective(t0))
	again, _ := request(change(of("group", "grp-ab"), says("consent", "DENIED"), times(nil, nil, ptr(2*time.Minute)))).Transaction(basis("txn-2", t0.Add(time.Minute)), catalogue())
	for range 2 {
		next, d := s.Record(again, t0.Add(time.Minute))
		if len(d.Permissions) != 2 {
			t.Errorf("got %d changed, want 2", len(d.Permissions))
		}
		for _, now := range []time.Time{t0.Add(time.Hour), t0.Add(2 * time.Hour)} {
			next, _ = next.Advance(now)
		}
		s.Rebuild([]permission.Transaction{again}, t0.Add(time.Minute))
		if got := string(s.Encode()); got != before || render(s.Effective(t0)) != shown {
			t.Errorf("got %s, want it as it was: %s", got, before)
		}
	}
}

// past returns a citizen with 1,000 transactions over 50 options, half of them
// with an end, and the catalogue.
func past(b *testing.B) (permission.Standing, []permission.Transaction, *permission.Catalogue) {
	b.Helper()
	var os []permission.Option
	for i := range 50 {
		os = append(os, permission.Option{ID: permission.OptionID(fmt.Sprintf("opt-%02d", i))})
	}
	c := permission.NewCatalogue(os, nil, nil, nil, nil)
	var s permission.Standing
	var history []permission.Transaction
	for i := range 1000 {
		now := t0.Add(time.Duration(i) * time.Minute)
		d := change(of("option", string(os[i%50].ID)))
		if i%2 == 0 {
			d.ValidUntil = ptr(now.AddDate(1, 0, 0))
		}
		txn, fs := request(d).Transaction(basis(permission.TransactionID(fmt.Sprint("txn_01jgfjjzqk4y8nt3vkxk2m", i)), now), c)
		if len(fs) > 0 {
			b.Fatal(places(fs))
		}
		history = append(history, txn)
		s, _ = s.Record(txn, now)
	}
	return s, history, c
}

func BenchmarkStanding(b *testing.B) {
	s, history, c := past(b)
	now := t0.Add(1000 * time.Minute)
	r := request(change(of("option", "opt-25")))
	txn, _ := r.Transaction(basis("txn-last", now), c)
	citizen := permission.Citizen{Application: "app-042", ID: "ctz-9f31", ExternalRef: "CRM-000771"}
	_, d := s.Record(txn, now)
	kept := s.Encode()
	keptTxn := txn.Encode()
	var entries []permission.Entry
	for _, t := range history {
		entries = append(entries, t.Entries...)
	}
	b.Logf("a transaction is %d bytes when kept, the standing %d", len(keptTxn), len(kept))
	for _, bb := range []struct {
		name string
		do   func()
	}{
		{"Check", func() { r.Transaction(basis("txn-last", now), c) }},
		{"Record", func() { s.Record(txn, now) }},
		{"Advance", func() { s.Advance(now.AddDate(2, 0, 0)) }},
		{"Next", func() { s.Next() }},
		{"Effective", func() { s.Effective(now) }},
		{"DeltaBody", func() { permission.DeltaBody(citizen, d) }},
		{"EffectiveBody", func() { permission.EffectiveBody(citizen, s.Effective(now)) }},
		{"Encode", func() { s.Encode() }},
		{"Decode", func() { permission.DecodeStanding(kept) }},
		{"DecodeTransaction", func() { permission.DecodeTransaction(keptTxn) }},
		{"EffectiveOfHistory", func() { permission.Effective(entries, now) }},
		{"AsRecorded", func() { permission.AsRecorded(history, now) }},
		{"Rebuild", func() { s.Rebuild(history, now) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bb.do()
			}
		})
	}
}
