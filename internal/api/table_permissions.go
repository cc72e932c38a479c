package api

import (
	"cmp"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/permission"
)

// spelling is how a kind of configuration is named in the document.
type spelling struct {
	name, names string // in operation IDs and components, e.g. Option
	a, the, all string // in sentences, e.g. "an option"
	param       string // of the path
	create      string // more on creation
	replace     string // more on replacement
	replacement string // the component that PUT takes; empty: that of POST
	examples    []example
}

const (
	textArchived = "By the bytes of their IDs, the archived included."
	textRemove   = "What no transaction refers to is deleted (204). Anything else is archived and comes back (200): new transactions can no longer refer to it, and those there are stay as they are."
	textVersions = "Oldest first, the current one last. A transaction names the version that was current when it was recorded."
)

// rows are the operations on one kind of configuration.
func (sh shelf[T, I, D]) rows(s *server, w spelling) []operation {
	one := sh.path + "/{" + w.param + "}"
	row := func(id, method, path, summary, text string, takes *payload, answers []answer, errors []int, serve handler) operation {
		return operation{
			id: id, method: method, path: path, scope: application, tag: tagConfiguration, summary: summary, text: text,
			paramLen: permission.MaxID, takes: takes, answers: answers, errors: errors, serve: serve,
		}
	}
	is := gives(200, w.name, w.the+" as it now is.")
	ops := []operation{
		row("create"+w.name, "POST", sh.path, "Create "+w.a, w.create, jsonBody(w.name+"Input", w.examples...), gives(201, w.name, w.the+"."), []int{409}, sh.add(s)),
		row("list"+w.names, "GET", sh.path, "List "+w.all, textArchived, nil, gives(200, w.name+"Page", "A page."), nil, sh.list(s)),
		row("read"+w.name, "GET", one, "Read "+w.a, "", nil, gives(200, w.name, w.the+"."), nil, sh.get(s)),
		row("replace"+w.name, "PUT", one, "Replace "+w.a, w.replace, jsonBody(cmp.Or(w.replacement, w.name+"Input"), w.examples...), is, []int{409}, sh.replace(s)),
		row("remove"+w.name, "DELETE", one, "Delete or archive "+w.a, textRemove, nil,
			[]answer{{status: 204, text: "It is gone."}, {status: 200, schema: w.name, text: w.the + ", archived."}}, nil, sh.remove(s)),
		row("restore"+w.name, "POST", one+"/restore", "Restore "+w.a, "Takes it back into use. One that is not archived stays as it is.", optionalBody(""), is, nil, sh.restore(s)),
	}
	ops[1].query = []parameter{choice("archived", "Only those that are archived, or only those that are not.", "true", "false"), offsetParam(), limitParam()}
	if sh.past != nil {
		v := row("list"+w.name+"Versions", "GET", one+"/versions", "List the versions of "+w.a, textVersions, nil, gives(200, w.name+"Page", "A page."), nil, sh.versions(s))
		v.query = []parameter{offsetParam(), limitParam()}
		ops = append(ops, v)
	}
	return ops
}

