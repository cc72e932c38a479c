package api

import (
	"slices"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/permission"
)

const (
	exampleOption    = "opt-newsletter"
	exampleStatement = "newsletter-v2"
	examplePolicy    = "privacy-2026"
	exampleCitizen   = "ctz_06f3z8m1q4t7w0x2y5b8c1d4e7"
	exampleTxn       = "txn_06f3z8m1q4t7w0x2y5b8c1d4e7"
)

func justifications() []string {
	var out []string
	for _, j := range permission.Justifications() {
		out = append(out, string(j))
	}
	return out
}

// states returns every state of every justification.
func states() []string {
	return []string{
		string(permission.Granted), string(permission.Denied), string(permission.Pending),
		string(permission.Claimed), string(permission.Objected), string(permission.ObjectionUpheld),
	}
}

func key(text string) *schema { return str(text).between(1, permission.MaxID) }

func configurationComponents() []component {
	life := []property{
		must("used", boolean("A transaction refers to it: it is archived rather than deleted.").like(false)),
		must("archived", boolean("New transactions cannot refer to it.").like(false)), may("archivedAt", instant("").like(nil)),
	}
	read := func(text string, ps ...property) *schema { return shown(text, append(ps, life...)...) }
	option := []property{
		may("name", str("").like("Newsletter")), must("dataId", str("What.").like("email")), must("purposeId", str("Why.").like("marketing")),
		must("partyId", str("Who.").like("us")), may("description", str("")),
	}
	alternative := func(make func(string, ...property) *schema, bound func(*schema, int64) *schema) *schema {
		return make("", must("reference", bound(str("").like("topics_jazz"), permission.MaxID)), must("label", bound(str("").like("Jazz"), permission.MaxName)))
	}
	within := func(s *schema, most int64) *schema { return s.between(1, most) }
	free := func(s *schema, _ int64) *schema { return s }
	choices := alternative(shown, free)
	kinds := str("").of(permission.SingleChoice, permission.MultiChoice)

	reference, same := must("reference", key("Yours. It never changes.")), may("reference", key("As it is, if given: it never changes."))
	preference := []property{
		must("label", str("").between(1, permission.MaxName)), must("type", kinds), must("choices", list(alternative(taken, within)).between(1, permission.MaxChoices)),
	}
	statement := []property{
		must("text", str("").between(1, permission.MaxText)), may("language", str("A tag such as `en` or `pt-BR` (BCP 47).").between(1, permission.MaxLanguage)),
	}
	policy := []property{may("url", str("An https URL.").as("uri").between(1, permission.MaxURL)), may("text", str("").atMost(permission.MaxText))}
	return []component{
		{"OptionInput", taken("",
			may("optionId", key("Yours; ours unless given. It never changes.")), may("name", str("").atMost(permission.MaxName)),
			must("dataId", key("What.")), must("purposeId", key("Why.")), must("partyId", key("Who.")), may("description", str("").atMost(permission.MaxDescription)))},
		{"Option", read("", append([]property{must("optionId", str("").like(exampleOption))}, option...)...)},
		{"OptionPage", page("Option")},
		{"OptionPartInput", taken("", may("id", key("Yours; ours unless given.")), must("name", str("").between(1, permission.MaxName).like("E-mail address")))},
		{"OptionPart", shown("", must("id", str("").like("email")), must("name", str("").like("E-mail address")))},
		{"OptionPartPage", page("OptionPart")},
		{"OptionGroupInput", taken("", may("groupId", key("Yours; ours unless given. It never changes.")), may("name", str("").atMost(permission.MaxName)),
			must("options", list(key("The ID of an option.")).between(1, permission.MaxOptions).noTwice()))},
		{"OptionGroup", read("", must("groupId", str("").like("grp-marketing")), may("name", str("").like("Marketing")), must("options", list(str("").like(exampleOption))))},
		{"OptionGroupPage", page("OptionGroup")},
		{"PreferenceInput", taken("", append([]property{reference}, preference...)...)},
		{"PreferenceReplacement", taken("", append([]property{same}, preference...)...)},
		{"Preference", read("", must("reference", str("").like("topics")), must("label", str("").like("Topics you like")), must("type", kinds.like(permission.MultiChoice)), must("choices", list(choices)))},
		{"PreferencePage", page("Preference")},
		{"PermissionStatementInput", taken("", append([]property{reference}, statement...)...)},
		{"PermissionStatementReplacement", taken("", append([]property{same}, statement...)...)},
		{"PermissionStatement", read("", must("permissionStatementId", str("").like("stm_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("reference", str("").like(exampleStatement)),
			must("text", str("").like("Yes, send me the newsletter.")), may("language", str("").like("en")), must("version", integer("Grows by one with each new text or language.").like(1)))},
		{"PermissionStatementPage", page("PermissionStatement")},
		{"PrivacyPolicyInput", taken("", append([]property{reference}, policy...)...)},
		{"PrivacyPolicyReplacement", taken("", append([]property{same}, policy...)...)},
		{"PrivacyPolicy", read("", must("privacyPolicyId", str("").like("pol_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("reference", str("").like(examplePolicy)),
			may("url", str("").like("https://www.example.com/privacy/2026")), may("text", str("")), must("version", integer("Grows by one with each new address or text.").like(1)))},
		{"PrivacyPolicyPage", page("PrivacyPolicy")},
		{"Configuration", shown("",
			must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")),
			must("options", list(shown("", append([]property{must("id", str("").like(exampleOption))}, option...)...))),
			must("data", list(ref("OptionPart"))), must("purposes", list(ref("OptionPart")).like([]object{{{"id", "marketing"}, {"name", "Marketing"}}})),
			must("parties", list(ref("OptionPart")).like([]object{{{"id", "us"}, {"name", "Example Ltd"}}})),
			must("optionGroups", list(ref("OptionGroup"))), must("preferences", list(ref("Preference"))),
			must("permissionStatements", list(ref("PermissionStatement"))), must("privacyPolicies", list(ref("PrivacyPolicy"))))},
	}
}

func citizenComponents() []component {
	id := str("").between(1, app.MaxCitizenID).matching(`^[A-Za-z0-9._~:@-]+$`)
	ref := str("Yours; unique in the application.").between(1, permission.MaxCitizenRef)
	language := str("A tag such as `en` or `pt-BR` (BCP 47).").between(1, permission.MaxLanguage)
	emails := list(taken("", must("address", str("").between(1, app.MaxEmail)))).atMost(app.MaxEmails)
	citizen := []property{
		must("citizenId", str("").like(exampleCitizen)), may("externalRef", str("").like("CRM-000771")), may("language", str("").like("en")),
		must("version", integer("Grows by one with each change.").like(1)), must("createdAt", instant("")), must("updatedAt", instant("")),
	}
	return []component{
		{"CitizenInput", taken("", must("externalRef", ref), may("citizenId", id.saying("Yours; ours unless given. It never changes.")),
			may("emails", emails), may("language", language))},
		{"CitizenPatch", taken("A merge patch (RFC 7396): null takes a member away.", may("externalRef", ref), may("citizenId", id),
			may("emails", emails.orNull()), may("language", language.orNull()))},
		{"Citizen", shown("", citizen...)},
		{"TiedCitizen", shown("", slices.Concat(citizen, tieProperties())...)},
		{"CitizenDetail", shown("", slices.Concat(citizen, []property{must("emails", list(shown("", must("address", str("").like("person@example.org")))))}, tieProperties())...)},
		{"CitizenStream", stream("Citizen")},
	}
}

func permissionComponents() []component {
	option := str("").of(permission.TypeOption)
	chosen := list(shown("", must("reference", str("").like("topics_jazz")), must("label", str("").like("Jazz"))))
	text := func(what string, most int64) *schema { return str(what).atMost(most) }
	who := int64(permission.MaxActor)
	common := []property{
		may("privacyPolicyId", str("").like(nil)), may("privacyPolicyRef", str("").like(examplePolicy)), may("privacyPolicyVersion", integer("The one that was current.").like(1)),
		may("permissionStatementId", str("").like(nil)), may("permissionStatementRef", str("").like(exampleStatement)), may("permissionStatementVersion", integer("The one that was current.").like(1)),
		may("channel", str("").like("web")), may("campaign", str("")), may("recordedBy", str("")), may("recordedByName", str("")),
		may("recordedClient", str("The credential that recorded it.").like("cli_06f3z8m1q4t7w0x2y5b8c1d4e7")), may("recordedClientName", str("").like("My First App")),
		may("delegatedAuthorityId", str("")), may("delegatedAuthorityName", str("")),
	}
	transaction := append([]property{
		must("transactionId", str("").like(exampleTxn)), must("citizenId", str("").like(exampleCitizen)), may("externalRef", str("").like("CRM-000771")),
		must("recordedAt", instant("")), may("reverts", str("The transaction that counts no more by this one, which then has neither changes nor preferences.")),
		must("changes", list(shown("", must("optionType", option), must("optionId", str("").like(exampleOption)), may("groupId", str("The group that the request named.")),
			must("justification", str("").of(justifications()...)), must("state", str("").of(states()...)),
			must("obtainedAt", instant("")), must("validFrom", instant("")), may("validUntil", instant("Absent: for ever.").like(nil))))),
		must("preferences", list(shown("", must("preference", str("").like("topics")), must("label", str("").like("Topics you like")), must("choices", chosen), must("obtainedAt", instant(""))))),
	}, common...)
	null := func(name string, like any) property { return must(name, str("").orNull().like(like)) }
	at := func(name string) property { return must(name, instant("").orNull()) }
	return []component{
		{"TransactionInput", taken("At least one change or preference.",
			may("applicationId", str("The caller's own, if given: the source of these bodies has it.").between(1, maxID)),
			may("externalRef", str("The citizen, by your own reference; an unknown one makes the citizen.").between(1, permission.MaxCitizenRef)),
			may("citizenId", str("The citizen, by its ID. With `externalRef` both must be the same citizen.").between(1, permission.MaxCitizenRef)),
			may("changes", list(taken("",
				may("optionType", str("`group`: the change counts for each option that the group has now.").of(permission.TypeOption, permission.TypeGroup).or(permission.TypeOption)),
				must("optionId", key("Of the option or the group.")),
				must("justification", str("The lawful basis.").of(justifications()...)),
				must("state", str("With `consent`: GRANTED, DENIED, PENDING. With `legitimate-interest`: CLAIMED, OBJECTED, OBJECTION_UPHELD. With any other: CLAIMED.").of(states()...)),
				may("obtainedAt", instant("When the citizen said so, at most 5 minutes in the future; `recordedAt` unless given.")),
				may("validFrom", instant("From this instant on; `obtainedAt` unless given.")), may("validUntil", instant("Until just before this instant; for ever unless given.")),
			)).atMost(permission.MaxChanges)),
			may("preferences", list(taken("",
				must("preference", key("Its reference.")), must("choices", list(taken("", must("reference", key("")))).saying("All that are chosen; empty: none any more.").atMost(permission.MaxChoices)),
				may("obtainedAt", instant("As with a change.")),
			)).atMost(permission.MaxPreferences)),
			may("privacyPolicyId", key("The policy that was shown, by its ID.")), may("privacyPolicyRef", key("By its reference.")),
			may("permissionStatementId", key("The statement that was shown, by its ID.")), may("permissionStatementRef", key("By its reference.")),
			may("channel", text("", permission.MaxChannel)), may("campaign", text("", permission.MaxChannel)),
			may("recordedBy", text("A person of yours.", who)), may("recordedByName", text("", who)),
			may("delegatedAuthorityId", text("Who acts for the citizen.", who)), may("delegatedAuthorityName", text("", who)),
			may("sendReceipt", boolean("Asks for a mail that tells of the receipt, of the feed `citizen-emails`.").or(false)))},
		{"Transaction", shown("", transaction...)},
		{"HistoryEntry", shown("", append(transaction[:len(transaction):len(transaction)], must("told", list(ref("Delivery")).saying("Whom we told, and what came of it.")))...)},
		{"HistoryStream", stream("HistoryEntry")},
		{"Permissions", shown("A citizen's state.",
			must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("citizenId", str("").like(exampleCitizen)), null("externalRef", "CRM-000771"),
			may("mergedInto", shown("The citizen that this one became a part of: in the last that is told of it.", must("citizenId", str("")), null("externalRef", nil)).like(nil)),
			must("permissions", list(shown("", must("transactionId", str("").like(exampleTxn)), must("optionType", option), must("optionId", str("").like(exampleOption)),
				must("justification", str("").of(justifications()...)), must("state", str("Null: it lapsed or was reverted.").of(states()...).orNull()),
				null("channel", "web"), null("campaign", "spring"), null("privacyPolicyId", "pol_06f3z8m1q4t7w0x2y5b8c1d4e7"), null("privacyPolicyRef", examplePolicy),
				null("permissionStatementId", "stm_06f3z8m1q4t7w0x2y5b8c1d4e7"), null("permissionStatementRef", exampleStatement), null("recordedBy", "usr-1"), null("recordedByName", "Call centre"),
				null("recordedClient", "cli_06f3z8m1q4t7w0x2y5b8c1d4e7"), null("recordedClientName", "My First App"), null("delegatedAuthorityId", "gua-12"), null("delegatedAuthorityName", "A guardian"),
				at("recordedAt"), at("obtainedAt"), at("validFrom"), at("validUntil")))),
			must("preferences", list(shown("", must("preference", str("").like("topics")), must("label", str("").like("Topics you like")), must("choices", chosen)))))},
	}
}
