package credential

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

// gained is an answer and how it came.
type gained struct {
	answer
	at     time.Time     // when it was asked for
	took   time.Duration // until it came
	method string
}

// flight is one request for a token, and who waits for it.
type flight struct {
	done     chan struct{}
	bearer   *Bearer
	err      error
	exchange *Exchange // nil: none was made
}

// join waits for the flight that there is, or for a new one. The lock is held,
// and given up.
func (s *Source) join(ctx context.Context, refused *Bearer) (*Bearer, *Exchange, error) {
	f := s.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flight = f
		go s.fly(context.WithoutCancel(ctx), f, refused)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.bearer, f.exchange, f.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// fly makes one flight. What it comes to is the source's, whoever still waits.
func (s *Source) fly(ctx context.Context, f *flight, refused *Bearer) {
	b, x, t := s.fetch(ctx, refused)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	s.flight, f.exchange = nil, x
	switch {
	case s.retired: // the token, if one came, may even be one of the new credentials
		f.err = s.trouble
	case t != nil:
		s.trouble, s.tried = t, time.Now()
		f.err = t
	default:
		s.bearer, s.trouble, s.fails = b, nil, 0
		f.bearer = b
		if refused != nil {
			s.spend(b) // whoever waits has it
		}
	}
}

// fetch gets a token: the one that somebody else kept meanwhile, or a new one.
func (s *Source) fetch(ctx context.Context, refused *Bearer) (*Bearer, *Exchange, *Trouble) {
	s.follow(ctx)
	ctx, cancel := context.WithTimeout(ctx, 3*s.o.Timeout+minWait) // two requests at most, and what the store needs
	defer cancel()
	if b, t := s.look(ctx, refused); b != nil || t != nil {
		return b, nil, t
	}
	if g := s.unsaved; g != nil { // it may have used up the refresh token: nothing else is to be asked
		if b, t := s.keep(ctx, g, refused); t != nil || b.usable(time.Now()) {
			return b, nil, t
		}
	}
	if s.refuse != nil {
		return nil, nil, s.failed(&failure{reason: "The token endpoint may not be requested: " + s.refuse.Reason + "."})
	}
	g, x, f := s.ask(ctx)
	if f == nil {
		b, t := s.keep(ctx, g, refused)
		return b, x, t
	}
	if f.final && s.refreshes() {
		before := s.kept.Generation
		if b := s.rival(ctx, refused); b != nil {
			return b, x, nil
		}
		f.final = s.kept.Generation == before // else there is another refresh token to try
	}
	return nil, x, s.failed(f)
}

// follow waits until the source that had the same refresh token is done with
// it: two requests with one token look like a thief's.
func (s *Source) follow(ctx context.Context) {
	s.mu.Lock()
	former := s.former
	s.mu.Unlock()
	if former == nil || former.Wait(ctx) != nil {
		return
	}
	s.mu.Lock()
	s.former = nil
	s.mu.Unlock()
}

// rival takes over a token that another process kept while our refresh token
// was refused: of two that use one at the same time the later is told
// invalid_grant. It looks twice, for the other's token may still be on its way
// into the store.
func (s *Source) rival(ctx context.Context, refused *Bearer) *Bearer {
	if b, _ := s.look(ctx, refused); b != nil {
		return b
	}
	wait := time.NewTimer(minWait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	b, _ := s.look(ctx, refused)
	return b
}

// look takes over what was kept, when that is news.
func (s *Source) look(ctx context.Context, refused *Bearer) (*Bearer, *Trouble) {
	s.mu.Lock()
	anew := s.anew
	s.mu.Unlock()
	kept, err := s.o.Load(ctx)
	if err != nil {
		return nil, s.failed(&failure{store: true, reason: "The endpoint's token could not be looked up."})
	}
	none := !kept.Access.IsSet() && !kept.Refresh.IsSet()
	switch {
	case s.loaded && kept.Generation == s.kept.Generation:
		return nil, nil
	case s.loaded && none && !anew:
		// It was forgotten, for the endpoint has other credentials now. A token
		// of the former ones must not be kept as one of theirs (RULES O8).
		return nil, s.failed(&failure{store: true, reason: "The endpoint's credentials were changed meanwhile."})
	}
	s.mu.Lock()
	s.anew = false
	s.mu.Unlock()
	s.loaded, s.kept, s.stored, s.unsaved = true, kept, kept.ClientAuth, nil
	access, expires := kept.Access, kept.ExpiresAt
	if none && s.refreshes() {
		access = s.o.Endpoint.Auth.Bearer.Token // the first one, when its owner gave it
	}
	if !access.IsSet() || refused != nil && refused.access == access.Reveal() {
		return nil, nil
	}
	now := time.Now()
	b := s.newBearer(access.Reveal(), kept.Refresh)
	if !expires.IsZero() { // by the wall clock: it outlived a process
		left := min(expires.Sub(now.Round(0)), maxLife)
		b.until, b.early = now.Add(left-earlyBy), now.Add(time.Duration(earlyPart*float64(left)))
	}
	if !b.usable(now) {
		return nil, nil
	}
	return b, nil
}

// keep makes a token durable, where that matters, and only then usable
// (RULES O7).
func (s *Source) keep(ctx context.Context, g *gained, refused *Bearer) (*Bearer, *Trouble) {
	next := s.kept
	next.Access, next.ExpiresAt, next.ClientAuth = secret.New(g.access), time.Time{}, g.method
	if g.known {
		next.ExpiresAt = g.at.Round(0).Add(g.life).UTC().Truncate(time.Millisecond)
	}
	if s.refreshes() && g.refresh != "" { // RFC 6749 6; a client-credentials answer has none (4.4.3)
		next.Refresh = secret.New(g.refresh)
	}
	if s.refreshes() || !g.known || g.life >= worthKeep || s.auto() && g.method != s.stored {
		save, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Timeout) // of its own: slow requests must not use it up
		err := s.o.Save(save, next)
		cancel()
		if err != nil {
			return s.notKept(ctx, g, refused, err)
		}
		next.Generation++
		s.stored = next.ClientAuth
	}
	s.kept, s.unsaved, s.probed = next, nil, false
	b := s.newBearer(g.access, next.Refresh)
	switch {
	case !g.known:
	case g.life-g.took < earlyBy+minWait: // RULES O2: for this delivery; what is gone before it is used would be asked for again and again
		b.once = true
	default:
		b.until = g.at.Add(g.life - earlyBy)
		b.early = g.at.Add(time.Duration(earlyPart * float64(g.life)))
	}
	return b, nil
}

// notKept deals with a token that came and could not be kept. Somebody else
// may have kept one, or its owner may have configured other credentials;
// otherwise it waits here, unused.
func (s *Source) notKept(ctx context.Context, g *gained, refused *Bearer, err error) (*Bearer, *Trouble) {
	if fault.CodeOf(err) == "token_changed" || fault.KindOf(err) == fault.NotFound {
		s.unsaved = nil
		if b, t := s.look(ctx, refused); b != nil || t != nil {
			return b, t
		}
		return nil, s.failed(&failure{store: true, reason: "The endpoint's token was replaced while another one was fetched."})
	}
	s.unsaved = g
	return nil, s.failed(&failure{store: true, reason: "A token came, but it could not be stored; it is not used before it is."})
}
