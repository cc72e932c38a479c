package api

import (
	"net/http"
	"strings"

	"github.com/consentwire/consentwire/internal/wire"
)

// scope says who may call an operation. The zero scope is nobody's: a test
// finds an operation that was given none.
type scope string

const (
	public             scope = "public"
	operator           scope = "operator"
	application        scope = "application" // by its token, or by the operator who names it
	operatorOrLoopback scope = "operator, or this machine itself"
)

// handler carries out an operation. It writes nothing: it returns an answer or
// an error.
type handler func(*call) (reply, error)

// operation is one row of the table.
type operation struct {
	id      string // operationId
	method  string
	path    string // a pattern of http.ServeMux without its method
	scope   scope
	tag     string
	summary string
	text    string // more, in the document

	param    string // the name of the path's first parameter; set by operations
	paramLen int    // how long a parameter of the path may be; 0: maxID
	query    []parameter
	takes    *payload
	answers  []answer
	errors   []int // beside those that follow from the rest of the row

	keyed      bool   // it takes an Idempotency-Key
	noLocation bool   // what it makes cannot be read by itself
	quiet      bool   // its line in the log is for debugging only
	unlisted   string // why it is not in the document
	serve      handler
}

// parameter is one of the query, or a header.
type parameter struct {
	name   string
	schema *schema
}

// payload is the body that an operation takes.
type payload struct {
	schema   string // a component; empty: an empty object
	optional bool
	media    []string
	examples []example
}

type example struct {
	name, summary string
	value         any
}

// answer is a success.
type answer struct {
	status int
	text   string
	schema string // a component; empty: no body, or one that has none
	media  string // where it is not application/json
	cache  string // Cache-Control, where it is not no-store

	headers []parameter // that it has beside the usual ones
}

// applicationParam is how the operator names an application.
const applicationParam = "applicationId"

// The lengths of a path's parameters in characters. maxID is source B's
// ("Update a Subscription", Path Params); a consentId is a URN of up to 256,
// and the ID of a delivery is computed and therefore long.
const (
	maxID         = 50
	maxConsentID  = 256
	maxDeliveryID = 200
)

// paramMax returns how long a parameter of the path may be.
func (op *operation) paramMax() int {
	if op.paramLen == 0 {
		return maxID
	}
	return op.paramLen
}

// pathParams returns the names of the path's parameters.
func (op *operation) pathParams() []string {
	var out []string
	for part := range strings.SplitSeq(op.path, "/") {
		if name, is := strings.CutPrefix(part, "{"); is {
			out = append(out, strings.TrimSuffix(name, "}"))
		}
	}
	return out
}

// parameters returns all parameters of the query.
func (op *operation) parameters() []parameter {
	if op.scope != application {
		return op.query
	}
	return append([]parameter{{applicationParam, str("Whose data it is about. The operator's bearer must name the application; an application's token may name its own only.").
		between(1, maxID)}}, op.query...)
}

// The parameters that several lists share.
func offsetParam() parameter {
	return parameter{"offset", integer("How many to leave out at the beginning.").atLeast(0).or(0)}
}

func limitParam() parameter {
	return parameter{"limit", integer("The most that a page holds.").between(1, 100).or(20)}
}

func streamLimit() parameter {
	return parameter{"limit", integer("The most that a page holds.").between(1, 1000).or(100)}
}

func afterParam(text string) parameter { return parameter{"after", str(text).between(1, 500)} }

const textAfter = "The `next` of the page before."

func filter(name, text string) parameter { return parameter{name, str(text).between(1, 256)} }

func choice(name, text string, values ...string) parameter {
	return parameter{name, str(text).of(values...)}
}

func moment(name, text string) parameter { return parameter{name, instant(text)} }

func jsonBody(schema string, examples ...example) *payload {
	return &payload{schema: schema, media: []string{mediaJSON}, examples: examples}
}

func patchBody(schema string, examples ...example) *payload {
	return &payload{schema: schema, media: []string{mediaJSON, mediaPatch}, examples: examples}
}

func optionalBody(schema string, examples ...example) *payload {
	return &payload{schema: schema, media: []string{mediaJSON}, optional: true, examples: examples}
}

