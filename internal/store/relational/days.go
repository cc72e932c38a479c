package relational

import (
	"database/sql"
	"math"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// A database that others write to keeps the log in parts, one for each day, of
// which a read need not look at those of former days. The order of the log is
// that of its places, though, and not of its times: nodes' clocks differ, and
// one may have waited with what it read from its own. So the latest time of each
// log is kept (log_at), and the last place whose time was long before that
// (log_late); behind that place no time is long before that of any place in
// between.

// outOfTime is by how much a time may be before the latest one of its log.
const outOfTime = int64(time.Hour / time.Millisecond)

// logged notes the time of an event that is logged, at a place.
func (h *heads) logged(seq, recorded int64) {
	switch {
	case !h.late.Valid: // of those before nothing is known
		h.late, h.at = sql.NullInt64{Int64: seq - 1, Valid: true}, sql.NullInt64{Int64: recorded, Valid: true}
	case recorded < h.at.Int64-outOfTime:
		h.late.Int64 = seq
	}
	h.at.Int64 = max(h.at.Int64, recorded)
}

// logMarks remember for endpoints the time of a place that was read lately.
type logMarks struct {
	mu sync.Mutex
	at map[int64]logMark
}

type logMark struct {
	seq      event.Seq
	recorded int64
}

func (m *logMarks) get(ep int64) logMark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at[ep]
}

func (m *logMarks) put(ep int64, seq event.Seq, recorded int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil || len(m.at) >= maxSmallKeys {
		m.at = make(map[int64]logMark)
	}
	m.at[ep] = logMark{seq, recorded}
}

// staleMark is by how many places a mark may be behind.
const staleMark = 1 << 16

// logSpan returns the place of an application's last event, and a time, in Unix
// milliseconds, before which none behind a place was recorded.
func (r *reader) logSpan(key epKey, after event.Seq) (last event.Seq, since int64, err error) {
	if !r.s.db.Shared() {
		last, err = r.logEnd(key.app)
		return last, math.MinInt64, err
	}
	var behind sql.NullInt64
	if err = r.get([]any{(*int64)(&last), &behind}, "SELECT last_seq, log_late FROM application WHERE app = ?", key.app); err != nil {
		return 0, 0, err
	}
	if !behind.Valid || int64(after) <= behind.Int64 || after >= last {
		return last, math.MinInt64, nil
	}
	m := r.s.marks.get(key.ep)
	if m.seq > after || int64(m.seq) <= behind.Int64 || after-m.seq > staleMark {
		m = logMark{seq: after}
		err = r.get([]any{&m.recorded}, "SELECT recorded_at FROM event WHERE app = ? AND seq = ?", key.app, int64(after))
		if isNotFound(err) { // it is no longer in the log
			return last, math.MinInt64, nil
		}
		if err != nil {
			return 0, 0, err
		}
		r.s.marks.put(key.ep, m.seq, m.recorded)
	}
	return last, m.recorded - outOfTime, nil
}
