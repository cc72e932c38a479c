package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// got is a request as the receiver saw it.
type got struct {
	at       time.Duration // since the bench was made
	id       string
	subject  string
	sequence int
	attempt  int
	replay   bool
	url      string
	header   http.Header
	body     string
}

func (g got) String() string {
	return fmt.Sprintf("%s/%d#%d@%v", g.subject, g.sequence, g.attempt, g.at.Round(time.Millisecond))
}

// answer is what the receiver does: a status, or a fault.
type answer struct {
	status     int
	retryAfter string
	after      time.Duration
	err        error
	body       string
}

// wait lets the answer's time pass, and returns its fault.
func (a answer) wait(ctx context.Context) error {
	if a.after > 0 {
		select {
		case <-time.After(a.after):
		case <-ctx.Done():
			return &egress.Error{Step: egress.StepResponse, Reason: "called off", Err: context.Canceled}
		}
	}
	return a.err
}

// bench is a store with one application, an engine, and a receiver.
type bench struct {
	t      *testing.T
	dir    string
	keys   *secret.Keyring
	t0     time.Time
	store  *relational.Store
	app    *app.App
	id     access.ID
	log    bytes.Buffer
	engine *dispatch.Engine
	halt   func()
	wrap   func(dispatch.Log) dispatch.Log
	window int    // of the engine; 0: its own
	slots  [3]int // of the engine: quick, unproven, slow; zero: its own
	pad    int    // bytes that are added to each body
	mailer dispatch.Mailer
	nodes  dispatch.Nodes // nil: it is alone
	counts bool           // the engine's counts are kept

	mu     sync.Mutex
	answer func(got) answer
	token  func(tokenRequest) answer // the token endpoint; nil: there is none
	asked  []tokenRequest
	// overlap: two requests for a token may be on the wire, of different credentials.
	overlap bool
	got     []got
	flying  map[string]int // url and subject → on the wire
	most    int            // on the wire at a time
	now     int
}