func gives(status int, schema, text string) []answer {
	return []answer{{status: status, schema: schema, text: text}}
}

// The groups of operations, in the order in which a newcomer meets them.
const (
	tagTokens        = "Access tokens"
	tagInterceptors  = "Interceptors"
	tagSubscriptions = "Subscriptions"
	tagSender        = "Mail sender"
	tagTemplates     = "Mail templates"
	tagSigningKeys   = "Signing keys"
	tagConsents      = "Consents"
	tagConfiguration = "Configuration"
	tagCitizens      = "Citizens"
	tagPermissions   = "Permissions and preferences"
	tagEvents        = "Events and deliveries"
	tagInspector     = "Request inspector"
	tagApplications  = "Applications"
	tagServer        = "Server"
)

// tags returns the groups with what they are for.
func tags() [][2]string {
	return [][2]string{
		{tagTokens, "Exchange a client ID and a client secret for an access token. Every other call carries it as `Authorization: Bearer <access_token>`."},
		{tagInterceptors, "Register where the lifecycle events of consents go, by their type DATA or PAYMENT. Bodies arrive as `{\"event\",\"data\"}`."},
		{tagSubscriptions, "Register where updates of a citizen's permissions and preferences go, or any listed event types, with the authentication that the receiver needs."},
		{tagSender, "Let us send the mails to citizens: double opt-in, confirmations, reminders, receipts. An application has one mail sender; it hears what a `citizen-emails` subscription hears, and hands each mail over to a mail server (SMTP)."},
		{tagTemplates, "What is written to citizens, by mail and language: our own texts, and those that you put in their place."},
		{tagSigningKeys, "The Ed25519 key pairs that sign the deliveries of subscriptions with `\"signatures\":[\"v1\",\"v1a\"]`, beside each one's own secret. Receivers need only the public halves."},
		{tagConsents, "Ask for a consent, decide on it, read it. Every change and its event are one commit; each consent ends exactly once."},
		{tagConfiguration, "What citizens can be asked about: options (what, why and who), groups of them, preferences, the statements by which they are asked, the policies that they are shown. What a transaction refers to is archived, never deleted."},
		{tagCitizens, "The people, by your own references. Their e-mail addresses are kept apart."},
		{tagPermissions, "Record what a citizen allows and prefers, as transactions that never change, and read what is in force, now or at any instant in the past."},
		{tagEvents, "Look back: what happened, who was told, when, and what they answered. Send it again."},
		{tagInspector, "Bins that take any request at `/inspect/{bin}/…`, show it, and answer as they are told: a receiver to try things with."},
		{tagApplications, "For the operator: the applications of this server and their credentials."},
		{tagServer, "For who runs it, and for tools."},
	}
}

// operations returns the table: all that the face can do.
func (s *server) operations() []operation {
	var ops []operation
	ops = append(ops, s.tokenOperations()...)
	ops = append(ops, s.interceptorOperations()...)
	ops = append(ops, s.subscriptionOperations()...)
	ops = append(ops, s.senderOperations()...)
	ops = append(ops, s.templateOperations()...)
	ops = append(ops, s.signingKeyOperations()...)
	ops = append(ops, s.consentOperations()...)
	ops = append(ops, s.configurationOperations()...)
	ops = append(ops, s.citizenOperations()...)
	ops = append(ops, s.linkOperations()...)
	ops = append(ops, s.permissionOperations()...)
	ops = append(ops, s.importOperations()...)
	ops = append(ops, s.receiptOperations()...)
	ops = append(ops, s.lookBackOperations()...)
	ops = append(ops, s.erasureOperations()...)
	ops = append(ops, s.inspectorOperations()...)
	ops = append(ops, s.applicationOperations()...)
	ops = append(ops, s.serverOperations()...)
	for i := range ops {
		if names := ops[i].pathParams(); len(names) > 0 {
			ops[i].param = names[0]
		}
	}
	return ops
}