func (s *server) configurationOperations() []operation {
	const textUsed = " Once a transaction refers to it "
	ops := s.options().rows(s, spelling{
		name: "Option", names: "Options", a: "an option", the: "The option", all: "options", param: "optionId",
		create:   "What, why and who: a permission that can be asked for. The IDs behind it need not be made before: an unknown one is, with itself as its name.",
		replace:  "What is left out is cleared." + textUsed + "`dataId`, `purposeId` and `partyId` stay.",
		examples: []example{{"newsletter", "The newsletter by e-mail", optionExample()}},
	})
	for _, p := range []struct {
		kind               permission.Kind
		path, id, ids, say string
	}{
		{permission.Data, "/v1/option-data", "OptionData", "OptionData", "what is used"},
		{permission.Purpose, "/v1/option-purposes", "OptionPurpose", "OptionPurposes", "why"},
		{permission.Party, "/v1/option-parties", "OptionParty", "OptionParties", "by whom"},
	} {
		ops = append(ops,
			operation{
				id: "put" + p.id, method: "POST", path: p.path, scope: application, tag: tagConfiguration, noLocation: true,
				summary: "Name " + p.say, text: "Makes what stands behind an option's ID, or names it anew when the ID is known. Without an `id` it gets one.",
				takes: jsonBody("OptionPartInput"), answers: gives(201, "OptionPart", "As it now is."), serve: s.addPart(p.kind),
			},
			operation{
				id: "list" + p.ids, method: "GET", path: p.path, scope: application, tag: tagConfiguration,
				summary: "List what stands behind options: " + p.say, text: "In the order of their creation.", query: []parameter{offsetParam(), limitParam()},
				answers: gives(200, "OptionPartPage", "A page."), serve: s.listParts(p.kind),
			})
	}
	ops = append(ops, s.groups().rows(s, spelling{
		name: "OptionGroup", names: "OptionGroups", a: "a group of options", the: "The group", all: "groups of options", param: "groupId",
		create:   "Several options that are answered together: a change of the `optionType` `group` counts for each of them.",
		replace:  "Its options may change at any time: each transaction keeps what the group came to when it was recorded.",
		examples: []example{{"marketing", "All marketing", groupExample()}},
	})...)
	ops = append(ops, s.preferences().rows(s, spelling{
		name: "Preference", replacement: "PreferenceReplacement", names: "Preferences", a: "a preference", the: "The preference", all: "preferences", param: "reference",
		create:   "A wish that is no legal permission.",
		replace:  "What is left out is cleared." + textUsed + "its type stays, and choices may be added and labels mended, but no choice goes.",
		examples: []example{{"topics", "Topics, as many as one likes", preferenceExample()}},
	})...)
	ops = append(ops, s.statements().rows(s, spelling{
		name: "PermissionStatement", replacement: "PermissionStatementReplacement", names: "PermissionStatements", a: "a permission statement", the: "The statement", all: "permission statements", param: "permissionStatementId",
		create:   "The text by which a citizen is asked. It is addressed by its ID or its reference.",
		replace:  "A new text or language is a new version; the former ones are kept.",
		examples: []example{{"newsletter", "The sentence beside the box", statementExample()}},
	})...)
	return append(ops, s.policies().rows(s, spelling{
		name: "PrivacyPolicy", replacement: "PrivacyPolicyReplacement", names: "PrivacyPolicies", a: "a privacy policy", the: "The policy", all: "privacy policies", param: "privacyPolicyId",
		create:   "The policy that a citizen was shown: its address, its text, or both. It is addressed by its ID or its reference.",
		replace:  "A new address or text is a new version; the former ones are kept.",
		examples: []example{{"privacy", "By its address", policyExample()}},
	})...)
}

func externalRefParam(text string) parameter {
	return parameter{"externalRef", str(text).between(1, permission.MaxCitizenRef)}
}

func (s *server) citizenOperations() []operation {
	const base = "/v1/citizens"
	const one = base + "/{citizenId}"
	const textEmails = " E-mail addresses are kept apart: only a read of the one citizen shows them."
	row := func(o operation) operation {
		o.scope, o.tag, o.paramLen = application, tagCitizens, app.MaxCitizenID
		return o
	}
	return []operation{
		row(operation{
			id: "createCitizen", method: "POST", path: base,
			summary: "Create a citizen", text: "Not needed before a transaction: one that names an unknown `externalRef` makes its citizen." + textEmails,
			takes:   jsonBody("CitizenInput", example{"citizen", "A person of your own records", citizenExample()}),
			answers: gives(201, "Citizen", "The citizen."), errors: []int{409}, serve: s.createCitizen,
		}),
		row(operation{
			id: "listCitizens", method: "GET", path: base,
			summary: "List citizens", text: "Newest first.",
			query:   []parameter{externalRefParam("Only the one of this reference."), streamLimit(), afterParam(textAfter)},
			answers: gives(200, "CitizenStream", "A page."), serve: s.listCitizens,
		}),
		row(operation{
			id: "readCitizen", method: "GET", path: one,
			summary: "Read a citizen", answers: gives(200, "CitizenDetail", "The citizen with the e-mail addresses."), serve: s.readCitizen,
		}),
		row(operation{
			id: "replaceCitizen", method: "PUT", path: one,
			summary: "Replace a citizen", text: "What is left out is cleared; permissions and preferences stay." + textEmails,
			takes:   jsonBody("CitizenInput", example{"citizen", "A person of your own records", citizenExample()}),
			answers: gives(200, "Citizen", "The citizen as it now is."), errors: []int{409}, serve: s.editCitizen(replaceCitizen),
		}),
		row(operation{
			id: "patchCitizen", method: "PATCH", path: one,
			summary: "Change a citizen", text: "A merge patch (RFC 7396): null takes a member away, and the list of e-mail addresses is replaced as a whole.",
			takes: patchBody("CitizenPatch",
				example{"language", "Another language", object{{"language", "pt-BR"}}},
				example{"emails", "No e-mail address any more", object{{"emails", nil}}}),
			answers: gives(200, "Citizen", "The citizen as it now is."), errors: []int{409}, serve: s.editCitizen(patchCitizen),
		}),
		row(operation{
			id: "readHistory", method: "GET", path: one + "/history",
			summary: "Read a citizen's history",
			text: "Every transaction, the last recorded first, each with whom we told of it: the deliveries of the events that were recorded with it, as they now stand. " +
				"What lapsed or began by itself is no transaction; `GET /v1/deliveries?subject={citizenId}` lists the deliveries of that too.",
			query:   []parameter{limitParam(), afterParam(textAfter)},
			answers: gives(200, "HistoryStream", "A page."), serve: s.history,
		}),
	}
}

