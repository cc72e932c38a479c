package mail

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/consentwire/consentwire/internal/permission"
)

// Parse reads the message in the body of a citizen.email: all of it that Event
// puts there, and nothing else. A member that is missing, unknown, of another
// type or there twice is an error, which repeats nothing of the body.
func Parse(body []byte) (Message, error) {
	var d struct {
		ApplicationID *string `json:"applicationId"`
		CitizenID     *string `json:"citizenId"`
		ExternalRef   *string `json:"externalRef"`
		Email         *struct {
			MessageID *string `json:"messageId"`
			Template  *Name   `json:"template"`
			To        *string `json:"to"`
			Language  *string `json:"language"`
			Subject   *string `json:"subject"`
			Text      *string `json:"text"`
			HTML      *string `json:"html"`
			ActionURL string  `json:"actionUrl"`
			ExpiresAt string  `json:"expiresAt"`
		} `json:"email"`
	}
	if err := json.Unmarshal(body, &d, json.RejectUnknownMembers(true)); err != nil {
		return Message{}, errors.New("the body is not that of a mail")
	}
	e := d.Email
	if d.ApplicationID == nil || d.CitizenID == nil || e == nil || e.MessageID == nil || e.Template == nil ||
		e.Language == nil || e.Subject == nil || e.Text == nil || e.HTML == nil {
		return Message{}, errors.New("a member is missing in the body of a mail")
	}
	m := Message{
		ID: *e.MessageID, Template: *e.Template, Language: *e.Language, Subject: *e.Subject, Text: *e.Text, HTML: *e.HTML, ActionURL: e.ActionURL,
	}
	if e.To != nil {
		m.To = *e.To
	}
	if e.ExpiresAt != "" {
		at, err := time.Parse(time.RFC3339, e.ExpiresAt)
		if err != nil {
			return Message{}, errors.New("an instant in the body of a mail cannot be read")
		}
		m.ExpiresAt = at.UTC()
	}
	return m, nil
}

// Trial returns the body of a mail that only shows that mails arrive. It is no
// citizen's: its citizenId is empty.
func Trial(applicationID, to, id string) []byte {
	return body(permission.Citizen{Application: applicationID}, Message{
		ID: id, Template: "test", To: to, Language: "en", Subject: "Test message",
		Text: "This message only shows that the mail sender works. Nothing needs to be done.\n",
		HTML: "<p>This message only shows that the mail sender works. Nothing needs to be done.</p>\n",
	})
}