func (s *server) tokenOperations() []operation {
	return []operation{
		{
			id: "getSourceToken", method: "POST", path: "/api/portal/onboard/v1/token", scope: public, tag: tagTokens,
			summary: "Get an access token (JSON)",
			text:    "As “Webhook in Data Sharing” has it. The token works for `expires_in` seconds.",
			takes:   jsonBody("SourceTokenRequest"),
			answers: gives(200, "SourceToken", "The access token."),
			errors:  []int{401, 429},
			serve:   s.sourceToken,
		},
		{
			id: "getToken", method: "POST", path: "/oauth2/token", scope: public, tag: tagTokens,
			summary: "Get an access token (OAuth 2.0)",
			text: "The client credentials grant of RFC 6749 section 4.4. The client authenticates by HTTP Basic or by `client_id` and `client_secret` " +
				"in the form, never by both. Errors are those of section 5.2.",
			takes:   &payload{schema: "TokenRequest", media: []string{mediaForm}},
			answers: gives(200, "Token", "The access token."),
			errors:  []int{401, 429},
			serve:   s.oauthToken,
		},
	}
}

const (
	textTest = "Sends a `webhook.test` now, past the log and the lanes, and answers 200 whatever the receiver answered: with the exact request, its secrets masked, and the response, " +
		"and with the request for a token in `token`, when one was made. " +
		"At most 10 at once and then one every 6 seconds per endpoint."
	textRotate = "The new secret is shown this once. Both sign for 24 hours, so that the receiver can change over without a gap."
	textReplay = "Choose by `eventIds`, or by the time of recording: `from` (inside), `to` (outside) and optionally the delivery's `status`. " +
		"Replayed deliveries keep body, `webhook-id` and sequence, carry `webhook-replay: true`, and go through their subject's live lane. What already waits is left out, and so is what was erased; an erased event in `eventIds` is refused."
)

func (s *server) interceptorOperations() []operation {
	const base = "/api/smart-keys/interceptors"
	const one = base + "/{id}"
	st := interceptors()
	return []operation{
		{
			id: "createInterceptor", method: "POST", path: base, scope: application, tag: tagInterceptors,
			summary: "Register an interceptor",
			text: "As “Webhook in Data Sharing” has it. With `isAuthenticated` every request carries HTTP Basic credentials. " +
				"`signingSecret` is shown this once: it signs every delivery (Standard Webhooks), whatever the authentication.",
			takes: jsonBody("InterceptorInput",
				example{"source", "The example of the source document", interceptorExample()},
				example{"basic", "With HTTP Basic credentials", interceptorBasicExample()}),
			answers: gives(201, "InterceptorCreated", "Webhook successfully registered."),
			errors:  []int{409},
			serve:   s.createEndpoint(st),
		},
		{
			id: "listInterceptors", method: "GET", path: base, scope: application, tag: tagInterceptors,
			summary: "List interceptors", text: "In the order of their registration.",
			query:   []parameter{choice("status", "Only these; what we suspended shows as paused.", "active", "paused"), offsetParam(), limitParam()},
			answers: gives(200, "InterceptorPage", "A page."),
			serve:   s.listEndpoints(st),
		},
		{
			id: "readInterceptor", method: "GET", path: one, scope: application, tag: tagInterceptors,
			summary: "Read an interceptor", answers: gives(200, "Interceptor", "The interceptor."), serve: s.readEndpoint(st),
		},
		{
			id: "replaceInterceptor", method: "PUT", path: one, scope: application, tag: tagInterceptors,
			summary: "Replace an interceptor", text: "Takes a whole registration; the signing secret stays. An interceptor that we suspended goes on, and what waits is sent in order.",
			takes:   jsonBody("InterceptorInput", example{"source", "The example of the source document", interceptorExample()}),
			answers: gives(200, "Interceptor", "The interceptor as it now is."), errors: []int{409}, serve: s.editEndpoint(st, st.replace),
		},
		{
			id: "deleteInterceptor", method: "DELETE", path: one, scope: application, tag: tagInterceptors,
			summary: "Delete an interceptor", text: "What waits for it is cancelled; its deliveries stay readable.",
			answers: gives(204, "", "It is gone."), serve: s.deleteEndpoint(st),
		},
		{
			id: "testInterceptor", method: "POST", path: one + "/test", scope: application, tag: tagInterceptors,
			summary: "Test an interceptor", text: textTest, takes: optionalBody(""),
			answers: gives(200, "Trial", "What came of it."), errors: []int{429}, serve: s.testEndpoint(st),
		},
		{
			id: "rotateInterceptorSecret", method: "POST", path: one + "/rotate-secret", scope: application, tag: tagInterceptors,
			summary: "Rotate the signing secret", text: textRotate, takes: optionalBody(""),
			answers: gives(200, "SigningSecret", "The new secret."), serve: s.rotateSecret(st),
		},
		{
			id: "replayInterceptor", method: "POST", path: one + "/replay", scope: application, tag: tagInterceptors,
			summary: "Send events again", text: textReplay, takes: jsonBody("ReplayInput", replayExamples()...),
			answers: gives(202, "Replay", "How many are sent again."), errors: []int{409, 429}, serve: s.replay(st),
		},
	}
}

