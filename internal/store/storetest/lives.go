package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// fate is what became of one event at the endpoint, as the model has it.
type fate struct {
	status delivery.Status // pending stands for all that waits
	row    *delivery.Exception
	tries  int // attempts made in all
	pause  int // discarded: in which pause
}

// life is the endpoint "sub_1" with a model of it, which keeps a status for
// each event and changes it when something happens; a backend derives it from
// where the endpoint stands.
type life struct {
	*room
	dice   *rand.Rand
	e      subscription.Endpoint
	lease  delivery.Lease
	evts   []event.Event
	fates  map[event.Seq]*fate
	cursor event.Seq
	held   bool
	pauses int
	jobs   int
	at     time.Time
	did    []string
}

var lifeTypes = []event.Type{event.ConsentCreated, event.ConsentApproved, event.ConsentRevoked}

// lives carries out random histories of an endpoint, its owner and its engine,
// and compares after each step what is read with the model.
func lives(t *testing.T, r *room) {
	r.apps()
	const histories, steps = 8, 70
	for n := range uint64(histories) {
		app := subscription.ID(fmt.Sprintf("sub_%d", n))
		l := &life{room: r, dice: rand.New(rand.NewPCG(n, 11)), fates: map[event.Seq]*fate{}, at: minute(100_000), evts: r.events(app1)} // #nosec G404 -- a seed that can be played again
		l.e = subscriber(app1, app, event.ConsentCreated, event.ConsentApproved)
		l.cursor = event.Seq(len(l.evts))
		r.put(l.e)
		l.open()
		for i := range steps {
			l.at = l.at.Add(time.Minute)
			l.step()
			if l.check(i%5 == 0 || i == steps-1); t.Failed() {
				t.Fatalf("history %d after %d steps: %s", n, len(l.did), strings.Join(l.did[max(0, len(l.did)-12):], ", "))
			}
		}
		r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, app, l.at) })
	}
}

func (l *life) open() {
	l.t.Helper()
	l.lease = l.room.open(l.e.ID).Lease
}

func (l *life) note(format string, args ...any) { l.did = append(l.did, fmt.Sprintf(format, args...)) }

func (l *life) told(seq event.Seq) bool { return slices.Contains(l.e.EventTypes, l.evts[seq-1].Type) }

// try returns the record of a try now.
func (l *life) try(seq event.Seq, n int, good bool) delivery.Attempt {
	a := attempt(seq, n, l.at, good)
	a.Subject = l.subject(seq)
	return a
}

func (l *life) subject(seq event.Seq) string { return l.evts[seq-1].Subject }

func (l *life) waits(f *fate) bool { return f != nil && f.status == delivery.Pending }

// lane returns the exceptions of a subject that wait, in order, and whether
// one of them is due.
func (l *life) lane(subject string) (rows []*delivery.Exception, isDue bool) {
	for _, seq := range slices.Sorted(maps.Keys(l.fates)) {
		if f := l.fates[seq]; l.waits(f) && f.row != nil && f.row.Subject == subject {
			rows = append(rows, f.row)
			isDue = isDue || f.row.State == delivery.WaitRetry
		}
	}
	return rows, isDue
}

// rouse makes the first of a subject due, unless one is.
func (l *life) rouse(subject string) {
	if rows, isDue := l.lane(subject); len(rows) > 0 && !isDue {
		rows[0].State, rows[0].NextAt = delivery.WaitRetry, l.at
	}
}

func (l *life) step() {
	l.t.Helper()
	k := l.dice.IntN(100)
	switch {
	case k < 25:
		l.log()
	case l.e.Status == subscription.Paused && k < 60:
		l.resume()
	case l.e.Status == subscription.Suspended && k < 60:
		if k < 50 {
			l.resume()
		} else {
			l.pause()
		}
	case l.e.Status != subscription.Active, k < 30:
		l.refilter()
	case k < 55:
		l.pass()
	case k < 80:
		l.retry()
	case k < 84:
		l.ahead()
	case k < 91:
		l.replay()
	case k < 94:
		l.hold()
	case k < 97:
		l.pause()
	default:
		l.suspend()
	}
}

