package permission

import (
	"cmp"
	"maps"
	"slices"

	"github.com/consentwire/consentwire/internal/fault"
)

// The lists of a catalogue hold the archived too, by the bytes of their ID or
// reference. The look-ups fail with fault.NotFound "not_found".

// Options returns all options.
func (c *Catalogue) Options() []Option { return sorted(c.options) }

// Groups returns all groups.
func (c *Catalogue) Groups() []Group { return sorted(c.groups) }

// Preferences returns all preferences.
func (c *Catalogue) Preferences() []Preference { return sorted(c.preferences) }

// Statements returns all statements, each in its current version.
func (c *Catalogue) Statements() []Statement { return sorted(c.statements) }

// Policies returns all policies, each in its current version.
func (c *Catalogue) Policies() []Policy { return sorted(c.policies) }

// Option returns one option.
func (c *Catalogue) Option(id OptionID) (Option, error) { return find(c.options, id, "option") }

// Group returns one group.
func (c *Catalogue) Group(id GroupID) (Group, error) { return find(c.groups, id, "group of options") }

// Preference returns the preference of a reference.
func (c *Catalogue) Preference(reference string) (Preference, error) {
	return find(c.preferences, reference, "preference")
}

// Statement returns the current version of a statement.
func (c *Catalogue) Statement(id StatementID) (Statement, error) {
	return find(c.statements, id, "permission statement")
}

// StatementByRef returns the current version of the statement of a reference.
func (c *Catalogue) StatementByRef(reference string) (Statement, error) {
	return c.Statement(c.statementIDs[reference])
}

// Policy returns the current version of a policy.
func (c *Catalogue) Policy(id PolicyID) (Policy, error) {
	return find(c.policies, id, "privacy policy")
}

// PolicyByRef returns the current version of the policy of a reference.
func (c *Catalogue) PolicyByRef(reference string) (Policy, error) {
	return c.Policy(c.policyIDs[reference])
}

func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func find[K comparable, V any](m map[K]V, key K, what string) (V, error) {
	v, known := m[key]
	if !known {
		return v, fault.New(fault.NotFound, "not_found", "There is no such "+what+".")
	}
	return v, nil
}