func (s *server) subscriptionOperations() []operation {
	const base = "/v1/subscriptions"
	const one = base + "/{subscriptionId}"
	st := subscriptions()
	return []operation{
		{
			id: "createSubscription", method: "POST", path: base, scope: application, tag: tagSubscriptions,
			summary: "Create a subscription", text: "`signingSecret` is shown this once: it signs every delivery (Standard Webhooks), whatever the authentication. Secrets are never shown.",
			takes:   jsonBody("SubscriptionInput", subscriptionExamples()...),
			answers: gives(201, "SubscriptionCreated", "The subscription with its signing secret."),
			errors:  []int{409}, serve: s.createEndpoint(st),
		},
		{
			id: "listSubscriptions", method: "GET", path: base, scope: application, tag: tagSubscriptions,
			summary: "List subscriptions", text: "In the order of their creation.",
			query: []parameter{
				choice("status", "Only these; what we suspended shows as paused.", "active", "paused"),
				choice("updateType", "Only these.", updateTypes()...), offsetParam(), limitParam(),
			},
			answers: gives(200, "SubscriptionPage", "A page."), serve: s.listEndpoints(st),
		},
		{
			id: "readSubscription", method: "GET", path: one, scope: application, tag: tagSubscriptions,
			summary: "Read a subscription", answers: gives(200, "Subscription", "The subscription."), serve: s.readEndpoint(st),
		},
		{
			id: "updateSubscription", method: "PUT", path: one, scope: application, tag: tagSubscriptions,
			summary: "Update a subscription",
			text: "As “Update a Subscription” has it: all editable fields are replaced, so the secrets of its `authType` are needed; what is left out takes its default. " +
				"The signing secret stays. An unknown ID is 404: this never creates.",
			takes:   jsonBody("SubscriptionInput", subscriptionExamples()...),
			answers: gives(200, "Subscription", "The subscription as it now is."), serve: s.editEndpoint(st, st.replace),
		},
		{
			id: "patchSubscription", method: "PATCH", path: one, scope: application, tag: tagSubscriptions,
			summary: "Change a subscription",
			text: "A merge patch (RFC 7396). A secret that is absent, or null beside its `…Set: true`, is kept; a new `authType` starts from nothing but `mtls`; " +
				"a new host of `url`, `refreshUrl` or `authenticationUrl` needs the secrets again, a new `certificate` its `privateKey`. " +
				"New credentials take effect at once: a token that was obtained with the former ones is forgotten.",
			takes: patchBody("SubscriptionPatch",
				example{"pause", "Pause: updates are discarded from now on", object{{"status", "paused"}}},
				example{"resume", "Go on", object{{"status", "active"}}}),
			answers: gives(200, "Subscription", "The subscription as it now is."), serve: s.editEndpoint(st, wire.PatchSubscription),
		},
		{
			id: "deleteSubscription", method: "DELETE", path: one, scope: application, tag: tagSubscriptions,
			summary: "Delete a subscription", text: "What waits for it is cancelled; its deliveries stay readable.",
			answers: gives(204, "", "It is gone."), serve: s.deleteEndpoint(st),
		},
		{
			id: "testSubscription", method: "POST", path: one + "/test", scope: application, tag: tagSubscriptions,
			summary: "Test a subscription", text: textTest, takes: optionalBody(""),
			answers: gives(200, "Trial", "What came of it."), errors: []int{429}, serve: s.testEndpoint(st),
		},
		{
			id: "rotateSubscriptionSecret", method: "POST", path: one + "/rotate-secret", scope: application, tag: tagSubscriptions,
			summary: "Rotate the signing secret", text: textRotate, takes: optionalBody(""),
			answers: gives(200, "SigningSecret", "The new secret."), serve: s.rotateSecret(st),
		},
		{
			id: "replaySubscription", method: "POST", path: one + "/replay", scope: application, tag: tagSubscriptions,
			summary: "Send events again",
			text:    textReplay + " An `effective-permission` older than the newest delivered one is skipped and counted unless `includeStale`.",
			takes:   jsonBody("ReplayInput", replayExamples()...),
			answers: gives(202, "Replay", "How many are sent again."), errors: []int{409, 429}, serve: s.replay(st),
		},
	}
}

