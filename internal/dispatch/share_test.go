package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

// at is a URL of its own for each endpoint, so that a receiver can tell them
// apart.
func at(host string, i int) string { return fmt.Sprintf("https://%s%d.example/hook", host, i) }

func isAt(g got, host string) bool { return strings.HasPrefix(g.url, "https://"+host) }

// to returns the requests to a host.
func (b *bench) to(host string) []got {
	return slices.DeleteFunc(b.requests(), func(g got) bool { return !isAt(g, host) })
}

func TestShare_turns(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200, after: 10 * time.Millisecond} })
		b.slots = [3]int{6, 6, 6}
		for i := range 3 {
			b.subscribe(func(e *subscription.Endpoint) {
				e.URL, e.EventTypes = at("large", i), []event.Type{event.ConsentCreated}
			})
		}
		b.subscribe(func(e *subscription.Endpoint) {
			e.URL, e.EventTypes = at("small", 0), []event.Type{event.ConsentApproved}
		})
		b.publish(subjects(900)...)
		b.start()
		sleep(100 * time.Millisecond)
		b.publishType(event.ConsentApproved, subjects(20)...)
		from := time.Since(b.t0)
		sleep(time.Second)
		small := b.to("small")
		if len(small) != 20 {
			t.Fatalf("got %d of the small one, want 20", len(small))
		}
		// it has a fourth of six slots: 20 deliveries of 10 ms take 140 ms
		if took := small[19].at - from; took > 180*time.Millisecond {
			t.Errorf("20 deliveries took %v beside backlogs, want 140ms", took)
		}
		for i := range 3 { // a third of 600 a second
			if n := len(b.to(fmt.Sprintf("large%d", i))); n < 190 || n > 250 {
				t.Errorf("got %d requests to large one %d, want about 210", n, i)
			}
		}
		b.close()
	})
}

// TestShare_slowEndpointsCostTheOthersNothing: a healthy endpoint delivers as
// fast beside dead and slow ones as alone, also when these are more than there
// are slots.
func TestShare_slowEndpointsCostTheOthersNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		token bool // the endpoint needs one, and its token server hangs
		sick  answer
		most  time.Duration // that it may take, of 100 alone
	}{
		{"they never answer", false, answer{after: 15 * time.Second, err: &egress.Error{Step: egress.StepResponse, Reason: "no answer in time"}}, 105},
		{"they answer in 10 s", false, answer{status: 200, after: 10 * time.Second}, 105},
		{"they reset the connection", false, answer{after: time.Millisecond, err: &egress.Error{Step: egress.StepRequest, Reason: "reset"}}, 125}, // this is load, and shares the commits while it lasts
		{"their token server hangs", true, answer{after: 15 * time.Second, err: &egress.Error{Step: egress.StepResponse, Reason: "no answer in time"}}, 105},
	}
	for _, tt := range tests {
		for _, slots := range [][3]int{{}, {16, 8, 8}} { // as they are; fewer than there are slow endpoints
			t.Run(fmt.Sprintf("%s, slots %v", tt.name, slots), func(t *testing.T) {
				in(t, func(t *testing.T) {
					const sick, each = 40, 50
					b := newBench(t, func(g got) answer {
						if isAt(g, "sick") && !tt.token {
							return tt.sick
						}
						return answer{status: 200, after: 5 * time.Millisecond}
					})
					b.slots = slots
					b.overlap = true
					b.token = func(tokenRequest) answer { return tt.sick }
					b.subscribe(func(e *subscription.Endpoint) {
						e.URL, e.MaxInFlight, e.EventTypes = at("well", 0), 8, []event.Type{event.ConsentRejected}
					})
					b.start()
					b.publishType(event.ConsentRejected, "con_first")
					sleep(time.Second)
					// measure lets each of four consents have many changes, one after the other.
					measure := func() time.Duration {
						from := time.Since(b.t0)
						before := len(b.to("well"))
						for range each {
							b.publishType(event.ConsentRejected, "con_1", "con_2", "con_3", "con_4")
						}
						sleep(5 * time.Second)
						all := b.to("well")[before:]
						if len(all) != 4*each {
							t.Fatalf("got %d deliveries to the healthy endpoint in 5 s, want %d", len(all), 4*each)
						}
						ordered(t, b.to("well"))
						return all[len(all)-1].at - from
					}
					alone := measure()
					for i := range sick {
						b.subscribe(func(e *subscription.Endpoint) {
							e.URL, e.MaxInFlight = at("sick", i), 64
							e.EventTypes = []event.Type{event.ConsentCreated}
							if tt.token {
								clientCredentials(e)
							}
						})
					}
					b.publish(subjects(200)...)
					first := measure() // as the trouble begins
					b.publish(subjects(200)...)
					later := measure()
					for _, took := range []time.Duration{first, later} {
						if took > alone*tt.most/100 {
							t.Errorf("%d deliveries took %v beside %d such endpoints, want %v as alone", 4*each, took, sick, alone)
						}
					}
					if n := len(b.to("sick")); n < sick && !tt.token {
						t.Errorf("got %d requests to the sick, want each to be tried", n)
					}
					b.halt()
					b.halt = nil
					b.close()
				})
			})
		}
	}
}

