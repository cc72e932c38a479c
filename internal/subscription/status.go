package subscription

import (
	"encoding/json"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// RotationOverlap is how long a rotated signing secret still signs.
// Source: CONTRACT 5.
const RotationOverlap = 24 * time.Hour

// StatusChanged returns the event that tells an application's other endpoints
// what became of e. Its subject is the endpoint's ID. The caller gives it an
// ID and a recording time.
func StatusChanged(e Endpoint, from Status, at time.Time) event.Event {
	type data struct {
		SubscriptionID string `json:"subscriptionId,omitempty"`
		InterceptorID  string `json:"interceptorId,omitempty"`
		MailSenderID   string `json:"mailSenderId,omitempty"`
		Status         Status `json:"status"`
		StatusReason   string `json:"statusReason,omitempty"`
		PreviousStatus Status `json:"previousStatus"`
	}
	d := data{Status: e.Status, StatusReason: e.StatusReason, PreviousStatus: from}
	switch e.Style {
	case Interceptor:
		d.InterceptorID = string(e.ID)
	case MailSender:
		d.MailSenderID = string(e.ID)
	default:
		d.SubscriptionID = string(e.ID)
	}
	body, err := json.Marshal(struct {
		Type      event.Type `json:"type"`
		Timestamp string     `json:"timestamp"`
		Data      data       `json:"data"`
	}{event.WebhookStatusChanged, event.Format(at), d})
	if err != nil {
		panic(err) // strings only
	}
	return event.Event{
		Application: e.Application, Feed: event.Operations, Type: event.WebhookStatusChanged,
		Subject: string(e.ID), OccurredAt: at, Body: body, Except: string(e.ID),
	}
}
