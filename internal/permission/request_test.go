package permission_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

// change returns a change of opt-a to GRANTED by consent, further changed.
func change(more ...func(*permission.ChangeDraft)) permission.ChangeDraft {
	d := permission.ChangeDraft{OptionType: ptr("option"), OptionID: ptr("opt-a"), Justification: ptr("consent"), State: ptr("GRANTED")}
	for _, f := range more {
		f(&d)
	}
	return d
}

func of(kind, id string) func(*permission.ChangeDraft) {
	return func(d *permission.ChangeDraft) { d.OptionType, d.OptionID = &kind, &id }
}

func says(justification, state string) func(*permission.ChangeDraft) {
	return func(d *permission.ChangeDraft) { d.Justification, d.State = &justification, &state }
}

// times sets obtainedAt, validFrom and validUntil from t0 on; nil: absent.
func times(obtained, from, until *time.Duration) func(*permission.ChangeDraft) {
	at := func(d *time.Duration) *time.Time {
		if d == nil {
			return nil
		}
		return ptr(t0.Add(*d))
	}
	return func(d *permission.ChangeDraft) {
		d.ObtainedAt, d.ValidFrom, d.ValidUntil = at(obtained), at(from), at(until)
	}
}

func picks(preference string, refs ...string) permission.ChoiceDraft {
	d := permission.ChoiceDraft{Preference: &preference, Choices: []permission.PickDraft{}}
	for _, r := range refs {
		d.Choices = append(d.Choices, permission.PickDraft{Reference: ptr(r)})
	}
	return d
}

func request(cs ...permission.ChangeDraft) permission.Request {
	return permission.Request{ExternalRef: ptr("CRM-000771"), Changes: cs}
}

func basis(id permission.TransactionID, now time.Time) permission.Basis {
	return permission.Basis{ID: id, Citizen: "ctz-9f31", Client: "cli-7", ClientName: "Sign-up form", Now: now}
}

