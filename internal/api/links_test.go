package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// person records a grant for a new citizen and returns its ID.
func (w *world) person(externalRef string) string {
	w.t.Helper()
	return w.our("POST", "/v1/permissions/transactions", strings.Replace(granted, "CRM-1", externalRef, 1)).want(201).text("citizenId")
}

// last returns the body of the last event about a subject.
func (w *world) last(subject string) answered {
	w.t.Helper()
	es := w.our("GET", "/v1/events?limit=1000&subject="+subject, "").want(200).items()
	b, err := json.Marshal(es[len(es)-1]["body"])
	if err != nil {
		w.t.Fatal(err)
	}
	return answered{t: w.t, asked: "the last event about " + subject, body: b}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.objects()
	one, two := w.person("CRM-1"), w.person("CRM-2")
	path := "/v1/citizens/" + one
	const citizen = `{"citizenId":"ctz","externalRef":"CRM-1","version":%d,"createdAt":"now","updatedAt":"now",%s"links":[%s],"merged":[%s]}`
	const linked = `{"citizenId":"ctz","externalRef":"CRM-2"}`

	w.our("POST", path+"/link", `{"externalRef":"CRM-2"}`).want(200).wantBody(fmt.Sprintf(citizen, 3, "", linked, ""))
	w.our("GET", path, "").want(200).wantBody(fmt.Sprintf(citizen, 3, `"emails":[],`, linked, ""))
	w.our("POST", path+"/link", `{"externalRef":"CRM-2","citizenId":"`+two+`"}`).want(200).wantBody(fmt.Sprintf(citizen, 3, "", linked, ""))
	if got := w.our("GET", "/v1/citizens?externalRef=CRM-2", "").want(200); strings.Contains(string(got.body), "links") {
		t.Errorf("got %s, want a list without links", got.body)
	}
	for _, subject := range []string{one, two} {
		if got := w.last(subject).text("citizenId"); got != subject {
			t.Errorf("the last event about %s tells of %s", subject, got)
		}
	}

	// A transaction of one is told to both, and stands in one history.
	told := w.our("POST", "/v1/permissions/transactions", strings.Replace(granted, "CRM-1", "CRM-2", 1)).want(201).text("transactionId")
	newest := func(id string) map[string]any {
		return w.our("GET", "/v1/citizens/"+id+"/history", "").want(200).items()[0]
	}
	if got := newest(two); got["transactionId"] != told || len(got["told"].([]any)) != 3 {
		t.Errorf("got %v, want the transaction with a delivery of each citizen, and its mail", got)
	}
	if got := newest(one); got["transactionId"] == told {
		t.Errorf("got %v in the history of the other one", got)
	}
	for _, name := range []string{"CRM-1", "CRM-2"} {
		if got := w.our("GET", "/v1/permissions?externalRef="+name, "").want(200); !strings.Contains(string(got.body), told) {
			t.Errorf("%s: got %s, want the last transaction in force", name, got.body)
		}
	}

	// By its own path, by the other's, with no body, with an empty one.
	for i, content := range []string{`{"citizenId":"` + two + `"}`, `{"externalRef":"CRM-1"}`, ``, `{}`} {
		w.our("POST", path+"/unlink", content).want(200).wantBody(fmt.Sprintf(citizen, 5+2*i, "", "", ""))
		w.our("POST", path+"/link", `{"citizenId":"`+two+`"}`).want(200).wantBody(fmt.Sprintf(citizen, 6+2*i, "", linked, ""))
	}
	w.our("POST", path+"/unlink", "").want(200)
	if got := w.our("POST", path+"/unlink", "").want(409).text("code"); got != "not_linked" {
		t.Errorf("got the code %q", got)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.objects()
	one, two, three := w.person("CRM-1"), w.person("CRM-2"), w.person("CRM-3")
	w.our("PATCH", "/v1/citizens/"+two, `{"emails":[{"address":"b@example.org"}],"language":"pt"}`).want(200)
	w.our("POST", "/v1/citizens/"+two+"/link", `{"externalRef":"CRM-3"}`).want(200)
	path := "/v1/citizens/" + one
	const merged = `{"citizenId":"ctz","externalRef":"CRM-1","language":"pt","version":3,"createdAt":"now","updatedAt":"now",%s` +
		`"links":[{"citizenId":"ctz","externalRef":"CRM-3"}],"merged":[{"citizenId":"ctz","externalRef":"CRM-2","mergedAt":"now"}]}`
	w.our("POST", path+"/merge", `{"citizenId":"`+two+`"}`).want(200).wantBody(fmt.Sprintf(merged, ""))
	w.our("POST", path+"/merge", `{"externalRef":"CRM-2"}`).want(200).wantBody(fmt.Sprintf(merged, "")) // once more
	detail := fmt.Sprintf(merged, `"emails":[{"address":"b@example.org"}],`)
	for _, id := range []string{one, two} {
		w.our("GET", "/v1/citizens/"+id, "").want(200).wantBody(detail)
	}
	if got := w.last(two).masked(); !strings.HasPrefix(got, `{"applicationId":"app","citizenId":"ctz","externalRef":"CRM-2","mergedInto":{"citizenId":"ctz","externalRef":"CRM-1"},"permissions":[{`) {
		t.Errorf("the last that is told of it is %s", got)
	}
	if got := w.last(two).text("mergedInto.citizenId"); got != one {
		t.Errorf("got it merged into %q, want %s", got, one)
	}
	for _, id := range []string{one, three} {
		if got := w.last(id); strings.Contains(string(got.body), "mergedInto") {
			t.Errorf("got %s, want no word of a merge", got.body)
		}
	}

	// Every route takes either name.
	for _, query := range []string{"externalRef=CRM-2", "citizenId=" + two, "citizenId=" + one + "&externalRef=CRM-2", "citizenId=" + two + "&externalRef=CRM-1"} {
		got := w.our("GET", "/v1/permissions?"+query, "").want(200)
		if got.text("citizenId") != one || got.text("externalRef") != "CRM-1" {
			t.Errorf("%s: got %s, want that of CRM-1", query, got.body)
		}
	}
	for _, members := range []string{`"externalRef":"CRM-2"`, `"citizenId":"` + two + `"`, `"citizenId":"` + one + `","externalRef":"CRM-2"`} {
		got := w.our("POST", "/v1/permissions/transactions", strings.Replace(granted, `"externalRef":"CRM-1"`, members, 1)).want(201)
		if got.text("citizenId") != one || got.text("externalRef") != "CRM-1" {
			t.Errorf("%s: got %s, want it recorded for CRM-1", members, got.body)
		}
	}
	var names []string
	for _, id := range []string{one, two} {
		for _, x := range w.our("GET", "/v1/citizens/"+id+"/history", "").want(200).items() {
			if len(x["told"].([]any)) == 0 {
				t.Errorf("got %v, want whom we told", x)
			}
			names = append(names, fmt.Sprint(x["externalRef"]))
		}
	}
	if want := slices.Repeat([]string{"CRM-1"}, 2*(2+1+3)); !slices.Equal(names, want) { // the two of CRM-1, that of CRM-2, the three since
		t.Errorf("got histories of %v, want both with %d of CRM-1", names, len(want)/2)
	}
	w.our("PATCH", "/v1/citizens/"+two, `{"language":"en"}`).want(200)
	if got := w.our("PUT", "/v1/citizens/"+two, `{"citizenId":"`+two+`","externalRef":"CRM-2","language":"fr"}`).want(200); got.text("citizenId") != one || got.text("externalRef") != "CRM-1" {
		t.Errorf("got %s, want CRM-1 edited", got.body)
	}
	if n := len(w.our("GET", "/v1/citizens", "").want(200).items()); n != 2 {
		t.Errorf("got %d citizens, want 2", n)
	}
	if got := w.our("GET", "/v1/citizens?externalRef=CRM-2", "").want(200).items(); len(got) != 1 || got[0]["citizenId"] != one {
		t.Errorf("got %v, want CRM-1", got)
	}
}

// TestLinks_refuses holds every problem of the three routes to its place.
func TestLinks_refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.objects()
	one, two := w.person("CRM-1"), w.person("CRM-2")
	foreign := w.call("POST", "/v1/citizens", w.theirs.token, `{"externalRef":"CRM-9"}`).want(201).text("citizenId")
	before := len(w.our("GET", "/v1/events?limit=1000", "").want(200).items())
	const all = "link unlink merge"
	tests := []struct {
		name, of, citizen, content string
		status                     int
		want                       string
	}{
		{"nobody", "link merge", one, `{}`, 400, "/citizenId required"},
		{"nulls", all, one, `{"citizenId":null,"externalRef":null}`, 400, "/citizenId invalid_value, /externalRef invalid_value"},
		{"itself when it is alone", "unlink", one, `{}`, 409, " not_linked"},
		{"somebody who is not linked", "unlink", one, `{"externalRef":"CRM-2"}`, 409, " not_linked"},
		{"itself", "link merge", one, `{"citizenId":"` + one + `"}`, 400, "/citizenId same_citizen"},
		{"itself by its reference", "link merge", one, `{"externalRef":"CRM-1"}`, 400, "/externalRef same_citizen"},
		{"an unknown ID", all, one, `{"citizenId":"ctz_none"}`, 404, "/citizenId not_found"},
		{"an unknown reference", all, one, `{"externalRef":"CRM-8"}`, 404, "/externalRef not_found"},
		{"another application's", all, one, `{"citizenId":"` + foreign + `"}`, 404, "/citizenId not_found"},
		{"another application's by its reference", all, one, `{"externalRef":"CRM-9"}`, 404, "/externalRef not_found"},
		{"two citizens", all, one, `{"citizenId":"` + two + `","externalRef":"CRM-1"}`, 400, "/externalRef mismatch"},
		{"empty names", all, one, `{"citizenId":"","externalRef":""}`, 400, "/citizenId too_short, /externalRef too_short"},
		{"names that are too long", all, one, `{"citizenId":"` + strings.Repeat("x", 101) + `"}`, 400, "/citizenId too_long"},
		{"no texts", all, one, `{"citizenId":1,"externalRef":{}}`, 400, "/citizenId wrong_type, /externalRef wrong_type"},
		{"a member that is none", all, one, `{"id":"x","citizenId":"` + two + `"}`, 400, "/id unknown_member"},
		{"a member twice", all, one, `{"externalRef":"CRM-2","externalRef":"CRM-2"}`, 400, "/externalRef duplicate_member"},
		{"no object", all, one, `[]`, 400, " wrong_type"},
		{"an unknown citizen", all, "ctz_none", `{"externalRef":"CRM-2"}`, 404, " not_found"},
		{"another application's citizen", all, foreign, `{"externalRef":"CRM-2"}`, 404, " not_found"},
	}
	for _, tt := range tests {
		for route := range strings.FieldsSeq(tt.of) {
			if got := w.our("POST", "/v1/citizens/"+tt.citizen+"/"+route, tt.content).want(tt.status).faults(); got != tt.want {
				t.Errorf("%s %s: got %q, want %q", route, tt.name, got, tt.want)
			}
		}
	}
	for route := range strings.FieldsSeq(all) {
		target := "/v1/citizens/" + one + "/" + route
		w.call("POST", target, "", `{"externalRef":"CRM-2"}`).want(401)
		w.call("POST", target, w.theirs.token, `{"externalRef":"CRM-9"}`).want(404)
		w.our("POST", target, `{"externalRef":"CRM-2"}`, "Content-Type", "text/plain").want(415)
		w.our("GET", target, "").want(405)
		if route != "unlink" {
			w.our("POST", target, "").want(400)
		}
	}
	if got := len(w.our("GET", "/v1/events?limit=1000", "").want(200).items()); got != before {
		t.Errorf("got %d events, want %d: nothing happened", got, before)
	}

	// A group has its bound.
	for i := range 20 {
		w.person(fmt.Sprintf("many-%d", i))
		if i > 0 {
			w.our("POST", "/v1/citizens/"+one+"/link", fmt.Sprintf(`{"externalRef":"many-%d"}`, i)).want(200)
		}
	}
	for _, content := range []string{`{"externalRef":"many-0"}`, `{"citizenId":"` + two + `"}`} {
		if got := w.our("POST", "/v1/citizens/"+one+"/link", content).want(409).text("code"); got != "group_full" {
			t.Errorf("got the code %q, want group_full", got)
		}
	}
}
