package permission_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

const receiptID = "3f0e5b52-8f0e-5d0a-9a55-4b1f0e6f0c11"

// diary is a citizen's history as it grows, over a catalogue of its own.
type diary struct {
	t         *testing.T
	catalogue *permission.Catalogue
	history   []permission.Transaction
}

func newDiary(t *testing.T) *diary {
	named := slices.Clone(options)
	named[0].Name = "Newsletter"
	return &diary{t: t, catalogue: permission.NewCatalogue(named,
		[]permission.Group{{ID: "grp-ab", Name: "All news", Options: []permission.OptionID{"opt-a", "opt-b"}}}, preferences,
		[]permission.Statement{{ID: "ps-8", Reference: "newsletter-v2", Text: "May we?", Version: 2}},
		[]permission.Policy{{ID: "pp-3", Reference: "privacy-2026", URL: "https://example.org/privacy", Version: 3}},
	)}
}

// record adds a transaction at an hour after t0.
func (d *diary) record(hour int, r permission.Request) permission.TransactionID {
	d.t.Helper()
	id := permission.TransactionID(fmt.Sprintf("txn-%d", len(d.history)+1))
	r.ExternalRef = ptr("CRM-000771")
	t, fs := r.Transaction(permission.Basis{
		ID: id, Citizen: "ctz-9f31", Client: "cli-7", ClientName: "Sign-up form", Now: t0.Add(time.Duration(hour) * time.Hour),
	}, d.catalogue)
	if len(fs) > 0 {
		d.t.Fatal(places(fs))
	}
	d.history = append(d.history, t)
	return id
}

