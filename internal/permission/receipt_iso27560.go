package permission

import (
	"slices"

	"github.com/consentwire/consentwire/internal/event"
)

// The header's fixed values. The terms of lawful_basis, party_role, event_type
// and event_state are those of the vocabulary, without its prefix.
const (
	isoSchema     = "ISO/IEC TS 27560:2023"
	isoVocabulary = "https://w3id.org/dpv#"
)

// The statuses of consents and of legitimate interests. Source: W3C Data
// Privacy Vocabulary 2.1, ConsentStatus and LegitimateInterestStatus; the
// consent's by DOMAIN 4.8.
const (
	dpvRequested   = "ConsentRequested"
	dpvGiven       = "ConsentGiven"
	dpvRefused     = "ConsentRefused"
	dpvWithdrawn   = "ConsentWithdrawn"
	dpvExpired     = "ConsentExpired"
	dpvInvalidated = "ConsentInvalidated"
	dpvObjected    = "LegitimateInterestObjected"
	dpvNotObjected = "LegitimateInterestNotObjected"
	isoReverted    = "REVERTED" // ours
)

// The sections of a record and their fields, mandatory ones always there.
// Source: ISO/IEC TS 27560:2023, 6.3 and 6.4, by DOMAIN 4.8 and the W3C guide
// "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV". How
// sections are arranged is left to whoever writes them. Ours beside the
// standard's: vocabulary, and option_id, which says to which purpose an event
// belongs.
type (
	isoData struct {
		Header     isoHeader     `json:"header"`
		Processing isoProcessing `json:"processing"`
		Parties    []isoParty    `json:"parties"`
		Events     []isoEvent    `json:"events"`
	}
	isoHeader struct {
		SchemaVersion  string        `json:"schema_version"`
		ReceiptID      string        `json:"receipt_id"`
		RecordID       TransactionID `json:"record_id"`
		PIIPrincipalID CitizenID     `json:"pii_principal_id"`
		Vocabulary     string        `json:"vocabulary"`
	}
	isoProcessing struct {
		PrivacyNotice string       `json:"privacy_notice"`
		Language      string       `json:"language"`
		Purposes      []isoPurpose `json:"purposes"`
	}
	isoPurpose struct {
		OptionID         OptionID   `json:"option_id"`
		Purpose          string     `json:"purpose"`
		LawfulBasis      string     `json:"lawful_basis"`
		PIIInformation   []isoPII   `json:"pii_information"`
		PIIControllers   []string   `json:"pii_controllers"` // party_id
		CollectionMethod string     `json:"collection_method,omitempty"`
		StorageLocations []string   `json:"storage_locations"`
		RetentionPeriod  string     `json:"retention_period"`
		Jurisdiction     string     `json:"jurisdiction"`
		Recipients       []struct{} `json:"recipient_third_parties"` // none is ever told
		WithdrawalMethod string     `json:"withdrawal_method"`
	}
	isoPII struct {
		Type        string `json:"pii_type"`
		AttributeID string `json:"pii_attribute_id"`
	}
	isoParty struct {
		ID      string `json:"party_id"`
		Address string `json:"party_address"`
		Name    string `json:"party_name"`
		Role    string `json:"party_role"`
		Contact string `json:"party_contact"`
		Type    string `json:"party_type"`
	}
	isoEvent struct {
		OptionID         OptionID `json:"option_id"`
		Time             string   `json:"event_time"`
		ValidityDuration string   `json:"validity_duration"`
		EntityID         string   `json:"entity_id"`
		Type             string   `json:"event_type"`
		State            string   `json:"event_state"`
	}
)

