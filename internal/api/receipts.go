package api

import (
	"github.com/consentwire/consentwire/internal/permission"
)

// receiptSignature is the header of a receipt's signature.
const receiptSignature = "Consentwire-Receipt-Signature"

const textReceipt = "What a person may keep of a transaction, in our own form (`native`), as a Kantara Consent Receipt 1.1.0 (`kantara`) or as a record of ISO/IEC TS 27560:2023 in the terms of the W3C DPV (`iso27560`). `id` is a transaction's. " +
	"It says what was recorded then: neither the time nor what was recorded later changes it. The statement and the policy are the versions that were in force; names without versions (of options, groups, parts, the application, and `externalRef`) are today's.\n\n" +
	"`" + receiptSignature + "` is a detached JWS (RFC 7515 appendix F, `EdDSA`) over the exact bytes of the body. Its `kid` is in `/.well-known/consentwire/{applicationId}/jwks.json`, as long as the key signs: keep the key set beside the receipt, or ask for the receipt again.\n\n" +
	"A reversion has a receipt too. `native` shows what it is about in `concerns`; `iso27560` shows that one's purposes and what is in force of each by the reversion. `kantara` has no place for a state, so it lists only what is allowed: what is refused, withdrawn, pending or reverted is not there, and `services` may be empty. " +
	"Where a form demands a text that nobody told us, it says `not stated`."

func (s *server) receiptOperations() []operation {
	var forms []string
	for _, f := range permission.ReceiptForms() {
		forms = append(forms, string(f))
	}
	return []operation{{
		id: "readReceipt", method: "GET", path: "/v1/receipts/{id}", scope: application, tag: tagPermissions,
		summary: "Read a receipt", text: textReceipt,
		query: []parameter{{"format", str("").of(forms...).or(forms[0])}},
		answers: []answer{{
			status: 200, text: "The receipt, signed.", schema: "Receipt",
			headers: []parameter{{receiptSignature, str("A detached JWS over the body.")}},
		}},
		serve: s.readReceipt,
	}}
}

func (s *server) readReceipt(c *call) (reply, error) {
	form := permission.ReceiptForms()[0]
	if given := c.query["format"]; given != "" {
		form = permission.ReceiptForm(given)
	}
	r, err := s.App.Receipt(c.ctx(), c.app, permission.TransactionID(c.id()), form)
	if err != nil {
		return reply{}, err
	}
	return reply{status: 200, raw: r.Body, headers: [][2]string{{receiptSignature, r.Signature}}}, nil
}

