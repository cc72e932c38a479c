package portal

import (
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// moment is a time as a page shows it, for people and for programs.
type moment struct {
	Text string // "24 Nov 2026, 20:28:31 UTC"
	ISO  string // as on the wire; empty: there is no time
}

// tone is how a word is coloured; the word alone says the same.
type tone string

// The tones; each is a class of the style sheet.
const (
	good  tone = "good"
	warn  tone = "warn"
	bad   tone = "bad"
	quiet tone = "quiet"
)

// says is a coloured word with a sentence beside it.
type says struct {
	Tone   tone
	Word   string
	Detail string
}

// statusWords tells what the owner, or we, made of an endpoint.
func (l lang) statusWords(e subscription.Endpoint, h delivery.Health) says {
	switch e.Status {
	case subscription.Paused:
		d := l.t("Paused by its owner: updates are discarded.")
		if h.Discarded > 0 {
			d = l.n(h.Discarded, "Paused by its owner: 1 update discarded since then.", "Paused by its owner: %s updates discarded since then.")
		}
		return says{quiet, l.t("Paused"), d}
	case subscription.Suspended:
		return says{bad, l.t("Suspended"), l.reason(l.t("Suspended by us: updates wait until it is set active."), e.StatusReason)}
	}
	if h.Hold.Held() {
		word := says{warn, l.t("Held"), l.t("No access token: we try again by ourselves, and nothing is lost.")}
		if h.Hold.State == delivery.NeedsReauthorisation {
			word = says{bad, l.t("Held"), l.t("No access token: its credentials must be renewed, and nothing is lost meanwhile.")}
		}
		word.Detail = l.reason(word.Detail, h.Hold.Reason)
		return word
	}
	return says{good, l.t("Active"), ""}
}

// backlogWords tells what waits for an endpoint.
func (l lang) backlogWords(h delivery.Health, now time.Time) says {
	switch {
	case h.Backlog == 0:
		return says{good, l.t("Nothing waits"), ""}
	case h.AtLeast:
		return says{warn, l.t("At least %s wait", l.number(h.Backlog)), l.oldest(h, now)}
	}
	return says{quiet, l.n(h.Backlog, "1 waits", "%s wait"), l.oldest(h, now)}
}

func (l lang) oldest(h delivery.Health, now time.Time) string {
	if h.OldestAt.IsZero() {
		return ""
	}
	return l.t("The oldest for %s.", l.span(now.Sub(h.OldestAt)))
}

// circuitWords tells whether an endpoint's breaker lets deliveries pass.
func (l lang) circuitWords(b delivery.Breaker) says {
	switch {
	case b.Open:
		return says{bad, l.t("Open"), l.reason(l.t("Since %s nothing new is sent; the next retry is the probe.", l.at(b.Since).Text), b.Reason)}
	case b.Failures > 0:
		return says{warn, l.t("Closed"), l.reason(l.n(b.Failures, "1 failure in a row.", "%s failures in a row."), b.Reason)}
	}
	return says{good, l.t("Closed"), ""}
}

// deliveryWords tells where a delivery is.
func (l lang) deliveryWords(s delivery.Status) says {
	switch s {
	case delivery.Pending:
		return says{quiet, l.t("Pending"), l.t("It waits for its first attempt.")}
	case delivery.Retrying:
		return says{warn, l.t("Retrying"), l.t("It failed and is tried again by the schedule.")}
	case delivery.Held:
		return says{warn, l.t("Held"), l.t("Its endpoint is suspended or has no token; nothing is lost.")}
	case delivery.Delivered:
		return says{good, l.t("Delivered"), ""}
	case delivery.Exhausted:
		return says{bad, l.t("Exhausted"), l.t("The schedule has ended. It can be sent again.")}
	case delivery.Discarded:
		return says{quiet, l.t("Discarded"), l.t("Its endpoint was paused by its owner. It can be sent again.")}
	case delivery.Superseded:
		return says{quiet, l.t("Superseded"), l.t("A newer state of the same citizen was sent instead.")}
	case delivery.Cancelled:
		return says{quiet, l.t("Cancelled"), l.t("Its endpoint was deleted, or the person was erased.")}
	}
	return says{quiet, string(s), ""}
}

// scriptWords tells how a bin answers.
func (l lang) scriptWords(s store.Script) string {
	status := s.Status
	if status == 0 {
		status = 200
	}
	ratio := strconv.FormatFloat(100*s.FailureRatio, 'f', -1, 32)
	after := exact(s.Delay)
	switch {
	case s.FailureRatio >= 1 && s.Delay > 0:
		return l.t("Fails every request with 500 after %s", after)
	case s.FailureRatio >= 1:
		return l.t("Fails every request with 500")
	case s.FailureRatio > 0 && s.Delay > 0:
		return l.t("Answers %d after %s, fails %s %% of requests with 500", status, after, ratio)
	case s.FailureRatio > 0:
		return l.t("Answers %d, fails %s %% of requests with 500", status, ratio)
	case s.Delay > 0:
		return l.t("Answers %d after %s", status, after)
	}
	return l.t("Answers %d", status)
}

// reason adds a reason that others may have written.
func (l lang) reason(first, reason string) string {
	if reason == "" {
		return first
	}
	return first + " " + l.t("Last reason:") + " " + reason
}

// exact writes a delay: "250 ms", "1.5 s".
func exact(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}

// took writes how long something took: "0.42 ms", "12 ms", "1.3 s".
func took(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 2, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

// span writes how long something lasts in its largest whole unit.
func (l lang) span(d time.Duration) string {
	switch {
	case d < time.Second:
		return l.t("less than a second")
	case d < time.Minute:
		return l.n(int(d/time.Second), "1 second", "%s seconds")
	case d < time.Hour:
		return l.n(int(d/time.Minute), "1 minute", "%s minutes")
	case d < 48*time.Hour:
		return l.n(int(d/time.Hour), "1 hour", "%s hours")
	}
	return l.n(int(d/(24*time.Hour)), "1 day", "%s days")
}

// number writes n with commas between thousands.
func number(n int) string {
	s := strconv.Itoa(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
