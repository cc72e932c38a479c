package permission_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

// TestJustification_States holds the table of DOMAIN 3.2, every pair of it.
func TestJustification_States(t *testing.T) {
	t.Parallel()
	allowed := map[permission.Justification]string{
		"consent": "GRANTED DENIED PENDING", "legitimate-interest": "CLAIMED OBJECTED OBJECTION_UPHELD",
		"contract": "CLAIMED", "public-interest": "CLAIMED", "vital-interest": "CLAIMED", "legal-obligation": "CLAIMED",
	}
	for j, want := range allowed {
		var got []string
		for _, s := range j.States() {
			got = append(got, string(s))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", j, got, want)
		}
	}
	if got := len(permission.Justifications()); got != len(allowed) {
		t.Errorf("got %d justifications, want %d", got, len(allowed))
	}
	if got := permission.Justification("CONSENT").States(); got != nil {
		t.Errorf("got %v for what is no justification, want none", got)
	}
}

func TestLife_Remove(t *testing.T) {
	t.Parallel()
	var l permission.Life
	if got, gone := l.Remove(t0); !gone || got.Archived() {
		t.Errorf("not used: got %+v %v, want it gone", got, gone)
	}
	l.Used = true
	once, gone := l.Remove(t0)
	if gone || !once.ArchivedAt.Equal(t0) || !once.Used {
		t.Errorf("used: got %+v %v, want it archived", once, gone)
	}
	if twice, gone := once.Remove(t0.Add(time.Hour)); gone || twice != once {
		t.Errorf("again: got %+v %v, want it archived since the first time", twice, gone)
	}
	if got := once.Restore(); got.Archived() || !got.Used {
		t.Errorf("restored: got %+v, want it in use", got)
	}
}

func TestPartDraft_Apply(t *testing.T) {
	t.Parallel()
	made := permission.Part{Kind: permission.Data, ID: "email", Name: "email"}
	tests := []struct {
		name string
		d    permission.PartDraft
		cur  permission.Part
		want string
	}{
		{"a name alone", permission.PartDraft{Name: ptr("E-mail")}, permission.Part{}, "[]"},
		{"an ID of one's own", permission.PartDraft{ID: ptr("email"), Name: ptr("E-mail")}, permission.Part{}, "[]"},
		{"nothing", permission.PartDraft{}, permission.Part{}, "[/name required]"},
		{"blanks", permission.PartDraft{ID: ptr(""), Name: ptr(" ")}, permission.Part{}, "[/id required /name required]"},
		{"the same ID", permission.PartDraft{ID: ptr("email"), Name: ptr("E-mail")}, made, "[]"},
		{"another ID", permission.PartDraft{ID: ptr("mail"), Name: ptr("E-mail")}, made, "[/id immutable]"},
		{"a control character", permission.PartDraft{Name: ptr("a\nb")}, made, "[/name invalid_character]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, fs := tt.d.Apply(tt.cur); places(fs) != tt.want {
				t.Errorf("got %s, want %s", places(fs), tt.want)
			}
		})
	}
	if got, _ := (permission.PartDraft{Name: ptr("E-mail")}).Apply(made); got != (permission.Part{Kind: permission.Data, ID: "email", Name: "E-mail"}) {
		t.Errorf("got %+v, want the name changed", got)
	}
}

