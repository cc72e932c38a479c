package permission_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
)

var update = flag.Bool("update", false, "write the golden files")

// TestBodies holds the bodies of a citizen's story to their golden form: the
// documented members of DOMAIN 3.4 in their order, a lapse by 7.10 B8, and the
// empty arrays that a delta leaves out.
func TestBodies(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	c := permission.Citizen{Application: "app-042", ID: "ctz-9f31", ExternalRef: "CRM-000771"}
	tell := func(title string, s permission.Standing, d permission.Delta) {
		t.Helper()
		if d.Empty() {
			t.Fatalf("%s: got nothing changed, want a delta", title)
		}
		delta, effective := permission.DeltaEvent(c, d), permission.EffectiveEvent(c, s.Effective(s.AsOf), s.AsOf)
		for _, e := range []event.Event{delta, effective} {
			if e.Application != c.Application || e.Subject != string(c.ID) || !e.OccurredAt.Equal(d.At) || e.ID != "" || !e.RecordedAt.IsZero() {
				t.Errorf("%s: got %+v, want it about the citizen at %v", title, e, d.At)
			}
		}
		if delta.Feed != event.ConsentReceipts || delta.Type != event.PermissionsDelta || effective.Feed != event.EffectivePermission || effective.Type != event.PermissionsEffective {
			t.Errorf("%s: got feeds %s and %s, want consent-receipts and effective-permission", title, delta.Feed, effective.Feed)
		}
		for _, part := range []struct {
			name string
			body []byte
		}{{"delta", delta.Body}, {"effective", effective.Body}} {
			fmt.Fprintf(&got, "# %s, %s, %s\n%s\n\n", title, part.name, event.Format(d.At), part.body)
		}
	}
	var history []permission.Transaction
	var s permission.Standing
	record := func(title string, id permission.TransactionID, now time.Time, r permission.Request) {
		t.Helper()
		txn, fs := r.Transaction(basis(id, now), catalogue())
		if len(fs) > 0 {
			t.Fatal(places(fs))
		}
		history = append(history, txn)
		next, d := s.Record(txn, now)
		s = next
		tell(title, s, d)
	}

	sample := request(change(times(ptr(-2*time.Second), nil, ptr(365*24*time.Hour))))
	sample.Channel, sample.Campaign, sample.PolicyRef, sample.StatementRef = ptr("web"), ptr("spring"), ptr("privacy-2026"), ptr("newsletter-v2")
	sample.RecordedBy, sample.RecordedName = ptr("usr-1"), ptr("Call centre")
	record("a grant", "txn-1", t0, sample)
	record("a preference", "txn-2", t0.Add(time.Minute), permission.Request{CitizenID: ptr("ctz-9f31"), Preferences: []permission.ChoiceDraft{picks("topics", "topics_jazz", "topics_folk")}})
	record("a group", "txn-3", t0.Add(time.Hour), request(change(of("group", "grp-bcx"), says("legitimate-interest", "CLAIMED"))))
	record("a withdrawal", "txn-4", t0.Add(2*time.Hour), request(change(says("consent", "DENIED"), times(nil, nil, ptr(3*time.Hour)))))
	next, d := s.Advance(t0.Add(3 * time.Hour))
	s = next
	tell("a withdrawal that lapses brings back the grant", s, d)
	next, d = s.Advance(t0.AddDate(2, 0, 0))
	s = next
	tell("the grant lapses", s, d)
	r, err := permission.Revert(history, "txn-2", permission.Origin{Transaction: "txn-5", RecordedAt: s.AsOf})
	if err != nil {
		t.Fatal(err)
	}
	history = append(history, r)
	next, d = s.Rebuild(history, s.AsOf)
	s = next
	tell("the preference is reverted", s, d)
	c.MergedInto = &permission.Name{ID: "ctz-1a02", ExternalRef: "CRM-000772"}
	history = append(history, permission.Transaction{Citizen: "ctz-1a02", Origin: &permission.Origin{Transaction: "txn-6", RecordedAt: s.AsOf}, Choices: history[1].Choices})
	next, d = s.Rebuild(history, s.AsOf)
	s = next
	tell("a part of another citizen", s, d)
	c.MergedInto = &permission.Name{ID: "ctz-1a03"}
	tell("a part of another citizen without a reference", s, d)
	fmt.Fprintf(&got, "# nobody, effective\n%s\n", permission.EffectiveBody(permission.Citizen{Application: "app-042", ID: "ctz-0"}, permission.Standing{}.Effective(t0)))

	const file = "testdata/bodies.golden"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// TestEffectiveBody_members holds a permission's members to those that DOMAIN
// 3.4 documents, in its order.
func TestEffectiveBody_members(t *testing.T) {
	t.Parallel()
	txn, _ := request(change()).Transaction(basis("txn-1", t0), catalogue())
	s, _ := permission.Standing{}.Record(txn, t0)
	body := permission.EffectiveBody(permission.Citizen{Application: "app-042", ID: "ctz-9f31"}, s.Effective(t0))
	var got []string
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllSubmatch(body, -1) {
		got = append(got, string(m[1]))
	}
	want := "[applicationId citizenId externalRef permissions transactionId optionType optionId justification state channel campaign " +
		"privacyPolicyId privacyPolicyRef permissionStatementId permissionStatementRef recordedBy recordedByName recordedClient " +
		"recordedClientName delegatedAuthorityId delegatedAuthorityName recordedAt obtainedAt validFrom validUntil preferences]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v\nwant %s", got, want)
	}
}
