package api

import (
	"context"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
)

const (
	textLink = "What was and will be recorded for one of the two counts for each of them, and for all who are linked with one of them, until they are parted: the latest `obtainedAt` wins, whose ever it is. " +
		"Each keeps its own history, and is told every update under its own `citizenId` and `externalRef`. Nothing happens when they are linked already. At most 20 can be linked with each other (`group_full`)."
	textUnlink = "Takes the other one out of the group, or without a body, or with an empty one, this citizen itself (`not_linked` when there is nothing to undo). For whoever leaves counts again only what was recorded for it, and for those who stay what was for them. " +
		"What is in force no more shows with the `state` null, as after a lapse."
	textMerge = "Makes the other one a part of this citizen, for good. Its `citizenId` and `externalRef` name this one from then on, in every route; its transactions are of this one's history, its links are this one's. " +
		"This one keeps what it has, and gets the e-mail addresses that it lacks, up to 20, and the language if it has none.\n\n" +
		"Both are told the state that this one then has: the other one a last time, with the member `mergedInto`, which names this one. Nothing happens when it is a part of this one already."
	textTold = " Everybody whom it concerns gets a `permissions.effective`, and a `permissions.delta` if something changed."
)

func (s *server) linkOperations() []operation {
	const one = "/v1/citizens/{citizenId}"
	row := func(o operation) operation {
		o.method, o.scope, o.tag, o.paramLen = "POST", application, tagCitizens, app.MaxCitizenID
		o.answers, o.errors = gives(200, "TiedCitizen", "The citizen as it now is."), []int{409}
		return o
	}
	names := []example{
		{"externalRef", "By your own reference", object{{"externalRef", "CRM-000772"}}},
		{"citizenId", "By its ID", object{{"citizenId", exampleOther}}},
	}
	return []operation{
		row(operation{
			id: "linkCitizen", path: one + "/link", summary: "Link two citizens", text: textLink + textTold,
			takes: jsonBody("CitizenName", names...), serve: s.tie(s.App.Link, (*call).fields),
		}),
		row(operation{
			id: "unlinkCitizen", path: one + "/unlink", summary: "Undo a link", text: textUnlink + textTold,
			takes: optionalBody("CitizenName", names...), serve: s.tie(s.App.Unlink, (*call).optional),
		}),
		row(operation{
			id: "mergeCitizen", path: one + "/merge", summary: "Merge another citizen into this one", text: textMerge + textTold,
			takes: jsonBody("CitizenName", names...), serve: s.tie(s.App.Merge, (*call).fields),
		}),
	}
}

// exampleOther is another citizen than exampleCitizen.
const exampleOther = "ctz_06f3z8m1q4t7w0x2y5b8c1d4e8"

// tieProperties are what a citizen's links and parts look like.
func tieProperties() []property {
	name := []property{must("citizenId", str("").like(exampleOther)), may("externalRef", str("").like("CRM-000772"))}
	return []property{
		must("links", list(shown("", name...)).saying("Who is linked with it, in the order in which they were made.")),
		must("merged", list(shown("", append(name[:2:2], must("mergedAt", instant("")))...)).saying("Who became a part of it: their names are names of this citizen.").like([]object{})),
	}
}

func linkComponents() []component {
	return []component{{"CitizenName", taken("Another citizen; with both members they must be the same one's.",
		may("citizenId", str("Its ID.").between(1, app.MaxCitizenID)), may("externalRef", str("Your own reference of it.").between(1, permission.MaxCitizenRef)))}}
}

// tiesBody are the links and parts of a citizen.
type tiesBody struct {
	Links  []nameBody   `json:"links"`
	Merged []mergedBody `json:"merged"`
}

type nameBody struct {
	CitizenID   string `json:"citizenId"`
	ExternalRef string `json:"externalRef,omitempty"`
}

type mergedBody struct {
	nameBody
	MergedAt string `json:"mergedAt"`
}

// tiedBody is a citizen with its links and parts.
type tiedBody struct {
	citizenBody
	tiesBody
}

func tiesOf(t app.Tied) tiesBody {
	b := tiesBody{[]nameBody{}, []mergedBody{}}
	for _, c := range t.Links {
		b.Links = append(b.Links, nameBody{string(c.ID), c.ExternalRef})
	}
	for _, m := range t.Merged {
		b.Merged = append(b.Merged, mergedBody{nameBody{string(m.ID), m.ExternalRef}, event.Format(m.At)})
	}
	return b
}

// tie carries out what links or parts a citizen and another one.
func (s *server) tie(
	do func(context.Context, access.ID, permission.CitizenID, app.CitizenKey) (app.Tied, error), read func(*call) (*body.Object, error),
) handler {
	return func(c *call) (reply, error) {
		id := permission.CitizenID(c.id())
		if _, err := s.Store.Citizen(c.ctx(), c.app, id); err != nil {
			return reply{}, err
		}
		o, err := read(c)
		if err != nil {
			return reply{}, err
		}
		other := app.CitizenKey{
			ID:          permission.CitizenID(o.Str("citizenId", body.Optional, body.Chars(1, app.MaxCitizenID))),
			ExternalRef: o.Str("externalRef", body.Optional, body.Chars(1, permission.MaxCitizenRef)),
		}
		for _, name := range []string{"citizenId", "externalRef"} {
			if o.IsNull(name) { // which must not mean the citizen itself
				o.Refuse(name, permission.CodeInvalidValue, "Name the other citizen, or leave the member out.")
			}
		}
		if err := o.Err(); err != nil {
			return reply{}, err
		}
		tied, err := do(c.ctx(), c.app, id, other)
		if err != nil {
			return reply{}, err
		}
		return ok(tiedBody{citizenOf(tied.Citizen), tiesOf(tied)})
	}
}
