package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// The configuration of an application as it reads it. Source: CONTRACT 9, and
// the resource of permission statements and privacy policies in DOMAIN 7.1.
type (
	optionBody struct {
		OptionID    string `json:"optionId"`
		Name        string `json:"name,omitempty"`
		DataID      string `json:"dataId"`
		PurposeID   string `json:"purposeId"`
		PartyID     string `json:"partyId"`
		Description string `json:"description,omitempty"`
		lifeBody
	}
	groupBody struct {
		GroupID string   `json:"groupId"`
		Name    string   `json:"name,omitempty"`
		Options []string `json:"options"`
		lifeBody
	}
	preferenceBody struct {
		Reference string            `json:"reference"`
		Label     string            `json:"label"`
		Type      string            `json:"type"`
		Choices   []alternativeBody `json:"choices"`
		lifeBody
	}
	alternativeBody struct {
		Reference string `json:"reference"`
		Label     string `json:"label"`
	}
	statementBody struct {
		ID        string `json:"permissionStatementId"`
		Reference string `json:"reference"`
		Text      string `json:"text"`
		Language  string `json:"language,omitempty"`
		Version   int    `json:"version"`
		lifeBody
	}
	policyBody struct {
		ID        string `json:"privacyPolicyId"`
		Reference string `json:"reference"`
		URL       string `json:"url,omitempty"`
		Text      string `json:"text,omitempty"`
		Version   int    `json:"version"`
		lifeBody
	}
	lifeBody struct {
		Used       bool   `json:"used"` // a transaction refers to it
		Archived   bool   `json:"archived"`
		ArchivedAt string `json:"archivedAt,omitempty"`
	}
	partBody struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	// catalogueBody is what can be asked about now. Source: DOMAIN 3.2,
	// "GET /v1/permissions/configuration", with what we keep beside it.
	catalogueBody struct {
		ApplicationID        string      `json:"applicationId"`
		Options              []triadBody `json:"options"`
		Data                 []partBody  `json:"data"`
		Purposes             []partBody  `json:"purposes"`
		Parties              []partBody  `json:"parties"`
		OptionGroups         []any       `json:"optionGroups"`
		Preferences          []any       `json:"preferences"`
		PermissionStatements []any       `json:"permissionStatements"`
		PrivacyPolicies      []any       `json:"privacyPolicies"`
	}
	// triadBody is an option as the configuration lists it.
	triadBody struct {
		ID          string `json:"id"`
		Name        string `json:"name,omitempty"`
		DataID      string `json:"dataId"`
		PurposeID   string `json:"purposeId"`
		PartyID     string `json:"partyId"`
		Description string `json:"description,omitempty"`
	}
)

func lifeOf(l permission.Life) lifeBody {
	return lifeBody{Used: l.Used, Archived: l.Archived(), ArchivedAt: when(l.ArchivedAt)}
}

func optionOf(o permission.Option) any {
	return optionBody{string(o.ID), o.Name, o.DataID, o.PurposeID, o.PartyID, o.Description, lifeOf(o.Life)}
}

func groupOf(g permission.Group) any {
	b := groupBody{GroupID: string(g.ID), Name: g.Name, Options: []string{}, lifeBody: lifeOf(g.Life)}
	for _, id := range g.Options {
		b.Options = append(b.Options, string(id))
	}
	return b
}

func preferenceOf(p permission.Preference) any {
	return preferenceBody{p.Reference, p.Label, p.Type, alternativesOf(p.Choices), lifeOf(p.Life)}
}

func alternativesOf(as []permission.Alternative) []alternativeBody {
	out := []alternativeBody{}
	for _, a := range as {
		out = append(out, alternativeBody(a))
	}
	return out
}

func statementOf(s permission.Statement) any {
	return statementBody{string(s.ID), s.Reference, s.Text, s.Language, s.Version, lifeOf(s.Life)}
}

func policyOf(p permission.Policy) any {
	return policyBody{string(p.ID), p.Reference, p.URL, p.Text, p.Version, lifeOf(p.Life)}
}

func readOption(o *body.Object) permission.OptionDraft {
	return permission.OptionDraft{
		ID: o.OptStr("optionId"), Name: o.OptStr("name"), DataID: o.OptStr("dataId"), PurposeID: o.OptStr("purposeId"),
		PartyID: o.OptStr("partyId"), Description: o.OptStr("description"),
	}
}

func readGroup(o *body.Object) permission.GroupDraft {
	return permission.GroupDraft{ID: o.OptStr("groupId"), Name: o.OptStr("name"), Options: o.Strings("options", body.Optional)}
}