func (d *diary) revert(hour int, id permission.TransactionID) permission.TransactionID {
	d.t.Helper()
	fresh := permission.TransactionID(fmt.Sprintf("txn-%d", len(d.history)+1))
	t, err := permission.Revert(d.history, id, permission.Origin{
		Transaction: fresh, RecordedAt: t0.Add(time.Duration(hour) * time.Hour), Actor: permission.Actor{Client: "cli-7", ClientName: "Sign-up form"},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.history = append(d.history, t)
	return fresh
}

// receipt is that of a transaction with the texts of the versions it names.
func (d *diary) receipt(id permission.TransactionID) permission.Receipt {
	d.t.Helper()
	i := slices.IndexFunc(d.history, func(t permission.Transaction) bool { return t.ID() == id })
	r := permission.Receipt{
		ID: receiptID, Citizen: permission.Citizen{Application: "app-042", ID: "ctz-9f31", ExternalRef: "CRM-000771"}, ApplicationName: "My First App",
		Transaction: d.history[i], History: d.history, Catalogue: d.catalogue,
		Parts: []permission.Part{
			{Kind: permission.Data, ID: "email", Name: "E-mail address"}, {Kind: permission.Data, ID: "phone", Name: "Phone"},
			{Kind: permission.Purpose, ID: "news", Name: "News & offers"}, {Kind: permission.Purpose, ID: "email", Name: "another kind"},
			{Kind: permission.Party, ID: "us", Name: "Example Ltd"},
		},
	}
	about, _ := permission.Concerned(r.Transaction, d.history)
	if about.Origin.Statement != "" {
		r.Statement = permission.Statement{ID: "ps-8", Reference: "newsletter-v2", Text: "May we write?", Language: "en", Version: 2}
	}
	if about.Origin.Policy != "" {
		r.Policy = permission.Policy{ID: "pp-3", Reference: "privacy-2026", URL: "https://example.org/privacy/3", Version: 3}
	}
	return r
}

func answer(option string, j permission.Justification, s permission.State) permission.ChangeDraft {
	return permission.ChangeDraft{OptionID: &option, Justification: ptr(string(j)), State: ptr(string(s))}
}

// TestReceipts holds the receipts of a citizen's story to their golden forms:
// the documented members of DOMAIN 4.8 in their order.
func TestReceipts(t *testing.T) {
	t.Parallel()
	d := newDiary(t)
	var got bytes.Buffer
	type told struct {
		title string
		id    permission.TransactionID
	}
	var all []told
	tell := func(title string, id permission.TransactionID) permission.TransactionID {
		all = append(all, told{title, id})
		for _, f := range permission.ReceiptForms() {
			b := d.receipt(id).Body(f)
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, b, "", "  "); err != nil {
				t.Fatalf("%s, %s: %v in %s", title, f, err, b)
			}
			fmt.Fprintf(&got, "# %s, %s\n%s\n\n", title, f, pretty.String())
		}
		return id
	}

	end := t0.Add(365 * 24 * time.Hour)
	group := answer("grp-ab", permission.ByConsent, permission.Granted)
	group.OptionType, group.ObtainedAt, group.ValidUntil = ptr(permission.TypeGroup), ptr(t0.Add(-1500*time.Millisecond)), &end
	grant := tell("A group granted, another option claimed, a preference", d.record(0, permission.Request{
		Changes:     []permission.ChangeDraft{group, answer("opt-c", permission.ByInterest, permission.Claimed)},
		Preferences: []permission.ChoiceDraft{{Preference: ptr("topics"), Choices: []permission.PickDraft{{Reference: ptr("topics_folk")}}}},
		PolicyID:    ptr("pp-3"), StatementRef: ptr("newsletter-v2"), Channel: ptr("web"), Campaign: ptr("spring"),
		RecordedBy: ptr("usr-1"), RecordedName: ptr("Call centre"), Authority: ptr("gua-12"), AuthorityName: ptr("A guardian"),
	}))
	tell("Withdrawn, with nothing said around it", d.record(1, permission.Request{Changes: []permission.ChangeDraft{answer("opt-a", permission.ByConsent, permission.Denied)}}))
	undone := tell("The grant reverted", d.revert(2, grant))
	tell("And that reverted", d.revert(3, undone))
	tell("Only a preference", d.record(4, permission.Request{Preferences: []permission.ChoiceDraft{{Preference: ptr("pace"), Choices: []permission.PickDraft{}}}}))

	const path = "testdata/receipts.golden"
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant the content of %s; go test -run TestReceipts -update writes it", got.Bytes(), path)
	}

	// What was recorded later is in none of them.
	var late bytes.Buffer
	for _, x := range all {
		for _, f := range permission.ReceiptForms() {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, d.receipt(x.id).Body(f), "", "  "); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&late, "# %s, %s\n%s\n\n", x.title, f, pretty.String())
		}
	}
	if !bytes.Equal(late.Bytes(), got.Bytes()) {
		t.Errorf("after the whole story got\n%s, want what each was at its time", late.Bytes())
	}
	if b := d.receipt(grant).Body("pdf"); b != nil {
		t.Errorf("a form that does not exist: got %s", b)
	}
}

