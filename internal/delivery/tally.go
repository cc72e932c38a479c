package delivery

import (
	"math"
	"time"
)

// Tally counts what became of an application's deliveries in a span of time.
type Tally struct {
	At time.Time // when the span began; its length is the asker's

	Sent      int // attempts that were made
	Accepted  int // of them, those that the receiver accepted
	Exhausted int // deliveries that were given up
	Notify    Times
	// Waiting is the most deliveries that waited at a time, of endpoints that
	// were being sent to: not of paused and suspended ones.
	Waiting int
}

// Span is how long the span of a tally is.
type Span time.Duration

// The lengths in which tallies are kept, and how long: what a plot of an hour, a
// day and a month needs. Ours.
const (
	Minutely Span = Span(time.Minute)
	Quarters Span = Span(15 * time.Minute)
	SixHours Span = Span(6 * time.Hour)
)

// Spans returns all, the shortest first.
func Spans() []Span { return []Span{Minutely, Quarters, SixHours} }

// Keep returns how long tallies of the length are kept.
func (s Span) Keep() time.Duration {
	switch s {
	case Minutely:
		return 2 * time.Hour
	case Quarters:
		return 26 * time.Hour
	default:
		return 32 * 24 * time.Hour
	}
}

// Begin returns when the span began in which at lies.
func (s Span) Begin(at time.Time) time.Time { return at.UTC().Truncate(time.Duration(s)) }

// Times counts durations by their order of magnitude: the place i holds those
// above 2^((i-1)/4) ms, up to 2^(i/4) ms, so that what is read from it is at most
// 19 % above what was counted. The first holds all up to 1 ms, the last all
// above 26 days.
type Times [126]int

// Add counts one.
func (t *Times) Add(d time.Duration) { t[timesPlace(d)]++ }

func timesPlace(d time.Duration) int {
	if d <= time.Millisecond {
		return 0
	}
	return min(int(math.Ceil(4*math.Log2(float64(d)/float64(time.Millisecond))-1e-9)), len(Times{})-1)
}

// Merge adds what o counted.
func (t *Times) Merge(o *Times) {
	for i, n := range o {
		t[i] += n
	}
}

// Count returns how many were counted.
func (t *Times) Count() (n int) {
	for _, k := range t {
		n += k
	}
	return n
}

// Quantile returns a duration that the part q of those counted did not exceed;
// zero: none were counted.
func (t *Times) Quantile(q float64) time.Duration {
	want := int(math.Ceil(q * float64(t.Count())))
	if want == 0 {
		return 0
	}
	for i, n := range t {
		if want -= n; want <= 0 {
			return time.Duration(math.Exp2(float64(i)/4) * float64(time.Millisecond))
		}
	}
	return 0
}

// Merge adds what o counted, of another span or another node. What waited at
// most at a time it does not add up.
func (t *Tally) Merge(o *Tally) {
	t.Sent += o.Sent
	t.Accepted += o.Accepted
	t.Exhausted += o.Exhausted
	t.Notify.Merge(&o.Notify)
	t.Waiting = max(t.Waiting, o.Waiting)
}
