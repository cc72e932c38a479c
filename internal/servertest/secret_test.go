package servertest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

// spellings returns the forms in which a secret could lie about.
func spellings(secret string) map[string][]byte {
	quoted, _ := json.Marshal(secret) // texts can always be marshalled
	pair := func(user, password string) []byte {
		return []byte(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(user+":"+password)), "="))
	}
	m := map[string][]byte{
		"plain":           []byte(secret),
		"in JSON":         quoted[1 : len(quoted)-1],
		"in a URL":        []byte(url.QueryEscape(secret)),
		"in a path":       []byte(url.PathEscape(secret)),
		"base 64":         []byte(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "=")),
		"URL base 64":     []byte(base64.RawURLEncoding.EncodeToString([]byte(secret))),
		"hexadecimal":     []byte(hex.EncodeToString([]byte(secret))),
		"a Basic pair":    pair("Aladdin", secret),
		"a client's pair": pair("c", url.QueryEscape(secret)),
	}
	m["in a form in a URL"] = []byte(url.QueryEscape(url.QueryEscape(secret)))
	for shift := range 3 { // inside of a longer text: the first and the last characters depend on what is around
		for name, inner := range map[string]string{"a text": secret, "a form": url.QueryEscape(secret)} {
			text := base64.RawStdEncoding.EncodeToString([]byte("??"[:shift] + inner))
			m[fmt.Sprintf("base 64 of %s, %d", name, shift)] = []byte(text[(8*shift+5)/6 : 8*(shift+len(inner))/6])
		}
	}
	for _, prefix := range []string{"whsec_", "whsk_"} {
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, prefix)); err == nil && strings.HasPrefix(secret, prefix) {
			m["the key itself"] = raw[:32] // of an Ed25519 pair the private half
			m["without its prefix"] = []byte(strings.TrimPrefix(secret, prefix))
		}
	}
	return m
}

// echoing plays receivers and token endpoints that tell us everything that we
// told them, in clear and in other spellings, in the header and in the body.
type echoing struct {
	mu     sync.Mutex
	issued map[string]string // the tokens, by their names
	first  map[string]bool   // the first access token of each path, which is refused
}

func (e *echoing) answer(r servertest.Received) servertest.Reply {
	var b strings.Builder
	h := http.Header{}
	say := func(name, value string) {
		if value == "" {
			return
		}
		spelled := []string{value, url.QueryEscape(value), url.PathEscape(value), base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value))}
		for _, s := range spelled {
			b.WriteString(name + ": " + s + "\n")
		}
		h["X-Echo-"+name] = spelled
	}
	say("Query", r.Query)
	for _, name := range []string{"Authorization", "X-Api-Key"} {
		say(name, r.Header.Get(name))
		_, credential, _ := strings.Cut(r.Header.Get(name), " ")
		say(name+"-Value", credential)
	}
	if form, err := url.ParseQuery(string(r.Body)); err == nil && r.Header.Get("Content-Type") != "application/json" {
		say("Secret", form.Get("client_secret"))
		say("Refresh", form.Get("refresh_token"))
		say("Form", string(r.Body))
	}
	if strings.Contains(string(r.Body), "client_secret") {
		say("Body", string(r.Body))
	}
	quoted, _ := json.Marshal("your request: " + b.String()) // texts can always be marshalled
	switch r.Path {
	case "/issue":
		e.mu.Lock()
		defer e.mu.Unlock()
		n := len(e.issued) / 2
		name := func(kind string) string {
			v := fmt.Sprintf("hunter2-%s-%d-!&=+/9d1c", kind, n)
			e.issued[fmt.Sprintf("%s token %d", kind, n)] = v
			return v
		}
		access := name("access")
		if !e.first[r.Query] {
			e.first[r.Query], e.first[access] = true, true
		}
		return servertest.Reply{Status: 200, Header: h, Body: `{"access_token":"` + access + `","refresh_token":"` + name("rotated") +
			`","token_type":"Bearer","expires_in":3600,"echo":` + string(quoted) + `}`}
	case "/refuse":
		return servertest.Reply{Status: 400, Header: h, Body: `{"error":"invalid_scope","error_description":` + string(quoted) + `}`}
	case "/html":
		return servertest.Reply{Status: 200, Header: h, Body: "<html>your request: " + b.String()}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.first[bearer(r)] {
		return servertest.Reply{Status: 401, Header: h, Body: "your request: " + b.String()}
	}
	return servertest.Reply{Status: 500, Header: h, Body: "your request: " + b.String()}
}