// receiptComponents describe the forms of a receipt. Source of the foreign
// ones: DOMAIN 4.8.
func receiptComponents() []component {
	const uuid = "0b8f6a3e-2c1d-5e4f-9a7b-6c5d4e3f2a1b"
	const at = "2026-01-31T12:00:00.000Z"
	unstated := func() *schema { return str("").like(permission.NotStated) }
	part := func(id, name string) *schema {
		return shown("", must("id", str("").like(id)), must("name", str("").like(name)))
	}
	chosen := list(shown("", must("reference", str("").like("topics_jazz")), must("label", str("").like("Jazz"))))
	record := []property{
		must("transactionId", str("").like(exampleTxn)), must("recordedAt", instant("")),
		must("changes", list(shown("",
			must("optionId", str("").like(exampleOption)), may("optionName", str("").like("Newsletter")),
			must("data", part("email", "E-mail address")), must("purpose", part("marketing", "Marketing")), must("party", part("us", "Example Ltd")),
			may("groupId", str("The group that the request named.")), may("groupName", str("")),
			must("justification", str("").of(justifications()...)), must("state", str("").of(states()...)),
			must("obtainedAt", instant("")), must("validFrom", instant("")), may("validUntil", instant("Absent: for ever.").like(nil))))),
		must("preferences", list(shown("", must("preference", str("").like("topics")), must("label", str("").like("Topics you like")), must("choices", chosen), must("obtainedAt", instant(""))))),
		may("privacyPolicy", shown("The version that was in force.",
			must("privacyPolicyId", str("").like("pol_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("reference", str("").like(examplePolicy)), must("version", integer("").like(1)),
			may("url", str("").like("https://www.example.com/privacy/2026")), may("text", str("")))),
		may("permissionStatement", shown("The version that was in force.",
			must("permissionStatementId", str("").like("stm_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("reference", str("").like(exampleStatement)), must("version", integer("").like(1)),
			must("text", str("").like("Yes, send me the newsletter.")), may("language", str("").like("en")))),
		may("channel", str("").like("web")), may("campaign", str("")), may("recordedBy", str("")), may("recordedByName", str("")),
		may("recordedClient", str("The credential that recorded it.").like("cli_06f3z8m1q4t7w0x2y5b8c1d4e7")), may("recordedClientName", str("").like("My First App")),
		may("delegatedAuthorityId", str("")), may("delegatedAuthorityName", str("")),
	}
	native := append([]property{
		must("receiptId", str("Always the same for the transaction.").as("uuid").like(uuid)), must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")),
		may("applicationName", str("").like("My First App")), must("citizenId", str("").like(exampleCitizen)), may("externalRef", str("").like("CRM-000771")),
	}, record...)
	concerns := shown("Of a reversion: the transaction that it is about in the end.",
		append(record[:len(record):len(record)], must("countsAgain", boolean("False: it counts no more by this reversion. True: this takes back a reversion of it.")))...)
	return []component{
		{"Receipt", either("A receipt, in the form that was asked for.", "NativeReceipt", "KantaraReceipt", "ISO27560Receipt")},
		{"NativeReceipt", shown("", append(native, may("reverts", str("The transaction that this one takes back.")), property{"concerns", false, concerns.like(nil)})...)},
		{"KantaraReceipt", shown("A Kantara Consent Receipt 1.1.0.",
			must("version", str("").of("KI-CR-v1.1.0")), must("jurisdiction", unstated()),
			must("consentTimestamp", integer("Unix seconds: when the last answer was obtained; of a reversion when it was recorded.").like(1767225600)),
			must("collectionMethod", str("The channel.").like("web")), must("consentReceiptID", str("").as("uuid").like(uuid)),
			may("language", str("Of the statement.").like("en")), must("piiPrincipalId", str("The citizen's ID.").like(exampleCitizen)),
			must("piiControllers", list(shown("", must("piiController", str("A party's name; the application's when there is none.").like("Example Ltd")), must("contact", unstated()),
				must("address", shown("", must("streetAddress", unstated()))), must("email", unstated()), must("phone", unstated())))),
			must("policyUrl", str("Of the policy's version that was in force.").like("https://www.example.com/privacy/2026")),
			must("services", list(shown("", must("service", str("A party's name.").like("Example Ltd")),
				must("purposes", list(shown("", must("purpose", str("").like("Marketing")), must("purposeCategory", list(str("The purpose's ID.").like("marketing"))),
					must("consentType", str("IMPLICIT: the lawful basis is not consent.").of("EXPLICIT", "IMPLICIT")), must("piiCategory", list(str("").like("E-mail address"))),
					must("termination", str("").like("until withdrawn")), must("thirdPartyDisclosure", boolean("False: nothing was said of it.").like(false)))))))),
			must("sensitive", boolean("False: nothing was said of it.").like(false)), must("spiCat", list(str("")).like([]any{})))},
		{"ISO27560Receipt", shown("A copy of the consent record of ISO/IEC TS 27560:2023.",
			must("header", shown("", must("schema_version", str("").of("ISO/IEC TS 27560:2023")), must("receipt_id", str("").as("uuid").like(uuid)), must("record_id", str("The transaction's ID.").like(exampleTxn)),
				must("pii_principal_id", str("The citizen's ID.").like(exampleCitizen)), must("vocabulary", str("Where the terms are from.").like("https://w3id.org/dpv#")))),
			must("processing", shown("", must("privacy_notice", str("").like("https://www.example.com/privacy/2026")), must("language", str("").like("en")),
				must("purposes", list(shown("", must("option_id", str("").like(exampleOption)), must("purpose", str("").like("Marketing")), must("lawful_basis", str("").like("Consent")),
					must("pii_information", list(shown("", must("pii_type", str("").like("E-mail address")), must("pii_attribute_id", str("").like("email"))))),
					must("pii_controllers", list(str("A party_id.").like("us"))), may("collection_method", str("The channel.").like("web")),
					must("storage_locations", list(unstated())), must("retention_period", unstated()), must("jurisdiction", unstated()),
					must("recipient_third_parties", list(str("")).like([]any{})), must("withdrawal_method", unstated())))))),
			must("parties", list(shown("", must("party_id", str("").like("us")), must("party_address", unstated()), must("party_name", str("").like("Example Ltd")),
				must("party_role", str("").like("DataController")), must("party_contact", unstated()), must("party_type", str("").like("PII controller"))))),
			must("events", list(shown("", must("option_id", str("The purpose that it is about.").like(exampleOption)), must("event_time", instant("")),
				must("validity_duration", str("An interval (ISO 8601); `..`: for ever.").like(at+"/..")), must("entity_id", str("Who said so.").like(exampleCitizen)),
				must("event_type", str("").like("Consent")), must("event_state", str("ConsentRequested, ConsentGiven, ConsentRefused, ConsentWithdrawn (a refusal that takes a grant back), "+
					"ConsentExpired (it had lapsed when it was recorded), ConsentInvalidated (reverted, and nothing is in force in its place), LegitimateInterestNotObjected, LegitimateInterestObjected, or our own CLAIMED and REVERTED where consent is not the basis.").like("ConsentGiven"))))))},
	}
}
