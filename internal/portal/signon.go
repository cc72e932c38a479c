package portal

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
)

// SignOn is an OpenID Connect provider; see oidc.Provider.
type SignOn interface {
	Name() string
	Begin(ctx context.Context) (address, kept string, err error)
	Finish(ctx context.Context, kept string, q url.Values) (email, name string, err error)
}

// CallbackPath is where the provider leads back to.
const CallbackPath = "/portal/sign-in/callback"

// signOnLife is how long a sign-in at the provider may take. Ours.
const signOnLife = 10 * time.Minute

// signOnName is the cookie's that binds a sign-in to the browser that began it.
const signOnName = "consentwire-sign-on"

// toProvider sends the browser to the provider. With the parameter join it is to
// use that invitation.
func (p *Portal) toProvider(w http.ResponseWriter, r *http.Request) error {
	if p.signOn == nil {
		return fault.New(fault.NotFound, "not_found", "There is no such page.")
	}
	address, kept, err := p.signOn.Begin(r.Context())
	if err != nil {
		return p.notSignedOn(w, r, err)
	}
	c := p.ownCookie(r, signOnName, kept+"|"+url.QueryEscape(r.URL.Query().Get("join"))) // #nosec G124 -- as ownCookie says
	c.MaxAge = int(signOnLife / time.Second)
	http.SetCookie(w, c)
	http.Redirect(w, r, address, http.StatusSeeOther) // #nosec G710 -- the provider's, which a setting names
	return nil
}

// fromProvider signs in whom the provider names: a user, or who was invited.
func (p *Portal) fromProvider(w http.ResponseWriter, r *http.Request) error {
	if p.signOn == nil {
		return fault.New(fault.NotFound, "not_found", "There is no such page.")
	}
	kept, join, _ := strings.Cut(p.ownValue(r, signOnName), "|")
	http.SetCookie(w, p.ownCookie(r, signOnName, ""))
	email, name, err := p.signOn.Finish(r.Context(), kept, r.URL.Query())
	if err != nil {
		return p.notSignedOn(w, r, err)
	}
	var u access.User
	if sec, _ := url.QueryUnescape(join); sec != "" { // what is no escape is no invitation
		u, err = p.app.JoinVerified(r.Context(), sec, email, name)
	} else {
		u, err = p.app.SignInVerified(r.Context(), email)
	}
	if err != nil {
		return p.notSignedOn(w, r, err)
	}
	return p.begin(w, r, visitorOf(u))
}

// notSignedOn shows the sign-in page with what went wrong.
func (p *Portal) notSignedOn(w http.ResponseWriter, r *http.Request, err error) error {
	status := http.StatusUnauthorized
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.NotFound, fault.Conflict, fault.Invalid:
	case fault.Unavailable:
		status = http.StatusServiceUnavailable
		p.log.WarnContext(r.Context(), "sign-in by the provider", "error", err)
	default:
		return err
	}
	page := p.signInPage(r)
	page.ProviderFault = page.Lang.t(sentenceOf(err))
	return p.render(w, status, "sign-in", page)
}

func (p *Portal) providerName() string {
	if p.signOn == nil {
		return ""
	}
	return p.signOn.Name()
}
