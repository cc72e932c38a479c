package consent

import (
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
)

// Who closed a consent. Source: Consents API 3.3.1, EnumRejectedBy.
const (
	ByUser  = "USER"  // the citizen
	ByTPP   = "TPP"   // the receiving institution
	ByASPSP = "ASPSP" // the holder of the data; our timers too, for no user acts
)

// reasons are the codes that may tell why a consent of a type is closed.
// Source: Consents API 3.3.1, rejection.reason.code; Payments API 4.0.0,
// EnumConsentRejectionReasonType.
func reasons(t Type) []string {
	if t == Payment {
		return []string{
			"VALOR_INVALIDO", "NAO_INFORMADO", "FALHA_INFRAESTRUTURA", "TEMPO_EXPIRADO_AUTORIZACAO",
			"TEMPO_EXPIRADO_CONSUMO", "REJEITADO_USUARIO", "CONTAS_ORIGEM_DESTINO_IGUAIS",
			"CONTA_NAO_PERMITE_PAGAMENTO", "SALDO_INSUFICIENTE", "VALOR_ACIMA_LIMITE", "QRCODE_INVALIDO",
		}
	}
	return []string{
		"CONSENT_EXPIRED", "CUSTOMER_MANUALLY_REJECTED", "CUSTOMER_MANUALLY_REVOKED",
		"CONSENT_MAX_DATE_REACHED", "CONSENT_TECHNICAL_ISSUE", "INTERNAL_SECURITY_REASON",
	}
}

// Decision says who closes a consent and why. Its zero value is the citizen's,
// with the usual code.
type Decision struct {
	By                    string // empty: USER
	Code                  string // empty: what By and the consent's type imply
	AdditionalInformation string // at most 140 characters
}

// Check returns the faults of a decision about a consent of type t.
func (d Decision) Check(t Type) []fault.Field {
	var fs faults
	switch d.By {
	case "", ByUser, ByTPP, ByASPSP:
	default:
		fs.add("/rejectedBy", "invalid_value", `It is "USER", "TPP" or "ASPSP".`)
	}
	if d.Code != "" && !slices.Contains(reasons(t), d.Code) {
		fs.add("/code", "invalid_value", "This is no reason for a consent of type "+string(t)+".")
	}
	fs.text("/additionalInformation", d.AdditionalInformation, maxInformation)
	return fs
}

// rejection fills in what d leaves open.
//
// Source: DOMAIN 7.3, rows 6, 7 and 12.
func (d Decision) rejection(t Type, customer string) *Rejection {
	j := &Rejection{By: d.By, Code: d.Code, AdditionalInformation: d.AdditionalInformation}
	if j.By == "" {
		j.By = ByUser
	}
	switch {
	case j.Code != "":
	case t == Payment && j.By == ByASPSP:
		j.Code = "NAO_INFORMADO"
	case t == Payment:
		j.Code = "REJEITADO_USUARIO"
	case j.By == ByASPSP:
		j.Code = "INTERNAL_SECURITY_REASON"
	default:
		j.Code = customer
	}
	return j
}

// Receive returns the event that a request of valid shape arrived. It is
// published whatever Create says. The caller sets the event's ID.
func Receive(id ID, app string, r Request, now time.Time) event.Event {
	return event.Event{
		Application: app, Feed: feed(r.Type), Type: event.ConsentCreateReceived,
		Subject: string(id), OccurredAt: now, Body: receivedBody(id, r, now),
	}
}