func (s *server) signingKeyOperations() []operation {
	const base = "/v1/signing-keys"
	return []operation{
		{
			id: "listSigningKeys", method: "GET", path: base, scope: application, tag: tagSigningKeys,
			summary: "List signing keys", text: "Those that sign now, newest first: the current one, without `expiresAt`, and those that were rotated less than 24 hours ago. The first is made with the first subscription that asks for `v1a`.",
			answers: gives(200, "SigningKeys", "The public halves."), serve: s.listSigningKeys,
		},
		{
			id: "rotateSigningKey", method: "POST", path: base + "/rotate", scope: application, tag: tagSigningKeys,
			summary: "Rotate the signing key", text: "Makes a new key pair. The former one signs beside it for 24 hours, so that receivers can change over without a gap.", takes: optionalBody(""),
			answers: gives(200, "SigningKeys", "The public halves of those that sign now."), serve: s.rotateSigningKey,
		},
		{
			id: "readKeySet", method: "GET", path: "/.well-known/consentwire/{applicationId}/jwks.json", scope: public, tag: tagSigningKeys,
			summary: "Read the public keys of an application",
			text:    "A JWK set (RFC 7517, RFC 8037) of the keys that sign now, `kid` being the `keyId`; empty when none does. Anybody may read it and keep it for five minutes.",
			answers: []answer{{status: 200, text: "The key set.", schema: "KeySet", media: mediaJWKSet, cache: "public, max-age=300"}}, errors: []int{404}, serve: s.keySet,
		},
	}
}

