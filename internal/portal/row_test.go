package portal

import (
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

func TestEventName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body, want string }{
		{"an interceptor's", `{"event":"consent:approved","data":{}}`, "consent:approved"},
		{"a typed one", `{"timestamp":"x","type":"webhook.test"}`, "webhook.test"},
		{"behind another member", `{"data":{"event":"inner"},"event":"outer"}`, "outer"},
		{"not a text", `{"event":7,"type":"t"}`, "t"},
		{"no object", `["event","x"]`, ""},
		{"no JSON", `event=x`, ""},
		{"cut off", `{"event":"consent:appr`, ""},
		{"nothing", ``, ""},
		{"long", `{"event":"` + strings.Repeat("é", 100) + `"}`, strings.Repeat("é", 50)},
	} {
		if got := eventName(tt.body); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPretty(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for _, tt := range []struct {
		name, body string
		most       int
		want       string
		cut        bool
	}{
		{"JSON", `{"a":[1,"]{"]}`, 100, "{\n  \"a\": [\n    1,\n    \"]{\"\n  ]\n}", false},
		{"no JSON", "a=b", 100, "a=b", false},
		{"too long for indents", `{"a":1}`, 5, `{"a":`, true},
		{"too deep for indents", deep, 20000, deep, false},
		{"cut within a letter", "aé", 2, "a", true},
	} {
		if got, cut := pretty(tt.body, tt.most); got != tt.want || cut != tt.cut {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, got, cut, tt.want, tt.cut)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	active := subscription.Endpoint{Status: subscription.Active}
	for _, tt := range []struct {
		name string
		got  says
		want says
	}{
		{"active", english.statusWords(active, delivery.Health{}), says{good, "Active", ""}},
		{"paused", english.statusWords(subscription.Endpoint{Status: subscription.Paused}, delivery.Health{Discarded: 1234}), says{quiet, "Paused", "Paused by its owner: 1,234 updates discarded since then."}},
		{"suspended", english.statusWords(subscription.Endpoint{Status: subscription.Suspended, StatusReason: "It answered 410."}, delivery.Health{}), says{bad, "Suspended", "Suspended by us: updates wait until it is set active. Last reason: It answered 410."}},
		{"held", english.statusWords(active, delivery.Health{Hold: delivery.Hold{State: delivery.TokenTrouble}}), says{warn, "Held", "No access token: we try again by ourselves, and nothing is lost."}},
		{"needs its owner", english.statusWords(active, delivery.Health{Hold: delivery.Hold{State: delivery.NeedsReauthorisation, Reason: "invalid_grant"}}), says{bad, "Held", "No access token: its credentials must be renewed, and nothing is lost meanwhile. Last reason: invalid_grant"}},
		{"nothing waits", english.backlogWords(delivery.Health{}, now), says{good, "Nothing waits", ""}},
		{"one waits", english.backlogWords(delivery.Health{Backlog: 1, OldestAt: now.Add(-90 * time.Second)}, now), says{quiet, "1 waits", "The oldest for 1 minute."}},
		{"many wait", english.backlogWords(delivery.Health{Backlog: 10_000, AtLeast: true, OldestAt: now.Add(-50 * time.Hour)}, now), says{warn, "At least 10,000 wait", "The oldest for 2 days."}},
		{"closed", english.circuitWords(delivery.Breaker{}), says{good, "Closed", ""}},
		{"failing", english.circuitWords(delivery.Breaker{Failures: 1, Reason: "It answered 500."}), says{warn, "Closed", "1 failure in a row. Last reason: It answered 500."}},
		{"open", english.circuitWords(delivery.Breaker{Open: true, Since: now}), says{bad, "Open", "Since 24 Nov 2026, 12:00:00 UTC nothing new is sent; the next retry is the probe."}},
		{"a bin", says{Word: english.scriptWords(store.Script{})}, says{Word: "Answers 200"}},
		{"a failing bin", says{Word: english.scriptWords(store.Script{Status: 204, Delay: 1500 * time.Millisecond, FailureRatio: 0.3})}, says{Word: "Answers 204 after 1.5 s, fails 30 % of requests with 500"}},
		{"a bin that only fails", says{Word: english.scriptWords(store.Script{Status: 204, FailureRatio: 1, Delay: time.Millisecond})}, says{Word: "Fails every request with 500 after 1 ms"}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, tt.got, tt.want)
		}
	}
}