// Create makes a consent out of a request whose shape is valid (Check), and
// the event that it exists.
//
// Errors, every one with its places: fault.Invalid "permission_unknown" for
// permissions outside the groups; else fault.Unprocessable with the first
// broken rule's code of the Consents API: SEM_PERMISSOES_FUNCIONAIS_RESTANTES,
// COMBINACAO_PERMISSOES_INCORRETA, PERMISSAO_PF_PJ_EM_CONJUNTO,
// INFORMACOES_PJ_NAO_INFORMADAS, PERMISSOES_PJ_INCORRETAS, or
// DATA_EXPIRACAO_INVALIDA when expirationDateTime is not after now or more
// than 12 months ahead (exactly 12 months is allowed).
//
// Source of 400 against 422: Consents API 3.3.1, "Orientações importantes":
// permissions that are in no group are answered 400.
func Create(id ID, app string, r Request, now time.Time, p Policy) (Consent, event.Event, error) {
	if r.Type == Data {
		if fs := unknownPermissions(r.Permissions); len(fs) > 0 {
			return Consent{}, event.Event{}, refuse(fault.Invalid, fs)
		}
	}
	var fs []fault.Field
	if r.Type == Data {
		fs = permissionRule(r.Permissions, r.BusinessEntity != nil)
	}
	if !r.ExpiresAt.IsZero() && !validEnd(r.ExpiresAt, now) {
		fs = append(fs, fault.Field{Path: "/expirationDateTime", Code: codeBadEnd, Msg: msgBadEnd})
	}
	if len(fs) > 0 {
		return Consent{}, event.Event{}, refuse(fault.Unprocessable, fs)
	}
	c := Consent{
		ID: id, ConsentID: "urn:consentwire:" + string(id), Application: app,
		Type: r.Type, Status: Awaiting,
		Permissions: slices.Clone(r.Permissions), LoggedUser: r.LoggedUser,
		BusinessEntity: clone(r.BusinessEntity), CitizenID: r.CitizenID,
		Payment: clone(r.Payment), Creditor: clone(r.Creditor),
		Approvers: r.Approvers,
		CreatedAt: now, StatusUpdatedAt: now, ExpiresAt: r.ExpiresAt,
		ApprovalDeadline: now.Add(p.ApprovalTTL),
	}
	if c.Approvers > 1 {
		c.ApproversDeadline = c.ApprovalDeadline
		if c.Type == Payment {
			c.ApproversDeadline = endOfDay(now)
		}
	}
	next, evts := c.to(Awaiting, now, event.ConsentCreated)
	return next, evts[0], nil
}

// Approve counts approver's approval at now; an unnamed approver is one and
// the same.
//
// The last of c.Approvers approvals authorises the consent, which then is to
// be consumed before now + p.ConsumptionTTL; an earlier one leaves it
// partially accepted, without an event. The same approver twice changes
// nothing: c comes back as it is. Approval counts strictly before c.Deadline.
//
// Errors, both fault.Conflict: "consent_not_awaiting" when it was decided
// before, "consent_expired" when the deadline has come.
//
// Source: DOMAIN 7.3, rows 4 and 5.
func (c Consent) Approve(now time.Time, approver string, p Policy) (Consent, []event.Event, error) {
	if err := c.mustBeUndecided(now); err != nil {
		return c, nil, err
	}
	if slices.Contains(c.ApprovedBy, approver) {
		return c, nil, nil
	}
	c.ApprovedBy = append(slices.Clone(c.ApprovedBy), approver)
	if len(c.ApprovedBy) < c.Approvers {
		next, _ := c.to(PartiallyAccepted, now, "")
		return next, nil, nil
	}
	c.AuthorisedAt, c.ConsumeDeadline = now, now.Add(p.ConsumptionTTL)
	next, evts := c.to(Authorised, now, event.ConsentApproved)
	return next, evts, nil
}

// Reject closes an undecided consent.
//
// Errors as Approve's. Source: DOMAIN 7.3, rows 6 and 7.
func (c Consent) Reject(now time.Time, d Decision) (Consent, []event.Event, error) {
	if err := c.mustBeUndecided(now); err != nil {
		return c, nil, err
	}
	c.Rejection = d.rejection(c.Type, "CUSTOMER_MANUALLY_REJECTED")
	next, evts := c.to(Rejected, now, event.ConsentRejected)
	return next, evts, nil
}

// Revoke closes an authorised consent.
//
// Errors, all fault.Conflict: "consent_not_authorised" when it is undecided,
// "consent_closed" when it is over, "consent_expired" when its time is.
// Source: DOMAIN 7.3, row 12.
func (c Consent) Revoke(now time.Time, d Decision) (Consent, []event.Event, error) {
	if err := c.mustBeAuthorised(now); err != nil {
		return c, nil, err
	}
	c.Rejection = d.rejection(c.Type, "CUSTOMER_MANUALLY_REVOKED")
	next, evts := c.to(Revoked, now, event.ConsentRevoked)
	return next, evts, nil
}

// Withdraw is the citizen's end of a consent: it rejects one that is undecided
// and revokes one that is authorised.
//
// Error: fault.Unprocessable "CONSENTIMENTO_EM_STATUS_REJEITADO" when the
// consent is closed or its deadline has come. Source: Consents API 3.3.1,
// DELETE /consents/{consentId}.
func (c Consent) Withdraw(now time.Time) (Consent, []event.Event, error) {
	switch {
	case c.Closed() || c.due(now):
		return c, nil, fault.New(fault.Unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO",
			"The consent is closed already.").With("currentStatus", string(c.statusAt(now)))
	case c.Status == Authorised:
		return c.Revoke(now, Decision{})
	}
	return c.Reject(now, Decision{})
}

