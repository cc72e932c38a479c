package relational

import (
	"encoding/json"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store/db"
)

// cursorOf is the cursor of an endpoint p: the least of its parts', if it has
// several. Between that and theirs everything was delivered or is an exception.
const cursorOf = "COALESCE((SELECT MIN(q.cursor_seq) FROM endpoint_part q WHERE q.ep = p.ep), p.cursor_seq)"

// stand is the row that keeps the cursor and the lease of an endpoint, or of a
// part of one.
type stand struct {
	table, where string
	args         []any // of where
}

func standOf(ep int64, e delivery.Endpoint) stand {
	_, part, parts := e.Split()
	if parts == 1 {
		return stand{"endpoint", "ep = ?", []any{ep}}
	}
	return stand{"endpoint_part", "ep = ? AND part = ?", []any{ep, part}}
}

// read reads columns of it.
func (s stand) read(r *reader, dst []any, columns string) error {
	return r.get(dst, "SELECT "+columns+" FROM "+s.table+" WHERE "+s.where, s.args...)
}

// hold is read for a transaction that writes to it.
func (s stand) hold(t *tx, dst []any, columns string) error {
	return t.get(dst, "SELECT "+columns+" FROM "+s.table+" WHERE "+s.where+t.locking(), s.args...)
}

// set writes one column of it.
func (s stand) set(t *tx, column string, value any) error {
	return t.later("UPDATE "+s.table+" SET "+column+" = ? WHERE "+s.where, append([]any{value}, s.args...)...)
}

// breakLeases ends the leases of an endpoint and of its parts.
func (t *tx) breakLeases(ep int64) error {
	t.small.moved(ep)
	_, err := t.exec("UPDATE endpoint SET epoch = epoch + 1 WHERE ep = ?", ep)
	if err == nil {
		_, err = t.exec("UPDATE endpoint_part SET epoch = epoch + 1 WHERE ep = ?", ep)
	}
	return err
}

// putParts makes the parts of a new endpoint, which begin behind a place.
func (t *tx) putParts(ep int64, parts int, after int64) error {
	if parts <= 1 {
		return nil
	}
	if _, err := t.exec("UPDATE endpoint SET parts = ? WHERE ep = ?", parts, ep); err != nil {
		return err
	}
	for part := range parts {
		if _, err := t.exec("INSERT INTO endpoint_part (ep, part, cursor_seq) VALUES (?, ?, ?)", ep, part+1, after); err != nil {
			return err
		}
	}
	return nil
}

// partsOf returns in how many parts an endpoint is.
func (r *reader) partsOf(ep int64) (parts int, err error) {
	err = r.get([]any{&parts}, "SELECT parts FROM endpoint WHERE ep = ?", ep)
	return parts, err
}

// shareOut returns which places of a log are of which part of an endpoint, by
// part from 0. What is no longer in the log is nobody's.
func (r *reader) shareOut(key epKey, parts int, seqs []event.Seq) ([][]event.Seq, error) {
	out := make([][]event.Seq, parts)
	text, err := json.Marshal(seqs)
	if err != nil {
		return nil, err
	}
	return out, r.each(func(rows db.Rows) error {
		var seq event.Seq
		var subject string
		err := rows.Scan((*int64)(&seq), &subject)
		part := delivery.PartFor(subject, parts) - 1
		out[part] = append(out[part], seq)
		return err
	}, "SELECT e.seq, e.subject FROM json_each(?) j CROSS JOIN event e ON e.app = ? AND e.seq = j.value ORDER BY e.seq", string(text), key.app)
}
