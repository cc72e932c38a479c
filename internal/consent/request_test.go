package consent_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/fault"
)

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// places renders faults as "path code", in their order.
func places(fs []fault.Field) string {
	var out []string
	for _, f := range fs {
		if f.Msg == "" {
			out = append(out, "(no sentence)")
		}
		out = append(out, f.Path+" "+f.Code)
	}
	return fmt.Sprint(out)
}

func TestRequest_Check(t *testing.T) {
	t.Parallel()
	company := func(number, rel string) func(*consent.Request) {
		return func(r *consent.Request) {
			r.BusinessEntity = &consent.Document{Identification: number, Rel: rel}
		}
	}
	user := func(number, rel string) func(*consent.Request) {
		return func(r *consent.Request) { r.LoggedUser = consent.Document{Identification: number, Rel: rel} }
	}
	asks := func(ps ...string) func(*consent.Request) {
		return func(r *consent.Request) { r.Permissions = ps }
	}
	pays := func(kind, currency, amount string) func(*consent.Request) {
		return func(r *consent.Request) { r.Payment = &consent.Money{Type: kind, Currency: currency, Amount: amount} }
	}
	paid := func(kind, number, name string) func(*consent.Request) {
		return func(r *consent.Request) {
			r.Creditor = &consent.Creditor{PersonType: kind, CpfCnpj: number, Name: name}
		}
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = repeat("A", i%100+1) + repeat("_", i/100)
	}
	tests := []struct {
		name   string
		r      consent.Request
		change func(*consent.Request)
		want   string
	}{
		{"a good DATA request", data(), nil, "[]"},
		{"a good PAYMENT request", payment(), nil, "[]"},
		{"no type", data(), func(r *consent.Request) { r.Type = "" }, "[/type invalid_value]"},
		{"the type in lower case", data(), func(r *consent.Request) { r.Type = "data" }, "[/type invalid_value]"},

		{"no permissions", data(), asks(), "[/permissions required]"},
		{"an empty list", data(), func(r *consent.Request) { r.Permissions = []string{} }, "[/permissions required]"},
		{"100 permissions", data(), asks(many[:100]...), "[]"},
		{"101 permissions", data(), asks(many...), "[/permissions out_of_range]"},
		{"a permission twice", data(), asks("A", "B", "A", "A"), "[/permissions/2 duplicate /permissions/3 duplicate]"},
		{"permissions of the wrong form", data(), asks("", "a", "A B", "A1", "Á", repeat("A", 101)), "[/permissions/0 invalid_format /permissions/1 invalid_format /permissions/2 invalid_format /permissions/3 invalid_format /permissions/4 invalid_format /permissions/5 invalid_format]"},
		{"permissions beside a payment", payment(), asks("ACCOUNTS_READ"), "[/permissions foreign_member]"},
		{"an empty list beside a payment", payment(), func(r *consent.Request) { r.Permissions = []string{} }, "[/permissions foreign_member]"},
		{"a payment and a creditor beside permissions", data(), func(r *consent.Request) { r.Payment, r.Creditor = &consent.Money{}, &consent.Creditor{} }, "[/payment foreign_member /creditor foreign_member]"},

		{"no user", data(), user("", ""), "[/loggedUser required]"},
		{"a user without a number", data(), user("", "CPF"), "[/loggedUser/document/identification required]"},
		{"a user without a kind", data(), user("12345678901", ""), "[/loggedUser/document/rel required]"},
		{"10 digits", data(), user("1234567890", "CPF"), "[/loggedUser/document/identification invalid_format]"},
		{"12 digits", data(), user("123456789012", "CPF"), "[/loggedUser/document/identification invalid_format]"},
		{"digits of another script", data(), user("1234567890٣", "CPF"), "[/loggedUser/document/identification invalid_format]"},
		{"a letter among the digits", data(), user("1234567890A", "CPF"), "[/loggedUser/document/identification invalid_format]"},
		{"another kind of three letters", data(), user("12345678901", "ABC"), "[]"},
		{"a kind in lower case", data(), user("12345678901", "cpf"), "[/loggedUser/document/rel invalid_format]"},
		{"a kind of four letters", data(), user("12345678901", "CNPJ"), "[/loggedUser/document/rel invalid_format]"},
		{"a good company", data(), company("12345678000190", "CNPJ"), "[]"},
		{"a company with letters in its number", data(), company("AB3DEFGHIJ0090", "CNPJ"), "[]"},
		{"letters in the company's check digits", data(), company("1234567800019A", "CNPJ"), "[/businessEntity/document/identification invalid_format]"},
		{"small letters in the company's number", data(), company("ab345678000190", "CNPJ"), "[/businessEntity/document/identification invalid_format]"},
		{"13 characters", data(), company("1234567800019", "CNPJ"), "[/businessEntity/document/identification invalid_format]"},
		{"an empty company", data(), company("", ""), "[/businessEntity/document/identification required /businessEntity/document/rel required]"},
		{"a company with the user's kind", data(), company("12345678000190", "CPF"), "[/businessEntity/document/rel invalid_format]"},

		{"a citizen of 255 characters", data(), func(r *consent.Request) { r.CitizenID = repeat("é", 255) }, "[]"},
		{"a citizen of 256 characters", data(), func(r *consent.Request) { r.CitizenID = repeat("é", 256) }, "[/citizenId too_long]"},
		{"a citizen with a control character", data(), func(r *consent.Request) { r.CitizenID = "a\tb" }, "[/citizenId invalid_format]"},
		{"no approver", data(), func(r *consent.Request) { r.Approvers = 0 }, "[/approvers out_of_range]"},
		{"ten approvers", data(), func(r *consent.Request) { r.Approvers = 10 }, "[]"},
		{"eleven approvers", data(), func(r *consent.Request) { r.Approvers = 11 }, "[/approvers out_of_range]"},
		{"fewer than none", payment(), func(r *consent.Request) { r.Approvers = -1 }, "[/approvers out_of_range]"},

		{"no payment, no creditor", payment(), func(r *consent.Request) { r.Payment, r.Creditor = nil, nil }, "[/payment required /creditor required]"},
		{"an empty payment", payment(), pays("", "", ""), "[/payment/type required /payment/currency required /payment/amount required]"},
		{"another type of payment", payment(), pays("pix", "BRL", "1.00"), "[/payment/type invalid_value]"},
		{"a currency in lower case", payment(), pays("PIX", "brl", "1.00"), "[/payment/currency invalid_value]"},
		{"no currency of ISO 4217", payment(), pays("PIX", "ABC", "1.00"), "[/payment/currency invalid_value]"},
		{"the end of one code and the start of the next", payment(), pays("PIX", "D A", "1.00"), "[/payment/currency invalid_value]"},
		{"the code of no currency", payment(), pays("PIX", "XXX", "1.00"), "[/payment/currency invalid_value]"},
		{"the code for tests", payment(), pays("PIX", "XTS", "1.00"), "[/payment/currency invalid_value]"},
		{"the last currency of the list", payment(), pays("PIX", "ZWG", "1.00"), "[]"},
		{"the smallest amount", payment(), pays("PIX", "BRL", "0.01"), "[]"},
		{"16 digits", payment(), pays("PIX", "BRL", "1234567890123456.00"), "[]"},
		{"17 digits", payment(), pays("PIX", "BRL", "12345678901234567.00"), "[/payment/amount invalid_format]"},
		{"no digit before the point", payment(), pays("PIX", "BRL", ".00"), "[/payment/amount invalid_format]"},
		{"no point", payment(), pays("PIX", "BRL", "100"), "[/payment/amount invalid_format]"},
		{"a comma", payment(), pays("PIX", "BRL", "1,00"), "[/payment/amount invalid_format]"},
		{"one digit after the point", payment(), pays("PIX", "BRL", "1.0"), "[/payment/amount invalid_format]"},
		{"three digits after the point", payment(), pays("PIX", "BRL", "1.000"), "[/payment/amount invalid_format]"},
		{"a sign", payment(), pays("PIX", "BRL", "-1.00"), "[/payment/amount invalid_format]"},
		{"a blank", payment(), pays("PIX", "BRL", " 1.00"), "[/payment/amount invalid_format]"},
		{"a line end", payment(), pays("PIX", "BRL", "1.00\n"), "[/payment/amount invalid_format]"},
		{"a creditor without a name", payment(), paid("", "", ""), "[/creditor/name required]"},
		{"a creditor with a name alone", payment(), paid("", "", "A"), "[]"},
		{"a name of 120 characters", payment(), paid("", "", repeat("é", 120)), "[]"},
		{"a name of 121 characters", payment(), paid("", "", repeat("é", 121)), "[/creditor/name too_long]"},
		{"a person who is paid", payment(), paid("PESSOA_NATURAL", "12345678901", "A"), "[]"},
		{"another kind of person", payment(), paid("NATURAL", "12345678901", "A"), "[/creditor/personType invalid_value]"},
		{"a number that is neither's", payment(), paid("", "123", "A"), "[/creditor/cpfCnpj invalid_format]"},
		{"faults in the order of the members", payment(), func(r *consent.Request) {
			*r = consent.Request{Type: consent.Payment, Payment: &consent.Money{}, CitizenID: "\x7f"}
		}, "[/payment/type required /payment/currency required /payment/amount required /creditor required /loggedUser required /citizenId invalid_format /approvers out_of_range]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.change != nil {
				tt.change(&tt.r)
			}
			if got := places(tt.r.Check()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestCheckApprover(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, who, want string }{
		{"the unnamed one", "", "[]"},
		{"255 characters", repeat("ß", 255), "[]"},
		{"256 characters", repeat("ß", 256), "[/approver too_long]"},
		{"a control character", "a\u0085", "[/approver invalid_format]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := places(consent.CheckApprover(tt.who)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// refusal creates a consent at t0 and renders why not: "400" or "422", the
// first code, and the places.
func refusal(t *testing.T, r consent.Request) string {
	t.Helper()
	if fs := r.Check(); len(fs) > 0 {
		t.Fatalf("the request's shape is at fault: %v", places(fs))
	}
	c, e, err := consent.Create("con_1", "app_1", r, t0, policy)
	if err == nil {
		return "created"
	}
	if c.ID != "" || e.Type != "" {
		t.Errorf("got %v, %v beside an error", c, e)
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault", err)
	}
	status := map[fault.Kind]string{fault.Invalid: "400", fault.Unprocessable: "422"}[f.Kind]
	return status + " " + f.Code + " " + places(f.Fields)
}

func TestCreate_rules(t *testing.T) {
	t.Parallel()
	const (
		res      = "RESOURCES_READ"
		personal = "CUSTOMERS_PERSONAL_IDENTIFICATIONS_READ"
		extra    = "CUSTOMERS_PERSONAL_ADITTIONALINFO_READ"
		firm     = "CUSTOMERS_BUSINESS_IDENTIFICATIONS_READ"
		firmMore = "CUSTOMERS_BUSINESS_ADITTIONALINFO_READ"
	)
	never := time.Time{}
	tests := []struct {
		name    string
		asks    []string
		company bool
		end     time.Time
		want    string
	}{
		{"two groups that share a permission", []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "ACCOUNTS_TRANSACTIONS_READ", res}, false, never, "created"},
		{"in any order", []string{res, "ACCOUNTS_BALANCES_READ", "ACCOUNTS_READ"}, false, never, "created"},
		{"a company asks for accounts", []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", res}, true, never, "created"},
		{"a company asks for business data", []string{firm, res}, true, never, "created"},

		{"a permission that does not exist", []string{"ACCOUNTS_READ", "CARS_READ", res}, false, never, "400 permission_unknown [/permissions/1 permission_unknown]"},
		{"two that do not exist, before any rule", []string{"CARS_READ", "BOATS_READ"}, false, t0, "400 permission_unknown [/permissions/0 permission_unknown /permissions/1 permission_unknown]"},
		{"the spelling that would be right", []string{"CUSTOMERS_PERSONAL_ADDITIONALINFO_READ", res}, false, never, "400 permission_unknown [/permissions/0 permission_unknown]"},

		{"nothing but the resources", []string{res}, false, never, "422 SEM_PERMISSOES_FUNCIONAIS_RESTANTES [/permissions SEM_PERMISSOES_FUNCIONAIS_RESTANTES]"},
		{"a group without the resources", []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ"}, false, never, "422 COMBINACAO_PERMISSOES_INCORRETA [/permissions COMBINACAO_PERMISSOES_INCORRETA]"},
		{"half a group", []string{"ACCOUNTS_READ", res}, false, never, "422 COMBINACAO_PERMISSOES_INCORRETA [/permissions COMBINACAO_PERMISSOES_INCORRETA]"},
		{"a group and half another", []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "LOANS_READ", res}, false, never, "422 COMBINACAO_PERMISSOES_INCORRETA [/permissions COMBINACAO_PERMISSOES_INCORRETA]"},
		{"personal and business data", []string{personal, firm, res}, true, never, "422 PERMISSAO_PF_PJ_EM_CONJUNTO [/permissions PERMISSAO_PF_PJ_EM_CONJUNTO]"},
		{"personal and business extras without a company", []string{extra, firmMore, res}, false, never, "422 PERMISSAO_PF_PJ_EM_CONJUNTO [/permissions PERMISSAO_PF_PJ_EM_CONJUNTO]"},
		{"business data without a company", []string{firm, res}, false, never, "422 INFORMACOES_PJ_NAO_INFORMADAS [/businessEntity INFORMACOES_PJ_NAO_INFORMADAS]"},
		{"business extras without a company", []string{firmMore, res}, false, never, "422 INFORMACOES_PJ_NAO_INFORMADAS [/businessEntity INFORMACOES_PJ_NAO_INFORMADAS]"},
		{"personal data of a company", []string{personal, res}, true, never, "422 PERMISSOES_PJ_INCORRETAS [/permissions PERMISSOES_PJ_INCORRETAS]"},
		{"personal extras of a company", []string{extra, res}, true, never, "422 PERMISSOES_PJ_INCORRETAS [/permissions PERMISSOES_PJ_INCORRETAS]"},

		{"an end a moment ahead", []string{personal, res}, false, t0.Add(time.Millisecond), "created"},
		{"an end exactly 12 months ahead", []string{personal, res}, false, t0.AddDate(1, 0, 0), "created"},
		{"an end a moment later than that", []string{personal, res}, false, t0.AddDate(1, 0, 0).Add(time.Millisecond), "422 DATA_EXPIRACAO_INVALIDA [/expirationDateTime DATA_EXPIRACAO_INVALIDA]"},
		{"an end now", []string{personal, res}, false, t0, "422 DATA_EXPIRACAO_INVALIDA [/expirationDateTime DATA_EXPIRACAO_INVALIDA]"},
		{"an end in the past", []string{personal, res}, false, t0.Add(-time.Hour), "422 DATA_EXPIRACAO_INVALIDA [/expirationDateTime DATA_EXPIRACAO_INVALIDA]"},
		{"two rules, the first names the error", []string{res}, false, t0, "422 SEM_PERMISSOES_FUNCIONAIS_RESTANTES [/permissions SEM_PERMISSOES_FUNCIONAIS_RESTANTES /expirationDateTime DATA_EXPIRACAO_INVALIDA]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := data()
			r.Permissions, r.ExpiresAt = tt.asks, tt.end
			if tt.company {
				r.BusinessEntity = &consent.Document{Identification: "12345678000190", Rel: "CNPJ"}
			}
			if got := refusal(t, r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}

	late := payment()
	late.ExpiresAt = t0
	if got, want := refusal(t, late), "422 DATA_EXPIRACAO_INVALIDA [/expirationDateTime DATA_EXPIRACAO_INVALIDA]"; got != want {
		t.Errorf("a PAYMENT that is over: got %s, want %s", got, want)
	}
}

// TestGroups: thirteen groups of 36 permissions (DOMAIN 2.2); each may be
// asked for alone, and none without one of its permissions.
func TestGroups(t *testing.T) {
	t.Parallel()
	want := map[string]int{ // without RESOURCES_READ
		"Registration/Personal data": 1, "Registration/Personal extra": 1, "Registration/Business data": 1, "Registration/Business extra": 1,
		"Accounts/Balances": 2, "Accounts/Limits": 2, "Accounts/Statements": 2,
		"Credit card/Limits": 2, "Credit card/Transactions": 2, "Credit card/Bills": 3,
		"Credit operations/Contract data": 16, "Investment/Operation data": 5, "Exchange/Operation data": 1,
	}
	all := map[string]bool{}
	for _, g := range consent.Groups() {
		name := g.Category + "/" + g.Name
		if n, ok := want[name]; !ok || len(g.Permissions) != n+1 || g.Permissions[n] != "RESOURCES_READ" {
			t.Errorf("%s: got %v, want %d permissions and RESOURCES_READ", name, g.Permissions, n)
		}
		delete(want, name)
		r := data()
		r.Permissions = g.Permissions
		if strings.HasPrefix(g.Name, "Business") {
			r.BusinessEntity = &consent.Document{Identification: "12345678000190", Rel: "CNPJ"}
		}
		if got := refusal(t, r); got != "created" {
			t.Errorf("%s alone: got %s, want it created", name, got)
		}
		for i, p := range g.Permissions {
			all[p] = true
			r.Permissions = slices.Delete(slices.Clone(g.Permissions), i, i+1)
			got := refusal(t, r)
			if !strings.HasPrefix(got, "422 COMBINACAO_PERMISSOES_INCORRETA ") && !strings.HasPrefix(got, "422 SEM_PERMISSOES_FUNCIONAIS_RESTANTES ") {
				t.Errorf("%s without %s: got %s, want it refused", name, p, got)
			}
		}
	}
	if len(want) != 0 || len(all) != 36 {
		t.Errorf("got %d permissions, want 36; missing groups: %v", len(all), want)
	}
	consent.Groups()[0].Permissions[0] = "X"
	if consent.Groups()[0].Permissions[0] == "X" {
		t.Error("a caller can change the groups for others")
	}
}

// TestCreate_ownsItsData: what the caller does to the request later does not
// reach the consent, and nothing of the request is lost.
func TestCreate_ownsItsData(t *testing.T) {
	t.Parallel()
	d := data()
	d.BusinessEntity = &consent.Document{Identification: "12345678000190", Rel: "CNPJ"}
	d.CitizenID, d.Approvers = "ctz-1", 2
	c, e, err := consent.Create("con_1", "app_1", d, t0, policy)
	if err != nil {
		t.Fatal(err)
	}
	want := consent.Consent{
		ID: "con_1", ConsentID: "urn:consentwire:con_1", Application: "app_1", Type: consent.Data, Status: consent.Awaiting, Version: 1,
		Permissions: []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		LoggedUser:  consent.Document{Identification: "12345678901", Rel: "CPF"}, BusinessEntity: &consent.Document{Identification: "12345678000190", Rel: "CNPJ"},
		CitizenID: "ctz-1", Approvers: 2,
		CreatedAt: t0, StatusUpdatedAt: t0, ExpiresAt: t0.AddDate(1, 0, 0),
		Deadline: t0.Add(time.Hour), ApprovalDeadline: t0.Add(time.Hour), ApproversDeadline: t0.Add(time.Hour),
	}
	d.Permissions[0], d.BusinessEntity.Rel = "X", "Y"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if string(e.Body) != string(consent.Body(e.Type, want)) || e.Subject != "con_1" || e.Application != "app_1" || !e.OccurredAt.Equal(t0) {
		t.Errorf("got event %+v, want it about con_1 at its creation", e)
	}

	p := payment()
	c = create(t, p, t0)
	p.Payment.Amount, p.Creditor.Name = "99.00", "Z"
	if *c.Payment != *payment().Payment || *c.Creditor != *payment().Creditor {
		t.Errorf("got %+v, %+v, want the request's of then", c.Payment, c.Creditor)
	}
}
