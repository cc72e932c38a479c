package oauth

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Family is a token endpoint with refresh tokens that rotate: each works once.
// Whoever shows a used one again has stolen it, or has lost an answer; the
// server cannot tell, so the whole family dies (RFC 9700 4.14.2).
type Family struct {
	// Seconds is what expires_in says; 0: it is left out.
	Seconds int
	// Keep leaves the refresh token as it is and names none in the answer.
	Keep bool
	// Grace lets the refresh token before the newest work again until the
	// newest was used, as FAPI 2.0 asks of servers that rotate.
	Grace bool

	mu      sync.Mutex
	name    string
	refresh []string // all, the newest last
	access  []string // all, the newest last
	revoked int      // so many of access are bad
	dead    bool
}

// NewFamily returns a family whose first refresh token is name + "-refresh-0".
func NewFamily(name string) *Family {
	return &Family{name: name, refresh: []string{name + "-refresh-0"}}
}

// ServeHTTP answers a refresh request.
func (f *Family) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.answer(Read(r)).ServeHTTP(w, r)
}

func (f *Family) answer(r Request) Answer {
	if r.Param("grant_type") != "refresh_token" {
		return Error(http.StatusBadRequest, "unsupported_grant_type", "")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.Index(f.refresh, r.Param("refresh_token"))
	switch last := len(f.refresh) - 1; {
	case f.dead || at < 0:
		return Error(http.StatusBadRequest, "invalid_grant", "no such refresh token")
	case at == last:
	case f.Grace && at == last-1:
		f.refresh = f.refresh[:last] // the one that nobody got
	default:
		f.dead, f.revoked = true, len(f.access)
		return Error(http.StatusBadRequest, "invalid_grant", "refresh token already used")
	}
	access := fmt.Sprintf("%s-access-%d", f.name, len(f.access)+1)
	f.access = append(f.access, access)
	members := []any{"access_token", access, "token_type", "Bearer"}
	if f.Seconds != 0 {
		members = append(members, "expires_in", f.Seconds)
	}
	if !f.Keep {
		next := fmt.Sprintf("%s-refresh-%d", f.name, len(f.access))
		f.refresh = append(f.refresh, next)
		members = append(members, "refresh_token", next)
	}
	return Answer{Body: Object(members...)}
}

// Refresh returns the newest refresh token.
func (f *Family) Refresh() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refresh[len(f.refresh)-1]
}

// Access returns the newest access token; "" before the first.
func (f *Family) Access() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.access) == 0 {
		return ""
	}
	return f.access[len(f.access)-1]
}

// Rotations returns how many access tokens were issued.
func (f *Family) Rotations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.access)
}

// Dead tells whether a used refresh token was shown again.
func (f *Family) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// Revoke makes every access token bad that was issued so far.
func (f *Family) Revoke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = len(f.access)
}

// Valid tells whether an access token was issued and not revoked.
func (f *Family) Valid(token string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.access[f.revoked:], token)
}

// Guard answers with next when the bearer is valid, and else with 401
// invalid_token.
func (f *Family) Guard(next http.Handler) http.Handler { return guard(f.Valid, next) }
