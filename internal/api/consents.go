package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// consentBody is a consent as its application reads it. Source: the resource
// of the Consents API 3.3.1 (DOMAIN 2.1), with what we keep beside it.
type consentBody struct {
	ID                   string          `json:"id"`
	ConsentID            string          `json:"consentId"`
	Type                 string          `json:"type"`
	Status               string          `json:"status"` // the official view
	LifecycleStatus      string          `json:"lifecycleStatus"`
	Version              int64           `json:"version"`
	Permissions          []string        `json:"permissions,omitempty"`
	LoggedUser           personBody      `json:"loggedUser"`
	BusinessEntity       *personBody     `json:"businessEntity,omitempty"`
	CitizenID            string          `json:"citizenId,omitempty"`
	Payment              *paymentBody    `json:"payment,omitempty"`
	Creditor             *creditorBody   `json:"creditor,omitempty"`
	Approvers            int             `json:"approvers"`
	ApprovedBy           []string        `json:"approvedBy"` // an unnamed approver is ""
	CreationDateTime     string          `json:"creationDateTime"`
	StatusUpdateDateTime string          `json:"statusUpdateDateTime"`
	ExpirationDateTime   string          `json:"expirationDateTime,omitempty"`
	Deadline             string          `json:"deadline,omitempty"` // when it expires if nothing happens before
	ApprovalDeadline     string          `json:"approvalDeadline"`
	ApproversDeadline    string          `json:"approversDeadline,omitempty"`
	ConsumptionDeadline  string          `json:"consumptionDeadline,omitempty"`
	AuthorisedAt         string          `json:"authorisedAt,omitempty"`
	ConsumedAt           string          `json:"consumedAt,omitempty"`
	Rejection            *rejectionBody  `json:"rejection,omitempty"`
	Extensions           []extensionBody `json:"extensions,omitempty"`
}

type personBody struct {
	Document documentBody `json:"document"`
}

type documentBody struct {
	Identification string `json:"identification"`
	Rel            string `json:"rel"`
}

type paymentBody struct {
	Type     string `json:"type"`
	Currency string `json:"currency"`
	Amount   string `json:"amount"`
}

type creditorBody struct {
	PersonType string `json:"personType,omitempty"`
	CpfCnpj    string `json:"cpfCnpj,omitempty"`
	Name       string `json:"name"`
}

type rejectionBody struct {
	RejectedBy string     `json:"rejectedBy"`
	Reason     reasonBody `json:"reason"`
}

type reasonBody struct {
	Code                  string `json:"code"`
	AdditionalInformation string `json:"additionalInformation,omitempty"`
}

type extensionBody struct {
	RequestDateTime            string `json:"requestDateTime"`
	ExpirationDateTime         string `json:"expirationDateTime,omitempty"`
	PreviousExpirationDateTime string `json:"previousExpirationDateTime,omitempty"`
}

func consentOf(c consent.Consent) consentBody {
	b := consentBody{
		ID: string(c.ID), ConsentID: c.ConsentID, Type: string(c.Type),
		Status: c.OfficialStatus(), LifecycleStatus: string(c.Status), Version: c.Version,
		Permissions: c.Permissions, LoggedUser: personBody{documentBody(c.LoggedUser)},
		CitizenID: c.CitizenID,
		Payment:   (*paymentBody)(c.Payment), Creditor: (*creditorBody)(c.Creditor),
		Approvers: c.Approvers, ApprovedBy: c.ApprovedBy,
		CreationDateTime:     event.Format(c.CreatedAt),
		StatusUpdateDateTime: event.Format(c.StatusUpdatedAt),
		ExpirationDateTime:   when(c.ExpiresAt),
		Deadline:             when(c.Deadline),
		ApprovalDeadline:     event.Format(c.ApprovalDeadline),
		ApproversDeadline:    when(c.ApproversDeadline),
		ConsumptionDeadline:  when(c.ConsumeDeadline),
		AuthorisedAt:         when(c.AuthorisedAt),
		ConsumedAt:           when(c.ConsumedAt),
	}
	if b.ApprovedBy == nil {
		b.ApprovedBy = []string{}
	}
	if c.BusinessEntity != nil {
		b.BusinessEntity = &personBody{documentBody(*c.BusinessEntity)}
	}
	if j := c.Rejection; j != nil {
		b.Rejection = &rejectionBody{j.By, reasonBody{j.Code, j.AdditionalInformation}}
	}
	for _, x := range c.Extensions {
		b.Extensions = append(b.Extensions, extensionBody{event.Format(x.RequestedAt), when(x.ExpiresAt), when(x.PreviousExpiresAt)})
	}
	return b
}

