package consent_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
)

// t0 is noon UTC, 09:00 in Brasília.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var policy = consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: 70 * time.Minute}

func data() consent.Request {
	return consent.Request{
		Type:        consent.Data,
		Permissions: []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		LoggedUser:  consent.Document{Identification: "12345678901", Rel: "CPF"},
		ExpiresAt:   t0.AddDate(1, 0, 0),
		Approvers:   1,
	}
}

func payment() consent.Request {
	return consent.Request{
		Type:       consent.Payment,
		LoggedUser: consent.Document{Identification: "12345678901", Rel: "CPF"},
		Payment:    &consent.Money{Type: "PIX", Currency: "BRL", Amount: "10.50"},
		Creditor:   &consent.Creditor{PersonType: "PESSOA_JURIDICA", CpfCnpj: "AB345678000190", Name: "Padaria <Sol> & Filhos"},
		Approvers:  1,
	}
}

func create(t *testing.T, r consent.Request, at time.Time) consent.Consent {
	t.Helper()
	c, _, err := consent.Create("con_1", "app_1", r, at, policy)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return c
}

// A step is one action on a consent at an instant after t0.
type step func(consent.Consent) (consent.Consent, []event.Event, error)

func approve(after time.Duration, who string) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) {
		return c.Approve(t0.Add(after), who, policy)
	}
}

func reject(after time.Duration, d consent.Decision) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) { return c.Reject(t0.Add(after), d) }
}

func revoke(after time.Duration, d consent.Decision) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) { return c.Revoke(t0.Add(after), d) }
}

func withdraw(after time.Duration) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) { return c.Withdraw(t0.Add(after)) }
}

func consume(after time.Duration) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) { return c.Consume(t0.Add(after)) }
}

func extend(after time.Duration, until time.Time) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) {
		return c.Extend(t0.Add(after), until)
	}
}

var errNotDue = errors.New("the deadline has not come")

func expire(after time.Duration) step {
	return func(c consent.Consent) (consent.Consent, []event.Event, error) {
		next, evts, due := c.Expire(t0.Add(after))
		if !due {
			return next, evts, errNotDue
		}
		return next, evts, nil
	}
}

func steps(ss ...step) []step { return ss }

// live carries out all steps, every one of which must be allowed.
func live(t *testing.T, c consent.Consent, ss ...step) consent.Consent {
	t.Helper()
	for i, s := range ss {
		next, _, err := s(c)
		if err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
		c = next
	}
	return c
}

func rejection(c consent.Consent) string {
	if c.Rejection == nil {
		return ""
	}
	return c.Rejection.By + " " + c.Rejection.Code
}

func names(evts []event.Event) []event.Type {
	var out []event.Type
	for _, e := range evts {
		out = append(out, e.Type)
	}
	return out
}

const minute = time.Minute

// several asks for as many approvers as there are in n.
func several(r consent.Request, n int) consent.Request {
	r.Approvers = n
	return r
}

func until(r consent.Request, at time.Time) consent.Request {
	r.ExpiresAt = at
	return r
}

