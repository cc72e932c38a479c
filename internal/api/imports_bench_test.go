package api

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// BenchmarkImport imports 100,000 lines about 20,000 citizens at random, over
// HTTP and with the face's own reading of lines.
func BenchmarkImport(b *testing.B) {
	const n = 100_000
	var used time.Duration
	processor := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same load each time
	var lines bytes.Buffer
	for range n {
		fmt.Fprintf(&lines, `{"externalRef":"CRM-%06d","channel":"import","changes":[{"optionId":"opt-newsletter","justification":"consent","state":"GRANTED","obtainedAt":"2026-01-31T12:00:00.000Z"}]}`+"\n", r.IntN(20_000))
	}
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b)
		w.objects()
		srv := httptest.NewServer(w.face)
		q, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL+"/v1/permissions/import?events=none", bytes.NewReader(lines.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+w.ours.token)
		q.Header.Set("Content-Type", mediaLines)
		b.StartTimer()
		used -= processor()
		resp, err := srv.Client().Do(q)
		if err != nil {
			b.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		used += processor()
		b.StopTimer()
		_ = resp.Body.Close() // it was read to its end
		srv.Close()
		if err != nil || !bytes.Contains(got, fmt.Appendf(nil, `"recorded":%d,`, n)) {
			b.Fatalf("got %s, %v", got, err)
		}
		b.StartTimer()
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64(used.Microseconds())/n/float64(b.N), "cpu-µs/line") // all that can be compared on a busy machine
}
