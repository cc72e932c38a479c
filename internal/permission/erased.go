package permission

import (
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// erasedData are the members of the body that tells of an erasure, in the
// order in which they are sent. Source: CONTRACT 6.
type erasedData struct {
	ApplicationID string    `json:"applicationId"`
	CitizenID     CitizenID `json:"citizenId"`
	ExternalRef   *string   `json:"externalRef"`
	ErasedAt      string    `json:"erasedAt"`
}

// ErasedEvent returns the event that tells that a citizen was erased at an
// instant: the last one of its subject. The caller gives it an ID and a
// recording time.
func ErasedEvent(c Citizen, at time.Time) event.Event {
	return event.Event{
		Application: c.Application, Feed: event.Erasures, Type: event.CitizenErased,
		Subject: string(c.ID), OccurredAt: at,
		Body: encode(erasedData{c.Application, c.ID, optional(c.ExternalRef), event.Format(at)}),
	}
}
