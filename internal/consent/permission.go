package consent

import (
	"fmt"
	"slices"

	"github.com/consentwire/consentwire/internal/fault"
)

// resourcesRead belongs to every group and gives no data by itself.
const resourcesRead = "RESOURCES_READ"

// Group is a set of permissions that are only asked for together.
type Group struct {
	Category    string
	Name        string
	Permissions []string // RESOURCES_READ is the last of each
}

// Groups returns the thirteen groups, in the order of their source.
//
// Source: Open Finance Brasil, API Consents 3.3.1, table of the section
// "Orientações importantes"; the spelling ADITTIONALINFO is its own.
func Groups() []Group {
	g := func(category, name string, permissions ...string) Group {
		return Group{category, name, append(permissions, resourcesRead)}
	}
	return []Group{
		g("Registration", "Personal data", "CUSTOMERS_PERSONAL_IDENTIFICATIONS_READ"),
		g("Registration", "Personal extra", "CUSTOMERS_PERSONAL_ADITTIONALINFO_READ"),
		g("Registration", "Business data", "CUSTOMERS_BUSINESS_IDENTIFICATIONS_READ"),
		g("Registration", "Business extra", "CUSTOMERS_BUSINESS_ADITTIONALINFO_READ"),
		g("Accounts", "Balances", "ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ"),
		g("Accounts", "Limits", "ACCOUNTS_READ", "ACCOUNTS_OVERDRAFT_LIMITS_READ"),
		g("Accounts", "Statements", "ACCOUNTS_READ", "ACCOUNTS_TRANSACTIONS_READ"),
		g("Credit card", "Limits", "CREDIT_CARDS_ACCOUNTS_READ", "CREDIT_CARDS_ACCOUNTS_LIMITS_READ"),
		g("Credit card", "Transactions", "CREDIT_CARDS_ACCOUNTS_READ", "CREDIT_CARDS_ACCOUNTS_TRANSACTIONS_READ"),
		g("Credit card", "Bills", "CREDIT_CARDS_ACCOUNTS_READ", "CREDIT_CARDS_ACCOUNTS_BILLS_READ",
			"CREDIT_CARDS_ACCOUNTS_BILLS_TRANSACTIONS_READ"),
		g("Credit operations", "Contract data",
			"LOANS_READ", "LOANS_WARRANTIES_READ", "LOANS_SCHEDULED_INSTALMENTS_READ", "LOANS_PAYMENTS_READ",
			"FINANCINGS_READ", "FINANCINGS_WARRANTIES_READ", "FINANCINGS_SCHEDULED_INSTALMENTS_READ", "FINANCINGS_PAYMENTS_READ",
			"UNARRANGED_ACCOUNTS_OVERDRAFT_READ", "UNARRANGED_ACCOUNTS_OVERDRAFT_WARRANTIES_READ",
			"UNARRANGED_ACCOUNTS_OVERDRAFT_SCHEDULED_INSTALMENTS_READ", "UNARRANGED_ACCOUNTS_OVERDRAFT_PAYMENTS_READ",
			"INVOICE_FINANCINGS_READ", "INVOICE_FINANCINGS_WARRANTIES_READ",
			"INVOICE_FINANCINGS_SCHEDULED_INSTALMENTS_READ", "INVOICE_FINANCINGS_PAYMENTS_READ"),
		g("Investment", "Operation data",
			"BANK_FIXED_INCOMES_READ", "CREDIT_FIXED_INCOMES_READ", "FUNDS_READ", "VARIABLE_INCOMES_READ", "TREASURE_TITLES_READ"),
		g("Exchange", "Operation data", "EXCHANGES_READ"),
	}
}

// personal and business are the permissions that belong to one kind of
// customer only.
func personal(p string) bool {
	return p == "CUSTOMERS_PERSONAL_IDENTIFICATIONS_READ" || p == "CUSTOMERS_PERSONAL_ADITTIONALINFO_READ"
}

func business(p string) bool {
	return p == "CUSTOMERS_BUSINESS_IDENTIFICATIONS_READ" || p == "CUSTOMERS_BUSINESS_ADITTIONALINFO_READ"
}

// unknownPermissions returns a fault for each permission that is in no group.
func unknownPermissions(permissions []string) []fault.Field {
	known := make(map[string]bool)
	for _, g := range Groups() {
		for _, p := range g.Permissions {
			known[p] = true
		}
	}
	var fs []fault.Field
	for i, p := range permissions {
		if !known[p] {
			fs = append(fs, fault.Field{
				Path: fmt.Sprintf("/permissions/%d", i), Code: "permission_unknown",
				Msg: "This permission is in none of the permission groups.",
			})
		}
	}
	return fs
}

// permissionRule returns the first rule that known, distinct permissions
// break, or nil. The codes are those of the Consents API 3.3.1, schema
// ResponseErrorUnprocessableEntity; which case each stands for is our reading.
func permissionRule(permissions []string, company bool) []fault.Field {
	whole := make(map[string]bool) // what a completely requested group asks for
	for _, g := range Groups() {
		if !slices.ContainsFunc(g.Permissions, func(p string) bool { return !slices.Contains(permissions, p) }) {
			for _, p := range g.Permissions {
				whole[p] = true
			}
		}
	}
	incomplete := slices.ContainsFunc(permissions, func(p string) bool { return !whole[p] })
	hasPersonal, hasBusiness := slices.ContainsFunc(permissions, personal), slices.ContainsFunc(permissions, business)
	refuse := func(path, code, msg string) []fault.Field {
		return []fault.Field{{Path: path, Code: code, Msg: msg}}
	}
	switch {
	case len(permissions) == 1 && permissions[0] == resourcesRead:
		return refuse("/permissions", "SEM_PERMISSOES_FUNCIONAIS_RESTANTES",
			"RESOURCES_READ alone gives no data; ask for at least one group.")
	case incomplete:
		return refuse("/permissions", "COMBINACAO_PERMISSOES_INCORRETA",
			"Permissions are asked for in whole groups, RESOURCES_READ included.")
	case hasPersonal && hasBusiness:
		return refuse("/permissions", "PERMISSAO_PF_PJ_EM_CONJUNTO",
			"Personal and business registration data cannot be asked for together.")
	case hasBusiness && !company:
		return refuse("/businessEntity", "INFORMACOES_PJ_NAO_INFORMADAS",
			"Business registration data needs the company in businessEntity.")
	case hasPersonal && company:
		return refuse("/permissions", "PERMISSOES_PJ_INCORRETAS",
			"A consent for a company cannot ask for personal registration data.")
	}
	return nil
}