// tokens returns what was issued, by its name.
func (e *echoing) tokens() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := map[string]string{}
	for name, token := range e.issued {
		m[name] = token
	}
	return m
}

// everyAuth returns an authentication of each kind, its token endpoints at an
// echoing receiver. name makes a secret and remembers it.
func everyAuth(base string, name func(what string) string) []map[string]any {
	auths := []map[string]any{
		{"authType": "basic", "basicAuth": map[string]string{"user": "Aladdin", "password": name("a basic password")}},
		{"authType": "api-key", "apiKeyAuth": map[string]string{"location": "header", "key": "X-API-Key", "value": name("a header key")}},
		{"authType": "api-key", "apiKeyAuth": map[string]string{"location": "query", "key": "key", "value": name("a query key")}},
		{"authType": "token", "token": name("a bearer token")},
		{"authType": "token", "refreshToken": name("a refresh token"), "refreshUrl": base + "/refresh", "clientId": "c", "clientSecret": name("a refresh client secret")},
		{"authType": "oauth2", "oauth2Auth": map[string]string{
			"grantType": "client-credentials", "authenticationUrl": base + "/token", "clientId": "c", "clientSecret": name("an oauth2 client secret"),
		}},
	}
	for _, path := range []string{"/issue?1", "/refuse", "/html", "/token"} {
		for _, method := range []string{"basic", "body"} {
			auths = append(auths, map[string]any{"authType": "oauth2", "oauth2Auth": map[string]string{
				"grantType": "client-credentials", "authenticationUrl": base + path, "clientId": "c", "clientAuthMethod": method,
				"clientSecret": name("a client secret for " + strings.Trim(path, "/?1") + " " + method),
			}})
		}
		auths = append(auths, map[string]any{"authType": "oauth2", "oauth2Auth": map[string]string{
			"grantType": "client-credentials", "authenticationUrl": base + path, "clientId": "c", "contentType": "application-json",
			"clientSecret": name("a client secret for " + strings.Trim(path, "/?1") + " in JSON"),
		}}, map[string]any{
			"authType": "token", "refreshToken": name("a refresh token for " + strings.Trim(path, "/?1")), "refreshUrl": base + strings.Replace(path, "1", "2", 1),
			"clientId": "c", "clientSecret": name("a refresh client secret for " + strings.Trim(path, "/?1")),
		})
	}
	return auths
}