func newBench(t *testing.T, answer func(got) answer) *bench {
	t.Helper()
	keys, err := secret.ParseKeyring(secret.New("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: sqlitetest.Dir(t), keys: keys, t0: time.Now(), answer: answer, flying: map[string]int{}}
	b.openStore()
	ap, _, _, err := b.app.CreateApplication(t.Context(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	b.id = ap.ID
	return b
}

func (b *bench) openStore() {
	b.t.Helper()
	st, err := relational.Open(b.t.Context(), sqlite.File{Dir: b.dir}, relational.Options{Keys: b.keys})
	if err != nil {
		b.t.Fatal(err)
	}
	b.store = st
	b.app = app.New(app.Options{Store: st, Policy: consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: time.Hour}})
	st.Watch(func(c store.Change) {
		b.mu.Lock()
		e := b.engine
		b.mu.Unlock()
		if e != nil {
			e.Wake(c.Applications, c.Endpoints)
		}
	})
}

// start runs the engine until stop is called.
func (b *bench) start() {
	b.t.Helper()
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		b.t.Fatal(err)
	}
	var log dispatch.Log = b.store
	if b.wrap != nil {
		log = b.wrap(log)
	}
	var tallies dispatch.Tallies
	if b.counts {
		tallies = b.store
	}
	e := dispatch.New(dispatch.Options{
		Tallies: tallies,
		Log:     log, Nodes: b.nodes, Client: b, Mailer: b.mailer, Guard: guard, Schedule: delivery.Schedule{time.Minute, 10 * time.Minute},
		Timeout: 15 * time.Second, Version: "test", Logger: slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if b.window > 0 {
		e.SetWindow(b.window)
	}
	if b.slots != [3]int{} {
		e.SetSlots(b.slots[0], b.slots[1], b.slots[2])
	}
	b.mu.Lock()
	b.engine = e
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	b.halt = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run = %v, want nil", err)
		}
		b.mu.Lock()
		b.engine = nil
		b.mu.Unlock()
	}
}

func (b *bench) engineOf() *dispatch.Engine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.engine
}

// close stops everything; the data stay.
func (b *bench) close() {
	b.t.Helper()
	if b.halt != nil {
		b.halt()
		b.halt = nil
	}
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

// Do is the receiver.
func (b *bench) Do(ctx context.Context, r *egress.Request) (*egress.Response, error) {
	if strings.HasPrefix(r.Target.URL(), tokenURL) {
		return b.tokenEndpoint(ctx, r)
	}
	field := func(name string) string {
		if v := r.Header[name]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	number := func(name string) int { n, _ := strconv.Atoi(field(name)); return n }
	g := got{
		at: time.Since(b.t0), id: field("webhook-id"), subject: field("Consentwire-Subject"), sequence: number("Consentwire-Sequence"),
		attempt: number("Consentwire-Attempt"), replay: field("webhook-replay") == "true", url: r.Target.URL(), header: r.Header, body: string(r.Body),
	}
	key := g.url + " " + g.subject
	b.mu.Lock()
	b.got = append(b.got, g)
	if b.flying[key]++; b.flying[key] > 1 {
		b.t.Errorf("two requests of %s are on the wire at %v", key, g.at)
	}
	b.now++
	b.most = max(b.most, b.now)
	a := b.answer(g)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.flying[key]--
		b.now--
		b.mu.Unlock()
	}()
	if err := a.wait(ctx); err != nil {
		return nil, err
	}
	return &egress.Response{Status: a.status, RetryAfter: a.retryAfter, Body: a.body, Header: []egress.Header{{Name: "Server", Value: "test"}}}, nil
}

func (b *bench) requests() []got {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *bench) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = nil
}

// subscribe registers a subscription for lifecycle events.
func (b *bench) subscribe(edit func(*subscription.Endpoint)) subscription.Endpoint {
	b.t.Helper()
	e := subscription.Endpoint{
		Style: subscription.Subscription, URL: "https://receiver.example/hook", UpdateType: subscription.EffectivePermission,
		EventTypes: event.Lifecycle(), Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
	}
	if edit != nil {
		edit(&e)
	}
	out, err := b.app.CreateEndpoint(b.t.Context(), b.id, e)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// publish logs one event for each subject named, in that order.
func (b *bench) publish(subjects ...string) []string {
	b.t.Helper()
	return b.publishType(event.ConsentCreated, subjects...)
}

func (b *bench) publishType(typ event.Type, subjects ...string) []string {
	b.t.Helper()
	at := time.Now().UTC().Truncate(time.Millisecond)
	var ids []string
	var evts []event.Event
	for _, s := range subjects {
		e := event.Event{
			ID: id.New(id.Event), Application: string(b.id), Feed: event.LifecycleData, Type: typ, Subject: s,
			OccurredAt: at, RecordedAt: at, Body: fmt.Appendf(nil, `{"event":"%s","data":{"id":"%s","pad":"%0*d"}}`, typ.SourceName(), s, b.pad, 0),
		}
		evts, ids = append(evts, e), append(ids, e.ID)
	}
	for part := range slices.Chunk(evts, 256) {
		if err := b.store.Update(b.t.Context(), func(tx store.Tx) error { return tx.Publish(part...) }); err != nil {
			b.t.Fatal(err)
		}
	}
	return ids
}

// setStatus asks for a status as an owner does.
func (b *bench) setStatus(e subscription.Endpoint, s subscription.Status) {
	b.t.Helper()
	_, err := b.app.EditEndpoint(b.t.Context(), b.id, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
		cur.Status = s
		return app.Edit{Endpoint: cur}, nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// statuses counts the endpoint's deliveries by status.
func (b *bench) statuses(e subscription.Endpoint) map[delivery.Status]int {
	b.t.Helper()
	out := map[delivery.Status]int{}
	q := store.DeliveryQuery{Endpoint: e.ID, Style: e.Style, Limit: 100}
	for {
		views, next, err := b.store.Deliveries(b.t.Context(), b.id, q)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, v := range views {
			out[v.Status]++
		}
		if next == "" {
			return out
		}
		q.After = next
	}
}

func (b *bench) wantStatuses(e subscription.Endpoint, want map[delivery.Status]int) {
	b.t.Helper()
	if got := b.statuses(e); fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("got deliveries %v, want %v", got, want)
	}
}

// ordered fails when a subject's sequence ever goes back at one URL but for a
// repeat of the one before, or has a gap.
func ordered(t *testing.T, all []got) {
	t.Helper()
	last := map[string]int{}
	for _, g := range all {
		if g.replay {
			continue
		}
		key := g.url + " " + g.subject
		if g.sequence != last[key] && g.sequence != last[key]+1 {
			t.Fatalf("%s: got sequence %d after %d", key, g.sequence, last[key])
		}
		last[key] = g.sequence
	}
}

func ok(got) answer { return answer{status: 204} }

func in(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, fn)
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestEngine_retries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answers []answer // in turn; the last one repeats
		want    []time.Duration
		ends    delivery.Status
	}{
		{"accepted at once", []answer{{status: 204}}, []time.Duration{0}, delivery.Delivered},
		{"down twice", []answer{{status: 503}, {status: 500}, {status: 200}}, []time.Duration{0, time.Minute, 10 * time.Minute}, delivery.Delivered},
		{"never up", []answer{{status: 500}}, []time.Duration{0, time.Minute, 10 * time.Minute}, delivery.Exhausted},
		{"a redirect is a failure", []answer{{status: 302}, {status: 200}}, []time.Duration{0, time.Minute}, delivery.Delivered},
		{"no answer at all", []answer{{err: &egress.Error{Step: egress.StepTLS, Reason: "x"}}, {status: 200}}, []time.Duration{0, time.Minute}, delivery.Delivered},
		{"gone for good", []answer{{status: 410}}, []time.Duration{0}, delivery.Held},
		{"asked to wait longer", []answer{{status: 429, retryAfter: "300"}, {status: 200}}, []time.Duration{0, 5 * time.Minute}, delivery.Delivered},
		{"asked to wait less than the step", []answer{{status: 503, retryAfter: "1"}, {status: 200}}, []time.Duration{0, time.Minute}, delivery.Delivered},
		{"asked to wait on a status that may not", []answer{{status: 500, retryAfter: "3000"}, {status: 200}}, []time.Duration{0, time.Minute}, delivery.Delivered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				n := 0
				b := newBench(t, func(got) answer { n++; return tt.answers[min(n, len(tt.answers))-1] })
				e := b.subscribe(nil)
				b.start()
				b.publish("con_a")
				sleep(2 * time.Hour)
				all := b.requests()
				if len(all) != len(tt.want) {
					t.Fatalf("got attempts %v, want %d", all, len(tt.want))
				}
				before := time.Duration(0)
				for i, g := range all {
					wait, least, most := g.at-before, tt.want[i]*8/10, tt.want[i]*12/10
					if tt.want[i] == 5*time.Minute { // the receiver's wish is not jittered
						least, most = tt.want[i], tt.want[i]
					}
					if wait < least-time.Millisecond || wait > most+50*time.Millisecond {
						t.Errorf("attempt %d came after %v, want %v to %v", i+1, wait, least, most)
					}
					if g.attempt != i+1 || g.id != all[0].id || g.body != all[0].body || g.sequence != 1 {
						t.Errorf("attempt %d is %v, want number %d of the same delivery", i+1, g, i+1)
					}
					before = g.at
				}
				b.wantStatuses(e, map[delivery.Status]int{tt.ends: 1})
				b.close()
			})
		})
	}
}

