package api

import (
	"net/http"
	"strconv"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// mediaLines is JSON, one value a line.
const mediaLines = "application/x-ndjson"

// importBody is how far an import is.
type importBody struct {
	ImportID   string `json:"importId"`
	Status     string `json:"status"`
	Events     string `json:"events"`
	Lines      int64  `json:"lines"`
	Recorded   int64  `json:"recorded"`
	Refused    int64  `json:"refused"`
	ErrorCount int64  `json:"errorCount"`
	ErrorsKept int64  `json:"errorsKept"`
	StartedAt  string `json:"startedAt"`
	UpdatedAt  string `json:"updatedAt"`
}

// importReport is the same with a page of the refused lines.
type importReport struct {
	importBody
	Errors []lineBody `json:"errors"`
	Next   string     `json:"next,omitempty"`
}

type lineBody struct {
	Line   int64      `json:"line"`
	Errors []lineFlaw `json:"errors"`
}

type lineFlaw struct {
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// What the query's events may be.
const (
	eventsAll  = "all"
	eventsNone = "none"
)

func (s *server) importOperations() []operation {
	const base = "/v1/permissions/imports"
	return []operation{
		{
			id: "importTransactions", method: "POST", path: "/v1/permissions/import", scope: application, tag: tagPermissions, keyed: true,
			summary: "Import transactions",
			text: "Records transactions in bulk: each line is a JSON object as `POST /v1/permissions/transactions` takes it, at most 1,000,000 lines of at most 64 KiB; blank lines are passed over. " +
				"The body is read while it is worked on, without a bound on its size or on the whole time; after 60 seconds without a byte the connection is cut. The answer comes when all lines came. " +
				"Meanwhile, on another connection, `GET " + base + "` lists the import and `GET " + base + "/{importId}` shows how far it is.\n\n" +
				"A line that is at fault is refused and reported, and stops no other one. For each citizen the lines count in their order. " +
				"With `events=none` no subscription is told of what is recorded; what lapses or begins by its time is told as ever.\n\n" +
				"What was recorded stays when the sender breaks off, or the server stops: the import is then `interrupted`, and its counts are exact. " +
				"The same lines, from the first on, sent again with the same `Idempotency-Key` and `events` go on behind what was recorded, so that each line is recorded once; other lines are refused (422). " +
				"A key belongs to its import for good. Without a key nothing tells a repeat from new lines.",
			query: []parameter{{"events", str("Whether subscriptions are told.").of(eventsAll, eventsNone).or(eventsAll)}},
			takes: &payload{schema: "TransactionInput", optional: true, media: []string{mediaLines}, examples: []example{
				{"grant", "One line", grantExample()},
			}},
			answers: gives(200, "Import", "All lines came."), errors: []int{409, 422}, serve: s.importLines,
		},
		{
			id: "listImports", method: "GET", path: base, scope: application, tag: tagPermissions,
			summary: "List imports", text: "Newest first.", query: []parameter{streamLimit(), afterParam(textAfter)},
			answers: gives(200, "ImportStream", "A page."), serve: s.listImports,
		},
		{
			id: "readImport", method: "GET", path: base + "/{importId}", scope: application, tag: tagPermissions,
			summary: "Read an import", text: "How far it is, and which lines were refused, in their order. At most 10,000 errors of an import are kept, and 100 of a line; `errorCount` counts all.",
			query:   []parameter{streamLimit(), afterParam(textAfter)},
			answers: gives(200, "ImportReport", "The import."), serve: s.readImport,
		},
	}
}

func importComponents() []component {
	progress := []property{
		must("importId", str("").like("imp_06f3z8m1q4t7w0x2y5b8c1d4e7")),
		must("status", str("`interrupted`: not all lines came, and none are coming.").
			of(string(app.ImportRunning), string(app.ImportComplete), string(app.ImportInterrupted)).like(string(app.ImportComplete))),
		must("events", str("").of(eventsAll, eventsNone)),
		must("lines", integer("That were dealt with, blank ones included.").like(3)),
		must("recorded", integer("Lines that are transactions now.").like(2)),
		must("refused", integer("Lines that are not.").like(1)),
		must("errorCount", integer("Errors of the refused lines.").like(1)),
		must("errorsKept", integer("Of these, how many can be read.").like(1)),
		must("startedAt", instant("")), must("updatedAt", instant("")),
	}
	flaw := shown("", must("path", str("A JSON Pointer into the line.").like("/changes/0/state")), must("code", str("").like("required")),
		must("message", str("").like("This member is required.")))
	return []component{
		{"Import", shown("How far an import is.", progress...)},
		{"ImportStream", stream("Import")},
		{"ImportReport", shown("", append(progress[:len(progress):len(progress)],
			must("errors", list(shown("", must("line", integer("From 1.").like(2)), must("errors", list(flaw))))),
			may("next", str("The after of the next page; absent at the end.").like(nil)))...)},
	}
}

func importOf(p app.ImportProgress) importBody {
	events := eventsAll
	if p.Silent {
		events = eventsNone
	}
	return importBody{
		p.ID, string(p.Status), events, p.Lines, p.Recorded, p.Refused, p.Errors, p.Kept, event.Format(p.StartedAt), event.Format(p.UpdatedAt),
	}
}

func (s *server) importLines(c *call) (reply, error) {
	key, err := idempotencyKey(c.r)
	if err != nil {
		return reply{}, err
	}
	if c.r.ContentLength != 0 {
		if err := c.media([]string{mediaLines}); err != nil {
			return reply{}, err
		}
	}
	by, err := s.caller(c)
	if err != nil {
		return reply{}, err
	}
	done, err := s.App.Import(c.ctx(), c.app, by, app.ImportRequest{
		Key: key, Silent: c.query["events"] == eventsNone, Lines: c.r.Body,
		Parse: func(line []byte) (permission.Request, error) {
			o, err := body.ParseObject(line)
			if err != nil {
				return permission.Request{}, err
			}
			r, named := readTransaction(o)
			if err := c.mayName(named); err != nil {
				return permission.Request{}, err
			}
			if o.Err() != nil {
				return permission.Request{}, s.misshapen(c, o, r)
			}
			return r, nil
		},
	})
	if err != nil {
		return reply{}, err
	}
	return ok(importOf(done))
}

// mayName refuses a request's applicationId unless it is that of the
// application that the operation is about; nil: it names none.
func (c *call) mayName(named *string) error {
	switch {
	case named == nil || *named == string(c.app):
		return nil
	case c.caller.Operator:
		return fault.At(fault.Invalid, permission.CodeMismatch, "/applicationId", "The query names another application.")
	}
	return fault.At(fault.NotFound, "not_found", "/applicationId", "There is no such application.")
}

func (s *server) listImports(c *call) (reply, error) {
	list, next, err := s.App.ImportPage(c.ctx(), c.app, c.number("limit"), c.query["after"])
	if err != nil {
		return reply{}, err
	}
	out := streamBody[importBody]{Items: []importBody{}, Next: next}
	for _, p := range list {
		out.Items = append(out.Items, importOf(p))
	}
	return ok(out)
}

func (s *server) readImport(c *call) (reply, error) {
	var after int64
	if given := c.query["after"]; given != "" {
		n, err := strconv.ParseInt(given, 10, 64)
		if err != nil || n < 0 {
			return reply{}, fault.At(fault.Invalid, body.CodeInvalidValue, "after", "This is not the next of a page.")
		}
		after = n
	}
	p, err := s.App.Progress(c.ctx(), c.app, c.id())
	if err != nil {
		return reply{}, err
	}
	list, more, err := s.Store.ImportErrors(c.ctx(), c.app, p.ID, c.number("limit"), after)
	if err != nil {
		return reply{}, err
	}
	out := importReport{importBody: importOf(p), Errors: []lineBody{}}
	for _, e := range list {
		out.Errors = append(out.Errors, lineOf(e))
	}
	if more {
		out.Next = strconv.FormatInt(list[len(list)-1].Line, 10)
	}
	return reply{status: http.StatusOK, body: out}, nil
}

func lineOf(e store.ImportError) lineBody {
	b := lineBody{Line: e.Line, Errors: []lineFlaw{}}
	for _, f := range e.Fields {
		b.Errors = append(b.Errors, lineFlaw{f.Path, f.Code, f.Msg})
	}
	return b
}
