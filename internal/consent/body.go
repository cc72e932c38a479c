package consent

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// The members of an event's body, in the order in which they are sent. The
// source's page shows the envelope but not the data; these are the members of
// the Open Finance Brasil resource without the person (DOMAIN 7.4).
type (
	envelope struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}
	receivedData struct {
		ID                 ID            `json:"id"`
		Type               Type          `json:"type"`
		Permissions        []string      `json:"permissions,omitempty"`
		Payment            *paymentData  `json:"payment,omitempty"`
		Creditor           *creditorData `json:"creditor,omitempty"`
		ExpirationDateTime string        `json:"expirationDateTime,omitempty"`
		ReceivedDateTime   string        `json:"receivedDateTime"`
	}
	consentData struct {
		ID                   ID             `json:"id"`
		ConsentID            string         `json:"consentId"`
		Type                 Type           `json:"type"`
		Status               string         `json:"status"`
		CreationDateTime     string         `json:"creationDateTime"`
		StatusUpdateDateTime string         `json:"statusUpdateDateTime"`
		ExpirationDateTime   string         `json:"expirationDateTime,omitempty"`
		Permissions          []string       `json:"permissions,omitempty"`
		Payment              *paymentData   `json:"payment,omitempty"`
		Creditor             *creditorData  `json:"creditor,omitempty"`
		Rejection            *rejectionData `json:"rejection,omitempty"`
	}
	paymentData struct {
		Type     string `json:"type"`
		Currency string `json:"currency"`
		Amount   string `json:"amount"`
	}
	// creditorData is a summary: the creditor's document stays with us.
	creditorData struct {
		PersonType string `json:"personType,omitempty"`
		Name       string `json:"name"`
	}
	rejectionData struct {
		RejectedBy string     `json:"rejectedBy"`
		Reason     reasonData `json:"reason"`
	}
	reasonData struct {
		Code                  string `json:"code"`
		AdditionalInformation string `json:"additionalInformation,omitempty"`
	}
)

// Body returns the body of a lifecycle event of type t about c: the source's
// name of the event and the official view of the consent, its members in a
// fixed order, times with milliseconds, no person. t is one of
// event.Lifecycle but consent.create.received, whose body Receive makes.
func Body(t event.Type, c Consent) []byte {
	d := consentData{
		ID:                   c.ID,
		ConsentID:            c.ConsentID,
		Type:                 c.Type,
		Status:               c.OfficialStatus(),
		CreationDateTime:     event.Format(c.CreatedAt),
		StatusUpdateDateTime: event.Format(c.StatusUpdatedAt),
		ExpirationDateTime:   formatOptional(c.ExpiresAt),
		Permissions:          c.Permissions,
		Payment:              (*paymentData)(c.Payment),
		Creditor:             summary(c.Creditor),
	}
	if j := c.Rejection; j != nil {
		d.Rejection = &rejectionData{RejectedBy: j.By, Reason: reasonData{j.Code, j.AdditionalInformation}}
	}
	return encode(t, d)
}

func receivedBody(id ID, r Request, now time.Time) []byte {
	return encode(event.ConsentCreateReceived, receivedData{
		ID:                 id,
		Type:               r.Type,
		Permissions:        r.Permissions,
		Payment:            (*paymentData)(r.Payment),
		Creditor:           summary(r.Creditor),
		ExpirationDateTime: formatOptional(r.ExpiresAt),
		ReceivedDateTime:   event.Format(now),
	})
}

func summary(c *Creditor) *creditorData {
	if c == nil {
		return nil
	}
	return &creditorData{PersonType: c.PersonType, Name: c.Name}
}

func formatOptional(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return event.Format(t)
}

func encode(t event.Type, data any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(envelope{t.SourceName(), data}); err != nil {
		panic(err) // strings only
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