func TestEngine_oneSubjectHoldsBackNobodyElse(t *testing.T) {
	in(t, func(t *testing.T) {
		failing := true
		b := newBench(t, func(g got) answer {
			if g.subject == "con_a" && failing {
				return answer{status: 500}
			}
			return answer{status: 200}
		})
		e := b.subscribe(func(e *subscription.Endpoint) { e.RetrySchedule = []time.Duration{time.Hour, time.Hour} })
		b.start()
		b.publish("con_a", "con_b", "con_a", "con_b", "con_c")
		sleep(time.Minute)
		b.publish("con_a", "con_b")
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 4, delivery.Retrying: 1, delivery.Pending: 2})
		b.mu.Lock()
		failing = false
		b.mu.Unlock()
		sleep(2 * time.Hour)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 7})
		ordered(t, b.requests())
		b.forget()
		b.publish("con_a") // flows from the log again
		sleep(time.Second)
		if all := b.requests(); len(all) != 1 || all[0].sequence != 4 {
			t.Errorf("got %v, want the fourth of con_a", all)
		}
		b.close()
	})
}

// TestEngine_manyInTroubleAtAStart: when an engine starts while the retries of many
// subjects are due, the others are sent with them: were those tried first, they
// would open the breaker for all.
func TestEngine_manyInTroubleAtAStart(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if strings.HasPrefix(g.subject, "bad") {
				return answer{status: 503}
			}
			return answer{status: 200, after: time.Millisecond}
		})
		e := b.subscribe(func(e *subscription.Endpoint) { e.RetrySchedule = []time.Duration{time.Minute, time.Hour, time.Hour} })
		b.start()
		var all []string
		for i := range 300 { // one in ten
			all = append(all, fmt.Sprintf("%s_%d", map[bool]string{true: "bad", false: "con"}[i%10 == 9], i))
		}
		b.publish(all...)
		sleep(10 * time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 270, delivery.Retrying: 30})
		b.halt()
		b.publish(subjects(500)...)
		sleep(2 * time.Minute) // all 30 are due
		b.start()
		sleep(10 * time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 770, delivery.Retrying: 30})
		if h, err := b.store.Health(t.Context(), b.id, e.ID); err != nil || h.Breaker.Open {
			t.Errorf("got the breaker %+v, %v, want it closed", h.Breaker, err)
		}
		b.close()
	})
}

