package api

import (
	"bytes"
	"net/http"
	"net/url"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// transactionBody is a transaction as it was recorded. The members are named
// as the request and the bodies of DOMAIN 3.4 name them; a group's change is
// shown as those of its options.
type transactionBody struct {
	TransactionID              string          `json:"transactionId"`
	CitizenID                  string          `json:"citizenId"`
	ExternalRef                string          `json:"externalRef,omitempty"`
	RecordedAt                 string          `json:"recordedAt"`
	Reverts                    string          `json:"reverts,omitempty"` // then there are neither changes nor preferences
	Changes                    []changeBody    `json:"changes"`
	Preferences                []selectionBody `json:"preferences"`
	PrivacyPolicyID            string          `json:"privacyPolicyId,omitempty"`
	PrivacyPolicyRef           string          `json:"privacyPolicyRef,omitempty"`
	PrivacyPolicyVersion       int             `json:"privacyPolicyVersion,omitempty"`
	PermissionStatementID      string          `json:"permissionStatementId,omitempty"`
	PermissionStatementRef     string          `json:"permissionStatementRef,omitempty"`
	PermissionStatementVersion int             `json:"permissionStatementVersion,omitempty"`
	Channel                    string          `json:"channel,omitempty"`
	Campaign                   string          `json:"campaign,omitempty"`
	RecordedBy                 string          `json:"recordedBy,omitempty"`
	RecordedByName             string          `json:"recordedByName,omitempty"`
	RecordedClient             string          `json:"recordedClient,omitempty"`
	RecordedClientName         string          `json:"recordedClientName,omitempty"`
	DelegatedAuthorityID       string          `json:"delegatedAuthorityId,omitempty"`
	DelegatedAuthorityName     string          `json:"delegatedAuthorityName,omitempty"`
}

type changeBody struct {
	OptionType    string `json:"optionType"`
	OptionID      string `json:"optionId"`
	GroupID       string `json:"groupId,omitempty"` // that the request named
	Justification string `json:"justification"`
	State         string `json:"state"`
	ObtainedAt    string `json:"obtainedAt"`
	ValidFrom     string `json:"validFrom"`
	ValidUntil    string `json:"validUntil,omitempty"`
}

type selectionBody struct {
	Preference string            `json:"preference"`
	Label      string            `json:"label"`
	Choices    []alternativeBody `json:"choices"`
	ObtainedAt string            `json:"obtainedAt"`
}

// historyBody is a transaction with whom we told of it.
type historyBody struct {
	transactionBody
	Told []deliveryBody `json:"told"`
}

func transactionOf(t permission.Transaction, c store.Citizen) transactionBody {
	o := t.Origin
	b := transactionBody{
		TransactionID: string(t.ID()), CitizenID: string(c.ID), ExternalRef: c.ExternalRef,
		RecordedAt: event.Format(o.RecordedAt), Reverts: string(t.Reverts),
		Changes: []changeBody{}, Preferences: []selectionBody{},
		PrivacyPolicyID: string(o.Policy), PrivacyPolicyRef: o.PolicyRef, PrivacyPolicyVersion: o.PolicyVersion,
		PermissionStatementID: string(o.Statement), PermissionStatementRef: o.StatementRef, PermissionStatementVersion: o.StatementVersion,
		Channel: o.Channel, Campaign: o.Campaign,
		RecordedBy: o.Actor.By, RecordedByName: o.Actor.ByName, RecordedClient: o.Actor.Client, RecordedClientName: o.Actor.ClientName,
		DelegatedAuthorityID: o.Actor.Authority, DelegatedAuthorityName: o.Actor.AuthorityName,
	}
	for _, e := range t.Entries {
		b.Changes = append(b.Changes, changeBody{
			permission.TypeOption, string(e.Option), string(e.Group), string(e.Justification), string(e.State),
			event.Format(e.ObtainedAt), event.Format(e.ValidFrom), when(e.ValidUntil),
		})
	}
	for _, x := range t.Choices {
		b.Preferences = append(b.Preferences, selectionBody{x.Preference, x.Label, alternativesOf(x.Chosen), event.Format(x.ObtainedAt)})
	}
	return b
}

// readTransaction reads the request to record a transaction. named is the
// application that it names, nil when it names none.
func readTransaction(o *body.Object) (r permission.Request, named *string) {
	named = o.OptStr("applicationId")
	r = permission.Request{
		ExternalRef: o.OptStr("externalRef"), CitizenID: o.OptStr("citizenId"),
		PolicyID: o.OptStr("privacyPolicyId"), PolicyRef: o.OptStr("privacyPolicyRef"),
		StatementID: o.OptStr("permissionStatementId"), StatementRef: o.OptStr("permissionStatementRef"),
		Channel: o.OptStr("channel"), Campaign: o.OptStr("campaign"),
		RecordedBy: o.OptStr("recordedBy"), RecordedName: o.OptStr("recordedByName"),
		Authority: o.OptStr("delegatedAuthorityId"), AuthorityName: o.OptStr("delegatedAuthorityName"),
		SendReceipt: o.Bool("sendReceipt", body.Optional),
	}
	for _, x := range o.Objects("changes", body.Optional) {
		r.Changes = append(r.Changes, permission.ChangeDraft{
			OptionType: x.OptStr("optionType"), OptionID: x.OptStr("optionId"),
			Justification: x.OptStr("justification"), State: x.OptStr("state"),
			ObtainedAt: optTime(x, "obtainedAt"), ValidFrom: optTime(x, "validFrom"), ValidUntil: optTime(x, "validUntil"),
		})
	}
	for _, x := range o.Objects("preferences", body.Optional) {
		d := permission.ChoiceDraft{Preference: x.OptStr("preference"), ObtainedAt: optTime(x, "obtainedAt")}
		if picks := x.Objects("choices", body.Optional); picks != nil {
			d.Choices = []permission.PickDraft{}
			for _, p := range picks {
				d.Choices = append(d.Choices, permission.PickDraft{Reference: p.OptStr("reference")})
			}
		}
		r.Preferences = append(r.Preferences, d)
	}
	return r, named
}

// optTime reads an optional instant; nil means absent or null.
func optTime(o *body.Object, name string) *time.Time {
	t := o.Time(name, body.Optional)
	if !o.Has(name) {
		return nil
	}
	return &t
}

// caller tells who records.
func (s *server) caller(c *call) (app.Caller, error) {
	if c.caller.Operator {
		return app.Caller{ClientID: "operator", Name: "Operator"}, nil
	}
	a, err := s.Store.Application(c.ctx(), c.app)
	return app.Caller{ClientID: c.caller.ClientID, Name: a.Name}, err
}

func (s *server) record(c *call) (reply, error) {
	key, err := idempotencyKey(c.r)
	if err != nil {
		return reply{}, err
	}
	raw, err := c.raw(mediaJSON)
	if err != nil {
		return reply{}, err
	}
	o, err := body.ParseObject(raw)
	if err != nil {
		return reply{}, err
	}
	r, named := readTransaction(o)
	if err := c.mayName(named); err != nil {
		return reply{}, err
	}
	if o.Err() != nil {
		return reply{}, s.misshapen(c, o, r)
	}
	by, err := s.caller(c)
	if err != nil {
		return reply{}, err
	}
	answer, err := s.App.Record(c.ctx(), c.app, by, r, app.Keyed{Key: key, Route: c.op.method + " " + c.op.path, Body: raw},
		func(done app.Recorded) (app.Answer, error) {
			b, err := encode(transactionOf(done.Transaction, done.Citizen))
			return app.Answer{Status: http.StatusCreated, Body: b}, err
		})
	if err != nil {
		return reply{}, err
	}
	return reply{status: answer.Status, raw: answer.Body, location: transactionLocation(answer.Body)}, nil
}

// misshapen tells everything that is wrong with a request whose shape is, by
// the configuration too.
func (s *server) misshapen(c *call, o *body.Object, r permission.Request) error {
	cat, err := s.Store.Catalogue(c.ctx(), c.app)
	if err != nil {
		return err
	}
	_, fs := r.Transaction(permission.Basis{Now: time.Now()}, cat)
	return further(o, fs)
}

// transactionLocation returns the path of the transaction in an answer of ours,
// of which its ID is the first member; empty when it cannot be told.
func transactionLocation(answer []byte) string {
	rest, is := bytes.CutPrefix(answer, []byte(`{"transactionId":"`))
	id, _, ends := bytes.Cut(rest, []byte{'"'})
	if !is || !ends || len(id) == 0 {
		return ""
	}
	return "/v1/permissions/transactions/" + url.PathEscape(string(id))
}

func (s *server) readTransaction(c *call) (reply, error) {
	t, err := s.Store.Transaction(c.ctx(), c.app, permission.TransactionID(c.id()))
	if err != nil {
		return reply{}, err
	}
	whose, err := s.Store.Citizen(c.ctx(), c.app, t.Citizen)
	if err != nil {
		return reply{}, err
	}
	return ok(transactionOf(t, whose))
}

func (s *server) revert(c *call) (reply, error) {
	id := permission.TransactionID(c.id())
	if _, err := s.Store.Transaction(c.ctx(), c.app, id); err != nil {
		return reply{}, err
	}
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	by, err := s.caller(c)
	if err != nil {
		return reply{}, err
	}
	done, err := s.App.RevertTransaction(c.ctx(), c.app, by, id)
	if err != nil {
		return reply{}, err
	}
	b, err := encode(transactionOf(done.Transaction, done.Citizen))
	return reply{status: http.StatusCreated, raw: b, location: transactionLocation(b)}, err
}

func (s *server) readPermissions(c *call) (reply, error) {
	by := app.CitizenKey{ID: permission.CitizenID(c.query["citizenId"]), ExternalRef: c.query["externalRef"]}
	if by == (app.CitizenKey{}) {
		return reply{}, fault.At(fault.Invalid, body.CodeRequired, "externalRef", "Name the citizen by externalRef or citizenId.")
	}
	at := c.instant("at")
	whose, v, err := s.App.Permissions(c.ctx(), c.app, by, at)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, raw: permission.EffectiveBody(permission.Citizen{
		Application: string(c.app), ID: whose.ID, ExternalRef: whose.ExternalRef,
	}, v)}, nil
}

