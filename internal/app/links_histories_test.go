package app_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

var worlds = flag.Int("worlds", 4, "how many worlds TestLinks plays through; 40 are 10,000 steps")

// model is what becomes of a few citizens, in the plainest way: every history is
// kept, and every question is answered from all of it.
type model struct {
	at     time.Time         // it has come to here
	names  map[string]string // of whom each citizen is a part; itself: it stands by itself
	groups map[string]int    // 0: none
	ids    map[string]permission.CitizenID
	owners map[permission.TransactionID]string
	all    []permission.Transaction                            // in the order recorded
	said   map[string]map[permission.OptionID]permission.Entry // what was in force last
	chosen map[string]map[string]permission.Choice
}

// counts returns the transactions that count for a citizen.
func (m *model) counts(name string) []permission.Transaction {
	var out []permission.Transaction
	for _, t := range m.all {
		if o := m.names[m.owners[t.ID()]]; o == name || m.groups[name] != 0 && m.groups[o] == m.groups[name] {
			out = append(out, t)
		}
	}
	return permission.Counting(out)
}

// inForce returns what counts for a citizen at an instant.
func (m *model) inForce(name string, at time.Time) ([]permission.Entry, []permission.Choice) {
	var es []permission.Entry
	var cs []permission.Choice
	for _, t := range m.counts(name) {
		es, cs = append(es, t.Entries...), append(cs, t.Choices...)
	}
	return permission.Effective(es, at), permission.Selected(cs)
}

// come lets the time come to an instant, and notes what is in force meanwhile.
func (m *model) come(to time.Time) {
	instants := []time.Time{to}
	for _, t := range m.all {
		for _, e := range t.Entries {
			for _, i := range []time.Time{e.ValidFrom, e.ValidUntil} {
				if i.After(m.at) && i.Before(to) {
					instants = append(instants, i)
				}
			}
		}
	}
	slices.SortFunc(instants, time.Time.Compare)
	for _, i := range slices.Compact(instants) {
		for _, name := range m.standing() {
			es, cs := m.inForce(name, i)
			for _, e := range es {
				m.said[name][e.Option] = e
			}
			for _, c := range cs {
				m.chosen[name][c.Preference] = c
			}
		}
	}
	m.at = to
}

// standing returns the citizens that are no part of another one.
func (m *model) standing() (out []string) {
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		if m.names[name] == name {
			out = append(out, name)
		}
	}
	return out
}

// view returns the state of a citizen at the instant to which the model came.
func (m *model) view(name string) permission.View {
	es, cs := m.inForce(name, m.at)
	var v permission.View
	for _, o := range slices.Sorted(maps.Keys(m.said[name])) {
		p := permission.Permission{Entry: m.said[name][o], Lapsed: !slices.ContainsFunc(es, func(e permission.Entry) bool { return e.Option == o })}
		v.Permissions = append(v.Permissions, p)
	}
	for _, r := range slices.Sorted(maps.Keys(m.chosen[name])) {
		s := permission.Selection{Choice: m.chosen[name][r], Unset: !slices.ContainsFunc(cs, func(c permission.Choice) bool { return c.Preference == r })}
		v.Preferences = append(v.Preferences, s)
	}
	return v
}

// meet adds a citizen that nobody knew.
func (m *model) meet(name string, cid permission.CitizenID) {
	if _, known := m.names[name]; !known {
		m.names[name], m.ids[name] = name, cid
		m.said[name], m.chosen[name] = map[permission.OptionID]permission.Entry{}, map[string]permission.Choice{}
	}
}

// TestLinks plays random transactions, imports, late arrivals, lapses,
// reversions, links, unlinks and merges of a few citizens. After each step each
// citizen's state is that of the model, by every name that it has; what was
// shown is found again by its time; what was told adds up to it.
func TestLinks(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	worlds := *worlds
	if testing.Short() || slow {
		worlds = 1
	}
	tried := make(chan map[string]int, worlds)
	t.Run("worlds", func(t *testing.T) {
		for n := range worlds {
			t.Run(strconv.FormatUint(*seed+uint64(n), 10), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { tried <- playLinks(t, *seed+uint64(n)) })
			})
		}
	})
	close(tried)
	sum := map[string]int{}
	for one := range tried {
		for what, n := range one {
			sum[what] += n
		}
	}
	t.Logf("repeat with -seed %d; tried %v", *seed, sum)
	for _, what := range []string{"recorded", "imported", "reverted", "linked", "parted", "merged", "found again"} {
		if sum[what] < worlds {
			t.Errorf("seed %d: %s %d times, want more", *seed, what, sum[what])
		}
	}
}

