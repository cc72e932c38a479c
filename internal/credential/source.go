package credential

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// The times of a token's life. Source: RULES O2, O3; those marked ours are not
// there.
const (
	earlyBy     = 5 * time.Second  // before its end a token is used no more
	earlyPart   = 0.8              // of its life, ours (DESIGN 4): then it is replaced while it is still used
	minWait     = time.Second      // after a failure
	maxWait     = 5 * time.Minute  // ours
	maxAsked    = time.Hour        // ours: the longest Retry-After that is followed
	finalWait   = 15 * time.Minute // ours: client credentials that were refused are tried again, for a client may be restored
	waitJitter  = 0.2              // ours: waits grow by up to this part
	maxStore    = 10 * time.Second // ours: the longest wait when it is the store that failed
	freeRefused = 3                // ours: tokens in a row that the receiver may refuse at once before the next one has to wait
	worthKeep   = time.Minute      // ours: a token of client credentials with a shorter life is not kept over a restart
)

// Sender sends one request, at most once; see egress.Client.
type Sender interface {
	Do(ctx context.Context, r *egress.Request) (*egress.Response, error)
}

// SourceOptions join a Source together. All are required but Asked,
// Trouble and Replaces.
type SourceOptions struct {
	Guard    *egress.Guard
	Client   Sender
	Agent    string                // User-Agent of the requests
	Timeout  time.Duration         // of one request for a token
	Endpoint subscription.Endpoint // one that ManagesToken
	// Load returns what was kept last, by this process or by another one.
	Load func(context.Context) (subscription.Token, error)
	// Save keeps a token, durably, if nothing was kept or forgotten since the
	// one of its Generation; else it is fault.Conflict "token_changed".
	Save func(context.Context, subscription.Token) error
	// Asked is told what each request for a token came to: "issued", "refused"
	// (the credentials are) or "failed". It may be nil.
	Asked func(outcome string)
	// Trouble is what was known of the last failure when the Source is made.
	Trouble *Trouble
	// Replaces is the endpoint's source so far, with other credentials. It asks
	// for nothing any more, and a request of its for the same refresh token is
	// awaited. When it has seen a newer version of the endpoint, it is the new
	// source that asks for nothing.
	Replaces *Source
}

// Trouble says that no token is to be had now. It is no failed delivery
// (CONTRACT 7).
type Trouble struct {
	Reason      string    // in plain words, for the endpoint's owner
	Reauthorise bool      // the owner must act
	NextAt      time.Time // until then nothing is asked; zero: until the owner has acted
	Exchange    *Exchange // the request that failed; nil: none was made

	again time.Time // NextAt on the monotonic clock, which no operator sets
}

// Error returns the reason.
func (t *Trouble) Error() string { return t.Reason }

// ErrRefused says that a receiver refuses one fresh token after another, so
// that another one is no use now. What it answered counts as its answer.
var ErrRefused = errors.New("the receiver refuses fresh tokens")

// Bearer is an access token, ready to be sent. It is immutable and prints
// nothing of itself.
type Bearer struct {
	access string
	value  []string // of the Authorization field
	mask   *mask
	serial int64     // grows with each token that the source got
	early  time.Time // from here on it is to be replaced; zero: when it is refused
	until  time.Time // from here on it is not to be used; zero: when it is refused
	once   bool      // for one delivery only
}

// Apply sets the header field.
func (b *Bearer) Apply(h http.Header) { h["Authorization"] = b.value }

// Mask hides the token, and every secret of its endpoint, in a text that a
// receiver sent.
func (b *Bearer) Mask(text string) string { return b.mask.hide(text) }

func (b *Bearer) usable(now time.Time) bool {
	return b != nil && (b.until.IsZero() || now.Before(b.until))
}

// String returns a fixed mask.
func (Bearer) String() string { return "[token]" }

// GoString returns a fixed mask.
func (Bearer) GoString() string { return "[token]" }

// LogValue returns a fixed mask.
func (Bearer) LogValue() slog.Value { return slog.StringValue("[token]") }

// Source gets the access tokens of one endpoint, with client credentials or
// with a refresh token. It holds at most one token, and at most one request
// for the next is on the wire, whoever asks (RULES O3). It is safe for use by
// several goroutines.
type Source struct {
	o      SourceOptions
	target *egress.Target
	refuse *egress.Error // the token endpoint may not be requested; nil: it may
	ident  *egress.Identity

	mu      sync.Mutex
	version int64          // of the endpoint, the newest that was seen
	anew    bool           // a newer version came since what is kept was looked at
	base    []secret.Value // what is masked beside the tokens
	bearer  *Bearer        // nil: none
	serial  int64          // of the newest token
	refresh secret.Value   // the newest refresh token, to be masked
	flight  *flight
	former  *Source   // whose request is to be awaited; nil: none is
	retired bool      // another source took its place: it asks for nothing
	trouble *Trouble  // of the last failure; nil after a success
	tried   time.Time // when that was
	fails   int       // requests in a row that brought no token
	refused int       // fresh tokens in a row that the receiver refused
	counted int64     // the serial of the last of them
	calmAt  time.Time

	// Only the flight uses these.
	loaded  bool               // kept was read
	kept    subscription.Token // as stored
	stored  string             // its ClientAuth in the store
	unsaved *gained            // came, but could not be kept yet: it must not be used
	probed  bool               // the way to authenticate ourselves is not known, and both were tried
	guess   string             // then: the one to try next
}

