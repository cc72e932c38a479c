package consent_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
)

// model says once more, in other words, what DOMAIN 7.3 asks for. It knows no
// timer: before each action it looks whether the consent has ended by itself.
type model struct {
	payment            bool
	need               int       // approvers
	created, end       time.Time // zero end: indefinite
	approved, consumed time.Time // zero: not
	who                map[string]bool
	closed             string
	log                []string
	changes            int64
}

func (m *model) state() string {
	switch {
	case m.closed != "":
		return m.closed
	case !m.approved.IsZero():
		return "AUTHORISED"
	case len(m.who) > 0:
		return "PARTIALLY_ACCEPTED"
	}
	return "AWAITING_AUTHORISATION"
}

// evening is the next moment after t at which the clocks of Brasília show
// 23:59, that is 02:59 in UTC.
func evening(t time.Time) time.Time {
	for t = t.Truncate(time.Minute).Add(time.Minute); t.Format("15:04") != "02:59"; {
		t = t.Add(time.Minute)
	}
	return t
}

// ends tells when and why the consent ends if nothing more happens: rows 8,
// 8a, 9 and 11 of the table.
func (m *model) ends() (at time.Time, data, payment string) {
	switch m.state() {
	case "AWAITING_AUTHORISATION", "PARTIALLY_ACCEPTED":
		at, data, payment = m.created.Add(time.Hour), "CONSENT_EXPIRED", "TEMPO_EXPIRADO_AUTORIZACAO"
		if e := evening(m.created); m.payment && m.need > 1 && (e.Before(at) || len(m.who) > 0) {
			at = e
		}
	case "AUTHORISED":
		payment = "TEMPO_EXPIRADO_CONSUMO"
		if m.consumed.IsZero() {
			at, data = m.approved.Add(70*time.Minute), "CONSENT_TECHNICAL_ISSUE"
		}
	default:
		return at, "", ""
	}
	if !m.end.IsZero() && (at.IsZero() || m.end.Before(at)) {
		at, data = m.end, "CONSENT_MAX_DATE_REACHED"
	}
	return at, data, payment
}

func (m *model) close(state string, t event.Type, at time.Time, by, data, payment string) string {
	code := data
	if m.payment {
		code = payment
	}
	m.closed = state
	return m.happen(t, at, by+" "+code)
}

func (m *model) happen(t event.Type, at time.Time, why string) string {
	m.changes++
	m.log = append(m.log, fmt.Sprint(t, " ", at.UnixMilli(), " ", why))
	return ""
}

// pass lets the time come to now.
func (m *model) pass(now time.Time) {
	if at, data, payment := m.ends(); !at.IsZero() && !at.After(now) {
		m.close("EXPIRED", event.ConsentExpired, at, "ASPSP", data, payment)
	}
}

// undecided and authorised return the code of the refusal, if any.
func (m *model) undecided() string {
	switch m.state() {
	case "AWAITING_AUTHORISATION", "PARTIALLY_ACCEPTED":
		return ""
	case "EXPIRED":
		return "consent_expired"
	}
	return "consent_not_awaiting"
}

func (m *model) authorised() string {
	switch m.state() {
	case "AUTHORISED":
		return ""
	case "EXPIRED":
		return "consent_expired"
	case "AWAITING_AUTHORISATION", "PARTIALLY_ACCEPTED":
		return "consent_not_authorised"
	}
	return "consent_closed"
}

func (m *model) approve(now time.Time, who string) string {
	if code := m.undecided(); code != "" || m.who[who] {
		return code
	}
	m.who[who] = true
	if len(m.who) < m.need {
		m.changes++
		return ""
	}
	m.approved = now
	return m.happen(event.ConsentApproved, now, "")
}

func (m *model) reject(now time.Time, by string) string {
	if code := m.undecided(); code != "" {
		return code
	}
	if by == "ASPSP" {
		return m.close("REJECTED", event.ConsentRejected, now, by, "INTERNAL_SECURITY_REASON", "NAO_INFORMADO")
	}
	return m.close("REJECTED", event.ConsentRejected, now, by, "CUSTOMER_MANUALLY_REJECTED", "REJEITADO_USUARIO")
}