// TestShare_quickOnesThatDie: endpoints that answered quickly and use up all
// slots when they stop answering give them back: those that were first within
// SlowAfter, and those that come in their place.
func TestShare_quickOnesThatDie(t *testing.T) {
	in(t, func(t *testing.T) {
		dead := false
		b := newBench(t, func(g got) answer {
			if dead && isAt(g, "sick") {
				return answer{after: 15 * time.Second, err: &egress.Error{Step: egress.StepResponse, Reason: "no answer in time"}}
			}
			return answer{status: 200, after: 5 * time.Millisecond}
		})
		b.slots = [3]int{64, 8, 32}
		b.subscribe(func(e *subscription.Endpoint) {
			e.URL, e.EventTypes = at("well", 0), []event.Type{event.ConsentRejected}
		})
		for i := range 20 {
			b.subscribe(func(e *subscription.Endpoint) {
				e.URL, e.EventTypes = at("sick", i), []event.Type{event.ConsentCreated}
			})
		}
		b.start()
		b.publish("con_1")
		b.publishType(event.ConsentRejected, "con_1")
		sleep(time.Second)
		b.set(func() { dead = true })
		b.publish(subjects(100)...)
		synctest.Wait()
		b.publishType(event.ConsentRejected, subjects(100)...)
		from := time.Since(b.t0)
		sleep(5 * time.Second)
		all := b.to("well")[1:]
		if len(all) != 100 {
			t.Fatalf("got %d deliveries to the healthy endpoint, want 100", len(all))
		}
		if took := all[99].at - from; took > 2*delivery.SlowAfter+50*time.Millisecond {
			t.Errorf("100 deliveries took %v, want the slots back after %v", took, 2*delivery.SlowAfter)
		}
		b.close()
	})
}

func TestShare_slowOnesShareTheirSlots(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if isAt(g, "slower") {
				return answer{status: 200, after: 14 * time.Second}
			}
			return answer{status: 200, after: time.Second}
		})
		b.slots = [3]int{64, 64, 12}
		b.subscribe(func(e *subscription.Endpoint) { e.URL = at("slow", 0) })
		for i := range 3 {
			b.subscribe(func(e *subscription.Endpoint) { e.URL = at("slower", i) })
		}
		b.start()
		b.publish(subjects(900)...)
		sleep(45 * time.Second)
		if n := len(b.to("slow0")); n < 110 || n > 140 { // 3 of 12 slots; in turn with the others it had a tenth of that
			t.Errorf("the one that answers in 1 s got %d requests in 45 s, want about 130", n)
		}
		for i := range 3 { // 4 rounds of 3
			if n := len(b.to(fmt.Sprintf("slower%d.", i))); n < 7 || n > 14 {
				t.Errorf("one that answers in 14 s got %d requests in 45 s, want about 10", n)
			}
		}
		b.mu.Lock()
		most := b.most
		b.mu.Unlock()
		if most > 12+4 {
			t.Errorf("got %d on the wire at a time, want at most 12 and the first of each", most)
		}
		b.halt()
		b.halt = nil
		b.close()
	})
}

