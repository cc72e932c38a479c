package api

import (
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/subscription"
)

// component is a named schema of the document.
type component struct {
	name   string
	schema *schema
}

func updateTypes() []string {
	return []string{string(subscription.CitizenEmails), string(subscription.ConsentReceipts), string(subscription.EffectivePermission)}
}

// eventTypes returns the dotted names of everything that can be logged.
func eventTypes() []string {
	var out []string
	for _, t := range event.Lifecycle() {
		out = append(out, string(t))
	}
	for _, t := range []event.Type{event.PermissionsDelta, event.PermissionsEffective, event.CitizenEmail, event.CitizenErased, event.WebhookStatusChanged} {
		out = append(out, string(t))
	}
	return out
}

func signatures() []string {
	return []string{subscription.SignatureV1, subscription.SignatureV1a}
}

// byName returns the components by their names.
func byName(cs []component) map[string]*schema {
	m := make(map[string]*schema, len(cs))
	for _, c := range cs {
		m[c.name] = c.schema
	}
	return m
}

// components returns every named schema, in the order of the document.
func components() []component {
	var cs []component
	cs = append(cs, errorComponents()...)
	cs = append(cs, tokenComponents()...)
	cs = append(cs, endpointComponents()...)
	cs = append(cs, senderComponents()...)
	cs = append(cs, templateComponents()...)
	cs = append(cs, keyComponents()...)
	cs = append(cs, consentComponents()...)
	cs = append(cs, configurationComponents()...)
	cs = append(cs, citizenComponents()...)
	cs = append(cs, linkComponents()...)
	cs = append(cs, permissionComponents()...)
	cs = append(cs, importComponents()...)
	cs = append(cs, receiptComponents()...)
	cs = append(cs, lookBackComponents()...)
	cs = append(cs, erasureComponents()...)
	cs = append(cs, webhookComponents()...)
	cs = append(cs, inspectorComponents()...)
	cs = append(cs, applicationComponents()...)
	return append(cs,
		component{"State", shown("How the server is.", must("status", str("").of("alive", "ready").like("ready")))},
		component{"Document", anything("An OpenAPI 3.1 document.").like(object{{"openapi", "3.1.0"}})},
		component{"Nothing", taken("An empty object; the body may as well be left out.").like(object{})},
	)
}

func errorComponents() []component {
	return []component{
		{"Problem", shown("An error (RFC 9457).",
			must("type", str("Always about:blank: `code` tells the case.").like("about:blank")),
			must("title", str("The status in words.").like("Bad Request")),
			must("status", integer("The HTTP status.").like(400)),
			must("detail", str("One sentence for people.").like("The URL must begin with https://.")),
			must("code", str("The case, for programs; never renamed.").like("invalid_request")),
			may("currentStatus", str("With 409 and 422 about a consent: its lifecycle status.")),
			may("revertedBy", str("With 409 about a transaction: the reversion that took it back.")),
			may("importId", str("With an import that did not end well: the import, which can be read.")),
			must("requestId", str("What to tell the operator; also in the header X-Request-Id.").like("req_kq7m2v9x4b6t8w3z5c1d0f2g4h")),
			must("errors", list(shown("",
				must("path", str("A JSON Pointer into the body (RFC 6901), or the name of the query, path or header parameter; empty for the whole.").like("/url")),
				must("code", str("The case, for programs.").like("invalid_url")),
				must("message", str("One sentence that says what to do.").like("The URL must begin with https://.")),
			)).saying("Every faulty place; at least one.").atLeast(1)),
		)},
		{"ErrorEnvelope", shown("An error in the envelope of the Open Finance Brasil APIs.",
			must("errors", list(shown("",
				must("code", str("The case, for programs.").atMost(255).like("required")),
				must("title", str("Names the faulty field, where there is one.").atMost(255).like("Faulty field: endpoint")),
				must("detail", str("One sentence that says what to do.").atMost(2048).like("endpoint: This member is required.")),
			)).saying("Every faulty field; at least one.").atLeast(1)),
			must("meta", shown("", must("requestDateTime", instant("When it was answered.")))),
		)},
		{"TokenError", shown("An error of RFC 6749 section 5.2.",
			must("error", str("").of("invalid_request", "invalid_client", "unsupported_grant_type", "invalid_scope", "slow_down", "server_error", "temporarily_unavailable").like("invalid_client")),
			may("error_description", str("One sentence for people.").like("The client ID or the client secret is wrong.")),
		)},
	}
}