// TestConsent_transitions holds the rules to the table of DOMAIN 7.3.
func TestConsent_transitions(t *testing.T) {
	t.Parallel()
	never := time.Time{}
	year := t0.AddDate(1, 0, 0)
	evening := time.Date(2026, 3, 2, 2, 59, 0, 0, time.UTC) // 23:59 in Brasília
	one, two, three := data(), several(data(), 2), several(data(), 3)
	pay, pay2 := payment(), several(payment(), 2)
	tests := []struct {
		name      string
		r         consent.Request
		before    []step
		do        step
		status    consent.Status
		official  string
		rejection string
		event     event.Type
		at        time.Duration // when it happened, from t0
		deadline  time.Time
	}{
		{"4: the only approver approves", one, nil, approve(10*minute, ""), consent.Authorised, "AUTHORISED", "", event.ConsentApproved, 10 * minute, t0.Add(80 * minute)},
		{"4: approval a moment before the deadline", one, nil, approve(60*minute-1, ""), consent.Authorised, "AUTHORISED", "", event.ConsentApproved, 60*minute - 1, t0.Add(130*minute - 1)},
		{"4: the second of two approves", two, steps(approve(1*minute, "a")), approve(10*minute, "b"), consent.Authorised, "AUTHORISED", "", event.ConsentApproved, 10 * minute, t0.Add(80 * minute)},
		{"4: the third of three approves", three, steps(approve(1*minute, "a"), approve(2*minute, "")), approve(10*minute, "b"), consent.Authorised, "AUTHORISED", "", event.ConsentApproved, 10 * minute, t0.Add(80 * minute)},
		{"4: a PAYMENT is approved", pay, nil, approve(10*minute, ""), consent.Authorised, "AUTHORISED", "", event.ConsentApproved, 10 * minute, t0.Add(80 * minute)},
		{"4: the last approval of a PAYMENT comes hours later", pay2, steps(approve(1*minute, "a")), approve(14*60*minute, "b"), consent.Authorised, "AUTHORISED", "", event.ConsentApproved, 14 * 60 * minute, t0.Add(14*60*minute + 70*minute)},
		{"5: one of two approves, without an event", two, nil, approve(10*minute, "a"), consent.PartiallyAccepted, "AWAITING_AUTHORISATION", "", "", 0, t0.Add(60 * minute)},
		{"5: one of two approves a PAYMENT, which then has until the evening", pay2, nil, approve(10*minute, "a"), consent.PartiallyAccepted, "PARTIALLY_ACCEPTED", "", "", 0, evening},
		{"5: the second of three changes no state", three, steps(approve(1*minute, "a")), approve(2*minute, "b"), consent.PartiallyAccepted, "AWAITING_AUTHORISATION", "", "", 0, t0.Add(60 * minute)},

		{"6: the user rejects", one, nil, reject(10*minute, consent.Decision{}), consent.Rejected, "REJECTED", "USER CUSTOMER_MANUALLY_REJECTED", event.ConsentRejected, 10 * minute, never},
		{"6: the receiver rejects", one, nil, reject(10*minute, consent.Decision{By: "TPP"}), consent.Rejected, "REJECTED", "TPP CUSTOMER_MANUALLY_REJECTED", event.ConsentRejected, 10 * minute, never},
		{"6: a code of the caller's", one, nil, reject(10*minute, consent.Decision{By: "TPP", Code: "CONSENT_TECHNICAL_ISSUE"}), consent.Rejected, "REJECTED", "TPP CONSENT_TECHNICAL_ISSUE", event.ConsentRejected, 10 * minute, never},
		{"6: rejected after one of two approved", two, steps(approve(1*minute, "a")), reject(10*minute, consent.Decision{}), consent.Rejected, "REJECTED", "USER CUSTOMER_MANUALLY_REJECTED", event.ConsentRejected, 10 * minute, never},
		{"6: the user rejects a PAYMENT", pay, nil, reject(10*minute, consent.Decision{}), consent.Rejected, "REJECTED", "USER REJEITADO_USUARIO", event.ConsentRejected, 10 * minute, never},
		{"6: the receiver rejects a PAYMENT", pay, nil, reject(10*minute, consent.Decision{By: "TPP"}), consent.Rejected, "REJECTED", "TPP REJEITADO_USUARIO", event.ConsentRejected, 10 * minute, never},
		{"6: DELETE while it awaits", one, nil, withdraw(10 * minute), consent.Rejected, "REJECTED", "USER CUSTOMER_MANUALLY_REJECTED", event.ConsentRejected, 10 * minute, never},
		{"6: DELETE after one of two approved", pay2, steps(approve(1*minute, "a")), withdraw(10 * minute), consent.Rejected, "REJECTED", "USER REJEITADO_USUARIO", event.ConsentRejected, 10 * minute, never},
		{"7: the transmitter's policy rejects", one, nil, reject(10*minute, consent.Decision{By: "ASPSP"}), consent.Rejected, "REJECTED", "ASPSP INTERNAL_SECURITY_REASON", event.ConsentRejected, 10 * minute, never},
		{"7: the transmitter's policy rejects a PAYMENT", pay, nil, reject(10*minute, consent.Decision{By: "ASPSP"}), consent.Rejected, "REJECTED", "ASPSP NAO_INFORMADO", event.ConsentRejected, 10 * minute, never},

		{"8: expires 60 minutes after creation, at that instant", one, nil, expire(60 * minute), consent.Expired, "REJECTED", "ASPSP CONSENT_EXPIRED", event.ConsentExpired, 60 * minute, never},
		{"8: found late, it expired at the deadline", one, nil, expire(5000 * minute), consent.Expired, "REJECTED", "ASPSP CONSENT_EXPIRED", event.ConsentExpired, 60 * minute, never},
		{"8: a PAYMENT is not approved in time", pay, nil, expire(60 * minute), consent.Expired, "REJECTED", "ASPSP TEMPO_EXPIRADO_AUTORIZACAO", event.ConsentExpired, 60 * minute, never},
		{"8: nobody of two approves a PAYMENT", pay2, nil, expire(60 * minute), consent.Expired, "REJECTED", "ASPSP TEMPO_EXPIRADO_AUTORIZACAO", event.ConsentExpired, 60 * minute, never},
		{"8a: a partial approval of DATA does not move the deadline", two, steps(approve(59*minute, "a")), expire(60 * minute), consent.Expired, "REJECTED", "ASPSP CONSENT_EXPIRED", event.ConsentExpired, 60 * minute, never},
		{"8a: a partially approved PAYMENT expires in the evening", pay2, steps(approve(59*minute, "a")), expire(899 * minute), consent.Expired, "REJECTED", "ASPSP TEMPO_EXPIRADO_AUTORIZACAO", event.ConsentExpired, 899 * minute, never},
		{"9: approved, not consumed 70 minutes later", one, steps(approve(10*minute, "")), expire(80 * minute), consent.Expired, "REJECTED", "ASPSP CONSENT_TECHNICAL_ISSUE", event.ConsentExpired, 80 * minute, never},
		{"9: a PAYMENT approved, not consumed 70 minutes later", pay, steps(approve(10*minute, "")), expire(80 * minute), consent.Expired, "REJECTED", "ASPSP TEMPO_EXPIRADO_CONSUMO", event.ConsentExpired, 80 * minute, never},

		{"10: DATA is consumed and stays authorised to its end date", one, steps(approve(10*minute, "")), consume(12 * minute), consent.Authorised, "AUTHORISED", "", event.ConsentConsumed, 12 * minute, year},
		{"10: indefinite DATA is consumed and has no deadline any more", until(one, never), steps(approve(10*minute, "")), consume(12 * minute), consent.Authorised, "AUTHORISED", "", event.ConsentConsumed, 12 * minute, never},
		{"10: consumed a moment before the deadline", one, steps(approve(10*minute, "")), consume(80*minute - 1), consent.Authorised, "AUTHORISED", "", event.ConsentConsumed, 80*minute - 1, year},
		{"10: a PAYMENT is consumed and closed", pay, steps(approve(10*minute, "")), consume(12 * minute), consent.Consumed, "CONSUMED", "", event.ConsentConsumed, 12 * minute, never},
		{"11: the end date of a consumed consent", one, steps(approve(10*minute, ""), consume(12*minute)), expire(year.Sub(t0)), consent.Expired, "REJECTED", "ASPSP CONSENT_MAX_DATE_REACHED", event.ConsentExpired, year.Sub(t0), never},
		{"11: an end date before the 70 minutes are over wins", until(one, t0.Add(30*minute)), steps(approve(10*minute, "")), expire(30 * minute), consent.Expired, "REJECTED", "ASPSP CONSENT_MAX_DATE_REACHED", event.ConsentExpired, 30 * minute, never},
		{"11: an extended consent ends at its new date", until(one, t0.Add(24*60*minute)), steps(approve(10*minute, ""), consume(12*minute), extend(13*minute, t0.Add(48*60*minute))), expire(48 * 60 * minute), consent.Expired, "REJECTED", "ASPSP CONSENT_MAX_DATE_REACHED", event.ConsentExpired, 48 * 60 * minute, never},

		{"12: the user revokes", one, steps(approve(10*minute, "")), revoke(20*minute, consent.Decision{}), consent.Revoked, "REJECTED", "USER CUSTOMER_MANUALLY_REVOKED", event.ConsentRevoked, 20 * minute, never},
		{"12: the receiver revokes after consumption", one, steps(approve(10*minute, ""), consume(12*minute)), revoke(5000*minute, consent.Decision{By: "TPP"}), consent.Revoked, "REJECTED", "TPP CUSTOMER_MANUALLY_REVOKED", event.ConsentRevoked, 5000 * minute, never},
		{"12: a PAYMENT is revoked before it is consumed", pay, steps(approve(10*minute, "")), revoke(20*minute, consent.Decision{}), consent.Revoked, "REJECTED", "USER REJEITADO_USUARIO", event.ConsentRevoked, 20 * minute, never},
		{"12: DELETE when authorised", one, steps(approve(10*minute, "")), withdraw(20 * minute), consent.Revoked, "REJECTED", "USER CUSTOMER_MANUALLY_REVOKED", event.ConsentRevoked, 20 * minute, never},
		{"13: extended before it is consumed, the 70 minutes go on", until(one, t0.Add(24*60*minute)), steps(approve(10*minute, "")), extend(20*minute, year), consent.Authorised, "AUTHORISED", "", event.ConsentExtended, 20 * minute, t0.Add(80 * minute)},
		{"13: extended after it was consumed, to exactly 12 months ahead", until(one, t0.Add(24*60*minute)), steps(approve(10*minute, ""), consume(12*minute)), extend(20*minute, year.Add(20*minute)), consent.Authorised, "AUTHORISED", "", event.ConsentExtended, 20 * minute, year.Add(20 * minute)},
		{"13: extended indefinitely", one, steps(approve(10*minute, ""), consume(12*minute)), extend(20*minute, never), consent.Authorised, "AUTHORISED", "", event.ConsentExtended, 20 * minute, never},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := live(t, create(t, tt.r, t0), tt.before...)
			was := fmt.Sprintf("%+v", c)
			got, evts, err := tt.do(c)
			if err != nil {
				t.Fatal(err)
			}
			if now := fmt.Sprintf("%+v", c); now != was {
				t.Errorf("the receiver changed:\ngot  %s\nwant %s", now, was)
			}
			if got.Status != tt.status || got.OfficialStatus() != tt.official || rejection(got) != tt.rejection {
				t.Errorf("got %s, officially %s (%s), want %s, %s (%s)", got.Status, got.OfficialStatus(), rejection(got), tt.status, tt.official, tt.rejection)
			}
			if !got.Deadline.Equal(tt.deadline) {
				t.Errorf("got deadline %v, want %v", got.Deadline, tt.deadline)
			}
			if got.Version != c.Version+1 {
				t.Errorf("got version %d after %d, want one more", got.Version, c.Version)
			}
			moved := got.Status != c.Status
			if moved == got.StatusUpdatedAt.Equal(c.StatusUpdatedAt) {
				t.Errorf("got statusUpdateDateTime %v after %v; the state moved: %t", got.StatusUpdatedAt, c.StatusUpdatedAt, moved)
			}
			if tt.event == "" {
				if len(evts) != 0 {
					t.Errorf("got events %v, want none", names(evts))
				}
				return
			}
			if len(evts) != 1 || evts[0].Type != tt.event {
				t.Fatalf("got events %v, want %s alone", names(evts), tt.event)
			}
			want := event.Event{
				Application: "app_1", Feed: event.LifecycleData, Type: tt.event, Subject: "con_1",
				OccurredAt: t0.Add(tt.at), Body: consent.Body(tt.event, got),
			}
			if tt.r.Type == consent.Payment {
				want.Feed = event.LifecyclePayment
			}
			if !reflect.DeepEqual(evts[0], want) {
				t.Errorf("got event %+v\nwant %+v", evts[0], want)
			}
		})
	}
}

