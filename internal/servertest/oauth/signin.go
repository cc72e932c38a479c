//go:build npm

package oauth

import "testing"

// SignIn is a real OpenID provider by which people sign in: whoever comes, under the
// name that is typed, with the address name@example.org.
type SignIn struct {
	URL         string // the issuer
	ID, Secret  string // the client's
	Certificate *Certificate
}

// StartSignIn starts one in node. It ends with the test.
func StartSignIn(t testing.TB) *SignIn {
	t.Helper()
	s := &SignIn{ID: "consentwire portal", Secret: "of the:portal+/=&%41 and long enough", Certificate: NewCertificate(t)}
	s.URL = startNode(t, "signin.mjs", "oidc-provider", s.Certificate, map[string]string{
		"certFile": s.Certificate.CertFile, "keyFile": s.Certificate.KeyFile, "id": s.ID, "secret": s.Secret,
	}).url
	return s
}
