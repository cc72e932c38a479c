package subscription_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

func TestEndpoint_Filter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		e    subscription.Endpoint
		want string
	}{
		{"an interceptor of type DATA", subscription.Endpoint{Style: subscription.Interceptor, Feed: event.LifecycleData},
			"{[lifecycle-data] [consent.create.received consent.created consent.approved consent.rejected consent.expired consent.revoked]}"},
		{"a subscription of full states", subscription.Endpoint{UpdateType: subscription.EffectivePermission}, "{[] [citizen.erased permissions.effective]}"},
		{"a subscription of deltas", subscription.Endpoint{UpdateType: subscription.ConsentReceipts}, "{[] [citizen.erased permissions.delta]}"},
		{"a subscription of mails", subscription.Endpoint{UpdateType: subscription.CitizenEmails}, "{[] [citizen.email citizen.erased]}"},
		{"a mail sender", subscription.Endpoint{Style: subscription.MailSender}, "{[] [citizen.email]}"},
		{"a subscription that lists its types, in a fixed order", subscription.Endpoint{UpdateType: subscription.ConsentReceipts,
			EventTypes: []event.Type{event.ConsentRevoked, event.ConsentApproved}}, "{[] [citizen.erased consent.approved consent.revoked]}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := fmt.Sprint(tt.e.Filter()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFilter_Matches(t *testing.T) {
	t.Parallel()
	data := subscription.Endpoint{Style: subscription.Interceptor, Feed: event.LifecycleData}.Filter()
	listed := subscription.Endpoint{EventTypes: []event.Type{event.ConsentApproved, event.WebhookStatusChanged}}.Filter()
	tests := []struct {
		name string
		f    subscription.Filter
		e    event.Event
		want bool
	}{
		{"its type and feed", data, event.Event{Type: event.ConsentApproved, Feed: event.LifecycleData}, true},
		{"its type in the other feed", data, event.Event{Type: event.ConsentApproved, Feed: event.LifecyclePayment}, false},
		{"a type that only a list names", data, event.Event{Type: event.ConsentConsumed, Feed: event.LifecycleData}, false},
		{"a listed type in any feed", listed, event.Event{Type: event.ConsentApproved, Feed: event.LifecyclePayment}, true},
		{"a type that is not listed", listed, event.Event{Type: event.ConsentRejected, Feed: event.LifecycleData}, false},
		{"what became of another", listed, event.Event{Type: event.WebhookStatusChanged, Feed: event.Operations, Except: "sub_2"}, true},
		{"what became of itself", listed, event.Event{Type: event.WebhookStatusChanged, Feed: event.Operations, Except: "sub_1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.f.Matches("sub_1", tt.e); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
	if data.Equal(listed) || !data.Equal(data) {
		t.Error("filters are not told apart")
	}
}

func TestStatusChanged(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.UTC)
	e := subscription.Endpoint{ID: "sub_1", Application: "app_1", Style: subscription.Subscription, Status: subscription.Suspended, StatusReason: "It answered 410."}
	got := subscription.StatusChanged(e, subscription.Active, at)
	want := `{"type":"webhook.status_changed","timestamp":"2026-03-01T12:00:00.005Z","data":{"subscriptionId":"sub_1","status":"suspended","statusReason":"It answered 410.","previousStatus":"active"}}`
	if string(got.Body) != want {
		t.Errorf("got  %s\nwant %s", got.Body, want)
	}
	if got.Subject != "sub_1" || got.Except != "sub_1" || got.Application != "app_1" || !got.OccurredAt.Equal(at) {
		t.Errorf("got %+v, want it about sub_1, told to others", got)
	}
	e.Style = subscription.Interceptor
	if got := string(subscription.StatusChanged(e, subscription.Active, at).Body); got == want {
		t.Error("an interceptor is called a subscription")
	}
}
