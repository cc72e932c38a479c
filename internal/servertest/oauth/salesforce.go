package oauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Where a Salesforce takes requests. Source: "Update a Subscription",
// Salesforce example.
const (
	SalesforceTokenPath = "/services/oauth2/token" // #nosec G101 -- a path
	SalesforceAPIPath   = "/services/apexrest/MyLifeDigital/EffectivePermissions"
)

// salesforceOrg is the organisation that each of its tokens begins with.
const salesforceOrg = "00D5g000004XyZ1"

// Salesforce plays the two sides of one: the token endpoint and an Apex class.
// Its access tokens hold a "!", its token answers no expires_in, and a session
// that is over shows only in a 401. Source: DOMAIN 3.5; RULES 3.
//
// Set the fields before the first request.
type Salesforce struct {
	// ClientID is the consumer key, which a refresh must carry; empty: any
	// will do, and none.
	ClientID string
	// ClientSecret is demanded unless it is empty.
	ClientSecret string
	// Rotate gives a new refresh token with each answer; the old one is worth
	// nothing from then on.
	Rotate bool
	// Instance is what instance_url says; empty: another host.
	Instance string
	// Answer is what the Apex class answers to a valid session; nil: 200.
	Answer http.Handler

	tokens, api Script

	mu      sync.Mutex
	once    sync.Once
	refresh int    // the number of the newest refresh token
	issued  int    // the number of the newest access token
	valid   bool   // it is good
	access  string // the newest
	locked  bool
}

// Handler takes what either side takes, each at its path.
func (s *Salesforce) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(SalesforceTokenPath, s.Token())
	mux.Handle(SalesforceAPIPath, s.API())
	return mux
}

// Token is the token endpoint.
func (s *Salesforce) Token() http.Handler {
	s.play()
	return &s.tokens
}

// API is the Apex class.
func (s *Salesforce) API() http.Handler {
	s.play()
	return &s.api
}

func (s *Salesforce) play() {
	s.once.Do(func() {
		s.tokens.Answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.grant(r, Read(r)).ServeHTTP(w, r) }))
		s.api.Answer(http.HandlerFunc(s.take))
	})
}

// TokenRequests returns what came to the token endpoint.
func (s *Salesforce) TokenRequests() []Request { return s.tokens.Requests() }

// Deliveries returns what came to the Apex class, whatever it answered.
func (s *Salesforce) Deliveries() []Request { return s.api.Requests() }

// Refresh returns the newest refresh token, which is the only good one.
func (s *Salesforce) Refresh() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return refreshToken(s.refresh)
}

func refreshToken(n int) string {
	return fmt.Sprintf("5Aep861KIwKdekr90IDidO4EhfJiYo3fzEvTvsEgM9sfDpGX0qFFeQzHG2mZeUH_.%d", n)
}

// Access returns the newest access token; "" before the first.
func (s *Salesforce) Access() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access
}

// Expire ends the session: the newest access token is worth nothing.
func (s *Salesforce) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = false
}

// Lock makes the Apex class refuse every token, a new one as well, as with the
// wrong instance or a locked address range, until it is called with false.
func (s *Salesforce) Lock(locked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = locked
}

// grant answers a token request. Parameters come as a form or not at all.
func (s *Salesforce) grant(r *http.Request, got Request) Answer {
	fail := func(code, description string) Answer {
		return Answer{Status: http.StatusBadRequest, Body: Object("error", code, "error_description", description)}
	}
	if r.Method != http.MethodPost || got.Form.Get("grant_type") != "refresh_token" {
		return fail("unsupported_grant_type", "grant type not supported")
	}
	if s.ClientID != "" && got.Form.Get("client_id") != s.ClientID {
		return fail("invalid_client_id", "client identifier invalid")
	}
	if s.ClientSecret != "" && got.Form.Get("client_secret") != s.ClientSecret {
		return fail("invalid_client", "invalid client credentials")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got.Form.Get("refresh_token") != refreshToken(s.refresh) {
		return fail("invalid_grant", "expired access/refresh token")
	}
	s.issued++
	s.access = fmt.Sprintf("%s!AQ4AQFZ0b.Ds3_Cxr7kG2mPq9vNwX1yTzLhU6eJ5oRiBtSaK8d.%d", salesforceOrg, s.issued)
	s.valid = true
	instance := s.Instance
	if instance == "" {
		instance = "https://other.my.salesforce.com"
	}
	id := "https://login.salesforce.com/id/" + salesforceOrg + "EAU/0055g00000ABcDeFAAV"
	at := strconv.FormatInt(time.Now().UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(s.ClientSecret))
	mac.Write([]byte(id + at))
	members := []any{"access_token", s.access}
	if s.Rotate {
		s.refresh++
		members = append(members, "refresh_token", refreshToken(s.refresh))
	}
	return Answer{Body: Object(append(members,
		"signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		"scope", "refresh_token api", "instance_url", instance, "id", id, "token_type", "Bearer", "issued_at", at,
	)...)}
}

// take is the Apex class.
func (s *Salesforce) take(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	good := s.valid && !s.locked && bearer(r) == s.access
	s.mu.Unlock()
	switch {
	case !good:
		Answer{
			Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {"Token"}},
			Body: `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`,
		}.ServeHTTP(w, r)
	case s.Answer != nil:
		s.Answer.ServeHTTP(w, r)
	default:
		Answer{Body: `{"success":true}`}.ServeHTTP(w, r)
	}
}