// NewSource returns a source that has asked for nothing yet.
func NewSource(o SourceOptions) *Source {
	s := &Source{o: o, version: o.Endpoint.Version, base: secretsOf(o.Endpoint)}
	s.o.Replaces = nil
	if o.Trouble != nil {
		t := *o.Trouble
		if !t.NextAt.IsZero() { // a clock that was wrong when it was written must not hold the endpoint for years
			now := time.Now()
			left := min(t.NextAt.Sub(now), finalWait+finalWait/4)
			t.again, t.NextAt = now.Add(left), wall(now.Add(left))
		}
		s.trouble, s.fails = &t, 1
	}
	var f *egress.URLFault
	if s.target, f = o.Guard.Parse(s.address()); f != nil {
		s.refuse = &egress.Error{Step: egress.StepConnect, Reason: f.Msg, Err: f}
	}
	var err *egress.Error
	if s.ident, err = identityOf(o.Endpoint); err != nil {
		s.refuse = err
	}
	if o.Replaces != nil {
		s.replace(o.Replaces)
	}
	return s
}

// replace ends the older one of two sources of one endpoint.
func (s *Source) replace(former *Source) {
	former.mu.Lock()
	older := former
	if former.version > s.version {
		older = s // nobody else has s yet
	}
	older.retired, older.bearer = true, nil
	older.trouble = &Trouble{Reason: "The endpoint's credentials were changed meanwhile."}
	former.mu.Unlock()
	if older == former && former.refreshes() && former.o.Endpoint.KeepsToken(s.o.Endpoint) {
		s.former = former
	}
}

// Retired tells whether another source has taken this one's place.
func (s *Source) Retired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retired
}

// Adopt takes over another version of the endpoint's configuration. It is
// false when its credentials are others: then another Source is needed, and
// what this one has is void.
//
// With a newer version than any before, what failed is tried again at once,
// for the owner has acted. An older one changes nothing.
func (s *Source) Adopt(e subscription.Endpoint) bool {
	if !e.SameCredentials(s.o.Endpoint) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired || e.Version < s.version {
		return !s.retired
	}
	if e.Version > s.version {
		s.version, s.anew = e.Version, true
		s.trouble, s.fails, s.refused, s.calmAt = nil, 0, 0, time.Time{}
	}
	s.base = secretsOf(e)
	if s.bearer != nil {
		b := *s.bearer
		b.mask = s.maskOf(b.access)
		s.bearer = &b
	}
	return true
}

// Wait returns when no request for a token is under way. Its error is ctx's.
// Whoever stops waits, so that a refresh token that was replaced is kept.
func (s *Source) Wait(ctx context.Context) error {
	s.mu.Lock()
	f, former := s.flight, s.former
	s.mu.Unlock()
	switch {
	case f != nil:
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	case former != nil:
		return former.Wait(ctx)
	}
	return nil
}

func (s *Source) address() string {
	if s.o.Endpoint.Auth.Type == subscription.AuthOAuth2 {
		return s.o.Endpoint.Auth.OAuth2.AuthenticationURL
	}
	return s.o.Endpoint.Auth.Bearer.RefreshURL
}

func (s *Source) refreshes() bool { return s.o.Endpoint.Auth.Type != subscription.AuthOAuth2 }

// Ready tells whether there is a token to use now, and whether it is time to
// get the next one: there is none, or the present one is near its end.
func (s *Source) Ready(now time.Time) (ready, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready = s.bearer.usable(now)
	wanted = !ready || !s.bearer.early.IsZero() && !now.Before(s.bearer.early)
	if wanted && s.waits(now) {
		wanted = false
	}
	return ready, wanted
}

// Trouble returns what the last request came to; nil: it brought a token, or
// none was made.
func (s *Source) Trouble() *Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// Take returns the token to use now; nil: there is none. One that is good for
// one delivery only is not given twice.
func (s *Source) Take(now time.Time) *Bearer {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bearer
	if !b.usable(now) {
		return nil
	}
	return s.spend(b)
}