func TestEngine_exhaustedLetsTheNextGo(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if g.sequence == 1 {
				return answer{status: 500}
			}
			return answer{status: 200}
		})
		e := b.subscribe(nil)
		b.start()
		b.publish("con_a", "con_a")
		sleep(time.Hour)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1, delivery.Exhausted: 1})
		if all := b.requests(); len(all) != 4 || all[3].sequence != 2 {
			t.Errorf("got %v, want three attempts of the first, then the second", all)
		}
		b.close()
	})
}

func TestEngine_suspendedKeepsAndSendsInOrder(t *testing.T) {
	in(t, func(t *testing.T) {
		gone := true
		b := newBench(t, func(got) answer {
			if gone {
				return answer{status: 410}
			}
			return answer{status: 200}
		})
		e := b.subscribe(nil)
		other := b.subscribe(func(e *subscription.Endpoint) {
			e.URL, e.EventTypes = "https://other.example/", []event.Type{event.WebhookStatusChanged}
		})
		b.start()
		b.publish("con_a", "con_a", "con_b")
		sleep(time.Minute)
		b.publish("con_a")
		sleep(24 * time.Hour)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Held: 4})
		cur, err := b.store.Endpoint(t.Context(), b.id, e.Style, e.ID)
		if err != nil || cur.Status != subscription.Suspended || cur.StatusReason == "" {
			t.Errorf("got status %s, reason %q (%v), want suspended with a reason", cur.Status, cur.StatusReason, err)
		}
		sent := len(b.requests())
		b.mu.Lock()
		gone = false
		b.mu.Unlock()
		b.setStatus(e, subscription.Active)
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 4})
		var mine []got
		for _, g := range b.requests()[sent:] {
			if strings.HasPrefix(g.url, "https://receiver") {
				mine = append(mine, g)
			}
		}
		if len(mine) != 4 {
			t.Errorf("got %v after resuming, want 4", mine)
		}
		ordered(t, b.requests())
		b.mu.Lock()
		gone = true
		b.mu.Unlock()
		if n := b.statuses(other)[delivery.Held] + b.statuses(other)[delivery.Delivered]; n != 2 {
			t.Errorf("got %v of webhook.status_changed, want 2: suspended and active again", b.statuses(other))
		}
		b.close()
	})
}

