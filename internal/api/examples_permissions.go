package api

import "github.com/consentwire/consentwire/internal/permission"

func optionExample() object {
	return object{
		{"optionId", exampleOption}, {"name", "Newsletter"}, {"dataId", "email"}, {"purposeId", "marketing"}, {"partyId", "us"},
		{"description", "Our monthly newsletter by e-mail."},
	}
}

func groupExample() object {
	return object{{"groupId", "grp-marketing"}, {"name", "Marketing"}, {"options", []string{exampleOption, "opt-phone"}}}
}

func preferenceExample() object {
	return object{
		{"reference", "topics"}, {"label", "Topics you like"}, {"type", permission.MultiChoice},
		{"choices", []object{
			{{"reference", "topics_jazz"}, {"label", "Jazz"}},
			{{"reference", "topics_choro"}, {"label", "Choro"}},
		}},
	}
}

func statementExample() object {
	return object{{"reference", exampleStatement}, {"text", "Yes, send me the newsletter."}, {"language", "en"}}
}

func policyExample() object {
	return object{{"reference", examplePolicy}, {"url", "https://www.example.com/privacy/2026"}}
}

func citizenExample() object {
	return object{{"externalRef", "CRM-000771"}, {"emails", []object{{{"address", "person@example.org"}}}}, {"language", "en"}}
}

func grantExample() object {
	change := func(option string, state permission.State) object {
		return object{
			{"optionType", permission.TypeOption}, {"optionId", option}, {"justification", string(permission.ByConsent)}, {"state", string(state)},
		}
	}
	return object{
		{"externalRef", "CRM-000771"},
		{"changes", []object{
			append(change(exampleOption, permission.Granted), member{"obtainedAt", "2026-01-31T12:00:00.000Z"}, member{"validUntil", "2028-01-31T12:00:00.000Z"}),
			change("opt-phone", permission.Denied),
		}},
		{"preferences", []object{{{"preference", "topics"}, {"choices", []object{{{"reference", "topics_jazz"}}}}}}},
		{"privacyPolicyRef", examplePolicy}, {"permissionStatementRef", exampleStatement}, {"channel", "web"},
	}
}

func withdrawalExample() object {
	return object{
		{"externalRef", "CRM-000771"},
		{"changes", []object{{{"optionId", exampleOption}, {"justification", string(permission.ByConsent)}, {"state", string(permission.Denied)}}}},
		{"channel", "preference centre"},
	}
}

func choiceExample() object {
	return object{
		{"externalRef", "CRM-000771"},
		{"preferences", []object{{{"preference", "topics"}, {"choices", []object{{{"reference", "topics_choro"}}}}}}},
	}
}