func TestOptionDraft_Apply(t *testing.T) {
	t.Parallel()
	draft := func(change func(*permission.OptionDraft)) permission.OptionDraft {
		d := permission.OptionDraft{DataID: ptr("email"), PurposeID: ptr("news"), PartyID: ptr("us")}
		if change != nil {
			change(&d)
		}
		return d
	}
	cur := permission.Option{ID: "opt-a", Name: "News", DataID: "email", PurposeID: "news", PartyID: "us", Description: "Weekly"}
	used := cur
	used.Used = true
	long := strings.Repeat("ä", permission.MaxID)
	tests := []struct {
		name string
		d    permission.OptionDraft
		cur  permission.Option
		want string
	}{
		{"the least", draft(nil), permission.Option{}, "[]"},
		{"all", draft(func(d *permission.OptionDraft) {
			d.ID, d.Name, d.Description = ptr("opt-a"), ptr("News"), ptr("Weekly,\nby e-mail")
		}), permission.Option{}, "[]"},
		{"nothing", permission.OptionDraft{}, permission.Option{}, "[/dataId required /purposeId required /partyId required]"},
		{"IDs of 100 characters", draft(func(d *permission.OptionDraft) { d.ID, d.DataID = &long, &long }), permission.Option{}, "[]"},
		{"IDs of 101 characters", draft(func(d *permission.OptionDraft) { d.ID, d.DataID = ptr(long+"a"), ptr(long+"a") }), permission.Option{}, "[/optionId too_long /dataId too_long]"},
		{"IDs of a bad form", draft(func(d *permission.OptionDraft) {
			d.ID, d.DataID, d.PurposeID, d.PartyID = ptr(".."), ptr(" a"), ptr("a\x00b"), ptr("\xff")
		}), permission.Option{}, "[/optionId invalid_value /dataId invalid_value /purposeId invalid_character /partyId invalid_character]"},
		{"long texts", draft(func(d *permission.OptionDraft) {
			d.Name, d.Description = ptr(strings.Repeat("a", 201)), ptr(strings.Repeat("a", 2001))
		}), permission.Option{}, "[/name too_long /description too_long]"},
		{"another ID", draft(func(d *permission.OptionDraft) { d.ID = ptr("opt-b") }), cur, "[/optionId immutable]"},
		{"another triple before use", draft(func(d *permission.OptionDraft) { d.DataID, d.PurposeID, d.PartyID = ptr("a"), ptr("b"), ptr("c") }), cur, "[]"},
		{"another triple after use", draft(func(d *permission.OptionDraft) { d.DataID, d.PurposeID, d.PartyID = ptr("a"), ptr("b"), ptr("c") }), used, "[/dataId in_use /purposeId in_use /partyId in_use]"},
		{"another name after use", draft(func(d *permission.OptionDraft) { d.Name, d.Description = ptr("Letters"), ptr("") }), used, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, fs := tt.d.Apply(tt.cur); places(fs) != tt.want {
				t.Errorf("got %s, want %s", places(fs), tt.want)
			}
		})
	}
	next, _ := draft(func(d *permission.OptionDraft) { d.Name = ptr("Letters") }).Apply(used)
	if want := (permission.Option{Life: used.Life, ID: "opt-a", Name: "Letters", DataID: "email", PurposeID: "news", PartyID: "us"}); next != want {
		t.Errorf("got %+v, want %+v", next, want)
	}
	if got, want := fmt.Sprint(next.Parts()), "[{data email email} {purpose news news} {party us us}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGroupDraft_Apply(t *testing.T) {
	t.Parallel()
	old := permission.Group{ID: "grp-1", Options: []permission.OptionID{"opt-x", "opt-a"}, Life: permission.Life{Used: true}}
	var many []string
	for i := range permission.MaxOptions + 1 {
		many = append(many, fmt.Sprint(i))
	}
	tests := []struct {
		name    string
		options []string
		cur     permission.Group
		want    string
	}{
		{"two options", []string{"opt-b", "opt-a"}, permission.Group{}, "[]"},
		{"none", nil, permission.Group{}, "[/options required]"},
		{"101", many, permission.Group{}, "[/options too_many]"},
		{"unknown and twice", []string{"opt-a", "opt-q", "opt-a", ""}, permission.Group{}, "[/options/1 unknown /options/2 duplicate /options/3 unknown]"},
		{"an archived one that enters", []string{"opt-a", "opt-x"}, permission.Group{}, "[/options/1 archived]"},
		{"an archived one that stays, and other options after use", []string{"opt-b", "opt-x"}, old, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := permission.GroupDraft{Name: ptr("Post"), Options: tt.options}
			got, fs := d.Apply(tt.cur, catalogue())
			if places(fs) != tt.want {
				t.Errorf("got %s, want %s", places(fs), tt.want)
			}
			if len(fs) == 0 && (len(got.Options) != len(tt.options) || got.Name != "Post" || got.ID != tt.cur.ID) {
				t.Errorf("got %+v, want the options %v", got, tt.options)
			}
		})
	}
	if len(old.Options) != 2 || old.Options[0] != "opt-x" {
		t.Errorf("got %v, want the former group left alone", old.Options)
	}
}