func (l *life) log() {
	l.t.Helper()
	kind := lifeTypes[l.dice.IntN(3)]
	var subjects []string
	for range 1 + l.dice.IntN(5) {
		subjects = append(subjects, fmt.Sprint("con_", l.dice.IntN(4)))
	}
	fresh := l.publish(app1, kind, subjects...)
	for _, evt := range fresh {
		evt.Seq = event.Seq(len(l.evts) + 1)
		l.evts = append(l.evts, evt)
	}
	for i := range subjects {
		seq := event.Seq(len(l.evts) - i)
		if !l.told(seq) {
			continue
		}
		f := &fate{status: delivery.Pending}
		if l.e.Status == subscription.Paused {
			f.status, f.pause = delivery.Discarded, l.pauses
		}
		l.fates[seq] = f
	}
	l.note("log %d of %s", len(subjects), kind)
}

func (l *life) refilter() {
	l.t.Helper()
	i := l.dice.IntN(3)
	l.e.EventTypes = [][]event.Type{{lifeTypes[0], lifeTypes[1]}, {lifeTypes[1]}, {lifeTypes[0], lifeTypes[2]}}[i]
	l.e.Version++
	l.put(l.e)
	l.note("filter %d", i)
}

// pass is what an engine does with the next places: it delivers, fails, or
// puts behind what waits of the subject.
func (l *life) pass() {
	l.t.Helper()
	p := delivery.Progress{Lease: l.lease, At: l.at}
	for range 1 + l.dice.IntN(6) {
		if l.cursor == event.Seq(len(l.evts)) {
			break
		}
		l.cursor++
		seq, f := l.cursor, l.fates[l.cursor]
		if !l.waits(f) || f.row != nil {
			continue
		}
		rows, _ := l.lane(l.subject(seq))
		if len(rows) > 0 {
			f.row = &delivery.Exception{Seq: seq, Subject: l.subject(seq), State: delivery.WaitTurn}
			p.Put = append(p.Put, *f.row)
			continue
		}
		f.tries++
		good := l.dice.IntN(3) > 0
		p.Attempts = append(p.Attempts, l.try(seq, f.tries, good))
		if good {
			f.status = delivery.Delivered
			continue
		}
		f.row = &delivery.Exception{Seq: seq, Subject: l.subject(seq), State: delivery.WaitRetry, Tries: 1, NextAt: l.at.Add(time.Hour)}
		p.Put = append(p.Put, *f.row)
	}
	p.Cursor = l.cursor
	l.record(p)
	l.note("pass to %d", l.cursor)
}

// ahead delivers the first of a subject above the cursor, which stays.
func (l *life) ahead() {
	l.t.Helper()
	for _, seq := range slices.Sorted(maps.Keys(l.fates)) {
		f := l.fates[seq]
		first := !slices.ContainsFunc(slices.Collect(maps.Keys(l.fates)), func(s event.Seq) bool {
			return s < seq && l.waits(l.fates[s]) && l.subject(s) == l.subject(seq)
		})
		if seq <= l.cursor || !l.waits(f) || f.row != nil || !first || l.dice.IntN(2) == 0 {
			continue
		}
		f.tries++
		f.status = delivery.Delivered
		l.record(delivery.Progress{Lease: l.lease, At: l.at, Attempts: []delivery.Attempt{l.try(seq, f.tries, true)}})
		l.note("ahead %d", seq)
		return
	}
}