func TestEngine_pausedDiscards(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if g.subject == "con_a" && !g.replay {
				return answer{status: 500}
			}
			return answer{status: 200}
		})
		e := b.subscribe(nil)
		b.start()
		first := b.publish("con_a", "con_b")
		sleep(time.Second)
		b.setStatus(e, subscription.Paused)
		b.forget()
		b.publish("con_b", "con_c")
		sleep(24 * time.Hour)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1, delivery.Discarded: 3})
		h, err := b.store.Health(t.Context(), b.id, e.ID)
		if err != nil || h.Discarded != 3 || h.Backlog != 0 {
			t.Errorf("got %+v (%v), want 3 discarded, no backlog", h, err)
		}
		b.setStatus(e, subscription.Active)
		sleep(24 * time.Hour)
		if all := b.requests(); len(all) != 0 {
			t.Errorf("got %v after resuming, want nothing by itself", all)
		}
		b.publish("con_b")
		sleep(time.Second)
		if all := b.requests(); len(all) != 1 || all[0].subject != "con_b" || all[0].sequence != 3 {
			t.Errorf("got %v, want the third of con_b", all)
		}
		b.forget()
		job, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: first}})
		if err != nil || job.Count != 2 {
			t.Fatalf("Replay = %+v, %v, want 2", job, err)
		}
		sleep(time.Second)
		all := b.requests()
		if len(all) != 2 || !all[0].replay || all[0].attempt != 2 || all[1].attempt != 2 {
			t.Errorf("got %v, want the two once more as replays, attempts numbered on", all)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 3, delivery.Discarded: 2})
		b.close()
	})
}

func TestEngine_breaker(t *testing.T) {
	in(t, func(t *testing.T) {
		down := true
		b := newBench(t, func(got) answer {
			if down {
				return answer{status: 503}
			}
			return answer{status: 200}
		})
		e := b.subscribe(func(e *subscription.Endpoint) {
			e.RetrySchedule, e.MaxInFlight = []time.Duration{time.Hour, time.Hour}, 4
		})
		b.start()
		var subjects []string
		for i := range 1000 {
			subjects = append(subjects, fmt.Sprintf("con_%d", i))
		}
		b.publish(subjects...)
		sleep(10 * time.Minute)
		sent := len(b.requests())
		if sent < delivery.BreakerFailures || sent > delivery.BreakerFailures+4 {
			t.Errorf("got %d attempts, want %d and what was on the wire", sent, delivery.BreakerFailures)
		}
		h, err := b.store.Health(t.Context(), b.id, e.ID)
		if err != nil || !h.Breaker.Open || h.Breaker.Reason == "" || h.Backlog != 1000 {
			t.Errorf("got %+v (%v), want an open breaker and a backlog of 1000", h, err)
		}
		got := b.statuses(e)
		if got[delivery.Retrying] != sent || got[delivery.Pending] != 1000-sent {
			t.Errorf("got %v, want %d retrying, the rest pending", got, sent)
		}
		b.close() // and it is open after a restart
		b.openStore()
		b.start()
		sleep(10 * time.Minute)
		if n := len(b.requests()); n != sent {
			t.Errorf("got %d attempts after a restart, want none of the untried", n-sent)
		}
		b.mu.Lock()
		down = false
		b.mu.Unlock()
		sleep(2 * time.Hour)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1000})
		if h, err = b.store.Health(t.Context(), b.id, e.ID); err != nil || h.Breaker.Open || h.Breaker.Failures != 0 {
			t.Errorf("got %+v (%v), want a closed breaker", h.Breaker, err)
		}
		b.close()
	})
}

func TestEngine_breakerOpenWithoutTriedDeliveriesProbesWithANewOne(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 503} })
		e := b.subscribe(func(e *subscription.Endpoint) { e.RetrySchedule = []time.Duration{time.Second} })
		b.start()
		var subjects []string
		for i := range 100 {
			subjects = append(subjects, fmt.Sprintf("con_%d", i))
		}
		b.publish(subjects...)
		sleep(5 * time.Second)
		all := b.statuses(e)
		if all[delivery.Exhausted] == 0 || all[delivery.Pending] == 0 {
			t.Fatalf("got %v, want some exhausted, some pending", all)
		}
		before := len(b.requests())
		sleep(time.Minute)
		// each probe is tried twice within about a second, one after the other
		if n := len(b.requests()) - before; n < 80 || n > 160 {
			t.Errorf("got %d probes in a minute, want one delivery at a time", n)
		}
		b.close()
	})
}

