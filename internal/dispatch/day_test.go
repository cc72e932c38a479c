package dispatch_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/sweep"
)

// TestDay plays whole days of 24 hours: consents and permissions that are
// asked for, given, taken back and that lapse, people who are erased, owners
// who pause, edit, replay and delete, receivers that are down at night, slow,
// busy or broken, a store of which calls fail, and a server that is deployed
// or dies every few hours. Rules, store, sweep and engine are the real ones.
//
// A failure names its seed; CONSENTWIRE_TEST_SEED plays that one alone, and
// CONSENTWIRE_TEST_DAYS plays so many from 1 on. A seed decides all that
// happens around the server; the jitter of retries and the order of what
// happens at one instant are the server's and the scheduler's.
func TestDay(t *testing.T) {
	t.Parallel()
	first, days := uint64(1), uint64(3)
	if slow {
		days = 1
	}
	for name, to := range map[string]*uint64{"CONSENTWIRE_TEST_SEED": &first, "CONSENTWIRE_TEST_DAYS": &days} {
		s := os.Getenv(name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if *to = n; to == &first {
			days = 1
		}
	}
	var mu sync.Mutex
	had, played := map[string]int{}, uint64(0)
	t.Run("days", func(t *testing.T) {
		for seed := first; seed < first+days; seed++ {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					d := newDay(t, seed)
					d.play()
					mu.Lock()
					defer mu.Unlock()
					played++
					for kind, n := range d.seen {
						had[kind] += n
					}
				})
			})
		}
	})
	if t.Failed() || played < 3 {
		return
	}
	for _, kind := range []string{
		"retries", "duplicates", "probes", "breaker opened", "suspended", "replayed", "redelivered", "crashes", "deploys", "called off", "store faults",
		"fenced", "erased", "paused", "removed", "delivered", "exhausted", "superseded",
	} {
		if had[kind] == 0 {
			t.Errorf("the days had no %s; they prove less than they should: %v", kind, had)
		}
	}
}

// day is one simulated day.
type day struct {
	*history
	t    *testing.T
	seed uint64
	dice *rand.Rand // of what owners and citizens do
	luck *rand.Rand // of the store's calls
	root string
	dir  string
	keys *secret.Keyring
	app  *app.App
	life *life
	said bytes.Buffer
	calm bool
	made int // endpoints so far

	consents []string
	citizens []permission.CitizenID
	refs     int
}

// life is the server from one start to the next end.
type life struct {
	*day
	db   *relational.Store
	cut  bool          // it is dead: nothing it does has an effect
	dead chan struct{} // closed then
	halt func()
}

func newDay(t *testing.T, seed uint64) *day {
	keys, err := secret.ParseKeyring(secret.New(secret.RandomStd(32)))
	if err != nil {
		t.Fatal(err)
	}
	d := &day{
		history: newHistory(t), t: t, seed: seed, root: t.TempDir(), keys: keys,
		dice: rand.New(rand.NewPCG(seed, 1)), luck: rand.New(rand.NewPCG(seed, 2)),
	}
	d.dir = filepath.Join(d.root, "0")
	d.must(os.Mkdir(d.dir, 0o700))
	d.open()
	return d
}

// open starts the server.
func (d *day) open() {
	d.t.Helper()
	st, err := relational.Open(d.t.Context(), sqlite.File{Dir: d.dir}, relational.Options{Keys: d.keys})
	if err != nil {
		d.t.Fatal(err)
	}
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		d.t.Fatal(err)
	}
	l := &life{day: d, db: st, dead: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(&lockedLog{d: d}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d.app = app.New(app.Options{Store: st, Policy: consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: 70 * time.Minute}})
	d.store = st
	if d.id == "" {
		d.found()
	}
	eng := dispatch.New(dispatch.Options{
		Log: l, Client: l, Guard: guard, Schedule: delivery.Schedule{time.Minute}, Timeout: 15 * time.Second, Version: "test", Logger: logger,
	})
	chores := sweep.New(d.app, logger)
	chores.Recheck = time.Hour
	st.Watch(func(c store.Change) {
		eng.Wake(c.Applications, c.Endpoints)
		chores.Deadline(c.Deadline)
	})
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 2)
	go func() { done <- eng.Run(ctx) }()
	go func() { done <- chores.Run(ctx) }()
	l.halt = func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				d.t.Errorf("Run = %v, want nil", err)
			}
		}
		if err := st.Close(); err != nil {
			d.t.Errorf("close: %v", err)
		}
	}
	d.life = l
}

