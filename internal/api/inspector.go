package api

import (
	"errors"
	"net/url"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/wire"
)

type binBody struct {
	Bin          string            `json:"bin"`
	URL          string            `json:"url"`
	Status       int               `json:"status"`
	DelayMs      int64             `json:"delayMs"`
	FailureRatio float64           `json:"failureRatio"`
	Headers      map[string]string `json:"headers,omitempty"`
	Body         string            `json:"body,omitempty"`
	CreatedAt    string            `json:"createdAt"`
	Kept         int               `json:"kept"`
	LatestAt     string            `json:"latestAt,omitempty"`
}

type keptBody struct {
	RequestID string      `json:"requestId"`
	At        string      `json:"at"`
	Method    string      `json:"method"`
	Path      string      `json:"path"`
	Query     string      `json:"query"`
	Headers   wire.Fields `json:"headers"`
	Body      string      `json:"body"`
	Size      int         `json:"size"`
	Truncated bool        `json:"truncated"`
	Signature string      `json:"signature"`
	Status    int         `json:"status"` // what the bin answered
}

func (s *server) binOf(b store.Bin) binBody {
	sum := s.Sink.Summary(b.Name)
	out := binBody{
		Bin: b.Name, URL: s.Sink.URL(b.Name), Status: b.Script.Status, DelayMs: b.Script.Delay.Milliseconds(),
		FailureRatio: b.Script.FailureRatio, Headers: b.Script.Headers, Body: b.Script.Body,
		CreatedAt: event.Format(b.CreatedAt), Kept: sum.Kept, LatestAt: when(sum.LatestAt),
	}
	if out.Status == 0 {
		out.Status = 200
	}
	return out
}

// bin reads the bin that the path names.
func (s *server) bin(c *call) (store.Bin, error) { return s.binNamed(c, c.app, c.id()) }

func (s *server) binNamed(c *call, owner access.ID, name string) (store.Bin, error) {
	b, err := s.Store.Bin(c.ctx(), name)
	if err == nil && b.Application != owner {
		err = fault.New(fault.NotFound, "not_found", "There is no such bin.")
	}
	return b, err
}

func (s *server) createBin(c *call) (reply, error) {
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	b, err := s.App.PutBin(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	return created(s.binOf(b), "/v1/inspect/"+url.PathEscape(b.Name))
}

func (s *server) listBins(c *call) (reply, error) {
	bs, err := s.Store.Bins(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	offset, limit := min(c.number("offset"), len(bs)), c.number("limit")
	out := pageBody[binBody]{Items: []binBody{}, Total: len(bs)}
	for _, b := range bs[offset:min(offset+limit, len(bs))] {
		out.Items = append(out.Items, s.binOf(b))
	}
	return ok(out)
}

func (s *server) readBin(c *call) (reply, error) {
	b, err := s.bin(c)
	if err != nil {
		return reply{}, err
	}
	return ok(s.binOf(b))
}

// statusOK is the answer of a bin that was told nothing else.
const statusOK = 200

func (s *server) scriptBin(c *call) (reply, error) {
	if _, err := s.bin(c); err != nil {
		return reply{}, err
	}
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	script := store.Script{Status: statusOK}
	if n := o.OptInt("status", 200, 599); n != nil {
		script.Status = int(*n)
	}
	script.Delay = time.Duration(o.Int("delayMs", body.Optional, 0, sink.MaxDelay.Milliseconds())) * time.Millisecond
	script.FailureRatio = o.Num("failureRatio", body.Optional, 0, 1)
	script.Headers = o.Map("headers", body.Optional)
	script.Body = o.Str("body", body.Optional)
	if f, is := errors.AsType[*fault.Error](sink.CheckScript(script)); is {
		o.Add(f.Fields...)
	}
	if err := o.Err(); err != nil {
		return reply{}, err
	}
	b, err := s.App.ScriptBin(c.ctx(), c.app, c.id(), script)
	if err != nil {
		return reply{}, err
	}
	return ok(s.binOf(b))
}

func (s *server) deleteBin(c *call) (reply, error) {
	if err := s.Sink.Clear(c.ctx(), c.app, c.id()); err != nil {
		return reply{}, err
	}
	if err := s.App.RemoveBin(c.ctx(), c.app, c.id()); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *server) listKept(c *call) (reply, error) {
	rs, next, err := s.Sink.Requests(c.ctx(), c.app, c.id(), c.query["after"], c.number("limit"))
	if err != nil {
		return reply{}, err
	}
	out := streamBody[keptBody]{Items: []keptBody{}, Next: next}
	for _, r := range rs {
		out.Items = append(out.Items, keptOf(r))
	}
	return ok(out)
}

func keptOf(r sink.Request) keptBody {
	return keptBody{
		RequestID: r.ID, At: event.Format(r.At), Method: r.Method, Path: r.Path, Query: r.Query,
		Headers: wire.Fields(r.Headers), Body: r.Body, Size: r.Size, Truncated: r.Truncated,
		Signature: string(r.Signature), Status: r.Status,
	}
}
