package permission

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/fault"
)

// Life says how far a part of the configuration is in its life.
type Life struct {
	Used       bool      // a transaction refers to it; never false again
	ArchivedAt time.Time // zero: it can be asked about
}

// Archived tells whether new transactions may no longer refer to it.
func (l Life) Archived() bool { return !l.ArchivedAt.IsZero() }

// Remove takes it out of use at now. With gone it may be deleted, for no
// transaction refers to it; else the result is archived, since when it first
// was.
//
// Source: DOMAIN 3.2 (archivable statements); issue 4: never deleted once used.
func (l Life) Remove(now time.Time) (next Life, gone bool) {
	if !l.Used {
		return l, true
	}
	if !l.Archived() {
		l.ArchivedAt = now
	}
	return l, false
}

// Restore takes it back into use.
func (l Life) Restore() Life {
	l.ArchivedAt = time.Time{}
	return l
}

// Kind says which of an option's three questions a Part answers.
type Kind string

// The kinds of parts: what, why and who.
const (
	Data    Kind = "data"
	Purpose Kind = "purpose"
	Party   Kind = "party"
)

// Part is what stands behind one of an option's three IDs. An ID that nobody
// named before is made with itself as its name (CONTRACT 9).
type Part struct {
	Kind Kind
	ID   string
	Name string
}

// PartDraft is what an owner may write on a part, read from a request but not
// checked.
type PartDraft struct {
	ID   *string
	Name *string
}

// Apply checks the draft and returns cur with its name. The ID may be left to
// the caller, who then fills in an empty one, and never changes.
func (d PartDraft) Apply(cur Part) (Part, []fault.Field) {
	var fs faults
	cur.ID = fs.own("/id", d.ID, cur.ID, true)
	cur.Name = fs.label("/name", d.Name, MaxName)
	return cur, fs
}

// Option is a permission that can be asked for: what, why and who.
type Option struct {
	Life
	ID          OptionID
	Name        string
	DataID      string
	PurposeID   string
	PartyID     string
	Description string
}

// Parts returns the parts of the option as they are made on first use.
func (o Option) Parts() []Part {
	return []Part{{Data, o.DataID, o.DataID}, {Purpose, o.PurposeID, o.PurposeID}, {Party, o.PartyID, o.PartyID}}
}

// OptionDraft is what an owner may write on an option, read from a request but
// not checked. A nil member was absent.
type OptionDraft struct {
	ID          *string // optionId
	Name        *string
	DataID      *string
	PurposeID   *string
	PartyID     *string
	Description *string
}

// Apply checks the draft and returns cur with all editable members replaced by
// it; cur is unchanged. A zero cur makes an option; its ID may be left to the
// caller. The triple of an option that a transaction refers to never changes:
// an answer would else be to another question.
func (d OptionDraft) Apply(cur Option) (Option, []fault.Field) {
	var fs faults
	next := cur
	next.ID = OptionID(fs.own("/optionId", d.ID, string(cur.ID), true))
	next.Name = fs.text("/name", d.Name, MaxName, false)
	next.DataID = fs.key("/dataId", d.DataID, MaxID)
	next.PurposeID = fs.key("/purposeId", d.PurposeID, MaxID)
	next.PartyID = fs.key("/partyId", d.PartyID, MaxID)
	if len(fs) == 0 {
		fs.fixed("/dataId", cur.Used, cur.DataID, next.DataID)
		fs.fixed("/purposeId", cur.Used, cur.PurposeID, next.PurposeID)
		fs.fixed("/partyId", cur.Used, cur.PartyID, next.PartyID)
	}
	next.Description = fs.text("/description", d.Description, MaxDescription, true)
	return next, fs
}

// Group is several options that are answered together.
type Group struct {
	Life
	ID      GroupID
	Name    string
	Options []OptionID
}

// GroupDraft is what an owner may write on a group.
type GroupDraft struct {
	ID      *string // groupId
	Name    *string
	Options []string // IDs of options
}