func TestShare_firstTriesAndRetries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name            string
		firsts, retries time.Duration // how long they take
		late            bool          // first tries come when the retries are on the wire
	}{
		{"retries that hang leave first tries the rest", time.Second, 15 * time.Second, false},
		{"retries that hang leave first tries that come later their part", time.Second, 15 * time.Second, true},
		{"first tries that hang leave retries their eighth", 15 * time.Second, time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				sick := true
				b := newBench(t, func(g got) answer {
					switch {
					case sick:
						return answer{status: 429}
					case g.attempt > 1:
						return answer{status: 200, after: tt.retries}
					}
					return answer{status: 200, after: tt.firsts}
				})
				b.subscribe(func(e *subscription.Endpoint) {
					e.MaxInFlight, e.RetrySchedule = 16, []time.Duration{10 * time.Second, time.Hour}
				})
				b.start()
				poisoned := subjects(19) // the twentieth failure would open the breaker
				b.publish(poisoned...)
				sleep(time.Second)
				b.set(func() { sick = false })
				var more []string
				for i := range 500 {
					more = append(more, fmt.Sprintf("con_more%03d", i))
				}
				if tt.late {
					sleep(12 * time.Second) // all retries are due
				}
				from := time.Since(b.t0)
				b.publish(more...)
				sleep(14*time.Second - from)
				sleep(8 * time.Second)
				firsts, retries := 0, 0 // that began in the 8 s
				for _, g := range b.requests() {
					switch {
					case g.at < 14*time.Second:
					case g.attempt > 1:
						retries++
					default:
						firsts++
					}
				}
				switch {
				case tt.late && firsts < 2*7: // two of 16 slots
					t.Errorf("got %d first tries in 8 s while retries hang, want 2 a second", firsts)
				case !tt.late && tt.firsts < tt.retries && firsts < 14*7:
					t.Errorf("got %d first tries in 8 s while two retries hang, want 14 a second", firsts)
				case tt.firsts > tt.retries && retries < 12:
					t.Errorf("got %d retries in 8 s while first tries hang, want 2 a second", retries)
				}
				b.halt()
				b.halt = nil
				b.close()
			})
		})
	}
}

func TestShare_withdrawals(t *testing.T) {
	t.Parallel()
	t.Run("a lane that waits already goes ahead when a withdrawal joins it", func(t *testing.T) {
		in(t, func(t *testing.T) {
			b := newBench(t, func(got) answer { return answer{status: 200, after: 100 * time.Millisecond} })
			b.subscribe(func(e *subscription.Endpoint) { e.MaxInFlight = 1 })
			b.start()
			b.publish(append(subjects(40), "con_x")...)
			sleep(time.Second)
			b.publishType(event.ConsentRevoked, "con_x")
			sleep(10 * time.Second)
			all := b.requests()
			place := slices.IndexFunc(all, func(g got) bool { return g.subject == "con_x" && g.sequence == 2 })
			if place < 0 || place > 14 {
				t.Errorf("got the withdrawal at place %d of %d, want it soon after the eleventh", place, len(all))
			}
			ordered(t, all)
			b.close()
		})
	})
	t.Run("they do not starve the others", func(t *testing.T) {
		in(t, func(t *testing.T) {
			b := newBench(t, func(got) answer { return answer{status: 200, after: 10 * time.Millisecond} })
			b.subscribe(func(e *subscription.Endpoint) { e.MaxInFlight = 1 })
			var withdrawn []string
			for i := range 400 {
				withdrawn = append(withdrawn, fmt.Sprintf("con_w%03d", i))
			}
			b.publishType(event.ConsentRevoked, withdrawn...)
			b.publish(subjects(40)...)
			b.start()
			sleep(2 * time.Second)
			others := 0
			for _, g := range b.requests() {
				if !strings.HasPrefix(g.subject, "con_w") {
					others++
				}
			}
			if others < 15 || others > 35 { // one turn in eight of 200
				t.Errorf("got %d of the others in 200 deliveries, want about 25", others)
			}
			sleep(10 * time.Second)
			b.close()
		})
	})
}

