package relational

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

const benchApp = access.ID("app_bench")

// benchEndpoint is a subscription that is told the listed types, or full
// states.
func benchEndpoint(id subscription.ID, types ...event.Type) subscription.Endpoint {
	return subscription.Endpoint{
		ID: id, Application: string(benchApp), Style: subscription.Subscription, Version: 1,
		URL: "https://example.org/hook", UpdateType: subscription.EffectivePermission, EventTypes: types,
		Status: subscription.Active, StatusSince: start, Auth: subscription.Auth{Type: subscription.AuthNone},
		SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("whsec_" + secret.RandomStd(32))}},
		CreatedAt:      start, UpdatedAt: start,
	}
}

// benchLog opens a store with a log of n events of 1 KiB about that many
// subjects, which the endpoint "sub_bench" is told.
func benchLog(b *testing.B, n, subjects int) *Store {
	b.Helper()
	s := openStore(b, folder{Dir: b.TempDir()})
	addApp(b, s, benchApp)
	update(b, s, func(tx store.Tx) error {
		for _, e := range []subscription.Endpoint{benchEndpoint("sub_bench"), benchEndpoint("sub_rare", event.WebhookStatusChanged)} {
			if err := tx.PutEndpoint(e, delivery.Shown{}); err != nil {
				return err
			}
		}
		return nil
	})
	body := append(append([]byte(`{"pad":"`), bytes.Repeat([]byte("x"), 1014)...), '"', '}')
	for done := 0; done < n; {
		evts := make([]event.Event, min(4096, n-done))
		for i := range evts {
			evts[i] = event.Event{
				ID: id.New(id.Event), Application: string(benchApp), Feed: event.EffectivePermission, Type: event.PermissionsEffective,
				Subject: fmt.Sprintf("ctz_%06d", (done+i)*7919%subjects), OccurredAt: start,
				RecordedAt: start.Add(time.Duration(done+i) * 100 * time.Millisecond), Body: body,
			}
		}
		update(b, s, func(tx store.Tx) error { return tx.Publish(evts...) })
		done += len(evts)
	}
	b.ReportAllocs()
	return s
}

// benchSize is n, or less when tests are to be short.
func benchSize(n int) int {
	if testing.Short() {
		return min(n, 20_000)
	}
	return n
}

// cpu reports the processor time of one operation beside the time that passed:
// on a busy machine only the former can be compared. Call it at the start; what
// it returns, at the end.
func cpu(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from := used()
	return func() { b.ReportMetric(float64((used()-from).Microseconds())/float64(b.N), "cpu-µs/op") }
}

func benchAttempt(it delivery.Item, n int) delivery.Attempt {
	return delivery.Attempt{
		Seq: it.Seq, Subject: it.Subject, N: n, At: start, Duration: 900 * time.Microsecond, Delivered: true, Status: 204, Step: delivery.StepResponse,
		Config: 1, Timestamp: start.Unix(), InteractionID: id.Interaction(), Signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		Response: &delivery.Response{Status: 204, Headers: []delivery.Header{{Name: "Date", Value: "Sun, 01 Mar 2026 12:00:00 GMT"}}},
	}
}

// BenchmarkRead reads pages of 512 events of a long log, one after the other.
func BenchmarkRead(b *testing.B) {
	for _, subjects := range []int{2_000, 100_000} {
		b.Run(fmt.Sprintf("subjects=%d", subjects), func(b *testing.B) {
			s := benchLog(b, benchSize(200_000), subjects)
			var after event.Seq
			defer cpu(b)()
			for b.Loop() {
				p, err := s.Read(context.Background(), "sub_bench", after, 512, 4<<20)
				if err != nil {
					b.Fatal(err)
				}
				if after = p.Upto; len(p.Items) < 512 {
					after = 0
				}
			}
		})
	}
}

// BenchmarkRead_rare crosses a log of which the endpoint is told nothing: one
// operation is one step.
func BenchmarkRead_rare(b *testing.B) {
	s := benchLog(b, benchSize(200_000), 2_000)
	var after event.Seq
	defer cpu(b)()
	for b.Loop() {
		p, err := s.Read(context.Background(), "sub_rare", after, 512, 4<<20)
		if err != nil || len(p.Items) > 0 {
			b.Fatalf("got %d items, %v, want none", len(p.Items), err)
		}
		if p.Upto == after {
			p.Upto = 0
		}
		after = p.Upto
	}
}