func tokenComponents() []component {
	const shape = "cwt_4Xq2…"
	return []component{
		{"SourceTokenRequest", taken("",
			must("client_id", str("").between(1, maxClientID).like("cli_06f3z8m1q4t7w0x2y5b8c1d4e7")),
			must("client_secret", str("").between(1, maxClientSecret).like("cws_…")),
		)},
		{"SourceToken", shown("",
			must("access_token", str("").like(shape)), must("expires_in", integer("In seconds.").like(3600)),
			must("refresh_expires_in", integer("Always 0: ask for a new token instead.").like(0)),
			must("token_type", str("").of("Bearer")), must("not-before-policy", integer("Always 0.").like(0)),
			must("scope", str("").like("email profile")),
		)},
		{"TokenRequest", shown("",
			must("grant_type", str("").of("client_credentials")),
			may("client_id", str("Without HTTP Basic.").atMost(maxClientID)), may("client_secret", str("Without HTTP Basic.").atMost(maxClientSecret)),
			may("scope", str("Taken and not used: a token may do all that its application may.").atMost(1000)),
		)},
		{"Token", shown("",
			must("access_token", str("").like(shape)), must("token_type", str("").of("Bearer")), must("expires_in", integer("In seconds.").like(3600)),
			may("scope", str("The scope that was asked for.")),
		)},
	}
}

func lossSchema() *schema {
	return shown("What it was never told because retention took it first, by the operator's word; absent when that is nothing.",
		must("count", integer("").like(3)), must("recordedUpto", instant("When the last of them was recorded.")), must("at", instant("When the last of them were taken.")))
}

