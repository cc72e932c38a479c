package relational

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// The sealed part of a consent. Its names are kept short and are never
// changed; times are Unix milliseconds, absent for the zero time.
type (
	consentForm struct {
		Permissions       []string        `json:"p,omitzero"`
		LoggedUser        documentForm    `json:"u,omitzero"`
		BusinessEntity    *documentForm   `json:"b,omitzero"`
		CitizenID         string          `json:"c,omitzero"`
		Payment           *moneyForm      `json:"m,omitzero"`
		Creditor          *creditorForm   `json:"cr,omitzero"`
		Approvers         int             `json:"n,omitzero"`
		ApprovedBy        []string        `json:"ab,omitzero"`
		CreatedAt         int64           `json:"t,omitzero"`
		StatusUpdatedAt   int64           `json:"ts,omitzero"`
		AuthorisedAt      int64           `json:"ta,omitzero"`
		ConsumedAt        int64           `json:"tc,omitzero"`
		ExpiresAt         int64           `json:"te,omitzero"`
		ApprovalDeadline  int64           `json:"da,omitzero"`
		ApproversDeadline int64           `json:"dn,omitzero"`
		ConsumeDeadline   int64           `json:"dc,omitzero"`
		Rejection         *rejectionForm  `json:"r,omitzero"`
		Extensions        []extensionForm `json:"x,omitzero"`
	}
	documentForm struct {
		Identification string `json:"i"`
		Rel            string `json:"r"`
	}
	moneyForm struct {
		Type     string `json:"t"`
		Currency string `json:"c"`
		Amount   string `json:"a"`
	}
	creditorForm struct {
		PersonType string `json:"t,omitzero"`
		CpfCnpj    string `json:"d,omitzero"`
		Name       string `json:"n"`
	}
	rejectionForm struct {
		By                    string `json:"b"`
		Code                  string `json:"c"`
		AdditionalInformation string `json:"i,omitzero"`
	}
	extensionForm struct {
		RequestedAt       int64 `json:"r"`
		ExpiresAt         int64 `json:"e,omitzero"`
		PreviousExpiresAt int64 `json:"p,omitzero"`
	}
)

func encodeConsent(c consent.Consent) ([]byte, error) {
	f := consentForm{
		Permissions: c.Permissions, LoggedUser: documentForm(c.LoggedUser), BusinessEntity: (*documentForm)(c.BusinessEntity),
		CitizenID: c.CitizenID, Payment: (*moneyForm)(c.Payment), Creditor: (*creditorForm)(c.Creditor),
		Approvers: c.Approvers, ApprovedBy: c.ApprovedBy,
		CreatedAt: millis(c.CreatedAt), StatusUpdatedAt: millis(c.StatusUpdatedAt), AuthorisedAt: millis(c.AuthorisedAt),
		ConsumedAt: millis(c.ConsumedAt), ExpiresAt: millis(c.ExpiresAt), ApprovalDeadline: millis(c.ApprovalDeadline),
		ApproversDeadline: millis(c.ApproversDeadline), ConsumeDeadline: millis(c.ConsumeDeadline),
		Rejection: (*rejectionForm)(c.Rejection),
	}
	for _, x := range c.Extensions {
		f.Extensions = append(f.Extensions, extensionForm{millis(x.RequestedAt), millis(x.ExpiresAt), millis(x.PreviousExpiresAt)})
	}
	return json.Marshal(f)
}

func decodeConsent(b []byte, c *consent.Consent) error {
	var f consentForm
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("decode a consent: %w", err)
	}
	c.Permissions, c.LoggedUser, c.BusinessEntity = f.Permissions, consent.Document(f.LoggedUser), (*consent.Document)(f.BusinessEntity)
	c.CitizenID, c.Payment, c.Creditor = f.CitizenID, (*consent.Money)(f.Payment), (*consent.Creditor)(f.Creditor)
	c.Approvers, c.ApprovedBy = f.Approvers, f.ApprovedBy
	c.CreatedAt, c.StatusUpdatedAt, c.AuthorisedAt = moment(f.CreatedAt), moment(f.StatusUpdatedAt), moment(f.AuthorisedAt)
	c.ConsumedAt, c.ExpiresAt, c.ApprovalDeadline = moment(f.ConsumedAt), moment(f.ExpiresAt), moment(f.ApprovalDeadline)
	c.ApproversDeadline, c.ConsumeDeadline = moment(f.ApproversDeadline), moment(f.ConsumeDeadline)
	c.Rejection = (*consent.Rejection)(f.Rejection)
	for _, x := range f.Extensions {
		c.Extensions = append(c.Extensions, consent.Extension{
			RequestedAt: moment(x.RequestedAt), ExpiresAt: moment(x.ExpiresAt), PreviousExpiresAt: moment(x.PreviousExpiresAt),
		})
	}
	return nil
}