func TestShare_afterAnOutage(t *testing.T) {
	in(t, func(t *testing.T) {
		down := false
		b := newBench(t, func(got) answer {
			if down {
				return answer{status: 503}
			}
			return answer{status: 200, after: 100 * time.Millisecond}
		})
		b.subscribe(func(e *subscription.Endpoint) { e.RetrySchedule = []time.Duration{time.Minute, time.Minute} })
		b.start()
		b.publish("con_x")
		sleep(time.Second)
		b.set(func() { down = true })
		b.publish(subjects(900)...)
		sleep(10 * time.Second)
		b.set(func() { down = false })
		sleep(2 * time.Minute)
		begun := map[time.Duration]int{} // fresh ones, by the time of their begin
		var times []time.Duration
		for _, g := range b.requests() {
			if g.attempt > 1 || g.at < 40*time.Second {
				continue
			}
			when := g.at.Round(10 * time.Millisecond)
			if begun[when]++; begun[when] == 1 {
				times = append(times, when)
			}
		}
		if len(times) < 3 {
			t.Fatalf("got first tries at %v, want several rounds", times)
		}
		slices.Sort(times)
		most, before := 0, 1
		for _, when := range times[:min(len(times), 8)] {
			n := begun[when]
			if n > 3*before+2 { // the retries that pass count, too
				t.Errorf("got %d at once after %d, want about twice as many", n, before)
			}
			before = max(before, n)
			most = max(most, n)
		}
		b.close()
	})
}

// loads is a log of large bodies; it counts what the engine holds of them.
type loads struct {
	*nothing
	mu    sync.Mutex
	holds int // bytes
	most  int
	reads map[delivery.Endpoint]int
}

