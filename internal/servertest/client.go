package servertest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

// Response is an answer.
type Response struct {
	Status int
	Proto  string // e.g. "HTTP/2.0"
	Header http.Header
	Body   []byte
}

// Want fails the test when the status is another.
func (r Response) Want(t testing.TB, status int) Response {
	t.Helper()
	if r.Status != status {
		t.Fatalf("got status %d, want %d; the answer: %s", r.Status, status, r.Body)
	}
	return r
}

// Into reads the body as JSON.
func (r Response) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		t.Fatalf("read %q: %v", r.Body, err)
	}
}

// Text returns the text of a member of the body, empty when it has none.
func (r Response) Text(t testing.TB, member string) string {
	t.Helper()
	var m map[string]any
	r.Into(t, &m)
	s, _ := m[member].(string)
	return s
}

// Try sends a request and returns its answer, or why there is none. A body
// that is no text or bytes is sent as JSON; nil is none.
func (s *Server) Try(method, path, bearer string, body any, header ...string) (Response, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = bytes.NewReader([]byte(b))
	case []byte:
		content = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return Response{}, err
		}
		content = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, s.URL+path, content)
	if err != nil {
		return Response{}, err
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return Response{resp.StatusCode, resp.Proto, resp.Header, b}, err
}

// Call is Try that fails the test when there is no answer. header holds names
// and values in turn.
func (s *Server) Call(method, path, bearer string, body any, header ...string) Response {
	s.t.Helper()
	r, err := s.Try(method, path, bearer, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// Application is a tenant with a token.
type Application struct {
	ID, ClientID, ClientSecret string
	Token                      string

	s *Server
}

// NewApplication makes an application and gets a token for it.
func (s *Server) NewApplication(name string) *Application {
	s.t.Helper()
	r := s.Call("POST", "/v1/applications", s.Operator, map[string]string{"name": name}).Want(s.t, http.StatusCreated)
	a := &Application{s: s}
	r.Into(s.t, &struct {
		ID     *string `json:"applicationId"`
		Client *string `json:"clientId"`
		Secret *string `json:"clientSecret"`
	}{&a.ID, &a.ClientID, &a.ClientSecret})
	r = s.Call("POST", "/api/portal/onboard/v1/token", "",
		map[string]string{"client_id": a.ClientID, "client_secret": a.ClientSecret}).Want(s.t, http.StatusOK)
	a.Token = r.Text(s.t, "access_token")
	return a
}

// Guest returns an application of a server that somebody else has started.
func Guest(t testing.TB, url, clientID, clientSecret string) *Application {
	t.Helper()
	s := &Server{URL: url, t: t, http: &http.Client{Timeout: patience}}
	t.Cleanup(s.http.CloseIdleConnections)
	r := s.Call("POST", "/api/portal/onboard/v1/token", "", map[string]string{"client_id": clientID, "client_secret": clientSecret}).Want(t, http.StatusOK)
	return &Application{ClientID: clientID, ClientSecret: clientSecret, Token: r.Text(t, "access_token"), s: s}
}

// Call sends a request with the application's token; see Server.Call.
func (a *Application) Call(method, path string, body any, header ...string) Response {
	a.s.t.Helper()
	return a.s.Call(method, path, a.Token, body, header...)
}

// Try sends a request with the application's token; see Server.Try.
func (a *Application) Try(method, path string, body any) (Response, error) {
	return a.s.Try(method, path, a.Token, body)
}

// Consent is the body of a request for a DATA consent that no rule refuses.
func Consent() map[string]any {
	return map[string]any{
		"type":        "DATA",
		"permissions": []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		"loggedUser":  map[string]any{"document": map[string]string{"identification": "12345678909", "rel": "CPF"}},
	}
}

// CreateConsent creates a DATA consent and returns its ID.
func (a *Application) CreateConsent() string {
	a.s.t.Helper()
	return a.Call("POST", "/v1/consents", Consent()).Want(a.s.t, http.StatusCreated).Text(a.s.t, "id")
}

// Act carries out an action on a consent.
func (a *Application) Act(consent, action string) Response {
	a.s.t.Helper()
	return a.Call("POST", "/v1/consents/"+consent+"/"+action, map[string]any{}).Want(a.s.t, http.StatusOK)
}