func TestPreferenceDraft_Apply(t *testing.T) {
	t.Parallel()
	choices := func(refs ...string) []permission.AlternativeDraft {
		out := []permission.AlternativeDraft{}
		for _, r := range refs {
			out = append(out, permission.AlternativeDraft{Reference: ptr(r), Label: ptr("The " + r)})
		}
		return out
	}
	cur := permission.Preference{Reference: "topics", Label: "Topics", Type: "multi-choice", Choices: []permission.Alternative{{Reference: "a", Label: "A"}, {Reference: "b", Label: "B"}}}
	used := cur
	used.Used = true
	tests := []struct {
		name string
		d    permission.PreferenceDraft
		cur  permission.Preference
		want string
	}{
		{"a good one", permission.PreferenceDraft{Reference: ptr("topics"), Label: ptr("Topics"), Type: ptr("single-choice"), Choices: choices("a")}, permission.Preference{}, "[]"},
		{"nothing", permission.PreferenceDraft{}, permission.Preference{}, "[/reference required /label required /type required /choices required]"},
		{"another type", permission.PreferenceDraft{Reference: ptr("t"), Label: ptr("T"), Type: ptr("text"), Choices: choices("a")}, permission.Preference{}, "[/type invalid_value]"},
		{"choices without members, and one twice", permission.PreferenceDraft{Reference: ptr("t"), Label: ptr("T"), Type: ptr("multi-choice"), Choices: append(choices("a", "a"), permission.AlternativeDraft{})}, permission.Preference{}, "[/choices/1/reference duplicate /choices/2/reference required /choices/2/label required]"},
		{"101 choices", permission.PreferenceDraft{Reference: ptr("t"), Label: ptr("T"), Type: ptr("multi-choice"), Choices: make([]permission.AlternativeDraft, 101)}, permission.Preference{}, "[/choices too_many]"},
		{"another reference", permission.PreferenceDraft{Reference: ptr("t"), Label: ptr("T"), Type: ptr("multi-choice"), Choices: choices("a", "b")}, cur, "[/reference immutable]"},
		{"a choice gone and another type before use", permission.PreferenceDraft{Label: ptr("T"), Type: ptr("single-choice"), Choices: choices("b")}, cur, "[]"},
		{"a choice gone and another type after use", permission.PreferenceDraft{Label: ptr("T"), Type: ptr("single-choice"), Choices: choices("b")}, used, "[/type in_use /choices in_use]"},
		{"a choice more, in another order, after use", permission.PreferenceDraft{Label: ptr("T"), Type: ptr("multi-choice"), Choices: choices("b", "c", "a")}, used, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, fs := tt.d.Apply(tt.cur); places(fs) != tt.want {
				t.Errorf("got %s, want %s", places(fs), tt.want)
			}
		})
	}
	got, _ := tests[len(tests)-1].d.Apply(used)
	if want := []permission.Alternative{{Reference: "b", Label: "The b"}, {Reference: "c", Label: "The c"}, {Reference: "a", Label: "The a"}}; !slices.Equal(got.Choices, want) || got.Reference != "topics" || !got.Used {
		t.Errorf("got %+v, want the choices %v", got, want)
	}
}