func (s *server) permissionOperations() []operation {
	const base = "/v1/permissions"
	const one = base + "/transactions/{transactionId}"
	return []operation{
		{
			id: "recordTransaction", method: "POST", path: base + "/transactions", scope: application, tag: tagPermissions, keyed: true,
			summary: "Record a transaction",
			text: "What a citizen allowed, refused, withdrew or chose; atomic: one bad change refuses all. Name the citizen by `externalRef` or `citizenId`; an unknown `externalRef` makes the citizen. " +
				"For each option the latest `obtainedAt` counts among what is valid, then the later `recordedAt`, then the later in the request. A withdrawal is a later `DENIED`. " +
				"With an `Idempotency-Key` a repeat within 24 hours answers the stored status and body and does nothing.",
			takes: jsonBody("TransactionInput",
				example{"grant", "Grant one option, refuse another, choose a topic", grantExample()},
				example{"withdraw", "Withdraw", withdrawalExample()},
				example{"preference", "Only a preference", choiceExample()}),
			answers: gives(201, "Transaction", "The transaction as it was recorded."), errors: []int{409, 422}, serve: s.record,
		},
		{
			id: "readTransaction", method: "GET", path: one, scope: application, tag: tagPermissions,
			summary: "Read a transaction", answers: gives(200, "Transaction", "The transaction. It never changes."), serve: s.readTransaction,
		},
		{
			id: "revertTransaction", method: "POST", path: one + "/revert", scope: application, tag: tagPermissions,
			summary: "Revert a transaction",
			text:    "Records a reversion: what the transaction recorded counts no more, as if it had never been, and what it replaced counts again. Both stay in the history. A reversion may itself be reverted.",
			takes:   optionalBody(""), answers: gives(201, "Transaction", "The reversion."), errors: []int{409}, serve: s.revert,
		},
		{
			id: "readPermissions", method: "GET", path: base, scope: application, tag: tagPermissions,
			summary: "Read a citizen's permissions and preferences",
			text: "What is in force, in the form in which an `effective-permission` subscription is told. What lapsed or was reverted is there with the `state` null. " +
				"With `at` as it was at that instant, by what was recorded then.",
			query: []parameter{
				externalRefParam("The citizen, by your own reference. With `citizenId` both must be the same citizen."),
				parameter{"citizenId", str("The citizen, by its ID.").between(1, permission.MaxCitizenRef)}, moment("at", "An instant in the past; now unless given."),
			},
			answers: gives(200, "Permissions", "The state."), serve: s.readPermissions,
		},
		{
			id: "readConfiguration", method: "GET", path: base + "/configuration", scope: application, tag: tagPermissions,
			summary: "Read what can be asked about", text: "All of the configuration that is not archived.",
			answers: gives(200, "Configuration", "The configuration."), serve: s.configuration,
		},
	}
}