// lockedLog keeps what the server says.
type lockedLog struct{ d *day }

func (l *lockedLog) Write(p []byte) (int, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.d.said.Write(p)
}

// found makes the application with what it asks of people.
func (d *day) found() {
	ap, _, _, err := d.app.CreateApplication(d.t.Context(), "Day")
	d.must(err)
	d.id = ap.ID
	for _, o := range []string{"opt-mail", "opt-call", "opt-study"} {
		_, err := d.app.PutOption(d.t.Context(), ap.ID, "", permission.OptionDraft{ID: &o, DataID: &o, PurposeID: &o, PartyID: &o})
		d.must(err)
	}
}

// had counts one more of a kind, and returns how many there were.
func (d *day) had(kind string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[kind]++
	return d.seen[kind]
}

func (d *day) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("seed %d: %v", d.seed, err)
	}
}

// deploy stops the server as an operator does.
func (d *day) deploy() {
	d.had("deploys")
	d.life.halt()
	d.everybodyLost()
}

// crash ends the server as a kill does: what was not committed is gone, and
// what was on the wire may have arrived. The next one begins with the files as
// they are now.
func (d *day) crash() {
	synctest.Wait()
	next := filepath.Join(d.root, strconv.Itoa(d.had("crashes")))
	d.must(os.Mkdir(next, 0o700))
	for _, name := range []string{sqlite.FileName, sqlite.FileName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		if !os.IsNotExist(err) {
			d.must(err)
			d.must(os.WriteFile(filepath.Join(next, name), b, 0o600))
		}
	}
	d.mu.Lock()
	d.life.cut = true
	close(d.life.dead)
	d.mu.Unlock()
	d.life.halt()
	d.must(os.RemoveAll(d.dir))
	d.dir = next
	d.everybodyLost()
}

func (d *day) everybodyLost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sites {
		s.lossAt = time.Now()
		if n := len(s.flying); n > 0 {
			d.t.Errorf("%s: %d requests are on the wire of a server that is gone", s.name, n)
		}
	}
}

// receiver is what a receiver is like; the functions see a dice of their own
// for each request.
type receiver struct {
	answer   func(q *inquiry, g got, dice *rand.Rand) answer
	schedule []time.Duration
	inFlight int
	rate     int
	latest   bool
	hears    []event.Type // nil: the full states
	style    subscription.Style
}

func quick(dice *rand.Rand) answer {
	return answer{status: 200, after: time.Duration(5+dice.IntN(60)) * time.Millisecond}
}

func between(from, to float64) bool {
	h := time.Since(midnight()).Hours()
	return from <= h && h < to
}

func midnight() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func shut() answer { return answer{err: &egress.Error{Step: egress.StepConnect, Reason: "refused"}} }

func reset(after time.Duration) answer {
	return answer{after: after, err: &egress.Error{Step: egress.StepResponse, Reason: "reset"}}
}

