package delivery_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestJudge: only 2xx is a success and only 410 an end (RULES D3).
func TestJudge(t *testing.T) {
	t.Parallel()
	for status := -1; status <= 1000; status++ {
		want := delivery.Retry
		if status == 410 {
			want = delivery.Gone
		} else if status/100 == 2 {
			want = delivery.Success
		}
		if got := delivery.Judge(status); got != want {
			t.Errorf("%d: got %d, want %d", status, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		status int
		value  string
		want   time.Duration
	}{
		{"seconds on 503", 503, "120", 2 * time.Minute},
		{"seconds on 429", 429, "120", 2 * time.Minute},
		{"blanks around", 503, " \t120 ", 2 * time.Minute},
		{"leading zeros", 503, "000120", 2 * time.Minute},
		{"none", 503, "0", 0},
		{"a day", 503, "86400", day},
		{"more than a day", 503, "86401", day},
		{"more than a number can hold", 503, strings.Repeat("9", 400), day},
		{"an IMF date", 503, "Sun, 01 Mar 2026 12:02:00 GMT", 2 * time.Minute},
		{"an RFC 850 date", 503, "Sunday, 01-Mar-26 12:02:00 GMT", 2 * time.Minute},
		{"an asctime date", 503, "Sun Mar  1 12:02:00 2026", 2 * time.Minute},
		{"a date now", 503, "Sun, 01 Mar 2026 12:00:00 GMT", 0},
		{"a date in the past", 503, "Sun, 01 Mar 2026 11:59:59 GMT", 0},
		{"an RFC 850 date of another century", 503, "Sunday, 06-Nov-94 08:49:37 GMT", 0},
		{"a date more than a day ahead", 503, "Tue, 03 Mar 2026 12:00:00 GMT", day},
		{"a date in the year 9999", 503, "Fri, 31 Dec 9999 23:59:59 GMT", day},

		{"on 500", 500, "120", 0},
		{"on 200", 200, "120", 0},
		{"on 410", 410, "120", 0},
		{"on 301", 301, "120", 0},
		{"absent", 503, "", 0},
		{"blank", 503, "  ", 0},
		{"negative", 503, "-120", 0},
		{"a sign", 503, "+120", 0},
		{"a fraction", 503, "1.5", 0},
		{"hexadecimal", 503, "0x10", 0},
		{"digits of another script", 503, "١٢", 0},
		{"a list", 503, "120, 60", 0},
		{"a unit", 503, "120s", 0},
		{"a date in another form", 503, "2026-03-01T12:02:00Z", 0},
		{"a date in another zone", 503, "Sun, 01 Mar 2026 12:02:00 CET", 0},
		{"a day that does not exist", 503, "Sun, 30 Feb 2026 12:02:00 GMT", 0},
		{"something else", 503, "soon", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := delivery.RetryAfter(tt.status, tt.value, t0); got != tt.want {
				t.Errorf("RetryAfter(%d, %q): got %v, want %v", tt.status, tt.value, got, tt.want)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "-1", "Sun, 01 Mar 2026 12:02:00 GMT", "Sunday, 01-Mar-26 12:02:00 GMT", "Sun Mar  1 12:02:00 2026", strings.Repeat("9", 30)} {
		f.Add(503, s)
	}
	f.Fuzz(func(t *testing.T, status int, value string) {
		got := delivery.RetryAfter(status, value, t0)
		if got < 0 || got > delivery.MaxRetryAfter || got > 0 && status != 429 && status != 503 {
			t.Errorf("RetryAfter(%d, %q): got %v, want 0 to 24 h and only on 429 and 503", status, value, got)
		}
	})
}

func TestSchedule_Next(t *testing.T) {
	t.Parallel()
	s := delivery.Schedule{5 * time.Second, 5 * time.Minute}
	almost := math.Nextafter(1, 0)
	tests := []struct {
		name  string
		s     delivery.Schedule
		tries int
		dice  float64
		asked time.Duration
		wait  time.Duration
		ok    bool
	}{
		{"after the first attempt", s, 1, 0.5, 0, 5 * time.Second, true},
		{"after the second", s, 2, 0.5, 0, 5 * time.Minute, true},
		{"the shortest wait", s, 1, 0, 0, 4 * time.Second, true},
		{"the longest wait", s, 1, almost, 0, 6 * time.Second, true},
		{"the schedule has ended", s, 3, 0.5, 0, 0, false},
		{"long after it ended", s, 100, 0.5, time.Hour, 0, false},
		{"before the first attempt", s, 0, 0.5, 0, 0, false},
		{"a schedule without waits is one attempt", nil, 1, 0.5, time.Hour, 0, false},
		{"the receiver asks for more", s, 1, 0.5, time.Minute, time.Minute, true},
		{"the receiver asks for less", s, 2, 0, time.Minute, 4 * time.Minute, true},
		{"the receiver's wish is not shortened by jitter", s, 1, 0, 5 * time.Second, 5 * time.Second, true},
		{"rounded up to the millisecond", s, 1, 0, 5*time.Second + 1, 5*time.Second + time.Millisecond, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wait, ok := tt.s.Next(tt.tries, tt.dice, tt.asked)
			if wait != tt.wait || ok != tt.ok {
				t.Errorf("got %v, %t, want %v, %t", wait, ok, tt.wait, tt.ok)
			}
		})
	}
}

// TestSchedule_Next_bounds: whatever the dice, a wait is within a fifth of its
// step or as long as it was asked for, and the waits spread.
func TestSchedule_Next_bounds(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		step := time.Millisecond * time.Duration(5*(1+dice.IntN(20_000_000)))
		asked := time.Duration(dice.Int64N(int64(2 * step)))
		wait, ok := delivery.Schedule{step}.Next(1, dice.Float64(), asked)
		if least := max(step-step/5, asked); !ok || wait < least || wait > max(step+step/5, asked+time.Millisecond) || wait%time.Millisecond != 0 {
			t.Fatalf("step %v, asked %v: got %v, %t, want %v or a fifth of the step more", step, asked, wait, ok, least)
		}
	}
	short, long := 0, 0
	for range 1000 {
		switch wait, _ := (delivery.Schedule{time.Minute}).Next(1, dice.Float64(), 0); {
		case wait < 52*time.Second:
			short++
		case wait > 68*time.Second:
			long++
		}
	}
	if short < 50 || long < 50 {
		t.Errorf("got %d short and %d long waits of 1000, want about 100 each", short, long)
	}
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name             string
		failures         int // in a row, a second apart from t0+1s
		subjects, loaded int
		open             bool
	}{
		{"19 failures", 19, 19, 100, false},
		{"20 failures over 5 subjects", 20, 5, 100, true},
		{"20 failures over 4 subjects of many", 20, 4, 100, false},
		{"20 failures over all subjects that are loaded", 20, 1, 1, true},
		{"100 failures of one subject of two", 100, 1, 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b delivery.Breaker
			for i := range tt.failures {
				b = b.Failed(t0.Add(time.Duration(i+1)*time.Second), "It answered 500.", tt.subjects, tt.loaded)
			}
			if b.Open != tt.open || b.Failures != tt.failures || b.Reason != "It answered 500." {
				t.Errorf("got %+v, want open %t after %d failures", b, tt.open, tt.failures)
			}
			if want := t0.Add(20 * time.Second); tt.open && !b.Since.Equal(want) || !tt.open && !b.Since.IsZero() {
				t.Errorf("got open since %v, want %v or never", b.Since, want)
			}
			later := b.Failed(t0.Add(time.Hour), "It is away.", tt.subjects, tt.loaded)
			if tt.open && (!later.Since.Equal(b.Since) || later.Reason != "It is away." || later.Failures != b.Failures+1) {
				t.Errorf("got %+v after one more failure, want the same start and the newer reason", later)
			}
			if got := later.Passed(); got != (delivery.Breaker{}) {
				t.Errorf("got %+v after a success, want it closed and forgotten", got)
			}
		})
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range []delivery.Endpoint{"sub_01h", "int_01h", "s", "é", delivery.Endpoint(strings.Repeat("x", 50))} {
		for _, seq := range []event.Seq{1, 127, 128, 1 << 20, 1 << 62} {
			got := delivery.ID(e, seq)
			if seen[got] || !strings.HasPrefix(got, "dlv_") {
				t.Errorf("ID(%q, %d): got %q, want one of its own", e, seq, got)
			}
			seen[got] = true
			if e2, seq2, ok := delivery.ParseID(got); e2 != e || seq2 != seq || !ok {
				t.Errorf("ParseID(%q): got %q, %d, %t, want %q, %d", got, e2, seq2, ok, e, seq)
			}
		}
	}
	good := delivery.ID("sub_01h", 5)
	tests := []struct{ name, id string }{
		{"nothing", ""},
		{"the prefix alone", "dlv_"},
		{"another kind", "evt_" + good[4:]},
		{"without its prefix", good[4:]},
		{"capital letters", "dlv_" + strings.ToUpper(good[4:])},
		{"a letter more", good + "0"},
		{"a letter less", good[:len(good)-1]},
		{"a blank", good + " "},
		{"a letter that is not in the alphabet", good[:len(good)-1] + "l"},
		{"no endpoint", delivery.ID("", 5)},
		{"place 0", delivery.ID("sub_01h", 0)},
		{"a negative place", delivery.ID("sub_01h", -1)},
		{"far too long", delivery.ID(delivery.Endpoint(strings.Repeat("x", 300)), 5)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if e, seq, ok := delivery.ParseID(tt.id); ok {
				t.Errorf("ParseID(%q): got %q, %d, want it refused", tt.id, e, seq)
			}
		})
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(delivery.ID("sub_01h", 5))
	f.Add(delivery.ID("int_01h", 1<<62))
	f.Add("dlv_00")
	f.Add("dlv_zzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, text string) {
		e, seq, ok := delivery.ParseID(text)
		if ok && (delivery.ID(e, seq) != text || e == "" || seq < 1) {
			t.Errorf("ParseID(%q): got %q, %d, whose ID is %q", text, e, seq, delivery.ID(e, seq))
		}
	})
}

