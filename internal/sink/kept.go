package sink

import (
	"container/list"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/store"
)

// overhead is what a request costs beside its texts, in bytes, about.
const overhead = 512

// afterErasure is how long a request may still be on its way that was sent
// before its subject was erased. Ours: twice the longest attempt (CONTRACT 5,
// timeoutSeconds).
const afterErasure = 2 * time.Minute

// backlog is how many requests wait for a slow watcher.
const backlog = 64

// kept holds requests in memory, bounded per bin and in all.
type kept struct {
	mu     sync.Mutex
	all    *list.List // of *entry, oldest first
	bins   map[string]*bin
	bytes  int
	erased map[store.Subject]time.Time // of late: when
	closed bool

	maxRequests, maxBytes int
}

// bin is what is kept of one bin. It exists while it has requests or
// watchers.
type bin struct {
	entries  []*list.Element // oldest first
	watchers map[chan Request]struct{}
}

type entry struct {
	Request
	subject store.Subject // whom it tells of; no ID: nobody
	cost    int
}

func newKept() *kept {
	return &kept{
		all: list.New(), bins: map[string]*bin{}, erased: map[store.Subject]time.Time{},
		maxRequests: MaxRequests, maxBytes: MaxBytes,
	}
}

// bin returns the bin of that name, made when there is none.
func (k *kept) bin(name string) *bin {
	b, ok := k.bins[name]
	if !ok {
		b = &bin{watchers: map[chan Request]struct{}{}}
		k.bins[name] = b
	}
	return b
}

// tidy forgets a bin that holds nothing.
func (k *kept) tidy(name string) {
	if b, ok := k.bins[name]; ok && len(b.entries) == 0 && len(b.watchers) == 0 {
		delete(k.bins, name)
	}
}

// add keeps a request, and tells whether its subject was erased of late.
func (k *kept) add(r Request, subject store.Subject) (erased bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.bin(r.Bin)
	e := &entry{Request: r, subject: subject, cost: cost(r)}
	b.entries = append(b.entries, k.all.PushBack(e))
	k.bytes += e.cost
	if len(b.entries) > k.maxRequests {
		k.drop(r.Bin)
	}
	for k.bytes > k.maxBytes && k.all.Len() > 1 {
		k.drop(k.all.Front().Value.(*entry).Bin)
	}
	for w := range b.watchers {
		select {
		case w <- r:
		default: // it lost this one
		}
	}
	_, erased = k.erased[subject]
	return erased
}

// forget drops what tells of the subjects, and remembers them for a while.
func (k *kept) forget(subjects []store.Subject, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s, at := range k.erased {
		if now.Sub(at) > afterErasure {
			delete(k.erased, s)
		}
	}
	of := make(map[store.Subject]bool, len(subjects))
	for _, s := range subjects {
		k.erased[s], of[s] = now, true
	}
	for name := range k.bins {
		k.erase(name, func(e *entry) bool { return of[e.subject] })
	}
}

// forgetOne drops one request, if it is kept still.
func (k *kept) forgetOne(bin, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.erase(bin, func(e *entry) bool { return e.ID == id })
}

// erase drops those of a bin's requests that is names, but of one that says
// that somebody was erased it keeps that it came.
func (k *kept) erase(name string, is func(*entry) bool) {
	b, ok := k.bins[name]
	if !ok {
		return
	}
	b.entries = slices.DeleteFunc(b.entries, func(el *list.Element) bool {
		e := el.Value.(*entry)
		switch {
		case !is(e):
			return false
		case tellsErasure(e.Body):
			e.Request, e.subject = emptied(e.Request), store.Subject{}
			k.bytes += cost(e.Request) - e.cost
			e.cost = cost(e.Request)
			return false
		}
		k.bytes -= k.all.Remove(el).(*entry).cost
		return true
	})
	k.tidy(name)
}

// tellsErasure tells whether a body is that of a citizen.erased. Source:
// CONTRACT 6.
func tellsErasure(body string) bool {
	var b struct {
		ErasedAt string `json:"erasedAt"`
	}
	return json.Unmarshal([]byte(body), &b) == nil && b.ErasedAt != ""
}

// emptied returns a request without what it says of a person: its path and
// query are what the receiver's owner chose.
func emptied(r Request) Request {
	r.Body, r.Truncated = "", true
	r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h delivery.Header) bool {
		return strings.EqualFold(h.Name, delivery.HeaderSubject)
	})
	return r
}

// drop forgets a bin's oldest request. The oldest of all is the oldest of its
// bin, for both are in the order of arrival.
func (k *kept) drop(name string) {
	b := k.bins[name]
	k.bytes -= k.all.Remove(b.entries[0]).(*entry).cost
	b.entries = slices.Delete(b.entries, 0, 1)
	k.tidy(name)
}

func (k *kept) clear(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, ok := k.bins[name]
	if !ok {
		return
	}
	for _, e := range b.entries {
		k.bytes -= k.all.Remove(e).(*entry).cost
	}
	b.entries = nil
	k.tidy(name)
}

func (k *kept) page(name, after string, limit int) (rs []Request, next string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, ok := k.bins[name]
	if !ok {
		return nil, ""
	}
	from := 0
	if after != "" {
		for i, e := range slices.Backward(b.entries) {
			if e.Value.(*entry).ID == after {
				from = i + 1
				break
			}
		}
	}
	upto := min(from+limit, len(b.entries))
	for _, e := range b.entries[from:upto] {
		rs = append(rs, e.Value.(*entry).Request)
	}
	if upto < len(b.entries) {
		next = rs[len(rs)-1].ID
	}
	return rs, next
}

func (k *kept) get(name, id string) (Request, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b, ok := k.bins[name]; ok {
		for _, e := range b.entries {
			if r := e.Value.(*entry).Request; r.ID == id {
				return r, true
			}
		}
	}
	return Request{}, false
}

func (k *kept) summary(name string) Summary {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, ok := k.bins[name]
	if !ok || len(b.entries) == 0 {
		return Summary{}
	}
	return Summary{Kept: len(b.entries), LatestAt: b.entries[len(b.entries)-1].Value.(*entry).At}
}

func (k *kept) watch(name string) (<-chan Request, func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := make(chan Request, backlog)
	if k.closed {
		close(w)
		return w, func() {}
	}
	k.bin(name).watchers[w] = struct{}{}
	return w, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		b, ok := k.bins[name]
		if !ok {
			return
		}
		if _, watching := b.watchers[w]; watching {
			delete(b.watchers, w)
			close(w)
			k.tidy(name)
		}
	}
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for name, b := range k.bins {
		for w := range b.watchers {
			close(w)
		}
		clear(b.watchers)
		k.tidy(name)
	}
}

func cost(r Request) int {
	n := overhead + len(r.ID) + len(r.Bin) + len(r.Method) + len(r.Path) + len(r.Query) + len(r.Body)
	for _, h := range r.Headers {
		n += len(h.Name) + len(h.Value) + 2*16 // two string headers
	}
	return n
}