// receivers are the endpoints of a day, by name.
var receivers = map[string]receiver{
	"steady": {inFlight: 8, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer { return quick(dice) }},
	"night": {inFlight: 6, schedule: []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour}, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		if between(1.5, 5) || between(13, 13.5) {
			return shut()
		}
		return quick(dice)
	}},
	"slow": {inFlight: 4, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		a := quick(dice)
		a.after = time.Duration(100+dice.IntN(9000)) * time.Millisecond
		if dice.IntN(25) == 0 {
			a.after = time.Minute // longer than anybody waits
		}
		return a
	}},
	"busy": {inFlight: 5, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		a := quick(dice)
		if dice.IntN(4) == 0 {
			a.status = []int{429, 503}[dice.IntN(2)]
			a.retryAfter = strconv.Itoa(dice.IntN(900))
			if dice.IntN(3) == 0 {
				a.retryAfter = time.Now().Add(time.Duration(dice.IntN(1200)) * time.Second).UTC().Format(http.TimeFormat)
			}
		}
		return a
	}},
	"flaky": {inFlight: 6, rate: 3, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		a := quick(dice)
		switch dice.IntN(10) {
		case 0:
			a.status = 500
		case 1: // after it did what it was asked for, as far as anybody can tell
			return reset(a.after)
		case 2:
			a.status = 301 + dice.IntN(8)
		}
		return a
	}},
	"gone": {inFlight: 6, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		a := quick(dice)
		if dice.IntN(60) == 0 {
			a.status = 410
		}
		return a
	}},
	"strict": {inFlight: 3, schedule: []time.Duration{20 * time.Second, 2 * time.Minute}, answer: func(q *inquiry, _ got, dice *rand.Rand) answer {
		if between(6, 8) || between(17, 18) {
			return shut()
		}
		a := quick(dice)
		if q.d.evt.Seq%5 == 0 || dice.IntN(6) == 0 {
			a.status = 422
		}
		return a
	}},
	"latest": {inFlight: 2, latest: true, hears: []event.Type{}, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		if between(9, 11) || between(15, 15.5) || dice.IntN(12) == 0 {
			return shut()
		}
		return quick(dice)
	}},
	"states": {inFlight: 4, hears: []event.Type{}, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		a := quick(dice)
		if dice.IntN(9) == 0 {
			a.status = 502
		}
		return a
	}},
	"tower": {inFlight: 8, hears: append(event.Lifecycle(), event.WebhookStatusChanged), answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		a := quick(dice)
		if dice.IntN(15) == 0 {
			a.status, a.retryAfter = 503, "soon"
		}
		return a
	}},
	"keys": {inFlight: 4, style: subscription.Interceptor, answer: func(_ *inquiry, _ got, dice *rand.Rand) answer {
		if dice.IntN(10) == 0 {
			return reset(time.Second)
		}
		return quick(dice)
	}},
}

// register makes an endpoint of a kind.
func (d *day) register(kind string) {
	k := receivers[kind]
	d.made++
	name := kind
	if d.made > len(receivers) {
		name = fmt.Sprintf("%s%d", kind, d.made)
	}
	e := subscription.Endpoint{
		Style: subscription.Subscription, Name: name, URL: "https://" + name + ".example/1", UpdateType: subscription.EffectivePermission,
		EventTypes: event.Lifecycle(), Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
		RetrySchedule: k.schedule, MaxInFlight: k.inFlight, RateLimit: k.rate,
	}
	if k.hears != nil {
		e.EventTypes = k.hears
	}
	if k.latest {
		e.OnBacklog = subscription.BacklogLatest
	}
	if k.style == subscription.Interceptor {
		e.Style, e.Feed, e.UpdateType, e.EventTypes = k.style, event.LifecycleData, "", nil
	}
	if len(e.RetrySchedule) == 0 {
		e.RetrySchedule = []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute, 20 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
	}
	made, err := d.app.CreateEndpoint(d.t.Context(), d.id, e)
	d.must(err)
	d.join(name, k, made)
}

// play is the day.
func (d *day) play() {
	defer func() {
		if d.t.Failed() {
			d.t.Logf("this was seed %d: CONSENTWIRE_TEST_SEED=%d plays it alone", d.seed, d.seed)
			d.t.Logf("the server said:\n%s", d.said.String())
		}
	}()
	for _, kind := range slices.Sorted(maps.Keys(receivers)) {
		d.register(kind)
	}
	ends, looks := d.hours(4), d.hours(5)
	for end := dayEnd(); time.Since(midnight()) < end && !d.t.Failed(); {
		// Deadlines lie on whole milliseconds; nobody acts at one.
		time.Sleep(time.Duration(d.dice.IntN(500_000))*time.Millisecond + 500*time.Microsecond - time.Since(midnight())%time.Millisecond)
		switch since := time.Since(midnight()); {
		case since > ends:
			d.restart()
			ends = since + d.hours(4)
		case since > looks:
			synctest.Wait()
			d.account(false)
			looks = since + d.hours(5)
		default:
			d.act()
		}
	}
	d.rest()
}

// dayEnd is how long a day is: with the race detector a third.
func dayEnd() time.Duration {
	if slow {
		return 8 * time.Hour
	}
	return 24 * time.Hour
}

// hours is a span of about so many.
func (d *day) hours(n int) time.Duration {
	return time.Duration(n)*time.Hour/2 + time.Duration(d.dice.Int64N(int64(n)*int64(time.Hour)))
}

