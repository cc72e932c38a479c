package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func grantLine(externalRef string) string {
	return fmt.Sprintf(`{"externalRef":%q,"changes":[{"optionId":"opt-newsletter","justification":"consent","state":"GRANTED"}]}`, externalRef)
}

func (w *world) bring(target string, lines []string, header ...string) answered {
	w.t.Helper()
	return w.our("POST", "/v1/permissions/import"+target, strings.Join(lines, "\n"), append([]string{"Content-Type", "application/x-ndjson"}, header...)...)
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.objects()
	lines := []string{
		grantLine("a"), `{"externalRef":1,"changes":[{"optionId":"opt-none"}],"x":2}`, "[]", `{"externalRef":"a","externalRef":"b"}`, "",
		strings.Replace(grantLine("b"), `{`, `{"applicationId":"`+w.ours.application+`",`, 1),
		strings.Replace(grantLine("c"), `{`, `{"applicationId":"`+w.theirs.application+`",`, 1),
		strings.Replace(grantLine("d"), "GRANTED", "CLAIMED", 1),
	}
	a := w.bring("?events=none", lines, "Idempotency-Key", "k-1").want(200)
	const counts = `"events":"none","lines":8,"recorded":2,"refused":5,"errorCount":9,"errorsKept":9,"startedAt":"now","updatedAt":"now"`
	a.wantBody(`{"importId":"imp","status":"complete",` + counts + `}`)
	again := w.bring("?events=none", lines, "Idempotency-Key", "k-1").want(200)
	if !bytes.Equal(again.body, a.body) {
		t.Errorf("again: got %s, want %s", again.body, a.body)
	}

	report := w.our("GET", "/v1/permissions/imports/"+a.text("importId"), "").want(200)
	if !strings.HasPrefix(report.masked(), `{"importId":"imp","status":"complete",`+counts+`,"errors":[{"line":2,"errors":[{"path":`) {
		t.Errorf("got %s", report.masked())
	}
	type page struct {
		Errors []struct {
			Line   int
			Errors []struct{ Path, Code, Message string }
		}
		Next string
	}
	var got []string
	for next, n := "", 0; n == 0 || next != ""; n++ {
		var p page
		w.our("GET", "/v1/permissions/imports/"+a.text("importId")+"?limit=2&after="+next, "").want(200).into(&p)
		for _, e := range p.Errors {
			for _, f := range e.Errors {
				got = append(got, fmt.Sprint(e.Line, " ", f.Path, " ", f.Code))
			}
		}
		if next = p.Next; n > 10 {
			t.Fatal("the pages do not end")
		}
	}
	slices.Sort(got)
	want := []string{
		"2 /changes/0/justification required", "2 /changes/0/optionId unknown", "2 /changes/0/state required", "2 /externalRef wrong_type", "2 /x unknown_member", "3  wrong_type", "4 /externalRef duplicate_member",
		"7 /applicationId not_found", "8 /changes/0/state state_not_allowed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the errors %q, want %q", got, want)
	}
	w.our("GET", "/v1/permissions/imports/"+a.text("importId")+"?after=x", "").want(400)
	if items := w.our("GET", "/v1/permissions/imports", "").want(200).items(); len(items) != 2 || items[0]["importId"] != a.text("importId") {
		t.Errorf("got the imports %v, want the last one first", items)
	}

	w.bring("?events=none", lines[1:], "Idempotency-Key", "k-1").want(422)
	w.bring("", lines, "Idempotency-Key", "k-1").want(422)
	w.bring("", lines, "Idempotency-Key", "k 1").want(400)
	w.bring("?events=some", lines).want(400)
	w.our("POST", "/v1/permissions/import", grantLine("e")).want(415)
	w.our("POST", "/v1/permissions/import", "").want(200)
	w.call("GET", "/v1/permissions/imports/"+a.text("importId"), w.theirs.token, "").want(404)
	w.call("GET", "/v1/permissions?externalRef=a", w.ours.token, "").want(200)
	w.call("GET", "/v1/permissions?externalRef=e", w.ours.token, "").want(404)

	// More than a body may have elsewhere.
	long := strings.Replace(grantLine("a"), `{`, `{`+strings.Repeat(" ", 60<<10), 1)
	large := slices.Repeat([]string{long}, 40)
	if got := w.bring("", large).want(200).body; !strings.Contains(string(got), `"recorded":40,"refused":0`) {
		t.Errorf("got %s, want all 40 lines of 60 KiB recorded", got)
	}
}

// TestImport_overHTTP: progress is seen while lines come; a client that breaks
// off leaves the import interrupted, and a repeat goes on.
func TestImport_overHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.objects()
	srv := httptest.NewServer(w.face)
	defer srv.Close()
	send := func(body io.Reader) (int, []byte, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/v1/permissions/import", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.ours.token)
		r.Header.Set("Content-Type", mediaLines)
		r.Header.Set("Idempotency-Key", "crm")
		resp, err := srv.Client().Do(r)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, b, err
	}
	newest := func() (b importBody) {
		t.Helper()
		var p struct{ Items []importBody }
		w.our("GET", "/v1/permissions/imports?limit=1", "").want(200).into(&p)
		if len(p.Items) != 1 {
			t.Fatalf("got %d imports, want one", len(p.Items))
		}
		return p.Items[0]
	}
	until := func(what string, ok func(importBody) bool) importBody {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; {
			b := newest()
			if ok(b) {
				return b
			}
			if time.Now().After(end) {
				t.Fatalf("got %+v, want it %s", b, what)
			}
		}
	}

	const n = 9000
	var lines bytes.Buffer
	for i := range n {
		lines.WriteString(grantLine(fmt.Sprint("CRM-", i%300)) + "\n")
	}
	r, pipe := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, _, err := send(r)
		ended <- err
	}()
	go func() { _, _ = pipe.Write(lines.Bytes()[:lines.Len()/3*2]) }() // the test tells what came of it
	first := until("running, with lines recorded", func(b importBody) bool { return b.Status == "running" && b.Recorded > 0 })
	_ = pipe.CloseWithError(io.ErrClosedPipe) // the client gives up, and closes the connection
	if err := <-ended; err == nil {
		t.Fatal("got an answer, want the request broken off")
	}
	cut := until("interrupted", func(b importBody) bool { return b.Status == "interrupted" })
	if cut.ImportID != first.ImportID || cut.Lines < first.Lines || cut.Recorded != cut.Lines || cut.Recorded >= n {
		t.Errorf("got %+v after %+v, want it to have gone on a little", cut, first)
	}

	status, b, err := send(bytes.NewReader(lines.Bytes()))
	if err != nil || status != 200 {
		t.Fatalf("got %d %s, %v, want 200", status, b, err)
	}
	var done importBody
	if err := json.Unmarshal(b, &done); err != nil || done.ImportID != cut.ImportID || done.Status != "complete" || done.Recorded != n || done.Lines != n {
		t.Errorf("got %s, %v, want %s complete with each line once", b, err, cut.ImportID)
	}
	if got := len(w.our("GET", "/v1/citizens/"+w.our("GET", "/v1/permissions?externalRef=CRM-7", "").text("citizenId")+"/history?limit=100", "").items()); got != n/300 {
		t.Errorf("got %d transactions of a citizen, want %d", got, n/300)
	}
}