func (s *server) consentOperations() []operation {
	const base = "/v1/consents"
	const one = base + "/{id}"
	action := func(id, verb, summary, text, schema string, errors []int, serve handler) operation {
		return operation{
			id: id, method: "POST", path: one + "/" + verb, scope: application, tag: tagConsents,
			summary: summary, text: text, paramLen: maxConsentID, takes: optionalBody(schema),
			answers: gives(200, "Consent", "The consent as it now is."), errors: errors, serve: serve,
		}
	}
	return []operation{
		{
			id: "createConsent", method: "POST", path: base, scope: application, tag: tagConsents, keyed: true,
			summary: "Ask for a consent",
			text: "`consent.create.received` is logged for every request of valid shape, also when a rule then refuses it. With an `Idempotency-Key` " +
				"a repeat within 24 hours answers the stored status and body and does nothing.",
			takes: jsonBody("ConsentInput",
				example{"data", "Share account balances for a year", consentExample()},
				example{"payment", "Initiate a payment", paymentExample()}),
			answers: gives(201, "Consent", "The consent, awaiting authorisation."),
			errors:  []int{409, 422}, serve: s.createConsent,
		},
		{
			id: "listConsents", method: "GET", path: base, scope: application, tag: tagConsents,
			summary: "List consents", text: "Newest first. A page may hold fewer than `limit` and still have a `next`.",
			query: []parameter{
				choice("status", "Those that show this as their `status` or their `lifecycleStatus`.", lifecycles()...),
				choice("lifecycleStatus", "Those that show exactly this as their `lifecycleStatus`.", lifecycles()...),
				choice("type", "Only these.", "DATA", "PAYMENT"),
				filter("citizenId", "Only those about this citizen."), streamLimit(), afterParam(textAfter),
			},
			answers: gives(200, "ConsentStream", "A page."), serve: s.listConsents,
		},
		{
			id: "readConsent", method: "GET", path: one, scope: application, tag: tagConsents, paramLen: maxConsentID,
			summary: "Read a consent", text: "By its `id` or its `consentId`. One whose deadline has come is shown expired.",
			answers: gives(200, "Consent", "The consent."), serve: s.readConsent,
		},
		{
			id: "withdrawConsent", method: "DELETE", path: one, scope: application, tag: tagConsents, paramLen: maxConsentID,
			summary: "Withdraw a consent", text: "Rejects it while it awaits a decision, revokes it once it is authorised.",
			answers: gives(204, "", "It is closed."), errors: []int{422}, serve: s.withdraw,
		},
		action("approveConsent", "approve", "Approve a consent", "The last of its `approvers` authorises it. The same approver twice counts once.", "ApproveInput", []int{409}, s.decide(s.approve)),
		action("rejectConsent", "reject", "Reject a consent", "While it awaits a decision.", "DecisionInput", []int{409}, s.decide(s.reject)),
		action("consumeConsent", "consume", "Consume a consent", "Records that it was used: a payment was initiated, or access to data began.", "", []int{409}, s.decide(s.consume)),
		action("revokeConsent", "revoke", "Revoke a consent", "After it was authorised.", "DecisionInput", []int{409}, s.decide(s.revoke)),
		action("extendConsent", "extend", "Extend a consent", "Without `expirationDateTime` it becomes indefinite.", "ExtendInput", []int{409, 422}, s.decide(s.extend)),
	}
}

func (s *server) lookBackOperations() []operation {
	return []operation{
		{
			id: "listEvents", method: "GET", path: "/v1/events", scope: application, tag: tagEvents,
			summary: "List events", text: "In commit order. To catch up, go on with the last `eventId` seen as `after`: nothing can still appear behind it.\n\n" + textTypes() + "\n\n" + textErased,
			query: []parameter{
				filter("type", "A dotted name, or the interceptors' spelling."), filter("subject", "The ID of a consent or a citizen."),
				streamLimit(), afterParam("The ID of the last event seen."),
			},
			answers: gives(200, "EventStream", "A page."), serve: s.listEvents,
		},
		{
			id: "readEvent", method: "GET", path: "/v1/events/{id}", scope: application, tag: tagEvents,
			summary: "Read an event", text: textErased,
			answers: gives(200, "Event", "The event with its body, exactly as it is sent."), serve: s.readEvent,
		},
		{
			id: "listDeliveries", method: "GET", path: "/v1/deliveries", scope: application, tag: tagEvents,
			summary: "List deliveries", text: "Newest first, those of deleted endpoints included. A page may hold fewer than `limit`, even none, and still have a `next`.",
			query: []parameter{
				filter("subscriptionId", "Only to this subscription."), filter("interceptorId", "Only to this interceptor."), filter("mailSenderId", "Only by this mail sender."),
				choice("status", "Only these.", statuses()...), filter("subject", "Only about this consent or citizen."),
				filter("eventId", "Only of this event."), moment("from", "Events recorded at this instant or later."), moment("to", "Events recorded before this instant."),
				streamLimit(), afterParam(textAfter),
			},
			answers: gives(200, "DeliveryStream", "A page."), serve: s.listDeliveries,
		},
		{
			id: "readDelivery", method: "GET", path: "/v1/deliveries/{id}", scope: application, tag: tagEvents, paramLen: maxDeliveryID,
			summary: "Read a delivery", text: "With every attempt: the request with its secrets masked, the first 4 KiB of the answer, the request for a token that was made for it, and the reason in plain words.",
			answers: gives(200, "DeliveryDetail", "The delivery."), serve: s.readDelivery,
		},
		{
			id: "redeliver", method: "POST", path: "/v1/deliveries/{id}/redeliver", scope: application, tag: tagEvents, paramLen: maxDeliveryID,
			summary: "Send a delivery again", text: "Now, if it waits for a retry; in a new round, if it has ended. What was erased cannot be sent (`event_erased`).", takes: optionalBody(""),
			answers: gives(202, "DeliveryDetail", "The delivery as it now is."), errors: []int{409, 429}, serve: s.redeliver,
		},
	}
}