// spend returns a token that is about to be sent. The lock is held.
func (s *Source) spend(b *Bearer) *Bearer {
	if b != nil && b.once && s.bearer != nil && s.bearer.serial == b.serial {
		s.bearer = nil
	}
	return b
}

// waits tells whether nothing is to be asked yet, because of a failure.
func (s *Source) waits(now time.Time) bool {
	return s.trouble != nil && (s.trouble.again.IsZero() || now.Before(s.trouble.again))
}

// Get gets a token ahead of need: one that is to be replaced by now is. The
// failure of a request is everybody's who waits for it, and, until its NextAt,
// of everybody who comes later.
//
// Whoever insists sends with the token himself. He gets the one that there is,
// or asks all the same, a second after the last failure.
//
// The exchange is the request that this call waited for; nil: none was made.
// Errors: a *Trouble, or ctx's.
func (s *Source) Get(ctx context.Context, insist bool) (*Bearer, *Exchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	s.mu.Lock()
	if b := s.bearer; b.usable(now) && (insist || b.early.IsZero() || now.Before(b.early)) {
		if insist {
			s.spend(b)
		}
		s.mu.Unlock()
		return b, nil, nil
	}
	if s.flight == nil && s.waits(now) && (!insist || s.retired || now.Before(s.tried.Add(minWait))) {
		t := s.trouble
		s.mu.Unlock()
		return nil, t.Exchange, t
	}
	b, x, err := s.join(ctx, nil)
	if insist && b != nil {
		s.mu.Lock()
		s.spend(b)
		s.mu.Unlock()
	}
	return b, x, err
}

// Renew gets another token after a receiver refused one with 401. When a newer
// one is there already, that is returned and nothing is asked. Its result is
// Get's; ErrRefused: too many fresh tokens were refused one after another.
//
// Source: RULES O4.
func (s *Source) Renew(ctx context.Context, refused *Bearer) (*Bearer, *Exchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	s.mu.Lock()
	if b := s.bearer; b.usable(now) && b.serial > refused.serial {
		s.spend(b)
		s.mu.Unlock()
		return b, nil, nil
	}
	if s.bearer != nil && s.bearer.serial == refused.serial {
		s.bearer = nil // nobody else is to send it
	}
	if s.flight == nil {
		if s.waits(now) {
			t := s.trouble
			s.mu.Unlock()
			return nil, t.Exchange, t
		}
		if now.Before(s.calmAt) {
			s.bearer = refused // there is no better one
			s.mu.Unlock()
			return nil, nil, ErrRefused
		}
	}
	return s.join(ctx, refused)
}

// Refused notes that a receiver refused a token that was fetched because it
// had refused the one before. However many requests carried it, it counts
// once.
func (s *Source) Refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counted == s.serial {
		return
	}
	s.counted = s.serial
	if s.refused++; s.refused >= freeRefused {
		s.calmAt = time.Now().Add(min(minWait<<min(s.refused-freeRefused, 16), maxWait))
	}
}

// Accepted notes that a receiver took a token.
func (s *Source) Accepted() {
	s.mu.Lock()
	s.refused, s.calmAt = 0, time.Time{}
	s.mu.Unlock()
}

func (s *Source) newBearer(access string, refresh secret.Value) *Bearer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh = refresh
	s.serial++
	return &Bearer{access: access, value: []string{"Bearer " + access}, mask: s.maskOf(access), serial: s.serial}
}

// maskOf hides everything of the endpoint's, a token included. The lock is
// held.
func (s *Source) maskOf(access string) *mask {
	return newMask(append(s.base[:len(s.base):len(s.base)], secret.New(access), s.refresh))
}

// failed notes a failure and says when to ask again.
func (s *Source) failed(f *failure) *Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails += max(f.requests, 1)
	t := &Trouble{Reason: f.reason, Reauthorise: f.final, Exchange: f.exchange}
	wait := min(minWait<<min(s.fails-1, 16), maxWait)
	switch {
	case f.final && s.refreshes():
		return t // the token is dead; to send it again would look like a thief
	case f.final:
		wait = finalWait
	case f.store:
		wait = min(wait, maxStore)
	}
	wait = max(wait, min(f.asked, maxAsked))
	wait += time.Duration(waitJitter * rand.Float64() * float64(wait)) // #nosec G404 -- jitter is no secret
	t.again = time.Now().Add(wait)
	t.NextAt = wall(t.again)
	return t
}

// wall returns the first whole millisecond that is not before at, by the wall
// clock.
func wall(at time.Time) time.Time {
	return at.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
}

// String returns a fixed mask.
func (*Source) String() string { return "[token source]" }

// GoString returns a fixed mask.
func (*Source) GoString() string { return "[token source]" }

// LogValue returns a fixed mask.
func (*Source) LogValue() slog.Value { return slog.StringValue("[token source]") }
