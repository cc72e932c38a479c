package permission_test

import (
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
)

func TestErasedEvent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
	tests := []struct {
		name string
		who  permission.Citizen
		body string
	}{
		{
			"one with a reference", permission.Citizen{Application: "app_1", ID: "ctz_1", ExternalRef: `CRM<"1">`},
			`{"applicationId":"app_1","citizenId":"ctz_1","externalRef":"CRM<\"1\">","erasedAt":"2026-03-04T05:06:07.089Z"}`,
		},
		{
			"one without", permission.Citizen{Application: "app_1", ID: "ctz_1"},
			`{"applicationId":"app_1","citizenId":"ctz_1","externalRef":null,"erasedAt":"2026-03-04T05:06:07.089Z"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := permission.ErasedEvent(tt.who, at)
			if string(e.Body) != tt.body {
				t.Errorf("got %s, want %s", e.Body, tt.body)
			}
			if e.Type != event.CitizenErased || e.Feed != event.Erasures || e.Subject != "ctz_1" || e.Application != "app_1" || !e.OccurredAt.Equal(at) {
				t.Errorf("got %+v, want citizen.erased about ctz_1 at %v", e, at)
			}
		})
	}
}
