package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// masked returns an answer with what differs from run to run replaced: our IDs
// by their kinds, and times.
func (a answered) masked() string {
	s := regexp.MustCompile(`"([a-z]{3})_[0-9a-z]{26}"`).ReplaceAllString(string(a.body), `"$1"`)
	return regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`).ReplaceAllString(s, `"now"`)
}

func (a answered) wantBody(want string) {
	a.t.Helper()
	if got := a.masked(); got != want {
		a.t.Errorf("%s: got\n%s, want\n%s", a.asked, got, want)
	}
}

// TestConfiguration_life: each kind is created, read, listed, replaced, and
// deleted as long as no transaction refers to it; then it is archived and
// restored.
func TestConfiguration_life(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	const life = `"used":false,"archived":false}`
	tests := []struct {
		name, path, used string // used: the one that a transaction refers to
		content, again   string // the same with another text
		shown, shownSame string
		refers           string // a transaction that refers to the used one
		refused          string // the fault once that one is archived
	}{
		{
			"an option", "/v1/options", o.option,
			`{"optionId":"a","name":"A","dataId":"d","purposeId":"p","partyId":"q","description":"long"}`, `{"dataId":"d2","purposeId":"p","partyId":"q"}`,
			`{"optionId":"a","name":"A","dataId":"d","purposeId":"p","partyId":"q","description":"long",` + life, `{"optionId":"a","dataId":"d2","purposeId":"p","partyId":"q",` + life,
			`{"externalRef":"x","changes":[{"optionId":"opt-newsletter","justification":"consent","state":"DENIED"}]}`, "/changes/0/optionId archived",
		},
		{
			"a group of options", "/v1/option-groups", o.group,
			`{"groupId":"b","name":"B","options":["opt-newsletter"]}`, `{"groupId":"b","options":["opt-newsletter"]}`,
			`{"groupId":"b","name":"B","options":["opt-newsletter"],` + life, `{"groupId":"b","options":["opt-newsletter"],` + life,
			`{"externalRef":"x","changes":[{"optionType":"group","optionId":"grp-all","justification":"consent","state":"DENIED"}]}`, "/changes/0/optionId archived",
		},
		{
			"a preference", "/v1/preferences", o.preference,
			`{"reference":"c","label":"C","type":"single-choice","choices":[{"reference":"1","label":"One"}]}`, `{"label":"C!","type":"multi-choice","choices":[{"reference":"2","label":"Two"}]}`,
			`{"reference":"c","label":"C","type":"single-choice","choices":[{"reference":"1","label":"One"}],` + life, `{"reference":"c","label":"C!","type":"multi-choice","choices":[{"reference":"2","label":"Two"}],` + life,
			`{"externalRef":"x","preferences":[{"preference":"topics","choices":[]}]}`, "/preferences/0/preference archived",
		},
		{
			"a statement", "/v1/permission-statements", o.statement,
			`{"reference":"s","text":"Yes?","language":"en"}`, `{"text":"Sim?"}`,
			`{"permissionStatementId":"stm","reference":"s","text":"Yes?","language":"en","version":1,` + life, `{"permissionStatementId":"stm","reference":"s","text":"Sim?","version":2,` + life,
			`{"externalRef":"x","permissionStatementRef":"newsletter-v2","preferences":[{"preference":"topics","choices":[]}]}`, "/permissionStatementRef archived",
		},
		{
			"a policy", "/v1/privacy-policies", o.policy,
			`{"reference":"p","url":"https://a.example/p","text":"long"}`, `{"reference":"p","url":"https://a.example/p2"}`,
			`{"privacyPolicyId":"pol","reference":"p","url":"https://a.example/p","text":"long","version":1,` + life, `{"privacyPolicyId":"pol","reference":"p","url":"https://a.example/p2","version":2,` + life,
			`{"externalRef":"x","privacyPolicyId":"` + o.policy + `","preferences":[{"preference":"topics","choices":[]}]}`, "/privacyPolicyId archived",
		},
	}
	for _, tt := range tests { // one after the other: what one archives another refers to
		made := w.our("POST", tt.path, tt.content).want(201)
		made.wantBody(tt.shown)
		one := made.header.Get("Location")
		w.our("GET", one, "").want(200).wantBody(tt.shown)
		list := w.our("GET", tt.path+"?limit=1&offset=1", "").want(200)
		if n := len(list.items()); n != 1 || !strings.Contains(string(list.body), `"total":2}`) {
			t.Errorf("%s: got %s, want the second of two", tt.name, list.body)
		}
		if got := w.our("POST", tt.path, tt.content).want(409).text("code"); got != "reference_taken" {
			t.Errorf("%s again: got the code %q", tt.name, got)
		}
		w.our("PUT", one, tt.again).want(200).wantBody(tt.shownSame)
		w.our("PUT", tt.path+"/none", tt.again).want(404)
		w.our("DELETE", one, "").want(204)
		w.our("GET", one, "").want(404)
		w.our("DELETE", one, "").want(404)
		w.our("POST", one+"/restore", "").want(404)

		used := tt.path + "/" + tt.used
		w.our("POST", "/v1/permissions/transactions", tt.refers).want(201)
		archived := w.our("DELETE", used, "").want(200)
		if !strings.Contains(archived.masked(), `"used":true,"archived":true,"archivedAt":"now"}`) {
			t.Errorf("%s in use, deleted: got %s, want it archived", tt.name, archived.body)
		}
		w.our("DELETE", used, "").want(200).wantBody(archived.masked())
		if got := w.our("POST", "/v1/permissions/transactions", tt.refers).want(400).faults(); got != tt.refused {
			t.Errorf("%s archived: got %q, want %q", tt.name, got, tt.refused)
		}
		for query, want := range map[string]int{"": 1, "?archived=true": 1, "?archived=false": 0} {
			if got := len(w.our("GET", tt.path+query, "").want(200).items()); got != want {
				t.Errorf("%s%s: got %d items, want %d", tt.path, query, got, want)
			}
		}
		listed := regexp.MustCompile(`"(id|groupId|reference|permissionStatementId|privacyPolicyId)":"` + tt.used + `"`)
		if got := w.our("GET", "/v1/permissions/configuration", "").want(200); listed.Match(got.body) {
			t.Errorf("%s archived: the configuration still has it: %s", tt.name, got.body)
		}
		w.our("POST", used+"/restore", "").want(200)
		if got := w.our("POST", used+"/restore", "{}").want(200); !strings.Contains(string(got.body), `"used":true,"archived":false}`) {
			t.Errorf("%s restored: got %s", tt.name, got.body)
		}
		w.our("POST", "/v1/permissions/transactions", tt.refers).want(201)
	}
}

// TestConfiguration_inUse: what a transaction refers to keeps its meaning.
func TestConfiguration_inUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	for name, tt := range map[string]struct{ target, content, want string }{
		"another triple":     {"/v1/options/" + o.option, `{"dataId":"phone","purposeId":"marketing","partyId":"us"}`, "/dataId in_use"},
		"another type":       {"/v1/preferences/" + o.preference, strings.Replace(topics, "multi-choice", "single-choice", 1), "/type in_use"},
		"a choice that goes": {"/v1/preferences/" + o.preference, strings.Replace(topics, `{"reference":"jazz","label":"Jazz"},`, "", 1), "/choices in_use"},
		"another name":       {"/v1/options/" + o.option, `{"optionId":"b","dataId":"email","purposeId":"marketing","partyId":"us"}`, "/optionId immutable"},
	} {
		if got := w.our("PUT", tt.target, tt.content).want(400).faults(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	w.our("PUT", "/v1/options/"+o.option, `{"name":"News","dataId":"email","purposeId":"marketing","partyId":"us"}`).want(200)
}

func TestConfiguration_versions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	for _, text := range []string{"Yes!", "Yes!", "Sim!"} {
		w.our("PUT", "/v1/permission-statements/"+o.statement, `{"text":"`+text+`"}`).want(200)
	}
	var texts []string
	for i, s := range w.our("GET", "/v1/permission-statements/"+o.statement+"/versions", "").want(200).items() {
		texts = append(texts, fmt.Sprint(s["text"]))
		if s["version"] != float64(i+1) {
			t.Errorf("got the version %v at place %d", s["version"], i)
		}
	}
	if want := []string{"Yes, please.", "Yes!", "Sim!"}; !slices.Equal(texts, want) {
		t.Errorf("got %v, want %v", texts, want)
	}
	page := w.our("GET", "/v1/permission-statements/"+o.statement+"/versions?offset=1&limit=1", "").want(200)
	if n := len(page.items()); n != 1 || !strings.Contains(string(page.body), `"total":3}`) {
		t.Errorf("got %s, want the second of three", page.body)
	}
	recorded := w.our("POST", "/v1/permissions/transactions", strings.Replace(granted, "{", `{"permissionStatementRef":"newsletter-v2","privacyPolicyRef":"privacy-2026",`, 1)).want(201)
	if !strings.Contains(string(recorded.body), `"permissionStatementVersion":3,`) || !strings.Contains(string(recorded.body), `"privacyPolicyVersion":1,`) {
		t.Errorf("got %s, want the versions that were current", recorded.body)
	}
	w.our("GET", "/v1/privacy-policies/"+o.policy+"/versions", "").want(200)

	// Both are addressed by their reference too.
	w.our("GET", "/v1/permission-statements/newsletter-v2/versions", "").want(200).wantBody(w.our("GET", "/v1/permission-statements/"+o.statement+"/versions", "").masked())
	for path, id := range map[string]string{"/v1/permission-statements/newsletter-v2": o.statement, "/v1/privacy-policies/privacy-2026": o.policy} {
		if got := string(w.our("GET", path, "").want(200).body); !strings.Contains(got, id) {
			t.Errorf("%s: got %s, want that of %s", path, got, id)
		}
		w.our("PUT", path, `{"text":"New."}`).want(200)
		w.our("DELETE", path, "").want(200)
		if got := string(w.our("POST", path+"/restore", "").want(200).body); !strings.Contains(got, id) || !strings.Contains(got, `"archived":false`) {
			t.Errorf("%s: got %s, want that of %s restored", path, got, id)
		}
	}
	w.our("GET", "/v1/privacy-policies/pol_none/versions", "").want(404)
	w.our("GET", "/v1/permission-statements/stm_none/versions", "").want(404)
}

// TestConfiguration_parts: what stands behind an option's IDs is made by its
// first use or by name.
func TestConfiguration_parts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.our("POST", "/v1/option-data", `{"id":"email","name":"E-mail address"}`).want(201).wantBody(`{"id":"email","name":"E-mail address"}`)
	w.our("POST", "/v1/options", `{"optionId":"o","dataId":"email","purposeId":"news","partyId":"us"}`).want(201)
	w.our("GET", "/v1/option-purposes", "").want(200).wantBody(`{"items":[{"id":"news","name":"news"}],"total":1}`)
	w.our("POST", "/v1/option-purposes", `{"id":"news","name":"Newsletter"}`).want(201)
	w.our("POST", "/v1/option-parties", `{"name":"A partner"}`).want(201)
	w.our("GET", "/v1/option-parties?offset=1", "").want(200).wantBody(`{"items":[{"id":"prt","name":"A partner"}],"total":2}`)
	w.our("GET", "/v1/permissions/configuration", "").want(200).wantBody(`{"applicationId":"app","options":[{"id":"o","dataId":"email","purposeId":"news","partyId":"us"}],` +
		`"data":[{"id":"email","name":"E-mail address"}],"purposes":[{"id":"news","name":"Newsletter"}],"parties":[{"id":"us","name":"us"},{"id":"prt","name":"A partner"}],` +
		`"optionGroups":[],"preferences":[],"permissionStatements":[],"privacyPolicies":[]}`)
	for content, want := range map[string]string{`{}`: "/name required", `{"id":1,"name":""}`: "/id wrong_type, /name required", `{"id":"a","name":"b","kind":"data"}`: "/kind unknown_member"} {
		if got := w.our("POST", "/v1/option-data", content).want(400).faults(); got != want {
			t.Errorf("%s: got %q, want %q", content, got, want)
		}
	}
}

func TestCitizens_life(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.our("POST", "/v1/citizens", `{"externalRef":"CRM-1","emails":[{"address":"ana@example.org"},{"address":"a@example.org"}],"language":"pt-BR"}`).want(201)
	made.wantBody(`{"citizenId":"ctz","externalRef":"CRM-1","language":"pt-BR","version":1,"createdAt":"now","updatedAt":"now"}`)
	one := made.header.Get("Location")
	const alone = `,"links":[],"merged":[]}`
	const emails = `"emails":[{"address":"ana@example.org"},{"address":"a@example.org"}]` + alone
	w.our("GET", one, "").want(200).wantBody(strings.TrimSuffix(made.masked(), "}") + "," + emails)
	if got := w.our("POST", "/v1/citizens", `{"externalRef":"CRM-1"}`).want(409).faults(); got != "/externalRef external_ref_taken" {
		t.Errorf("got %q", got)
	}
	own := w.our("POST", "/v1/citizens", `{"externalRef":"CRM-2","citizenId":"person:2@crm"}`).want(201).header.Get("Location")
	if got := w.our("GET", own, "").want(200).text("citizenId"); got != "person:2@crm" {
		t.Errorf("got the ID %q, want the one that was chosen", got)
	}
	if got := w.our("POST", "/v1/citizens", `{"externalRef":"CRM-3","citizenId":"person:2@crm"}`).want(409).faults(); got != "/citizenId citizen_id_taken" {
		t.Errorf("got %q", got)
	}
	if got := w.our("PATCH", own, `{"externalRef":"CRM-1"}`).want(409).faults(); got != "/externalRef external_ref_taken" {
		t.Errorf("got %q", got)
	}

	patches := []struct{ name, content, want string }{
		{"nothing", `{}`, `"externalRef":"CRM-1","language":"pt-BR","version":1,"createdAt":"now","updatedAt":"now",` + emails},
		{"another language", `{"language":"en"}`, `"externalRef":"CRM-1","language":"en","version":2,"createdAt":"now","updatedAt":"now",` + emails},
		{"another reference", `{"externalRef":"CRM-9"}`, `"externalRef":"CRM-9","language":"en","version":3,"createdAt":"now","updatedAt":"now",` + emails},
		{"other addresses", `{"emails":[{"address":"b@example.org"}]}`, `"externalRef":"CRM-9","language":"en","version":4,"createdAt":"now","updatedAt":"now","emails":[{"address":"b@example.org"}]` + alone},
		{"nulls", `{"emails":null,"language":null}`, `"externalRef":"CRM-9","version":5,"createdAt":"now","updatedAt":"now","emails":[]` + alone},
	}
	for _, tt := range patches {
		w.our("PATCH", one, tt.content, "Content-Type", mediaPatch).want(200)
		if got, want := w.our("GET", one, "").want(200).masked(), `{"citizenId":"ctz",`+tt.want; got != want {
			t.Errorf("%s: got\n%s, want\n%s", tt.name, got, want)
		}
	}
	w.our("PUT", one, `{"externalRef":"CRM-1","emails":[{"address":"c@example.org"}]}`).want(200).wantBody(`{"citizenId":"ctz","externalRef":"CRM-1","version":6,"createdAt":"now","updatedAt":"now"}`)
	w.our("PUT", one, `{"externalRef":"CRM-1"}`).want(200)
	if got := w.our("GET", one, "").want(200); !strings.Contains(string(got.body), `"emails":[]`) {
		t.Errorf("a PUT without addresses: got %s, want none", got.body)
	}
	w.our("PUT", "/v1/citizens/none", `{"externalRef":"CRM-7"}`).want(404)
	w.our("PATCH", "/v1/citizens/none", `nonsense`).want(404)

	for query, want := range map[string]int{"": 2, "?externalRef=CRM-1": 1, "?externalRef=CRM-9": 0, "?limit=1": 1} {
		if got := len(w.our("GET", "/v1/citizens"+query, "").want(200).items()); got != want {
			t.Errorf("%s: got %d citizens, want %d", query, got, want)
		}
	}
	first := w.our("GET", "/v1/citizens?limit=1", "").want(200)
	second := w.our("GET", "/v1/citizens?limit=1&after="+url.QueryEscape(first.text("next")), "").want(200)
	if first.items()[0]["externalRef"] != "CRM-2" || second.items()[0]["externalRef"] != "CRM-1" || second.text("next") != "" {
		t.Errorf("page by page: got %s and %s, want the newest first", first.body, second.body)
	}
}

// TestEmails_areKeptApart: only a read of the one citizen shows an address, and
// of a mail that is to be sent there.
func TestEmails_areKeptApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const address = "s3cret-address@example.org"
	const citizen = `{"externalRef":"CRM-1","emails":[{"address":"` + address + `"}]}`
	o := w.objects()
	w.our("PUT", "/v1/citizens/"+o.citizen, citizen).want(200)
	w.our("PATCH", "/v1/citizens/"+o.citizen, citizen).want(200)
	for _, content := range []string{
		`{"externalRef":"CRM-1","emails":[{"address":"` + address + `"},{"address":"` + address + `"}]}`, `{"emails":["` + address + `"]}`,
		`{"externalRef":"CRM-1","emails":[{"address":"<` + address + `"}]}`, `{"externalRef":"CRM-1","language":"` + address + `"}`,
	} {
		w.our("PUT", "/v1/citizens/"+o.citizen, content).want(400)
	}
	w.our("POST", "/v1/citizens", citizen).want(409)
	w.our("POST", "/v1/citizens", strings.Replace(citizen, "CRM-1", "CRM-2", 1)).want(201)
	w.our("POST", "/v1/permissions/transactions", granted).want(201)
	for _, op := range w.ops {
		mails := []string{"listEvents", "readEvent", "readDelivery"}
		if op.scope == application && op.method == "GET" && op.id != "readCitizen" && !slices.Contains(mails, op.id) {
			w.our("GET", o.path(op)+"?applicationId="+w.ours.application+o.query(op), "").want(200)
		}
	}
	if all := strings.Join(w.answers, "\n") + w.log.String(); strings.Contains(all, address) {
		t.Error("an answer or the log holds an e-mail address")
	}
	if got := w.our("GET", "/v1/citizens/"+o.citizen, "").want(200); !strings.Contains(string(got.body), address) {
		t.Errorf("got %s, want the address", got.body)
	}
}

// TestTransactions_flow: two options and a preference, a grant, a preference, a
// withdrawal; what is in force now, at each instant between and after a
// reversion; and the history with whom we told.
func TestTransactions_flow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // from 2000-01-01T00:00:00Z on
		w := newWorld(t)
		for _, u := range []string{"effective-permission", "consent-receipts"} {
			w.our("POST", "/v1/subscriptions", `{"url":"https://receiver.example/s","updateType":"`+u+`"}`).want(201)
		}
		for _, id := range []string{"opt-newsletter", "opt-phone"} {
			w.our("POST", "/v1/options", `{"optionId":"`+id+`","dataId":"email","purposeId":"marketing","partyId":"us"}`).want(201)
		}
		w.our("POST", "/v1/option-groups", `{"groupId":"grp-all","options":["opt-newsletter","opt-phone"]}`).want(201)
		w.our("POST", "/v1/preferences", topics).want(201)
		w.our("POST", "/v1/privacy-policies", `{"reference":"privacy-2026","text":"long"}`).want(201)
		record := func(content string) answered {
			t.Helper()
			time.Sleep(time.Minute)
			return w.our("POST", "/v1/permissions/transactions", content).want(201)
		}
		in := func(query string) map[string]any { // force
			t.Helper()
			var b struct {
				Permissions []struct{ OptionID, State string }
				Preferences []struct {
					Preference string
					Choices    []struct{ Reference string }
				}
			}
			w.our("GET", "/v1/permissions?externalRef=CRM-1"+query, "").want(200).into(&b)
			out := map[string]any{}
			for _, p := range b.Permissions {
				out[p.OptionID] = p.State
			}
			for _, p := range b.Preferences {
				out[p.Preference] = fmt.Sprint(p.Choices)
			}
			return out
		}

		grant := record(`{"applicationId":"` + w.ours.application + `","externalRef":"CRM-1",
			"changes":[{"optionType":"group","optionId":"grp-all","justification":"consent","state":"GRANTED","obtainedAt":"2000-01-01T01:00:00+01:00","validFrom":"1999-12-31T00:00:00Z","validUntil":"2000-01-01T00:30:00Z"}],
			"privacyPolicyRef":"privacy-2026","channel":"web","campaign":"spring","recordedBy":"usr-1","recordedByName":"Call centre","delegatedAuthorityId":"g-1","delegatedAuthorityName":"Guardian"}`)
		change := func(option string) string {
			return `{"optionType":"option","optionId":"` + option + `","groupId":"grp-all","justification":"consent","state":"GRANTED","obtainedAt":"2000-01-01T00:00:00.000Z","validFrom":"1999-12-31T00:00:00.000Z","validUntil":"2000-01-01T00:30:00.000Z"}`
		}
		want := fmt.Sprintf(`{"transactionId":%q,"citizenId":%q,"externalRef":"CRM-1","recordedAt":"2000-01-01T00:01:00.000Z","changes":[%s,%s],"preferences":[],`+
			`"privacyPolicyId":%q,"privacyPolicyRef":"privacy-2026","privacyPolicyVersion":1,"channel":"web","campaign":"spring","recordedBy":"usr-1","recordedByName":"Call centre",`+
			`"recordedClient":%q,"recordedClientName":"ours","delegatedAuthorityId":"g-1","delegatedAuthorityName":"Guardian"}`,
			grant.text("transactionId"), grant.text("citizenId"), change("opt-newsletter"), change("opt-phone"), grant.text("privacyPolicyId"), w.ours.clientID)
		if got := string(grant.body); got != want {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
		if got := string(w.our("GET", grant.header.Get("Location"), "").want(200).body); got != want {
			t.Errorf("read: got\n%s, want\n%s", got, want)
		}

		choice := record(`{"citizenId":"` + grant.text("citizenId") + `","preferences":[{"preference":"topics","choices":[{"reference":"jazz"},{"reference":"choro"}],"obtainedAt":"2000-01-01T00:02:00Z"}]}`)
		choice.wantBody(`{"transactionId":"txn","citizenId":"ctz","externalRef":"CRM-1","recordedAt":"now","changes":[],` +
			`"preferences":[{"preference":"topics","label":"Topics you like","choices":[{"reference":"jazz","label":"Jazz"},{"reference":"choro","label":"Choro"}],"obtainedAt":"now"}],` +
			`"recordedClient":"cli","recordedClientName":"ours"}`)
		withdrawal := record(`{"externalRef":"CRM-1","citizenId":"` + grant.text("citizenId") + `","changes":[{"optionId":"opt-newsletter","justification":"consent","state":"DENIED"}]}`)

		// The answer is the documented body: the very bytes that are sent.
		state := w.our("GET", "/v1/permissions?citizenId="+grant.text("citizenId"), "").want(200)
		sent := w.our("GET", "/v1/events?type=permissions.effective&after="+fmt.Sprint(w.our("GET", "/v1/events?type=permissions.effective", "").items()[1]["eventId"]), "").want(200)
		var last struct {
			Items []struct{ Body json.RawMessage }
		}
		if sent.into(&last); len(last.Items) != 1 || !bytes.Equal(last.Items[0].Body, state.body) {
			t.Errorf("got\n%s, want the body of the last event\n%s", state.body, sent.body)
		}

		const granted, denied, both, none = "GRANTED", "DENIED", "[{jazz} {choro}]", "[]"
		instants := []struct {
			name, query string
			want        map[string]any
		}{
			{"before anything", "&at=2000-01-01T00:00:59.999Z", map[string]any{}},
			{"at the grant", "&at=2000-01-01T00:01:00Z", map[string]any{"opt-newsletter": granted, "opt-phone": granted}},
			{"at the grant, said elsewhere", "&at=1999-12-31T21:01:00.000-03:00", map[string]any{"opt-newsletter": granted, "opt-phone": granted}},
			{"at the choice", "&at=2000-01-01T00:02:30Z", map[string]any{"opt-newsletter": granted, "opt-phone": granted, "topics": both}},
			{"at the withdrawal", "&at=2000-01-01T00:03:00Z", map[string]any{"opt-newsletter": denied, "opt-phone": granted, "topics": both}},
			{"now", "", map[string]any{"opt-newsletter": denied, "opt-phone": granted, "topics": both}},
			{"now, by both names", "&citizenId=" + grant.text("citizenId"), map[string]any{"opt-newsletter": denied, "opt-phone": granted, "topics": both}},
		}
		for _, tt := range instants {
			if got := in(tt.query); !maps.Equal(got, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
		w.our("GET", "/v1/permissions?externalRef=CRM-1&at=2000-01-01T00:08:00Z", "").want(200) // clocks differ
		if got := w.our("GET", "/v1/permissions?externalRef=CRM-1&at=2000-01-01T00:08:00.001Z", "").want(400).faults(); got != "at in_the_future" {
			t.Errorf("more than five minutes ahead: got %q", got)
		}

		time.Sleep(time.Minute)
		undone := w.our("POST", withdrawal.header.Get("Location")+"/revert", "").want(201)
		undone.wantBody(`{"transactionId":"txn","citizenId":"ctz","externalRef":"CRM-1","recordedAt":"now","reverts":"txn","changes":[],"preferences":[],"recordedClient":"cli","recordedClientName":"ours"}`)
		if got := undone.text("reverts"); got != withdrawal.text("transactionId") {
			t.Errorf("got a reversion of %q, want of the withdrawal", got)
		}
		again := w.our("POST", withdrawal.header.Get("Location")+"/revert", "{}").want(409)
		if again.text("code") != "transaction_reverted" || again.text("revertedBy") != undone.text("transactionId") {
			t.Errorf("got %s", again.body)
		}
		w.our("POST", "/v1/permissions/transactions/txn_none/revert", "").want(404)
		w.our("GET", "/v1/permissions/transactions/txn_none", "").want(404)
		w.our("POST", choice.header.Get("Location")+"/revert", "").want(201)
		if got, want := in(""), map[string]any{"opt-newsletter": granted, "opt-phone": granted, "topics": none}; !maps.Equal(got, want) {
			t.Errorf("reverted: got %v, want %v", got, want)
		}
		if got, want := in("&at=2000-01-01T00:03:30Z"), map[string]any{"opt-newsletter": denied, "opt-phone": granted, "topics": both}; !maps.Equal(got, want) {
			t.Errorf("before the reversion: got %v, want %v", got, want)
		}
		time.Sleep(26 * time.Minute)
		if got, want := in(""), map[string]any{"opt-newsletter": "", "opt-phone": "", "topics": none}; !maps.Equal(got, want) {
			t.Errorf("lapsed: got %v, want %v", got, want)
		}

		var ids []string
		for after := ""; ; {
			a := w.our("GET", "/v1/citizens/"+grant.text("citizenId")+"/history?limit=2&after="+url.QueryEscape(after), "").want(200)
			for _, x := range a.items() {
				ids = append(ids, fmt.Sprint(x["transactionId"]))
				told, _ := x["told"].([]any)
				if len(told) != 2 {
					t.Errorf("%v: got %d deliveries, want one per subscription", x["transactionId"], len(told))
				}
				for _, d := range told {
					if m, _ := d.(map[string]any); m["subject"] != grant.text("citizenId") || m["createdAt"] != x["recordedAt"] || m["status"] != "pending" {
						t.Errorf("%v: got the delivery %v", x["transactionId"], m)
					}
				}
			}
			if after = a.text("next"); after == "" {
				break
			}
		}
		if want := []string{undone.text("transactionId"), withdrawal.text("transactionId"), choice.text("transactionId"), grant.text("transactionId")}; len(ids) != 5 || !slices.Equal(ids[1:], want) {
			t.Errorf("got the history %v, want the last reversion and then %v", ids, want)
		}
	})
}

// TestTransactions_whose: a request names one citizen of the caller's own
// application, or it is refused.
func TestTransactions_whose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	other := w.our("POST", "/v1/citizens", `{"externalRef":"CRM-2"}`).want(201).text("citizenId")
	with := func(members string) string { return strings.Replace(granted, `"externalRef":"CRM-1"`, members, 1) }
	tests := []struct {
		name, content string
		status        int
		want          string
	}{
		{"another application", with(`"externalRef":"CRM-1","applicationId":"` + w.theirs.application + `"`), 404, "/applicationId not_found"},
		{"an application that is none", with(`"externalRef":"CRM-1","applicationId":"x"`), 404, "/applicationId not_found"},
		{"an application that is no text", with(`"externalRef":"CRM-1","applicationId":1`), 400, "/applicationId wrong_type"},
		{"our own", with(`"externalRef":"CRM-1","applicationId":"` + w.ours.application + `"`), 201, ""},
		{"nobody", with(`"channel":"web"`), 400, "/externalRef required"},
		{"an unknown ID", with(`"citizenId":"ctz_none"`), 404, "/citizenId not_found"},
		{"two citizens", with(`"externalRef":"CRM-1","citizenId":"` + other + `"`), 400, "/externalRef mismatch"},
		{"one by both names", with(`"externalRef":"CRM-1","citizenId":"` + o.citizen + `"`), 201, ""},
		{"an unknown reference", with(`"externalRef":"CRM-3"`), 201, ""},
	}
	for _, tt := range tests {
		a := w.our("POST", "/v1/permissions/transactions", tt.content).want(tt.status)
		if tt.want != "" && a.faults() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, a.faults(), tt.want)
		}
	}
	if n := len(w.our("GET", "/v1/citizens?externalRef=CRM-3", "").items()); n != 1 {
		t.Errorf("got %d citizens of a reference that was new, want one", n)
	}
	if got := w.our("GET", "/v1/permissions?externalRef=CRM-1&citizenId="+other, "").want(400).faults(); got != "externalRef mismatch" {
		t.Errorf("a read of two citizens: got %q", got)
	}
	w.our("GET", "/v1/permissions?externalRef=CRM-4", "").want(404)
	w.our("GET", "/v1/permissions?citizenId=ctz_none", "").want(404)
	if got := w.our("GET", "/v1/permissions?externalRef=CRM-2", "").want(200).text("citizenId"); got != other {
		t.Errorf("a citizen without permissions: got %q, want %q", got, other)
	}

	operator := func(query, content string, status int) answered {
		t.Helper()
		return w.call("POST", "/v1/permissions/transactions"+query, operatorBearer, content).want(status)
	}
	own := "?applicationId=" + w.ours.application
	if got := operator(own, with(`"externalRef":"CRM-1","applicationId":"`+w.theirs.application+`"`), 400).faults(); got != "/applicationId mismatch" {
		t.Errorf("the operator, for two: got %q", got)
	}
	if got := operator("", with(`"externalRef":"CRM-1","applicationId":"`+w.ours.application+`"`), 400).faults(); got != "applicationId required" {
		t.Errorf("the operator, in the body alone: got %q", got)
	}
	if got := operator(own, granted, 201); got.text("recordedClient") != "operator" || got.text("citizenId") != o.citizen {
		t.Errorf("the operator: got %s", got.body)
	}
}

func TestTransactions_idempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	const target = "/v1/permissions/transactions"
	first := w.our("POST", target, granted, "Idempotency-Key", "k1").want(201)
	again := w.our("POST", target, granted, "Idempotency-Key", "k1").want(201)
	if string(again.body) != string(first.body) || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("got\n%s, want\n%s", again.body, first.body)
	}
	if got := w.our("POST", target, granted+" ", "Idempotency-Key", "k1").want(422).faults(); got != "Idempotency-Key idempotency_key_reused" {
		t.Errorf("another body: got %q", got)
	}
	w.our("POST", target, `{}`, "Idempotency-Key", "k2").want(400)
	w.our("POST", target, granted, "Idempotency-Key", "k2").want(201)
	w.our("POST", target, granted, "Idempotency-Key", "a b").want(400)
	w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", "k1").want(201) // a key is one route's

	var wg sync.WaitGroup
	got := make([]answered, 16)
	for i := range got {
		wg.Go(func() { got[i] = w.our("POST", target, granted, "Idempotency-Key", "race") })
	}
	wg.Wait()
	bodies := map[string]bool{}
	for _, a := range got {
		if a.status == 201 {
			bodies[string(a.body)] = true
		} else if a.status != 409 || a.text("code") != "idempotency_in_progress" {
			t.Errorf("got %d: %s", a.status, a.body)
		}
	}
	if len(bodies) != 1 {
		t.Errorf("got %d different bodies, want 1", len(bodies))
	}
	if n := len(w.our("GET", "/v1/citizens/"+o.citizen+"/history", "").items()); n != 4 {
		t.Errorf("got %d transactions, want one of the start and one per key", n)
	}
}

// TestTransactions_aRaceMakesOneCitizen: a new externalRef is one citizen, and
// its history holds everything that was answered.
func TestTransactions_aRaceMakesOneCitizen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.objects()
	content := strings.Replace(granted, "CRM-1", "CRM-new", 1)
	var wg sync.WaitGroup
	citizens := make([]string, 16)
	for i := range citizens {
		wg.Go(func() {
			citizens[i] = w.our("POST", "/v1/permissions/transactions", content).want(201).text("citizenId")
		})
	}
	wg.Wait()
	slices.Sort(citizens)
	if citizens[0] != citizens[15] {
		t.Errorf("got the citizens %v, want one", slices.Compact(citizens))
	}
	if n := len(w.our("GET", "/v1/citizens/"+citizens[0]+"/history", "").items()); n != 16 {
		t.Errorf("got %d transactions, want 16", n)
	}
}

// TestPermissions_badBodies: each faulty field is named, those of the rules
// beside those of the shape.
func TestPermissions_badBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	const target = "/v1/permissions/transactions"
	change := func(members string) string { return `{"externalRef":"CRM-1","changes":[{` + members + `}]}` }
	const good = `"optionId":"opt-newsletter","justification":"consent","state":"GRANTED"`
	tests := []struct{ name, method, target, content, want string }{
		{"nothing", "POST", target, `{}`, "/changes required, /externalRef required"},
		{"no change", "POST", target, `{"externalRef":"CRM-1","changes":[]}`, "/changes required"},
		{"a change of nothing", "POST", target, change(``), "/changes/0/justification required, /changes/0/optionId required, /changes/0/state required"},
		{"a change that is none", "POST", target, `{"externalRef":"CRM-1","changes":["x",{` + good + `},null]}`, "/changes/0 wrong_type, /changes/2 wrong_type"},
		{"changes that are no list", "POST", target, `{"externalRef":"CRM-1","changes":{}}`, "/changes wrong_type"},
		{"numbers for texts, and a rule", "POST", target, `{"externalRef":1,"channel":2,"changes":[{"optionId":3,"justification":"consent","state":"CLAIMED","obtainedAt":4}]}`,
			"/changes/0/obtainedAt wrong_type, /changes/0/optionId wrong_type, /changes/0/state state_not_allowed, /channel wrong_type, /externalRef wrong_type"},
		{"an unknown option", "POST", target, change(`"optionId":"x","justification":"consent","state":"GRANTED"`), "/changes/0/optionId unknown"},
		{"an unknown group", "POST", target, change(`"optionType":"group","optionId":"opt-newsletter","justification":"consent","state":"GRANTED"`), "/changes/0/optionId unknown"},
		{"an unknown type", "POST", target, change(`"optionType":"options",` + good), "/changes/0/optionType invalid_value"},
		{"a state of another basis", "POST", target, change(`"optionId":"opt-newsletter","justification":"contract","state":"GRANTED"`), "/changes/0/state state_not_allowed"},
		{"a state that does not exist", "POST", target, change(`"optionId":"opt-newsletter","justification":"consent","state":"WITHDRAWN"`), "/changes/0/state state_not_allowed"},
		{"a basis that does not exist", "POST", target, change(`"optionId":"opt-newsletter","justification":"Consent","state":"GRANTED"`), "/changes/0/justification invalid_value"},
		{"a state in small letters", "POST", target, change(`"optionId":"opt-newsletter","justification":"consent","state":"granted"`), "/changes/0/state state_not_allowed"},
		{"times that are none", "POST", target, change(good + `,"obtainedAt":"2026-01-31","validFrom":"31.1.2026","validUntil":"2026-01-31T12:00:00"`),
			"/changes/0/obtainedAt invalid_time, /changes/0/validFrom invalid_time, /changes/0/validUntil invalid_time"},
		{"obtained tomorrow", "POST", target, change(good + `,"obtainedAt":"2100-01-31T12:00:00Z"`), "/changes/0/obtainedAt in_the_future"},
		{"an end at the beginning", "POST", target, change(good + `,"validFrom":"2026-01-31T12:00:00Z","validUntil":"2026-01-31T12:00:00.000Z"`), "/changes/0/validUntil out_of_range"},
		{"the year 1", "POST", target, change(good + `,"obtainedAt":"0001-01-01T00:00:00Z"`), "/changes/0/obtainedAt out_of_range"},
		{"what we set ourselves", "POST", target, change(good + `,"recordedAt":"2026-01-31T12:00:00Z"`), "/changes/0/recordedAt unknown_member"},
		{"a transaction's own ID", "POST", target, `{"transactionId":"x",` + strings.TrimPrefix(granted, "{"), "/transactionId unknown_member"},
		{"all or nothing", "POST", target, `{"externalRef":"CRM-1","changes":[{` + good + `},{"optionId":"x","justification":"consent","state":"GRANTED"}]}`, "/changes/1/optionId unknown"},
		{"an unknown preference", "POST", target, `{"externalRef":"CRM-1","preferences":[{"preference":"x","choices":[]}]}`, "/preferences/0/preference unknown"},
		{"an unknown choice", "POST", target, `{"externalRef":"CRM-1","preferences":[{"preference":"topics","choices":[{"reference":"jazz"},{"reference":"rock"}]}]}`, "/preferences/0/choices/1/reference unknown"},
		{"choices that are none", "POST", target, `{"externalRef":"CRM-1","preferences":[{"preference":"topics"},{"preference":"topics","choices":["jazz"]},{"preference":"topics","choices":[{"reference":1,"label":"x"}]}]}`,
			"/preferences/0/choices required, /preferences/1/choices/0 wrong_type, /preferences/2/choices/0/label unknown_member, /preferences/2/choices/0/reference wrong_type"},
		{"an unknown policy", "POST", target, `{"privacyPolicyRef":"x",` + strings.TrimPrefix(granted, "{"), "/privacyPolicyRef unknown"},
		{"two statements", "POST", target, `{"permissionStatementRef":"newsletter-v2","permissionStatementId":"stm_x",` + strings.TrimPrefix(granted, "{"), "/permissionStatementId mismatch"},
		{"a long channel", "POST", target, `{"channel":"` + strings.Repeat("é", 101) + `",` + strings.TrimPrefix(granted, "{"), "/channel too_long"},
		{"a receipt that is neither asked for nor not", "POST", target, `{"sendReceipt":"yes",` + strings.TrimPrefix(granted, "{"), "/sendReceipt wrong_type"},
		{"too many changes", "POST", target, `{"externalRef":"CRM-1","changes":[` + strings.TrimSuffix(strings.Repeat("{"+good+"},", 101), ",") + `]}`, "/changes too_many"},
		{"a body for a reversion", "POST", target + "/" + o.recorded + "/revert", `{"channel":"web"}`, "/channel unknown_member"},

		{"an option of nothing", "POST", "/v1/options", `{}`, "/dataId required, /partyId required, /purposeId required"},
		{"an option of numbers", "PUT", "/v1/options/" + o.option, `{"optionId":1,"name":1,"dataId":1,"purposeId":"","partyId":" x","archived":true}`,
			"/archived unknown_member, /dataId wrong_type, /name wrong_type, /optionId wrong_type, /partyId invalid_value, /purposeId required"},
		{"a group of nothing", "POST", "/v1/option-groups", `{"options":[]}`, "/options required"},
		{"a group of the unknown", "POST", "/v1/option-groups", `{"options":["opt-newsletter","x","opt-newsletter",1]}`, "/options/1 unknown, /options/2 duplicate, /options/3 wrong_type"},
		{"a preference of nothing", "POST", "/v1/preferences", `{}`, "/choices required, /label required, /reference required, /type required"},
		{"a preference of the wrong", "POST", "/v1/preferences", `{"reference":"a","label":"A","type":"choice","choices":[{"reference":"1"},{"label":"x","colour":"red"},"y",{"reference":"1","label":"x"}]}`,
			"/choices/0/label required, /choices/1/colour unknown_member, /choices/1/reference required, /choices/2 wrong_type, /choices/3/reference duplicate, /type invalid_value"},
		{"a statement of nothing", "POST", "/v1/permission-statements", `{"language":"english please"}`, "/language invalid_language, /reference required, /text required"},
		{"a policy of a wrong address", "POST", "/v1/privacy-policies", `{"reference":"a","url":"http://a.example"}`, "/url invalid_url"},
		{"a part of nothing", "POST", "/v1/option-data", `{"name":" "}`, "/name required"},
		{"a citizen of nothing", "POST", "/v1/citizens", `{}`, "/externalRef required"},
		{"a citizen of the wrong", "POST", "/v1/citizens", `{"externalRef":1,"citizenId":"a b","emails":[{"address":"a"},"b@example.org",{},{"address":"c@example.org","kind":"home"}],"language":""}`,
			"/citizenId invalid_value, /emails/0/address invalid_email, /emails/1 wrong_type, /emails/2/address required, /emails/3/kind unknown_member, /externalRef wrong_type, /language invalid_language"},
		{"a citizen without a name", "PATCH", "/v1/citizens/" + o.citizen, `{"externalRef":null}`, "/externalRef required"},
		{"a citizen without an ID", "PATCH", "/v1/citizens/" + o.citizen, `{"citizenId":null,"language":"??"}`, "/citizenId immutable, /language invalid_language"},
		{"a citizen of another ID", "PUT", "/v1/citizens/" + o.citizen, `{"externalRef":"CRM-1","citizenId":"b"}`, "/citizenId immutable"},
	}
	t.Run("each", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				if got := w.our(tt.method, tt.target, tt.content).want(400).faults(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	})
	if n := len(w.our("GET", "/v1/citizens/"+o.citizen+"/history", "").want(200).items()); n != 1 {
		t.Errorf("got %d transactions, want only the one of the start", n)
	}
}

// TestPermissions_namesThatAreHardToCarry: what an owner may choose as a name
// can be asked for by it.
func TestPermissions_namesThatAreHardToCarry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"a/b", "a b", "ü", "%2F", "a?b#c", "..a", "+", "a&b=c", strings.Repeat("é", 100)} {
		made := w.our("POST", "/v1/options", `{"optionId":`+quote(t, name)+`,"dataId":"d","purposeId":"p","partyId":"q"}`).want(201)
		if got := w.our("GET", made.header.Get("Location"), "").want(200).text("optionId"); got != name {
			t.Errorf("got the option %q, want %q", got, name)
		}
		w.our("POST", "/v1/permissions/transactions", `{"externalRef":`+quote(t, name)+`,"changes":[{"optionId":`+quote(t, name)+`,"justification":"contract","state":"CLAIMED"}]}`).want(201)
		if got := w.our("GET", "/v1/permissions?externalRef="+url.QueryEscape(name), "").want(200).text("externalRef"); got != name {
			t.Errorf("got the citizen %q, want %q", got, name)
		}
		w.our("DELETE", made.header.Get("Location"), "").want(200)
	}
}
