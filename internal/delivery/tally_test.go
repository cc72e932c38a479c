package delivery

import (
	"testing"
	"time"
)

func TestTimes_quantile(t *testing.T) {
	t.Parallel()
	var none Times
	if got := none.Quantile(0.5); got != 0 {
		t.Errorf("of nothing: got %s, want 0", got)
	}
	for _, d := range []time.Duration{0, 300 * time.Microsecond, time.Millisecond, 1001 * time.Microsecond, 17 * time.Millisecond, time.Second, time.Hour, 25 * 24 * time.Hour} {
		var one Times
		one.Add(d)
		got := one.Quantile(0.99)
		if low := max(d, time.Millisecond); got < low*999/1000 || float64(got) > 1.2*float64(low) {
			t.Errorf("of %s: got %s, want at most 19 %% above", d, got)
		}
	}
	var long Times
	long.Add(400 * 24 * time.Hour)
	if got := long.Quantile(0.5); got < 26*24*time.Hour {
		t.Errorf("of 400 days: got %s, want the last place", got)
	}
	var many Times
	for i := range 100 {
		many.Add(time.Duration(i+1) * 10 * time.Millisecond)
	}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 500 * time.Millisecond}, {0.99, 990 * time.Millisecond}, {1, time.Second}} {
		if got := many.Quantile(c.q); got < c.want || float64(got) > 1.2*float64(c.want) {
			t.Errorf("the quantile %g: got %s, want %s or little more", c.q, got, c.want)
		}
	}
}

func TestTally_merge(t *testing.T) {
	t.Parallel()
	a := Tally{Sent: 3, Accepted: 2, Exhausted: 1, Waiting: 7}
	a.Notify.Add(time.Second)
	b := Tally{Sent: 1, Accepted: 1, Waiting: 4}
	b.Notify.Add(time.Second)
	a.Merge(&b)
	if a.Sent != 4 || a.Accepted != 3 || a.Exhausted != 1 || a.Waiting != 7 || a.Notify.Count() != 2 {
		t.Errorf("got %+v", a)
	}
}

func TestSpan_begin(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 17, 44, 59, 999e6, time.UTC)
	for span, want := range map[Span]string{Minutely: "2026-03-04T17:44:00Z", Quarters: "2026-03-04T17:30:00Z", SixHours: "2026-03-04T12:00:00Z"} {
		if got := span.Begin(at).Format(time.RFC3339); got != want {
			t.Errorf("%s: got %s, want %s", time.Duration(span), got, want)
		}
	}
}
