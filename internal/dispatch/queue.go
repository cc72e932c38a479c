package dispatch

import (
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
)

// deque is a queue with two ends. Its zero value is empty.
type deque[T any] struct {
	buf  []T // a power of two long
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

func (d *deque[T]) at(i int) int { return (d.head + i) & (len(d.buf) - 1) }

func (d *deque[T]) grow() {
	if d.n < len(d.buf) {
		return
	}
	buf := make([]T, max(1, 2*len(d.buf)))
	for i := range d.n {
		buf[i] = d.buf[d.at(i)]
	}
	d.buf, d.head = buf, 0
}

func (d *deque[T]) pushBack(v T) {
	d.grow()
	d.buf[d.at(d.n)] = v
	d.n++
}

func (d *deque[T]) pushFront(v T) {
	d.grow()
	d.head = d.at(len(d.buf) - 1)
	d.buf[d.head] = v
	d.n++
}

func (d *deque[T]) popFront() (v T, ok bool) {
	if d.n == 0 {
		return v, false
	}
	v = d.buf[d.head]
	var zero T
	d.buf[d.head] = zero
	d.head = d.at(1)
	d.n--
	return v, true
}

// entry is a loaded event in its lane.
type entry struct {
	item delivery.Item
	pos  int64 // in the window
	next *entry
}

// lane is one subject's loaded events, in order. It is there while it has some,
// or while one of the subject is on the wire or being recorded.
type lane struct {
	subject     string
	first, last *entry
	n           int
	urgent      int    // how many of them take a permission away
	in          *lanes // the queue it is in; nil: none
	prev, next  *lane  // there
	busy        bool   // one of the subject is on the wire or being recorded: the lane is in no queue
	job         *job   // what is on the wire of it; nil: nothing, or only an exception
	latest      bool   // what gave way to its first event is recorded
}

func (l *lane) push(en *entry) {
	if l.last == nil {
		l.first = en
	} else {
		l.last.next = en
	}
	l.last = en
	l.added(en)
}

func (l *lane) unshift(en *entry) {
	if en.next = l.first; l.first == nil {
		l.last = en
	}
	l.first = en
	l.added(en)
}

func (l *lane) added(en *entry) {
	l.n++
	if en.item.Type.IsWithdrawal() {
		l.urgent++
	}
}

// shift takes the first of a lane; nil: it is empty.
func (l *lane) shift() *entry {
	en := l.first
	if en == nil {
		return nil
	}
	if l.first = en.next; l.first == nil {
		l.last = nil
	}
	en.next = nil
	l.n--
	if en.item.Type.IsWithdrawal() {
		l.urgent--
	}
	return en
}

// lanes is a queue of lanes, of which each is in one queue at most. Its zero
// value is empty.
type lanes struct {
	head, tail *lane
	n          int
}

func (q *lanes) len() int { return q.n }

func (q *lanes) pushBack(l *lane) {
	l.in, l.prev, l.next = q, q.tail, nil
	if q.tail == nil {
		q.head = l
	} else {
		q.tail.next = l
	}
	q.tail = l
	q.n++
}

func (q *lanes) pushFront(l *lane) {
	l.in, l.prev, l.next = q, nil, q.head
	if q.head == nil {
		q.tail = l
	} else {
		q.head.prev = l
	}
	q.head = l
	q.n++
}

// leave takes a lane out of the queue that it is in, if it is in one.
func (l *lane) leave() {
	q := l.in
	if q == nil {
		return
	}
	if l.prev == nil {
		q.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		q.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.in, l.prev, l.next = nil, nil, nil
	q.n--
}

// window is the places of the log between the cursor and what was read, in
// order, that are not known to be settled, and the settled ones behind them.
// A place keeps its position as long as it is there.
type window struct {
	places []place
	head   int
	base   int64 // position of the first of places
}

type place struct {
	seq     event.Seq
	settled bool
	lane    *lane // of the subject; nil once it is settled
}

func (w *window) len() int { return len(w.places) - w.head }

// add appends a place and returns its position.
func (w *window) add(seq event.Seq, l *lane) int64 {
	if w.head > 1024 && w.head*2 > len(w.places) {
		n := copy(w.places, w.places[w.head:])
		clear(w.places[n:])
		w.places = w.places[:n]
		w.base += int64(w.head)
		w.head = 0
	}
	w.places = append(w.places, place{seq: seq, lane: l})
	return w.base + int64(len(w.places)-1)
}

// settle marks the place at a position.
func (w *window) settle(pos int64) {
	p := &w.places[pos-w.base]
	p.settled, p.lane = true, nil
	for w.head < len(w.places) && w.places[w.head].settled {
		w.head++
	}
}

// cut takes away the places behind seq.
func (w *window) cut(seq event.Seq) {
	n := len(w.places)
	for n > w.head && w.places[n-1].seq > seq {
		n--
	}
	clear(w.places[n:])
	w.places = w.places[:n]
}

// first returns the place that holds the cursor, of those that are there.
func (w *window) first() *place { return &w.places[w.head] }

// cursor returns the place up to which everything is settled, when everything
// up to read was looked at.
func (w *window) cursor(read event.Seq) event.Seq {
	if w.len() == 0 {
		return read
	}
	return w.first().seq - 1 // everything before it was looked at, and is settled or another's
}

// young is the attempts on the wire that have not lasted long, in the order in
// which they began. Its zero value is empty.
type young struct{ head, tail *job }

func (y *young) push(j *job) {
	if j.prev = y.tail; y.tail == nil {
		y.head = j
	} else {
		y.tail.next = j
	}
	y.tail = j
}

func (y *young) remove(j *job) {
	if j.prev == nil {
		y.head = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		y.tail = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.prev, j.next = nil, nil
}

// due is the exceptions that wait for their time, the earliest first. It is a
// container/heap.
type due struct {
	list []delivery.Exception
	at   map[event.Seq]int // index in list
}

// Len is the number of exceptions.
func (d *due) Len() int { return len(d.list) }

// Less orders by time, then by place in the log.
func (d *due) Less(i, j int) bool {
	a, b := d.list[i], d.list[j]
	if c := a.NextAt.Compare(b.NextAt); c != 0 {
		return c < 0
	}
	return a.Seq < b.Seq
}

// Swap exchanges two.
func (d *due) Swap(i, j int) {
	d.list[i], d.list[j] = d.list[j], d.list[i]
	d.at[d.list[i].Seq], d.at[d.list[j].Seq] = i, j
}

// Push appends.
func (d *due) Push(x any) {
	x2 := x.(delivery.Exception)
	d.at[x2.Seq] = len(d.list)
	d.list = append(d.list, x2)
}

// Pop removes the last.
func (d *due) Pop() any {
	x := d.list[len(d.list)-1]
	d.list = d.list[:len(d.list)-1]
	delete(d.at, x.Seq)
	return x
}

// next returns when the first is due; zero: there is none.
func (d *due) next() time.Time {
	if len(d.list) == 0 {
		return time.Time{}
	}
	return d.list[0].NextAt
}
