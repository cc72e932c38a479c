package sink

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// life is how long what is known of a bin's endpoints is used without looking
// again. A new secret is seen at once, because a signature that does not
// match makes us look; one that was taken away counts for at most this long.
const life = time.Second

// pace is how many times longer we wait than a look took, so that a flood of
// bad signatures costs the store a tenth of one reader.
const pace = 9

// maxHashed bounds the bytes hashed to judge one request: the body times the
// number of secrets.
const maxHashed = 64 << 20

// pageSize is how many endpoints are read at a time.
const pageSize = 500

// maxBins is how many bins' endpoints are remembered at a time.
const maxBins = 1000

// known is what is known of the endpoints that point at a bin. It does not
// change.
type known struct {
	at        time.Time // when the look began
	receivers []receiver
	mask      *mask
}

// receiver is an endpoint whose URL is below the bin's.
type receiver struct {
	path    string // of its URL
	signing []signing
}

type signing struct {
	secret    signature.Secret
	expiresAt time.Time
}

// signed tells whether one of the receivers signed the request, by a secret
// that signs at now. Those whose path is the request's are tried first.
func (k *known) signed(r *http.Request, body []byte, now time.Time) bool {
	left := max(16, maxHashed/max(len(body), 1<<10))
	var secrets []signature.Secret
	for _, same := range []bool{true, false} {
		for _, v := range k.receivers {
			if (v.path == r.URL.Path) != same {
				continue
			}
			for _, s := range v.signing {
				if (s.expiresAt.IsZero() || now.Before(s.expiresAt)) && len(secrets) < left {
					secrets = append(secrets, s.secret)
				}
			}
		}
	}
	return len(secrets) > 0 && signature.Verify(r.Header, body, now, secrets...) == nil
}

// receivers remembers what is known for each bin.
type receivers struct {
	store store.Reader

	mu   sync.Mutex
	bins map[string]*look
}

// look is the turn to look up one bin's endpoints: who holds turn may.
type look struct {
	turn  chan struct{} // capacity 1
	mu    sync.Mutex
	known *known        // nil: never looked
	took  time.Duration // by the last look
}

func newReceivers(s store.Reader) *receivers {
	return &receivers{store: s, bins: map[string]*look{}}
}

func (rs *receivers) look(bin string) *look {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	l, ok := rs.bins[bin]
	if !ok {
		if len(rs.bins) >= maxBins {
			clear(rs.bins) // rare, and all of it is one look away
		}
		l = &look{turn: make(chan struct{}, 1)}
		rs.bins[bin] = l
	}
	return l
}

// of returns what is known, by a look that is at most life old.
func (rs *receivers) of(ctx context.Context, bin store.Bin, prefix string) (*known, error) {
	return rs.since(ctx, bin, prefix, time.Now().Add(-life))
}

// fresh returns what is known by a look that began after at. It may wait
// for its turn, pace times as long as a look takes, at most life.
func (rs *receivers) fresh(ctx context.Context, bin store.Bin, prefix string, at time.Time) (*known, error) {
	return rs.since(ctx, bin, prefix, at)
}

func (rs *receivers) since(ctx context.Context, bin store.Bin, prefix string, at time.Time) (*known, error) {
	l := rs.look(bin.Name)
	if k, _ := l.read(); k != nil && k.at.After(at) {
		return k, nil
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	k, took := l.read()
	if k != nil && k.at.After(at) { // whoever had the turn before looked for us
		return k, nil
	}
	if k != nil {
		if wait := min(pace*took, life) - time.Since(k.at.Add(took)); wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	began := time.Now()
	k, err := rs.load(ctx, bin, prefix)
	if err != nil {
		return nil, err
	}
	k.at = began
	l.mu.Lock()
	l.known, l.took = k, time.Since(began)
	l.mu.Unlock()
	return k, nil
}

func (l *look) read() (*known, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known, l.took
}

// load reads the endpoints of the bin's application and keeps what concerns
// the bin: those that deliver to it sign, and of those that fetch their tokens
// there the secrets are masked, too.
func (rs *receivers) load(ctx context.Context, bin store.Bin, prefix string) (*known, error) {
	k := &known{}
	m := newMasker()
	for _, style := range []subscription.Style{subscription.Subscription, subscription.Interceptor} {
		for offset := 0; ; offset += pageSize {
			es, total, err := rs.store.Endpoints(ctx, bin.Application, store.EndpointQuery{Style: style, Offset: offset, Limit: pageSize})
			if err != nil {
				return nil, err
			}
			for _, e := range es {
				path, delivers := below(e.URL, prefix)
				_, refreshes := below(e.Auth.Bearer.RefreshURL, prefix)
				_, authenticates := below(e.Auth.OAuth2.AuthenticationURL, prefix)
				if delivers {
					k.receivers = append(k.receivers, receiverOf(path, e))
				}
				if delivers || refreshes || authenticates {
					m.add(e)
				}
			}
			if len(es) == 0 || offset+len(es) >= total {
				break
			}
		}
	}
	k.mask = m.done()
	return k, nil
}

func receiverOf(path string, e subscription.Endpoint) receiver {
	v := receiver{path: path}
	for _, s := range e.SigningSecrets {
		if parsed, err := signature.ParseSecret(s.Secret.Reveal()); err == nil {
			v.signing = append(v.signing, signing{parsed, s.ExpiresAt})
		}
	}
	return v
}

// below tells whether an address lies under the path prefix of a bin, and
// returns its path from "/inspect/" on. The host is left aside: a bin's name
// is nobody else's, and an address may have been written before the public
// URL was changed.
func below(address, prefix string) (path string, ok bool) {
	if address == "" {
		return "", false
	}
	p := pathOf(address)
	at := strings.Index(prefix, Prefix)
	for _, pre := range []string{prefix, prefix[at:]} {
		if rest, ok := strings.CutPrefix(p, pre); ok && (rest == "" || rest[0] == '/') {
			return prefix[at:] + rest, true
		}
	}
	return "", false
}

// pathOf returns the path of an address without a slash at its end, empty when
// it has none.
func pathOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// masker gathers what a mask hides.
type masker struct {
	m     mask
	forms []string
}

func newMasker() *masker {
	return &masker{m: mask{whole: map[string]bool{}, headers: map[string]bool{}, queries: map[string]bool{}}}
}

func (k *masker) add(e subscription.Endpoint) {
	if a := e.Auth.APIKey; e.Auth.Type == subscription.AuthAPIKey {
		if a.Location == subscription.InQuery {
			k.m.queries[a.Key] = true
		} else {
			k.m.headers[strings.ToLower(a.Key)] = true
		}
	}
	for _, s := range e.Secrets() {
		k.secret(s)
		if bare, ok := strings.CutPrefix(s.Reveal(), "whsec_"); ok {
			k.secret(secret.New(bare))
		}
	}
}

func (k *masker) secret(s secret.Value) {
	text := s.Reveal()
	k.m.whole[text] = true
	if len(text) < minInside {
		return
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string
	}
	for _, form := range []string{text, url.QueryEscape(text), url.PathEscape(text), string(quoted[1 : len(quoted)-1])} {
		k.m.whole[form] = true
		k.forms = append(k.forms, form)
	}
}

func (k *masker) done() *mask {
	// The longest first, so that no part of one is hidden before the whole.
	slices.SortFunc(k.forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	k.forms = slices.Compact(k.forms)
	pairs := make([]string, 0, 2*len(k.forms))
	for _, f := range k.forms {
		pairs = append(pairs, f, hidden)
	}
	k.m.inside, k.m.anything = strings.NewReplacer(pairs...), len(pairs) > 0
	return &k.m
}
