package api

import (
	"strings"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/signature"
)

// webhook is one of the requests that we make: a row of the document's list of
// webhooks.
type webhook struct {
	event   event.Type
	schema  string // of the body; a component
	summary string
}

// webhooks returns what an endpoint may be told, in the order of the document.
func webhooks() []webhook {
	return []webhook{
		{event.ConsentCreateReceived, "WebhookConsentReceived", "A consent was asked for; whether it came to be is told next."},
		{event.ConsentCreated, "WebhookConsent", "A consent waits to be authorised."},
		{event.ConsentApproved, "WebhookConsent", "A consent was authorised."},
		{event.ConsentRejected, "WebhookConsent", "A consent was rejected before it was authorised."},
		{event.ConsentExpired, "WebhookConsent", "A consent ended by its time."},
		{event.ConsentRevoked, "WebhookConsent", "An authorised consent was taken back."},
		{event.ConsentConsumed, "WebhookConsent", "An authorised consent was used."},
		{event.ConsentExtended, "WebhookConsent", "An authorised consent was extended."},
		{event.PermissionsDelta, "WebhookDelta", "What one update of a citizen changed: `consent-receipts`."},
		{event.PermissionsEffective, "Permissions", "A citizen's full state after an update: `effective-permission`."},
		{event.CitizenEmail, "WebhookEmail", "An e-mail to be sent to a citizen: `citizen-emails`."},
		{event.CitizenErased, "WebhookErased", "A citizen was erased. It goes to every subscription, whatever its update type, and is the last event of the citizen."},
		{event.WebhookStatusChanged, "WebhookStatusChanged", "We suspended another endpoint of the application, or it goes on."},
		{event.WebhookTest, "WebhookTest", "A test that was asked for. It is no event: it is in no log."},
	}
}

// node returns the webhook as the document has it.
func (h webhook) node(components map[string]*schema) object {
	header := func(name, text string) object {
		return object{{"name", name}, {"in", "header"}, {"required", true}, {"description", text}, {"schema", object{{"type", "string"}}}}
	}
	params := []object{
		header(signature.HeaderID, "The `eventId`; the same over retries."),
		header(signature.HeaderTimestamp, "When this attempt was signed: Unix seconds."),
		header(signature.HeaderSignature, "Signatures of Standard Webhooks, separated by spaces."),
	}
	if h.event != event.WebhookTest {
		params = append(params,
			header(delivery.HeaderSubject, "What orders it: the ID of a consent, a citizen or an endpoint."),
			header(delivery.HeaderSequence, "The subject's own counter; it strictly rises."),
			header(delivery.HeaderAttempt, "From 1."))
	}
	body := ref(h.schema)
	return object{{"post", object{
		{"summary", h.summary}, {"parameters", params},
		{"requestBody", object{{"required", true}, {"content", object{{mediaJSON, object{{"schema", body.node()}, {"example", body.sample(components)}}}}}}},
		{"responses", object{{"2XX", object{{"description", "It is delivered. Anything else is tried again by the schedule; 410 suspends the endpoint."}}}}},
	}}}
}

// webhookNodes returns all webhooks by their types.
func webhookNodes(components map[string]*schema) object {
	out := object{}
	for _, h := range webhooks() {
		out = append(out, member{string(h.event), h.node(components)})
	}
	return out
}

