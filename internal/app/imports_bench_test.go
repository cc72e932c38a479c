package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
)

// crmLine is a line about one of so many citizens, at random.
func crmLine(citizens int) func(int) string {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same load each time
	return func(i int) string {
		return fmt.Sprintf(`{"externalRef":"CRM-%06d","channel":"import","changes":[{"optionId":%q,"justification":"consent","state":"GRANTED","obtainedAt":"2026-01-31T12:00:%02d.000Z"}],"preferences":[]}`+"\n",
			r.IntN(citizens), []string{mailing, phoning, research}[i%3], i%60)
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkImport imports 100,000 lines about 20,000 citizens at random.
func BenchmarkImport(b *testing.B) {
	for _, tt := range []struct {
		name   string
		silent bool
		feeds  []subscription.UpdateType
	}{
		{"events=none", true, nil},
		{"events=all, no feed used", false, nil},
		{"events=all, both feeds used", false, []subscription.UpdateType{subscription.ConsentReceipts, subscription.EffectivePermission}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			const n = 100_000
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				keys, err := secret.ParseKeyring(secret.New(secret.RandomStd(32)))
				if err != nil {
					b.Fatal(err)
				}
				s, err := relational.Open(context.Background(), sqlite.File{Dir: b.TempDir()}, relational.Options{Keys: keys})
				if err != nil {
					b.Fatal(err)
				}
				a := app.New(app.Options{Store: s, Policy: consent.Policy{}, Operator: operator})
				ap, _, _, err := a.CreateApplication(b.Context(), "Shop")
				if err != nil {
					b.Fatal(err)
				}
				for _, o := range []string{mailing, phoning, research} {
					if _, err := a.PutOption(b.Context(), ap.ID, "", optionDraft(o)); err != nil {
						b.Fatal(err)
					}
				}
				for _, u := range tt.feeds {
					_, err := a.CreateEndpoint(b.Context(), ap.ID, subscription.Endpoint{
						Style: subscription.Subscription, Name: string(u), URL: "https://crm.example/" + string(u), UpdateType: u,
						Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				var lines strings.Builder
				line := crmLine(20_000)
				for i := range n {
					lines.WriteString(line(i))
				}
				b.StartTimer()
				used -= processorTime(b)
				got, err := a.Import(b.Context(), ap.ID, caller, app.ImportRequest{Silent: tt.silent, Lines: strings.NewReader(lines.String()), Parse: parseLine})
				used += processorTime(b)
				b.StopTimer()
				if err != nil || got.Recorded != n {
					b.Fatalf("got %+v, %v", got, err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
			b.ReportMetric(float64(used.Microseconds())/n/float64(b.N), "cpu-µs/line") // all that can be compared on a busy machine
		})
	}
}
