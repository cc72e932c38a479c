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

// get returns the one behind the first i, which there is, and leaves it there.
func (d *deque[T]) get(i int) T { return d.buf[d.at(i)] }

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

// window is the places of the log between the cursor and what was read, in
// order, that are not known to be settled, and the settled ones behind them.
type window struct {
	places []place
	head   int
}

type place struct {
	seq     event.Seq
	settled bool
}

func (w *window) len() int { return len(w.places) - w.head }

func (w *window) add(seq event.Seq) {
	if w.head > 1024 && w.head*2 > len(w.places) {
		w.places = append(w.places[:0], w.places[w.head:]...)
		w.head = 0
	}
	w.places = append(w.places, place{seq: seq})
}

// settle marks a place; one that is not there is none of the window's.
func (w *window) settle(seq event.Seq) {
	lo, hi := w.head, len(w.places)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); w.places[mid].seq < seq {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(w.places) && w.places[lo].seq == seq {
		w.places[lo].settled = true
	}
	for w.head < len(w.places) && w.places[w.head].settled {
		w.head++
	}
}

// cursor returns the place up to which everything is settled, when everything
// up to read was looked at.
func (w *window) cursor(read event.Seq) event.Seq {
	if w.len() == 0 {
		return read
	}
	return w.places[w.head].seq - 1 // everything before it was looked at, and is settled or another's
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
