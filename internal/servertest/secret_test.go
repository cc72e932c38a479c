package servertest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
)

// spellings returns the forms in which a secret could lie about.
func spellings(secret string) map[string][]byte {
	quoted, _ := json.Marshal(secret) // texts can always be marshalled
	m := map[string][]byte{
		"plain":        []byte(secret),
		"in JSON":      quoted[1 : len(quoted)-1],
		"in a URL":     []byte(url.QueryEscape(secret)),
		"in a path":    []byte(url.PathEscape(secret)),
		"base 64":      []byte(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "=")),
		"URL base 64":  []byte(base64.RawURLEncoding.EncodeToString([]byte(secret))),
		"hexadecimal":  []byte(hex.EncodeToString([]byte(secret))),
		"a Basic pair": []byte(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("Aladdin:"+secret)), "=")),
	}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_")); err == nil && strings.HasPrefix(secret, "whsec_") {
		m["the key itself"] = raw
		m["without its prefix"] = []byte(strings.TrimPrefix(secret, "whsec_"))
	}
	return m
}

// No read, error, log or file of the data folder holds a secret, whatever a
// receiver sends back and whatever a caller gets wrong.
func TestSecrets_areNowhere(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	s := servertest.Start(t, servertest.Options{CA: ca})
	a := s.NewApplication("Bank")

	// The receiver tells us everything that we told it.
	rcv.Answer(func(r servertest.Received) servertest.Reply {
		var b strings.Builder
		b.WriteString("your request: " + r.Query + "\n")
		for name, values := range r.Header {
			for _, v := range values {
				b.WriteString(name + ": " + v + "\n")
			}
		}
		h := http.Header{"X-Echo": {r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), r.Query}}
		return servertest.Reply{Status: 500, Header: h, Body: b.String()}
	})

	secrets := map[string]string{"the operator's bearer": s.Operator, "the client secret": a.ClientSecret, "the access token": a.Token}
	name := func(n string) string {
		v := "hunter2-" + strings.ReplaceAll(n, " ", "-") + "-!&=+/9d1c"
		secrets[n] = v
		return v
	}
	auths := []map[string]any{
		{"authType": "basic", "basicAuth": map[string]string{"user": "Aladdin", "password": name("a basic password")}},
		{"authType": "api-key", "apiKeyAuth": map[string]string{"location": "header", "key": "X-API-Key", "value": name("a header key")}},
		{"authType": "api-key", "apiKeyAuth": map[string]string{"location": "query", "key": "key", "value": name("a query key")}},
		{"authType": "token", "token": name("a bearer token")},
		{"authType": "token", "refreshToken": name("a refresh token"), "refreshUrl": rcv.URL + "/refresh", "clientId": "c", "clientSecret": name("a refresh client secret")},
		{"authType": "oauth2", "oauth2Auth": map[string]string{
			"grantType": "client-credentials", "authenticationUrl": rcv.URL + "/token", "clientId": "c", "clientSecret": name("an oauth2 client secret"),
		}},
	}
	var ids []string
	for _, auth := range auths {
		id, signing := subscribe(t, a, rcv.URL+"/s", map[string]any{"authentication": auth, "retrySchedule": []string{"50ms"}})
		secrets["the signing secret of "+id] = signing
		ids = append(ids, "/v1/subscriptions/"+id)
	}
	r := a.Call("POST", "/api/smart-keys/interceptors", map[string]any{
		"endpoint": rcv.URL + "/i", "isAuthenticated": true, "authenticationType": "BASIC", "user": "Aladdin", "password": name("an interceptor's password"), "type": "DATA",
	}).Want(t, 201)
	secrets["the signing secret of the interceptor"] = r.Text(t, "signingSecret")
	ids = append(ids, "/api/smart-keys/interceptors/"+r.Text(t, "id"))

	c := a.CreateConsent()
	a.Act(c, "approve")
	rcv.Wait(t, 10)

	var said bytes.Buffer // every answer but those that show a secret once
	call := func(method, path string, body any) servertest.Response {
		t.Helper()
		r := a.Call(method, path, body)
		said.WriteString(method + " " + path + "\n")
		said.Write(r.Body)
		for _, v := range r.Header {
			said.WriteString(strings.Join(v, "\n"))
		}
		return r
	}
	for i, id := range ids {
		call("GET", id, nil).Want(t, 200)
		call("POST", id+"/test", map[string]any{})
		if i < len(auths) {
			call("PATCH", id, map[string]any{"name": "renamed"}).Want(t, 200)
			call("PUT", id, map[string]any{"url": "https://127.0.0.1/elsewhere", "authentication": auths[i], "name": strings.Repeat("x", 51)}).Want(t, 400)
			call("PUT", id, map[string]any{"url": rcv.URL + "/s", "authentication": auths[(i+1)%len(auths)], "unknown": secrets["a bearer token"]}).Want(t, 400)
			call("PATCH", id, map[string]any{"authentication": map[string]any{"token": []string{secrets["a bearer token"]}}}).Want(t, 400)
		}
	}
	call("POST", "/v1/subscriptions", `{"url":"https://x.example/","authentication":{"authType":"token","token":"`+secrets["a bearer token"]+`"`).Want(t, 400)
	call("POST", "/api/portal/onboard/v1/token", map[string]string{"client_id": a.ClientID, "client_secret": a.ClientSecret + "x"}).Want(t, 401)
	for _, path := range []string{"/v1/subscriptions", "/api/smart-keys/interceptors", "/v1/events", "/v1/consents"} {
		call("GET", path, nil).Want(t, 200)
	}
	// Each delivery with each attempt and what the receiver sent back.
	attempts := 0
	servertest.Eventually(t, "attempts to look at", func() bool {
		var page struct{ Items []struct{ DeliveryID string } }
		call("GET", "/v1/deliveries?limit=100", nil).Want(t, 200).Into(t, &page)
		attempts = 0
		for _, d := range page.Items {
			attempts += bytes.Count(call("GET", "/v1/deliveries/"+d.DeliveryID, nil).Want(t, 200).Body, []byte("your request"))
		}
		return attempts >= 5
	})

	check := func(where string, content []byte) {
		t.Helper()
		for name, secret := range secrets {
			for form, text := range spellings(secret) {
				if i := bytes.Index(content, text); i >= 0 {
					t.Errorf("%s holds %s (%s) behind %q", where, name, form, content[max(0, i-120):i])
				}
			}
		}
	}
	check("an answer", said.Bytes())
	files := func() {
		t.Helper()
		n := 0
		err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			i, err := d.Info()
			if err != nil {
				return err
			}
			if i.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v, want nobody else to read it", d.Name(), i.Mode())
			}
			if d.Name() != "admin-token" && d.Name() != "master-key" { // kept there on purpose
				check("the file "+d.Name(), b)
				n += len(b)
			}
			return nil
		})
		if err != nil || n == 0 {
			t.Errorf("read %d bytes of the data folder: %v", n, err)
		}
	}
	files() // the write-ahead log included
	s.Stop()
	files()
	check("the log", []byte(s.Log.String()))
	if s.Log.Len() == 0 || said.Len() == 0 {
		t.Error("there was nothing to look at")
	}

	// The look itself must find what is there: the receiver was told them all.
	var told bytes.Buffer
	for _, r := range rcv.Received() {
		for _, v := range r.Header {
			told.WriteString(strings.Join(v, "\n"))
		}
		told.WriteString(r.Query)
		told.Write(r.Body)
	}
	for _, name := range []string{"a basic password", "a header key", "a query key", "a bearer token", "an interceptor's password"} {
		found := false
		for _, text := range spellings(secrets[name]) {
			found = found || bytes.Contains(told.Bytes(), text)
		}
		if !found {
			t.Errorf("the receiver was not sent %s", name)
		}
	}
}
