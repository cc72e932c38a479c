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
	"made":         "The bin is made. Send something to its address.",
	"bin-removed":  "The bin is deleted.",
	"unshared":     "The link works no more.",
	"cleared":      "The requests are forgotten.",
	"scripted":     "From now on the bin answers as you said.",
	"saved":        "Saved. What is sent from now on goes by the new settings.",
	"paused":       "Paused: updates are discarded until you set it active again.",
	"resumed":      "Active: updates are sent from now on.",
	"replayed":     "They are put into their lanes and sent in order.",
	"removed":      "The endpoint is deleted; what waited for it is cancelled.",
	"redelivered":  "It is sent again.",
	"renamed":      "The application has a new name.",
	"user-removed": "The user is removed and signed out.",
	"uninvited":    "The invitation is taken back.",
	"revoked":      "The credential is removed, and every token that it got.",
}

// What a bin's page lists is so much that the page stays below 150 kB: about so
// many bytes in all, of which a request takes so many besides its body. Ours.
const (
	maxListing   = 90 << 10
	rowMarkup    = 2 << 10
	headerMarkup = 60
)

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
	Hidden  int    // older ones that are kept
	Older   string // ID of the newest of those; empty: there are none
	Later   bool   // it is not the first page
	Most    int    // that are kept
	Latest  string // ID of the newest; the stream goes on behind it
	Form    scriptForm
	Invalid bool // the form has faults

	Here        string // path of the page
	Shared      moment // until when others may read it; empty: they may not
	Link        string // by which they do, shown this once
	SharedUntil moment // the page is the one that they see
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
	return p.showBin(w, r, s, b, http.StatusOK, formOf(b.Script))
}

// formOf is the form as it stands before anything is typed.
func formOf(s store.Script) scriptForm {
	return scriptForm{
		Status:       strconv.Itoa(max(s.Status, 200)),
		DelayMs:      strconv.FormatInt(s.Delay.Milliseconds(), 10),
		FailureRatio: strconv.FormatFloat(s.FailureRatio, 'f', -1, 64),
	}
}

func (p *Portal) showBin(w http.ResponseWriter, r *http.Request, s session, b store.Bin, status int, form scriptForm) error {
	f, err := p.signedFrame(r, s, "Inspector")
	if err != nil {
		return err
	}
	page := ownBin(f, b)
	page.Notice, page.Form, page.Invalid = f.notice(r), form, status != http.StatusOK
	return p.fillBin(w, r, b, status, page)
}

// ownBin is the page of a bin for who is signed in, without what the bin took.
func ownBin(f frame, b store.Bin) inspectorPage {
	page := inspectorPage{frame: f, Here: f.Base + "/inspector/" + b.Name, Form: formOf(b.Script)}
	if time.Now().Before(b.Share.Until) {
		page.Shared = f.Lang.at(b.Share.Until)
	}
	return page
}

// fillBin shows what a bin took on a page.
func (p *Portal) fillBin(w http.ResponseWriter, r *http.Request, b store.Bin, status int, page inspectorPage) error {
	f := page.frame
	rs, _, err := p.sink.Requests(r.Context(), b.Application, b.Name, "", sink.MaxRequests)
	if err != nil {
		return err
	}
	page.Bin, page.URL, page.Script, page.Extras = b.Name, p.sink.URL(b.Name), f.Lang.scriptWords(b.Script), f.Lang.extras(b.Script)
	if page.SharedUntil.ISO == "" {
		page.Blank.Href = page.Here
	}
	page.Count, page.Full, page.Most = len(rs), len(rs) >= sink.MaxRequests, sink.MaxRequests
	size := 0
	behind := len(rs) // the index behind what is listed; the page is asked for by the newest that it is to list
	for i, q := range rs {
		if q.ID == r.URL.Query().Get("from") {
			behind, page.Later = i+1, i+1 < len(rs)
		}
	}
	for i, q := range slices.Backward(rs[:behind]) {
		row := f.Lang.rowOf(q, f.Base, maxShown)
		if page.SharedUntil.ISO != "" {
			row.Href = "" // that page is for who is signed in
		}
		if size += rowMarkup + len(row.Body) + len(q.Headers)*headerMarkup; size > maxListing && len(page.Rows) > 0 {
			page.Older = q.ID
			page.Hidden = i + 1
			break
		}
		page.Rows = append(page.Rows, row)
	}
	if len(rs) > 0 {
		page.Latest = rs[len(rs)-1].ID
	}
	return p.render(w, status, "inspector", page)
}

// extras tells what a script holds beyond the form.
func (l lang) extras(s store.Script) string {
	if len(s.Headers) == 0 && s.Body == "" {
		return ""
	}
	headers, size := l.n(len(s.Headers), "1 header", "%s headers"), l.n(len(s.Body), "1 byte", "%s bytes")
	return l.t("It also sends %s and a body of %s, as set by the API; this form leaves them alone.", headers, size)
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
	f, err := p.signedFrame(r, s, "Request")
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "request", requestPage{f, b.Name, f.Lang.rowOf(req, f.Base, maxWhole)})
}

// binsPage lists the inspector's bins.
type binsPage struct {
	frame
	Notice string
	Bins   []binItem
	More   int
}

func (p *Portal) binList(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Inspector")
	if err != nil {
		return err
	}
	page := binsPage{frame: f, Notice: f.notice(r)}
	if page.Bins, page.More, err = p.bins(r.Context(), f.Lang, s); err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "bins", page)
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