func TestRequest_Transaction_faults(t *testing.T) {
	t.Parallel()
	with := func(f func(*permission.Request)) permission.Request {
		r := request(change())
		f(&r)
		return r
	}
	prefers := func(ds ...permission.ChoiceDraft) permission.Request {
		return with(func(r *permission.Request) { r.Changes, r.Preferences = nil, ds })
	}
	second, minutes := ptr(time.Second), ptr(5*time.Minute)
	big := strings.Repeat("a", 256)
	tests := []struct {
		name string
		r    permission.Request
		want string
	}{
		{"the documented request", request(change()), "[]"},
		{"no option type is an option", request(change(func(d *permission.ChangeDraft) { d.OptionType = nil })), "[]"},
		{"a preference alone", prefers(picks("topics", "topics_jazz")), "[]"},
		{"nothing", permission.Request{}, "[/externalRef required /changes required]"},
		{"both names of the citizen", with(func(r *permission.Request) { r.CitizenID = ptr("ctz-9f31") }), "[]"},
		{"empty names of the citizen", with(func(r *permission.Request) { r.ExternalRef, r.CitizenID = ptr(""), ptr("") }), "[/externalRef required /citizenId required]"},
		{"long names of the citizen", with(func(r *permission.Request) { r.ExternalRef, r.CitizenID = &big, &big }), "[/externalRef too_long /citizenId too_long]"},
		{"100 changes", request(make100()...), "[]"},
		{"101 changes", request(append(make100(), change())...), "[/changes too_many]"},
		{"a change of nothing", request(permission.ChangeDraft{}), "[/changes/0/optionId required /changes/0/justification required /changes/0/state required]"},
		{"every faulty change is named", request(
			change(), change(of("option", "opt-q")), change(), change(says("consent", "CLAIMED")), change(of("group", "opt-a")),
			change(of("options", "opt-a")), change(of("option", "opt-x")), change(of("group", "grp-x")), change(of("group", "grp-only-x")),
		), "[/changes/1/optionId unknown /changes/3/state state_not_allowed /changes/4/optionId unknown /changes/5/optionType invalid_value " +
			"/changes/6/optionId archived /changes/7/optionId archived /changes/8/optionId archived]"},
		{"an unknown justification", request(change(says("CONSENT", "GRANTED"))), "[/changes/0/justification invalid_value]"},
		{"a state in lower case", request(change(says("consent", "granted"))), "[/changes/0/state state_not_allowed]"},
		{"an objection to a contract", request(change(says("contract", "OBJECTED"))), "[/changes/0/state state_not_allowed]"},
		{"an option twice", request(change(), change(says("consent", "DENIED")), change(of("group", "grp-ab"))), "[]"},
		{"obtained 5 minutes ahead", request(change(times(minutes, nil, nil))), "[]"},
		{"obtained a millisecond later", request(change(times(ptr(5*time.Minute+time.Millisecond), nil, nil))), "[/changes/0/obtainedAt in_the_future]"},
		{"valid from much later", request(change(times(nil, ptr(9999*time.Hour), nil))), "[]"},
		{"valid until what it is valid from", request(change(times(nil, second, second))), "[/changes/0/validUntil out_of_range]"},
		{"valid for less than a millisecond", request(change(times(nil, second, ptr(time.Second+999*time.Microsecond)))), "[/changes/0/validUntil out_of_range]"},
		{"valid for a millisecond", request(change(times(nil, second, ptr(time.Second+time.Millisecond)))), "[]"},
		{"valid until it was obtained", request(change(times(second, nil, second))), "[/changes/0/validUntil out_of_range]"},
		{"valid until it is recorded", request(change(times(nil, nil, new(time.Duration)))), "[/changes/0/validUntil out_of_range]"},
		{"valid in the past only", request(change(times(ptr(-2*time.Hour), nil, ptr(-time.Hour)))), "[]"},
		{"times before 1900 and after 9999", request(change(func(d *permission.ChangeDraft) {
			d.ObtainedAt, d.ValidFrom, d.ValidUntil = &time.Time{}, ptr(t0.AddDate(-127, 0, 0)), ptr(t0.AddDate(8000, 0, 0))
		})), "[/changes/0/obtainedAt out_of_range /changes/0/validFrom out_of_range /changes/0/validUntil out_of_range]"},
		{"a preference of nothing", prefers(permission.ChoiceDraft{}), "[/preferences/0/preference required /preferences/0/choices required]"},
		{"faulty preferences", prefers(picks("pace", "daily"), picks("q", "daily"), picks("old"), picks("pace", "daily", "weekly"), picks("pace", "hourly"), picks("topics", "topics_jazz", "topics_folk", "topics_jazz", "")),
			"[/preferences/1/preference unknown /preferences/2/preference archived /preferences/3/choices too_many " +
				"/preferences/4/choices/0/reference unknown /preferences/5/choices/2/reference duplicate /preferences/5/choices/3/reference required]"},
		{"no choice any more", prefers(picks("pace"), picks("topics")), "[]"},
		{"a preference obtained too far ahead", prefers(permission.ChoiceDraft{Preference: ptr("pace"), Choices: []permission.PickDraft{}, ObtainedAt: ptr(t0.Add(time.Hour))}), "[/preferences/0/obtainedAt in_the_future]"},
		{"101 preferences", prefers(make([]permission.ChoiceDraft, 101)...), "[/preferences too_many]"},
		{"policy and statement by ID", with(func(r *permission.Request) { r.PolicyID, r.StatementID = ptr("pp-3"), ptr("ps-8") }), "[]"},
		{"by reference", with(func(r *permission.Request) { r.PolicyRef, r.StatementRef = ptr("privacy-2026"), ptr("newsletter-v2") }), "[]"},
		{"by both", with(func(r *permission.Request) {
			r.PolicyRef, r.StatementRef, r.PolicyID, r.StatementID = ptr("privacy-2026"), ptr("newsletter-v2"), ptr("pp-3"), ptr("ps-8")
		}), "[]"},
		{"of two", with(func(r *permission.Request) {
			r.PolicyRef, r.StatementRef, r.PolicyID, r.StatementID = ptr("privacy-2026"), ptr("newsletter-v2"), ptr("pp-x"), ptr("ps-x")
		}), "[/privacyPolicyId mismatch /permissionStatementId mismatch]"},
		{"unknown by ID", with(func(r *permission.Request) { r.PolicyID, r.StatementID = ptr("ps-8"), ptr("") }), "[/privacyPolicyId unknown /permissionStatementId unknown]"},
		{"unknown by reference", with(func(r *permission.Request) { r.PolicyRef, r.StatementRef = ptr("q"), ptr("") }), "[/privacyPolicyRef unknown /permissionStatementRef unknown]"},
		{"archived", with(func(r *permission.Request) { r.PolicyRef, r.StatementID = ptr("old"), ptr("ps-x") }), "[/privacyPolicyRef archived /permissionStatementId archived]"},
		{"long texts", with(func(r *permission.Request) {
			r.Channel, r.Campaign, r.RecordedBy, r.RecordedName, r.Authority, r.AuthorityName = &big, &big, &big, &big, &big, &big
		}), "[/channel too_long /campaign too_long /recordedBy too_long /recordedByName too_long /delegatedAuthorityId too_long /delegatedAuthorityName too_long]"},
		{"texts that are none", with(func(r *permission.Request) { r.Channel, r.Campaign = ptr("a\nb"), ptr("\xff") }), "[/channel invalid_character /campaign invalid_character]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, fs := tt.r.Transaction(basis("txn-1", t0), catalogue())
			if places(fs) != tt.want {
				t.Errorf("got %s, want %s", places(fs), tt.want)
			}
			if len(fs) > 0 && !reflect.DeepEqual(got, permission.Transaction{}) {
				t.Errorf("got %+v beside faults, want nothing", got)
			}
		})
	}
}