func TestEngine_restartGoesOnWhereItStood(t *testing.T) {
	in(t, func(t *testing.T) {
		status := 500
		b := newBench(t, func(g got) answer {
			if g.subject == "con_a" {
				return answer{status: status}
			}
			return answer{status: 200}
		})
		e := b.subscribe(nil)
		b.start()
		b.publish("con_a", "con_a", "con_b")
		sleep(30 * time.Second)
		b.close()
		b.openStore()
		b.mu.Lock()
		status = 200
		b.mu.Unlock()
		b.publish("con_b")
		b.start()
		sleep(10 * time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 4})
		all := b.requests()
		if len(all) != 5 {
			t.Fatalf("got %v, want 5 attempts", all)
		}
		ordered(t, all)
		for _, g := range all {
			if g.subject == "con_a" && g.sequence == 1 && g.attempt == 2 {
				b.close()
				return
			}
		}
		t.Errorf("got %v, want a second attempt of the first", all)
		b.close()
	})
}

func TestEngine_stopFinishesWhatIsOnTheWire(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200, after: 10 * time.Second} })
		e := b.subscribe(nil)
		b.start()
		b.publish("con_a", "con_a")
		sleep(time.Second)
		b.halt()
		b.halt = nil
		if d := time.Since(b.t0); d != 10*time.Second {
			t.Errorf("stopping ended at %v, want 10s", d)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1, delivery.Pending: 1})
		b.close()
	})
}

func TestEngine_stopWaitsNoLongerThanItMay(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200, after: time.Hour} })
		e := b.subscribe(nil)
		b.start()
		b.publish("con_a")
		sleep(time.Second)
		b.halt()
		b.halt = nil
		if d := time.Since(b.t0); d != 21*time.Second {
			t.Errorf("stopping ended at %v, want 21s", d)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Pending: 1})
		b.close()
	})
}

func TestEngine_aSlowSubjectDoesNotHoldTheCursor(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if g.subject == "con_slow" {
				return answer{status: 200, after: 10 * time.Second}
			}
			return answer{status: 200, after: time.Millisecond}
		})
		b.window = 1000
		e := b.subscribe(nil)
		b.start()
		subjects := []string{"con_slow", "con_slow"}
		for i := range 4_000 {
			subjects = append(subjects, fmt.Sprintf("con_%d", i))
		}
		b.publish(subjects...)
		sleep(9 * time.Second)
		if n := len(b.requests()); n != 4_001 {
			t.Errorf("got %d requests while one is slow, want 4001", n)
		}
		sleep(30 * time.Second)
		if h, err := b.store.Health(t.Context(), b.id, e.ID); err != nil || h.Backlog != 0 {
			t.Errorf("got a backlog of %d (%v), want 0", h.Backlog, err)
		}
		ordered(t, b.requests())
		b.close()
	})
}

func TestEngine_limits(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200, after: 50 * time.Millisecond} })
		b.subscribe(func(e *subscription.Endpoint) { e.MaxInFlight, e.RateLimit = 3, 40 })
		b.start()
		var subjects []string
		for i := range 200 {
			subjects = append(subjects, fmt.Sprintf("con_%d", i))
		}
		b.publish(subjects...)
		sleep(4900 * time.Millisecond)
		if n := len(b.requests()); n < 190 || n > 198 {
			t.Errorf("got %d requests in 4.9 s at 40 a second, want 196", n)
		}
		b.mu.Lock()
		most := b.most
		b.mu.Unlock()
		if most > 3 {
			t.Errorf("got %d on the wire at a time, want at most 3", most)
		}
		sleep(time.Second)
		if n := len(b.requests()); n != 200 {
			t.Errorf("got %d requests, want 200", n)
		}
		b.close()
	})
}