// TestConsent_refusals: what is not in the table is refused, with the code and
// the state that say why, and changes nothing.
func TestConsent_refusals(t *testing.T) {
	t.Parallel()
	approved := steps(approve(10*minute, ""))
	consumed := steps(approve(10*minute, ""), consume(12*minute))
	rejected := steps(reject(10*minute, consent.Decision{}))
	revoked := steps(approve(10*minute, ""), revoke(20*minute, consent.Decision{}))
	expired := steps(expire(60 * minute))
	none := consent.Decision{}
	day := t0.Add(24 * 60 * minute)
	const conflict, unprocessable = fault.Conflict, fault.Unprocessable
	tests := []struct {
		name    string
		r       consent.Request
		before  []step
		do      step
		kind    fault.Kind
		code    string
		current string
	}{
		{"approve at the deadline", data(), nil, approve(60*minute, ""), conflict, "consent_expired", "EXPIRED"},
		{"approve after it", data(), nil, approve(61*minute, ""), conflict, "consent_expired", "EXPIRED"},
		{"the same approver again, at the deadline", several(data(), 2), steps(approve(1*minute, "a")), approve(60*minute, "a"), conflict, "consent_expired", "EXPIRED"},
		{"approve at the end date", until(data(), t0.Add(5*minute)), nil, approve(5*minute, ""), conflict, "consent_expired", "EXPIRED"},
		{"approve what is approved", data(), approved, approve(11*minute, ""), conflict, "consent_not_awaiting", "AUTHORISED"},
		{"approve what is rejected", data(), rejected, approve(11*minute, ""), conflict, "consent_not_awaiting", "REJECTED"},
		{"approve what is revoked", data(), revoked, approve(21*minute, ""), conflict, "consent_not_awaiting", "REVOKED"},
		{"approve what is expired", data(), expired, approve(61*minute, ""), conflict, "consent_expired", "EXPIRED"},
		{"approve what is consumed", payment(), consumed, approve(13*minute, ""), conflict, "consent_not_awaiting", "CONSUMED"},
		{"approve a partially approved PAYMENT in the evening", several(payment(), 2), steps(approve(1*minute, "a")), approve(899*minute, "b"), conflict, "consent_expired", "EXPIRED"},

		{"reject at the deadline", data(), nil, reject(60*minute, none), conflict, "consent_expired", "EXPIRED"},
		{"reject what is approved", data(), approved, reject(11*minute, none), conflict, "consent_not_awaiting", "AUTHORISED"},
		{"reject what is approved and over", data(), approved, reject(80*minute, none), conflict, "consent_expired", "EXPIRED"},
		{"reject twice", data(), rejected, reject(11*minute, none), conflict, "consent_not_awaiting", "REJECTED"},
		{"reject what is expired", data(), expired, reject(61*minute, none), conflict, "consent_expired", "EXPIRED"},

		{"revoke what awaits", data(), nil, revoke(1*minute, none), conflict, "consent_not_authorised", "AWAITING_AUTHORISATION"},
		{"revoke what is partially approved", several(data(), 2), steps(approve(1*minute, "a")), revoke(2*minute, none), conflict, "consent_not_authorised", "PARTIALLY_ACCEPTED"},
		{"revoke at the deadline of consumption", data(), approved, revoke(80*minute, none), conflict, "consent_expired", "EXPIRED"},
		{"revoke at the end date", until(data(), day), consumed, revoke(24*60*minute, none), conflict, "consent_expired", "EXPIRED"},
		{"revoke twice", data(), revoked, revoke(21*minute, none), conflict, "consent_closed", "REVOKED"},
		{"revoke what is rejected", data(), rejected, revoke(11*minute, none), conflict, "consent_closed", "REJECTED"},
		{"revoke a consumed PAYMENT", payment(), consumed, revoke(13*minute, none), conflict, "consent_closed", "CONSUMED"},
		{"revoke what is expired", data(), expired, revoke(61*minute, none), conflict, "consent_expired", "EXPIRED"},

		{"consume what awaits", data(), nil, consume(1 * minute), conflict, "consent_not_authorised", "AWAITING_AUTHORISATION"},
		{"consume a partially approved PAYMENT", several(payment(), 2), steps(approve(1*minute, "a")), consume(2 * minute), conflict, "consent_not_authorised", "PARTIALLY_ACCEPTED"},
		{"consume at the deadline", data(), approved, consume(80 * minute), conflict, "consent_expired", "EXPIRED"},
		{"consume a PAYMENT at the deadline", payment(), approved, consume(80 * minute), conflict, "consent_expired", "EXPIRED"},
		{"consume DATA twice", data(), consumed, consume(13 * minute), conflict, "consent_already_consumed", "AUTHORISED"},
		{"consume a PAYMENT twice", payment(), consumed, consume(13 * minute), conflict, "consent_already_consumed", "CONSUMED"},
		{"consume DATA again at its end date", until(data(), day), consumed, consume(24 * 60 * minute), conflict, "consent_expired", "EXPIRED"},
		{"consume what is revoked", data(), revoked, consume(21 * minute), conflict, "consent_closed", "REVOKED"},

		{"extend what awaits", data(), nil, extend(1*minute, day), conflict, "consent_not_authorised", "AWAITING_AUTHORISATION"},
		{"extend what is revoked", data(), revoked, extend(21*minute, day), conflict, "consent_closed", "REVOKED"},
		{"extend at the end date", until(data(), day), consumed, extend(24*60*minute, day.Add(minute)), conflict, "consent_expired", "EXPIRED"},
		{"extend a consumed PAYMENT", payment(), consumed, extend(13*minute, day), conflict, "consent_closed", "CONSUMED"},
		{"extend an authorised PAYMENT", payment(), approved, extend(11*minute, day), unprocessable, "ERRO_NAO_MAPEADO", ""},
		{"extend what several approved", several(until(data(), day), 2), steps(approve(1*minute, "a"), approve(2*minute, "b")), extend(11*minute, time.Time{}), unprocessable, "DEPENDE_MULTIPLA_ALCADA", ""},
		{"extend to the same date", until(data(), day), approved, extend(11*minute, day), unprocessable, "DATA_EXPIRACAO_INVALIDA", ""},
		{"extend to an earlier date", until(data(), day), approved, extend(11*minute, day.Add(-1)), unprocessable, "DATA_EXPIRACAO_INVALIDA", ""},
		{"extend to now", until(data(), day), approved, extend(11*minute, t0.Add(11*minute)), unprocessable, "DATA_EXPIRACAO_INVALIDA", ""},
		{"extend to more than 12 months ahead", until(data(), day), approved, extend(11*minute, t0.Add(11*minute).AddDate(0, 12, 0).Add(1)), unprocessable, "DATA_EXPIRACAO_INVALIDA", ""},
		{"give an indefinite consent an end", until(data(), time.Time{}), approved, extend(11*minute, day), unprocessable, "DATA_EXPIRACAO_INVALIDA", ""},

		{"DELETE what is rejected", data(), rejected, withdraw(11 * minute), unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO", "REJECTED"},
		{"DELETE what is revoked", data(), revoked, withdraw(21 * minute), unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO", "REVOKED"},
		{"DELETE what is expired", data(), expired, withdraw(61 * minute), unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO", "EXPIRED"},
		{"DELETE a consumed PAYMENT", payment(), consumed, withdraw(13 * minute), unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO", "CONSUMED"},
		{"DELETE at the deadline", data(), nil, withdraw(60 * minute), unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO", "EXPIRED"},
		{"DELETE at the deadline of consumption", data(), approved, withdraw(80 * minute), unprocessable, "CONSENTIMENTO_EM_STATUS_REJEITADO", "EXPIRED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := live(t, create(t, tt.r, t0), tt.before...)
			got, evts, err := tt.do(c)
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("got %v, want a fault", err)
			}
			if f.Kind != tt.kind || f.Code != tt.code || f.Details["currentStatus"] != tt.current {
				t.Errorf("got kind %d %s, currentStatus %q, want kind %d %s, %q", f.Kind, f.Code, f.Details["currentStatus"], tt.kind, tt.code, tt.current)
			}
			if len(evts) != 0 || !reflect.DeepEqual(got, c) {
				t.Errorf("got %+v and %v, want no change and no event", got, names(evts))
			}
		})
	}
}

func TestConsent_Expire_waits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		r      consent.Request
		before []step
		at     time.Duration
	}{
		{"a moment before the deadline", data(), nil, 60*minute - 1},
		{"a moment before the deadline of consumption", data(), steps(approve(10*minute, "")), 80*minute - 1},
		{"consumed, a moment before its end date", data(), steps(approve(10*minute, ""), consume(11*minute)), t0.AddDate(1, 0, 0).Sub(t0) - 1},
		{"consumed and indefinite, after a century", until(data(), time.Time{}), steps(approve(10*minute, ""), consume(11*minute)), t0.AddDate(100, 0, 0).Sub(t0)},
		{"a consumed PAYMENT", payment(), steps(approve(10*minute, ""), consume(11*minute)), 5000 * minute},
		{"what is rejected", data(), steps(reject(10*minute, consent.Decision{})), 5000 * minute},
		{"what is revoked", data(), steps(approve(10*minute, ""), revoke(11*minute, consent.Decision{})), 5000 * minute},
		{"what is expired", data(), steps(expire(60 * minute)), 5000 * minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := live(t, create(t, tt.r, t0), tt.before...)
			got, evts, due := c.Expire(t0.Add(tt.at))
			if due || len(evts) != 0 || !reflect.DeepEqual(got, c) {
				t.Errorf("got %t, %v, %+v, want no change", due, names(evts), got)
			}
		})
	}
}