// restart ends the server while it has something to do, and starts the next.
func (d *day) restart() {
	for range 8 {
		d.ask()
	}
	time.Sleep(time.Duration(d.dice.IntN(100)) * time.Millisecond)
	if d.dice.IntN(2) == 0 {
		d.deploy()
	} else {
		d.crash()
	}
	if d.dice.IntN(3) > 0 {
		time.Sleep(time.Duration(d.dice.IntN(900)) * time.Second)
	}
	d.open()
	synctest.Wait() // for what was missed
}

// rest lets everybody be well, and all that waits be done. One endpoint stays
// as it is.
func (d *day) rest() {
	d.mu.Lock()
	d.calm = true
	d.mu.Unlock()
	for _, s := range d.all() {
		if s.name != "gone" && (s.paused || d.suspended(s)) {
			d.resumeSite(s)
		}
	}
	time.Sleep(12 * time.Hour)
	synctest.Wait()
	d.account(true)
	d.life.halt()
	if strings.Contains(d.said.String(), "are not as expected") {
		d.t.Errorf("seed %d: the engine and the store disagreed about what waits", d.seed)
	}
	d.t.Logf("seed %d: %d events, %v", d.seed, len(d.log), d.seen)
}

// all returns the endpoints by name.
func (d *day) all() []*site {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Collect(maps.Values(d.sites))
	out = slices.DeleteFunc(out, func(s *site) bool { return s.deleted })
	slices.SortFunc(out, func(a, b *site) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return out
}

// suspended tells whether we paused an endpoint, as the engine does at any
// time.
func (d *day) suspended(s *site) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.held
}

func (d *day) someone() *site {
	all := d.all()
	return all[d.dice.IntN(len(all))]
}

// act is one thing that a citizen or an owner does.
func (d *day) act() {
	switch k := d.dice.IntN(100); {
	case k < 4:
		for range 24 {
			d.ask()
		}
	case k < 25:
		for range 1 + d.dice.IntN(4) {
			d.ask()
		}
	case k < 60:
		for range 1 + d.dice.IntN(4) {
			d.decide()
		}
	case k < 76:
		for range 1 + d.dice.IntN(4) {
			d.permit()
		}
	case k < 79:
		d.forget()
	case k < 83:
		d.pauseSite(d.someone())
	case k < 89:
		for _, s := range d.all() {
			if held := d.suspended(s); s.paused || held && d.dice.IntN(2) == 0 {
				d.resumeSite(s)
			}
		}
	case k < 93:
		d.edit(d.someone())
	case k < 96:
		d.replay(d.someone())
	case k < 99:
		d.redeliver(d.someone())
	default:
		d.remove(d.someone())
	}
}

// ask makes a consent, now and then of a person we know.
func (d *day) ask() {
	r := consent.Request{
		Type: consent.Data, Permissions: []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		LoggedUser: consent.Document{Identification: "11111111111", Rel: "CPF"}, Approvers: 1 + d.dice.IntN(2),
	}
	if n := len(d.citizens); n > 0 && d.dice.IntN(4) == 0 {
		r.CitizenID = string(d.citizens[d.dice.IntN(n)])
	}
	_, err := d.app.CreateConsent(d.t.Context(), d.id, r, app.Keyed{}, func(c consent.Consent) (app.Answer, error) {
		d.consents = append(d.consents, string(c.ID))
		return app.Answer{Status: 201}, nil
	})
	d.must(err)
}

// decide does something with one of the younger consents, whether it may be
// done or not.
func (d *day) decide() {
	if len(d.consents) == 0 {
		return
	}
	ref := d.consents[len(d.consents)-1-d.dice.IntN(min(len(d.consents), 40))]
	k := d.dice.IntN(10)
	_, err := d.app.Decide(d.t.Context(), d.id, ref, func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
		switch {
		case k < 5:
			return c.Approve(at, fmt.Sprint("approver", k%2), consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: 70 * time.Minute})
		case k < 6:
			return c.Reject(at, consent.Decision{})
		case k < 7:
			return c.Extend(at, time.Time{})
		default:
			return c.Revoke(at, consent.Decision{})
		}
	})
	if err != nil && fault.KindOf(err) == fault.Internal {
		d.must(err)
	}
}