// PutConsent implements store.Tx. The row is sealed under the key of the
// subject that has the consent's ID.
func (t *tx) PutConsent(c consent.Consent, evts ...event.Event) error {
	app := access.ID(c.Application)
	key, err := t.app(app)
	if err != nil {
		return err
	}
	if c.Version == 1 && c.CitizenID != "" {
		if erased, err := t.isErased(key, c.CitizenID); err != nil {
			return err
		} else if erased {
			return idErased()
		}
	}
	if err := t.Publish(evts...); err != nil {
		return err
	}
	if err := t.advance(key, string(c.ID), 0); err != nil {
		return err
	}
	content, err := encodeConsent(c)
	if err != nil {
		return fmt.Errorf("encode a consent: %w", err)
	}
	sealed := t.last.cipher.Seal(content, consentPlace(string(c.ID)))
	var citizen, deadline any
	if c.CitizenID != "" {
		citizen = t.s.citizenHash(app, c.CitizenID)
	}
	if !c.Deadline.IsZero() {
		deadline = millis(c.Deadline)
		t.change.due(c.Deadline)
	}
	if c.Version > 1 {
		n, err := t.exec(`UPDATE consent SET status = ?, version = ?, citizen_hash = ?, deadline = ?, sealed = ?
			WHERE consent_id = ? AND app = ?`, string(c.Status), c.Version, citizen, deadline, sealed, string(c.ID), key)
		if err != nil || n > 0 {
			return err
		}
	}
	n, err := t.exec(`INSERT INTO consent (app, consent_id, urn, type, status, version, citizen_hash, deadline, sealed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (consent_id) DO UPDATE SET status = excluded.status, version = excluded.version,
			citizen_hash = excluded.citizen_hash, deadline = excluded.deadline, sealed = excluded.sealed
			WHERE consent.app = excluded.app`,
		key, string(c.ID), c.ConsentID, string(c.Type), string(c.Status), c.Version, citizen, deadline, sealed)
	if err == nil && n == 0 {
		return notFound() // another application's
	}
	return err
}

func (s *Store) citizenHash(app access.ID, id string) []byte {
	return s.index.Hash(secret.Place{What: "consent", Owner: string(app), Field: "citizenId"}, id)
}

// consentFields are what scanConsent reads; c is the consent, s its subject.
const consentFields = `c.consent_id, c.urn, c.type, c.status, c.version, c.deadline, c.sealed, s.sealed_key`

const fromConsents = ` FROM consent c JOIN subject s ON s.app = c.app AND s.subject = c.consent_id`

// scanConsent reads consentFields and opens the sealed part.
func (r *reader) scanConsent(scan func(...any) error, app access.ID, key int64) (consent.Consent, error) {
	c := consent.Consent{Application: string(app)}
	var id, typ, status string
	var deadline sql.NullInt64
	var sealed, sealedKey []byte
	if err := scan(&id, &c.ConsentID, &typ, &status, &c.Version, &deadline, &sealed, &sealedKey); err != nil {
		return consent.Consent{}, err
	}
	c.ID, c.Type, c.Status, c.Deadline = consent.ID(id), consent.Type(typ), consent.Status(status), moment(deadline.Int64)
	ci, err := r.s.cipher(key, id, sealedKey)
	if err != nil {
		return consent.Consent{}, err
	}
	content, err := ci.Open(sealed, consentPlace(id))
	if err == nil {
		err = decodeConsent(content, &c)
	}
	if err != nil {
		return consent.Consent{}, fmt.Errorf("open %s: %w", id, err)
	}
	return c, nil
}