// BenchmarkRecord records 256 deliveries that succeeded, in one commit.
func BenchmarkRecord(b *testing.B) {
	s := benchLog(b, benchSize(200_000), 20_000)
	pos, err := s.Open(context.Background(), "sub_bench")
	if err != nil {
		b.Fatal(err)
	}
	var after event.Seq
	n := 1
	defer cpu(b)()
	for b.Loop() {
		b.StopTimer()
		page, err := s.Read(context.Background(), "sub_bench", after, 256, 4<<20)
		if err != nil {
			b.Fatal(err)
		}
		p := delivery.Progress{Lease: pos.Lease, At: start, Cursor: page.Upto}
		for _, it := range page.Items {
			p.Attempts = append(p.Attempts, benchAttempt(it, n))
		}
		if after = page.Upto; len(page.Items) < 256 {
			after, n = 0, n+1
		}
		b.StartTimer()
		out, err := s.Record(context.Background(), []delivery.Progress{p})
		if err != nil || out[0].Fenced {
			b.Fatalf("record: %+v, %v", out, err)
		}
	}
	b.ReportMetric(256*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkRecord_trouble records 256 retries that failed again, each of a
// subject with followers, and settles one of them, among many thousands that
// wait.
func BenchmarkRecord_trouble(b *testing.B) {
	n := benchSize(50_000)
	s := benchLog(b, n, n/5)
	pos, err := s.Open(context.Background(), "sub_bench")
	if err != nil {
		b.Fatal(err)
	}
	var xs []delivery.Exception
	for after := event.Seq(0); ; {
		page, err := s.Read(context.Background(), "sub_bench", after, 4096, 64<<20)
		if err != nil {
			b.Fatal(err)
		}
		if page.Upto == after {
			break
		}
		p := delivery.Progress{Lease: pos.Lease, At: start, Cursor: page.Upto}
		for _, it := range page.Items {
			x := delivery.Exception{Seq: it.Seq, Subject: it.Subject, State: delivery.WaitTurn}
			if int(it.Seq) <= n/5 {
				x.State, x.NextAt = delivery.WaitRetry, start
			}
			p.Put = append(p.Put, x)
		}
		xs = append(xs, p.Put...)
		if _, err := s.Record(context.Background(), []delivery.Progress{p}); err != nil {
			b.Fatal(err)
		}
		after = page.Upto
	}
	xs = xs[:n/5]
	tries, at := 0, 0
	defer cpu(b)()
	for b.Loop() {
		p := delivery.Progress{Lease: pos.Lease, At: start}
		for range 256 {
			if at == len(xs) {
				at, tries = 0, tries+1
			}
			x := xs[at]
			at++
			x.Tries = tries + 1
			a := benchAttempt(delivery.Item{Seq: x.Seq, Subject: x.Subject}, x.Tries)
			a.Delivered, a.Status, a.Reason = false, 500, "the receiver answered 500"
			p.Attempts, p.Put = append(p.Attempts, a), append(p.Put, x)
			p.Rouse = append(p.Rouse, x.Subject)
		}
		if _, err := s.Record(context.Background(), []delivery.Progress{p}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHealth looks at endpoints with a million events behind them.
func BenchmarkHealth(b *testing.B) {
	n := benchSize(1_000_000)
	s := benchLog(b, n, 100_000)
	health := func(b *testing.B, e subscription.ID, want func(delivery.Health) bool) {
		defer cpu(b)()
		for b.Loop() {
			h, err := s.Health(context.Background(), benchApp, e)
			if err != nil || !want(h) {
				b.Fatalf("got %+v, %v", h, err)
			}
		}
	}
	b.Run("all wait", func(b *testing.B) {
		health(b, "sub_bench", func(h delivery.Health) bool { return h.AtLeast })
	})
	b.Run("none matches", func(b *testing.B) {
		health(b, "sub_rare", func(h delivery.Health) bool { return h.Backlog == 0 })
	})
	b.Run("deliveries", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			list, _, err := s.Deliveries(context.Background(), benchApp, store.DeliveryQuery{Endpoint: "sub_bench", Limit: 20})
			if err != nil || len(list) != 20 {
				b.Fatalf("got %d, %v", len(list), err)
			}
		}
	})
	b.Run("deliveries by time", func(b *testing.B) {
		q := store.DeliveryQuery{Endpoint: "sub_bench", Limit: 20, From: start.Add(time.Second), To: start.Add(time.Minute)}
		defer cpu(b)()
		for b.Loop() {
			list, _, err := s.Deliveries(context.Background(), benchApp, q)
			if err != nil || len(list) != 20 {
				b.Fatalf("got %d, %v", len(list), err)
			}
		}
	})
	b.Run("page of a status that none has", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			list, _, err := s.Deliveries(context.Background(), benchApp, store.DeliveryQuery{Status: delivery.Delivered, Limit: 20})
			if err != nil || len(list) != 0 {
				b.Fatalf("got %d, %v", len(list), err)
			}
		}
	})
	update(b, s, func(tx store.Tx) error { return tx.Discard(benchApp, "sub_bench", start) })
	b.Run("paused", func(b *testing.B) {
		health(b, "sub_bench", func(h delivery.Health) bool { return h.Discarded > 0 })
	})
}