// permit records what a citizen allows, now and then for a few hours only.
func (d *day) permit() {
	ref := fmt.Sprint("crm-", d.dice.IntN(25), "-", d.refs)
	option := []string{"opt-mail", "opt-call", "opt-study"}[d.dice.IntN(3)]
	by, state := string(permission.ByConsent), string([]permission.State{permission.Granted, permission.Denied}[d.dice.IntN(2)])
	c := permission.ChangeDraft{OptionID: &option, Justification: &by, State: &state}
	if d.dice.IntN(3) == 0 {
		until := time.Now().UTC().Truncate(time.Millisecond).Add(time.Duration(1+d.dice.IntN(300)) * time.Minute)
		c.ValidUntil = &until
	}
	_, err := d.app.Record(d.t.Context(), d.id, app.Caller{}, permission.Request{ExternalRef: &ref, Changes: []permission.ChangeDraft{c}}, app.Keyed{}, func(r app.Recorded) (app.Answer, error) {
		if !slices.Contains(d.citizens, r.Citizen.ID) {
			d.citizens = append(d.citizens, r.Citizen.ID)
		}
		return app.Answer{Status: 201}, nil
	})
	d.must(err)
}

// forget erases one person with what they consented to.
func (d *day) forget() {
	n := len(d.citizens)
	if n == 0 {
		return
	}
	i := d.dice.IntN(n)
	c := d.citizens[i]
	d.citizens = slices.Delete(d.citizens, i, i+1)
	subjects := []string{string(c)}
	cs, _, err := d.life.db.Consents(d.t.Context(), d.id, store.ConsentQuery{CitizenID: string(c), Limit: 500})
	d.must(err)
	for _, x := range cs {
		subjects = append(subjects, string(x.ID))
		if i := slices.Index(d.consents, string(x.ID)); i >= 0 {
			d.consents = slices.Delete(d.consents, i, i+1)
		}
	}
	d.mu.Lock()
	d.erase(subjects...)
	d.mu.Unlock()
	_, err = d.app.EraseCitizen(d.t.Context(), d.id, c)
	d.must(err)
	d.had("erased")
}