// Consume records that an authorised consent was used: a payment was
// initiated, which closes the consent, or access to data began, after which
// only its own end date limits it.
//
// Errors as Revoke's, and fault.Conflict "consent_already_consumed". Source:
// DOMAIN 7.3, row 10.
func (c Consent) Consume(now time.Time) (Consent, []event.Event, error) {
	if c.Status == Consumed || c.Status == Authorised && !c.ConsumedAt.IsZero() && !c.due(now) {
		return c, nil, c.conflict(now, "consent_already_consumed", "The consent was consumed already.")
	}
	if err := c.mustBeAuthorised(now); err != nil {
		return c, nil, err
	}
	c.ConsumedAt, c.ConsumeDeadline = now, time.Time{}
	status := Authorised
	if c.Type == Payment {
		status = Consumed
	}
	next, evts := c.to(status, now, event.ConsentConsumed)
	return next, evts, nil
}

// Extend renews an authorised DATA consent until a later date; a zero until
// means indefinitely.
//
// Errors: as Revoke's; fault.Unprocessable "ERRO_NAO_MAPEADO" for a PAYMENT,
// "DEPENDE_MULTIPLA_ALCADA" when several approve, "DATA_EXPIRACAO_INVALIDA"
// when until is not after now, more than 12 months ahead, not later than the
// present date, or given for a consent that is indefinite.
//
// Source: Consents API 3.3.1, POST /consents/{consentId}/extends; DOMAIN 2.1.
func (c Consent) Extend(now time.Time, until time.Time) (Consent, []event.Event, error) {
	if err := c.mustBeAuthorised(now); err != nil {
		return c, nil, err
	}
	if c.Type != Data {
		return c, nil, fault.New(fault.Unprocessable, "ERRO_NAO_MAPEADO", "Only a consent of type DATA can be extended.")
	}
	if c.Approvers > 1 {
		return c, nil, fault.New(fault.Unprocessable, "DEPENDE_MULTIPLA_ALCADA",
			"A consent that several must approve cannot be extended.")
	}
	if !until.IsZero() {
		switch {
		case !validEnd(until, now):
			return c, nil, fault.At(fault.Unprocessable, codeBadEnd, "/expirationDateTime", msgBadEnd)
		case c.ExpiresAt.IsZero():
			return c, nil, fault.At(fault.Unprocessable, codeBadEnd, "/expirationDateTime",
				"The consent is indefinite; a date would shorten it.")
		case !until.After(c.ExpiresAt):
			return c, nil, fault.At(fault.Unprocessable, codeBadEnd, "/expirationDateTime",
				"The new date must be later than the present one.")
		}
	}
	c.Extensions = append(slices.Clone(c.Extensions), Extension{RequestedAt: now, ExpiresAt: until, PreviousExpiresAt: c.ExpiresAt})
	c.ExpiresAt = until
	next, evts := c.to(Authorised, now, event.ConsentExtended)
	return next, evts, nil
}

// Expire closes a consent whose deadline has come; false: it has none, or it
// is still ahead of now. What happened, happened at the deadline.
//
// The reason is the end date's (CONSENT_MAX_DATE_REACHED) only when that is
// strictly earlier than the timer that runs in the consent's state.
//
// Source: DOMAIN 7.3, rows 8, 8a, 9 and 11.
func (c Consent) Expire(now time.Time) (Consent, []event.Event, bool) {
	if !c.due(now) {
		return c, nil, false
	}
	code := "CONSENT_EXPIRED"
	switch timer := c.timer(); {
	case c.Type == Payment && c.Status == Authorised:
		code = "TEMPO_EXPIRADO_CONSUMO"
	case c.Type == Payment:
		code = "TEMPO_EXPIRADO_AUTORIZACAO"
	case timer.IsZero() || c.Deadline.Before(timer):
		code = "CONSENT_MAX_DATE_REACHED"
	case c.Status == Authorised:
		code = "CONSENT_TECHNICAL_ISSUE"
	}
	c.Rejection = &Rejection{By: ByASPSP, Code: code}
	next, evts := c.to(Expired, c.Deadline, event.ConsentExpired)
	return next, evts, true
}