func TestConsent_Approve_twiceCountsOnce(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"", "a"} {
		c := live(t, create(t, several(data(), 3), t0), approve(minute, who))
		again, evts, err := c.Approve(t0.Add(2*minute), who, policy)
		if err != nil || len(evts) != 0 || !reflect.DeepEqual(again, c) {
			t.Errorf("approver %q again: got %+v, %v, %v, want no change", who, again, names(evts), err)
		}
		c = live(t, c, approve(3*minute, "b"), approve(4*minute, who), approve(5*minute, "c"))
		if c.Status != consent.Authorised || !slices.Equal(c.ApprovedBy, []string{who, "b", "c"}) || c.Version != 4 {
			t.Errorf("got %s by %q at version %d, want authorised by three at version 4", c.Status, c.ApprovedBy, c.Version)
		}
	}
}

// TestConsent_deadlinesAreFixed: another policy does not move what is running.
func TestConsent_deadlinesAreFixed(t *testing.T) {
	t.Parallel()
	short := consent.Policy{ApprovalTTL: minute, ConsumptionTTL: 2 * minute}
	c := create(t, several(data(), 2), t0)
	c, _, err := c.Approve(t0.Add(50*minute), "a", short)
	if err != nil || !c.Deadline.Equal(t0.Add(60*minute)) {
		t.Fatalf("got deadline %v, %v, want that of the creation", c.Deadline, err)
	}
	c, _, err = c.Approve(t0.Add(55*minute), "b", short)
	if err != nil || !c.Deadline.Equal(t0.Add(57*minute)) || !c.ApprovalDeadline.Equal(t0.Add(60*minute)) {
		t.Errorf("got deadline %v, %v, want that of the approval", c.Deadline, err)
	}
}

