package permission

import (
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// What a change is about. Source: DOMAIN 3.2, "Transactions".
const (
	TypeOption = "option"
	TypeGroup  = "group"
)

// Request asks to record a transaction, read from a request's body but not
// checked. A nil member was absent.
type Request struct {
	ExternalRef *string // or CitizenID; both must be the same citizen, which the caller checks
	CitizenID   *string
	Changes     []ChangeDraft // may be empty when Preferences is not
	Preferences []ChoiceDraft

	PolicyID     *string // privacyPolicyId
	PolicyRef    *string
	StatementID  *string // permissionStatementId
	StatementRef *string

	Channel       *string
	Campaign      *string
	RecordedBy    *string
	RecordedName  *string // recordedByName
	Authority     *string // delegatedAuthorityId
	AuthorityName *string

	// SendReceipt asks for the mail that tells of the receipt. It is no part of
	// what is recorded.
	SendReceipt bool
}

// ChangeDraft is one element of a request's changes.
type ChangeDraft struct {
	OptionType    *string // absent: "option"
	OptionID      *string // of the option or the group
	Justification *string
	State         *string
	ObtainedAt    *time.Time // absent: when it is recorded
	ValidFrom     *time.Time // absent: ObtainedAt
	ValidUntil    *time.Time // absent: for ever
}

// ChoiceDraft is one element of a request's preferences.
type ChoiceDraft struct {
	Preference *string
	Choices    []PickDraft // empty but not nil: no answer any more
	ObtainedAt *time.Time  // absent: when it is recorded
}

// PickDraft is one element of a preference's choices.
type PickDraft struct {
	Reference *string
}

// Basis is what a transaction has besides its request.
type Basis struct {
	ID         TransactionID
	Citizen    CitizenID
	Client     string // by whose credential
	ClientName string
	Now        time.Time // recordedAt; Standing.Clock gives it
}

// Transaction checks the request against the configuration and returns what it
// records. It is all or nothing: every fault is returned, its path a JSON
// Pointer into the request, and when there is one the transaction must not be
// used.
//
// A group's change becomes an entry for each of the options that the group has
// now, without the archived ones. An option or a preference may be named
// several times; which of the entries counts is Effective's rule. Times are
// cut to milliseconds before they are compared.
//
// Source: CONTRACT 6 and 9; DOMAIN 3.2 and 7.9, "permission change".
func (r Request) Transaction(b Basis, c *Catalogue) (Transaction, []fault.Field) {
	var fs faults
	now := b.Now.UTC().Truncate(time.Millisecond)
	fs.citizen(r)
	o := &Origin{Transaction: b.ID, RecordedAt: now}
	o.Actor.Client, o.Actor.ClientName = b.Client, b.ClientName
	t := Transaction{Citizen: b.Citizen, Origin: o}

	switch {
	case len(r.Changes) == 0 && len(r.Preferences) == 0:
		fs.add("/changes", CodeRequired, "Record at least one change or preference.")
	case len(r.Changes) > MaxChanges:
		fs.add("/changes", CodeTooMany, fmt.Sprintf("A transaction has at most %d changes.", MaxChanges))
	default:
		for i, d := range r.Changes {
			t.Entries = append(t.Entries, fs.change(d, i, o, c)...)
		}
		if len(t.Entries) > MaxEntries {
			fs.add("/changes", CodeTooMany, fmt.Sprintf("With its groups resolved a transaction changes at most %d options.", MaxEntries))
		}
	}
	if len(r.Preferences) > MaxPreferences {
		fs.add("/preferences", CodeTooMany, fmt.Sprintf("A transaction has at most %d preferences.", MaxPreferences))
	} else {
		for i, d := range r.Preferences {
			t.Choices = append(t.Choices, fs.choice(d, i, o, c))
		}
	}

	if id, path := refer(&fs, "/privacyPolicyId", r.PolicyID, "/privacyPolicyRef", r.PolicyRef, c.policyIDs); path != "" {
		p, known := c.policies[id]
		fs.usable(path, "privacy policy", known, p.Life)
		o.Policy, o.PolicyRef, o.PolicyVersion = p.ID, p.Reference, p.Version
	}
	if id, path := refer(&fs, "/permissionStatementId", r.StatementID, "/permissionStatementRef", r.StatementRef, c.statementIDs); path != "" {
		s, known := c.statements[id]
		fs.usable(path, "permission statement", known, s.Life)
		o.Statement, o.StatementRef, o.StatementVersion = s.ID, s.Reference, s.Version
	}
	o.Channel = fs.text("/channel", r.Channel, MaxChannel, false)
	o.Campaign = fs.text("/campaign", r.Campaign, MaxChannel, false)
	o.Actor.By = fs.text("/recordedBy", r.RecordedBy, MaxActor, false)
	o.Actor.ByName = fs.text("/recordedByName", r.RecordedName, MaxActor, false)
	o.Actor.Authority = fs.text("/delegatedAuthorityId", r.Authority, MaxActor, false)
	o.Actor.AuthorityName = fs.text("/delegatedAuthorityName", r.AuthorityName, MaxActor, false)
	if len(fs) > 0 {
		return Transaction{}, fs
	}
	return t, nil
}

func (fs *faults) citizen(r Request) {
	if r.ExternalRef == nil && r.CitizenID == nil {
		fs.add("/externalRef", CodeRequired, "Name the citizen by externalRef or citizenId.")
		return
	}
	if r.ExternalRef != nil {
		fs.key("/externalRef", r.ExternalRef, MaxCitizenRef)
	}
	if r.CitizenID != nil {
		fs.key("/citizenId", r.CitizenID, MaxCitizenRef)
	}
}

// change checks the change at place i and returns the entries that it comes to.
func (fs *faults) change(d ChangeDraft, i int, o *Origin, c *Catalogue) []Entry {
	path := fmt.Sprintf("/changes/%d", i)
	e := Entry{Place: i, Origin: o}
	options := fs.options(path, d, c, &e)

	var js []string
	for _, j := range Justifications() {
		js = append(js, string(j))
	}
	e.Justification = Justification(fs.oneOf(path+"/justification", d.Justification, js...))
	if allowed := e.Justification.States(); len(allowed) > 0 {
		e.State = fs.state(path+"/state", d.State, e.Justification, allowed)
	} else if d.State == nil || *d.State == "" {
		fs.required(path + "/state")
	}

	before := len(*fs)
	e.ObtainedAt = fs.obtained(path+"/obtainedAt", d.ObtainedAt, o.RecordedAt)
	e.ValidFrom = e.ObtainedAt
	if d.ValidFrom != nil {
		e.ValidFrom = fs.time(path+"/validFrom", *d.ValidFrom)
	}
	if d.ValidUntil != nil {
		e.ValidUntil = fs.time(path+"/validUntil", *d.ValidUntil)
		if len(*fs) == before && !e.ValidUntil.After(e.ValidFrom) {
			fs.add(path+"/validUntil", CodeOutOfRange, "It must be later than validFrom, which by default is obtainedAt.")
		}
	}

	out := make([]Entry, len(options))
	for k, id := range options {
		out[k] = e
		out[k].Option = id
	}
	return out
}

// options returns the options that a change is about.
func (fs *faults) options(path string, d ChangeDraft, c *Catalogue, e *Entry) []OptionID {
	kind := TypeOption
	if d.OptionType != nil {
		kind = fs.oneOf(path+"/optionType", d.OptionType, TypeOption, TypeGroup)
	}
	path += "/optionId"
	switch {
	case d.OptionID == nil || *d.OptionID == "":
		fs.required(path)
	case kind == TypeOption:
		option, known := c.options[OptionID(*d.OptionID)]
		fs.usable(path, "option", known, option.Life)
		return []OptionID{option.ID}
	case kind == TypeGroup:
		g, known := c.groups[GroupID(*d.OptionID)]
		if !fs.usable(path, "group of options", known, g.Life) {
			return nil
		}
		e.Group = g.ID
		var ids []OptionID
		for _, id := range g.Options {
			if option, known := c.options[id]; known && !option.Archived() {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			fs.add(path, CodeArchived, "All options of this group are archived.")
		}
		return ids
	}
	return nil
}

func (fs *faults) state(path string, s *string, j Justification, allowed []State) State {
	if s == nil || *s == "" {
		fs.required(path)
		return ""
	}
	list := ""
	for _, a := range allowed {
		if *s == string(a) {
			return a
		}
		list += ", " + string(a)
	}
	fs.add(path, CodeNotAllowed, "With the justification "+string(j)+" the state is one of "+list[2:]+".")
	return ""
}

// obtained checks when an answer was given; now when it is absent.
func (fs *faults) obtained(path string, t *time.Time, now time.Time) time.Time {
	if t == nil {
		return now
	}
	at := fs.time(path, *t)
	if at.Year() <= maxYear && at.After(now.Add(MaxAhead)) {
		fs.add(path, CodeInFuture, "It must lie at most 5 minutes in the future.")
	}
	return at
}

// choice checks the preference at place i.
func (fs *faults) choice(d ChoiceDraft, i int, o *Origin, c *Catalogue) Choice {
	path := fmt.Sprintf("/preferences/%d", i)
	out := Choice{Place: i, Origin: o}
	if d.Preference == nil || *d.Preference == "" {
		fs.required(path + "/preference")
	} else {
		p, known := c.preferences[*d.Preference]
		if fs.usable(path+"/preference", "preference", known, p.Life) {
			out.Preference, out.Label = p.Reference, p.Label
			out.Chosen = fs.picks(path+"/choices", d.Choices, p)
		}
	}
	if d.Choices == nil {
		fs.required(path + "/choices")
	}
	out.ObtainedAt = fs.obtained(path+"/obtainedAt", d.ObtainedAt, o.RecordedAt)
	return out
}

func (fs *faults) picks(path string, ds []PickDraft, p Preference) []Alternative {
	switch {
	case p.Type == SingleChoice && len(ds) > 1:
		fs.add(path, CodeTooMany, "This preference has a single choice.")
		return nil
	case len(ds) > MaxChoices:
		fs.add(path, CodeTooMany, fmt.Sprintf("At most %d choices.", MaxChoices))
		return nil
	}
	var out []Alternative
	for i, d := range ds {
		at := fmt.Sprintf("%s/%d/reference", path, i)
		if d.Reference == nil || *d.Reference == "" {
			fs.required(at)
			continue
		}
		a, known := alternative(p.Choices, *d.Reference)
		_, twice := alternative(out, *d.Reference)
		switch {
		case !known:
			fs.add(at, CodeUnknown, "The preference has no such choice.")
		case twice:
			fs.add(at, CodeDuplicate, "The list names this choice twice.")
		default:
			out = append(out, a)
		}
	}
	return out
}

// usable notes a fault when a thing cannot be referred to.
func (fs *faults) usable(path, what string, known bool, l Life) bool {
	switch {
	case !known:
		fs.add(path, CodeUnknown, "There is no such "+what+".")
	case l.Archived():
		fs.add(path, CodeArchived, "This "+what+" is archived.")
	default:
		return true
	}
	return false
}

// refer returns the ID of what a request names by ID, by reference, or by
// both, and the path of the member that names it; an empty path when it names
// nothing, or its fault is noted.
func refer[I ~string](fs *faults, idPath string, id *string, refPath string, ref *string, ids map[string]I) (I, string) {
	if ref == nil {
		if id == nil {
			return "", ""
		}
		return I(*id), idPath
	}
	found, known := ids[*ref]
	switch {
	case !known:
		fs.add(refPath, CodeUnknown, "There is nothing of this reference.")
		return "", ""
	case id != nil && I(*id) != found:
		fs.add(idPath, CodeMismatch, "The ID and the reference name two things.")
		return "", ""
	}
	return found, refPath
}