// change edits an endpoint as its owner does.
func (d *day) change(s *site, edit func(*app.Edit)) {
	made, err := d.app.EditEndpoint(d.t.Context(), d.id, s.conf.Style, s.conf.ID, func(cur subscription.Endpoint) (app.Edit, error) {
		e := app.Edit{Endpoint: cur}
		edit(&e)
		return e, nil
	})
	d.must(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.learn()
	s.conf, s.filter = made, made.Filter()
}

func (d *day) pauseSite(s *site) {
	if s.paused {
		return
	}
	d.acting(s, true)
	d.change(s, func(e *app.Edit) { e.Endpoint.Status, e.Discard = subscription.Paused, true })
	d.mu.Lock()
	d.stop(s, delivery.Discarded)
	d.seen["paused"]++
	d.mu.Unlock()
	d.acting(s, false)
}

// acting notes that an endpoint's status is being changed, or was.
func (d *day) acting(s *site, is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.acting = is
}

func (d *day) resumeSite(s *site) {
	d.mu.Lock()
	d.resume(s)
	d.mu.Unlock()
	d.acting(s, true)
	d.change(s, func(e *app.Edit) { e.Endpoint.Status = subscription.Active })
	d.acting(s, false)
}

// edit moves a receiver, changes what it is told or how fast, or its secret.
func (d *day) edit(s *site) {
	k, n := d.dice.IntN(4), d.dice.IntN(3)
	if k == 3 {
		_, err := d.app.RotateSecret(d.t.Context(), d.id, s.conf.Style, s.conf.ID)
		d.must(err)
		return
	}
	d.change(s, func(e *app.Edit) {
		switch {
		case k == 0:
			e.Endpoint.URL = fmt.Sprintf("https://%s.example/%d", s.name, e.Endpoint.Version)
		case k == 1 && len(s.kind.hears) == 0 && s.kind.hears == nil && s.conf.Style == subscription.Subscription:
			e.Endpoint.EventTypes = [][]event.Type{event.Lifecycle(), event.SourceLifecycle(), {event.ConsentApproved, event.ConsentRevoked}}[n]
		default:
			e.Endpoint.Description = fmt.Sprint("edition ", e.Endpoint.Version)
		}
	})
}

// replay asks for the last hours, or some events, once more.
func (d *day) replay(s *site) {
	var q store.ReplayQuery
	if d.dice.IntN(2) == 0 {
		q.From, q.To = time.Now().Add(-time.Duration(d.dice.IntN(120))*time.Minute), time.Now()
		q.Status = []delivery.Status{"", delivery.Exhausted, delivery.Discarded}[d.dice.IntN(3)]
		q.IncludeStale = d.dice.IntN(3) == 0
	} else {
		d.mu.Lock()
		for range 3 {
			if n := len(s.order); n > 0 {
				e := s.order[d.dice.IntN(n)].evt
				if !d.loose[e.Subject] && !slices.Contains(q.EventIDs, e.ID) && s.filter.Matches(s.conf.ID, e) {
					q.EventIDs = append(q.EventIDs, e.ID)
				}
			}
		}
		d.mu.Unlock()
		if len(q.EventIDs) == 0 {
			return
		}
	}
	seqs, _, err := d.life.db.ReplaySelection(d.t.Context(), d.id, s.conf.ID, q)
	d.must(err)
	job := job{s: s, seqs: seqs, at: time.Now(), pauses: s.pauses}
	out, err := d.app.Replay(d.t.Context(), d.id, s.conf.Style, s.conf.ID, app.ReplayRequest{ReplayQuery: q})
	if fault.CodeOf(err) == "endpoint_paused" {
		return
	}
	d.must(err)
	if out.Count != len(seqs) {
		d.t.Errorf("seed %d: %s: got %d to be sent again, want %d", d.seed, s.name, out.Count, len(seqs))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.jobs = append(d.jobs, job)
}

// redeliver asks for one delivery once more.
func (d *day) redeliver(s *site) {
	d.mu.Lock()
	n := len(s.order)
	var seq event.Seq
	if n > 0 {
		seq = s.order[n-1-d.dice.IntN(min(n, 60))].evt.Seq
	}
	d.mu.Unlock()
	if seq == 0 {
		return
	}
	_, err := d.app.Redeliver(d.t.Context(), d.id, delivery.ID(delivery.Endpoint(s.conf.ID), seq))
	if fault.KindOf(err) == fault.Conflict {
		return
	}
	d.must(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.jobs = append(d.jobs, job{s: s, seqs: []event.Seq{seq}, at: time.Now(), pauses: s.pauses})
	d.seen["redelivered"]++
}

// remove deletes an endpoint; another one takes its place.
func (d *day) remove(s *site) {
	kind := s.conf.Name
	if s.conf.Style == subscription.Interceptor || receivers[kind].answer == nil || s.kind.hears != nil {
		return
	}
	d.acting(s, true)
	d.must(d.app.DeleteEndpoint(d.t.Context(), d.id, s.conf.Style, s.conf.ID))
	d.mu.Lock()
	d.stop(s, delivery.Cancelled)
	d.seen["removed"]++
	d.mu.Unlock()
	d.acting(s, false)
	d.register(kind)
}

// Do is the world of receivers.
func (l *life) Do(ctx context.Context, r *egress.Request) (*egress.Response, error) {
	field := func(name string) string { return r.Header[name][0] }
	number := func(name string) int { n, _ := strconv.Atoi(field(name)); return n }
	g := got{
		id: field("webhook-id"), subject: field("Consentwire-Subject"), sequence: number("Consentwire-Sequence"), attempt: number("Consentwire-Attempt"),
		replay: has(r.Header, delivery.HeaderReplay), url: r.Target.URL(), header: r.Header, body: string(r.Body),
	}
	off := &egress.Error{Step: egress.StepResponse, Reason: "called off", Err: context.Canceled}
	l.mu.Lock()
	if l.cut {
		l.mu.Unlock()
		return nil, off
	}
	q := l.arrived(g)
	if q == nil {
		l.mu.Unlock()
		return nil, off
	}
	q.answer = l.behave(q, g)
	if q.answer.after >= r.Timeout {
		q.answer = answer{after: r.Timeout, err: &egress.Error{Step: egress.StepResponse, Reason: "no answer in time"}}
	}
	a := q.answer
	l.mu.Unlock()
	told := true
	if a.after > 0 {
		timer := time.NewTimer(a.after)
		select {
		case <-timer.C:
		case <-ctx.Done():
			told = false
		case <-l.dead:
			told = false
		}
		timer.Stop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	told = told && !l.cut
	q.asked = 0
	if told && a.err == nil {
		q.asked = delivery.RetryAfter(a.status, a.retryAfter, time.Now())
	}
	l.answered(q, g.subject, told)
	if !told {
		return nil, off
	}
	if a.err != nil {
		return nil, a.err
	}
	return &egress.Response{Status: a.status, RetryAfter: a.retryAfter}, nil
}

// behave is what a receiver does with a request: a function of the seed, the
// delivery, and how often it came.
func (d *day) behave(q *inquiry, g got) answer {
	if d.calm {
		return answer{status: 200, after: 5 * time.Millisecond}
	}
	f := fnv.New64a()
	fmt.Fprint(f, q.s.name, " ", d.ordinal[q.d.evt.Subject], " ", q.d.evt.Sequence, " ", q.d.requests)
	return q.s.kind.answer(q, g, rand.New(rand.NewPCG(d.seed, f.Sum64())))
}

// do carries out a call of the store that may fail, before or after it took
// effect; one of so many does. done is told of what took effect.
func (l *life) do(many int, call func() error, done func(), lost func()) error {
	l.mu.Lock()
	k := l.luck.IntN(many)
	cut, fails := l.cut, !l.calm && k < 2
	if fails {
		l.seen["store faults"]++
		lost()
	}
	l.mu.Unlock()
	if cut || fails && k == 0 {
		return errPower
	}
	if err := call(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errPower
	}
	done()
	if fails {
		return errPower
	}
	return nil
}

func noop() {}

// Active implements dispatch.Log.
func (l *life) Active(ctx context.Context) (out []delivery.Endpoint, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Active(ctx); return err }, noop, noop)
	return out, err
}

// Config implements dispatch.Log.
func (l *life) Config(ctx context.Context, e delivery.Endpoint) (out subscription.Endpoint, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Config(ctx, e); return err }, noop, noop)
	return out, err
}

