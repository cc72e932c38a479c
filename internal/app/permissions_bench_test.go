package app_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

// BenchmarkPermissions reads the state of a citizen at random instants of the
// past: one with 1,000 transactions of its own, and one who is linked with four
// others who have as many together.
func BenchmarkPermissions(b *testing.B) {
	const transactions = 1000
	for _, linked := range []int{0, 4} {
		b.Run(fmt.Sprintf("linked=%d", linked), func(b *testing.B) {
			keys, err := secret.ParseKeyring(secret.New(secret.RandomStd(32)))
			if err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			s, err := relational.Open(ctx, sqlite.File{Dir: b.TempDir()}, relational.Options{Keys: keys})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := s.Close(); err != nil {
					b.Error(err)
				}
			})
			a := app.New(app.Options{Store: s, Policy: ttls, Operator: operator})
			owner, _, _, err := a.CreateApplication(ctx, "Shop")
			if err != nil {
				b.Fatal(err)
			}
			const options = 20
			for o := range options {
				if _, err := a.PutOption(ctx, owner.ID, "", optionDraft(fmt.Sprintf("opt-%d", o))); err != nil {
					b.Fatal(err)
				}
			}
			r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same load each time
			var first permission.CitizenID
			var begin, end time.Time
			for n := range transactions {
				var made app.Recorded
				name := fmt.Sprintf("crm-%d", n%(linked+1))
				request := by(name, change(fmt.Sprintf("opt-%d", r.IntN(options)), permission.Granted), change(fmt.Sprintf("opt-%d", r.IntN(options)), permission.Denied))
				_, err := a.Record(ctx, owner.ID, caller, request, app.Keyed{}, func(done app.Recorded) (app.Answer, error) {
					made = done
					return app.Answer{}, nil
				})
				if err != nil {
					b.Fatal(err)
				}
				end = made.Transaction.Origin.RecordedAt
				switch {
				case n == 0:
					first, begin = made.Citizen.ID, end
				case n <= linked:
					if _, err := a.Link(ctx, owner.ID, first, app.CitizenKey{ID: made.Citizen.ID}); err != nil {
						b.Fatal(err)
					}
				}
			}
			var took []time.Duration
			for b.Loop() {
				at := begin.Add(time.Duration(r.Int64N(int64(end.Sub(begin))))).Truncate(time.Millisecond)
				t0 := time.Now()
				if _, _, err := a.Permissions(ctx, owner.ID, app.CitizenKey{ID: first}, at); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(t0))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
