package portal

import (
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
)

// TestCharts: each chart has its figure of the whole time, and bars where
// something was counted.
func TestCharts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 12, 30, 30, 0, time.UTC)
	hour := plottedTimes[0]
	from := now.Truncate(time.Minute).Add(-59 * time.Minute)
	a := delivery.Tally{At: from, Sent: 120, Accepted: 60, Exhausted: 2}
	b := delivery.Tally{At: from.Add(59 * time.Minute), Sent: 60, Accepted: 60, Waiting: 7}
	for range 60 {
		a.Notify.Add(4 * time.Second)
		b.Notify.Add(10 * time.Millisecond)
	}
	cs := english.charts(hour, from, now, []delivery.Tally{a, b})
	text := func(c chart) string {
		var s []string
		for _, b := range c.Bars {
			if b.Text != "" {
				s = append(s, b.X+" "+b.Text)
			}
		}
		return c.Title + " " + c.Figure + "; " + c.Note + "; " + c.Top + "; " + strings.Join(s, "; ")
	}
	for i, want := range []string{
		"Deliveries 120; accepted by receivers; 2.0 per second; 0.0 11:31: 1.0 per second; 472.0 12:30: 2.0 per second",
		"Success 66.7 %; 180 attempts, 60 failed · 2 deliveries given up; 120 attempts; 0.0 11:31: 120 attempts, 60 failed; 472.0 12:30: 60 attempts, 0 failed",
		"Time to notify 11 ms; half within it, 99 % within 4.1 s; 4.1 s; 0.0 11:31: half within 4.1 s, 99 % within 4.1 s; 472.0 12:30: half within 11 ms, 99 % within 11 ms",
		"Backlog 7; waited at most, without suspended endpoints; 7; 472.0 12:30: 7 waited",
	} {
		if got := text(cs[i]); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, c := range english.charts(hour, from, now, nil) {
		if len(c.Bars) != 0 || strings.Contains(c.Figure, "%") {
			t.Errorf("of nothing: got %+v, want no bars and no rate", c)
		}
	}
}
