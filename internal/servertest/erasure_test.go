package servertest_test

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

// marks are what is personal of somebody, each by what it is. The names by
// which we know the person are among them.
func marks() map[string]string {
	return map[string]string{
		"the externalRef":         "CRM-é7731/q+'1",
		"the citizen's ID":        "person:q7731~a",
		"the first e-mail":        "maria.q7731@example.org",
		"the second e-mail":       "m+q7731@example.com",
		"the CPF":                 "98765431234",
		"the recorder's name":     "Cláudia Q'7731 da Silva",
		"the channel":             "kiosk-q7731 + tablet",
		"the campaign":            "spring q7731/é",
		"the delegated authority": "mother q7731",
	}
}

// forms returns the spellings of a mark, those in UTF-16 and in HTML included.
func forms(mark string) map[string][]byte {
	m := spellings(mark)
	m["HTML"] = []byte(strings.ReplaceAll(html.EscapeString(mark), "+", "&#43;"))
	m["escaped JSON"] = []byte(strings.Trim(fmt.Sprintf("%+q", mark), `"`))
	var little, big []byte
	for _, u := range utf16.Encode([]rune(mark)) {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	m["UTF-16LE"], m["UTF-16BE"] = little, big
	return m
}

// found returns which marks a text holds, each with its spelling.
func found(text []byte, marks map[string]string) map[string]string {
	out := map[string]string{}
	for name, mark := range marks {
		for form, b := range forms(mark) {
			if i := bytes.Index(text, b); i >= 0 {
				out[name] = fmt.Sprintf("%s behind %q", form, text[max(0, i-80):i])
			}
		}
	}
	return out
}

func wantNothing(t *testing.T, where string, text []byte, marks map[string]string) {
	t.Helper()
	for name, how := range found(text, marks) {
		t.Errorf("%s holds %s (%s)", where, name, how)
	}
}

// files returns what lies in the store's files, by their names.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, end := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(filepath.Join(dir, sqlite.FileName+end))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		out[sqlite.FileName+end] = b
	}
	if len(out[sqlite.FileName]) == 0 {
		t.Fatal("there is no store to look at")
	}
	return out
}

// configure makes an option and a preference.
func configure(t *testing.T, a *servertest.Application) {
	t.Helper()
	a.Call("POST", "/v1/options", map[string]any{"optionId": "my-news", "dataId": "email", "purposeId": "news", "partyId": "us", "description": "news"}).Want(t, 201)
	a.Call("POST", "/v1/preferences", map[string]any{
		"reference": "my-topics", "label": "Topics", "type": "multi-choice",
		"choices": []map[string]string{{"reference": "jazz", "label": "Jazz q4242 label"}, {"reference": "folk", "label": "Folk"}},
	}).Want(t, 201)
}

const label = "Jazz q4242 label" // of the choice that only the person made

// transaction grants or denies the option and chooses a topic.
func transaction(m map[string]string, state string) map[string]any {
	return map[string]any{
		"externalRef": m["the externalRef"], "channel": m["the channel"], "campaign": m["the campaign"],
		"recordedBy": "u-1", "recordedByName": m["the recorder's name"], "delegatedAuthorityName": m["the delegated authority"],
		"changes":     []map[string]any{{"optionId": "my-news", "justification": "consent", "state": state}},
		"preferences": []map[string]any{{"preference": "my-topics", "choices": []map[string]string{{"reference": "jazz"}}}},
	}
}

func consentOf(m map[string]string) map[string]any {
	c := servertest.Consent()
	c["citizenId"] = m["the citizen's ID"]
	c["loggedUser"] = map[string]any{"document": map[string]string{"identification": m["the CPF"], "rel": "CPF"}}
	return c
}

// reader reads everything that an application can read, whatever the answers.
type reader struct {
	t    *testing.T
	a    *servertest.Application
	bins []string
	said map[string][]byte
}

func (r *reader) get(path string) []byte {
	r.t.Helper()
	b := r.a.Call("GET", path, nil).Body
	r.said[path] = b
	return b
}

