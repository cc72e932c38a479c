package relational

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/db"
)

const (
	// rewrapRows is how many rows one step looks at, and seals anew in one
	// transaction at most.
	rewrapRows = 200
	// rewrapPause is before a step is tried again that found the queue full.
	rewrapPause = 100 * time.Millisecond
)

// sealedColumn is a column that the master key seals. Its rows are walked in
// the order of their key.
type sealedColumn struct {
	// page reads the next rows behind a key: the key's columns, then what of
	// place, then the sealed record. Its arguments are the key behind which it
	// begins, and how many rows.
	page string
	// swap puts a record in the place of another: its arguments are the new one,
	// the key, and the one that must still be there.
	swap string
	// first is the key before all keys.
	first []any
	// place is where a record belongs; key and of are as page reads them.
	place func(key []any, of []string) secret.Place
	of    int // how many columns there are for place
}

// sealedColumns are all but those of meta, which go last.
var sealedColumns = []sealedColumn{
	{
		page:  "SELECT app, subject, sealed_key FROM subject WHERE (app, subject) > (?, ?) ORDER BY app, subject LIMIT ?",
		swap:  "UPDATE subject SET sealed_key = ? WHERE app = ? AND subject = ? AND sealed_key = ?",
		first: []any{int64(0), ""},
		place: func(key []any, _ []string) secret.Place { return subjectPlace(key[0].(int64), key[1].(string)) },
	},
	{
		page:  "SELECT ep, endpoint_id, sealed FROM endpoint WHERE ep > ? ORDER BY ep LIMIT ?",
		swap:  "UPDATE endpoint SET sealed = ? WHERE ep = ? AND sealed = ?",
		first: []any{int64(0)},
		place: func(_ []any, of []string) secret.Place { return endpointPlace(of[0]) },
		of:    1,
	},
	{
		page:  "SELECT ep, endpoint_id, hold_exchange FROM endpoint WHERE ep > ? ORDER BY ep LIMIT ?",
		swap:  "UPDATE endpoint SET hold_exchange = ? WHERE ep = ? AND hold_exchange = ?",
		first: []any{int64(0)},
		place: func(_ []any, of []string) secret.Place { return holdPlace(delivery.Endpoint(of[0])) },
		of:    1,
	},
	{
		page:  "SELECT k.ep, p.endpoint_id, k.sealed FROM kept_token k CROSS JOIN endpoint p ON p.ep = k.ep WHERE k.ep > ? ORDER BY k.ep LIMIT ?",
		swap:  "UPDATE kept_token SET sealed = ? WHERE ep = ? AND sealed = ?",
		first: []any{int64(0)},
		place: func(_ []any, of []string) secret.Place { return tokenPlace(of[0]) },
		of:    1,
	},
	{
		page:  "SELECT s.ep, s.version, p.endpoint_id, s.shown FROM shown s CROSS JOIN endpoint p ON p.ep = s.ep WHERE (s.ep, s.version) > (?, ?) ORDER BY s.ep, s.version LIMIT ?",
		swap:  "UPDATE shown SET shown = ? WHERE ep = ? AND version = ? AND shown = ?",
		first: []any{int64(0), int64(0)},
		place: func(key []any, of []string) secret.Place { return shownPlace(delivery.Endpoint(of[0]), key[1].(int64)) },
		of:    1,
	},
	{
		page:  "SELECT k.row, a.app_id, k.key_id, k.public_key, k.private_key FROM signing_key k CROSS JOIN application a ON a.app = k.app WHERE k.row > ? ORDER BY k.row LIMIT ?",
		swap:  "UPDATE signing_key SET private_key = ? WHERE row = ? AND private_key = ?",
		first: []any{int64(0)},
		place: func(_ []any, of []string) secret.Place { return signingPlace(access.ID(of[0]), of[1], of[2]) },
		of:    3,
	},
	{
		page: "SELECT i.app, i.route, i.key, a.app_id, i.response FROM idempotency i CROSS JOIN application a ON a.app = i.app " +
			"WHERE (i.app, i.route, i.key) > (?, ?, ?) ORDER BY i.app, i.route, i.key LIMIT ?",
		swap:  "UPDATE idempotency SET response = ? WHERE app = ? AND route = ? AND key = ? AND response = ?",
		first: []any{int64(0), "", ""},
		place: func(key []any, of []string) secret.Place {
			return answerPlace(access.ID(of[0]), key[1].(string), key[2].(string))
		},
		of: 1,
	},
	{
		page:  "SELECT kind, hash, sealed FROM portal_entry WHERE (kind, hash) > (?, ?) ORDER BY kind, hash LIMIT ?",
		swap:  "UPDATE portal_entry SET sealed = ? WHERE kind = ? AND hash = ? AND sealed = ?",
		first: []any{"", []byte{}},
		place: func(key []any, _ []string) secret.Place { return entryPlace(key[0].(string), key[1].([]byte)) },
	},
}

// errOtherKey says that the ring was given another first key meanwhile.
var errOtherKey = errors.New("the master key changed meanwhile")