// retry tries one exception that is due.
func (l *life) retry() {
	l.t.Helper()
	for _, seq := range slices.Sorted(maps.Keys(l.fates)) {
		f := l.fates[seq]
		if !l.waits(f) || f.row == nil || f.row.State != delivery.WaitRetry || l.dice.IntN(2) == 0 {
			continue
		}
		f.tries++
		subject := f.row.Subject
		good := l.dice.IntN(2) == 0
		a := l.try(seq, f.tries, good)
		a.Replay = f.row.Replay
		p := delivery.Progress{Lease: l.lease, At: l.at, Attempts: []delivery.Attempt{a}}
		if !good && l.dice.IntN(2) == 0 {
			f.row.Tries++
			f.row.NextAt = l.at.Add(time.Hour)
			p.Put = []delivery.Exception{*f.row}
			l.record(p)
			l.note("retry %d", seq)
			return
		}
		f.status = delivery.Exhausted
		if good {
			f.status = delivery.Delivered
		} else if l.dice.IntN(3) == 0 {
			f.status = delivery.Superseded
		}
		f.row = nil
		p.Settled = []delivery.Settlement{{Seq: seq, Subject: subject, As: f.status}}
		o := l.record(p)
		l.rouse(subject)
		rows, _ := l.lane(subject)
		if len(rows) > 0 && rows[0].NextAt.Equal(l.at) != (len(o.Roused) == 1) {
			l.t.Errorf("settled %d: got %v roused of %v", seq, o.Roused, *rows[0])
		}
		l.note("settle %d as %s", seq, f.status)
		return
	}
}

// replay selects, and feeds what was selected in one step or two.
func (l *life) replay() {
	l.t.Helper()
	q := store.ReplayQuery{From: t0, To: minute(50_000)}
	if l.dice.IntN(2) == 0 {
		q.Status = []delivery.Status{delivery.Delivered, delivery.Exhausted, delivery.Discarded}[l.dice.IntN(3)]
	}
	var want []event.Seq
	for i := range l.evts {
		seq := event.Seq(i + 1)
		f := l.fates[seq]
		if l.told(seq) && !l.waits(f) && (q.Status == "" || f != nil && f.status == q.Status) {
			want = append(want, seq)
		}
	}
	got, _, err := l.Store.ReplaySelection(l.ctx, app1, l.e.ID, q)
	l.must(err)
	l.same("a selection of "+string(q.Status), got, want)
	if len(got) == 0 || l.t.Failed() {
		return
	}
	l.dice.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	got = got[:min(len(got), 3)]
	slices.Sort(got)
	l.jobs++
	id := fmt.Sprintf("rpl_%s_%d", l.e.ID, l.jobs)
	l.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: id, Endpoint: delivery.Endpoint(l.e.ID), Seqs: got, CreatedAt: l.at})
	})
	for done := 0; done < len(got); {
		n := min(len(got)-done, 1+l.dice.IntN(2))
		part := got[done : done+n]
		done += n
		l.record(delivery.Progress{Lease: l.lease, At: l.at, Replayed: &delivery.ReplayMark{ID: id, Feed: part, Done: done}})
		for _, seq := range part {
			f := l.fates[seq]
			if f == nil {
				f = &fate{}
				l.fates[seq] = f
			}
			f.status, f.row = delivery.Pending, &delivery.Exception{Seq: seq, Subject: l.subject(seq), State: delivery.WaitTurn, Base: f.tries, Replay: true}
		}
	}
	subject := l.subject(got[0])
	l.record(delivery.Progress{Lease: l.lease, At: l.at, Rouse: []string{subject}})
	l.rouse(subject)
	l.note("replay %v", got)
}

func (l *life) hold() {
	l.t.Helper()
	l.held = !l.held
	h := delivery.Hold{State: delivery.Authorised, Since: l.at}
	if l.held {
		h.State, h.Exchange = delivery.TokenTrouble, exchange(l.at)
	}
	l.record(delivery.Progress{Lease: l.lease, At: l.at, Hold: &h})
	l.note("hold %t", l.held)
}

func (l *life) pause() {
	l.t.Helper()
	l.e = l.become(l.e, subscription.Paused, l.at)
	l.pauses++
	for _, f := range l.fates {
		if l.waits(f) {
			f.status, f.row, f.pause = delivery.Discarded, nil, l.pauses
		}
	}
	l.note("pause")
}