// No read, error, log or file of the data folder holds a secret, whatever a
// receiver sends back and whatever a caller gets wrong.
func TestSecrets_areNowhere(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	s := servertest.Start(t, servertest.Options{CA: ca})
	a := s.NewApplication("Bank")

	echo := &echoing{issued: map[string]string{}, first: map[string]bool{}}
	rcv.Answer(echo.answer)

	secrets := map[string]string{"the operator's bearer": s.Operator, "the client secret": a.ClientSecret, "the access token": a.Token}
	name := func(n string) string {
		v := "hunter2-" + strings.ReplaceAll(n, " ", "-") + "-!&=+/9d1c"
		secrets[n] = v
		return v
	}
	auths := everyAuth(rcv.URL, name)
	partner := newAuthority(t, "Clients of a partner")
	mtls := partner.client(t, "client", partner)
	block, _ := pem.Decode([]byte(mtls["privateKey"].(string)))
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Fatal(err)
	} else if raw, err := key.(*ecdsa.PrivateKey).Bytes(); err != nil {
		t.Fatal(err)
	} else {
		secrets["the client certificate's key"] = string(raw)
	}
	lines := strings.Split(mtls["privateKey"].(string), "\n")
	secrets["the first line of the client certificate's key"] = lines[1]
	secrets["the second line of the client certificate's key"] = lines[2]
	delete(mtls, "caCertificate") // it is the client's alone
	auths = append(auths, map[string]any{"authType": "token", "token": name("a bearer token beside mtls"), "mtls": mtls})

	var ids []string
	for _, auth := range auths {
		id, signing := subscribe(t, a, rcv.URL+"/s", map[string]any{
			"authentication": auth, "retrySchedule": []string{"50ms"}, "signatures": []string{"v1", "v1a"},
		})
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
	// Four subscriptions get tokens, and two of them another one after a 401.
	servertest.Eventually(t, "tokens to be refreshed", func() bool { return len(echo.tokens()) >= 2*(4+2) })

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
			call("PATCH", id, map[string]any{"authentication": map[string]any{"mtls": map[string]any{
				"certificate": partner.pem, "privateKey": mtls["privateKey"], // of another certificate
			}}}).Want(t, 400)
			call("PATCH", id, map[string]any{"authentication": map[string]any{"mtls": map[string]any{
				"certificate": mtls["privateKey"], "caCertificate": mtls["privateKey"], "privateKey": []any{mtls["privateKey"]},
			}}}).Want(t, 400)
		}
	}
	call("POST", "/v1/subscriptions", `{"url":"https://x.example/","authentication":{"authType":"token","token":"`+secrets["a bearer token"]+`"`).Want(t, 400)
	call("POST", "/api/portal/onboard/v1/token", map[string]string{"client_id": a.ClientID, "client_secret": a.ClientSecret + "x"}).Want(t, 401)
	for _, path := range []string{
		"/v1/subscriptions?limit=100", "/api/smart-keys/interceptors", "/v1/events", "/v1/consents", "/v1/signing-keys", "/openapi.json",
		"/.well-known/consentwire/" + a.ID + "/jwks.json",
	} {
		call("GET", path, nil).Want(t, 200)
	}
	call("POST", "/v1/signing-keys/rotate", nil).Want(t, 200)
	// Each delivery with each attempt and what the receiver sent back.
	attempts := 0
	servertest.Eventually(t, "attempts to look at", func() bool {
		var page struct{ Items []struct{ DeliveryID string } }
		call("GET", "/v1/deliveries?limit=100", nil).Want(t, 200).Into(t, &page)
		attempts = 0
		for _, d := range page.Items {
			attempts += bytes.Count(call("GET", "/v1/deliveries/"+d.DeliveryID, nil).Want(t, 200).Body, []byte("your request"))
		}
		return attempts >= len(auths)
	})

	type place struct {
		name    string
		content []byte
	}
	var places []place
	look := func(name string, content []byte) { places = append(places, place{name, content}) }
	for _, part := range []string{`"lastExchange":{`, `\"access_token\":\"***\"`, `\"error_description\":`, `client_secret=***`, `"privateKey":null`} {
		if !bytes.Contains(said.Bytes(), []byte(part)) {
			t.Errorf("no answer shows %s, so there was too little to look at", part)
		}
	}
	look("an answer", said.Bytes())
	look("the metrics", s.Call("GET", "/metrics", s.Operator, nil).Want(t, 200).Body)
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
				look("the file "+d.Name(), b)
				n += len(b)
			}
			return nil
		})
		if err != nil || n == 0 {
			t.Errorf("read %d bytes of the data folder: %v", n, err)
		}
	}
	files()
	if !slices.ContainsFunc(places, func(p place) bool { return p.name == "the file "+sqlite.FileName+"-wal" && len(p.content) > 0 }) {
		t.Error("the write-ahead log was not looked at")
	}
	s.Stop()
	files()
	look("the log", []byte(s.Log.String()))
	look("standard output", []byte(s.Out.String()))
	if s.Log.Len() == 0 || said.Len() == 0 {
		t.Error("there was nothing to look at")
	}

	for name, token := range echo.tokens() {
		secrets["the "+name] = token
	}
	for i, key := range privateKeys(t, s, a) {
		secrets[fmt.Sprintf("private key %d of a signing key pair", i)] = key
	}
	for _, p := range places {
		for name, secret := range secrets {
			for form, text := range spellings(secret) {
				if i := bytes.Index(p.content, text); i >= 0 {
					t.Errorf("%s holds %s (%s) behind %q", p.name, name, form, p.content[max(0, i-120):i])
				}
			}
		}
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
	for name := range secrets {
		if strings.HasPrefix(name, "the ") || strings.HasPrefix(name, "private key ") {
			continue // it is not for receivers
		}
		found := false
		for _, text := range spellings(secrets[name]) {
			found = found || bytes.Contains(told.Bytes(), text)
		}
		if !found {
			t.Errorf("the receiver was not sent %s", name)
		}
	}
}