// list reads all pages of a list and returns a member of each item.
func (r *reader) list(path, member string) []string {
	r.t.Helper()
	var out []string
	for next := ""; ; {
		at := path
		if next != "" {
			at += "&after=" + url.QueryEscape(next)
		}
		var page struct {
			Items []map[string]any
			Next  string
		}
		if !decode(r.get(at), &page) {
			return out
		}
		for _, x := range page.Items {
			if s, is := x[member].(string); is {
				out = append(out, s)
			}
		}
		if next = page.Next; next == "" {
			return out
		}
	}
}

// all reads all lists, what they name, and what is asked for besides.
func (r *reader) all(more ...string) {
	r.t.Helper()
	r.said = map[string][]byte{}
	one := func(base string, ids []string, below ...string) {
		r.t.Helper()
		for _, id := range ids {
			r.get(base + "/" + url.PathEscape(id))
			for _, b := range below {
				r.get(base + "/" + url.PathEscape(id) + b)
			}
		}
	}
	one("/v1/events", r.list("/v1/events?limit=100", "eventId"))
	one("/v1/deliveries", r.list("/v1/deliveries?limit=100", "deliveryId"))
	one("/v1/citizens", r.list("/v1/citizens?limit=100", "citizenId"), "/history")
	one("/v1/consents", r.list("/v1/consents?limit=100", "id"))
	one("/v1/subscriptions", r.list("/v1/subscriptions?limit=100", "subscriptionId"))
	for _, id := range r.list("/v1/permissions/imports?limit=100", "importId") {
		r.list("/v1/permissions/imports/"+id+"?limit=100", "")
	}
	for _, b := range r.bins {
		r.list("/v1/inspect/"+b+"/requests?limit=100", "")
	}
	for _, path := range append(more, "/v1/audit") {
		r.get(path)
	}
}

