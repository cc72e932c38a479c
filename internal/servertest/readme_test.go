package servertest_test

import (
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
)

// examples returns the bodies of the README that configure a subscription, as
// they stand there.
func examples(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], `"authentication"`) {
			out = append(out, m[1])
		}
	}
	return out
}

// The README's six examples: each is taken as it stands, and then, with its
// hosts replaced by ours, sends what the README says.
func TestReadme_examples(t *testing.T) {
	t.Parallel()
	o := servertest.Options{CA: servertest.NewCA(t)}
	rcv := servertest.NewReceiver(t, o.CA)
	rcv.Answer(func(r servertest.Received) servertest.Reply {
		form, _ := url.ParseQuery(string(r.Body)) // a delivery is no form
		basic := r.Header.Get("Authorization")
		switch {
		case r.Path == "/oauth/token" && form.Get("grant_type") == "client_credentials" && form.Get("scope") == "openid" && strings.HasPrefix(basic, "Basic "):
			return servertest.Reply{Status: 200, Body: `{"access_token":"ABC123","token_type":"Bearer","expires_in":3600}`}
		case r.Path == "/services/oauth2/token" && form.Get("grant_type") == "refresh_token" && form.Get("refresh_token") == "{your refresh token}" && basic == "":
			return servertest.Reply{Status: 200, Body: `{"access_token":"00D!AQ.x","instance_url":"https://elsewhere.example","issued_at":"1700000000000"}`}
		case strings.Contains(r.Path, "token"):
			return servertest.Reply{Status: 400, Body: `{"error":"invalid_request"}`}
		}
		return servertest.Reply{}
	})
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")

	want := []struct{ path, query, header, value string }{
		{"/updates", "", "Authorization", ""},
		{"/updates", "", "X-API-Key", "ABC1234"},
		{"/updates", "key=ABC1234", "Authorization", ""},
		{"/updates", "", "Authorization", "Bearer ABC1234"},
		{"/updates", "", "Authorization", "Bearer ABC123"},
		{"/services/apexrest/MyLifeDigital/EffectivePermissions", "", "Authorization", "Bearer 00D!AQ.x"},
	}
	all := examples(t)
	if len(all) != len(want) {
		t.Fatalf("the README has %d examples, want %d", len(all), len(want))
	}
	for i, example := range all {
		w := want[i]
		id, _ := subscribe(t, a, "https://127.0.0.1:1/", nil)
		var body map[string]any
		if err := json.Unmarshal([]byte(example), &body); err != nil {
			t.Fatalf("example %d is no JSON: %v", i, err)
		}
		a.Call("PUT", "/v1/subscriptions/"+id, body).Want(t, 200)

		ours := regexp.MustCompile(`https://(my-subscription|localhost:8080|hello\.my\.salesforce\.com)/`).ReplaceAllString(example, rcv.URL+"/")
		if err := json.Unmarshal([]byte(ours), &body); err != nil {
			t.Fatal(err)
		}
		body["eventTypes"] = lifecycle
		a.Call("PUT", "/v1/subscriptions/"+id, body).Want(t, 200)
		consent := a.CreateConsent()
		servertest.Eventually(t, "the consent to be told of", func() bool { return told(rcv, w.path, consent) == 2 })
		for _, r := range rcv.Received() {
			if r.Subject() != consent {
				continue
			}
			if r.Path != w.path || r.Query != w.query || r.Header.Get(w.header) != w.value {
				t.Errorf("example %d: got %s?%s with %s %q, want %s?%s with %q", i, r.Path, r.Query, w.header, r.Header.Get(w.header), w.path, w.query, w.value)
			}
		}
		a.Call("DELETE", "/v1/subscriptions/"+id, nil).Want(t, 204)
	}
}

// told counts the events of a consent that the receiver accepted at a path.
func told(rcv *servertest.Receiver, path, consent string) int {
	seen := map[string]bool{}
	for _, r := range rcv.Received() {
		if r.Path == path && r.Subject() == consent && r.Answered && r.Status < 300 {
			seen[r.ID()] = true
		}
	}
	return len(seen)
}