func TestDetail_Request(t *testing.T) {
	t.Parallel()
	d := delivery.Detail{
		View: delivery.View{ID: "dlv_1", EventID: "evt_1", Subject: "con_1", Sequence: 3},
		Body: []byte(`{"a":1}`),
	}
	a := delivery.AttemptView{
		Attempt: delivery.Attempt{N: 2, Timestamp: 1772366400, InteractionID: "8f2a", Signature: "v1,abc= v1,def="},
		Shown:   delivery.Shown{URL: "https://example.org/hook?key=***", Headers: []delivery.Header{{Name: "Authorization", Value: "Bearer ***"}}},
	}
	want := delivery.Request{
		Method: "POST", URL: "https://example.org/hook?key=***", Body: `{"a":1}`,
		Headers: []delivery.Header{
			{Name: "Content-Type", Value: "application/json"},
			{Name: "User-Agent", Value: "Consentwire/1.2.3"},
			{Name: "webhook-id", Value: "evt_1"},
			{Name: "webhook-timestamp", Value: "1772366400"},
			{Name: "webhook-signature", Value: "v1,abc= v1,def="},
			{Name: "Consentwire-Subject", Value: "con_1"},
			{Name: "Consentwire-Sequence", Value: "3"},
			{Name: "Consentwire-Attempt", Value: "2"},
			{Name: "X-Webhook-Interaction-Id", Value: "8f2a"},
			{Name: "Authorization", Value: "Bearer ***"},
		},
	}
	if got := d.Request(a, delivery.UserAgent("1.2.3")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	a.Replay = true
	got := d.Request(a, delivery.UserAgent("1.2.3"))
	if n := len(want.Headers); len(got.Headers) != n+1 || got.Headers[n-1] != (delivery.Header{Name: "webhook-replay", Value: "true"}) {
		t.Errorf("got %v, want a replay to say so before the authentication", got.Headers)
	}
}

func TestTestBody(t *testing.T) {
	t.Parallel()
	if got, want := string(delivery.TestBody(t0)), `{"type":"webhook.test","timestamp":"2026-03-01T12:00:00.000Z"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHold_Held(t *testing.T) {
	t.Parallel()
	tests := []struct {
		state delivery.HoldState
		want  bool
	}{
		{"", false}, {delivery.Authorised, false}, {delivery.TokenTrouble, true}, {delivery.NeedsReauthorisation, true},
	}
	for _, tt := range tests {
		if got := (delivery.Hold{State: tt.state}).Held(); got != tt.want {
			t.Errorf("%q: got %t, want %t", tt.state, got, tt.want)
		}
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	if got := delivery.Statuses(); len(got) != 8 || got[0] != delivery.Pending || got[7] != delivery.Cancelled {
		t.Errorf("got %v, want the eight of CONTRACT 9", got)
	}
}