func playLinks(t *testing.T, seed uint64) map[string]int {
	dice := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	w.configure()
	w.hearAll()
	m := &model{
		at: time.Now(), names: map[string]string{}, groups: map[string]int{}, ids: map[string]permission.CitizenID{},
		owners: map[permission.TransactionID]string{}, said: map[string]map[permission.OptionID]permission.Entry{}, chosen: map[string]map[string]permission.Choice{},
	}
	shown := map[string]map[time.Time][]byte{} // by citizen and time
	tried := map[string]int{}
	body := func(name string, v permission.View) []byte {
		return permission.EffectiveBody(permission.Citizen{Application: string(w.app), ID: m.ids[name], ExternalRef: name}, v)
	}
	// key names a citizen by one of its names, or two.
	key := func(name string) app.CitizenKey {
		k := app.CitizenKey{ID: m.ids[name], ExternalRef: name}
		switch dice.IntN(3) {
		case 0:
			k.ID = ""
		case 1:
			k.ExternalRef = ""
		}
		return k
	}
	// look compares all states with the model, and keeps them.
	look := func(step string) {
		now := time.Now()
		m.come(now)
		for _, name := range slices.Sorted(maps.Keys(m.names)) {
			own := m.names[name]
			c, v, err := w.Permissions(w.ctx, w.app, key(name), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			want := body(own, m.view(own))
			if got := body(own, v); c.ID != m.ids[own] || c.ExternalRef != own || !bytes.Equal(got, want) {
				t.Fatalf("seed %d, %s: by %s: got\n%s\nwant\n%s", seed, step, name, got, want)
			}
			if shown[own] == nil {
				shown[own] = map[time.Time][]byte{}
			}
			shown[own][now] = want
		}
	}
	// again finds the state of a citizen at an instant.
	again := func(name string, at time.Time) {
		_, v, err := w.Permissions(w.ctx, w.app, key(name), at)
		if err != nil {
			t.Fatal(err)
		}
		own := m.names[name]
		if got, want := body(own, v), shown[own][at]; !bytes.Equal(got, want) {
			t.Fatalf("seed %d: by %s at %s: got\n%s\nwant what was shown then\n%s", seed, name, at, got, want)
		}
		tried["found again"]++
	}
	// note takes over what was recorded for a citizen, in order.
	note := func(ts ...permission.Transaction) {
		for _, x := range ts {
			for name, cid := range m.ids {
				if cid == x.Citizen && m.names[name] == name {
					m.owners[x.ID()] = name
				}
			}
			if m.owners[x.ID()] == "" {
				t.Fatalf("seed %d: got a transaction of %s, who is no citizen by itself", seed, x.Citizen)
			}
			m.all = append(m.all, x)
		}
	}
	const citizens, steps = 6, 250
	for step := range steps {
		time.Sleep(time.Duration(dice.IntN(4)) * 20 * time.Minute)
		if dice.IntN(3) == 0 && len(m.all) > 0 {
			look(fmt.Sprintf("before step %d", step))
		}
		m.come(time.Now())
		name, other := fmt.Sprintf("crm-%d", dice.IntN(citizens)), fmt.Sprintf("crm-%d", dice.IntN(citizens))
		did := "nothing"
		switch n := dice.IntN(100); {
		case n < 5:
			if _, err := w.AdvanceDue(w.ctx); err != nil {
				t.Fatal(err)
			}
			did = "advanced"
		case n < 15 && len(m.all) > 0:
			r, err := w.RevertTransaction(w.ctx, w.app, caller, m.all[dice.IntN(len(m.all))].ID())
			if err == nil {
				note(r.Transaction)
				did = "reverted"
			} else if fault.CodeOf(err) != "transaction_reverted" {
				t.Fatal(err)
			}
		case n < 30 && m.ids[name] != "" && m.ids[other] != "":
			tied, err := w.Link(w.ctx, w.app, m.ids[name], key(other))
			a, b := m.names[name], m.names[other]
			switch {
			case a == b:
				wantFault(t, err, fault.Invalid, app.CodeSameCitizen)
			case err != nil:
				t.Fatal(err)
			default:
				m.link(a, b, step+1)
				did = "linked"
				wantLinks(t, m, a, tied)
			}
		case n < 38 && m.ids[name] != "" && m.ids[other] != "":
			by := key(other)
			if dice.IntN(2) == 0 {
				by, other = app.CitizenKey{}, name
			}
			tied, err := w.Unlink(w.ctx, w.app, m.ids[name], by)
			a, b := m.names[name], m.names[other]
			switch {
			case m.groups[a] == 0 || m.groups[a] != m.groups[b]:
				wantFault(t, err, fault.Conflict, app.CodeNotLinked)
			case err != nil:
				t.Fatal(err)
			default:
				m.leave(b)
				did = "parted"
				wantLinks(t, m, a, tied)
			}
		case n < 40 && m.ids[name] != "" && m.ids[other] != "" && len(m.standing()) > 2:
			tied, err := w.Merge(w.ctx, w.app, m.ids[name], key(other))
			a, b := m.names[name], m.names[other]
			switch {
			case a == b && other == a:
				wantFault(t, err, fault.Invalid, app.CodeSameCitizen)
			case err != nil:
				t.Fatal(err)
			case a != b:
				m.link(a, b, step+1)
				m.leave(b)
				for o := range m.names {
					if m.names[o] == b {
						m.names[o] = a
					}
				}
				did = "merged"
				wantLinks(t, m, a, tied)
			}
		case n < 50:
			var requests []permission.Request
			var lines []string
			for k := range 1 + dice.IntN(4) {
				requests = append(requests, randomRequest(dice, fmt.Sprintf("crm-%d", dice.IntN(citizens))))
				lines = append(lines, strconv.Itoa(k))
			}
			_, err := w.Import(w.ctx, w.app, caller, app.ImportRequest{
				Silent: false, Lines: strings.NewReader(strings.Join(lines, "\n")),
				Parse: func(line []byte) (permission.Request, error) {
					k, err := strconv.Atoi(string(line))
					return requests[k], err
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			var ids []permission.CitizenID
			for _, r := range requests {
				c, _ := w.now(*r.ExternalRef)
				m.meet(*r.ExternalRef, c.ID)
				ids = append(ids, c.ID)
			}
			ts, err := w.store.Transactions(w.ctx, w.app, ids...)
			if err != nil {
				t.Fatal(err)
			}
			ts = slices.DeleteFunc(ts, func(x permission.Transaction) bool { return m.owners[x.ID()] != "" })
			if len(ts) != len(requests) {
				t.Fatalf("seed %d: got %d transactions of %d lines", seed, len(ts), len(requests))
			}
			note(ts...)
			did = "imported"
		default:
			r := randomRequest(dice, name)
			if cid := m.ids[name]; cid != "" && dice.IntN(3) == 0 {
				r.CitizenID = ptr(string(cid))
			}
			made := w.record(r)
			m.meet(name, made.Citizen.ID)
			note(made.Transaction)
			did = "recorded"
		}
		tried[did]++
		if len(m.all) == 0 {
			continue
		}
		look(fmt.Sprintf("after step %d: %s %s %s", step, did, name, other))
		for range 3 {
			name := slices.Sorted(maps.Keys(m.names))[dice.IntN(len(m.names))]
			instants := slices.SortedFunc(maps.Keys(shown[m.names[name]]), time.Time.Compare)
			again(name, instants[dice.IntN(len(instants))])
		}
	}
	if _, err := w.AdvanceDue(w.ctx); err != nil {
		t.Fatal(err)
	}
	look("at the end")
	for name, at := range shown {
		if m.names[name] != name {
			name = m.names[name]
		}
		for at := range at {
			if shown[name][at] != nil {
				again(name, at)
			}
		}
	}
	for name, cid := range m.ids {
		var final []byte // of one that was merged the last one, whatever it is
		if m.names[name] == name {
			final = body(name, m.view(name))
		}
		w.wantTellings(cid, final)
	}
	return tried
}

// link makes one group of those of two citizens.
func (m *model) link(a, b string, fresh int) {
	is, was := cmp.Or(m.groups[a], m.groups[b], fresh), m.groups[b]
	for o, g := range m.groups {
		if g == was {
			m.groups[o] = is
		}
	}
	m.groups[a], m.groups[b] = is, is
}

// leave takes a citizen out of its group.
func (m *model) leave(name string) {
	g := m.groups[name]
	delete(m.groups, name)
	var left []string
	for o := range m.groups {
		if m.groups[o] == g {
			left = append(left, o)
		}
	}
	if g != 0 && len(left) == 1 {
		delete(m.groups, left[0])
	}
}

// wantLinks compares who is linked with a citizen with the model.
func wantLinks(t *testing.T, m *model, name string, got app.Tied) {
	t.Helper()
	var names, want []string
	for _, c := range got.Links {
		names = append(names, c.ExternalRef)
	}
	for _, o := range m.standing() {
		if o != name && m.groups[name] != 0 && m.groups[o] == m.groups[name] {
			want = append(want, o)
		}
	}
	slices.Sort(names)
	if got.ID != m.ids[name] || !slices.Equal(names, want) {
		t.Fatalf("got %s linked with %v, want %s with %v", got.ExternalRef, names, name, want)
	}
	for _, c := range got.Merged {
		if m.names[c.ExternalRef] != name {
			t.Fatalf("got %s as a part of %s, want it of %s", c.ExternalRef, name, m.names[c.ExternalRef])
		}
	}
}