func readPreference(o *body.Object) permission.PreferenceDraft {
	d := permission.PreferenceDraft{Reference: o.OptStr("reference"), Label: o.OptStr("label"), Type: o.OptStr("type")}
	for _, a := range o.Objects("choices", body.Optional) {
		d.Choices = append(d.Choices, permission.AlternativeDraft{Reference: a.OptStr("reference"), Label: a.OptStr("label")})
	}
	return d
}

func readStatement(o *body.Object) permission.StatementDraft {
	return permission.StatementDraft{Reference: o.OptStr("reference"), Text: o.OptStr("text"), Language: o.OptStr("language")}
}

func readPolicy(o *body.Object) permission.PolicyDraft {
	return permission.PolicyDraft{Reference: o.OptStr("reference"), URL: o.OptStr("url"), Text: o.OptStr("text")}
}

// shelf is one kind of configuration: how its things are found, written and
// shown. T is the thing, I its ID, D what an owner may write on it.
type shelf[T any, I ~string, D any] struct {
	kind  string // as app has it
	path  string // of the collection
	all   func(*permission.Catalogue) []T
	one   func(*permission.Catalogue, I) (T, error) // by its ID; a statement and a policy also by its reference
	id    func(T) I
	life  func(T) permission.Life
	show  func(T) any
	read  func(*body.Object) D
	apply func(D, T, *permission.Catalogue) []fault.Field
	put   func(*call, I, D) (T, error) // an empty ID makes one
	past  func(*call, I) ([]T, error)  // its versions, oldest first; nil: it has none
}

func (s *server) options() shelf[permission.Option, permission.OptionID, permission.OptionDraft] {
	return shelf[permission.Option, permission.OptionID, permission.OptionDraft]{
		kind: store.Option, path: "/v1/options",
		all: (*permission.Catalogue).Options, one: (*permission.Catalogue).Option,
		id: func(o permission.Option) permission.OptionID { return o.ID }, life: func(o permission.Option) permission.Life { return o.Life },
		show: optionOf, read: readOption,
		apply: faultsOf[permission.Option, permission.OptionDraft],
		put: func(c *call, id permission.OptionID, d permission.OptionDraft) (permission.Option, error) {
			return s.App.PutOption(c.ctx(), c.app, id, d)
		},
	}
}

func (s *server) groups() shelf[permission.Group, permission.GroupID, permission.GroupDraft] {
	return shelf[permission.Group, permission.GroupID, permission.GroupDraft]{
		kind: store.Group, path: "/v1/option-groups",
		all: (*permission.Catalogue).Groups, one: (*permission.Catalogue).Group,
		id: func(g permission.Group) permission.GroupID { return g.ID }, life: func(g permission.Group) permission.Life { return g.Life },
		show: groupOf, read: readGroup,
		apply: func(d permission.GroupDraft, cur permission.Group, cat *permission.Catalogue) []fault.Field {
			_, fs := d.Apply(cur, cat)
			return fs
		},
		put: func(c *call, id permission.GroupID, d permission.GroupDraft) (permission.Group, error) {
			return s.App.PutGroup(c.ctx(), c.app, id, d)
		},
	}
}

func (s *server) preferences() shelf[permission.Preference, string, permission.PreferenceDraft] {
	return shelf[permission.Preference, string, permission.PreferenceDraft]{
		kind: store.Preference, path: "/v1/preferences",
		all: (*permission.Catalogue).Preferences, one: (*permission.Catalogue).Preference,
		id: func(p permission.Preference) string { return p.Reference }, life: func(p permission.Preference) permission.Life { return p.Life },
		show: preferenceOf, read: readPreference,
		apply: faultsOf[permission.Preference, permission.PreferenceDraft],
		put: func(c *call, reference string, d permission.PreferenceDraft) (permission.Preference, error) {
			return s.App.PutPreference(c.ctx(), c.app, reference, d)
		},
	}
}

func (s *server) statements() shelf[permission.Statement, permission.StatementID, permission.StatementDraft] {
	return shelf[permission.Statement, permission.StatementID, permission.StatementDraft]{
		kind: store.Statement, path: "/v1/permission-statements",
		all: (*permission.Catalogue).Statements,
		one: func(c *permission.Catalogue, id permission.StatementID) (permission.Statement, error) {
			if t, err := c.Statement(id); err == nil {
				return t, nil
			}
			return c.StatementByRef(string(id))
		},
		id: func(t permission.Statement) permission.StatementID { return t.ID }, life: func(t permission.Statement) permission.Life { return t.Life },
		show: statementOf, read: readStatement,
		apply: faultsOf[permission.Statement, permission.StatementDraft],
		put: func(c *call, id permission.StatementID, d permission.StatementDraft) (permission.Statement, error) {
			return s.App.PutStatement(c.ctx(), c.app, id, d)
		},
		past: func(c *call, id permission.StatementID) ([]permission.Statement, error) {
			return s.Store.StatementVersions(c.ctx(), c.app, id)
		},
	}
}