// webhookComponents describe the bodies that are sent. Sources: DOMAIN 3.4, 7.4
// and 7.5; CONTRACT 6 and 9.
func webhookComponents() []component {
	null := func(name string, like any) property { return must(name, str("").orNull().like(like)) }
	consentID := must("id", str("").like("con_06f3z8m1q4t7w0x2y5b8c1d4e7"))
	kind := must("type", str("").of("DATA", "PAYMENT"))
	asked := []property{
		may("permissions", list(str("")).like([]string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"})),
		may("payment", shown("", must("type", str("")), must("currency", str("")), must("amount", str(""))).like(nil)),
		may("creditor", shown("", may("personType", str("")), must("name", str("Of a PAYMENT.").like("Padaria Central")))),
		may("expirationDateTime", instant("Absent: indefinite.").like(nil)),
	}
	envelopeOf := func(names []string, data ...property) *schema {
		return shown("", must("event", str("").of(names...)), must("data", shown("", data...)))
	}
	var names []string
	for _, t := range event.Lifecycle()[1:] {
		names = append(names, t.SourceName())
	}
	var templates []string
	for _, n := range []mail.Name{mail.DoubleOptIn, mail.ConsentConfirmation, mail.WithdrawalConfirmation, mail.ExpiryReminder, mail.Receipt} {
		templates = append(templates, string(n))
	}
	state := byName(permissionComponents())["Permissions"]
	delta := *state
	delta.text, delta.props = "What an update changed: as a full state, with these alone.", nil
	for _, p := range state.props {
		p.required = p.required && p.schema.kind != "array"
		delta.props = append(delta.props, p)
	}
	application, citizen, reference := must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("citizenId", str("").like(exampleCitizen)), null("externalRef", "CRM-000771")
	return []component{
		{"WebhookConsentReceived", envelopeOf([]string{event.ConsentCreateReceived.SourceName()}, append([]property{consentID, kind}, append(asked, must("receivedDateTime", instant("")))...)...)},
		{"WebhookConsent", envelopeOf(names, append([]property{
			consentID, must("consentId", str("").like("urn:consentwire:con_06f3z8m1q4t7w0x2y5b8c1d4e7")), kind, must("status", str("The official view.").like("AUTHORISED")),
			must("creationDateTime", instant("")), must("statusUpdateDateTime", instant("")), may("rejection", ref("Rejection").saying("Why it is closed.")),
		}, asked...)...)},
		{"WebhookDelta", &delta},
		{"WebhookEmail", shown("", application, citizen, reference, must("email", shown("",
			must("messageId", str("").like("eml_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("template", str("").of(templates...)), null("to", "person@example.org"),
			must("language", str("").like("en")), must("subject", str("").like("Please confirm your choice")), must("text", str("").like("Open the link to confirm …")),
			must("html", str("").like("<p>Open the link …</p>")), may("actionUrl", str("Of a double opt-in.").like("https://consentwire.example/confirm/…")), may("expiresAt", instant("When the link ends.")))))},
		{"WebhookErased", shown("", application, citizen, reference, must("erasedAt", instant("")))},
		{"WebhookStatusChanged", shown("", must("type", str("").of(string(event.WebhookStatusChanged))), must("timestamp", instant("")), must("data", shown("",
			may("subscriptionId", str("").like("sub_06f3z8m1q4t7w0x2y5b8c1d4e7")), may("interceptorId", str("")), may("mailSenderId", str("")),
			must("status", str("").of("active", "suspended", "paused").like("suspended")), may("statusReason", str("").like("The receiver answered 410 Gone.")), must("previousStatus", str("").of("active", "suspended", "paused")))))},
		{"WebhookTest", shown("", must("type", str("").of(string(event.WebhookTest))), must("timestamp", instant("")))},
	}
}

// textTypes tells what each type is.
func textTypes() string {
	var b strings.Builder
	b.WriteString("The types:")
	for _, h := range webhooks() {
		if h.event != event.WebhookTest {
			b.WriteString(" `" + string(h.event) + "`: " + h.summary)
		}
	}
	return b.String()
}

// Webhook describes what an endpoint may be told of one type.
type Webhook struct {
	Type    event.Type
	Summary string
	Schema  []byte // JSON Schema of the body, with what it refers to
	Example []byte // a body in JSON
}

// Webhooks returns what an endpoint may be told, as the document has it.
func Webhooks() []Webhook {
	components := byName(components())
	var out []Webhook
	for _, h := range webhooks() {
		sample := ref(h.schema).sample(components)
		if o, ok := sample.(object); ok && h.event.IsLifecycle() {
			for i := range o {
				if o[i].name == "event" {
					o[i].value = h.event.SourceName()
				}
			}
		}
		schema, err := encode(whole(components[h.schema], components).node())
		if err != nil {
			panic(err) // texts and numbers only
		}
		example, err := encode(sample)
		if err != nil {
			panic(err)
		}
		out = append(out, Webhook{h.event, h.summary, schema, example})
	}
	return out
}

// whole returns a schema with the components in the place of references to
// them; none refers to itself.
func whole(s *schema, components map[string]*schema) *schema {
	if s == nil {
		return nil
	}
	if s.ref != "" {
		return whole(components[s.ref], components)
	}
	out := *s
	out.items, out.extra = whole(s.items, components), whole(s.extra, components)
	out.props = nil
	for _, p := range s.props {
		p.schema = whole(p.schema, components)
		out.props = append(out.props, p)
	}
	out.anyOf = nil
	for _, a := range s.anyOf {
		out.anyOf = append(out.anyOf, whole(a, components))
	}
	return &out
}