func (l *life) suspend() {
	l.t.Helper()
	l.record(delivery.Progress{Lease: l.lease, At: l.at, Suspend: &delivery.Suspension{Reason: "It answered 410."}})
	e, err := l.Store.Config(l.ctx, delivery.Endpoint(l.e.ID))
	l.must(err)
	l.e = e
	l.note("suspend")
}

func (l *life) resume() {
	l.t.Helper()
	was := l.e.Status
	l.e = l.become(l.e, subscription.Active, l.at)
	if was == subscription.Paused {
		l.cursor = event.Seq(len(l.evts))
	} else {
		for _, f := range l.fates {
			if l.waits(f) && f.row != nil && f.row.State == delivery.WaitRetry {
				f.row.NextAt = l.at
			}
		}
	}
	l.open()
	l.note("resume from %s", was)
}

// check compares what is read with the model.
func (l *life) check(deep bool) {
	l.t.Helper()
	h, err := l.Store.Health(l.ctx, app1, l.e.ID)
	l.must(err)
	var backlog, discarded int
	var oldest time.Time
	for _, seq := range slices.Sorted(maps.Keys(l.fates)) {
		f := l.fates[seq]
		if l.waits(f) {
			if backlog++; oldest.IsZero() {
				oldest = l.evts[seq-1].RecordedAt
			}
		}
		if f.status == delivery.Discarded && f.pause == l.pauses {
			discarded++
		}
	}
	if h.Backlog != backlog || h.AtLeast || !h.OldestAt.Equal(oldest) || h.Discarded != discarded {
		l.t.Errorf("got backlog %d since %v, %d discarded, want %d since %v, %d", h.Backlog, h.OldestAt, h.Discarded, backlog, oldest, discarded)
	}
	if !deep {
		return
	}
	got := map[event.Seq]string{}
	for _, v := range l.deliveries(app1, store.DeliveryQuery{Endpoint: l.e.ID, Style: subscription.Subscription, Limit: 1 + l.dice.IntN(40)}) {
		if v.Status == delivery.Retrying {
			v.Status = delivery.Pending // both wait
		}
		if _, twice := got[v.Seq]; twice {
			l.t.Errorf("got place %d twice", v.Seq)
		}
		got[v.Seq] = fmt.Sprint(v.Status, " ", v.AttemptCount)
	}
	want := map[event.Seq]string{}
	for seq, f := range l.fates {
		s := f.status
		if s == delivery.Pending && (l.held || l.e.Status == subscription.Suspended) {
			s = delivery.Held
		}
		want[seq] = fmt.Sprint(s, " ", f.tries)
	}
	for seq := range event.Seq(len(l.evts) + 1) {
		if got[seq] != want[seq] {
			l.t.Errorf("place %d: got %q, want %q", seq, got[seq], want[seq])
		}
	}
	if l.e.Status != subscription.Active {
		return
	}
	p := l.room.open(l.e.ID)
	l.lease = p.Lease
	waiting, due := map[string]int{}, map[event.Seq]time.Time{}
	for _, f := range l.fates {
		if l.waits(f) && f.row != nil {
			waiting[f.row.Subject]++
			if f.row.State == delivery.WaitRetry {
				due[f.row.Seq] = f.row.NextAt
			}
		}
	}
	gotDue := map[event.Seq]time.Time{}
	for _, x := range p.Due {
		gotDue[x.Seq] = x.NextAt
	}
	l.same("what waits of each subject", p.Waiting, waiting)
	l.same("what is due, and when", gotDue, due)
	if p.Cursor != l.cursor || len(p.Replays) != 0 {
		l.t.Errorf("got cursor %d, replays %v, want %d, none", p.Cursor, p.Replays, l.cursor)
	}
	for seq := p.Cursor + 1; seq <= event.Seq(len(l.evts)); seq++ {
		f := l.fates[seq]
		if settled := f != nil && (f.row != nil || f.status != delivery.Pending); settled != p.Settled[seq] {
			l.t.Errorf("above the cursor, place %d: got settled %t, want %t", seq, p.Settled[seq], settled)
		}
	}
}
