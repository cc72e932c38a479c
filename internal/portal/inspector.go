package portal

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
)

// notices are what a page says after a write, by the value of "done".
var notices = map[string]string{
	"made":     "The bin is made. Send something to its address.",
	"cleared":  "The requests are forgotten.",
	"scripted": "From now on the bin answers as you said.",
}

// inspectorPage shows a bin live.
type inspectorPage struct {
	frame
	Notice string

	Bin     string
	URL     string
	Script  string // how it answers, in words
	Extras  string // what the form does not edit, in words; may be empty
	Rows    []row  // newest first
	Blank   row    // what the script fills in
	Count   int
	Full    bool   // the oldest have gone
	Most    int    // that are kept
	Latest  string // ID of the newest; the stream goes on behind it
	Form    scriptForm
	Invalid bool // the form has faults
}

// scriptForm is the form that scripts a bin: what was typed, and what is wrong
// with it.
type scriptForm struct {
	Status, DelayMs, FailureRatio string
	StatusError, DelayError       string
	RatioError                    string
	Other                         string // a fault that belongs to no field
}

// bin returns a bin of the session's application.
func (p *Portal) bin(r *http.Request, s session) (store.Bin, error) {
	b, err := p.store.Bin(r.Context(), r.PathValue("bin"))
	if err == nil && b.Application != s.app {
		err = fault.New(fault.NotFound, "not_found", "There is no such bin.")
	}
	return b, err
}

func (p *Portal) inspector(w http.ResponseWriter, r *http.Request, s session) error {
	b, err := p.bin(r, s)
	if err != nil {
		return err
	}
	return p.showBin(w, r, s, b, http.StatusOK, scriptForm{
		Status:       strconv.Itoa(max(b.Script.Status, 200)),
		DelayMs:      strconv.FormatInt(b.Script.Delay.Milliseconds(), 10),
		FailureRatio: strconv.FormatFloat(b.Script.FailureRatio, 'f', -1, 64),
	})
}

func (p *Portal) showBin(w http.ResponseWriter, r *http.Request, s session, b store.Bin, status int, form scriptForm) error {
	f, err := p.signedFrame(r.Context(), s, "Inspector")
	if err != nil {
		return err
	}
	rs, _, err := p.sink.Requests(r.Context(), s.app, b.Name, "", sink.MaxRequests)
	if err != nil {
		return err
	}
	page := inspectorPage{
		frame: f, Notice: notices[r.URL.Query().Get("done")],
		Bin: b.Name, URL: p.sink.URL(b.Name), Script: scriptWords(b.Script), Extras: extras(b.Script),
		Count: len(rs), Full: len(rs) >= sink.MaxRequests, Most: sink.MaxRequests,
		Form: form, Invalid: status != http.StatusOK,
	}
	for _, r := range slices.Backward(rs) {
		page.Rows = append(page.Rows, rowOf(r, f.Base, maxShown))
	}
	if len(rs) > 0 {
		page.Latest = rs[len(rs)-1].ID
	}
	return p.render(w, status, "inspector", page)
}

// extras tells what a script holds beyond the form.
func extras(s store.Script) string {
	var parts []string
	if n := len(s.Headers); n > 0 {
		parts = append(parts, count(n, "header", "headers"))
	}
	if s.Body != "" {
		parts = append(parts, "a body of "+count(len(s.Body), "byte", "bytes"))
	}
	if len(parts) == 0 {
		return ""
	}
	return "It also sends " + strings.Join(parts, " and ") + ", as set by the API; this form leaves them alone."
}

// requestPage shows one request whole.
type requestPage struct {
	frame
	Bin string
	Row row
}

func (p *Portal) request(w http.ResponseWriter, r *http.Request, s session) error {
	b, err := p.bin(r, s)
	if err != nil {
		return err
	}
	req, err := p.sink.Get(r.Context(), s.app, b.Name, r.PathValue("request"))
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r.Context(), s, "Request")
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "request", requestPage{f, b.Name, rowOf(req, f.Base, maxWhole)})
}

func (p *Portal) makeBin(w http.ResponseWriter, r *http.Request, s session) error {
	b, err := p.app.PutBin(r.Context(), s.app)
	if err != nil {
		return err
	}
	p.back(w, r, b.Name, "made")
	return nil
}

func (p *Portal) clear(w http.ResponseWriter, r *http.Request, s session) error {
	if err := p.sink.Clear(r.Context(), s.app, r.PathValue("bin")); err != nil {
		return err
	}
	p.back(w, r, r.PathValue("bin"), "cleared")
	return nil
}

// back leads to a bin's page after a write.
func (p *Portal) back(w http.ResponseWriter, r *http.Request, bin, done string) {
	http.Redirect(w, r, p.base()+"/inspector/"+url.PathEscape(bin)+"?done="+done, http.StatusSeeOther)
}

// script tells a bin how to answer. Faults come back with the form, each at
// its field, with what was typed.
func (p *Portal) script(w http.ResponseWriter, r *http.Request, s session) error {
	b, err := p.bin(r, s)
	if err != nil {
		return err
	}
	form := scriptForm{Status: r.PostForm.Get("status"), DelayMs: r.PostForm.Get("delayMs"), FailureRatio: r.PostForm.Get("failureRatio")}
	script, ok := form.read(b.Script)
	if !ok {
		return p.showBin(w, r, s, b, http.StatusUnprocessableEntity, form)
	}
	if _, err := p.app.ScriptBin(r.Context(), s.app, b.Name, script); err != nil {
		return err
	}
	p.back(w, r, b.Name, "scripted")
	return nil
}

// read returns the script with the form's fields in it. When something is
// wrong, ok is false and the form says what.
func (f *scriptForm) read(cur store.Script) (next store.Script, ok bool) {
	next = cur
	status, err := strconv.Atoi(strings.TrimSpace(f.Status))
	if err != nil || status == 0 {
		status = -1 // said by the rule below
	}
	delay, err := strconv.ParseInt(strings.TrimSpace(f.DelayMs), 10, 32)
	if err != nil {
		delay = -1
	}
	ratio, err := strconv.ParseFloat(strings.TrimSpace(f.FailureRatio), 64)
	if err != nil {
		ratio = math.NaN()
	}
	next.Status, next.Delay, next.FailureRatio = status, time.Duration(delay)*time.Millisecond, ratio
	err = sink.CheckScript(next)
	if err == nil {
		return next, true
	}
	f.Other = err.Error()
	if e, found := errors.AsType[*fault.Error](err); found {
		f.Other = ""
		for _, field := range e.Fields {
			switch field.Path {
			case "/status":
				f.StatusError = field.Msg
			case "/delayMs":
				f.DelayError = field.Msg
			case "/failureRatio":
				f.RatioError = field.Msg
			default:
				f.Other = field.Msg
			}
		}
	}
	return cur, false
}
