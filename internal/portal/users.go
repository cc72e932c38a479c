package portal

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
)

// usersPage lists the users of the application that is shown, or the operators.
type usersPage struct {
	frame
	Notice      string
	Users       []userItem
	Invitations []invitationItem
	Roles       []choice
	Email       string
	EmailFault  string
	RoleFault   string
	Link        string // of an invitation that was just made
	Operators   bool   // no application is shown: these are the operators
}

type userItem struct {
	ID, Email, Name, Role string
	Since                 moment
	Self                  bool
}

type invitationItem struct {
	Ref, Email, Role string
	Until            moment
}

// roleName names a role.
func (l lang) roleName(r access.Role) string {
	switch r {
	case access.Operator:
		return l.t("Operator")
	case access.Developer:
		return l.t("Developer")
	case access.PrivacyOfficer:
		return l.t("Privacy officer")
	case access.Viewer:
		return l.t("Viewer")
	}
	return string(r)
}

// roleHelp tells what a role may do.
func (l lang) roleHelp(r access.Role) string {
	switch r {
	case access.Operator:
		return l.t("everything, of all applications")
	case access.Developer:
		return l.t("endpoints, deliveries with bodies, the inspector")
	case access.PrivacyOfficer:
		return l.t("consents, citizens, who was told; changes nothing")
	}
	return l.t("how it does, and nobody's data")
}

// fieldsOf returns the sentences of an error by the names of its fields.
func fieldsOf(err error) map[string]string {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for _, f := range e.Fields {
		out[f.Path] = f.Msg
	}
	if e.Field != "" {
		out[e.Field] = e.Msg
	}
	return out
}

// whose is whose users the page shows: of the application in the session, or
// with the parameter "of" operators, the operators.
func whose(r *http.Request, s session) access.ID {
	if r.URL.Query().Get("of") == "operators" {
		return ""
	}
	return s.app
}

func (p *Portal) users(w http.ResponseWriter, r *http.Request, s session) error {
	page, err := p.usersPage(r, s)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "users", page)
}

func (p *Portal) usersPage(r *http.Request, s session) (*usersPage, error) {
	f, err := p.signedFrame(r, s, "Users")
	if err != nil {
		return nil, err
	}
	l, of := f.Lang, whose(r, s)
	page := &usersPage{frame: f, Notice: f.notice(r), Operators: of == ""}
	list, err := p.store.Users(r.Context(), of)
	if err != nil {
		return nil, err
	}
	for _, u := range list {
		page.Users = append(page.Users, userItem{u.ID, u.Email, u.Name, l.roleName(u.Role), l.at(u.CreatedAt), u.ID == s.user})
	}
	open, err := p.store.Invitations(r.Context(), of)
	if err != nil {
		return nil, err
	}
	for _, i := range open {
		page.Invitations = append(page.Invitations, invitationItem{hex.EncodeToString(i.Hash[:]), i.Email, l.roleName(i.Role), l.at(i.ExpiresAt)})
	}
	for _, role := range access.Roles() {
		if (role == access.Operator) == page.Operators {
			page.Roles = append(page.Roles, choice{string(role), l.roleName(role) + ": " + l.roleHelp(role), false})
		}
	}
	return page, nil
}

// invite makes an invitation and shows its link, this once: so there is no
// redirect.
func (p *Portal) invite(w http.ResponseWriter, r *http.Request, s session) error {
	email := r.PostForm.Get("email")
	sec, err := p.app.Invite(r.Context(), whose(r, s), email, access.Role(r.PostForm.Get("role")))
	fields := fieldsOf(err)
	if err != nil && len(fields) == 0 {
		return err
	}
	page, perr := p.usersPage(r, s)
	if perr != nil {
		return perr
	}
	if err != nil {
		page.Email, page.EmailFault, page.RoleFault = email, page.Lang.t(fields["email"]), page.Lang.t(fields["role"])
		return p.render(w, http.StatusUnprocessableEntity, "users", page)
	}
	page.Link = strings.TrimSuffix(p.publicURL(), "/") + "/portal/join/" + sec.Reveal()
	return p.render(w, http.StatusOK, "users", page)
}

func (p *Portal) removeUser(w http.ResponseWriter, r *http.Request, s session) error {
	if r.PathValue("user") == s.user {
		return fault.New(fault.Conflict, "yourself", "You cannot remove yourself. Ask another operator.")
	}
	if err := p.app.RemoveUser(r.Context(), whose(r, s), r.PathValue("user")); err != nil {
		return err
	}
	p.toUsers(w, r, "user-removed")
	return nil
}

func (p *Portal) uninvite(w http.ResponseWriter, r *http.Request, s session) error {
	var hash [32]byte
	if b, err := hex.DecodeString(r.PathValue("invitation")); err == nil && len(b) == len(hash) {
		copy(hash[:], b)
	}
	if err := p.app.Uninvite(r.Context(), whose(r, s), hash); err != nil {
		return err
	}
	p.toUsers(w, r, "uninvited")
	return nil
}

func (p *Portal) toUsers(w http.ResponseWriter, r *http.Request, done string) {
	to := p.base() + "/users?done=" + done
	if r.URL.Query().Get("of") == "operators" {
		to += "&of=operators"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