// together returns everything that was read.
func (r *reader) together() []byte {
	var b bytes.Buffer
	for _, path := range slices.Sorted(maps.Keys(r.said)) {
		b.Write(r.said[path])
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// chains is an audit.
type chains struct{ Events, Transactions chain }

type chain struct {
	Records, Erased int
	Head            string
	Intact          bool
	BrokenAt        string
}

func audit(t *testing.T, a *servertest.Application) (c chains) {
	t.Helper()
	r := a.Call("GET", "/v1/audit", nil).Want(t, 200)
	if r.Header.Get("Consentwire-Audit-Signature") == "" {
		t.Error("the audit is not signed")
	}
	r.Into(t, &c)
	return c
}

// The whole road of an erasure: everybody is told last of all, in the end
// nothing of the person is left anywhere, and what was recorded can still be
// shown to be whole. A subscription that is down hears of it when it is back,
// also over a kill of the server, and what is told of is kept until then.
func TestErasure(t *testing.T) {
	t.Parallel()
	o := servertest.Options{Binary: binary(t), CA: servertest.NewCA(t)}
	rcv, lame := servertest.NewReceiver(t, o.CA), servertest.NewReceiver(t, o.CA)
	rcv.Answer(func(r servertest.Received) servertest.Reply { // it says back what it was told
		return servertest.Reply{Status: 200, Body: string(r.Body), Header: http.Header{"X-Echo": {url.QueryEscape(string(r.Body))}}}
	})
	var up atomic.Bool
	lame.Answer(func(r servertest.Received) servertest.Reply {
		if up.Load() {
			return servertest.Reply{Status: 200, Body: string(r.Body)}
		}
		return servertest.Reply{Status: 503, Body: "not now: " + string(r.Body)}
	})
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	configure(t, a)
	bin := a.Call("POST", "/v1/inspect", nil).Want(t, 201)
	var working []string // all but the one that is down
	for i, sub := range []map[string]any{
		{"url": rcv.URL + "/effective", "updateType": "effective-permission"},
		{"url": rcv.URL + "/receipts", "updateType": "consent-receipts"},
		{"url": rcv.URL + "/mixed", "updateType": "citizen-emails", "eventTypes": append(slices.Clone(lifecycle), "citizen.email")},
		{"url": lame.URL + "/down", "updateType": "effective-permission", "eventTypes": append(slices.Clone(lifecycle), "permissions.effective"), "retrySchedule": slices.Repeat([]string{"1s"}, 20)},
		{"url": bin.Text(t, "url"), "updateType": "effective-permission"},
	} {
		if id := a.Call("POST", "/v1/subscriptions", sub).Want(t, 201).Text(t, "subscriptionId"); i != 3 {
			working = append(working, id)
		}
	}
	up3 := []string{"/effective", "/receipts", "/mixed"}

	m := marks()
	a.Call("POST", "/v1/citizens", map[string]any{
		"citizenId": m["the citizen's ID"], "externalRef": m["the externalRef"], "language": "pt-BR",
		"emails": []map[string]string{{"address": m["the first e-mail"]}, {"address": m["the second e-mail"]}},
	}).Want(t, 201)
	keyed := []string{"Idempotency-Key", "key-1"}
	first := a.Call("POST", "/v1/permissions/transactions", transaction(m, "GRANTED"), keyed...).Want(t, 201)
	second := a.Call("POST", "/v1/permissions/transactions", transaction(m, "DENIED")).Want(t, 201).Text(t, "transactionId")
	quoted := strings.NewReplacer("REF", m["the externalRef"], "ID", m["the citizen's ID"], "WHO", m["the recorder's name"])
	a.Call("POST", "/v1/permissions/import", quoted.Replace(
		`{"externalRef":"REF","recordedByName":"WHO","changes":[{"optionId":"my-news","justification":"consent","state":"GRANTED"}]}`+"\n"+
			`{"citizenId":"ID","externalRef":"REF","recordedByName":"WHO","changes":[{"optionId":"none","justification":"consent","state":"GRANTED"}]}`+"\n"+
			`{"citizenId":"ID","externalRef":"other","recordedByName":"WHO"}`+"\n"), "Content-Type", "application/x-ndjson").Want(t, 200)
	var consents []string
	for _, acts := range [][]string{{}, {"approve", "consume"}, {"reject"}} {
		id := a.Call("POST", "/v1/consents", consentOf(m), "Idempotency-Key", fmt.Sprint("consent-", len(consents))).Want(t, 201).Text(t, "id")
		for _, act := range acts {
			a.Act(id, act)
		}
		m[fmt.Sprintf("the ID of consent %d", len(consents))] = id
		consents = append(consents, id)
	}
	// Somebody else, of whom everything stays.
	stays := map[string]string{"the externalRef": "CRM-stays", "the channel": "web", "the recorder's name": "Clerk"}
	kept := transaction(stays, "GRANTED")
	delete(kept, "preferences")
	others := a.Call("POST", "/v1/permissions/transactions", kept).Want(t, 201).Text(t, "citizenId")

	citizen := "/v1/citizens/" + url.PathEscape(m["the citizen's ID"])
	more := []string{
		citizen, citizen + "/history", "/v1/permissions?citizenId=" + url.QueryEscape(m["the citizen's ID"]), "/v1/permissions?externalRef=" + url.QueryEscape(m["the externalRef"]),
		"/v1/permissions/transactions/" + first.Text(t, "transactionId"), "/v1/permissions/transactions/" + second,
		"/v1/receipts/" + second + "?format=native", "/v1/receipts/" + second + "?format=kantara", "/v1/receipts/" + second + "?format=iso27560",
		"/v1/events?subject=" + url.QueryEscape(m["the citizen's ID"]), "/v1/deliveries?subject=" + url.QueryEscape(m["the citizen's ID"]),
		"/v1/citizens?externalRef=" + url.QueryEscape(m["the externalRef"]), "/v1/consents?citizenId=" + url.QueryEscape(m["the citizen's ID"]),
	}
	for _, id := range consents {
		more = append(more, "/v1/consents/"+id, "/v1/events?subject="+id, "/v1/deliveries?subject="+id)
	}
	look := &reader{t: t, a: a, bins: []string{bin.Text(t, "bin")}}

	// Before: the look finds what is there.
	servertest.Eventually(t, "everything to be told", func() bool {
		for _, id := range working {
			var page struct{ Items []any }
			a.Call("GET", "/v1/deliveries?status=pending&limit=100&subscriptionId="+id, nil).Into(t, &page)
			if len(page.Items) > 0 {
				return false
			}
		}
		return len(lame.Received()) > 0
	})
	look.all(more...)
	before := look.together()
	for name := range m {
		if _, there := found(before, m)[name]; !there {
			t.Errorf("before: no read shows %s, so there is nothing to be found", name)
		}
	}
	if !bytes.Contains(look.said[more[1]], []byte(label)) {
		t.Error("before: the history does not show the choice")
	}
	if wal := files(t, s.Dir)[sqlite.FileName+"-wal"]; found(wal, m)["the citizen's ID"] == "" {
		t.Error("before: the write-ahead log does not name the citizen, so there is nothing to be found")
	}
	was := audit(t, a)
	if was.Events.Erased != 0 || !was.Events.Intact || !was.Transactions.Intact || was.Transactions.Records != 4 {
		t.Errorf("before: got %+v, want it whole, with 4 transactions", was)
	}

	var erased struct{ CitizenID, ErasedAt string }
	a.Call("DELETE", citizen, nil).Want(t, 202).Into(t, &erased)
	if erased.CitizenID != m["the citizen's ID"] || erased.ErasedAt == "" {
		t.Errorf("got %+v, want the citizen and when", erased)
	}
	a.Call("DELETE", citizen, nil).Want(t, 404)
	body := fmt.Sprintf(`{"applicationId":%q,"citizenId":%q,"externalRef":%q,"erasedAt":%q}`, a.ID, erased.CitizenID, m["the externalRef"], erased.ErasedAt)
	is := func(r servertest.Received) bool { return string(r.Body) == body }
	servertest.Eventually(t, "the erasure to be told to those who are up", func() bool {
		got := rcv.Received()
		return !slices.ContainsFunc(up3, func(path string) bool {
			return !slices.ContainsFunc(got, func(r servertest.Received) bool { return r.Path == path && is(r) && r.Answered })
		})
	})
	var last struct{ Items []event }
	a.Call("GET", "/v1/events?type=citizen.erased", nil).Want(t, 200).Into(t, &last)
	if len(last.Items) != 1 || last.Items[0].Subject != m["the citizen's ID"] {
		t.Fatalf("got %+v, want one event about the citizen", last.Items)
	}
	end := last.Items[0].EventID

	// One is down: what it must be told is kept for it, over a kill too.
	s.Kill()
	s.Start()
	if got := a.Call("GET", "/v1/events/"+end, nil).Want(t, 200); !bytes.Contains(got.Body, []byte(`"body":`+body)) {
		t.Errorf("while one is down: got %s, want the body", got.Body)
	}
	look.all(more...)
	for name, how := range found(look.together(), m) {
		if name != "the citizen's ID" && name != "the externalRef" && !strings.HasPrefix(name, "the ID of consent") {
			t.Errorf("while one is down: a read holds %s (%s)", name, how)
		}
	}
	if slices.ContainsFunc(lame.Received(), func(r servertest.Received) bool { return r.Answered && r.Status == 200 }) {
		t.Fatal("the one that is down accepted something")
	}
	up.Store(true)
	servertest.Eventually(t, "the last body to be gone", func() bool {
		return bytes.Contains(a.Call("GET", "/v1/events/"+end, nil).Want(t, 200).Body, []byte(`"body":null,"erased":true`))
	})
	if !slices.ContainsFunc(lame.Received(), is) {
		t.Error("the body was gone before the last one was told")
	}
	for _, r := range lame.Received() {
		if r.Status == 200 && r.Subject() == m["the citizen's ID"] && !is(r) {
			t.Errorf("the one that was down was told %s after the erasure", r.Body)
		}
	}

	// Everybody was told once, and last of all.
	for _, x := range []struct {
		at    *servertest.Receiver
		paths []string
	}{{rcv, up3}, {lame, []string{"/down"}}} {
		for _, path := range x.paths {
			var there []servertest.Received
			for _, r := range x.at.Received() {
				if r.Path == path && r.Subject() == m["the citizen's ID"] {
					there = append(there, r)
				}
			}
			i := slices.IndexFunc(there, is)
			if i < 0 || slices.ContainsFunc(there[i:], func(r servertest.Received) bool { return !is(r) || r.ID() != end }) {
				t.Errorf("%s: got %d requests, of which number %d tells of the erasure; want it last", path, len(there), i)
			}
			if i > 0 && there[i].Sequence() <= there[i-1].Sequence() {
				t.Errorf("%s: got the sequence %d after %d", path, there[i].Sequence(), there[i-1].Sequence())
			}
		}
	}
	for i, want := range []string{"consent:rejected", "consent:revoke", "consent:rejected"} {
		var names []string
		for _, r := range rcv.Received() {
			if r.Subject() == consents[i] && r.Path == "/mixed" {
				names = append(names, r.Event())
			}
		}
		if n := len(names); n == 0 || names[n-1] != want {
			t.Errorf("consent %d: got %v, want it to end with %s", i, names, want)
		}
	}

	// After: nothing is left, and what is left can be shown to be whole.
	servertest.Eventually(t, "the consents to be told of", func() bool {
		var page struct{ Items []struct{ Subject string } }
		a.Call("GET", "/v1/events?limit=100", nil).Into(t, &page)
		for _, e := range page.Items {
			if !strings.HasPrefix(e.Subject, "erased_") && e.Subject != others {
				return false
			}
		}
		return true
	})
	servertest.Eventually(t, "the write-ahead log to be emptied", func() bool { return len(files(t, s.Dir)[sqlite.FileName+"-wal"]) == 0 })
	for name, b := range files(t, s.Dir) {
		wantNothing(t, name, b, m)
	}
	look.all(more...)
	for path, b := range look.said {
		wantNothing(t, "after: GET "+path, b, m)
		if bytes.Contains(b, []byte(label)) {
			t.Errorf("after: GET %s shows the choice", path)
		}
	}
	is2 := audit(t, a)
	if !is2.Events.Intact || !is2.Transactions.Intact || is2.Transactions.Erased != 3 || is2.Transactions.Records != 4 || is2.Transactions.Head != was.Transactions.Head {
		t.Errorf("after: got %+v, want it whole, with 3 of 4 transactions erased", is2)
	}
	if n := is2.Events.Records - is2.Events.Erased; n < 2 || is2.Events.Records != was.Events.Records+3 || n >= is2.Events.Records/2 {
		t.Errorf("after: got %+v, want all but those of somebody else erased", is2.Events)
	}
	wantNothing(t, "the metrics", s.Call("GET", "/metrics", s.Operator, nil).Want(t, 200).Body, m)

	// Its names are those of nobody, and its keyed request is new.
	if got := a.Call("POST", "/v1/citizens", map[string]any{"citizenId": m["the citizen's ID"], "externalRef": "x"}).Want(t, 409).Text(t, "code"); got != "citizen_erased" {
		t.Errorf("got the code %q, want citizen_erased", got)
	}
	again := a.Call("POST", "/v1/permissions/transactions", transaction(m, "GRANTED"), keyed...).Want(t, 201)
	if again.Text(t, "transactionId") == first.Text(t, "transactionId") || again.Text(t, "citizenId") == m["the citizen's ID"] {
		t.Errorf("got %s, want a new transaction of somebody new", again.Body)
	}
	a.Call("DELETE", "/v1/citizens/"+again.Text(t, "citizenId"), nil).Want(t, 202)
	servertest.Eventually(t, "the new one to be gone as well", func() bool {
		c := audit(t, a)
		return c.Events.Records-c.Events.Erased == is2.Events.Records-is2.Events.Erased
	})
	if code := s.Stop(); code != 0 {
		t.Errorf("stopped with status %d, want 0", code)
	}
	for name, b := range files(t, s.Dir) {
		wantNothing(t, name+", stopped", b, m)
	}
	wantNothing(t, "the log", []byte(s.Log.String()), m)
	wantNothing(t, "standard output", []byte(s.Out.String()), m)
	if s.Log.Len() == 0 {
		t.Error("there was no log to look at")
	}

	// Whoever changes a record is found out.
	at := filepath.Join(s.Dir, sqlite.FileName)
	content, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	record := []byte(end + "erasures" + "citizen.erased")
	i := bytes.Index(content, record)
	if i < 0 {
		t.Fatal("the event is not in the file as expected")
	}
	content[i+len(record)-1] ^= 1
	if err := os.WriteFile(at, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start()
	if c := audit(t, a); c.Events.Intact || c.Events.BrokenAt != end || !c.Transactions.Intact {
		t.Errorf("got %+v, want the log broken at %s", c, end)
	}
}

// No page of the portal shows anything of somebody who was erased: neither the
// inspector, nor the mails.
func TestErasure_onNoPage(t *testing.T) {
	t.Parallel()
	n := startDev(t)
	link, _ := n.wait(`((http://[^/ ]+)/portal/\S+)`, 10*time.Second)
	client, clientSecret := n.credentials(10 * time.Second)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	t.Cleanup(web.CloseIdleConnections)
	visit := func(path string) []byte {
		t.Helper()
		resp, err := web.Get(link[2] + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 500 {
			t.Fatalf("%s: got %d %s (%v)", path, resp.StatusCode, b, err)
		}
		return b
	}
	a := servertest.Guest(t, link[2], client, clientSecret)
	configure(t, a)
	bin := a.Call("POST", "/v1/inspect", nil).Want(t, 201)
	for _, u := range []string{"effective-permission", "citizen-emails"} {
		a.Call("POST", "/v1/subscriptions", map[string]any{"url": bin.Text(t, "url"), "updateType": u}).Want(t, 201)
	}
	m := marks()
	delete(m, "the CPF")
	delete(m, "the second e-mail")
	delete(m, "the first e-mail")
	a.Call("POST", "/v1/citizens", map[string]any{"citizenId": m["the citizen's ID"], "externalRef": m["the externalRef"]}).Want(t, 201)
	a.Call("POST", "/v1/permissions/transactions", transaction(m, "GRANTED")).Want(t, 201)

	visit(strings.TrimPrefix(link[1], link[2])) // it signs in
	page := "/portal/inspector/" + bin.Text(t, "bin")
	requests := func() (out []string) {
		t.Helper()
		var list struct{ Items []struct{ RequestID string } }
		a.Call("GET", "/v1/inspect/"+bin.Text(t, "bin")+"/requests", nil).Want(t, 200).Into(t, &list)
		for _, r := range list.Items {
			out = append(out, page+"/requests/"+r.RequestID)
		}
		return out
	}
	pages := func() map[string][]byte {
		t.Helper()
		out := map[string][]byte{}
		for _, path := range append(requests(), page, "/portal/", "/portal/mailbox") {
			out[path] = visit(path)
		}
		return out
	}
	servertest.Eventually(t, "the page to show the person", func() bool { return len(found(visit(page), m)) == len(m) })
	old := requests()
	a.Call("DELETE", "/v1/citizens/"+url.PathEscape(m["the citizen's ID"]), nil).Want(t, 202)
	servertest.Eventually(t, "the end to be told", func() bool {
		var list struct{ Items []struct{ Subject string } }
		a.Call("GET", "/v1/events?type=citizen.erased", nil).Want(t, 200).Into(t, &list)
		return len(list.Items) == 1 && strings.HasPrefix(list.Items[0].Subject, "erased_")
	})
	for path, b := range pages() {
		wantNothing(t, path, b, m)
	}
	for _, path := range old {
		wantNothing(t, path, visit(path), m)
	}
	if got := len(requests()); got != 2 {
		t.Errorf("the bin keeps %d requests, want that it was told twice", got)
	}
	if code := n.stop(); code != 0 {
		t.Errorf("stopped with status %d, want 0", code)
	}
	delete(m, "the citizen's ID") // the terminal tells whom each event was about, when it happens
	wantNothing(t, "the terminal", []byte(strings.Join(n.seen, "\n")), m)
}
