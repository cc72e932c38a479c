package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// nothing is a log that costs nothing: endless pages of one event after the
// other for each of its endpoints, up to where it ends, and no store behind
// it.
type nothing struct {
	endpoints []delivery.Endpoint
	inFlight  int
	subjects  []string
	ids       []string
	body      []byte

	end  atomic.Int64 // the log's last place
	want atomic.Int64 // attempts to record
	done chan struct{}
}

func newNothing(endpoints, inFlight int) *nothing {
	n := &nothing{inFlight: inFlight, body: []byte(`{"data":"` + fmt.Sprintf("%01000d", 0) + `"}`), done: make(chan struct{}, 1)}
	for i := range endpoints {
		n.endpoints = append(n.endpoints, delivery.Endpoint(fmt.Sprintf("sub_%026d", i)))
	}
	for i := range 100_000 {
		n.subjects = append(n.subjects, fmt.Sprintf("ctz_%026d", i))
	}
	for i := range 1024 {
		n.ids = append(n.ids, fmt.Sprintf("evt_%026d", i))
	}
	return n
}

func (n *nothing) Active(context.Context) ([]delivery.Endpoint, error) { return n.endpoints, nil }

func (n *nothing) Config(_ context.Context, e delivery.Endpoint) (subscription.Endpoint, error) {
	return subscription.Endpoint{
		ID: subscription.ID(e), Application: "app_x", Style: subscription.Subscription, URL: "https://receiver.example/hook", Status: subscription.Active,
		Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll, MaxInFlight: n.inFlight,
		SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")}},
	}, nil
}

func (n *nothing) Open(_ context.Context, e delivery.Endpoint) (delivery.Position, error) {
	return delivery.Position{Lease: delivery.Lease{Endpoint: e, Epoch: 1}}, nil
}

func (n *nothing) Read(_ context.Context, _ delivery.Endpoint, after event.Seq, limit, _ int) (delivery.Page, error) {
	upto := min(int64(after)+int64(limit), n.end.Load())
	p := delivery.Page{Upto: event.Seq(upto)}
	if upto <= int64(after) {
		return p, nil
	}
	p.Items = make([]delivery.Item, 0, upto-int64(after))
	for seq := int64(after) + 1; seq <= upto; seq++ {
		p.Items = append(p.Items, delivery.Item{
			Seq: event.Seq(seq), EventID: n.ids[seq%int64(len(n.ids))], Type: event.PermissionsEffective,
			Subject: n.subjects[seq%int64(len(n.subjects))], Sequence: seq/int64(len(n.subjects)) + 1, Body: n.body,
		})
	}
	return p, nil
}

func (n *nothing) Load(context.Context, delivery.Endpoint, []event.Seq) ([]delivery.Loaded, error) {
	return nil, fault.New(fault.Internal, "", "nothing fails here")
}

func (n *nothing) Replays(context.Context, delivery.Endpoint) ([]delivery.Replay, error) {
	return nil, nil
}

func (n *nothing) Token(context.Context, delivery.Endpoint) (subscription.Token, error) {
	return subscription.Token{}, nil
}

func (n *nothing) SaveToken(context.Context, delivery.Endpoint, subscription.Token) error { return nil }

func (n *nothing) Record(_ context.Context, batch []delivery.Progress) ([]delivery.Outcome, error) {
	got := 0
	for i := range batch {
		got += len(batch[i].Attempts)
	}
	if got > 0 && n.want.Add(-int64(got)) <= 0 {
		select {
		case n.done <- struct{}{}:
		default:
		}
	}
	return make([]delivery.Outcome, len(batch)), nil
}

// accepts is a receiver that accepts everything as soon as the others had
// their turn.
type accepts struct{ answer egress.Response }

func (a *accepts) Do(context.Context, *egress.Request) (*egress.Response, error) {
	runtime.Gosched()
	return &a.answer, nil
}

// engine makes an engine on a log.
func (n *nothing) engine(tb testing.TB, log dispatch.Log, client dispatch.Client) *dispatch.Engine {
	tb.Helper()
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		tb.Fatal(err)
	}
	return dispatch.New(dispatch.Options{
		Log: log, Client: client, Guard: guard, Schedule: delivery.Schedule{time.Minute}, Timeout: 15 * time.Second,
		Version: "test", Logger: slog.New(slog.DiscardHandler),
	})
}

// run starts an engine on a log until the benchmark ends.
func (n *nothing) run(b *testing.B) *dispatch.Engine {
	b.Helper()
	e := n.engine(b, n, &accepts{egress.Response{Status: 204, Header: []egress.Header{{Name: "Date", Value: "Mon, 02 Nov 2026 15:04:05 GMT"}}}})
	ctx, stop := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { stop(); wg.Wait() })
	return e
}

// BenchmarkEngine_backlog is one delivery out of a backlog: what the engine
// itself takes, with a log and a receiver that take nothing.
func BenchmarkEngine_backlog(b *testing.B) {
	for _, bb := range []struct{ endpoints, inFlight int }{{1, 64}, {10, 6}, {1000, 1}} {
		b.Run(fmt.Sprintf("endpoints=%d", bb.endpoints), func(b *testing.B) {
			n := newNothing(bb.endpoints, bb.inFlight)
			each := max(1, b.N/bb.endpoints)
			n.end.Store(int64(each))
			n.want.Store(int64(each * bb.endpoints))
			b.ReportAllocs()
			b.ResetTimer()
			n.run(b)
			<-n.done
			b.StopTimer()
		})
	}
}

// BenchmarkEngine_trickle is one event for each of many endpoints that are
// caught up: the cost of a delivery where nothing waits.
func BenchmarkEngine_trickle(b *testing.B) {
	for _, endpoints := range []int{1, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			n := newNothing(endpoints, 64)
			n.want.Store(int64(endpoints))
			n.end.Store(1)
			e := n.run(b)
			<-n.done
			b.ReportAllocs()
			b.ResetTimer()
			for range max(1, b.N/endpoints) {
				n.want.Store(int64(endpoints))
				n.end.Add(1)
				e.Wake([]access.ID{"app_x"}, nil)
				<-n.done
			}
			b.StopTimer()
		})
	}
}
