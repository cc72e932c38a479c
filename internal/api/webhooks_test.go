package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/subscription"
)

// TestWebhooks_areAllThereIs: the document tells of everything that can be
// logged, and of the test.
func TestWebhooks_areAllThereIs(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range webhooks() {
		got = append(got, string(h.event))
	}
	want := append(eventTypes(), string(event.WebhookTest))
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	w := newWorld(t)
	page := string(w.call("GET", "/docs", "", "").want(200).body)
	for _, name := range eventTypes() {
		if !strings.Contains(page, "<code>"+name+"</code>: ") {
			t.Errorf("the page does not tell what %s is", name)
		}
	}
}

// TestWebhooks_areWhatIsSent: the bodies that the rules make fit what the
// document says of them.
func TestWebhooks_areWhatIsSent(t *testing.T) {
	t.Parallel()
	w := &world{t: t, schemas: byName(components())}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	schemaOf := func(typ event.Type) *schema {
		for _, h := range webhooks() {
			if h.event == typ {
				return ref(h.schema)
			}
		}
		t.Fatalf("no webhook is of the type %s", typ)
		return nil
	}
	r := consent.Request{
		Type: consent.Data, Permissions: []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		LoggedUser: consent.Document{Identification: "11122233344", Rel: "CPF"}, Approvers: 1,
	}
	policy := consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: time.Hour}
	c, created, err := consent.Create("con_1", "app_1", r, at, policy)
	if err != nil {
		t.Fatal(err)
	}
	_, rejected, err := c.Reject(at, consent.Decision{})
	if err != nil {
		t.Fatal(err)
	}
	who := permission.Citizen{Application: "app_1", ID: "ctz_1"}
	e := subscription.Endpoint{Style: subscription.Subscription, ID: "sub_1", Application: "app_1", Status: subscription.Suspended, StatusReason: "Gone."}
	all := []event.Event{
		consent.Receive("con_1", "app_1", r, at), created, rejected[0],
		permission.EffectiveEvent(who, permission.View{}, at), permission.ErasedEvent(who, at),
		subscription.StatusChanged(e, subscription.Active, at), {Type: event.WebhookTest, Body: delivery.TestBody(at)},
	}
	for _, e := range all {
		if err := w.conforms(schemaOf(e.Type), e.Body, false); err != nil {
			t.Errorf("%s: %v in %s", e.Type, err, e.Body)
		}
	}
	if err := w.conforms(schemaOf(event.CitizenErased), all[3].Body, false); err == nil {
		t.Error("the body of another type fits, so the check proves nothing")
	}
}