// TestReceipt_states: what an event of the form iso27560 says of each state,
// and that a denial is a withdrawal only of a grant that was there to take
// back.
func TestReceipt_states(t *testing.T) {
	t.Parallel()
	ago := func(c permission.ChangeDraft, obtained, until time.Duration) permission.ChangeDraft {
		c.ObtainedAt = ptr(t0.Add(obtained))
		if until != 0 {
			c.ValidUntil = ptr(t0.Add(until))
		}
		return c
	}
	granted, denied := answer("opt-a", permission.ByConsent, permission.Granted), answer("opt-a", permission.ByConsent, permission.Denied)
	one := func(cs ...permission.ChangeDraft) []permission.Request {
		var rs []permission.Request
		for _, c := range cs {
			rs = append(rs, permission.Request{Changes: []permission.ChangeDraft{c}})
		}
		return rs
	}
	tests := []struct {
		name   string
		story  []permission.Request // an hour apart
		revert bool                 // the last but one, before the last
		want   string               // of the last one's events
	}{
		{"granted", one(granted), false, "ConsentGiven"},
		{"pending", one(answer("opt-a", permission.ByConsent, permission.Pending)), false, "ConsentRequested"},
		{"denied at once", one(denied), false, "ConsentRefused"},
		{"denied after a grant", one(granted, denied), false, "ConsentWithdrawn"},
		{"denied after a grant of another option", one(answer("opt-b", permission.ByConsent, permission.Granted), denied), false, "ConsentRefused"},
		{"denied after a request", one(answer("opt-a", permission.ByConsent, permission.Pending), denied), false, "ConsentRefused"},
		{"denied after a claim", one(answer("opt-a", permission.ByContract, permission.Claimed), denied), false, "ConsentRefused"},
		{"denied after a grant that was reverted", one(granted, denied), true, "ConsentRefused"},
		{"denied before the grant, told after it", one(granted, ago(denied, -time.Hour, 0)), false, "ConsentRefused"},
		{"denied after the grant had lapsed", one(ago(granted, -2*time.Hour, time.Minute), denied), false, "ConsentRefused"},
		{"denied just as the grant lapses", one(ago(granted, -2*time.Hour, time.Hour), denied), false, "ConsentRefused"},
		{"denied just before the grant lapses", one(ago(granted, -2*time.Hour, time.Hour+time.Millisecond), denied), false, "ConsentWithdrawn"},
		{"granted and denied in one request", []permission.Request{{Changes: []permission.ChangeDraft{granted, denied}}}, false, "ConsentGiven ConsentWithdrawn"},
		{"denied and granted in one request", []permission.Request{{Changes: []permission.ChangeDraft{denied, granted}}}, false, "ConsentRefused ConsentGiven"},
		{"a grant that had lapsed when it was told", one(ago(granted, -2*time.Hour, -time.Hour)), false, "ConsentExpired"},
		{"a grant that lapses as it is told", one(ago(granted, -2*time.Hour, 0), ago(granted, -2*time.Hour, time.Hour)), false, "ConsentExpired"},
		{"a denial that had lapsed", one(ago(denied, -2*time.Hour, -time.Hour)), false, "ConsentRefused"},
		{"an interest claimed", one(answer("opt-a", permission.ByInterest, permission.Claimed)), false, "LegitimateInterestNotObjected"},
		{"objected to", one(answer("opt-a", permission.ByInterest, permission.Objected)), false, "LegitimateInterestObjected"},
		{"an objection upheld", one(answer("opt-a", permission.ByInterest, permission.ObjectionUpheld)), false, "LegitimateInterestObjected"},
		{"a legal obligation", one(answer("opt-a", permission.ByLegalObligation, permission.Claimed)), false, "CLAIMED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDiary(t)
			var last permission.TransactionID
			for i, r := range tt.story {
				if tt.revert && i == len(tt.story)-1 {
					d.revert(i, last)
				}
				last = d.record(i, r)
			}
			var got struct {
				Events []struct {
					State string `json:"event_state"`
				}
			}
			if err := json.Unmarshal(d.receipt(last).Body(permission.ReceiptISO27560), &got); err != nil {
				t.Fatal(err)
			}
			var states []string
			for _, e := range got.Events {
				states = append(states, e.State)
			}
			if s := strings.Join(states, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

// TestReceipt_ofAReversion: it says what is in force by it, not that what it
// takes back is void.
func TestReceipt_ofAReversion(t *testing.T) {
	t.Parallel()
	granted, denied := answer("opt-a", permission.ByConsent, permission.Granted), answer("opt-a", permission.ByConsent, permission.Denied)
	later := granted
	later.ValidFrom = ptr(t0.Add(100 * time.Hour))
	tests := []struct {
		name     string
		story    []permission.ChangeDraft // an hour apart; the last one is reverted
		twice    bool                     // and the reversion too
		want     string
		services int
	}{
		{"a grant", []permission.ChangeDraft{granted}, false, "ConsentInvalidated", 0},
		{"a grant that counts again", []permission.ChangeDraft{granted}, true, "ConsentGiven", 1},
		{"a grant after a denial", []permission.ChangeDraft{denied, granted}, false, "ConsentRefused", 0},
		{"a withdrawal", []permission.ChangeDraft{granted, denied}, false, "ConsentGiven", 1},
		{"a withdrawal that counts again", []permission.ChangeDraft{granted, denied}, true, "ConsentWithdrawn", 0},
		{"a second denial after a withdrawal", []permission.ChangeDraft{granted, denied, denied}, false, "ConsentWithdrawn", 0},
		{"a claim in place of a grant", []permission.ChangeDraft{granted, answer("opt-a", permission.ByContract, permission.Claimed)}, false, "ConsentGiven", 1},
		{"a claim", []permission.ChangeDraft{answer("opt-a", permission.ByContract, permission.Claimed)}, false, "REVERTED", 0},
		{"a grant that is still to begin and counts again", []permission.ChangeDraft{later}, true, "ConsentGiven", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDiary(t)
			var last permission.TransactionID
			for i, c := range tt.story {
				last = d.record(i, permission.Request{Changes: []permission.ChangeDraft{c}})
			}
			last = d.revert(10, last)
			if tt.twice {
				last = d.revert(11, last)
			}
			var iso struct {
				Events []struct {
					State string `json:"event_state"`
				}
			}
			if err := json.Unmarshal(d.receipt(last).Body(permission.ReceiptISO27560), &iso); err != nil {
				t.Fatal(err)
			}
			if len(iso.Events) != 1 || iso.Events[0].State != tt.want {
				t.Errorf("got %+v, want one event that says %s", iso.Events, tt.want)
			}
			var kantara struct{ Services []struct{} }
			if err := json.Unmarshal(d.receipt(last).Body(permission.ReceiptKantara), &kantara); err != nil {
				t.Fatal(err)
			}
			if len(kantara.Services) != tt.services {
				t.Errorf("got %d services, want %d", len(kantara.Services), tt.services)
			}
		})
	}
}

// TestReceipt_kantaraListsOnlyWhatIsAllowed: that form has no place for a
// state.
func TestReceipt_kantaraListsOnlyWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for _, j := range permission.Justifications() {
		for _, s := range j.States() {
			d := newDiary(t)
			id := d.record(0, permission.Request{Changes: []permission.ChangeDraft{answer("opt-c", j, s)}})
			var got struct {
				Services []struct {
					Purposes []struct{ ConsentType string }
				}
			}
			if err := json.Unmarshal(d.receipt(id).Body(permission.ReceiptKantara), &got); err != nil {
				t.Fatal(err)
			}
			want := 0
			if s == permission.Granted || s == permission.Claimed {
				want = 1
			}
			if got.Services == nil || len(got.Services) != want {
				t.Errorf("%s, %s: got %+v, want %d services", j, s, got.Services, want)
				continue
			}
			if want == 1 && (got.Services[0].Purposes[0].ConsentType == "EXPLICIT") != (j == permission.ByConsent) {
				t.Errorf("%s: got the type of consent %s", j, got.Services[0].Purposes[0].ConsentType)
			}
		}
	}
}

func TestConcerned(t *testing.T) {
	t.Parallel()
	d := newDiary(t)
	first := d.record(0, permission.Request{Changes: []permission.ChangeDraft{answer("opt-a", permission.ByConsent, permission.Granted)}})
	id := first
	for hour := range 5 {
		about, again := permission.Concerned(d.history[hour], d.history)
		if about.ID() != first || again != (hour%2 == 0) {
			t.Errorf("after %d reversions of each other: got %s, %t, want %s, %t", hour, about.ID(), again, first, hour%2 == 0)
		}
		id = d.revert(hour+1, id)
	}
	if about, again := permission.Concerned(d.history[1], d.history[1:]); about.ID() != d.history[1].ID() || again {
		t.Errorf("a history without it: got %s, %t, want the reversion itself", about.ID(), again)
	}
}