// OfficialStatus returns the status as the Open Finance Brasil APIs know it: a
// closed consent is REJECTED whatever the cause, which its rejection tells
// apart; only PAYMENT knows PARTIALLY_ACCEPTED and CONSUMED.
//
// Source: DOMAIN 7.3; Consents API 3.3.1 and Payments API 4.0.0, status.
func (c Consent) OfficialStatus() string {
	switch c.Status {
	case Rejected, Expired, Revoked:
		return string(Rejected)
	case PartiallyAccepted:
		if c.Type == Data {
			return string(Awaiting)
		}
	}
	return string(c.Status)
}

// to returns c in its new state with its version, deadline and, unless t is
// empty, the event that tells of it.
func (c Consent) to(s Status, at time.Time, t event.Type) (Consent, []event.Event) {
	if s != c.Status {
		c.Status, c.StatusUpdatedAt = s, at
	}
	c.Version++
	c.Deadline = c.deadline()
	if t == "" {
		return c, nil
	}
	return c, []event.Event{{
		Application: c.Application, Feed: feed(c.Type), Type: t,
		Subject: string(c.ID), OccurredAt: at, Body: Body(t, c),
	}}
}

// timer returns when c's state ends by itself; zero: it does not.
func (c Consent) timer() time.Time {
	switch c.Status {
	case Awaiting:
		return earlier(c.ApprovalDeadline, c.ApproversDeadline)
	case PartiallyAccepted:
		return c.ApproversDeadline
	case Authorised:
		return c.ConsumeDeadline
	}
	return time.Time{}
}

func (c Consent) deadline() time.Time {
	if c.Closed() {
		return time.Time{}
	}
	return earlier(c.timer(), c.ExpiresAt)
}

func (c Consent) due(now time.Time) bool {
	return !c.Closed() && !c.Deadline.IsZero() && !now.Before(c.Deadline)
}

// statusAt returns the state that c is in at now, even if nobody has expired
// it yet.
func (c Consent) statusAt(now time.Time) Status {
	if c.due(now) {
		return Expired
	}
	return c.Status
}

func (c Consent) mustBeUndecided(now time.Time) error {
	switch c.statusAt(now) {
	case Awaiting, PartiallyAccepted:
		return nil
	case Expired:
		return c.expired(now)
	}
	return c.conflict(now, "consent_not_awaiting", "The consent was already decided.")
}

func (c Consent) mustBeAuthorised(now time.Time) error {
	switch c.statusAt(now) {
	case Authorised:
		return nil
	case Awaiting, PartiallyAccepted:
		return c.conflict(now, "consent_not_authorised", "The consent is not authorised yet.")
	case Expired:
		return c.expired(now)
	}
	return c.conflict(now, "consent_closed", "The consent is closed already.")
}

func (c Consent) expired(now time.Time) error {
	return c.conflict(now, "consent_expired", "The consent expired before that.")
}

func (c Consent) conflict(now time.Time, code, msg string) error {
	return fault.New(fault.Conflict, code, msg).With("currentStatus", string(c.statusAt(now)))
}

const (
	codeBadEnd = "DATA_EXPIRACAO_INVALIDA"
	msgBadEnd  = "The date must lie in the future and at most 12 months ahead."
)

// validEnd tells whether a consent asked for at now may end at end.
// Source: DOMAIN 2.1, "Expiration": at most 12 months ahead.
func validEnd(end, now time.Time) bool {
	return end.After(now) && !end.After(now.AddDate(0, 12, 0))
}

// endOfDay returns 23:59:00 in Brasília of now's day, or of the next when that
// is not after now. Brasília is at UTC-3 all year since 2019 (Decreto
// 9.772/2019). Source: DOMAIN 2.3, "Several approvers".
func endOfDay(now time.Time) time.Time {
	brasilia := time.FixedZone("BRT", -3*60*60)
	y, m, d := now.In(brasilia).Date()
	end := time.Date(y, m, d, 23, 59, 0, 0, brasilia)
	if !end.After(now) {
		end = end.AddDate(0, 0, 1)
	}
	return end.UTC()
}

// earlier returns the earlier of two times, of which a zero one does not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func feed(t Type) event.Feed {
	if t == Payment {
		return event.LifecyclePayment
	}
	return event.LifecycleData
}

func refuse(k fault.Kind, fs []fault.Field) error {
	return &fault.Error{Kind: k, Code: fs[0].Code, Msg: fs[0].Msg, Field: fs[0].Path, Fields: fs}
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
