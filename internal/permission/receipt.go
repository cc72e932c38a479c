package permission

import (
	"cmp"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// ReceiptForm is a form in which a receipt can be given.
type ReceiptForm string

// The forms. Source: CONTRACT 6.
const (
	ReceiptNative   ReceiptForm = "native"
	ReceiptKantara  ReceiptForm = "kantara"
	ReceiptISO27560 ReceiptForm = "iso27560"
)

// ReceiptForms returns all forms, the default first.
func ReceiptForms() []ReceiptForm {
	return []ReceiptForm{ReceiptNative, ReceiptKantara, ReceiptISO27560}
}

// NotStated stands in a receipt where its form demands a text and nobody told
// us one. Source: Kantara Consent Receipt 1.1.0, which wants these texts not
// empty; ISO/IEC TS 27560:2023, whose mandatory fields have no value for it.
const NotStated = "not stated"

// Receipt is what a person may keep of one transaction. It says what was
// recorded, as it was recorded: nothing in it depends on the time at which it
// is asked for, or on what was recorded later.
//
// What a transaction keeps comes from it: its times, states, actors, the labels
// of preferences. The texts of statement and policy are those of the versions
// that it names. Names that have no versions are those of today: of options,
// groups, parts, the application, and the citizen's ExternalRef. So a receipt
// has the same bytes each time, until one of these is renamed.
type Receipt struct {
	ID              string // a UUID, always the same for the transaction
	Citizen         Citizen
	ApplicationName string
	Transaction     Transaction
	History         []Transaction // the citizen's, in the order recorded
	Catalogue       *Catalogue
	Parts           []Part    // of all kinds
	Statement       Statement // in the version that Concerned names; zero: it names none
	Policy          Policy    // likewise

	names map[Part]string // of Parts, by kind and ID
}

// Body returns the receipt in a form; nil in one that does not exist.
func (r Receipt) Body(f ReceiptForm) []byte {
	r.names = make(map[Part]string, len(r.Parts))
	for _, p := range r.Parts {
		r.names[Part{Kind: p.Kind, ID: p.ID}] = p.Name
	}
	switch f {
	case ReceiptNative:
		return encode(r.native())
	case ReceiptKantara:
		return encode(r.kantara())
	case ReceiptISO27560:
		return encode(r.iso27560())
	}
	return nil
}

// Concerned returns the transaction whose entries t is about: itself, or for a
// reversion the one that in the end it takes back or, with again, lets count
// again. A reversion whose history lacks that is about itself.
func Concerned(t Transaction, history []Transaction) (about Transaction, again bool) {
	about, again = t, true
	for about.Reverts != "" {
		i := slices.IndexFunc(history, func(x Transaction) bool { return x.ID() == about.Reverts })
		if i < 0 {
			return t, false
		}
		about, again = history[i], !again
	}
	return about, again
}

// option returns an option, with its ID alone when it is not known.
func (r Receipt) option(id OptionID) Option {
	if o, known := r.Catalogue.options[id]; known {
		return o
	}
	return Option{ID: id}
}

// part returns what stands behind an option's ID, with the ID as its name when
// nobody named it.
func (r Receipt) part(k Kind, id string) partData {
	if name, known := r.names[Part{Kind: k, ID: id}]; known {
		return partData{id, name}
	}
	return partData{id, id}
}

// said is an entry as a receipt shows it.
type said struct {
	Entry
	undone bool // it counts no more, and nothing is in force in its place
}

// says returns what the transaction says: its entries; for a reversion what is
// in force by it, of each option of the transaction that it is about.
func (r Receipt) says() []said {
	about, again := Concerned(r.Transaction, r.History)
	out := make([]said, 0, len(about.Entries))
	if about.ID() == r.Transaction.ID() {
		for _, e := range about.Entries {
			out = append(out, said{Entry: e})
		}
		return out
	}
	var counting []Entry
	i := slices.IndexFunc(r.History, func(x Transaction) bool { return x.ID() == r.Transaction.ID() })
	for _, t := range Counting(r.History[:i+1]) {
		counting = append(counting, t.Entries...)
	}
	inForce := Effective(counting, r.Transaction.Origin.RecordedAt)
	for _, e := range about.Entries {
		if slices.ContainsFunc(out, func(s said) bool { return s.Option == e.Option }) {
			continue
		}
		x := said{e, !again}
		if k, found := slices.BinarySearchFunc(inForce, e.Option, func(e Entry, id OptionID) int { return cmp.Compare(e.Option, id) }); found {
			x = said{inForce[k], false}
		}
		out = append(out, x)
	}
	return out
}

// controllers returns the parties of what is said, each once, in their order;
// the application when there is none.
func (r Receipt) controllers(ss []said) []partData {
	var out []partData
	for _, s := range ss {
		p := r.part(Party, r.option(s.Option).PartyID)
		if p.ID != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if out == nil {
		return []partData{{r.Citizen.Application, stated(r.ApplicationName)}}
	}
	return out
}

// notice returns where the policy can be read: its address, or which one it
// is.
func (r Receipt) notice() string { return stated(r.Policy.URL) }

func stated(s string) string {
	if s == "" {
		return NotStated
	}
	return s
}

// The members of the native form. They are named as those of a transaction; a
// text that was not said is left out.
type (
	receiptData struct {
		ReceiptID       string    `json:"receiptId"`
		ApplicationID   string    `json:"applicationId"`
		ApplicationName string    `json:"applicationName,omitempty"`
		CitizenID       CitizenID `json:"citizenId"`
		ExternalRef     string    `json:"externalRef,omitempty"`
		recordData
		Reverts  TransactionID `json:"reverts,omitempty"`
		Concerns *concernData  `json:"concerns,omitempty"`
	}
	// concernData is what a reversion is about.
	concernData struct {
		recordData
		CountsAgain bool `json:"countsAgain"`
	}
	recordData struct {
		TransactionID       TransactionID  `json:"transactionId"`
		RecordedAt          string         `json:"recordedAt"`
		Changes             []changeData   `json:"changes"`
		Preferences         []answerData   `json:"preferences"`
		PrivacyPolicy       *policyData    `json:"privacyPolicy,omitempty"`
		PermissionStatement *statementData `json:"permissionStatement,omitempty"`
		Channel             string         `json:"channel,omitempty"`
		Campaign            string         `json:"campaign,omitempty"`
		RecordedBy          string         `json:"recordedBy,omitempty"`
		RecordedByName      string         `json:"recordedByName,omitempty"`
		RecordedClient      string         `json:"recordedClient,omitempty"`
		RecordedClientName  string         `json:"recordedClientName,omitempty"`
		AuthorityID         string         `json:"delegatedAuthorityId,omitempty"`
		AuthorityName       string         `json:"delegatedAuthorityName,omitempty"`
	}
	changeData struct {
		OptionID      OptionID      `json:"optionId"`
		OptionName    string        `json:"optionName,omitempty"`
		Data          partData      `json:"data"`
		Purpose       partData      `json:"purpose"`
		Party         partData      `json:"party"`
		GroupID       GroupID       `json:"groupId,omitempty"`
		GroupName     string        `json:"groupName,omitempty"`
		Justification Justification `json:"justification"`
		State         State         `json:"state"`
		ObtainedAt    string        `json:"obtainedAt"`
		ValidFrom     string        `json:"validFrom"`
		ValidUntil    string        `json:"validUntil,omitempty"`
	}
	answerData struct {
		preferenceData
		ObtainedAt string `json:"obtainedAt"`
	}
	policyData struct {
		ID        PolicyID `json:"privacyPolicyId"`
		Reference string   `json:"reference"`
		Version   int      `json:"version"`
		URL       string   `json:"url,omitempty"`
		Text      string   `json:"text,omitempty"`
	}
	statementData struct {
		ID        StatementID `json:"permissionStatementId"`
		Reference string      `json:"reference"`
		Version   int         `json:"version"`
		Text      string      `json:"text"`
		Language  string      `json:"language,omitempty"`
	}
	partData struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
)

// native is our own form: all that the transaction says, and for a reversion
// all that the one says that it is about.
func (r Receipt) native() receiptData {
	d := receiptData{
		ReceiptID: string(r.Transaction.ID()), ApplicationID: r.Citizen.Application, ApplicationName: r.ApplicationName,
		CitizenID: r.Citizen.ID, ExternalRef: r.Citizen.ExternalRef,
		recordData: r.record(r.Transaction), Reverts: r.Transaction.Reverts,
	}
	if about, again := Concerned(r.Transaction, r.History); about.ID() != r.Transaction.ID() {
		d.Concerns = &concernData{r.record(about), again}
	}
	return d
}

func (r Receipt) record(t Transaction) recordData {
	o := t.Origin
	d := recordData{
		TransactionID: t.ID(), RecordedAt: event.Format(o.RecordedAt),
		Changes: make([]changeData, len(t.Entries)), Preferences: make([]answerData, len(t.Choices)),
		Channel: o.Channel, Campaign: o.Campaign,
		RecordedBy: o.Actor.By, RecordedByName: o.Actor.ByName, RecordedClient: o.Actor.Client, RecordedClientName: o.Actor.ClientName,
		AuthorityID: o.Actor.Authority, AuthorityName: o.Actor.AuthorityName,
	}
	if o.Policy != "" {
		d.PrivacyPolicy = &policyData{o.Policy, o.PolicyRef, o.PolicyVersion, r.Policy.URL, r.Policy.Text}
	}
	if o.Statement != "" {
		d.PermissionStatement = &statementData{o.Statement, o.StatementRef, o.StatementVersion, r.Statement.Text, r.Statement.Language}
	}
	for i, e := range t.Entries {
		option := r.option(e.Option)
		d.Changes[i] = changeData{
			OptionID: e.Option, OptionName: option.Name,
			Data: r.part(Data, option.DataID), Purpose: r.part(Purpose, option.PurposeID), Party: r.part(Party, option.PartyID),
			GroupID: e.Group, GroupName: r.Catalogue.groups[e.Group].Name, Justification: e.Justification, State: e.State,
			ObtainedAt: event.Format(e.ObtainedAt), ValidFrom: event.Format(e.ValidFrom), ValidUntil: until(e.ValidUntil),
		}
	}
	for i, c := range t.Choices {
		a := preferenceData{c.Preference, c.Label, make([]choiceData, len(c.Chosen))}
		for k, chosen := range c.Chosen {
			a.Choices[k] = choiceData(chosen)
		}
		d.Preferences[i] = answerData{a, event.Format(c.ObtainedAt)}
	}
	return d
}

// until returns an end, empty when there is none.
func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return event.Format(t)
}