func TestConsent_Extend_keepsHistory(t *testing.T) {
	t.Parallel()
	day := t0.Add(24 * time.Hour)
	c := live(t, create(t, until(data(), day), t0), approve(minute, ""), consume(2*minute))
	first := live(t, c, extend(3*minute, day.Add(time.Hour)))
	second := live(t, first, extend(4*minute, time.Time{}))
	third := live(t, second, extend(5*minute, time.Time{}))
	want := []consent.Extension{
		{RequestedAt: t0.Add(3 * minute), ExpiresAt: day.Add(time.Hour), PreviousExpiresAt: day},
		{RequestedAt: t0.Add(4 * minute), PreviousExpiresAt: day.Add(time.Hour)},
		{RequestedAt: t0.Add(5 * minute)},
	}
	if !slices.Equal(third.Extensions, want) || !slices.Equal(first.Extensions, want[:1]) || c.Extensions != nil {
		t.Errorf("got %v, then %v, then %v, want %v one by one", c.Extensions, first.Extensions, third.Extensions, want)
	}
}

// TestCreate_approversDeadline: several approve a PAYMENT until 23:59 in
// Brasília of the day of the request (DOMAIN 2.3).
func TestCreate_approversDeadline(t *testing.T) {
	t.Parallel()
	clock := func(day, hour, min, sec int) time.Time { return time.Date(2026, 3, day, hour, min, sec, 0, time.UTC) }
	tests := []struct {
		name string
		at   time.Time
		want time.Time // of the approvers
		end  time.Time // if nobody approves
	}{
		{"in the morning", clock(1, 12, 0, 0), clock(2, 2, 59, 0), clock(1, 13, 0, 0)},
		{"after midnight UTC, still the evening in Brasília", clock(2, 1, 0, 0), clock(2, 2, 59, 0), clock(2, 2, 0, 0)},
		{"a quarter to midnight in Brasília", clock(2, 2, 45, 0), clock(2, 2, 59, 0), clock(2, 2, 59, 0)},
		{"in the last minute of the day, the next evening", clock(2, 2, 59, 0), clock(3, 2, 59, 0), clock(2, 3, 59, 0)},
		{"at midnight in Brasília", clock(2, 3, 0, 0), clock(3, 2, 59, 0), clock(2, 4, 0, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := create(t, several(payment(), 2), tt.at)
			if !c.ApproversDeadline.Equal(tt.want) || !c.Deadline.Equal(tt.end) {
				t.Errorf("got approvers' deadline %v, deadline %v, want %v, %v", c.ApproversDeadline, c.Deadline, tt.want, tt.end)
			}
		})
	}
	if c := create(t, payment(), t0); !c.ApproversDeadline.IsZero() {
		t.Errorf("one approver: got an approvers' deadline %v, want none", c.ApproversDeadline)
	}
}