func (s *server) policies() shelf[permission.Policy, permission.PolicyID, permission.PolicyDraft] {
	return shelf[permission.Policy, permission.PolicyID, permission.PolicyDraft]{
		kind: store.Policy, path: "/v1/privacy-policies",
		all: (*permission.Catalogue).Policies,
		one: func(c *permission.Catalogue, id permission.PolicyID) (permission.Policy, error) {
			if p, err := c.Policy(id); err == nil {
				return p, nil
			}
			return c.PolicyByRef(string(id))
		},
		id: func(p permission.Policy) permission.PolicyID { return p.ID }, life: func(p permission.Policy) permission.Life { return p.Life },
		show: policyOf, read: readPolicy,
		apply: faultsOf[permission.Policy, permission.PolicyDraft],
		put: func(c *call, id permission.PolicyID, d permission.PolicyDraft) (permission.Policy, error) {
			return s.App.PutPolicy(c.ctx(), c.app, id, d)
		},
		past: func(c *call, id permission.PolicyID) ([]permission.Policy, error) {
			return s.Store.PolicyVersions(c.ctx(), c.app, id)
		},
	}
}

// faultsOf returns what is wrong with a draft that needs nothing else of the
// configuration.
func faultsOf[T any, D interface{ Apply(T) (T, []fault.Field) }](d D, cur T, _ *permission.Catalogue) []fault.Field {
	_, fs := d.Apply(cur)
	return fs
}

// add makes a thing. Faults of shape and of the rules are told together.
func (sh shelf[T, I, D]) add(s *server) handler {
	return func(c *call) (reply, error) {
		cat, err := s.Store.Catalogue(c.ctx(), c.app)
		if err != nil {
			return reply{}, err
		}
		var none T
		made, err := sh.write(c, cat, none, "")
		if err != nil {
			return reply{}, err
		}
		return created(sh.show(made), sh.path+"/"+url.PathEscape(string(sh.id(made))))
	}
}

// replace writes all that an owner may write on a thing.
func (sh shelf[T, I, D]) replace(s *server) handler {
	return func(c *call) (reply, error) {
		cat, cur, err := sh.find(s, c)
		if err != nil {
			return reply{}, err
		}
		next, err := sh.write(c, cat, cur, sh.id(cur))
		if err != nil {
			return reply{}, err
		}
		return ok(sh.show(next))
	}
}

func (sh shelf[T, I, D]) write(c *call, cat *permission.Catalogue, cur T, id I) (T, error) {
	var none T
	o, err := c.fields()
	if err != nil {
		return none, err
	}
	d := sh.read(o)
	if o.Err() != nil {
		return none, further(o, sh.apply(d, cur, cat))
	}
	return sh.put(c, id, d)
}

// further returns the faults of an object that has some, and with them those
// that the rules found in what could be read of it. Within a value that is at
// fault as a whole the rules have nothing to say.
func further(o *body.Object, found []fault.Field) error {
	f, is := errors.AsType[*fault.Error](o.Err())
	if !is {
		return fault.InvalidFields(found)
	}
	for _, x := range found {
		if !slices.ContainsFunc(f.Fields, func(y fault.Field) bool { return strings.HasPrefix(x.Path, y.Path+"/") }) {
			o.Add(x)
		}
	}
	return o.Err()
}

func (sh shelf[T, I, D]) find(s *server, c *call) (*permission.Catalogue, T, error) {
	var none T
	cat, err := s.Store.Catalogue(c.ctx(), c.app)
	if err != nil {
		return nil, none, err
	}
	cur, err := sh.one(cat, I(c.id()))
	return cat, cur, err
}

func (sh shelf[T, I, D]) list(s *server) handler {
	return func(c *call) (reply, error) {
		cat, err := s.Store.Catalogue(c.ctx(), c.app)
		if err != nil {
			return reply{}, err
		}
		var found []any
		for _, t := range sh.all(cat) {
			if want := c.query["archived"]; want == "" || want == strconv.FormatBool(sh.life(t).Archived()) {
				found = append(found, sh.show(t))
			}
		}
		return ok(pageOf(c, found))
	}
}

