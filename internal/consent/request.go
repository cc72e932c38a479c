package consent

import (
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/fault"
)

// Limits of a request. The numbers without another source are ours.
const (
	MaxApprovers = 10 // CONTRACT 4

	maxPermissions    = 100 // more than the 36 that exist, so that a rule can name the unknown ones
	maxPermissionName = 100
	maxCitizenID      = 255
	maxApprover       = 255
	maxCreditorName   = 120 // Open Finance Brasil, Payments API 4.0.0, Identification.name
	maxInformation    = 140 // Consents API 3.3.1, rejection.reason.additionalInformation
)

// Request asks for a consent.
//
// The face that reads it fills in the defaults: Type Data and one approver. A
// nil slice or pointer, an empty CitizenID, a zero ExpiresAt and a zero
// LoggedUser mean that the member was absent.
type Request struct {
	Type           Type
	Permissions    []string // DATA
	LoggedUser     Document
	BusinessEntity *Document
	ExpiresAt      time.Time // zero: indefinite
	CitizenID      string
	Payment        *Money    // PAYMENT
	Creditor       *Creditor // PAYMENT
	Approvers      int       // 1..10
}

// Check returns every fault in the request's shape, in the order of its
// members; none means that its content can be judged (Create).
//
// The codes: required, invalid_value (not one of a list), invalid_format,
// duplicate, out_of_range, too_long, foreign_member (belongs to the other
// type). Lengths count Unicode code points.
//
// Source of the patterns: Consents API 3.3.1 and Payments API 4.0.0.
func (r Request) Check() []fault.Field {
	var fs faults
	switch r.Type {
	case Data:
		fs.permissions(r.Permissions)
		fs.foreign("/payment", r.Payment != nil, Data)
		fs.foreign("/creditor", r.Creditor != nil, Data)
	case Payment:
		fs.foreign("/permissions", r.Permissions != nil, Payment)
		fs.payment(r.Payment)
		fs.creditor(r.Creditor)
	default:
		fs.add("/type", "invalid_value", `The type is "DATA" or "PAYMENT".`)
	}
	if r.LoggedUser == (Document{}) {
		fs.add("/loggedUser", "required", "Name the user's document: identification and rel.")
	} else {
		fs.document("/loggedUser/document", r.LoggedUser, "11 digits", isCPF, "3", 3)
	}
	if r.BusinessEntity != nil {
		fs.document("/businessEntity/document", *r.BusinessEntity,
			"12 digits or capital letters and 2 digits", isCNPJ, "4", 4)
	}
	fs.text("/citizenId", r.CitizenID, maxCitizenID)
	if r.Approvers < 1 || r.Approvers > MaxApprovers {
		fs.add("/approvers", "out_of_range", fmt.Sprintf("Between 1 and %d must approve.", MaxApprovers))
	}
	return fs
}

// CheckApprover returns the faults of an approver's name, at /approver. An
// empty name is the one unnamed approver.
func CheckApprover(name string) []fault.Field {
	var fs faults
	fs.text("/approver", name, maxApprover)
	return fs
}

// faults collects what is wrong with a request.
type faults []fault.Field

func (fs *faults) add(path, code, msg string) {
	*fs = append(*fs, fault.Field{Path: path, Code: code, Msg: msg})
}

func (fs *faults) foreign(path string, present bool, t Type) {
	if present {
		fs.add(path, "foreign_member", "A consent of type "+string(t)+" has no such member.")
	}
}

// text checks a free text that may be empty.
func (fs *faults) text(path, s string, most int) {
	if utf8.RuneCountInString(s) > most {
		fs.add(path, "too_long", fmt.Sprintf("At most %d characters.", most))
	}
	if !printable(s) {
		fs.add(path, "invalid_format", "Control characters are not allowed.")
	}
}