func TestEngine_signsWithEverySecretThatIsCurrent(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		e := b.subscribe(nil)
		b.start()
		fresh, err := b.app.RotateSecret(t.Context(), b.id, e.Style, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		verifies := func(g got, s secret.Value) error {
			parsed, err := signature.ParseSecret(s.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			for k, v := range g.header {
				h[http.CanonicalHeaderKey(k)] = v
			}
			return signature.Verify(h, []byte(g.body), b.t0.Add(g.at), parsed)
		}
		b.publish("con_a")
		sleep(25 * time.Hour)
		b.publish("con_b")
		sleep(time.Minute)
		all := b.requests()
		if len(all) != 2 {
			t.Fatalf("got %v, want 2 requests", all)
		}
		for i, want := range []struct{ old, fresh bool }{{true, true}, {false, true}} {
			if err := verifies(all[i], e.SigningSecrets[0].Secret); (err == nil) != want.old {
				t.Errorf("request %d with the old secret: %v, want it valid: %t", i, err, want.old)
			}
			if err := verifies(all[i], fresh); (err == nil) != want.fresh {
				t.Errorf("request %d with the new secret: %v, want it valid: %t", i, err, want.fresh)
			}
		}
		b.close()
	})
}

func TestEngine_test(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 418, body: "I know s3cretKey"} })
		e := b.subscribe(func(e *subscription.Endpoint) {
			e.Auth = subscription.Auth{Type: subscription.AuthAPIKey, APIKey: subscription.APIKey{Location: "header", Key: "X-Key", Value: secret.New("s3cretKey")}}
		})
		b.start()
		synctest.Wait()
		trial, err := b.engine.Test(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if trial.Delivered || trial.Step != delivery.StepResponse || trial.Response == nil || trial.Response.Status != 418 || trial.Response.Body != "I know ***" {
			t.Errorf("got %+v, want a refused test with a masked answer", trial)
		}
		if s := fmt.Sprint(trial); strings.Contains(s, "s3cretKey") {
			t.Errorf("the secret is in %s", s)
		}
		if len(b.requests()) != 1 || b.requests()[0].header["X-Key"][0] != "s3cretKey" || !strings.Contains(b.requests()[0].body, "webhook.test") {
			t.Errorf("got %v, want one webhook.test with its key", b.requests())
		}
		b.wantStatuses(e, map[delivery.Status]int{})
		b.close()
	})
}

func TestEngine_withdrawalsFirst(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200, after: time.Second} })
		b.subscribe(func(e *subscription.Endpoint) { e.MaxInFlight = 1 })
		for i := range 20 {
			b.publish(fmt.Sprintf("con_%d", i))
		}
		b.publishType(event.ConsentRevoked, "con_x")
		b.start()
		sleep(time.Minute)
		all := b.requests()
		at := slices.IndexFunc(all, func(g got) bool { return g.subject == "con_x" })
		if len(all) != 21 || at < 0 || at > 1 {
			t.Errorf("got the withdrawal at place %d of %d, want it among the first two", at, len(all))
		}
		b.close()
	})
}

// failing is a Log that fails at one call, before or after it took effect.
type failing struct {
	dispatch.Log
	mu    sync.Mutex
	call  string
	at    int
	after bool
	seen  int
	hit   bool
}

var errPower = errors.New("the answer was lost")

func (f *failing) fails(call string, do func() error) error {
	f.mu.Lock()
	fail := false
	if call == f.call {
		f.seen++
		fail = f.seen == f.at
		f.hit = f.hit || fail
	}
	f.mu.Unlock()
	if fail && !f.after {
		return errPower
	}
	if err := do(); err != nil {
		return err
	}
	if fail {
		return errPower
	}
	return nil
}

func (f *failing) Active(ctx context.Context) (out []delivery.Endpoint, err error) {
	err = f.fails("Active", func() (err error) { out, err = f.Log.Active(ctx); return err })
	return out, err
}

func (f *failing) Config(ctx context.Context, e delivery.Endpoint) (out subscription.Endpoint, err error) {
	err = f.fails("Config", func() (err error) { out, err = f.Log.Config(ctx, e); return err })
	return out, err
}

func (f *failing) Open(ctx context.Context, e delivery.Endpoint) (out delivery.Position, err error) {
	err = f.fails("Open", func() (err error) { out, err = f.Log.Open(ctx, e); return err })
	return out, err
}