// make100 returns 100 good changes.
func make100() []permission.ChangeDraft {
	out := make([]permission.ChangeDraft, 100)
	for i := range out {
		out[i] = change()
	}
	return out
}

// TestRequest_Transaction holds what a request records, member by member.
func TestRequest_Transaction(t *testing.T) {
	t.Parallel()
	r := permission.Request{
		ExternalRef: ptr("CRM-000771"),
		Changes: []permission.ChangeDraft{
			change(of("group", "grp-bcx")),
			change(says("legitimate-interest", "OBJECTED"), times(ptr(-time.Hour), ptr(time.Hour), ptr(2*time.Hour))),
			change(times(ptr(-1500*time.Microsecond), nil, nil)),
		},
		Preferences: []permission.ChoiceDraft{picks("topics", "topics_rock", "topics_jazz"), picks("pace")},
		PolicyRef:   ptr("privacy-2026"), StatementID: ptr("ps-8"),
		Channel: ptr("web"), Campaign: ptr("spring"), RecordedBy: ptr("usr-1"), RecordedName: ptr("Call centre"),
		Authority: ptr("ctz-2"), AuthorityName: ptr("A guardian"),
	}
	now := t0.Add(999 * time.Microsecond).In(time.FixedZone("", 3600))
	got, fs := r.Transaction(basis("txn-55b0", now), catalogue())
	if len(fs) > 0 {
		t.Fatal(places(fs))
	}
	o := &permission.Origin{
		Transaction: "txn-55b0", RecordedAt: t0,
		Policy: "pp-3", PolicyRef: "privacy-2026", PolicyVersion: 3, Statement: "ps-8", StatementRef: "newsletter-v2", StatementVersion: 2,
		Channel: "web", Campaign: "spring",
		Actor: permission.Actor{By: "usr-1", ByName: "Call centre", Client: "cli-7", ClientName: "Sign-up form", Authority: "ctz-2", AuthorityName: "A guardian"},
	}
	granted := permission.Entry{Option: "opt-c", Group: "grp-bcx", Justification: "consent", State: "GRANTED", ObtainedAt: t0, ValidFrom: t0, Origin: o}
	second := granted
	second.Option = "opt-b"
	early := t0.Add(-2 * time.Millisecond)
	want := permission.Transaction{
		Citizen: "ctz-9f31", Origin: o,
		Entries: []permission.Entry{
			granted, second, // not opt-x, which is archived
			{Option: "opt-a", Place: 1, Justification: "legitimate-interest", State: "OBJECTED", ObtainedAt: t0.Add(-time.Hour), ValidFrom: t0.Add(time.Hour), ValidUntil: t0.Add(2 * time.Hour), Origin: o},
			{Option: "opt-a", Place: 2, Justification: "consent", State: "GRANTED", ObtainedAt: early, ValidFrom: early, Origin: o},
		},
		Choices: []permission.Choice{
			{Preference: "topics", Label: "Topics you like", Chosen: []permission.Alternative{{Reference: "topics_rock", Label: "Rock"}, {Reference: "topics_jazz", Label: "Jazz"}}, ObtainedAt: t0, Origin: o},
			{Preference: "pace", Label: "How often", Place: 1, ObtainedAt: t0, Origin: o},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	back, err := permission.DecodeTransaction(got.Encode())
	if err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("kept and read: got %v\n%+v\nwant\n%+v", err, back, want)
	}
}

// TestRequest_Transaction_groups: what groups come to is bounded.
func TestRequest_Transaction_groups(t *testing.T) {
	t.Parallel()
	var os []permission.Option
	g := permission.Group{ID: "grp"}
	for i := range permission.MaxOptions {
		os = append(os, permission.Option{ID: permission.OptionID(fmt.Sprint("opt-", i))})
		g.Options = append(g.Options, os[i].ID)
	}
	c := permission.NewCatalogue(os, []permission.Group{g}, nil, nil, nil)
	many := request()
	for n, want := range []string{"[/changes required]", "[]", "[]", "[]", "[]", "[]", "[]", "[]", "[]", "[]", "[]", "[/changes too_many]"} {
		txn, fs := many.Transaction(basis("txn-1", t0), c)
		if places(fs) != want || len(fs) == 0 && len(txn.Entries) != 100*n {
			t.Errorf("%d groups of 100: got %s and %d entries, want %s", n, places(fs), len(txn.Entries), want)
		}
		many.Changes = append(many.Changes, change(of("group", "grp")))
	}
}

func TestRevert(t *testing.T) {
	t.Parallel()
	var history []permission.Transaction
	for _, id := range []permission.TransactionID{"txn-1", "txn-2"} {
		txn, _ := request(change()).Transaction(basis(id, t0), catalogue())
		history = append(history, txn)
	}
	revert := func(id, target permission.TransactionID, want string) {
		t.Helper()
		r, err := permission.Revert(history, target, permission.Origin{Transaction: id, RecordedAt: t0})
		got := fault.CodeOf(err)
		if e, ok := errors.AsType[*fault.Error](err); ok {
			got += " " + e.Details["revertedBy"]
		}
		if got != want {
			t.Fatalf("%s reverts %s: got %q (%v), want %q", id, target, got, err, want)
		}
		if err == nil {
			if r.Citizen != "ctz-9f31" || r.Reverts != target || r.ID() != id {
				t.Errorf("got %+v, want a reversion of %s", r, target)
			}
			history = append(history, r)
		}
	}
	counting := func(want string) {
		t.Helper()
		var got []permission.TransactionID
		for _, c := range permission.Counting(history) {
			got = append(got, c.ID())
		}
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	counting("[txn-1 txn-2]")
	revert("rev-1", "txn-2", "")
	counting("[txn-1 rev-1]")
	revert("rev-2", "txn-2", "transaction_reverted rev-1")
	revert("rev-2", "txn-9", "not_found ")
	revert("rev-2", "rev-1", "")
	counting("[txn-1 txn-2 rev-2]")
	revert("rev-3", "rev-1", "transaction_reverted rev-2")
	revert("rev-3", "txn-2", "")
	counting("[txn-1 rev-2 rev-3]")
	revert("rev-4", "txn-2", "transaction_reverted rev-3")
}

// FuzzRequest_Transaction: whatever is asked, each fault names a member of the
// request, and what has none is recorded as its rules promise and can be kept.
func FuzzRequest_Transaction(f *testing.F) {
	f.Add("CRM-1", "option", "opt-a", "consent", "GRANTED", int64(0), int64(0), int64(1), "topics", "topics_jazz", "privacy-2026", "web", uint8(0xff))
	f.Add("", "group", "grp-bcx", "contract", "CLAIMED", int64(-1), int64(1)<<50, int64(1)<<60, "pace", "daily", "old", "\xff", uint8(0x55))
	f.Add("a\u2028", "", "opt-x", "vital-interest", "", int64(300_000), int64(299_999), int64(300_000), "", "", "", "\x00", uint8(0))
	f.Fuzz(func(t *testing.T, ref, kind, option, justification, state string, obtained, from, until int64, preference, pick, policy, channel string, has uint8) {
		given := func(bit int, s string) *string {
			if has>>bit&1 == 0 {
				return nil
			}
			return &s
		}
		at := func(bit int, ms int64) *time.Time {
			if has>>bit&1 == 0 {
				return nil
			}
			return ptr(t0.Add(time.Duration(ms) * time.Millisecond))
		}
		d := permission.ChangeDraft{
			OptionType: given(0, kind), OptionID: &option, Justification: given(1, justification), State: &state,
			ObtainedAt: at(2, obtained), ValidFrom: at(3, from), ValidUntil: at(4, until),
		}
		p := permission.ChoiceDraft{Preference: given(5, preference), Choices: []permission.PickDraft{{Reference: &pick}}, ObtainedAt: at(6, obtained)}
		r := permission.Request{
			ExternalRef: &ref, Changes: []permission.ChangeDraft{d, change()}, Preferences: []permission.ChoiceDraft{p},
			PolicyRef: given(7, policy), Channel: &channel,
		}
		txn, fs := r.Transaction(basis("txn-1", t0), catalogue())
		for _, e := range fs {
			if e.Code == "" || e.Msg == "" || strings.HasPrefix(e.Path, "/changes/1/") ||
				!strings.HasPrefix(e.Path, "/changes/0/") && !strings.HasPrefix(e.Path, "/preferences/0/") && e.Path != "/externalRef" && e.Path != "/privacyPolicyRef" && e.Path != "/channel" {
				t.Errorf("got the fault %+v, want it about a member that can be faulty", e)
			}
		}
		if len(fs) > 0 {
			return
		}
		for _, e := range txn.Entries {
			allowed := false
			for _, s := range e.Justification.States() {
				allowed = allowed || s == e.State
			}
			if !allowed || e.ObtainedAt.After(t0.Add(5*time.Minute)) || !e.ValidUntil.IsZero() && !e.ValidUntil.After(e.ValidFrom) || e.Option == "opt-x" {
				t.Errorf("got %+v, want nothing that the rules refuse", e)
			}
		}
		back, err := permission.DecodeTransaction(txn.Encode())
		if err != nil || !reflect.DeepEqual(back, txn) {
			t.Errorf("kept and read: got %v\n%+v\nwant\n%+v", err, back, txn)
		}
		s, _ := permission.Standing{}.Record(txn, t0)
		body := permission.EffectiveBody(permission.Citizen{Application: "app-042", ID: "ctz-9f31", ExternalRef: ref}, s.Effective(t0))
		if !strings.HasPrefix(string(body), `{"applicationId":"app-042","citizenId":"ctz-9f31","externalRef":`) {
			t.Errorf("got the body %s", body)
		}
	})
}