// privateKeys opens the store of a server that has stopped and returns the
// private halves of an application's signing keys, which leave it nowhere.
func privateKeys(t *testing.T, s *servertest.Server, a *servertest.Application) []string {
	t.Helper()
	_, list := keyFile(t, s)
	ring, err := secret.ParseKeyring(secret.New(strings.Join(list, ",")))
	if err != nil {
		t.Fatal(err)
	}
	st, err := relational.Open(t.Context(), sqlite.File{Dir: s.Dir}, relational.Options{Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	keys, err := st.SigningKeys(t.Context(), access.ID(a.ID))
	if err != nil || len(keys) != 2 {
		t.Fatalf("got %d signing keys (%v), want 2", len(keys), err)
	}
	var out []string
	for _, k := range keys {
		out = append(out, k.PrivateKey.Reveal())
	}
	return out
}

// No page of the portal shows a secret or a token, whatever state the
// subscriptions are in.
func TestSecrets_areOnNoPage(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	echo := &echoing{issued: map[string]string{}, first: map[string]bool{}}
	rcv.Answer(echo.answer)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	n := startDev(t, "--egress-allow", "127.0.0.0/8", "--egress-ca-file", roots)
	link, _ := n.wait(`((http://[^/ ]+)/portal/\S+)`, 10*time.Second)
	client, clientSecret := n.credentials(10 * time.Second)

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	t.Cleanup(web.CloseIdleConnections)
	call := func(method, path, bearer string, body any) string {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, link[2]+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode > 299 {
			t.Fatalf("%s %s: got %d %s (%v)", method, path, resp.StatusCode, b, err)
		}
		return string(b)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if !decode([]byte(call("POST", "/api/portal/onboard/v1/token", "", map[string]string{"client_id": client, "client_secret": clientSecret})), &token) {
		t.Fatal("no token came")
	}
	secrets := map[string]string{"the client secret": clientSecret, "the token": token.AccessToken}
	for _, auth := range everyAuth(rcv.URL, func(what string) string {
		v := "hunter2-" + strings.ReplaceAll(what, " ", "-") + "-!&=+/9d1c"
		secrets[what] = v
		return v
	}) {
		call("POST", "/v1/subscriptions", token.AccessToken, map[string]any{
			"url": rcv.URL + "/s", "updateType": "consent-receipts", "eventTypes": lifecycle, "authentication": auth,
		})
	}
	call("POST", "/v1/consents", token.AccessToken, servertest.Consent())
	call("GET", strings.TrimPrefix(link[1], link[2]), "", nil) // it signs in
	var page string
	servertest.Eventually(t, "the page to tell of tokens that are not to be had", func() bool {
		page = call("GET", "/portal/endpoints", "", nil)
		return len(echo.tokens()) > 0 && strings.Contains(page, "invalid_scope") && strings.Contains(page, "500 Internal Server Error")
	})
	for _, id := range regexp.MustCompile(`/portal/endpoints/((?:sub|int)_[a-z0-9]+)`).FindAllStringSubmatch(page, -1) {
		page += call("GET", "/portal/endpoints/"+id[1], "", nil) + call("GET", "/portal/endpoints/"+id[1]+"/edit", "", nil)
	}
	page += call("GET", "/portal/", "", nil)
	tried := call("GET", "/portal/deliveries", "", nil)
	for _, id := range regexp.MustCompile(`/portal/deliveries/dlv_[a-z0-9_-]+`).FindAllString(tried, -1) {
		page += call("GET", id, "", nil)
	}
	for name, token := range echo.tokens() {
		secrets["the "+name] = token
	}
	for name, secret := range secrets {
		for form, text := range spellings(secret) {
			if i := strings.Index(page, string(text)); i >= 0 {
				t.Errorf("the page holds %s (%s) behind %q", name, form, page[max(0, i-120):i])
			}
		}
	}
}