func (s *server) inspectorOperations() []operation {
	const base = "/v1/inspect"
	const one = base + "/{bin}"
	return []operation{
		{
			id: "createBin", method: "POST", path: base, scope: application, tag: tagInspector,
			summary: "Make a bin", text: "Its name cannot be guessed. It takes any request at its `url` and below.", takes: optionalBody(""),
			answers: gives(201, "Bin", "The bin."), serve: s.createBin,
		},
		{
			id: "listBins", method: "GET", path: base, scope: application, tag: tagInspector,
			summary: "List bins", text: "Newest first.", query: []parameter{offsetParam(), limitParam()},
			answers: gives(200, "BinPage", "A page."), serve: s.listBins,
		},
		{
			id: "readBin", method: "GET", path: one, scope: application, tag: tagInspector,
			summary: "Read a bin", answers: gives(200, "Bin", "The bin."), serve: s.readBin,
		},
		{
			id: "scriptBin", method: "PUT", path: one, scope: application, tag: tagInspector,
			summary: "Tell a bin how to answer", text: "What is left out takes its default.",
			takes: jsonBody("ScriptInput",
				example{"slow", "Answer 503 after two seconds", object{{"status", 503}, {"delayMs", 2000}, {"failureRatio", 0}}},
				example{"flaky", "Fail every third request, about", object{{"status", 200}, {"delayMs", 0}, {"failureRatio", 0.33}}}),
			answers: gives(200, "Bin", "The bin as it now is."), serve: s.scriptBin,
		},
		{
			id: "deleteBin", method: "DELETE", path: one, scope: application, tag: tagInspector,
			summary: "Delete a bin", answers: gives(204, "", "It is gone, with its requests."), serve: s.deleteBin,
		},
		{
			id: "listBinRequests", method: "GET", path: one + "/requests", scope: application, tag: tagInspector,
			summary: "List a bin's requests", text: "In the order of their arrival. They are kept in memory: at most 500 per bin, and a restart forgets them.",
			query:   []parameter{streamLimit(), afterParam("The ID of the last request seen.")},
			answers: gives(200, "BinRequestStream", "A page."), serve: s.listKept,
		},
	}
}

func (s *server) applicationOperations() []operation {
	const base = "/v1/applications"
	const one = base + "/{applicationId}"
	return []operation{
		{
			id: "createApplication", method: "POST", path: base, scope: operator, tag: tagApplications,
			summary: "Create an application", text: "The client secret is shown this once.", takes: jsonBody("ApplicationInput"),
			answers: gives(201, "ApplicationCreated", "The application with its first credential."), serve: s.createApplication,
		},
		{
			id: "listApplications", method: "GET", path: base, scope: operator, tag: tagApplications,
			summary: "List applications", text: "Oldest first.", query: []parameter{offsetParam(), limitParam()},
			answers: gives(200, "ApplicationPage", "A page."), serve: s.listApplications,
		},
		{
			id: "readApplication", method: "GET", path: one, scope: operator, tag: tagApplications,
			summary: "Read an application", answers: gives(200, "Application", "The application with its client IDs."), serve: s.readApplication,
		},
		{
			id: "patchApplication", method: "PATCH", path: one, scope: operator, tag: tagApplications,
			summary: "Rename an application", takes: patchBody("ApplicationPatch"),
			answers: gives(200, "Application", "The application as it now is."), serve: s.patchApplication,
		},
		{
			id: "deleteApplication", method: "DELETE", path: one, scope: operator, tag: tagApplications,
			summary: "Delete an application", text: "With everything that is its: credentials, endpoints, consents, the log.",
			answers: gives(204, "", "It is gone."), serve: s.deleteApplication,
		},
		{
			id: "addCredential", method: "POST", path: one + "/credentials", scope: operator, tag: tagApplications, noLocation: true,
			summary: "Add a credential", text: "An application may have several, so that they can be rotated. The client secret is shown this once.", takes: optionalBody(""),
			answers: gives(201, "CredentialCreated", "The credential."), serve: s.addCredential,
		},
		{
			id: "removeCredential", method: "DELETE", path: one + "/credentials/{clientId}", scope: operator, tag: tagApplications,
			summary: "Remove a credential", text: "And with it every token that it obtained.",
			answers: gives(204, "", "It is gone."), serve: s.removeCredential,
		},
	}
}

