package api

// The bodies of the two source documents, as they stand there but for what is
// no JSON in them (trailing commas, a missing comma).

func interceptorExample() object {
	return object{
		{"endpoint", "https://www.my-domain.com/webhook"}, {"isAuthenticated", false},
		{"authenticationType", ""}, {"user", ""}, {"password", ""}, {"type", "DATA"},
	}
}

func interceptorBasicExample() object {
	return object{
		{"endpoint", "https://www.my-domain.com/webhook"}, {"isAuthenticated", true},
		{"authenticationType", "BASIC"}, {"user", "webhook"}, {"password", "<password>"}, {"type", "PAYMENT"},
	}
}

// subscriptionExamples are the approaches of "Update a Subscription".
func subscriptionExamples() []example {
	of := func(url, updateType string, auth object) object {
		return object{
			{"name", "my-subscription"}, {"url", url}, {"status", "active"},
			{"updateType", updateType}, {"authentication", auth},
		}
	}
	const url, receipts = "https://my-subscription/updates", "consent-receipts"
	key := func(location, name string) object {
		return object{{"authType", "api-key"}, {"apiKeyAuth", object{{"location", location}, {"value", "ABC1234"}, {"key", name}}}}
	}
	return []example{
		{"none", "Unauthenticated webhook", of(url, receipts, object{{"authType", "none"}})},
		{"apiKeyHeader", "Webhook with API key (header)", of(url, receipts, key("header", "X-API-Key"))},
		{"apiKeyQuery", "Webhook with API key (query parameter)", of(url, receipts, key("query", "key"))},
		{"token", "Webhook with bearer token", of(url, receipts, object{{"authType", "token"}, {"token", "ABC1234"}})},
		{"oauth2", "Webhook with OAuth2 client credentials", of(url, receipts, object{{"authType", "oauth2"}, {"oauth2Auth", object{
			{"grantType", "client-credentials"}, {"authenticationUrl", "https://localhost:8080/oauth/token"},
			{"contentType", "application-form-urlencoded"}, {"clientId", "<client id>"}, {"clientSecret", "<client secret>"}, {"scope", "openid"},
		}}})},
		{"salesforce", "Salesforce", of("https://hello.my.salesforce.com/services/apexrest/MyLifeDigital/EffectivePermissions", "effective-permission", object{
			{"authType", "token"}, {"refreshToken", "{your refresh token}"}, {"refreshUrl", "https://hello.my.salesforce.com/services/oauth2/token"},
		})},
	}
}

func consentExample() object {
	return object{
		{"type", "DATA"},
		{"permissions", []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"}},
		{"loggedUser", object{{"document", object{{"identification", "11122233344"}, {"rel", "CPF"}}}}},
	}
}

func paymentExample() object {
	return object{
		{"type", "PAYMENT"},
		{"payment", object{{"type", "PIX"}, {"currency", "BRL"}, {"amount", "1250.00"}}},
		{"creditor", object{{"personType", "PESSOA_JURIDICA"}, {"cpfCnpj", "11222333000181"}, {"name", "Example Ltda"}}},
		{"loggedUser", object{{"document", object{{"identification", "11122233344"}, {"rel", "CPF"}}}}},
	}
}

func replayExamples() []example {
	return []example{
		{"span", "What was not delivered on one day", object{{"from", "2026-01-30T00:00:00.000Z"}, {"to", "2026-01-31T00:00:00.000Z"}, {"status", "exhausted"}}},
		{"events", "Single events", object{{"eventIds", []string{"evt_06f3z8m1q4t7w0x2y5b8c1d4e7"}}}},
	}
}
