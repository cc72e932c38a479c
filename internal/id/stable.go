package id

import "github.com/gofrs/uuid/v5"

// Stable returns the UUID that belongs to an identifier of ours, always the
// same, in its usual form: for standards that want one. It is the name-based
// one (version 5) of "urn:consentwire:" and the identifier, in the name space
// of URLs. Source: RFC 9562, sections 5.5 and 6.6.
func Stable(identifier string) string {
	return uuid.NewV5(uuid.NamespaceURL, "urn:consentwire:"+identifier).String()
}