func (s *server) serverOperations() []operation {
	return []operation{
		{
			id: "isAlive", method: "GET", path: "/healthz", scope: public, tag: tagServer, quiet: true,
			summary: "Is the process alive?", answers: gives(200, "State", "It is."), serve: s.alive,
		},
		{
			id: "isReady", method: "GET", path: "/readyz", scope: public, tag: tagServer, quiet: true,
			summary: "Is the server ready?", text: "The store can be used and the engine runs.",
			answers: gives(200, "State", "It is."), errors: []int{503}, serve: s.readiness,
		},
		{
			id: "readMetrics", method: "GET", path: "/metrics", scope: operatorOrLoopback, tag: tagServer, quiet: true,
			summary: "Read the metrics", text: "In the Prometheus text format: with the operator's bearer, or from the server's own machine without a forwarding header.",
			answers: []answer{{status: 200, text: "The metrics.", media: "text/plain"}}, errors: []int{404}, serve: s.metrics,
		},
		{
			id: "rotateKeys", method: "POST", path: "/v1/keys/rotate", scope: operator, tag: tagServer,
			summary: "Rotate the master key",
			text: "Takes over a new master key, from its source or made anew in the data folder, and seals every secret and everything personal with it, while deliveries run. " +
				"When it answers 200 nothing needs a former key any more. It may be called again after an error.",
			takes: optionalBody(""), answers: gives(200, "KeyRotation", "The key that seals now."), errors: []int{409, 503}, serve: s.rotateKeys,
		},
		{
			id: "readOpenAPI", method: "GET", path: "/openapi.json", scope: public, tag: tagServer,
			summary: "Read this document", answers: gives(200, "Document", "The OpenAPI document."), serve: s.openAPI,
		},
		{
			id: "readDocs", method: "GET", path: "/docs", scope: public, tag: tagServer,
			summary: "Read this document as a page", answers: []answer{{status: 200, text: "The page.", media: "text/html"}}, serve: s.docs,
		},
		{
			id: "readDocsStyle", method: "GET", path: "/docs/docs.css", scope: public, tag: tagServer, quiet: true,
			unlisted: "a part of the page /docs", serve: s.docsFile("docs.css", "text/css; charset=utf-8"),
		},
		{
			id: "readDocsMark", method: "GET", path: "/docs/mark.svg", scope: public, tag: tagServer, quiet: true,
			unlisted: "a part of the page /docs", serve: s.docsFile("mark.svg", "image/svg+xml"),
		},
		{
			id: "readDocsScript", method: "GET", path: "/docs/docs.js", scope: public, tag: tagServer, quiet: true,
			unlisted: "a part of the page /docs", serve: s.docsFile("docs.js", "text/javascript; charset=utf-8"),
		},
	}
}

// statusText is the sentence for an error's status in the document.
func statusText(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "The request is faulty; every faulty place is named."
	case http.StatusUnauthorized:
		return "The credential is absent, wrong or expired."
	case http.StatusNotFound:
		return "It does not exist, or is not the caller's."
	case http.StatusConflict:
		return "Its state does not allow that now; `code` tells the case."
	case http.StatusRequestEntityTooLarge:
		return "The body has more than 1 MiB."
	case http.StatusUnsupportedMediaType:
		return "The body has another content type."
	case http.StatusUnprocessableEntity:
		return "A rule of the field refuses the content; `code` tells the rule."
	case http.StatusTooManyRequests:
		return "Too often; `Retry-After` tells how long to wait."
	case http.StatusServiceUnavailable:
		return "Not now; `Retry-After` tells when to try again."
	}
	return http.StatusText(status)
}
