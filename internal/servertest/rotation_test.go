package servertest_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
)

// rotating is a token endpoint whose refresh tokens are good for one use, and
// the receiver that takes its access tokens: "t3" came with "r3".
type rotating struct {
	mu      sync.Mutex
	n       int // of the newest pair
	dead    bool
	seen    int           // of the newest access token that the receiver saw
	asked   chan struct{} // holds one signal: a refresh has come
	hold    chan struct{} // not nil: its answer waits for this
	faults  []string
	stale   int // refreshes that came with an old token
	revoked int // access tokens up to this one are refused
}

func (o *rotating) ServeReceived(r servertest.Received) servertest.Reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Path == "/hook" {
		n := number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer t"))
		o.seen = max(o.seen, n)
		if n <= o.revoked || n < 1 {
			return servertest.Reply{Status: 401, Body: `[{"errorCode":"INVALID_SESSION_ID"}]`}
		}
		return servertest.Reply{}
	}
	form, _ := url.ParseQuery(string(r.Body)) // what is no form has no token
	n := number(strings.TrimPrefix(form.Get("refresh_token"), "r"))
	if n < o.seen {
		o.faults = append(o.faults, fmt.Sprintf("r%d was used after t%d had been", n, o.seen))
	}
	signal := func() {
		select {
		case o.asked <- struct{}{}:
		default:
		}
	}
	defer signal()
	if n != o.n || o.dead {
		o.stale++
		o.dead = true // reuse revokes the family
		return servertest.Reply{Status: 400, Body: `{"error":"invalid_grant","error_description":"token reuse"}`}
	}
	o.n++
	return servertest.Reply{
		Status: 200, Wait: o.hold,
		Body: fmt.Sprintf(`{"access_token":"t%d","refresh_token":"r%d","token_type":"Bearer","issued_at":"1700000000000"}`, o.n, o.n),
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// A server that is killed around the rotation of a refresh token: what the
// receiver saw used was stored, so the newest refresh token is the next one
// used; or else the rotation was lost with the answer, and the subscription
// says so and asks for nothing more.
func TestKill_rotation(t *testing.T) {
	t.Parallel()
	n := kills(t)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d kills, seed %d", n, seed)

	o := servertest.Options{Binary: binary(t), CA: servertest.NewCA(t), Env: []string{"CONSENTWIRE_LOG_LEVEL=info"}}
	auth := &rotating{asked: make(chan struct{}, 1)}
	rcv := servertest.NewReceiver(t, o.CA)
	rcv.Answer(auth.ServeReceived)
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	authentication := func(refresh string) map[string]any {
		return map[string]any{"authType": "token", "refreshToken": refresh, "refreshUrl": rcv.URL + "/token", "clientId": "c"}
	}
	id, _ := subscribe(t, a, rcv.URL+"/hook", map[string]any{"authentication": authentication("r0")})
	state := func() string {
		var sub struct {
			Authorisation struct{ State string }
		}
		r, err := a.Try("GET", "/v1/subscriptions/"+id, nil)
		if err != nil || !decode(r.Body, &sub) {
			return ""
		}
		return sub.Authorisation.State
	}

	var made []string
	lost, flagged := 0, 0
	for range n {
		auth.mu.Lock()
		auth.revoked = auth.n
		auth.hold = nil
		if random.IntN(3) == 0 { // the answer never arrives
			auth.hold = make(chan struct{})
		}
		hold := auth.hold
		auth.mu.Unlock()
		select {
		case <-auth.asked:
		default:
		}

		made = append(made, a.CreateConsent())
		select {
		case <-auth.asked:
		case <-time.After(20 * time.Second):
			t.Fatalf("no refresh came; the subscription is %s", state())
		}
		<-time.After(time.Duration(random.IntN(6000)) * time.Microsecond)
		s.Kill()
		if hold != nil {
			auth.mu.Lock()
			auth.hold = nil
			auth.mu.Unlock()
			close(hold)
		}
		s.Start()

		delivered := func() bool { return told(rcv, "/hook", made[len(made)-1]) == 2 }
		servertest.Eventually(t, "the consent to be told of, or the subscription to be flagged", func() bool {
			return delivered() || state() == "needs_reauthorisation"
		})
		if delivered() {
			continue
		}
		flagged++
		auth.mu.Lock()
		stale := auth.stale
		auth.n++
		fresh := fmt.Sprintf("r%d", auth.n)
		auth.dead, auth.revoked, auth.seen = false, auth.n, auth.n
		auth.mu.Unlock()
		if lost++; stale != lost {
			t.Errorf("got %d refreshes with an old token, want %d: one for each rotation that was lost", stale, lost)
		}
		a.Call("PATCH", "/v1/subscriptions/"+id, map[string]any{"authentication": map[string]any{"refreshToken": fresh}}).Want(t, 200)
		servertest.Eventually(t, "the consent to be told of with the new refresh token", delivered)
	}
	for _, c := range made {
		if told(rcv, "/hook", c) != 2 {
			t.Errorf("%s was not told of", c)
		}
	}
	auth.mu.Lock()
	defer auth.mu.Unlock()
	for _, f := range auth.faults {
		t.Error(f)
	}
	t.Logf("%d rotations, %d lost with the answer and flagged, %d refreshes with an old token", auth.n, flagged, auth.stale)
}