// pageOf returns the page of a whole list that the query asks for.
func pageOf[T any](c *call, all []T) pageBody[T] {
	from := min(c.number("offset"), len(all))
	to := min(from+c.number("limit"), len(all))
	return pageBody[T]{Items: append([]T{}, all[from:to]...), Total: len(all)}
}

func (sh shelf[T, I, D]) get(s *server) handler {
	return func(c *call) (reply, error) {
		_, cur, err := sh.find(s, c)
		if err != nil {
			return reply{}, err
		}
		return ok(sh.show(cur))
	}
}

// remove deletes a thing to which no transaction refers, and archives any
// other.
func (sh shelf[T, I, D]) remove(s *server) handler {
	return func(c *call) (reply, error) {
		_, cur, err := sh.find(s, c)
		if err != nil {
			return reply{}, err
		}
		archived, err := s.App.RemoveConfiguration(c.ctx(), c.app, sh.kind, string(sh.id(cur)))
		if err != nil {
			return reply{}, err
		}
		if !archived {
			return noContent()
		}
		return sh.get(s)(c)
	}
}

func (sh shelf[T, I, D]) restore(s *server) handler {
	return func(c *call) (reply, error) {
		_, cur, err := sh.find(s, c)
		if err != nil {
			return reply{}, err
		}
		if err := c.nothing(); err != nil {
			return reply{}, err
		}
		if err := s.App.RestoreConfiguration(c.ctx(), c.app, sh.kind, string(sh.id(cur))); err != nil {
			return reply{}, err
		}
		return sh.get(s)(c)
	}
}

// versions lists all that a thing has been, oldest first.
func (sh shelf[T, I, D]) versions(s *server) handler {
	return func(c *call) (reply, error) {
		_, cur, err := sh.find(s, c)
		if err != nil {
			return reply{}, err
		}
		all, err := sh.past(c, sh.id(cur))
		if err != nil {
			return reply{}, err
		}
		var items []any
		for _, t := range all {
			items = append(items, sh.show(t))
		}
		return ok(pageOf(c, items))
	}
}

// addPart names what stands behind one of an option's three IDs.
func (s *server) addPart(kind permission.Kind) handler {
	return func(c *call) (reply, error) {
		o, err := c.fields()
		if err != nil {
			return reply{}, err
		}
		d := permission.PartDraft{ID: o.OptStr("id"), Name: o.OptStr("name")}
		if o.Err() != nil {
			_, fs := d.Apply(permission.Part{})
			return reply{}, further(o, fs)
		}
		p, err := s.App.PutPart(c.ctx(), c.app, kind, d)
		if err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusCreated, body: partBody{p.ID, p.Name}}, nil
	}
}

func (s *server) listParts(kind permission.Kind) handler {
	return func(c *call) (reply, error) {
		ps, err := s.parts(c, kind)
		if err != nil {
			return reply{}, err
		}
		return ok(pageOf(c, ps))
	}
}

func (s *server) parts(c *call, kind permission.Kind) ([]partBody, error) {
	ps, err := s.Store.Parts(c.ctx(), c.app, kind)
	out := []partBody{}
	for _, p := range ps {
		out = append(out, partBody{p.ID, p.Name})
	}
	return out, err
}

// configuration shows in one answer what can be asked about now.
func (s *server) configuration(c *call) (reply, error) {
	cat, err := s.Store.Catalogue(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	b := catalogueBody{
		ApplicationID: string(c.app), Options: []triadBody{},
		OptionGroups: inUse(s.groups(), cat), Preferences: inUse(s.preferences(), cat),
		PermissionStatements: inUse(s.statements(), cat), PrivacyPolicies: inUse(s.policies(), cat),
	}
	for _, o := range cat.Options() {
		if !o.Archived() {
			b.Options = append(b.Options, triadBody{string(o.ID), o.Name, o.DataID, o.PurposeID, o.PartyID, o.Description})
		}
	}
	if b.Data, err = s.parts(c, permission.Data); err != nil {
		return reply{}, err
	}
	if b.Purposes, err = s.parts(c, permission.Purpose); err != nil {
		return reply{}, err
	}
	b.Parties, err = s.parts(c, permission.Party)
	if err != nil {
		return reply{}, err
	}
	return ok(b)
}

// inUse shows what of a shelf is not archived.
func inUse[T any, I ~string, D any](sh shelf[T, I, D], cat *permission.Catalogue) []any {
	out := []any{}
	for _, t := range sh.all(cat) {
		if !sh.life(t).Archived() {
			out = append(out, sh.show(t))
		}
	}
	return out
}