func (s *server) history(c *call) (reply, error) {
	whose, err := s.Store.Citizen(c.ctx(), c.app, permission.CitizenID(c.id()))
	if err != nil {
		return reply{}, err
	}
	ts, next, err := s.Store.TransactionPage(c.ctx(), c.app, whose.ID, c.number("limit"), c.query["after"])
	if err != nil {
		return reply{}, err
	}
	told, err := s.told(c, ts)
	if err != nil {
		return reply{}, err
	}
	out := streamBody[historyBody]{Items: []historyBody{}, Next: next}
	for _, t := range ts {
		out.Items = append(out.Items, historyBody{transactionOf(t, whose), told[t.ID()]})
	}
	return ok(out)
}

// told returns the deliveries of the events that tell of each of a page of
// transactions, in which one citizen and those merged into it are named. Events
// about others, who were linked with it, are looked up one by one, until it is
// known whom they are about.
func (s *server) told(c *call, ts []permission.Transaction) (map[permission.TransactionID][]deliveryBody, error) {
	out := make(map[permission.TransactionID][]deliveryBody)
	if len(ts) == 0 {
		return out, nil
	}
	of := make(map[string]permission.TransactionID)
	asked, found := make(map[string]bool), make(map[string]bool)
	q := store.DeliveryQuery{From: ts[0].Origin.RecordedAt, To: ts[0].Origin.RecordedAt, Limit: maxTold}
	for _, t := range ts {
		out[t.ID()] = []deliveryBody{}
		for _, e := range t.Told {
			of[e] = t.ID()
		}
		if at := t.Origin.RecordedAt; at.Before(q.From) {
			q.From = at
		} else if at.After(q.To) {
			q.To = at
		}
	}
	q.To = q.To.Add(time.Millisecond)
	ask := func(subject string) error {
		if asked[subject] {
			return nil
		}
		asked[subject] = true
		return s.deliveriesOf(c, q, subject, func(v delivery.View) {
			if t, is := of[v.EventID]; is {
				out[t], found[v.EventID] = append(out[t], deliveryOf(v)), true
			}
		})
	}
	for _, t := range ts {
		if err := ask(string(t.Citizen)); err != nil {
			return nil, err
		}
	}
	for _, t := range ts {
		for _, id := range t.Told {
			if found[id] {
				continue
			}
			e, err := s.Store.Event(c.ctx(), c.app, id)
			if err == nil {
				err = ask(e.Subject)
			} else if fault.KindOf(err) == fault.NotFound {
				err = nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// deliveriesOf calls fn for each delivery about a subject.
func (s *server) deliveriesOf(c *call, q store.DeliveryQuery, subject string, fn func(delivery.View)) error {
	for q.Subject = subject; ; {
		vs, next, err := s.Store.Deliveries(c.ctx(), c.app, q)
		if err != nil {
			return err
		}
		for _, v := range vs {
			fn(v)
		}
		if next == "" {
			return nil
		}
		q.After = next
	}
}

// maxTold is how many deliveries are read at a time.
const maxTold = 1000