func (m *model) revoke(now time.Time, by string) string {
	if code := m.authorised(); code != "" {
		return code
	}
	if by == "ASPSP" {
		return m.close("REVOKED", event.ConsentRevoked, now, by, "INTERNAL_SECURITY_REASON", "NAO_INFORMADO")
	}
	return m.close("REVOKED", event.ConsentRevoked, now, by, "CUSTOMER_MANUALLY_REVOKED", "REJEITADO_USUARIO")
}

func (m *model) withdraw(now time.Time) string {
	switch {
	case m.closed != "":
		return "CONSENTIMENTO_EM_STATUS_REJEITADO"
	case m.approved.IsZero():
		return m.reject(now, "USER")
	}
	return m.revoke(now, "USER")
}

func (m *model) consume(now time.Time) string {
	switch {
	case m.closed == "CONSUMED", m.closed == "" && !m.consumed.IsZero():
		return "consent_already_consumed"
	case m.authorised() != "":
		return m.authorised()
	}
	m.consumed = now
	if m.payment {
		m.closed = "CONSUMED"
	}
	return m.happen(event.ConsentConsumed, now, "")
}

func (m *model) extend(now, until time.Time) string {
	ahead := until.Sub(now)
	switch code := m.authorised(); {
	case code != "":
		return code
	case m.payment:
		return "ERRO_NAO_MAPEADO"
	case m.need > 1:
		return "DEPENDE_MULTIPLA_ALCADA"
	case until.IsZero():
	case ahead <= 0, ahead > 365*24*time.Hour, m.end.IsZero(), until.Sub(m.end) <= 0:
		return "DATA_EXPIRACAO_INVALIDA"
	}
	m.end = until
	return m.happen(event.ConsentExtended, now, "")
}

