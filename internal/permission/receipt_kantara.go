package permission

import (
	"slices"

	"github.com/consentwire/consentwire/internal/event"
)

// kantaraVersion is the version member. Source: Kantara Initiative, Consent
// Receipt Specification 1.1.0 (2018-02-20), by DOMAIN 4.8.
const kantaraVersion = "KI-CR-v1.1.0"

// The types of consent. Source: as above; consentType.
const (
	kantaraExplicit = "EXPLICIT"
	kantaraImplicit = "IMPLICIT" // a basis that asks for no answer
)

// The members of a Kantara receipt, in the order of DOMAIN 4.8. Left out:
// publicKey, for the key that signs changes while the receipt does not;
// onBehalf, piiControllerUrl, primaryPurpose and thirdPartyName, which nobody
// tells us.
type (
	kantaraData struct {
		Version          string              `json:"version"`
		Jurisdiction     string              `json:"jurisdiction"`
		ConsentTimestamp int64               `json:"consentTimestamp"` // Unix seconds, cut
		CollectionMethod string              `json:"collectionMethod"`
		ConsentReceiptID string              `json:"consentReceiptID"`
		Language         string              `json:"language,omitempty"`
		PIIPrincipalID   CitizenID           `json:"piiPrincipalId"`
		PIIControllers   []kantaraController `json:"piiControllers"`
		PolicyURL        string              `json:"policyUrl"`
		Services         []kantaraService    `json:"services"`
		Sensitive        bool                `json:"sensitive"`
		SPICat           []string            `json:"spiCat"`
	}
	kantaraController struct {
		PIIController string         `json:"piiController"`
		Contact       string         `json:"contact"`
		Address       kantaraAddress `json:"address"`
		Email         string         `json:"email"`
		Phone         string         `json:"phone"`
	}
	kantaraAddress struct {
		StreetAddress string `json:"streetAddress"`
	}
	kantaraService struct {
		Service  string           `json:"service"`
		Purposes []kantaraPurpose `json:"purposes"`
	}
	kantaraPurpose struct {
		Purpose              string   `json:"purpose"`
		PurposeCategory      []string `json:"purposeCategory"`
		ConsentType          string   `json:"consentType"`
		PIICategory          []string `json:"piiCategory"`
		Termination          string   `json:"termination"`
		ThirdPartyDisclosure bool     `json:"thirdPartyDisclosure"`
	}
)

// kantara returns the receipt as a Kantara one.
//
// That form has no place for a state: whatever it lists was agreed to. So the
// services hold only what the transaction allows, GRANTED and CLAIMED; what it
// refuses, withdraws or leaves pending is not there, and the list may be empty.
// Of a reversion it is what is allowed by it. The other forms tell the rest.
//
// A service is what one party does, its purposes are those of the options,
// joined where nothing but the data differs. consentTimestamp is when the last
// of the answers was obtained. sensitive and thirdPartyDisclosure are false,
// for nothing else was said.
func (r Receipt) kantara() kantaraData {
	about, _ := Concerned(r.Transaction, r.History)
	ss := r.says()
	d := kantaraData{
		Version: kantaraVersion, Jurisdiction: NotStated,
		CollectionMethod: stated(about.Origin.Channel), ConsentReceiptID: r.ID, Language: r.Statement.Language,
		PIIPrincipalID: r.Citizen.ID, PolicyURL: r.notice(), Services: []kantaraService{}, SPICat: []string{},
	}
	for _, c := range r.controllers(ss) {
		d.PIIControllers = append(d.PIIControllers, kantaraController{c.Name, NotStated, kantaraAddress{NotStated}, NotStated, NotStated})
	}
	if about.ID() != r.Transaction.ID() || len(about.Entries)+len(about.Choices) == 0 {
		d.ConsentTimestamp = r.Transaction.Origin.RecordedAt.Unix()
	} else {
		for _, e := range about.Entries {
			d.ConsentTimestamp = max(d.ConsentTimestamp, e.ObtainedAt.Unix())
		}
		for _, c := range about.Choices {
			d.ConsentTimestamp = max(d.ConsentTimestamp, c.ObtainedAt.Unix())
		}
	}
	for _, s := range ss {
		if !s.undone && (s.State == Granted || s.State == Claimed) {
			d.add(r, s.Entry)
		}
	}
	return d
}

// add counts one permission among the services.
func (d *kantaraData) add(r Receipt, e Entry) {
	o := r.option(e.Option)
	purpose, data, party := r.part(Purpose, o.PurposeID), r.part(Data, o.DataID), r.part(Party, o.PartyID)
	p := kantaraPurpose{
		Purpose: stated(purpose.Name), PurposeCategory: []string{stated(purpose.ID)}, ConsentType: kantaraImplicit,
		PIICategory: []string{stated(data.Name)}, Termination: termination(e),
	}
	if e.Justification == ByConsent {
		p.ConsentType = kantaraExplicit
	}
	name := stated(party.Name)
	i := slices.IndexFunc(d.Services, func(s kantaraService) bool { return s.Service == name })
	if i < 0 {
		i = len(d.Services)
		d.Services = append(d.Services, kantaraService{Service: name})
	}
	s := &d.Services[i]
	k := slices.IndexFunc(s.Purposes, func(q kantaraPurpose) bool {
		return q.Purpose == p.Purpose && q.PurposeCategory[0] == p.PurposeCategory[0] && q.ConsentType == p.ConsentType && q.Termination == p.Termination
	})
	if k < 0 {
		s.Purposes = append(s.Purposes, p)
		return
	}
	if q := &s.Purposes[k]; !slices.Contains(q.PIICategory, p.PIICategory[0]) {
		q.PIICategory = append(q.PIICategory, p.PIICategory[0])
	}
}

// termination says when a permission ends.
func termination(e Entry) string {
	switch consent := e.Justification == ByConsent; {
	case e.ValidUntil.IsZero() && consent:
		return "until withdrawn"
	case e.ValidUntil.IsZero():
		return NotStated
	case consent:
		return "until " + event.Format(e.ValidUntil) + ", or until withdrawn before"
	}
	return "until " + event.Format(e.ValidUntil)
}