func (f *failing) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (out delivery.Page, err error) {
	err = f.fails("Read", func() (err error) { out, err = f.Log.Read(ctx, e, after, limit, maxBytes); return err })
	return out, err
}

func (f *failing) Load(ctx context.Context, e delivery.Endpoint, seqs []event.Seq) (out []delivery.Loaded, err error) {
	err = f.fails("Load", func() (err error) { out, err = f.Log.Load(ctx, e, seqs); return err })
	return out, err
}

func (f *failing) Replays(ctx context.Context, e delivery.Endpoint) (out []delivery.Replay, err error) {
	err = f.fails("Replays", func() (err error) { out, err = f.Log.Replays(ctx, e); return err })
	return out, err
}

func (f *failing) Record(ctx context.Context, batch []delivery.Progress) (out []delivery.Outcome, err error) {
	err = f.fails("Record", func() (err error) { out, err = f.Log.Record(ctx, batch); return err })
	return out, err
}

func (f *failing) Token(ctx context.Context, e delivery.Endpoint) (out subscription.Token, err error) {
	err = f.fails("Token", func() (err error) { out, err = f.Log.Token(ctx, e); return err })
	return out, err
}

func (f *failing) SaveToken(ctx context.Context, e delivery.Endpoint, t subscription.Token) error {
	return f.fails("SaveToken", func() error { return f.Log.SaveToken(ctx, e, t) })
}

// step is how far the next fault lies behind the one at at: with the race
// detector the early calls are tried one by one, the later by samples.
func step(at int) int {
	if slow && at >= 4 {
		return at / 2
	}
	return 1
}

// TestAtLeastOnce: whichever call of the store fails, before or after taking
// effect, every event arrives, in order.
func TestAtLeastOnce(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"Active", "Config", "Open", "Read", "Load", "Replays", "Record", "Token", "SaveToken"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s fails, after its effect: %t", call, after), func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at += step(at) {
					hit := false
					synctest.Test(t, func(t *testing.T) {
						n, good, issued := 0, 0, 0
						b := newBench(t, func(g got) answer {
							if n++; n%3 == 0 {
								return answer{status: 500, after: time.Millisecond}
							}
							if n%4 == 0 { // where a token is needed, another one from here on
								good++
							}
							if t := tokenOf(g); t != "" && t != fmt.Sprintf("t%d", good) {
								return answer{status: 401, after: time.Millisecond}
							}
							return answer{status: 200, after: time.Millisecond}
						})
						b.token = func(q tokenRequest) answer { // each refresh token is good for one use
							if q.form.Get("refresh_token") != fmt.Sprintf("r%d", issued) {
								return answer{status: 400, body: `{"error":"invalid_grant"}`}
							}
							issued++
							good = issued
							return answer{status: 200, body: fmt.Sprintf(`{"access_token":"t%d","refresh_token":"r%d"}`, issued, issued)}
						}
						f := &failing{call: call, at: at, after: after}
						b.wrap = func(l dispatch.Log) dispatch.Log { f.Log = l; return f }
						e := b.subscribe(func(e *subscription.Endpoint) {
							e.RetrySchedule = slices.Repeat([]time.Duration{time.Second}, 20)
							if strings.HasSuffix(call, "Token") {
								refreshToken("", "r0")(e)
							}
						})
						b.start()
						ids := b.publish("con_a", "con_b", "con_a")
						sleep(time.Second)
						b.publish("con_b", "con_a", "con_c")
						sleep(time.Minute)
						if _, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: ids}}); err != nil {
							t.Fatal(err)
						}
						sleep(10 * time.Minute)
						b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 6})
						ordered(t, b.requests())
						replays := map[string]bool{}
						for _, g := range b.requests() {
							if g.replay {
								replays[g.id] = true
							}
						}
						if len(replays) != 3 {
							t.Errorf("got %d deliveries replayed, want 3", len(replays))
						}
						hit = f.hit
						if t.Failed() {
							t.Logf("at call %d:\n%s", at, b.log.String())
						}
						b.close()
					})
					if !hit {
						if at == 1 {
							t.Fatalf("%s was never called", call)
						}
						return
					}
					if t.Failed() || at > 100 {
						return
					}
				}
			})
		}
	}
}
