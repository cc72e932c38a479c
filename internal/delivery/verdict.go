package delivery

import (
	"strconv"
	"strings"
	"time"
)

// Verdict is what an answer means for a delivery.
type Verdict uint8

// The verdicts.
const (
	Retry   Verdict = iota // by the schedule
	Success                // delivered
	Gone                   // the endpoint is retired: it is suspended, the delivery waits
	Refused                // this delivery never will be taken: it ends at once, exhausted
)

// Judge returns the verdict on a complete header block with that status. What
// is no complete header block (a fault of DNS, TCP, TLS, time or form) is
// always a Retry.
//
// Source: RULES D3; Standard Webhooks 1.0.0, "Response status codes".
func Judge(status int) Verdict {
	switch {
	case status >= 200 && status <= 299:
		return Success
	case status == 410:
		return Gone
	}
	return Retry
}

// JudgeMail returns the verdict on a mail server's reply to a recipient or to a
// mail itself, and whether it is about this one mail only: then nothing is the
// matter with the server. A 5yz refuses for good, unless it asks to sign in; a
// reply that says that the server closes is not about the mail.
//
// Source: RFC 5321 4.2.1 and 3.8; RFC 4954 section 6 (530, 534, 535, 538).
func JudgeMail(code int) (v Verdict, aboutMail bool) {
	switch {
	case code >= 200 && code <= 299:
		return Success, true
	case code == 421, code == 530, code == 534, code == 535, code == 538:
		return Retry, false
	case code >= 400 && code <= 499:
		return Retry, true
	case code >= 500 && code <= 599:
		return Refused, true
	}
	return Retry, false
}

// MaxRetryAfter bounds what a receiver may ask for. Source: RULES D5.
const MaxRetryAfter = 24 * time.Hour

// RetryAfter returns how long after now a receiver wants to be left alone: the
// value of the field Retry-After, in seconds or as an HTTP date, at most
// MaxRetryAfter. It counts on statuses 429 and 503 only; what is malformed,
// negative or past is 0.
//
// Source: RULES D5; RFC 9110 sections 10.2.3 and 5.6.7.
func RetryAfter(status int, value string, now time.Time) time.Duration {
	if status != 429 && status != 503 {
		return 0
	}
	value = strings.Trim(value, " \t")
	if digits(value) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(MaxRetryAfter/time.Second) { // digits only: too large
			return MaxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	for _, form := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
		if t, err := time.Parse(form, value); err == nil {
			return min(max(0, t.Sub(now)), MaxRetryAfter)
		}
	}
	return 0
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Schedule is the waits between the attempts of a delivery: n waits are n+1
// attempts.
type Schedule []time.Duration

// Jitter is the part of a wait by which it is lengthened or shortened, so that
// what failed together does not come back together. Source: CONTRACT 1.
const Jitter = 0.2

// Next returns the wait after the given number of attempts (1 or more) of a
// round; ok is false when the schedule has ended. dice is a random number in
// [0, 1). asked is the receiver's wish (RetryAfter): the wait is never shorter
// than it, nor than the jittered step; it is rounded up to the millisecond.
func (s Schedule) Next(tries int, dice float64, asked time.Duration) (wait time.Duration, ok bool) {
	if tries < 1 || tries > len(s) {
		return 0, false
	}
	step := time.Duration(float64(s[tries-1]) * (1 - Jitter + 2*Jitter*dice))
	wait = max(step, asked)
	if r := wait % time.Millisecond; r > 0 {
		wait += time.Millisecond - r
	}
	return wait, true
}