// Rewrap implements store.Store.
//
// The rows of meta are the last: until all else is done the file does not open
// without the former keys.
func (s *Store) Rewrap(ctx context.Context) (records int, err error) {
	for {
		id := s.keys.KeyID()
		// What was sealed by a former key and not yet committed is committed
		// with this write: the committer seals what it writes, one after another.
		if err := s.calm(ctx, func(t *tx) error { return t.markNext() }); err != nil {
			return records, err
		}
		lost := 0
		for i := range sealedColumns {
			n, l, err := s.rewrapColumn(ctx, &sealedColumns[i])
			if records, lost = records+n, lost+l; err != nil {
				return records, fmt.Errorf("seal anew: %w", err)
			}
		}
		n, err := s.rewrapMeta(ctx, id)
		records += n
		if errors.Is(err, errOtherKey) {
			continue
		}
		if err == nil && lost > 0 {
			s.log.Error("records that no master key opens were left as they are", "count", lost)
		}
		return records, err
	}
}

// calm is write, but it waits while the queue is full.
func (s *Store) calm(ctx context.Context, fn func(t *tx) error) error {
	for {
		err := s.write(ctx, fn)
		if fault.CodeOf(err) != "busy" {
			return err
		}
		select {
		case <-time.After(rewrapPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rewrapColumn seals a column's records anew, and returns how many those were
// and how many cannot be opened.
func (s *Store) rewrapColumn(ctx context.Context, c *sealedColumn) (records, lost int, err error) {
	for after := c.first; after != nil; {
		if err := ctx.Err(); err != nil {
			return records, lost, err
		}
		var list []swap
		err := s.read(ctx, func(r *reader) error {
			var l int
			var err error
			list, l, after, err = r.staleRecords(c, after)
			lost += l
			return err
		})
		if err != nil {
			return records, lost, err
		}
		if len(list) == 0 {
			continue
		}
		done := 0
		err = s.calm(ctx, func(t *tx) error {
			done = 0
			for i := range list {
				// One that changed meanwhile is sealed by the new key already.
				n, err := t.exec(c.swap, list[i].args...)
				if err != nil {
					return err
				}
				done += int(n)
			}
			return nil
		})
		if err != nil {
			return records, lost, err
		}
		records += done
	}
	return records, lost, nil
}

// swap is a record to be put in the place of another.
type swap struct{ args []any }

// staleRecords reads the next page of a column behind a key, and seals anew
// what another key sealed. It returns the last key of the page, nil at the end.
func (r *reader) staleRecords(c *sealedColumn, after []any) (list []swap, lost int, last []any, err error) {
	count := 0
	err = r.each(func(row db.Rows) error {
		count++
		key, of, sealed := make([]any, len(c.first)), make([]string, c.of), []byte(nil)
		dst := make([]any, 0, len(key)+len(of)+1)
		for i := range key {
			dst = append(dst, &key[i])
		}
		for i := range of {
			dst = append(dst, &of[i])
		}
		if err := row.Scan(append(dst, &sealed)...); err != nil {
			return err
		}
		last = key
		if len(sealed) == 0 || r.s.keys.Current(sealed) {
			return nil // nothing is kept, or nothing is to be done
		}
		p := c.place(key, of)
		content, err := r.s.keys.Open(sealed, p)
		if err != nil {
			lost++
			return nil
		}
		args := append([]any{r.s.keys.Seal(content, p)}, key...)
		clear(content)
		list = append(list, swap{append(args, sealed)})
		return nil
	}, c.page, append(append([]any(nil), after...), rewrapRows)...)
	if count < rewrapRows {
		last = nil
	}
	return list, lost, last, err
}

// rewrapMeta seals the file's own keys anew, by the key with that ID; errOtherKey
// when it is no longer the one that seals.
func (s *Store) rewrapMeta(ctx context.Context, id string) (records int, err error) {
	err = s.calm(ctx, func(t *tx) error {
		records = 0
		for _, name := range []string{metaCheck, metaIndex} {
			var sealed []byte
			if err := t.get([]any{&sealed}, "SELECT value FROM meta WHERE name = ?", name); err != nil {
				return err
			}
			if s.keys.Current(sealed) {
				continue
			}
			content, err := s.keys.Open(sealed, metaPlace(name))
			if err != nil {
				return err
			}
			if _, err := t.exec("UPDATE meta SET value = ? WHERE name = ?", s.keys.Seal(content, metaPlace(name)), name); err != nil {
				return err
			}
			records++
		}
		if _, err := t.exec("DELETE FROM meta WHERE " + isNext); err != nil {
			return err
		}
		if s.keys.KeyID() != id { // rows are sealed by a key that is a former one by now
			return errOtherKey
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return records, nil
}

// markNext notes that the key that seals now does so, unless it is the one that
// the file was made with or last sealed anew by: none of them may be missing
// until everything is sealed anew.
func (r *reader) markNext() error {
	var check []byte
	if err := r.get([]any{&check}, "SELECT value FROM meta WHERE name = ?", metaCheck); err != nil {
		return err
	}
	if r.s.keys.Current(check) {
		return nil
	}
	name := metaNext + r.s.keys.KeyID()
	_, err := r.exec("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, r.s.keys.Seal([]byte("consentwire"), metaPlace(name)))
	return err
}

// nextMarks reads what markNext left, by name.
func (r *reader) nextMarks() (map[string][]byte, error) {
	marks := map[string][]byte{}
	err := r.each(func(rows db.Rows) error {
		var name string
		var sealed []byte
		err := rows.Scan(&name, &sealed)
		marks[name] = sealed
		return err
	}, "SELECT name, value FROM meta WHERE "+isNext)
	return marks, err
}

// isNext is the condition on the rows of meta that markNext writes.
const isNext = "substr(name, 1, 5) = '" + metaNext + "'"
