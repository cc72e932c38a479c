package mail

import (
	"bytes"
	"encoding/json"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
)

// mailData is the body of a citizen.email. Source: DOMAIN 7.5.
type mailData struct {
	ApplicationID string               `json:"applicationId"`
	CitizenID     permission.CitizenID `json:"citizenId"`
	ExternalRef   *string              `json:"externalRef"`
	Email         emailData            `json:"email"`
}

type emailData struct {
	MessageID string  `json:"messageId"`
	Template  Name    `json:"template"`
	To        *string `json:"to"`
	Language  string  `json:"language"`
	Subject   string  `json:"subject"`
	Text      string  `json:"text"`
	HTML      string  `json:"html"`
	ActionURL string  `json:"actionUrl,omitempty"`
	ExpiresAt string  `json:"expiresAt,omitempty"`
}

func body(c permission.Citizen, m Message) []byte {
	d := mailData{c.Application, c.ID, optional(c.ExternalRef), emailData{
		m.ID, m.Template, optional(m.To), m.Language, m.Subject, m.Text, m.HTML, m.ActionURL, "",
	}}
	if !m.ExpiresAt.IsZero() {
		d.Email.ExpiresAt = event.Format(m.ExpiresAt)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		panic(err) // strings only
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