// when formats an instant; a zero one is absent.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return event.Format(t)
}

func (s *server) createConsent(c *call) (reply, error) {
	key, err := idempotencyKey(c.r)
	if err != nil {
		return reply{}, err
	}
	raw, err := c.raw(mediaJSON)
	if err != nil {
		return reply{}, err
	}
	req, err := readConsent(raw)
	if err != nil {
		return reply{}, err
	}
	answer, err := s.App.CreateConsent(c.ctx(), c.app, req, app.Keyed{Key: key, Route: c.op.method + " " + c.op.path, Body: raw},
		func(made consent.Consent) (app.Answer, error) {
			b, err := encode(consentOf(made))
			return app.Answer{Status: http.StatusCreated, Body: b}, err
		})
	if err != nil {
		return reply{}, err
	}
	return reply{status: answer.Status, raw: answer.Body, location: consentLocation(answer.Body)}, nil
}

// consentLocation returns the path of the consent in a stored answer, empty
// when it cannot be told.
func consentLocation(answer []byte) string {
	var b struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(answer, &b) != nil || b.ID == "" {
		return ""
	}
	return "/v1/consents/" + url.PathEscape(b.ID)
}

// maxKey is the length of an Idempotency-Key. Source: CONTRACT 4.
const maxKey = 255

const headerKey = "Idempotency-Key"

// idempotencyKey returns the request's key, empty when it has none.
func idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header.Values(headerKey)
	if len(keys) == 0 {
		return "", nil
	}
	if k := keys[0]; len(keys) == 1 && k != "" && len(k) <= maxKey && !strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return k, nil
	}
	return "", fault.At(fault.Invalid, "invalid_idempotency_key", headerKey, "An Idempotency-Key is one value of 1 to 255 visible ASCII characters.")
}

// readConsent reads the request for a consent. Faults of its shape are told
// together.
func readConsent(raw []byte) (consent.Request, error) {
	o, err := body.ParseObject(raw)
	if err != nil {
		return consent.Request{}, err
	}
	r := consent.Request{Type: consent.Data, Approvers: 1}
	if t := o.OptStr("type"); t != nil {
		r.Type = consent.Type(*t)
	}
	r.Permissions = o.Strings("permissions", body.Optional)
	user := readDocument(o, "loggedUser")
	if user != nil {
		r.LoggedUser = *user
	}
	r.BusinessEntity = readDocument(o, "businessEntity")
	r.ExpiresAt = o.Time("expirationDateTime", body.Optional)
	r.CitizenID = o.Str("citizenId", body.Optional, body.Chars(1, 255))
	if p := o.Obj("payment", body.Optional); p != nil {
		r.Payment = &consent.Money{Type: p.Str("type", body.Optional), Currency: p.Str("currency", body.Optional), Amount: p.Str("amount", body.Optional)}
	}
	if p := o.Obj("creditor", body.Optional); p != nil {
		r.Creditor = &consent.Creditor{PersonType: p.Str("personType", body.Optional), CpfCnpj: p.Str("cpfCnpj", body.Optional), Name: p.Str("name", body.Optional)}
	}
	if n := o.OptInt("approvers", 1, consent.MaxApprovers); n != nil {
		r.Approvers = int(*n)
	}
	faults := r.Check()
	if user != nil && *user == (consent.Document{}) {
		// The person is named; what is faulty lies further in.
		faults = slices.DeleteFunc(faults, func(f fault.Field) bool { return f.Path == "/loggedUser" })
	}
	o.Add(faults...)
	return r, o.Err()
}

// readDocument reads {"document":{"identification","rel"}}; nil when the
// member is absent.
func readDocument(o *body.Object, name string) *consent.Document {
	p := o.Obj(name, body.Optional)
	if p == nil {
		return nil
	}
	d := p.Obj("document", body.Required)
	return &consent.Document{
		Identification: d.Str("identification", body.Required, body.Chars(1, 14)),
		Rel:            d.Str("rel", body.Required, body.Chars(1, 4)),
	}
}

func (s *server) readConsent(c *call) (reply, error) {
	k, err := s.App.Consent(c.ctx(), c.app, c.id())
	if err != nil {
		return reply{}, err
	}
	return ok(consentOf(k))
}

// lifecycles are all lifecycle names in the order of a consent's life.
func lifecycles() []string {
	return []string{
		string(consent.Awaiting), string(consent.PartiallyAccepted), string(consent.Authorised), string(consent.Consumed),
		string(consent.Rejected), string(consent.Expired), string(consent.Revoked),
	}
}

