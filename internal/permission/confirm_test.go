package permission_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

// TestTransaction_Confirm tells in stories what a citizen can confirm. The
// question is recorded at t0, everything else in order a minute apart, and the
// answer an hour after the question.
func TestTransaction_Confirm(t *testing.T) {
	t.Parallel()
	pending := func(more ...func(*permission.ChangeDraft)) permission.ChangeDraft {
		return change(append([]func(*permission.ChangeDraft){says("consent", "PENDING")}, more...)...)
	}
	day := 24 * time.Hour
	tests := []struct {
		name  string
		asked []permission.ChangeDraft
		then  []permission.ChangeDraft
		want  string // "option from–until" in minutes since t0
	}{
		{"a question", []permission.ChangeDraft{pending()}, nil, "opt-a 60–"},
		{"its end stays", []permission.ChangeDraft{pending(times(nil, nil, &day))}, nil, "opt-a 60–1440"},
		{"the options of a group, in its order", []permission.ChangeDraft{pending(of("group", "grp-bcx"))}, nil, "opt-c 60–; opt-b 60–"},
		{"only what was asked", []permission.ChangeDraft{change(of("option", "opt-b")), pending(), change(of("option", "opt-c"), says("legitimate-interest", "CLAIMED"))}, nil, "opt-a 60–"},
		{"one of the group's was answered", []permission.ChangeDraft{pending(of("group", "grp-ab"))}, []permission.ChangeDraft{change(says("consent", "DENIED"))}, "opt-b 60–"},
		{"refused meanwhile", []permission.ChangeDraft{pending()}, []permission.ChangeDraft{change(says("consent", "DENIED"))}, ""},
		{"granted meanwhile", []permission.ChangeDraft{pending()}, []permission.ChangeDraft{change()}, ""},
		{"asked again meanwhile", []permission.ChangeDraft{pending()}, []permission.ChangeDraft{pending()}, ""},
		{"refused for a day from now on", []permission.ChangeDraft{pending()}, []permission.ChangeDraft{change(says("consent", "DENIED"), times(nil, nil, &day))}, ""},
		{"an answer that came late and is older", []permission.ChangeDraft{pending()}, []permission.ChangeDraft{change(says("consent", "DENIED"), times(ptr(-time.Hour), nil, nil))}, "opt-a 60–"},
		{"ended meanwhile", []permission.ChangeDraft{pending(times(nil, nil, ptr(time.Hour)))}, nil, ""},
		{"one that begins later is granted from there", []permission.ChangeDraft{pending(times(nil, ptr(2*time.Hour), nil))}, nil, "opt-a 120–"},
		{"one that begins later, but not any more", []permission.ChangeDraft{pending(times(nil, ptr(2*time.Hour), nil))}, []permission.ChangeDraft{change(says("consent", "DENIED"))}, ""},
		{"asked twice in one request", []permission.ChangeDraft{pending(times(nil, nil, &day)), pending()}, nil, "opt-a 60–"},
		{"asked and granted in one request", []permission.ChangeDraft{pending(), change()}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			record := func(s permission.Standing, id string, now time.Time, cs ...permission.ChangeDraft) (permission.Standing, permission.Transaction) {
				r := request(cs...)
				r.StatementRef, r.PolicyRef, r.Campaign, r.Channel = ptr("newsletter-v2"), ptr("privacy-2026"), ptr("spring"), ptr("web")
				txn, fs := r.Transaction(basis(permission.TransactionID(id), now), catalogue())
				if len(fs) > 0 {
					t.Fatal(places(fs))
				}
				next, _ := s.Record(txn, now)
				return next, txn
			}
			s, asked := record(permission.Standing{}, "txn-asked", t0, tt.asked...)
			for i, c := range tt.then {
				s, _ = record(s, fmt.Sprint("txn-", i), t0.Add(time.Duration(i+1)*time.Minute), c)
			}
			s, err := permission.DecodeStanding(s.Encode())
			if err != nil {
				t.Fatal(err)
			}
			now, before := t0.Add(time.Hour), string(asked.Encode())
			got, err := asked.Confirm(s, permission.Origin{Transaction: "txn-yes", RecordedAt: now, Channel: "fax", Actor: permission.Actor{By: "x"}})
			if tt.want == "" {
				if fault.CodeOf(err) != "nothing_pending" || fault.KindOf(err) != fault.Conflict {
					t.Fatalf("got %+v and %v, want nothing_pending", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, e := range got.Entries {
				until := ""
				if !e.ValidUntil.IsZero() {
					until = fmt.Sprint(e.ValidUntil.Sub(t0).Minutes())
				}
				lines = append(lines, fmt.Sprintf("%s %v–%s", e.Option, e.ValidFrom.Sub(t0).Minutes(), until))
				if e.State != permission.Granted || e.Justification != permission.ByConsent || e.ObtainedAt.Before(now) || e.Origin != got.Origin {
					t.Errorf("got the entry %+v, want it granted by consent, obtained now", e)
				}
			}
			if g := strings.Join(lines, "; "); g != tt.want {
				t.Errorf("got %q, want %q", g, tt.want)
			}
			want := *asked.Origin
			want.Transaction, want.RecordedAt, want.Channel, want.Actor = "txn-yes", now, permission.ByEmail, permission.Actor{By: "x"}
			if *got.Origin != want || got.Citizen != asked.Citizen || asked.Origin.Channel != "web" || string(asked.Encode()) != before {
				t.Errorf("got the origin %+v of %s, want %+v, and the question as it was", got.Origin, got.Citizen, want)
			}
			next, _ := s.Record(got, now)
			if left := asked.Awaited(next, now); len(left) > 0 {
				t.Errorf("got %+v left to confirm, want nothing", left)
			}
			for _, e := range got.Entries { // the answer counts from its beginning on
				for _, p := range next.Effective(later(e.ValidFrom, t0.Add(2*time.Hour))).Permissions {
					if p.Option == e.Option && p.Effective() != permission.Granted {
						t.Errorf("got %s %q, want it granted", p.Option, p.Effective())
					}
				}
			}
		})
	}
}

// TestTransaction_Confirm_clock: an answer counts also when the question was
// obtained by a clock that is ahead of ours.
func TestTransaction_Confirm_clock(t *testing.T) {
	t.Parallel()
	asked, fs := request(change(says("consent", "PENDING"), times(ptr(4*time.Minute), ptr(-time.Minute), nil))).Transaction(basis("txn-asked", t0), catalogue())
	if len(fs) > 0 {
		t.Fatal(places(fs))
	}
	s, _ := permission.Standing{}.Record(asked, t0)
	now := t0.Add(time.Minute)
	yes, err := asked.Confirm(s, permission.Origin{Transaction: "txn-yes", RecordedAt: now})
	if err != nil {
		t.Fatal(err)
	}
	_, d := s.Record(yes, now)
	if len(d.Permissions) != 1 || d.Permissions[0].Effective() != permission.Granted {
		t.Errorf("got %s, want opt-a granted", render(d.View))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