func (l *loads) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (delivery.Page, error) {
	p, err := l.nothing.Read(ctx, e, after, min(limit, max(1, maxBytes/len(l.body))), maxBytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads[e]++
	l.holds += len(p.Items) * len(l.body)
	l.most = max(l.most, l.holds)
	return p, err
}

// Do is a receiver that takes a second.
func (l *loads) Do(_ context.Context, r *egress.Request) (*egress.Response, error) {
	time.Sleep(time.Second)
	l.mu.Lock()
	l.holds -= len(r.Body)
	l.mu.Unlock()
	return &egress.Response{Status: 204}, nil
}

// TestShare_bytes: a thousand endpoints with a backlog share 64 MiB, and each
// goes on.
func TestShare_bytes(t *testing.T) {
	in(t, func(t *testing.T) {
		const endpoints, each = 1000, 40
		l := &loads{nothing: newNothing(endpoints, 8), reads: map[delivery.Endpoint]int{}}
		l.body = []byte(`"` + strings.Repeat("x", 16<<10) + `"`)
		l.end.Store(each)
		l.want.Store(endpoints * each)
		e := l.engine(t, l, l)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		select {
		case <-l.done:
		case <-time.After(time.Hour):
			t.Error("not everything was delivered in an hour")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if l.most > 64<<20 {
			t.Errorf("got %d MiB of bodies loaded at a time, want at most 64", l.most>>20)
		}
		if l.most < 16<<20 {
			t.Errorf("got %d MiB of bodies loaded at most, want the memory to be used", l.most>>20)
		}
	})
}

// pages counts the reads of the log that found something.
type pages struct {
	dispatch.Log
	mu sync.Mutex
	of map[delivery.Endpoint]int
}

func (p *pages) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (delivery.Page, error) {
	page, err := p.Log.Read(ctx, e, after, limit, maxBytes)
	if len(page.Items) > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.of[e]++
	}
	return page, err
}

func (p *pages) count(e delivery.Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[e]
}

// TestShare_bytesOfThoseThatCannotSend: what endpoints have loaded that are
// down takes no memory from the others for long: beyond three quarters of all
// memory it is given back.
func TestShare_bytesOfThoseThatCannotSend(t *testing.T) {
	in(t, func(t *testing.T) {
		down := false
		b := newBench(t, func(g got) answer {
			if down && isAt(g, "sick") {
				return answer{status: 503}
			}
			return answer{status: 200, after: time.Millisecond}
		})
		b.pad = 64 << 10
		reads := &pages{of: map[delivery.Endpoint]int{}}
		b.wrap = func(l dispatch.Log) dispatch.Log { reads.Log = l; return reads }
		for i := range 12 {
			b.subscribe(func(e *subscription.Endpoint) {
				e.URL, e.MaxInFlight, e.RetrySchedule = at("sick", i), 4, []time.Duration{time.Hour, time.Hour}
			})
		}
		b.start()
		b.publish("con_x")
		sleep(time.Second)
		b.set(func() { down = true })
		b.publish(subjects(500)...) // 32 MiB, for each of the twelve
		sleep(time.Minute)
		began := b.engineOf().Loaded()
		if began < 4<<20 {
			t.Fatalf("got %d MiB loaded by endpoints that are down, want the test to begin with more", began>>20)
		}
		well := b.subscribe(func(e *subscription.Endpoint) {
			e.URL, e.EventTypes = at("well", 0), []event.Type{event.ConsentApproved}
		})
		b.publishType(event.ConsentApproved, subjects(500)...)
		from := time.Since(b.t0)
		sleep(time.Minute)
		all := b.to("well")
		if len(all) != 500 {
			t.Fatalf("got %d deliveries to the healthy endpoint, want 500", len(all))
		}
		if took := all[499].at - from; took > time.Second {
			t.Errorf("500 deliveries took %v, want less than a second", took)
		}
		if n := reads.count(delivery.Endpoint(well.ID)); n > 30 {
			t.Errorf("500 deliveries of 64 KiB took %d reads, want about ten, of 4 MiB", n)
		}
		if n := b.engineOf().Loaded(); began > 48<<20 && n > 16<<20 {
			t.Errorf("got %d MiB loaded while only endpoints that are down have a backlog, want it given back", n>>20)
		}
		b.set(func() { down = false })
		sleep(3 * time.Hour) // what was given back is read again
		for i := range 12 {
			if n := len(slices.DeleteFunc(b.to(fmt.Sprintf("sick%d.", i)), func(g got) bool { return g.attempt > 1 })); n != 1001 {
				t.Errorf("endpoint %d got %d first tries, want 1001, each once", i, n)
			}
		}
		ordered(t, b.to("sick"))
		b.close()
	})
}

// quiet counts the calls of a log.
type quiet struct {
	dispatch.Log
	calls atomic.Int64
}

func (q *quiet) Active(ctx context.Context) ([]delivery.Endpoint, error) {
	q.calls.Add(1)
	return q.Log.Active(ctx)
}

func (q *quiet) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (delivery.Page, error) {
	q.calls.Add(1)
	return q.Log.Read(ctx, e, after, limit, maxBytes)
}

func (q *quiet) Record(ctx context.Context, batch []delivery.Progress) ([]delivery.Outcome, error) {
	q.calls.Add(1)
	return q.Log.Record(ctx, batch)
}

// TestShare_idle: an engine with nothing to do does nothing, but looks once in
// a while whether that is so; and a change of one application disturbs nobody
// else.
func TestShare_idle(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		q := &quiet{}
		b.wrap = func(l dispatch.Log) dispatch.Log { q.Log = l; return q }
		for i := range 5 {
			b.subscribe(func(e *subscription.Endpoint) { e.URL = at("receiver", i) })
		}
		b.start()
		b.publish("con_a")
		sleep(time.Minute)
		q.calls.Store(0)
		sleep(10 * time.Minute)
		if n := q.calls.Load(); n != 0 {
			t.Errorf("got %d calls of the store in ten minutes without work, want none", n)
		}
		other, _, _, err := b.app.CreateApplication(t.Context(), "Other")
		if err != nil {
			t.Fatal(err)
		}
		own := b.id
		b.id = other.ID
		b.publish("con_b")
		b.id = own
		sleep(2 * time.Minute)
		if n := q.calls.Load(); n != 0 {
			t.Errorf("got %d calls of the store for another's change, want none", n)
		}
		sleep(10 * time.Minute) // past the look
		if n := q.calls.Load(); n != 1+5 {
			t.Errorf("got %d calls of the store when it was time to look, want 6: the endpoints, and each one's log", n)
		}
		b.close()
	})
}

// TestShare_changedBeforeItRuns: an endpoint that is made while the engine reads
// which there are is found, without waiting for the next look.
func TestShare_changedBeforeItRuns(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.wrap = func(l dispatch.Log) dispatch.Log { return &tardy{Log: l} }
		b.start()
		sleep(time.Second)
		b.subscribe(nil)
		sleep(2 * time.Second)
		b.publish("con_a")
		sleep(time.Second)
		if n := len(b.requests()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
		b.close()
	})
}

// tardy tells late which endpoints there were.
type tardy struct{ dispatch.Log }

func (l *tardy) Active(ctx context.Context) ([]delivery.Endpoint, error) {
	out, err := l.Log.Active(ctx)
	time.Sleep(2 * time.Second)
	return out, err
}