// Open implements dispatch.Log.
func (l *life) Open(ctx context.Context, e delivery.Endpoint) (out delivery.Position, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Open(ctx, e); return err }, func() { l.opened(&out) }, noop)
	return out, err
}

// Read implements dispatch.Log.
func (l *life) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (out delivery.Page, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Read(ctx, e, after, limit, maxBytes); return err }, noop, noop)
	return out, err
}

// Load implements dispatch.Log.
func (l *life) Load(ctx context.Context, e delivery.Endpoint, seqs []event.Seq) (out []delivery.Loaded, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Load(ctx, e, seqs); return err }, noop, noop)
	return out, err
}

// Replays implements dispatch.Log.
func (l *life) Replays(ctx context.Context, e delivery.Endpoint) (out []delivery.Replay, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Replays(ctx, e); return err }, noop, noop)
	return out, err
}

// Token implements dispatch.Log.
func (l *life) Token(ctx context.Context, e delivery.Endpoint) (subscription.Token, error) {
	return l.db.Token(ctx, e)
}

// SaveToken implements dispatch.Log.
func (l *life) SaveToken(ctx context.Context, e delivery.Endpoint, t subscription.Token) error {
	return l.db.SaveToken(ctx, e, t)
}

// Beat implements dispatch.Log.
func (l *life) Beat(ctx context.Context) (out delivery.Beat, err error) {
	err = l.do(5000, func() (err error) { out, err = l.db.Beat(ctx); return err }, noop, noop)
	return out, err
}

// Release implements dispatch.Log.
func (l *life) Release(ctx context.Context, leases []delivery.Lease, gone bool) error {
	return l.do(5000, func() error { return l.db.Release(ctx, leases, gone) }, noop, noop)
}

// Record implements dispatch.Log.
func (l *life) Record(ctx context.Context, batch []delivery.Progress) (out []delivery.Outcome, err error) {
	err = l.do(300, func() (err error) { out, err = l.db.Record(ctx, batch); return err }, func() {
		for i := range batch {
			l.recorded(&batch[i], &out[i])
		}
	}, func() { l.lost(batch) })
	return out, err
}

// has tells whether a field is there under exactly this name, which is how it is
// sent.
func has(h http.Header, name string) bool {
	_, ok := h[name]
	return ok
}