// Apply checks the draft and returns cur with all editable members replaced by
// it; cur is unchanged. The options may change even once the group is used:
// each transaction keeps what the group came to at its time. An archived
// option may stay in a group but not enter it.
func (d GroupDraft) Apply(cur Group, c *Catalogue) (Group, []fault.Field) {
	var fs faults
	next := cur
	next.ID = GroupID(fs.own("/groupId", d.ID, string(cur.ID), true))
	next.Name = fs.text("/name", d.Name, MaxName, false)
	next.Options = nil
	switch n := len(d.Options); {
	case n == 0:
		fs.add("/options", CodeRequired, "Name at least one option.")
	case n > MaxOptions:
		fs.add("/options", CodeTooMany, fmt.Sprintf("A group has at most %d options.", MaxOptions))
		return next, fs
	}
	for i, id := range d.Options {
		path := fmt.Sprintf("/options/%d", i)
		o, known := c.options[OptionID(id)]
		switch {
		case !known:
			fs.add(path, CodeUnknown, "There is no such option.")
		case slices.Contains(next.Options, o.ID):
			fs.add(path, CodeDuplicate, "The group has this option already.")
		case o.Archived() && !slices.Contains(cur.Options, o.ID):
			fs.add(path, CodeArchived, "This option is archived.")
		default:
			next.Options = append(next.Options, o.ID)
		}
	}
	return next, fs
}

// The types of a preference. Source: DOMAIN 3.2.
const (
	SingleChoice = "single-choice"
	MultiChoice  = "multi-choice"
)

// Alternative is one of the answers to a preference.
type Alternative struct {
	Reference string
	Label     string
}

// Preference is a wish that is no legal permission.
type Preference struct {
	Life
	Reference string // names it
	Label     string
	Type      string // SingleChoice or MultiChoice
	Choices   []Alternative
}

// PreferenceDraft is what an owner may write on a preference.
type PreferenceDraft struct {
	Reference *string
	Label     *string
	Type      *string
	Choices   []AlternativeDraft
}

// AlternativeDraft is one element of a preference's choices.
type AlternativeDraft struct {
	Reference *string
	Label     *string
}

// Apply checks the draft and returns cur with all editable members replaced by
// it; cur is unchanged. Once a transaction refers to the preference its type
// stays, and choices may be added and labels mended, but no choice goes.
func (d PreferenceDraft) Apply(cur Preference) (Preference, []fault.Field) {
	var fs faults
	next := cur
	next.Reference = fs.own("/reference", d.Reference, cur.Reference, false)
	next.Label = fs.label("/label", d.Label, MaxName)
	next.Type = fs.oneOf("/type", d.Type, SingleChoice, MultiChoice)
	if next.Type != "" {
		fs.fixed("/type", cur.Used, cur.Type, next.Type)
	}
	next.Choices = nil
	switch n := len(d.Choices); {
	case n == 0:
		fs.add("/choices", CodeRequired, "Give at least one choice.")
		return next, fs
	case n > MaxChoices:
		fs.add("/choices", CodeTooMany, fmt.Sprintf("A preference has at most %d choices.", MaxChoices))
		return next, fs
	}
	for i, c := range d.Choices {
		path := fmt.Sprintf("/choices/%d", i)
		a := Alternative{fs.key(path+"/reference", c.Reference, MaxID), fs.label(path+"/label", c.Label, MaxName)}
		if _, twice := alternative(next.Choices, a.Reference); twice && a.Reference != "" {
			fs.add(path+"/reference", CodeDuplicate, "The preference has a choice of this reference already.")
		}
		next.Choices = append(next.Choices, a)
	}
	for _, a := range cur.Choices {
		if _, stays := alternative(next.Choices, a.Reference); cur.Used && !stays {
			fs.add("/choices", CodeInUse, "A transaction refers to the preference, so the choice "+a.Reference+" must stay.")
		}
	}
	return next, fs
}

// alternative returns the one of that reference.
func alternative(as []Alternative, reference string) (Alternative, bool) {
	if i := slices.IndexFunc(as, func(a Alternative) bool { return a.Reference == reference }); i >= 0 {
		return as[i], true
	}
	return Alternative{}, false
}

// Statement is the text by which a citizen is asked.
type Statement struct {
	Life
	ID        StatementID
	Reference string // unique in its application
	Text      string
	Language  string // BCP 47; may be empty
	Version   int    // from 1; grows with each new text or language
}

// StatementDraft is what an owner may write on a statement.
type StatementDraft struct {
	Reference *string
	Text      *string
	Language  *string
}

