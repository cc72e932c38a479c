package permission

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// Citizen is what a body says of the citizen that it is about.
type Citizen struct {
	Application string
	ID          CitizenID
	ExternalRef string // empty: null in the body
	MergedInto  *Name  // the one that it became a part of; nil: it is one by itself
}

// Name is how a citizen is named.
type Name struct {
	ID          CitizenID
	ExternalRef string // may be empty
}

// The members of a body, in the order in which they are sent. A permission and
// a preference always have all of theirs; one that was not said is null.
// Source: DOMAIN 3.4, documented body, which shows delegatedAuthorityId so.
type (
	bodyData struct {
		ApplicationID string           `json:"applicationId"`
		CitizenID     CitizenID        `json:"citizenId"`
		ExternalRef   *string          `json:"externalRef"`
		MergedInto    *nameData        `json:"mergedInto,omitempty"`
		Permissions   []permissionData `json:"permissions"`
		Preferences   []preferenceData `json:"preferences"`
	}
	// deltaData is bodyData without arrays that are empty.
	deltaData struct {
		ApplicationID string           `json:"applicationId"`
		CitizenID     CitizenID        `json:"citizenId"`
		ExternalRef   *string          `json:"externalRef"`
		MergedInto    *nameData        `json:"mergedInto,omitempty"`
		Permissions   []permissionData `json:"permissions,omitempty"`
		Preferences   []preferenceData `json:"preferences,omitempty"`
	}
	// nameData is of a merge: ours.
	nameData struct {
		CitizenID   CitizenID `json:"citizenId"`
		ExternalRef *string   `json:"externalRef"`
	}
	permissionData struct {
		TransactionID          TransactionID `json:"transactionId"`
		OptionType             string        `json:"optionType"`
		OptionID               OptionID      `json:"optionId"`
		Justification          Justification `json:"justification"`
		State                  *string       `json:"state"`
		Channel                *string       `json:"channel"`
		Campaign               *string       `json:"campaign"`
		PrivacyPolicyID        *string       `json:"privacyPolicyId"`
		PrivacyPolicyRef       *string       `json:"privacyPolicyRef"`
		PermissionStatementID  *string       `json:"permissionStatementId"`
		PermissionStatementRef *string       `json:"permissionStatementRef"`
		RecordedBy             *string       `json:"recordedBy"`
		RecordedByName         *string       `json:"recordedByName"`
		RecordedClient         *string       `json:"recordedClient"`
		RecordedClientName     *string       `json:"recordedClientName"`
		DelegatedAuthorityID   *string       `json:"delegatedAuthorityId"`
		DelegatedAuthorityName *string       `json:"delegatedAuthorityName"`
		RecordedAt             *string       `json:"recordedAt"`
		ObtainedAt             *string       `json:"obtainedAt"`
		ValidFrom              *string       `json:"validFrom"`
		ValidUntil             *string       `json:"validUntil"`
	}
	preferenceData struct {
		Preference string       `json:"preference"`
		Label      string       `json:"label"`
		Choices    []choiceData `json:"choices"`
	}
	choiceData struct {
		Reference string `json:"reference"`
		Label     string `json:"label"`
	}
)

// EffectiveBody returns the body of a full state: all permissions, one per
// option, a group's change as those of its options, and all preferences. What
// lapsed or was reverted is shown with the state null, and a preference without
// a choice with an empty list; what was never in force is not shown.
//
// Source: DOMAIN 3.4, 7.5 and 7.10, B8.
func EffectiveBody(c Citizen, v View) []byte {
	return encode(bodyData(parts(c, v)))
}

// DeltaBody returns the body of what one update changed: as EffectiveBody, but
// an empty array is left out. The delta is not empty.
//
// Source: DOMAIN 3.4 and 7.5.
func DeltaBody(c Citizen, d Delta) []byte {
	return encode(parts(c, d.View))
}

// EffectiveEvent returns the event of the feed effective-permission that tells
// the full state v since at. The caller gives it an ID and a recording time.
func EffectiveEvent(c Citizen, v View, at time.Time) event.Event {
	return event.Event{
		Application: c.Application, Feed: event.EffectivePermission, Type: event.PermissionsEffective,
		Subject: string(c.ID), OccurredAt: at, Body: EffectiveBody(c, v),
	}
}

// DeltaEvent returns the event of the feed consent-receipts that tells a delta
// that is not empty. The caller gives it an ID and a recording time.
func DeltaEvent(c Citizen, d Delta) event.Event {
	return event.Event{
		Application: c.Application, Feed: event.ConsentReceipts, Type: event.PermissionsDelta,
		Subject: string(c.ID), OccurredAt: d.At, Body: DeltaBody(c, d),
	}
}

func parts(c Citizen, v View) deltaData {
	d := deltaData{
		ApplicationID: c.Application, CitizenID: c.ID, ExternalRef: optional(c.ExternalRef),
		Permissions: make([]permissionData, len(v.Permissions)), Preferences: make([]preferenceData, len(v.Preferences)),
	}
	if n := c.MergedInto; n != nil {
		d.MergedInto = &nameData{n.ID, optional(n.ExternalRef)}
	}
	for i, p := range v.Permissions {
		o := p.Origin
		d.Permissions[i] = permissionData{
			TransactionID:          o.Transaction,
			OptionType:             TypeOption,
			OptionID:               p.Option,
			Justification:          p.Justification,
			State:                  optional(p.Effective()),
			Channel:                optional(o.Channel),
			Campaign:               optional(o.Campaign),
			PrivacyPolicyID:        optional(o.Policy),
			PrivacyPolicyRef:       optional(o.PolicyRef),
			PermissionStatementID:  optional(o.Statement),
			PermissionStatementRef: optional(o.StatementRef),
			RecordedBy:             optional(o.Actor.By),
			RecordedByName:         optional(o.Actor.ByName),
			RecordedClient:         optional(o.Actor.Client),
			RecordedClientName:     optional(o.Actor.ClientName),
			DelegatedAuthorityID:   optional(o.Actor.Authority),
			DelegatedAuthorityName: optional(o.Actor.AuthorityName),
			RecordedAt:             instant(o.RecordedAt),
			ObtainedAt:             instant(p.ObtainedAt),
			ValidFrom:              instant(p.ValidFrom),
			ValidUntil:             instant(p.ValidUntil),
		}
	}
	for i, s := range v.Preferences {
		chosen := s.Effective()
		d.Preferences[i] = preferenceData{s.Preference, s.Label, make([]choiceData, len(chosen))}
		for k, a := range chosen {
			d.Preferences[i].Choices[k] = choiceData(a)
		}
	}
	return d
}

// optional returns a text of which the empty one is null.
func optional[S ~string](s S) *string {
	if s == "" {
		return nil
	}
	t := string(s)
	return &t
}

func instant(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return optional(event.Format(t))
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings only
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
