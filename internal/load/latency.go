package load

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// changeRate is how many changes a second the latency is measured at. Source:
// DESIGN 2.
const changeRate = 100

// latency measures from the moment a change is asked for, through the durable
// commit, to the receiver's handler of its notification, over the server's
// public API. Requests are sent by the clock whether or not the former have
// been answered.
func latency(ctx context.Context, b *Bench) ([]Row, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	s, bearer, err := b.served(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	err = call(ctx, http.MethodPost, s.url+"/v1/subscriptions", bearer, map[string]any{
		"name": "bench", "url": t.url(pathArrivals), "updateType": "effective-permission",
		"eventTypes": []string{"consent.created"}, "authentication": map[string]string{"authType": "none"},
	}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := change(ctx, s, bearer, pick(b.quick, time.Second, 5*time.Second)); err != nil {
		return nil, err
	}
	lasts := pick(b.quick, 3*time.Second, 60*time.Second)
	asked, err := change(ctx, s, bearer, lasts)
	if err != nil {
		return nil, err
	}
	took, err := arrivals(ctx, t, asked)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d changes at %d/s, end to end through the API, request sent to handler entered, max %.1f ms",
		len(took), changeRate, quantile(took, 1))
	return []Row{
		AtMost("latency-p50", quantile(took, 0.5), barP50, "ms", what),
		AtMost("latency-p99", quantile(took, 0.99), barP99, "ms", what),
	}, nil
}

// change makes consents at changeRate for d and returns, by their ID, when
// each was asked for.
func change(ctx context.Context, s *server, bearer string, d time.Duration) (map[string]time.Time, error) {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		asked = map[string]time.Time{}
		first error
	)
	tick := time.NewTicker(time.Second / changeRate)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		wg.Go(func() {
			var c struct{ ID string }
			at := time.Now()
			err := call(ctx, http.MethodPost, s.url+"/v1/consents", bearer, consentRequest, &c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
			asked[c.ID] = at
		})
	}
	wg.Wait()
	return asked, first
}

// arrivals waits until the receiver has heard of all that was asked for, and
// returns the milliseconds that each took.
func arrivals(ctx context.Context, t *target, asked map[string]time.Time) ([]float64, error) {
	var took []float64
	for range 100 {
		var noted map[string]int64
		if err := getJSON(ctx, t.url(pathNoted), "", &noted); err != nil {
			return nil, err
		}
		for id, ns := range noted {
			if at, ok := asked[id]; ok {
				took = append(took, float64(ns-at.UnixNano())/1e6)
			}
		}
		if len(took) == len(asked) {
			return took, nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the receiver heard of %d of %d changes", len(took), len(asked))
}

// firstDelivery measures the newcomer's start: from the start of the process
// to the first delivery that its own receiver has accepted.
func firstDelivery(ctx context.Context, b *Bench) ([]Row, error) {
	var took []float64
	for range b.pairs() {
		d, err := b.devOnce(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, d.Seconds())
	}
	return []Row{AtMost("dev-first-delivery", median(took), barDevStart, "s",
		fmt.Sprintf("consentwire dev, empty folder, median of %d starts, most %.2f s", len(took), quantile(took, 1)))}, nil
}

func (b *Bench) devOnce(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	s, err := b.startServer(ctx, "dev")
	if err != nil {
		return 0, err
	}
	defer s.stop()
	for time.Since(start) < 30*time.Second {
		at, err := s.delivered(ctx)
		if err != nil {
			return 0, err
		}
		if !at.IsZero() {
			return at.Sub(start), nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("nothing was delivered within 30 s of the start")
}

// delivered returns when the first delivery of the server's only application
// was accepted; zero: none was yet.
func (s *server) delivered(ctx context.Context) (time.Time, error) {
	var apps struct {
		Items []struct{ ApplicationID string }
	}
	if err := getJSON(ctx, s.url+"/v1/applications", s.operator, &apps); err != nil || len(apps.Items) == 0 {
		return time.Time{}, err
	}
	var list struct {
		Items []struct{ DeliveredAt time.Time }
	}
	err := getJSON(ctx, s.url+"/v1/deliveries?status=delivered&limit=100&applicationId="+apps.Items[0].ApplicationID, s.operator, &list)
	var first time.Time
	for _, d := range list.Items {
		if first.IsZero() || d.DeliveredAt.Before(first) {
			first = d.DeliveredAt
		}
	}
	return first, err
}

// changes compares how many consents a second 64 clients can make with what
// the same API answers when nothing is stored.
func changes(ctx context.Context, b *Bench) ([]Row, error) {
	p, err := b.besideForgetful(ctx, "/v1/consents", func() []byte { return consentRequest }, nil)
	if err != nil {
		return nil, err
	}
	return []Row{AtLeast("changes-durable", median(p.ratios), barChanges, besideUnit, p.conditions("/v1/consents"))}, nil
}

const besideUnit = "of the same API without a store"

// beside is what a comparison with an API without a store came to.
type beside struct {
	durable, without []float64 // requests a second
	ratios           []float64
}

func (p beside) conditions(path string) string {
	return fmt.Sprintf("POST %s, %d clients, SQLite synchronous=FULL, %.0f/s and %.0f/s (medians of %d pairs, %.2f..%.2f)",
		path, inFlight, median(p.durable), median(p.without), len(p.ratios), slices.Min(p.ratios), slices.Max(p.ratios))
}

// besideForgetful compares how many requests a second 64 clients can make with
// what the same API answers when nothing is stored. prepare, which may be nil,
// is for the one that has a store.
func (b *Bench) besideForgetful(ctx context.Context, path string, body func() []byte, prepare func(apiReady) error) (p beside, err error) {
	dir, s, err := b.makeStore(ctx, "durable")
	if err != nil {
		return p, err
	}
	if err := s.Close(); err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	args := []string{dir}
	if b.profile != "" {
		args = append(args, b.profile)
	}
	var apis [2]apiReady
	for i, args := range [][]string{args, {}} {
		c, err := b.start(ctx, &apis[i], "api", args...)
		if err != nil {
			return p, err
		}
		defer c.stop()
	}
	if prepare != nil {
		if err := prepare(apis[0]); err != nil {
			return p, err
		}
	}
	for pair := range b.pairs() + 1 { // the first warms up
		var rate [2]float64
		for i, a := range apis {
			if rate[i], err = ask(ctx, a, path, body, b.halfTime()); err != nil {
				return p, err
			}
		}
		if pair > 0 {
			p.ratios = append(p.ratios, rate[0]/rate[1])
			p.durable, p.without = append(p.durable, rate[0]), append(p.without, rate[1])
		}
		fmt.Fprintf(os.Stderr, "bench: %s: %.0f/s durable, %.0f/s without a store\n", path, rate[0], rate[1])
	}
	return p, nil
}

// ask posts bodies with inFlight clients for d and returns how many were
// answered a second.
func ask(ctx context.Context, a apiReady, path string, body func() []byte, d time.Duration) (float64, error) {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		total int
		first error
	)
	start := time.Now()
	for range inFlight {
		wg.Go(func() {
			n := 0
			var err error
			for err == nil && time.Since(start) < d {
				if err = call(ctx, http.MethodPost, "http://"+a.Addr+path, a.Bearer, body(), nil); err == nil {
					n++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return float64(total) / time.Since(start).Seconds(), first
}
