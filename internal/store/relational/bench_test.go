package relational

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
)

// benchConsent returns a DATA consent as most are, with its two events of
// about 1 KiB.
func benchConsent(app, id string) (consent.Consent, []event.Event) {
	r := consent.Request{
		Type:       consent.Data,
		LoggedUser: consent.Document{Identification: "52998224725", Rel: "CPF"},
		Approvers:  1,
	}
	for _, g := range consent.Groups()[4:8] {
		r.Permissions = append(r.Permissions, g.Permissions[:len(g.Permissions)-1]...)
	}
	r.Permissions = append(r.Permissions, "RESOURCES_READ")
	received := consent.Receive(consent.ID(id), app, r, start)
	c, created, err := consent.Create(consent.ID(id), app, r, start, consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: time.Hour})
	if err != nil {
		panic(err) // the request is ours
	}
	evts := []event.Event{received, created}
	for i := range evts {
		evts[i].ID, evts[i].Application, evts[i].RecordedAt = fmt.Sprintf("evt_%s_%d", id, i), app, start
	}
	return c, evts
}

// BenchmarkPutConsent creates consents with two events each, durably.
func BenchmarkPutConsent(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var commits atomic.Int64
			s := openStore(b, folder{Dir: b.TempDir(), OnCommit: func(int, time.Duration, error) { commits.Add(1) }})
			addApp(b, s, "app_bench")
			var n atomic.Int64
			commits.Store(0)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						c, evts := benchConsent("app_bench", fmt.Sprintf("con_%d", i))
						err := s.Update(context.Background(), func(tx store.Tx) error { return tx.PutConsent(c, evts...) })
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "consents/s")
			b.ReportMetric(float64(b.N)/float64(max(commits.Load(), 1)), "consents/commit")
		})
	}
}
