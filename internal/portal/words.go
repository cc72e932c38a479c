package portal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// moment is a time as a page shows it, for people and for programs.
type moment struct {
	Text string // "24 Nov 2026, 20:28:31 UTC"
	ISO  string // as on the wire; empty: there is no time
}

func at(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{t.UTC().Format("2 Jan 2006, 15:04:05 UTC"), event.Format(t)}
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
func statusWords(e subscription.Endpoint, h delivery.Health) says {
	switch e.Status {
	case subscription.Paused:
		d := "Paused by its owner: updates are discarded."
		if h.Discarded > 0 {
			d = fmt.Sprintf("Paused by its owner: %s discarded since then.", count(h.Discarded, "update", "updates"))
		}
		return says{quiet, "Paused", d}
	case subscription.Suspended:
		return says{bad, "Suspended", sentence("Suspended by us: updates wait until it is set active.", e.StatusReason)}
	}
	if h.Hold.Held() {
		word := says{warn, "Held", "No access token: we try again by ourselves, and nothing is lost."}
		if h.Hold.State == delivery.NeedsReauthorisation {
			word = says{bad, "Held", "No access token: its credentials must be renewed, and nothing is lost meanwhile."}
		}
		word.Detail = sentence(word.Detail, h.Hold.Reason)
		return word
	}
	return says{good, "Active", ""}
}

// backlogWords tells what waits for an endpoint.
func backlogWords(h delivery.Health, now time.Time) says {
	switch {
	case h.Backlog == 0:
		return says{good, "Nothing waits", ""}
	case h.AtLeast:
		return says{warn, "At least " + number(h.Backlog) + " wait", oldest(h, now)}
	case h.Backlog == 1:
		return says{quiet, "1 waits", oldest(h, now)}
	}
	return says{quiet, number(h.Backlog) + " wait", oldest(h, now)}
}

func oldest(h delivery.Health, now time.Time) string {
	if h.OldestAt.IsZero() {
		return ""
	}
	return "The oldest for " + span(now.Sub(h.OldestAt)) + "."
}

// circuitWords tells whether an endpoint's breaker lets deliveries pass.
func circuitWords(b delivery.Breaker) says {
	switch {
	case b.Open:
		return says{bad, "Open", sentence("Since "+at(b.Since).Text+" nothing new is sent; the next retry is the probe.", b.Reason)}
	case b.Failures > 0:
		return says{warn, "Closed", sentence(count(b.Failures, "failure", "failures")+" in a row.", b.Reason)}
	}
	return says{good, "Closed", ""}
}

// scriptWords tells how a bin answers.
func scriptWords(s store.Script) string {
	status := s.Status
	if status == 0 {
		status = 200
	}
	w := "Answers " + strconv.Itoa(status)
	if s.Delay > 0 {
		w += " after " + exact(s.Delay)
	}
	switch {
	case s.FailureRatio >= 1:
		w = "Fails every request with 500"
		if s.Delay > 0 {
			w += " after " + exact(s.Delay)
		}
	case s.FailureRatio > 0:
		w += ", fails " + strconv.FormatFloat(100*s.FailureRatio, 'f', -1, 32) + " % of requests with 500"
	}
	return w
}

// sentence adds a reason that others may have written.
func sentence(first, reason string) string {
	if reason == "" {
		return first
	}
	return first + " Last reason: " + reason
}

// exact writes a delay: "250 ms", "1.5 s".
func exact(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}

// span writes how long something lasts in its largest whole unit.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than a second"
	case d < time.Minute:
		return count(int(d/time.Second), "second", "seconds")
	case d < time.Hour:
		return count(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour", "hours")
	}
	return count(int(d/(24*time.Hour)), "day", "days")
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
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