// lifecyclesOf returns the lifecycle states that a consent may be in when it
// shows status as its status or its lifecycleStatus.
func lifecyclesOf(status string) []consent.Status {
	switch st := consent.Status(status); st {
	case "":
		return nil
	case consent.Rejected: // the official view of every refused end
		return []consent.Status{consent.Rejected, consent.Expired, consent.Revoked}
	case consent.Awaiting:
		return []consent.Status{consent.Awaiting, consent.PartiallyAccepted}
	default:
		return []consent.Status{st}
	}
}

func (s *server) listConsents(c *call) (reply, error) {
	status := c.query["status"]
	q := store.ConsentQuery{
		Lifecycle: lifecyclesOf(status), Type: consent.Type(c.query["type"]), CitizenID: c.query["citizenId"],
		Limit: c.number("limit"), After: c.query["after"],
	}
	if exact := c.query["lifecycleStatus"]; exact != "" {
		if q.Lifecycle != nil && !slices.Contains(q.Lifecycle, consent.Status(exact)) {
			return ok(streamBody[consentBody]{Items: []consentBody{}})
		}
		q.Lifecycle = []consent.Status{consent.Status(exact)}
	}
	ks, next, err := s.App.Consents(c.ctx(), c.app, q)
	if err != nil {
		return reply{}, err
	}
	out := streamBody[consentBody]{Items: []consentBody{}, Next: next}
	for _, k := range ks {
		// Only DATA shows a partly accepted consent as awaiting.
		if status != "" && k.OfficialStatus() != status && string(k.Status) != status {
			continue
		}
		out.Items = append(out.Items, consentOf(k))
	}
	return ok(out)
}

// decide carries out an action that read takes from the request's body.
func (s *server) decide(read func(*body.Object, consent.Consent) (action, error)) handler {
	return func(c *call) (reply, error) {
		k, err := s.App.Consent(c.ctx(), c.app, c.id())
		if err != nil {
			return reply{}, err
		}
		o, err := c.optional()
		if err != nil {
			return reply{}, err
		}
		act, err := read(o, k)
		if err != nil {
			return reply{}, err
		}
		k, err = act(c, k)
		if err != nil {
			return reply{}, err
		}
		return ok(consentOf(k))
	}
}

// action decides on a consent and returns it as it then is.
type action func(*call, consent.Consent) (consent.Consent, error)

// rule makes an action of a rule.
func (s *server) rule(f func(consent.Consent, time.Time) (consent.Consent, []event.Event, error)) action {
	return func(c *call, k consent.Consent) (consent.Consent, error) {
		return s.App.Decide(c.ctx(), c.app, string(k.ID), f)
	}
}

func (s *server) approve(o *body.Object, _ consent.Consent) (action, error) {
	name := o.Str("approver", body.Optional, body.Chars(1, 255))
	o.Add(consent.CheckApprover(name)...)
	return func(c *call, k consent.Consent) (consent.Consent, error) {
		return s.App.Approve(c.ctx(), c.app, string(k.ID), name)
	}, o.Err()
}

// decision reads who closes a consent, and why.
func decision(o *body.Object, k consent.Consent) (consent.Decision, error) {
	d := consent.Decision{
		By:                    o.Str("rejectedBy", body.Optional, body.Chars(1, 10)),
		Code:                  o.Str("code", body.Optional, body.Chars(1, 100)),
		AdditionalInformation: o.Str("additionalInformation", body.Optional),
	}
	o.Add(d.Check(k.Type)...)
	return d, o.Err()
}

func (s *server) reject(o *body.Object, k consent.Consent) (action, error) {
	d, err := decision(o, k)
	return s.rule(func(k consent.Consent, at time.Time) (consent.Consent, []event.Event, error) { return k.Reject(at, d) }), err
}

func (s *server) revoke(o *body.Object, k consent.Consent) (action, error) {
	d, err := decision(o, k)
	return s.rule(func(k consent.Consent, at time.Time) (consent.Consent, []event.Event, error) { return k.Revoke(at, d) }), err
}

func (s *server) consume(o *body.Object, _ consent.Consent) (action, error) {
	return s.rule(func(k consent.Consent, at time.Time) (consent.Consent, []event.Event, error) { return k.Consume(at) }), o.Err()
}

func (s *server) extend(o *body.Object, _ consent.Consent) (action, error) {
	until := o.Time("expirationDateTime", body.Optional)
	return s.rule(func(k consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
		return k.Extend(at, until)
	}), o.Err()
}

func (s *server) withdraw(c *call) (reply, error) {
	_, err := s.App.Decide(c.ctx(), c.app, c.id(), func(k consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
		return k.Withdraw(at)
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}