// iso27560 returns the receipt as a copy of the consent record.
//
// Each change is a purpose and an event. Preferences are no permissions, so
// there is nothing of them. The events of a reversion say what is in force by
// it, of each option of the transaction that it is about.
func (r Receipt) iso27560() isoData {
	about, _ := Concerned(r.Transaction, r.History)
	o, ss := about.Origin, r.says()
	d := isoData{
		Header: isoHeader{isoSchema, r.ID, r.Transaction.ID(), r.Citizen.ID, isoVocabulary},
		Processing: isoProcessing{
			PrivacyNotice: r.notice(), Language: stated(r.Statement.Language), Purposes: make([]isoPurpose, 0, len(ss)),
		},
		Events: make([]isoEvent, len(ss)),
	}
	for _, c := range r.controllers(ss) {
		d.Parties = append(d.Parties, isoParty{c.ID, NotStated, c.Name, "DataController", NotStated, "PII controller"})
	}
	if o.Actor.Authority != "" {
		d.Parties = append(d.Parties, isoParty{o.Actor.Authority, NotStated, stated(o.Actor.AuthorityName), "Representative", NotStated, "representative"})
	}
	for i, s := range ss {
		option := r.option(s.Option)
		data := r.part(Data, option.DataID)
		p := isoPurpose{
			OptionID: s.Option, Purpose: stated(r.part(Purpose, option.PurposeID).Name), LawfulBasis: basisTerm(s.Justification),
			PIIInformation: []isoPII{{stated(data.Name), stated(data.ID)}}, PIIControllers: []string{stated(option.PartyID)},
			CollectionMethod: o.Channel, StorageLocations: []string{NotStated}, RetentionPeriod: NotStated, Jurisdiction: NotStated,
			Recipients: []struct{}{}, WithdrawalMethod: NotStated,
		}
		if !slices.ContainsFunc(d.Processing.Purposes, func(q isoPurpose) bool { return q.OptionID == p.OptionID && q.LawfulBasis == p.LawfulBasis }) {
			d.Processing.Purposes = append(d.Processing.Purposes, p)
		}
		d.Events[i] = isoEvent{
			OptionID: s.Option, Time: event.Format(s.ObtainedAt), ValidityDuration: duration(s.Entry),
			EntityID: r.entity(s.Entry, option), Type: basisTerm(s.Justification), State: r.status(s),
		}
		if by := r.Transaction.Origin; r.Transaction.Reverts != "" {
			d.Events[i].Time, d.Events[i].EntityID = event.Format(by.RecordedAt), stated(by.Actor.Client)
		}
	}
	return d
}

// entity returns who said so: the controller where the basis is one that it
// claims; else who acts for the citizen, or the citizen.
func (r Receipt) entity(e Entry, o Option) string {
	switch {
	case e.State == Claimed || e.State == ObjectionUpheld:
		return stated(o.PartyID)
	case e.Origin.Actor.Authority != "":
		return e.Origin.Actor.Authority
	}
	return string(r.Citizen.ID)
}

// duration returns from when to when an entry is valid. Source: ISO 8601-1,
// 5.5.2, and ISO 8601-2 for the open end.
func duration(e Entry) string {
	if e.ValidUntil.IsZero() {
		return event.Format(e.ValidFrom) + "/.."
	}
	return event.Format(e.ValidFrom) + "/" + event.Format(e.ValidUntil)
}

// status returns the event's state.
//
// A denial is a withdrawal when it takes a grant back: one that was recorded
// before it and counted then, was obtained no later, and had not lapsed. A
// grant that had lapsed already when it was recorded is an expired consent.
// What is no consent and has no term in the vocabulary is called as we do:
// CLAIMED on a basis that nobody can object to, and REVERTED.
//
// Source: DOMAIN 4.8; the project's mapping.
func (r Receipt) status(s said) string {
	switch e := s.Entry; {
	case s.undone && e.Justification == ByConsent:
		return dpvInvalidated
	case s.undone:
		return isoReverted
	case e.State == Granted && !e.ValidUntil.IsZero() && !e.ValidUntil.After(e.Origin.RecordedAt):
		return dpvExpired
	case e.State == Granted:
		return dpvGiven
	case e.State == Pending:
		return dpvRequested
	case e.State == Denied && r.takesBack(e):
		return dpvWithdrawn
	case e.State == Denied:
		return dpvRefused
	case e.Justification != ByInterest:
		return string(e.State)
	case e.State == Claimed:
		return dpvNotObjected
	}
	return dpvObjected
}

// takesBack tells whether e, a denial, ends a grant.
func (r Receipt) takesBack(e Entry) bool {
	ends := func(g Entry) bool {
		return g.Option == e.Option && g.State == Granted && !g.ObtainedAt.After(e.ObtainedAt) &&
			(g.ValidUntil.IsZero() || g.ValidUntil.After(e.ObtainedAt))
	}
	i := slices.IndexFunc(r.History, func(t Transaction) bool { return t.ID() == e.Origin.Transaction })
	if i < 0 {
		return false
	}
	for _, t := range Counting(r.History[:i]) {
		if slices.ContainsFunc(t.Entries, ends) {
			return true
		}
	}
	return slices.ContainsFunc(r.History[i].Entries, func(g Entry) bool { return g.Place < e.Place && ends(g) })
}

// basisTerm returns the vocabulary's term for a lawful basis.
func basisTerm(j Justification) string {
	switch j {
	case ByConsent:
		return "Consent"
	case ByInterest:
		return "LegitimateInterest"
	case ByContract:
		return "Contract"
	case ByPublicInterest:
		return "PublicInterest"
	case ByVitalInterest:
		return "VitalInterest"
	case ByLegalObligation:
		return "LegalObligation"
	}
	return string(j)
}