func TestDecision_Check(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		t    consent.Type
		d    consent.Decision
		want string
	}{
		{"the zero decision", consent.Data, consent.Decision{}, "[]"},
		{"all of it", consent.Data, consent.Decision{By: "ASPSP", Code: "INTERNAL_SECURITY_REASON", AdditionalInformation: "é"}, "[]"},
		{"a reason of a PAYMENT", consent.Payment, consent.Decision{Code: "SALDO_INSUFICIENTE"}, "[]"},
		{"a reason of the other type", consent.Data, consent.Decision{Code: "SALDO_INSUFICIENTE"}, "[/code invalid_value]"},
		{"a DATA reason for a PAYMENT", consent.Payment, consent.Decision{Code: "CONSENT_EXPIRED"}, "[/code invalid_value]"},
		{"nobody of the three", consent.Data, consent.Decision{By: "user"}, "[/rejectedBy invalid_value]"},
		{"140 characters", consent.Data, consent.Decision{AdditionalInformation: repeat("é", 140)}, "[]"},
		{"141 characters", consent.Data, consent.Decision{AdditionalInformation: repeat("é", 141)}, "[/additionalInformation too_long]"},
		{"a control character", consent.Data, consent.Decision{AdditionalInformation: "a\nb"}, "[/additionalInformation invalid_format]"},
		{"all wrong", consent.Data, consent.Decision{By: "X", Code: "Y", AdditionalInformation: "\x00"}, "[/rejectedBy invalid_value /code invalid_value /additionalInformation invalid_format]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := places(tt.d.Check(tt.t)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
