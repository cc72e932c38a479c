package relational

import (
	"slices"
	"sync"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

// The bounds of what is kept of logs: bodies and places of all applications
// together, and how many applications.
const (
	tailBytes = 4 << 20
	tailItems = 4096
	tailApps  = 256
)

// logTails keep the part of each application's log that was read last, opened, so
// that the many endpoints which stand there read and open it once between them
// (DESIGN 3.11). Bodies are shared and never changed.
type logTails struct {
	mu    sync.Mutex
	logs  map[int64]*tail
	bytes int
	items int
	drops uint64 // how often something was taken away: what was read before must not come in
}

// tail is a part of one log without gaps.
type tail struct {
	places []tailPlace
	bytes  int
}

// tailPlace is one place of a log.
type tailPlace struct {
	seq    event.Seq
	typ    event.Type
	feed   event.Feed
	except string
	item   *delivery.Item // nil: it was not opened; without a body it was erased
}

func (p *tailPlace) size() int {
	if p.item == nil {
		return 0
	}
	return len(p.item.Body)
}

// first is the tail's first place; it is not empty.
func (l *tail) first() event.Seq { return l.places[0].seq }

// next is the place behind the tail's last.
func (l *tail) next() event.Seq { return l.places[len(l.places)-1].seq + 1 }

// begin returns what add wants to know of the time before the log was read.
func (k *logTails) begin() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.drops
}

// after returns up to n places behind a place and not behind upto, as far as
// they are kept.
func (k *logTails) after(app int64, after, upto event.Seq, n int) []tailPlace {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.logs[app]
	if l == nil || after+1 < l.first() || after+1 >= l.next() {
		return nil
	}
	part := l.places[after+1-l.first():]
	return slices.Clone(part[:min(int64(len(part)), int64(upto-after), int64(n))])
}

// add takes over places that were read one after the other. since is what begin
// returned before they were.
func (k *logTails) add(app int64, since uint64, read []tailPlace) {
	if len(read) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.drops != since {
		return
	}
	l := k.logs[app]
	switch {
	case l == nil:
	case read[0].seq >= l.first() && read[0].seq < l.next(): // another reader was faster, or knew less
		for ; len(read) > 0 && read[0].seq < l.next(); read = read[1:] {
			if p := &l.places[read[0].seq-l.first()]; read[0].item != nil && p.item == nil {
				*p = read[0]
				k.grow(l, p.size(), 0)
			}
		}
	case read[0].seq < l.first():
		return // somebody who is behind
	case read[0].seq > l.next():
		k.forget(app)
		l = nil
	}
	if len(read) == 0 {
		return
	}
	if l == nil {
		if k.logs == nil || len(k.logs) >= tailApps {
			k.logs, k.bytes, k.items = make(map[int64]*tail), 0, 0
		}
		l = &tail{}
		k.logs[app] = l
	}
	for _, p := range read {
		if len(l.places) > 0 && p.seq != l.next() {
			break // the log is dense, so this is none of it
		}
		l.places = append(l.places, p)
		k.grow(l, p.size(), 1)
	}
	k.trim(app, l)
}

func (k *logTails) grow(l *tail, bytes, items int) {
	l.bytes += bytes
	k.bytes += bytes
	k.items += items
}

// trim makes room: first what others keep goes, then the older part of this log.
func (k *logTails) trim(app int64, l *tail) {
	for other := range k.logs {
		if k.bytes <= tailBytes && k.items <= tailItems {
			return
		}
		if other != app {
			k.forget(other)
		}
	}
	n := 0
	for n < len(l.places)-1 && (k.bytes > tailBytes || k.items > tailItems) {
		k.grow(l, -l.places[n].size(), -1)
		n++
	}
	if n > 0 {
		left := copy(l.places, l.places[n:])
		clear(l.places[left:])
		l.places = l.places[:left]
	}
}

// open keeps the body of a place.
func (k *logTails) open(app int64, since uint64, p tailPlace) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.logs[app]
	if k.drops != since || l == nil || p.seq < l.first() || p.seq >= l.next() {
		return
	}
	if q := &l.places[p.seq-l.first()]; q.item == nil {
		*q = p
		k.grow(l, p.size(), 0)
		k.trim(app, l)
	}
}

// drop forgets an application's, because something of it was erased or it was
// deleted. It is called before the transaction ends and once more after it.
func (k *logTails) drop(app int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drops++
	k.forget(app)
}

// clear forgets all.
func (k *logTails) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drops++
	k.logs, k.bytes, k.items = nil, 0, 0
}

func (k *logTails) forget(app int64) {
	if l := k.logs[app]; l != nil {
		k.bytes -= l.bytes
		k.items -= len(l.places)
		delete(k.logs, app)
	}
}

// readTail is readPart for what is kept of the log.
func (r *reader) readTail(p *delivery.Page, key epKey, e delivery.Endpoint, f subscription.Filter, upto event.Seq, limit, maxBytes int) (full bool, err error) {
	whole, nth, parts := e.Split()
	since := r.s.tails.begin()
	places := r.s.tails.after(key.app, p.Upto, upto, scanPage)
	bytes := bytesOf(p)
	for i := range places {
		at := &places[i]
		if f.Matches(subscription.ID(whole), event.Event{Type: at.typ, Feed: at.feed, Except: at.except}) {
			if at.item == nil {
				it, err := r.item(key.app, at.seq)
				if err != nil {
					return false, err
				}
				at.item = &it
				r.s.tails.open(key.app, since, *at)
			}
			if at.size() > 0 && delivery.PartFor(at.item.Subject, parts) == nth {
				if len(p.Items) > 0 && bytes+at.size() > maxBytes {
					return true, nil
				}
				bytes += at.size()
				p.Items = append(p.Items, *at.item)
			}
		}
		p.Upto = at.seq
		if len(p.Items) == limit {
			return true, nil
		}
	}
	return false, nil
}

// bytesOf returns the size of a page's bodies.
func bytesOf(p *delivery.Page) (n int) {
	for _, it := range p.Items {
		n += len(it.Body)
	}
	return n
}
