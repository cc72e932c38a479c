package delivery

import "time"

// Pace is how an endpoint has answered of late. It decides from which part of
// the engine's slots the endpoint takes its own, so that those that answer late
// or never cannot use up what the others need.
type Pace uint8

// The paces.
const (
	Unproven Pace = iota // it has not answered yet
	Quick
	Slow
)

// SlowAfter is how long an attempt may take before its endpoint is slow. Ours:
// above what a receiver far away needs, and short, for as long do those that
// just turned slow hold the slots of the quick.
const SlowAfter = 500 * time.Millisecond

// Answered returns the pace after an attempt that ended after took, whatever
// became of it. late is how many others of the endpoint have been on the wire
// for SlowAfter and longer.
func (p Pace) Answered(took time.Duration, late int) Pace {
	if took >= SlowAfter || late > 0 {
		return Slow
	}
	return Quick
}

// InFlight returns how many attempts an endpoint may have on the wire, of the
// limit of its own. One that has not answered yet is tried with one; slow ones
// share room evenly, for which so many of them compete, and each has one at
// least.
func (p Pace) InFlight(limit, room, competing int) int {
	switch p {
	case Unproven:
		return min(limit, 1)
	case Slow:
		return min(limit, max(1, room/max(1, competing)))
	}
	return limit
}

// RetrySlots returns how an endpoint's limit of attempts on the wire is shared:
// of that many, retries go ahead of first tries while less than retries of them
// are on the wire, and never more of them than most. So an eighth is the
// retries' and an eighth the first tries', and neither starves. Of a limit of
// less than eight no slot is the retries', but every eighth turn; and of a limit
// of 1 none is the first tries'.
//
// Source: DESIGN 3.10; that first tries have their part, too, is ours.
func RetrySlots(limit int) (retries, most int) {
	if limit < 2 {
		return 0, limit
	}
	return limit / 8, limit - max(1, limit/8)
}

// Share returns how many bytes of the log an endpoint may load beside the held
// ones, where free of total are left and so many endpoints have a backlog. Each
// of them has as much; that the others need nothing is in it. It takes no more
// than half of what is free, for what is read takes more than its bodies.
//
// Source: DESIGN 3.11 (max-min fair).
func Share(total, free, held, endpoints int) int {
	return max(0, min(total/max(1, endpoints)-held, free/2))
}