func endpointComponents() []component {
	url := func(text string) *schema {
		return str(text).as("uri").between(1, subscription.MaxURL)
	}
	backlog := shown("What waits for it.",
		must("count", integer("Exact up to 10,000.").like(0)), may("atLeast", boolean("The count is a lower bound.")), may("oldestAt", instant("When the oldest of them was recorded.").like(nil)))
	circuit := shown("Open: nothing new is sent until a delivery that was tried before succeeds.",
		must("state", str("").of("closed", "open")), may("since", instant("When it opened.").like(nil)), must("failures", integer("In a row.").like(0)), may("reason", str("The last failure.")))
	status := str("`paused` by its owner: updates are discarded, and can be replayed. What we suspended shows as `paused` with a `statusReason`: nothing is discarded.").of("active", "paused")
	secret := str("Of Standard Webhooks; signs every delivery. Shown this once.").like("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	flag := func() *schema { return boolean("Whether the secret beside it is set. Ignored when written.") }

	interceptor := []property{
		must("id", str("").like("int_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("endpoint", str("").as("uri").like("https://www.my-domain.com/webhook")),
		must("isAuthenticated", boolean("").like(false)), must("authenticationType", str("`BASIC`, or empty.").like("")), must("user", str("").like("")),
		must("type", str("").of("DATA", "PAYMENT")), must("status", status), may("statusReason", str("Why we suspended it, in plain words.")),
		must("backlog", backlog), may("lost", lossSchema()), must("circuit", circuit), must("createdAt", instant("")), must("updatedAt", instant("")),
	}
	sub := []property{
		must("subscriptionId", str("").like("sub_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")),
		must("name", str("").like("my-subscription")), must("url", str("").as("uri").like("https://my-subscription/updates")),
		must("status", status), may("statusReason", str("Why we suspended it, in plain words.")), must("updateType", str("").of(updateTypes()...)),
		may("eventTypes", list(str("").of(eventTypes()...))),
		must("authentication", ref("Authentication")),
		may("retrySchedule", list(str("").like("5s"))), may("timeoutSeconds", integer("")), may("rateLimit", integer("")), may("maxInFlight", integer("")),
		may("description", str("")), may("metadata", mapOf("")), must("onBacklog", str("").of("all", "latest")), must("signatures", list(str("").of(signatures()...)).saying("The kinds of signature that each delivery carries.")),
		must("backlog", backlog), must("discarded", integer("Since it was last paused by its owner.").like(0)), may("lost", lossSchema()), must("circuit", circuit),
		may("authorisation", shown("For tokens that we get and renew: whether there is one.",
			must("state", str("`authorised`: there is a token, or nothing speaks against getting one. `held`: none is to be had now, and we try again by ourselves. `needs_reauthorisation`: the credentials were refused, "+
				"and their owner must give new ones. In the last two nothing is sent: deliveries wait, in order, as `held`, and use up no attempt.").of("authorised", "held", "needs_reauthorisation")),
			must("since", instant("When that state began.")), may("reason", str("Why there is no token, in plain words.")),
			may("nextAt", instant("When we ask for a token again; absent when we do not.").like(nil)), may("lastExchange", ref("TokenExchange").saying("The request for a token that failed last."))).
			like(object{{"state", "authorised"}, {"since", "2026-01-31T12:00:00.000Z"}})),
		must("createdAt", instant("")), must("updatedAt", instant("")),
	}
	authInput := func(required bool) *schema {
		authType := may("authType", str("").of("none", "api-key", "token", "oauth2", "basic"))
		authType.required = required
		return taken("How we prove ourselves to the receiver; only the members of its `authType`.",
			authType,
			may("apiKeyAuth", taken("For `api-key`.",
				may("location", str("").of("header", "query")), may("key", str("The header's or the parameter's name.").between(1, subscription.MaxAPIKeyName)),
				may("value", str("A secret.").between(1, subscription.MaxAPIKeyValue).orNull()), may("valueSet", flag()))),
			may("token", str("For `token`: a static bearer, or the first one beside a `refreshToken`. A secret.").between(1, subscription.MaxToken).orNull()), may("tokenSet", flag()),
			may("refreshToken", str("For `token`: exchanged for a bearer at `refreshUrl`, at once and after each 401. When the server replaces it, the replacement is kept until another one is given here. A secret.").between(1, subscription.MaxToken).orNull()), may("refreshTokenSet", flag()),
			may("refreshUrl", url("Beside `refreshToken`.")), may("clientId", str("Beside `refreshToken`, where the server wants it.").between(1, subscription.MaxClientID)),
			may("clientSecret", str("Beside `clientId`. A secret.").between(1, subscription.MaxClientSecret).orNull()), may("clientSecretSet", flag()),
			may("oauth2Auth", taken("For `oauth2`.",
				may("grantType", str("").of("client-credentials")), may("authenticationUrl", url("The token endpoint.")),
				may("contentType", str("").of("application-form-urlencoded", "application-json").or("application-form-urlencoded")),
				may("clientId", str("").between(1, subscription.MaxClientID)), may("clientSecret", str("A secret.").between(1, subscription.MaxClientSecret).orNull()), may("clientSecretSet", flag()),
				may("scope", str("").atMost(subscription.MaxScope)), may("clientAuthMethod", str("`auto` tries Basic, then the body.").of("auto", "basic", "body").or("auto")),
				may("audience", str("").atMost(subscription.MaxAudience)))),
			may("basicAuth", taken("For `basic`.",
				may("user", str("Without a colon.").between(1, subscription.MaxUser)), may("password", str("A secret.").between(1, subscription.MaxPassword).orNull()), may("passwordSet", flag()))),
			may("mtls", taken("Beside any `authType`: our client certificate for `url` and the token endpoint, and whose certificates are trusted there.",
				may("certificate", str("Certificates in PEM, the client's own first. RSA keys have at least 2048 bits.").between(1, subscription.MaxCertificate).orNull()),
				may("privateKey", str("That of the first certificate, in PEM, not encrypted; given with it or not at all. A secret.").between(1, subscription.MaxPrivateKey).orNull()), may("privateKeySet", flag()),
				may("caCertificate", str("Certificates in PEM that are trusted beside the public roots and the operator's.").between(1, subscription.MaxCertificate).orNull())).orNull()),
		)
	}
	input := func(creating bool) []property {
		address := may("url", url("Where requests go: https, without user information and fragment."))
		address.required = creating
		return []property{
			may("name", str("").atMost(subscription.MaxName)), address,
			may("status", str("`paused`: updates are discarded.").of("active", "paused").or("active")),
			may("updateType", str("`effective-permission`: the full current state after every update; `consent-receipts`: the delta of every update; `citizen-emails`: the e-mail to be sent.").of(updateTypes()...).or("effective-permission")),
			may("eventTypes", list(str("A dotted name, or the interceptors' spelling.")).saying("Instead of the update type's feed exactly these: its own event and any of the lifecycle.").atMost(9)),
			may("authentication", authInput(creating)),
			may("retrySchedule", list(str("").like("5s")).saying("The waits between attempts, such as \"5s\" or \"1h30m\".").between(1, subscription.MaxRetries)),
			may("timeoutSeconds", integer("Of one attempt.").between(1, subscription.MaxTimeoutSeconds)), may("rateLimit", integer("Requests per second.").between(1, subscription.MaxRateLimit)),
			may("maxInFlight", integer("Requests on the wire at a time.").between(1, subscription.MaxInFlightLimit)),
			may("description", str("").atMost(subscription.MaxDescription)), may("metadata", mapOf("Yours; at most 20 members.").atMost(subscription.MaxMetadata)),
			may("parts", integer("In how many parts the subjects are shared out, each with a cursor of its own and a node that sends it: for a subscription that is too much for one node. Never changes.").between(1, subscription.MaxParts).or(1)),
			may("onBacklog", str("`latest`: of the states that wait only the newest is sent. For effective-permission only.").of("all", "latest").or("all")),
			may("signatures", list(str("").of(signatures()...)).saying("`v1`, always there: HMAC-SHA256 under the subscription's secret. `v1a`: Ed25519 under the application's signing key, verified with its public half alone. `[\"v1\"]` unless given.").between(1, 2).noTwice()),
			may("discard", boolean("With `status` `paused` on a suspended subscription: make it an owner's pause, which discards what waits.")),
		}
	}
	nullables := func(ps []property) []property {
		for i := range ps {
			s := *ps[i].schema
			s.nullable, s.def = true, nil
			ps[i].schema = &s
		}
		return ps
	}
	return []component{
		{"InterceptorInput", taken("",
			must("endpoint", url("Where requests go: https, without user information and fragment.")), must("isAuthenticated", boolean("")),
			may("authenticationType", str("`BASIC` in any case of letters, or empty when not authenticated.")), may("user", str("Without a colon; empty when not authenticated.")),
			may("password", str("A secret; empty when not authenticated.").orNull()), may("passwordSet", flag()), must("type", str("Whose consents' events.").of("DATA", "PAYMENT")))},
		{"Interceptor", shown("", interceptor...)},
		{"InterceptorCreated", shown("", append(interceptor[:len(interceptor):len(interceptor)], must("signingSecret", secret))...)},
		{"InterceptorPage", page("Interceptor")},
		{"SubscriptionInput", taken("", input(true)...)},
		{"SubscriptionPatch", taken("A merge patch (RFC 7396): null takes a member away.", nullables(input(false))...)},
		{"Authentication", shown("As it was configured, its secrets null.",
			must("authType", str("").of("none", "api-key", "token", "oauth2", "basic")),
			may("apiKeyAuth", shown("", must("location", str("").of("header", "query")), must("key", str("")), must("value", hidden("Never shown.")), must("valueSet", boolean("")))),
			may("token", hidden("Never shown.")), may("tokenSet", boolean("")), may("refreshToken", hidden("Never shown.")), may("refreshTokenSet", boolean("")),
			may("refreshUrl", str("")), may("clientId", str("")), may("clientSecret", hidden("Never shown.")), may("clientSecretSet", boolean("")),
			may("oauth2Auth", shown("", must("grantType", str("").of("client-credentials")), must("authenticationUrl", str("")), must("contentType", str("")), must("clientId", str("")),
				must("clientSecret", hidden("Never shown.")), must("clientSecretSet", boolean("")), may("scope", str("")), must("clientAuthMethod", str("")), may("audience", str("")))),
			may("basicAuth", shown("", must("user", str("")), must("password", hidden("Never shown.")), must("passwordSet", boolean("")))),
			may("mtls", shown("Beside any `authType`.", may("certificate", str("PEM.")), may("privateKey", hidden("Never shown.")), may("privateKeySet", boolean("")), may("caCertificate", str("PEM.")))),
		).like(object{{"authType", "none"}})},
		{"Subscription", shown("", sub...)},
		{"SubscriptionCreated", shown("", append(sub[:len(sub):len(sub)], must("signingSecret", secret))...)},
		{"SubscriptionPage", page("Subscription")},
		{"SigningSecret", shown("", must("signingSecret", secret))},
		{"ReplayInput", taken("`eventIds`, or `from` and `to`.",
			may("eventIds", list(str("").between(1, maxID)).between(1, maxReplayIDs)), may("from", instant("Recorded at this instant or later.").like(nil)), may("to", instant("Recorded before this instant.").like(nil)),
			may("status", str("Only deliveries in this state.").of(statuses()...)), may("includeStale", boolean("Send full states again that are older than the newest delivered one.").or(false)))},
		{"Replay", shown("", must("replayId", str("").like("rpl_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("count", integer("How many deliveries are sent again.").like(12)),
			may("skipped", integer("How many full states were left out, because a newer one of their citizen was delivered; see includeStale.").like(0)))},
		{"Trial", shown("",
			must("delivered", boolean("")), must("step", step()), must("durationMs", number("").like(12.5)), may("reason", str("In plain words.")),
			must("request", ref("SentRequest")), may("response", ref("SentResponse")), may("token", ref("TokenExchange").saying("The request for a token that was made for it.")))},
	}
}

func step() *schema {
	return str("Where it ended.").of("dns", "connect", "tls", "token", "request", "response").like("response")
}

func page(of string) *schema {
	return shown("A page.", must("items", list(ref(of))), must("total", integer("How many there are in all.").like(1)))
}

func stream(of string) *schema {
	return shown("A page.", must("items", list(ref(of))), may("next", str("The `after` of the next page; absent at the end.")))
}

func consentComponents() []component {
	document := func(number, rel string) []property {
		return []property{must("document", taken("", must("identification", str("").matching(number)), must("rel", str("").matching(rel))))}
	}
	person := func(number, rel string, shownProps bool) *schema {
		if shownProps {
			return shown("", must("document", shown("", must("identification", str("").like(number)), must("rel", str("").like(rel)))))
		}
		return taken("", document(number, rel)...)
	}
	permissions := list(str("").matching("^[A-Z_]{1,100}$").like("ACCOUNTS_READ"))
	return []component{
		{"ConsentInput", taken("",
			may("type", str("").of("DATA", "PAYMENT").or("DATA")),
			may("permissions", permissions.saying("For DATA: whole groups of the Open Finance Brasil permissions.").between(1, 100).noTwice()),
			must("loggedUser", person(`^\d{11}$`, `^[A-Z]{3}$`, false)),
			may("businessEntity", person(`^[0-9A-Z]{12}[0-9]{2}$`, `^[A-Z]{4}$`, false)),
			may("expirationDateTime", instant("In the future, at most 12 months ahead; absent: indefinite.").like(nil)),
			may("citizenId", str("Yours, to find it by.").between(1, 255)),
			may("payment", taken("For PAYMENT.", must("type", str("").of("PIX")), must("currency", str("ISO 4217.").matching("^[A-Z]{3}$")), must("amount", str("").matching(`^\d{1,16}\.\d{2}$`)))),
			may("creditor", taken("For PAYMENT.", must("name", str("").between(1, 120)), may("personType", str("").of("PESSOA_NATURAL", "PESSOA_JURIDICA")), may("cpfCnpj", str("")))),
			may("approvers", integer("How many must approve.").between(1, 10).or(1)))},
		{"Consent", shown("",
			must("id", str("").like("con_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("consentId", str("").like("urn:consentwire:con_06f3z8m1q4t7w0x2y5b8c1d4e7")),
			must("type", str("").of("DATA", "PAYMENT")),
			must("status", str("The official view.").of("AWAITING_AUTHORISATION", "PARTIALLY_ACCEPTED", "AUTHORISED", "CONSUMED", "REJECTED")),
			must("lifecycleStatus", str("Where it is in its life.").of(lifecycles()...)), must("version", integer("Grows by one with each change.").like(1)),
			may("permissions", permissions.like([]string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"})),
			must("loggedUser", person("11122233344", "CPF", true)), may("businessEntity", person("11222333000181", "CNPJ", true).like(nil)), may("citizenId", str("")),
			may("payment", shown("", must("type", str("")), must("currency", str("")), must("amount", str(""))).like(nil)),
			may("creditor", shown("", may("personType", str("")), may("cpfCnpj", str("")), must("name", str("")))),
			must("approvers", integer("").like(1)), must("approvedBy", list(str("")).saying("Who approved, in order; an unnamed approver is empty.").like([]string{})),
			must("creationDateTime", instant("")), must("statusUpdateDateTime", instant("")), may("expirationDateTime", instant("Absent: indefinite.")),
			may("deadline", instant("When it expires if nothing happens before.")), must("approvalDeadline", instant("")), may("approversDeadline", instant("").like(nil)),
			may("consumptionDeadline", instant("").like(nil)), may("authorisedAt", instant("").like(nil)), may("consumedAt", instant("").like(nil)),
			may("rejection", ref("Rejection")), may("extensions", list(ref("Extension"))))},
		{"Rejection", shown("Why it is closed.", must("rejectedBy", str("").of("USER", "TPP", "ASPSP")),
			must("reason", shown("", must("code", str("")), may("additionalInformation", str("")))))},
		{"Extension", shown("", must("requestDateTime", instant("")), may("expirationDateTime", instant("").like(nil)), may("previousExpirationDateTime", instant("").like(nil)))},
		{"ConsentStream", stream("Consent")},
		{"ApproveInput", taken("", may("approver", str("Who approves, where several must.").between(1, 255)))},
		{"DecisionInput", taken("", may("rejectedBy", str("").of("USER", "TPP", "ASPSP").or("USER")), may("code", str("A reason of the Open Finance Brasil API; absent: what the case implies.")),
			may("additionalInformation", str("").atMost(140)))},
		{"ExtendInput", taken("", may("expirationDateTime", instant("Later than the present date, at most 12 months ahead; absent: indefinite.").like(nil)))},
	}
}

func keyComponents() []component {
	const id = "key_06f3z8m1q4t7w0x2y5b8c1d4e7"
	return []component{
		{"SigningKeys", shown("", must("items", list(shown("",
			must("keyId", str("Also the `kid` in the key set.").like(id)), must("publicKey", str("Of Standard Webhooks: verifies `v1a` signatures.").like("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")),
			must("createdAt", instant("")), may("expiresAt", instant("When it stops signing; absent for the current one.").like(nil))))))},
		{"KeySet", shown("A JWK set (RFC 7517).", must("keys", list(shown("An Ed25519 key (RFC 8037).",
			must("kty", str("").of("OKP")), must("crv", str("").of("Ed25519")), must("x", str("The 32 bytes of the key in base 64 for URLs, without padding.").like("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
			must("use", str("").of("sig")), must("alg", str("").of("EdDSA")), must("kid", str("The `keyId`.").like(id))))))},
		{"KeyRotation", shown("", must("keyId", str("Names the master key that seals now, without giving it away.").like("5b1f6a0c2d3e4f56")),
			must("records", integer("How many records were sealed anew.").like(1234)))},
	}
}

func lookBackComponents() []component {
	delivery := []property{
		must("deliveryId", str("").like("dlv_0hk6…")), must("eventId", str("Sent as `webhook-id`.").like("evt_06f3z8m1q4t7w0x2y5b8c1d4e7")),
		may("subscriptionId", str("").like("sub_06f3z8m1q4t7w0x2y5b8c1d4e7")), may("interceptorId", str("")), may("mailSenderId", str("")), must("type", str("").of(eventTypes()...)),
		must("subject", str("").like("con_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("sequence", integer("").like(2)), must("status", str("").of(statuses()...).like("delivered")),
		must("attemptCount", integer("").like(1)), may("nextAttemptAt", instant("").like(nil)), may("deliveredAt", instant("")), may("reason", str("Of the last failure or of the end, in plain words.")),
		must("createdAt", instant("")),
	}
	headers := mapOf("By name; of several with one name the values are joined by commas.").like(object{{"Content-Type", "application/json"}})
	return []component{
		{"Event", shown("",
			must("eventId", str("").like("evt_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("type", str("").of(eventTypes()...)), must("subject", str("What orders it: the ID of a consent or a citizen.").like("con_06f3z8m1q4t7w0x2y5b8c1d4e7")),
			must("sequence", integer("The subject's own counter, from 1.").like(1)), must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")),
			must("occurredAt", instant("")), must("recordedAt", instant("")), must("body", anything("What is sent; null once it was erased.").orNull()),
			may("erased", boolean("The person whom it is about was erased, and the body with them.")))},
		{"EventStream", stream("Event")},
		{"Delivery", shown("", delivery...)},
		{"DeliveryStream", stream("Delivery")},
		{"DeliveryDetail", shown("", append(delivery[:len(delivery):len(delivery)], may("erased", boolean("The person whom it is about was erased: neither the body nor what was answered is kept.")),
			must("attempts", list(ref("Attempt"))))...)},
		{"Attempt", shown("",
			must("attempt", integer("From 1; numbered on over replays.").like(1)), must("at", instant("")), must("durationMs", number("").like(12.5)),
			may("status", integer("Of the answer, when there was one; of a mail, the server's reply code.").like(204)), must("step", step()), may("reason", str("In plain words.")),
			must("request", ref("SentRequest")), may("response", ref("SentResponse")), may("token", ref("TokenExchange").saying("The request for a token that was made for this attempt.")))},
		{"TokenExchange", shown("A request for a token and its answer, secrets and tokens masked.",
			must("at", instant("")), must("durationMs", number("").like(12.5)), must("step", step()), may("reason", str("In plain words; absent when a token came.")),
			must("request", ref("SentRequest")), may("response", ref("SentResponse"))).like(object{
			{"at", "2026-01-31T12:00:00.000Z"}, {"durationMs", 41.2}, {"step", "response"},
			{"request", object{
				{"method", "POST"}, {"url", "https://localhost:8080/oauth/token"},
				{"headers", object{{"Accept", "application/json"}, {"Authorization", "Basic ***"}, {"Content-Type", "application/x-www-form-urlencoded"}}},
				{"body", "grant_type=client_credentials&scope=openid"},
			}},
			{"response", object{
				{"status", 200}, {"headers", object{{"Content-Type", "application/json"}}},
				{"body", `{"access_token":"***","token_type":"Bearer","expires_in":3600}`},
			}},
		})},
		{"SentRequest", shown("A request as it was sent, its secrets masked. Of a mail: its header fields as a reader sees them, and the body of the event from which it was made.",
			must("method", str("`SMTP` of a mail.").like("POST")), must("url", str("").like("https://my-subscription/updates")), must("headers", headers), must("body", str("").like("{}")))},
		{"SentResponse", shown("What was answered.", must("status", integer("").like(204)), must("headers", headers), must("body", str("The first 4 KiB.").like("")))},
	}
}

func inspectorComponents() []component {
	script := func(text string) *schema { return mapOf(text) }
	return []component{
		{"Bin", shown("",
			must("bin", str("").like("bin_kM3x…")), must("url", str("Where it takes requests.").like("https://consentwire.example/inspect/bin_kM3x…")),
			must("status", integer("What it answers.").like(200)), must("delayMs", integer("").like(0)), must("failureRatio", number("").like(0)),
			may("headers", script("")), may("body", str("")), must("createdAt", instant("")), must("kept", integer("Requests that can be read.").like(0)), may("latestAt", instant("").like(nil)))},
		{"BinPage", page("Bin")},
		{"ScriptInput", taken("",
			may("status", integer("").between(200, 599).or(200)), may("delayMs", integer("Before it answers.").between(0, sink.MaxDelay.Milliseconds()).or(0)),
			may("failureRatio", number("This part of the requests is answered 500.").between(0, 1).or(0)), may("headers", script("").atMost(sink.MaxScriptHeaders)), may("body", str("").atMost(sink.MaxScriptBody)))},
		{"BinRequest", shown("",
			must("requestId", str("").like("req_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("at", instant("")), must("method", str("").like("POST")), must("path", str("").like("/inspect/bin_kM3x…")), must("query", str("").like("")),
			must("headers", mapOf("").like(object{{"Content-Type", "application/json"}})), must("body", str("").like("{}")), must("size", integer("Of the body, in bytes.").like(2)), must("truncated", boolean("Something was left out.").like(false)),
			must("signature", str("Whether one of the endpoints that point at the bin signed it.").of("valid", "invalid", "none")), must("status", integer("What the bin answered.").like(200)))},
		{"BinRequestStream", stream("BinRequest")},
	}
}

func applicationComponents() []component {
	name := str("Without control characters.").between(1, 100).like("My First App")
	id, at := str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7"), instant("")
	cid := str("").like("cli_06f3z8m1q4t7w0x2y5b8c1d4e7")
	sec := str("Shown this once.").like("cws_…")
	return []component{
		{"ApplicationInput", taken("", must("name", name))},
		{"ApplicationPatch", taken("", may("name", name))},
		{"Application", shown("", must("applicationId", id), must("name", name), must("createdAt", at), must("updatedAt", at),
			may("credentials", list(shown("", must("clientId", cid), must("createdAt", at))).saying("In the answer to a read of one."))),
		},
		{"ApplicationPage", page("Application")},
		{"ApplicationCreated", shown("", must("applicationId", id), must("name", name), must("clientId", cid), must("clientSecret", sec), must("createdAt", at), must("updatedAt", at))},
		{"CredentialCreated", shown("", must("clientId", cid), must("clientSecret", sec), must("createdAt", at))},
	}
}
