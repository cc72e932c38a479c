package access

import "slices"

// Role is what a user of the portal may do.
type Role string

// The roles. An operator has no application of its own and may act for any;
// the others belong to one.
const (
	Operator       Role = "operator"
	Developer      Role = "developer"       // integrates: endpoints, deliveries, the inspector
	PrivacyOfficer Role = "privacy-officer" // answers for people: consents, citizens, who was told
	Viewer         Role = "viewer"          // sees how it does, and nobody's data
)

// Roles returns all roles.
func Roles() []Role { return []Role{Operator, Developer, PrivacyOfficer, Viewer} }

// Scope is one kind of thing that a page of the portal shows or does.
type Scope string

// The scopes.
const (
	Look       Scope = "look"       // how endpoints and deliveries do, without bodies
	Bodies     Scope = "bodies"     // what was sent and answered, which is personal data
	People     Scope = "people"     // consents and citizens
	Change     Scope = "change"     // endpoints, replays, bins, credentials
	Administer Scope = "administer" // applications and users
)

// May tells whether the role has the scope. What personal data a role sees is
// what its work needs (GDPR Art. 5(1)(c)).
func (r Role) May(s Scope) bool { return slices.Contains(scopes[r], s) }

var scopes = map[Role][]Scope{
	Operator:       {Look, Bodies, People, Change, Administer},
	Developer:      {Look, Bodies, Change},
	PrivacyOfficer: {Look, Bodies, People},
	Viewer:         {Look},
}