func (fs *faults) permissions(ps []string) {
	switch {
	case len(ps) == 0:
		fs.add("/permissions", "required", "Ask for at least one group of permissions.")
		return
	case len(ps) > maxPermissions:
		fs.add("/permissions", "out_of_range", fmt.Sprintf("At most %d permissions.", maxPermissions))
		return
	}
	for i, p := range ps {
		path := fmt.Sprintf("/permissions/%d", i)
		switch {
		case !isPermissionName(p):
			fs.add(path, "invalid_format", "A permission is written in capital letters and underscores.")
		case slices.Contains(ps[:i], p):
			fs.add(path, "duplicate", "This permission is in the list already.")
		}
	}
}

func (fs *faults) document(path string, d Document, form string, ok func(string) bool, letters string, n int) {
	switch {
	case d.Identification == "":
		fs.add(path+"/identification", "required", "Give the document's number.")
	case !ok(d.Identification):
		fs.add(path+"/identification", "invalid_format", "The number has "+form+".")
	}
	switch {
	case d.Rel == "":
		fs.add(path+"/rel", "required", "Name the kind of document.")
	case len(d.Rel) != n || !isUpper(d.Rel):
		fs.add(path+"/rel", "invalid_format", "The kind of document has "+letters+" capital letters.")
	}
}

func (fs *faults) payment(m *Money) {
	if m == nil {
		fs.add("/payment", "required", "A PAYMENT consent says what is paid.")
		return
	}
	switch m.Type {
	case "PIX":
	case "":
		fs.add("/payment/type", "required", `Name the type of payment: "PIX".`)
	default:
		fs.add("/payment/type", "invalid_value", `The type of payment is "PIX".`)
	}
	switch {
	case m.Currency == "":
		fs.add("/payment/currency", "required", "Name the currency by its ISO 4217 code.")
	case !isCurrency(m.Currency):
		fs.add("/payment/currency", "invalid_value", "The currency is an active ISO 4217 code in capital letters.")
	}
	switch {
	case m.Amount == "":
		fs.add("/payment/amount", "required", "Give the amount.")
	case !isAmount(m.Amount):
		fs.add("/payment/amount", "invalid_format", "The amount is 1 to 16 digits, a point and 2 digits.")
	}
}

func (fs *faults) creditor(c *Creditor) {
	if c == nil {
		fs.add("/creditor", "required", "A PAYMENT consent says who is paid.")
		return
	}
	if c.Name == "" {
		fs.add("/creditor/name", "required", "Name the creditor.")
	}
	fs.text("/creditor/name", c.Name, maxCreditorName)
	switch c.PersonType {
	case "", "PESSOA_NATURAL", "PESSOA_JURIDICA":
	default:
		fs.add("/creditor/personType", "invalid_value", `The kind of person is "PESSOA_NATURAL" or "PESSOA_JURIDICA".`)
	}
	if c.CpfCnpj != "" && !isCPF(c.CpfCnpj) && !isCNPJ(c.CpfCnpj) {
		fs.add("/creditor/cpfCnpj", "invalid_format", "The number is a CPF (11 digits) or a CNPJ (14 characters).")
	}
}

// printable tells whether s has no control character.
func printable(s string) bool {
	for _, c := range s {
		if unicode.IsControl(c) {
			return false
		}
	}
	return true
}

// isPermissionName matches ^[A-Z_]{1,100}$.
func isPermissionName(s string) bool {
	for i := range len(s) {
		if s[i] != '_' && (s[i] < 'A' || s[i] > 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= maxPermissionName
}

// isCPF matches ^\d{11}$.
func isCPF(s string) bool { return len(s) == 11 && isDigits(s) }

// isCNPJ matches ^[0-9A-Z]{12}[0-9]{2}$.
func isCNPJ(s string) bool {
	if len(s) != 14 || !isDigits(s[12:]) {
		return false
	}
	for i := range 12 {
		if !isDigits(s[i:i+1]) && !isUpper(s[i:i+1]) {
			return false
		}
	}
	return true
}

// isAmount matches ^\d{1,16}\.\d{2}$.
func isAmount(s string) bool {
	whole := len(s) - 3
	return whole >= 1 && whole <= 16 && s[whole] == '.' && isDigits(s[:whole]) && isDigits(s[whole+1:])
}

// isDigits matches ^[0-9]*$.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