func TestStatementDraft_Apply(t *testing.T) {
	t.Parallel()
	cur := permission.Statement{ID: "ps-1", Reference: "news", Text: "May we?", Language: "en", Version: 3, Life: permission.Life{Used: true}}
	tests := []struct {
		name    string
		d       permission.StatementDraft
		cur     permission.Statement
		want    string
		version int
	}{
		{"a first one", permission.StatementDraft{Reference: ptr("news"), Text: ptr("May we?\nPlease.")}, permission.Statement{}, "[]", 1},
		{"nothing", permission.StatementDraft{}, permission.Statement{}, "[/reference required /text required]", 1},
		{"the same again", permission.StatementDraft{Text: ptr("May we?"), Language: ptr("en")}, cur, "[]", 3},
		{"a new text", permission.StatementDraft{Text: ptr("May we write?"), Language: ptr("en")}, cur, "[]", 4},
		{"a new language", permission.StatementDraft{Text: ptr("May we?"), Language: ptr("pt-BR")}, cur, "[]", 4},
		{"another reference", permission.StatementDraft{Reference: ptr("other"), Text: ptr("May we?"), Language: ptr("en")}, cur, "[/reference immutable]", 3},
		{"no text", permission.StatementDraft{Text: ptr(" \n"), Language: ptr("en")}, cur, "[/text required]", 3},
		{"a text too long", permission.StatementDraft{Text: ptr(strings.Repeat("a", 50_001)), Language: ptr("en")}, cur, "[/text too_long]", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, fs := tt.d.Apply(tt.cur)
			if places(fs) != tt.want || got.Version != tt.version {
				t.Errorf("got %s and version %d, want %s and %d", places(fs), got.Version, tt.want, tt.version)
			}
		})
	}
	for language, good := range map[string]bool{
		"en": true, "pt-BR": true, "zh-Hant-TW": true, "de-1996": true, "de-CH-x-phonebk": true,
		"": false, "e": false, "12": false, "en_GB": false, "en-": false, "-en": false, "e1": false, "én": false,
		"abcdefghi": false, "en-abcdefghi": false, "en-12345678-12345678-12345678-1234567": false,
	} {
		_, fs := permission.StatementDraft{Text: ptr("a"), Language: &language}.Apply(cur)
		if want := map[bool]string{true: "[]", false: "[/language invalid_language]"}[good]; places(fs) != want {
			t.Errorf("%q: got %s, want %s", language, places(fs), want)
		}
	}
}

func TestPolicyDraft_Apply(t *testing.T) {
	t.Parallel()
	cur := permission.Policy{ID: "pp-1", Reference: "privacy", URL: "https://example.org/a", Version: 2}
	for address, want := range map[string]string{
		"https://example.org/a":                  "[] 2",
		"https://example.org/b?c=d#e":            "[] 3",
		"https://example.org/" + "ä":             "[] 3",
		"http://example.org/":                    "[/url invalid_url] 3",
		"javascript:alert(1)":                    "[/url invalid_url] 3",
		"https://":                               "[/url invalid_url] 3",
		"https://a@example.org/":                 "[/url invalid_url] 3",
		"https://example.org/ ":                  "[/url invalid_url] 3",
		`https://example.org\@x`:                 "[/url invalid_url] 3",
		"":                                       "[/url invalid_url] 3",
		"/privacy":                               "[/url invalid_url] 3",
		"https://a/" + strings.Repeat("a", 1991): "[/url too_long] 3",
	} {
		got, fs := permission.PolicyDraft{URL: &address}.Apply(cur)
		if s := fmt.Sprint(places(fs), " ", got.Version); s != want {
			t.Errorf("%q: got %s, want %s", address, s, want)
		}
	}
	got, fs := permission.PolicyDraft{Reference: ptr("privacy"), Text: ptr("We keep\nlittle.")}.Apply(permission.Policy{})
	if want := (permission.Policy{Reference: "privacy", Text: "We keep\nlittle.", Version: 1}); len(fs) > 0 || got != want {
		t.Errorf("got %+v %s, want %+v", got, places(fs), want)
	}
	if got, _ := (permission.PolicyDraft{}).Apply(cur); got.Version != 3 || got.URL != "" {
		t.Errorf("got %+v, want a new version without an address", got)
	}
}
