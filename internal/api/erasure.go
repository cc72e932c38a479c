package api

import (
	"encoding/hex"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// auditSignature is the header of an audit's signature.
const auditSignature = "Consentwire-Audit-Signature"

const (
	textErase = "Destroys what is kept of the citizen, of those merged into it, and of the consents that name one of them; consents that are open end first, as by `DELETE /v1/consents/{id}`, and links are undone. " +
		"What waits to be delivered about them is cancelled.\n\n" +
		"`citizen.erased` goes to every subscription of the application, whatever its `updateType`, as the last event of the citizen; its body is destroyed when its last delivery ends, and where the citizen's ID was, `erased_` and a keyed hash of it is. " +
		"The answer comes before that. From then on every read of the citizen is 404. The ID cannot be used again (`citizen_erased`); the `externalRef` can, by somebody new."
	textErased = "When the person whom an event is about was erased, its `body` is null and `erased` is true; when and what it was, and to whom it was told, stays. A list by `subject` finds it by the former ID all the same."
	textAudit  = "Checks every record: each holds a hash of the one before it in its chain, of what it says, and of its content, so that none can be changed, left out or put in between unseen. What was erased is gone, but not its hash. " +
		"It reads everything, so it takes a while; one check runs at a time.\n\n" +
		"Keep the answer: whoever has an earlier `head` can show later that nothing before it was changed. `" + auditSignature + "` is a detached JWS over the exact bytes of the body, as that of a receipt."
)

func (s *server) erasureOperations() []operation {
	return []operation{
		{
			id: "eraseCitizen", method: "DELETE", path: "/v1/citizens/{citizenId}", scope: application, tag: tagCitizens, paramLen: app.MaxCitizenID,
			summary: "Erase a citizen", text: textErase, answers: gives(202, "CitizenErased", "The citizen is erased; subscribers are being told."), serve: s.eraseCitizen,
		},
		{
			id: "readAudit", method: "GET", path: "/v1/audit", scope: application, tag: tagEvents,
			summary: "Check that nothing was changed", text: textAudit,
			answers: []answer{{
				status: 200, text: "What the check found, signed.", schema: "Audit",
				headers: []parameter{{auditSignature, str("A detached JWS over the body.")}},
			}},
			serve: s.readAudit,
		},
	}
}

func erasureComponents() []component {
	chain := func() *schema {
		return shown("",
			must("records", integer("In all.").like(1204)), may("pruned", integer("Before them, that retention took. The chain is checked from there on.").like(nil)), must("earlier", integer("Of these, recorded before there was a chain; they are not checked.").like(0)),
			must("erased", integer("Of these, whose content was erased.").like(12)),
			may("head", str("The hash of the last one (SHA-256, hexadecimal); absent when there is none.").matching("^[0-9a-f]{64}$").like("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")),
			must("intact", boolean("Everything fits.")), may("brokenAt", str("The ID of the first record that does not fit.").like(nil)))
	}
	return []component{
		{"CitizenErased", shown("", must("citizenId", str("").like(exampleCitizen)), must("erasedAt", instant("")))},
		{"Audit", shown("What a check of an application's records found.",
			must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("checkedAt", instant("When the check began.")),
			must("events", chain().saying("The log.")), must("transactions", chain().saying("Those of all citizens, in the order recorded.")))},
	}
}

type erasedBody struct {
	CitizenID string `json:"citizenId"`
	ErasedAt  string `json:"erasedAt"`
}

func (s *server) eraseCitizen(c *call) (reply, error) {
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	e, err := s.App.EraseCitizen(c.ctx(), c.app, permission.CitizenID(c.id()))
	if err != nil {
		return reply{}, err
	}
	return accepted(erasedBody{string(e.Citizen), event.Format(e.At)})
}

type auditBody struct {
	ApplicationID string    `json:"applicationId"`
	CheckedAt     string    `json:"checkedAt"`
	Events        chainBody `json:"events"`
	Transactions  chainBody `json:"transactions"`
}

type chainBody struct {
	Records  int64  `json:"records"`
	Pruned   int64  `json:"pruned,omitempty"`
	Earlier  int64  `json:"earlier"`
	Erased   int64  `json:"erased"`
	Head     string `json:"head,omitempty"`
	Intact   bool   `json:"intact"`
	BrokenAt string `json:"brokenAt,omitempty"`
}

func chainOf(c store.Chain) chainBody {
	b := chainBody{Records: c.Records, Pruned: c.Pruned, Earlier: c.Earlier, Erased: c.Erased, Intact: c.BrokenAt == "", BrokenAt: c.BrokenAt}
	if c.Head != [32]byte{} {
		b.Head = hex.EncodeToString(c.Head[:])
	}
	return b
}

func (s *server) readAudit(c *call) (reply, error) {
	a, err := s.App.Audit(c.ctx(), c.app, func(found store.Audit, at time.Time) ([]byte, error) {
		return encode(auditBody{string(c.app), event.Format(at), chainOf(found.Events), chainOf(found.Transactions)})
	})
	if err != nil {
		return reply{}, err
	}
	return reply{status: 200, raw: a.Body, headers: [][2]string{{auditSignature, a.Signature}}}, nil
}
