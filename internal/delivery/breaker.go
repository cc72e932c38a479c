package delivery

import "time"

// When the breaker opens. Source: CONTRACT 7.
const (
	BreakerFailures = 20 // consecutive
	BreakerSubjects = 5  // over at least so many subjects, or over all that are loaded
)

// Failed returns the breaker after one more failure in a row. subjects is how
// many different ones failed since the last success, loaded how many the
// engine holds of this endpoint at all, waiting ones included.
//
// Open means: nothing that was never tried is sent. What was tried keeps its
// own schedule, and its next attempt is the probe.
func (b Breaker) Failed(at time.Time, reason string, subjects, loaded int) Breaker {
	b.Failures++
	b.Reason = reason
	if !b.Open && b.Failures >= BreakerFailures && (subjects >= BreakerSubjects || subjects >= loaded) {
		b.Open, b.Since = true, at
	}
	return b
}

// Passed returns the breaker after a success: any closes it.
func (Breaker) Passed() Breaker { return Breaker{} }