// Consent implements store.Tx.
func (t *tx) Consent(app access.ID, ref string) (consent.Consent, error) { return t.consent(app, ref) }

// Consent implements store.Reader.
func (s *Store) Consent(ctx context.Context, app access.ID, ref string) (c consent.Consent, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, err = r.consent(app, ref)
		return err
	})
	return c, err
}

// consent finds by ID, then by consentId.
func (r *reader) consent(app access.ID, ref string) (consent.Consent, error) {
	key, err := r.app(app)
	if err != nil {
		return consent.Consent{}, err
	}
	var c consent.Consent
	for _, where := range []string{" WHERE c.consent_id = ? AND c.app = ?", " WHERE c.urn = ? AND c.app = ?"} {
		c, err = r.scanConsent(func(dst ...any) error {
			return r.get(dst, "SELECT "+consentFields+fromConsents+where, ref, key)
		}, app, key)
		if !isNotFound(err) {
			return c, err
		}
	}
	return c, err
}

// Consents implements store.Reader. After is the ID of the last consent seen.
func (s *Store) Consents(ctx context.Context, app access.ID, q store.ConsentQuery) (list []consent.Consent, next string, err error) {
	limit := pageLimit(q.Limit)
	err = s.read(ctx, func(r *reader) error {
		list, next = nil, ""
		key, err := r.app(app)
		if err != nil {
			return err
		}
		where, args := " WHERE c.app = ?", []any{key}
		if q.After != "" {
			row, err := r.behind("SELECT row FROM consent WHERE consent_id = ? AND app = ?", q.After, key)
			if err != nil {
				return err
			}
			where, args = where+" AND c.row < ?", append(args, row)
		}
		if q.CitizenID != "" {
			names, err := r.histories(key, permission.CitizenID(q.CitizenID))
			if isNotFound(err) {
				names, err = []permission.CitizenID{permission.CitizenID(q.CitizenID)}, nil // a consent may name anybody
			}
			if err != nil {
				return err
			}
			where += " AND c.citizen_hash IN (?" + strings.Repeat(", ?", len(names)-1) + ")"
			for _, name := range names {
				args = append(args, s.citizenHash(app, string(name)))
			}
		}
		if q.Type != "" {
			where, args = where+" AND c.type = ?", append(args, string(q.Type))
		}
		if n := len(q.Lifecycle); n > 0 {
			where += " AND c.status IN (?" + strings.Repeat(", ?", n-1) + ")"
			for _, st := range q.Lifecycle {
				args = append(args, string(st))
			}
		}
		return r.each(func(rows db.Rows) error {
			if len(list) == limit {
				next = string(list[limit-1].ID)
				return nil
			}
			c, err := r.scanConsent(rows.Scan, app, key)
			list = append(list, c)
			return err
		}, "SELECT "+consentFields+fromConsents+where+" ORDER BY c.row DESC LIMIT ?", append(args, limit+1)...)
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

// DueConsents implements store.Reader.
func (s *Store) DueConsents(ctx context.Context, now time.Time, limit int) (list []store.ConsentRef, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		return r.each(func(rows db.Rows) error {
			var app, id string
			err := rows.Scan(&app, &id)
			list = append(list, store.ConsentRef{Application: access.ID(app), ID: consent.ID(id)})
			return err
		}, `SELECT a.app_id, c.consent_id FROM consent c JOIN application a ON a.app = c.app
			WHERE c.deadline <= ? ORDER BY c.deadline, c.row LIMIT ?`, millis(now), pageLimit(limit))
	})
	return list, err
}

// NextDeadline implements store.Reader.
func (s *Store) NextDeadline(ctx context.Context) (at time.Time, err error) {
	err = s.read(ctx, func(r *reader) error {
		var ms sql.NullInt64
		err := r.get([]any{&ms}, "SELECT MIN(deadline) FROM consent WHERE deadline IS NOT NULL")
		at = moment(ms.Int64)
		return err
	})
	return at, err
}