// Apply checks the draft and returns cur with all editable members replaced by
// it; cur is unchanged. A zero cur makes a statement; the caller gives it an
// ID. When Version grows the former version is to be kept beside it, for
// transactions refer to what was shown.
func (d StatementDraft) Apply(cur Statement) (Statement, []fault.Field) {
	var fs faults
	next := cur
	next.Reference = fs.own("/reference", d.Reference, cur.Reference, false)
	if d.Text == nil || strings.TrimSpace(*d.Text) == "" {
		fs.required("/text")
	} else {
		next.Text = fs.text("/text", d.Text, MaxText, true)
	}
	next.Language = ""
	if d.Language != nil {
		next.Language = *d.Language
		if !IsLanguage(*d.Language) {
			fs.add("/language", CodeInvalidLanguage, `The language is a tag such as "en" or "pt-BR".`)
		}
	}
	if cur.Version == 0 || next.Text != cur.Text || next.Language != cur.Language {
		next.Version = cur.Version + 1
	}
	return next, fs
}

// Policy is a privacy policy that a citizen was shown.
type Policy struct {
	Life
	ID        PolicyID
	Reference string // unique in its application
	URL       string // may be empty
	Text      string // may be empty
	Version   int    // from 1; grows with each new address or text
}

// PolicyDraft is what an owner may write on a policy.
type PolicyDraft struct {
	Reference *string
	URL       *string
	Text      *string
}

// Apply checks the draft and returns cur with all editable members replaced by
// it, as StatementDraft.Apply does.
func (d PolicyDraft) Apply(cur Policy) (Policy, []fault.Field) {
	var fs faults
	next := cur
	next.Reference = fs.own("/reference", d.Reference, cur.Reference, false)
	next.URL = ""
	if d.URL != nil {
		next.URL = *d.URL
		switch {
		case utf8.RuneCountInString(*d.URL) > MaxURL:
			fs.add("/url", CodeTooLong, fmt.Sprintf("The address must have at most %d characters.", MaxURL))
		case !isLink(*d.URL):
			fs.add("/url", CodeInvalidURL, "The address must be an absolute https URL without user info.")
		}
	}
	next.Text = fs.text("/text", d.Text, MaxText, true)
	if cur.Version == 0 || next.URL != cur.URL || next.Text != cur.Text {
		next.Version = cur.Version + 1
	}
	return next, fs
}

// IsLanguage tells whether s has the general form of a tag of RFC 5646, section
// 2.1: letters, then subtags of letters and digits, at most MaxLanguage
// characters.
func IsLanguage(s string) bool {
	for i, sub := range strings.Split(s, "-") {
		digits := strings.ContainsFunc(sub, func(r rune) bool { return '0' <= r && r <= '9' })
		other := strings.ContainsFunc(sub, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
		})
		if sub == "" || len(sub) > 8 || other || i == 0 && (digits || len(sub) < 2) {
			return false
		}
	}
	return len(s) <= MaxLanguage
}

// isLink tells whether s is an address that may be shown as a link: a person
// opens it, we never do.
func isLink(s string) bool {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) || !utf8.ValidString(s) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}

// Catalogue is the configuration that a request is checked against. It is not
// changed once made; several may read it at a time.
type Catalogue struct {
	options      map[OptionID]Option
	groups       map[GroupID]Group
	preferences  map[string]Preference
	statements   map[StatementID]Statement
	statementIDs map[string]StatementID
	policies     map[PolicyID]Policy
	policyIDs    map[string]PolicyID
}

// NewCatalogue returns the configuration of one application, archived things
// included: they are then refused as such.
func NewCatalogue(os []Option, gs []Group, ps []Preference, ss []Statement, ls []Policy) *Catalogue {
	c := &Catalogue{
		options: make(map[OptionID]Option, len(os)), groups: make(map[GroupID]Group, len(gs)),
		preferences: make(map[string]Preference, len(ps)),
		statements:  make(map[StatementID]Statement, len(ss)), statementIDs: make(map[string]StatementID, len(ss)),
		policies: make(map[PolicyID]Policy, len(ls)), policyIDs: make(map[string]PolicyID, len(ls)),
	}
	for _, o := range os {
		c.options[o.ID] = o
	}
	for _, g := range gs {
		c.groups[g.ID] = g
	}
	for _, p := range ps {
		c.preferences[p.Reference] = p
	}
	for _, s := range ss {
		c.statements[s.ID], c.statementIDs[s.Reference] = s, s.ID
	}
	for _, l := range ls {
		c.policies[l.ID], c.policyIDs[l.Reference] = l, l.ID
	}
	return c
}