// TestConsent_histories carries out random histories by the rules and by the
// model: the same refusals, the same states, the same events, and one end per
// consent whatever the order. Sweeps come at random, so that most actions meet
// a consent that nobody has expired yet.
func TestConsent_histories(t *testing.T) {
	t.Parallel()
	const histories, actions = 10_000, 14
	ends := map[string]int{}
	for seed := range uint64(histories) {
		dice := rand.New(rand.NewPCG(seed, 7))
		r := []consent.Request{data(), payment()}[dice.IntN(2)]
		r.Approvers = 1 + dice.IntN(3)
		now := t0.Add(time.Duration(dice.IntN(48*60)) * time.Minute) // no leap day within a year
		r.ExpiresAt = time.Time{}
		if dice.IntN(3) > 0 {
			r.ExpiresAt = now.Add(time.Duration(1+dice.IntN(300)) * time.Minute)
		}
		m := &model{
			payment: r.Type == consent.Payment, need: r.Approvers, created: now, end: r.ExpiresAt, who: map[string]bool{},
			changes: 1, log: []string{fmt.Sprint(event.ConsentCreated, " ", now.UnixMilli(), " ")},
		}
		c, created, err := consent.Create("con_1", "app_1", r, now, policy)
		if err != nil {
			t.Fatalf("history %d: create: %v", seed, err)
		}
		var log []string
		keep := func(evts ...event.Event) {
			for _, e := range evts {
				why := ""
				if c.Closed() && e.Type != event.ConsentConsumed {
					why = rejection(c)
				}
				log = append(log, fmt.Sprint(e.Type, " ", e.OccurredAt.UnixMilli(), " ", why))
			}
		}
		keep(created)
		sweep := func() {
			if next, evts, due := c.Expire(now); due {
				c = next
				keep(evts...)
			}
		}
		for range actions {
			switch at, _, _ := m.ends(); {
			case dice.IntN(4) == 0 && at.After(now): // at the end, or one millisecond beside it
				if at = at.Add(time.Duration(dice.IntN(3)-1) * time.Millisecond); at.After(now) {
					now = at
				}
			case dice.IntN(4) > 0:
				now = now.Add(time.Duration(dice.IntN(25*60_000)) * time.Millisecond)
			}
			m.pass(now)
			if dice.IntN(4) == 0 {
				sweep()
			}
			who := []string{"", "a", "b"}[dice.IntN(3)]
			by := []string{consent.ByUser, consent.ByTPP, consent.ByASPSP}[dice.IntN(3)]
			var next consent.Consent
			var evts []event.Event
			var want, did string
			switch k := dice.IntN(12); {
			case k < 5:
				did, want = "approve", m.approve(now, who)
				next, evts, err = c.Approve(now, who, policy)
			case k == 5 && dice.IntN(2) == 0:
				did, want = "reject", m.reject(now, by)
				next, evts, err = c.Reject(now, consent.Decision{By: by})
			case k == 6 && dice.IntN(2) == 0:
				did, want = "revoke", m.revoke(now, by)
				next, evts, err = c.Revoke(now, consent.Decision{By: by})
			case k == 7 && dice.IntN(3) == 0:
				did, want = "withdraw", m.withdraw(now)
				next, evts, err = c.Withdraw(now)
			case k < 10:
				did, want = "consume", m.consume(now)
				next, evts, err = c.Consume(now)
			default:
				until := []time.Time{{}, now, now.Add(time.Hour), m.end, m.end.Add(time.Minute), now.AddDate(1, 0, 0), now.AddDate(1, 0, 0).Add(1)}[dice.IntN(7)]
				did, want = "extend", m.extend(now, until)
				next, evts, err = c.Extend(now, until)
			}
			if got := fault.CodeOf(err); got != want || err != nil && got == "" {
				t.Fatalf("history %d: %s at %v: got %v, want code %q; log %q", seed, did, now, err, want, m.log)
			}
			if err == nil {
				c = next
				keep(evts...)
			}
			if state := string(c.Status); state != m.state() && m.state() != "EXPIRED" {
				t.Fatalf("history %d: %s at %v: got %s, want %s", seed, did, now, state, m.state())
			}
		}
		now = now.AddDate(3, 0, 0)
		m.pass(now)
		sweep()
		sweep()
		if !slices.Equal(log, m.log) || string(c.Status) != m.state() || c.Version != m.changes {
			t.Fatalf("history %d: got %s at version %d after %q\nwant %s at %d after %q", seed, c.Status, c.Version, log, m.state(), m.changes, m.log)
		}
		n := 0
		for _, l := range log {
			var name event.Type
			if _, err := fmt.Sscan(l, &name); err != nil {
				t.Fatal(err)
			}
			if name == event.ConsentRejected || name == event.ConsentExpired || name == event.ConsentRevoked || name == event.ConsentConsumed && m.payment {
				n++
			}
		}
		endless := m.state() == "AUTHORISED" && m.end.IsZero()
		if n != 1 && !endless || n != 0 && endless {
			t.Fatalf("history %d: got %d ends in %q, want one, or none of an endless consent", seed, n, log)
		}
		ends[m.state()+" "+rejection(c)]++
	}
	for _, e := range []string{
		"AUTHORISED ", "CONSUMED ",
		"EXPIRED ASPSP CONSENT_EXPIRED", "EXPIRED ASPSP CONSENT_TECHNICAL_ISSUE", "EXPIRED ASPSP CONSENT_MAX_DATE_REACHED",
		"EXPIRED ASPSP TEMPO_EXPIRADO_AUTORIZACAO", "EXPIRED ASPSP TEMPO_EXPIRADO_CONSUMO",
		"REJECTED USER REJEITADO_USUARIO", "REJECTED TPP CUSTOMER_MANUALLY_REJECTED", "REJECTED ASPSP INTERNAL_SECURITY_REASON", "REJECTED ASPSP NAO_INFORMADO",
		"REVOKED USER CUSTOMER_MANUALLY_REVOKED", "REVOKED TPP REJEITADO_USUARIO",
	} {
		if ends[e] < 20 {
			t.Errorf("got %d histories that end %s, want at least 20 to call it tried; all: %v", ends[e], e, ends)
		}
	}
}
