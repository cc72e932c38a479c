package relational

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// importErrorPlace is under the key of the import's subject.
func importErrorPlace(id string, line int64) secret.Place {
	return secret.Place{What: "import", Owner: id, Field: "error/" + strconv.FormatInt(line, 10)}
}

func (s *Store) importKeyHash(app access.ID, key string) []byte {
	return s.index.Hash(secret.Place{What: "import", Owner: string(app), Field: "key"}, key)
}

// fieldForm is one fault of a line. Its names are never changed.
type fieldForm struct {
	Path string `json:"p,omitzero"`
	Code string `json:"c"`
	Msg  string `json:"m"`
}

// PutImport implements store.Tx.
func (t *tx) PutImport(i store.Import, errs ...store.ImportError) error {
	app, err := t.app(i.Application)
	if err != nil {
		return err
	}
	var key any
	if i.Key != "" {
		key = t.s.importKeyHash(i.Application, i.Key)
	}
	var row int64
	err = t.get([]any{&row}, `INSERT INTO import
		(app, import_id, key_hash, silent, done, lines, recorded, refused, errors, kept, digest, started_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (import_id) DO UPDATE SET done = excluded.done, lines = excluded.lines, recorded = excluded.recorded,
			refused = excluded.refused, errors = excluded.errors, kept = excluded.kept, digest = excluded.digest,
			updated_at = excluded.updated_at WHERE import.app = excluded.app RETURNING row`,
		app, i.ID, key, i.Silent, i.Done, i.Lines, i.Recorded, i.Refused, i.Errors, i.Kept, i.Digest[:],
		millis(i.StartedAt), millis(i.UpdatedAt))
	if err != nil || len(errs) == 0 {
		return err
	}
	if err := t.advance(app, i.ID, 0); err != nil {
		return err
	}
	for _, e := range errs {
		list := make([]fieldForm, len(e.Fields))
		for k, f := range e.Fields {
			list[k] = fieldForm(f)
		}
		content, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("encode the errors of a line: %w", err)
		}
		_, err = t.exec("INSERT INTO import_error (import, line, sealed) VALUES (?, ?, ?)",
			row, e.Line, t.last.cipher.Seal(content, importErrorPlace(i.ID, e.Line)))
		if err != nil {
			return err
		}
	}
	return nil
}

const importFields = "import_id, silent, done, lines, recorded, refused, errors, kept, digest, started_at, updated_at"

func scanImport(scan func(...any) error, app access.ID) (store.Import, error) {
	i := store.Import{Application: app}
	var digest []byte
	var started, updated int64
	err := scan(&i.ID, &i.Silent, &i.Done, &i.Lines, &i.Recorded, &i.Refused, &i.Errors, &i.Kept, &digest, &started, &updated)
	copy(i.Digest[:], digest)
	i.StartedAt, i.UpdatedAt = moment(started), moment(updated)
	return i, err
}

// importWhere returns the one for which a condition holds.
func (r *reader) importWhere(app access.ID, where string, arg any) (store.Import, error) {
	key, err := r.app(app)
	if err != nil {
		return store.Import{}, err
	}
	return scanImport(func(dst ...any) error {
		return r.get(dst, "SELECT "+importFields+" FROM import WHERE app = ? AND "+where, key, arg)
	}, app)
}

// Import implements store.Tx.
func (t *tx) Import(app access.ID, id string) (store.Import, error) {
	return t.importWhere(app, "import_id = ?", id)
}

// ImportByKey implements store.Tx.
func (t *tx) ImportByKey(app access.ID, key string) (store.Import, error) {
	return t.importWhere(app, "key_hash = ?", t.s.importKeyHash(app, key))
}

// Import implements store.Reader.
func (s *Store) Import(ctx context.Context, app access.ID, id string) (i store.Import, err error) {
	err = s.read(ctx, func(r *reader) error {
		i, err = r.importWhere(app, "import_id = ?", id)
		return err
	})
	return i, err
}

// Imports implements store.Reader. The after is the ID of the last import seen.
func (s *Store) Imports(ctx context.Context, app access.ID, limit int, after string) (list []store.Import, next string, err error) {
	limit = pageLimit(limit)
	err = s.read(ctx, func(r *reader) error {
		list, next = nil, ""
		key, err := r.app(app)
		if err != nil {
			return err
		}
		where, args := " WHERE app = ?", []any{key}
		if after != "" {
			row, err := r.behind("SELECT row FROM import WHERE app = ? AND import_id = ?", key, after)
			if err != nil {
				return err
			}
			where, args = where+" AND row < ?", append(args, row)
		}
		return r.each(func(rows db.Rows) error {
			if len(list) == limit {
				next = list[limit-1].ID
				return nil
			}
			i, err := scanImport(rows.Scan, app)
			list = append(list, i)
			return err
		}, "SELECT "+importFields+" FROM import"+where+" ORDER BY row DESC LIMIT ?", append(args, limit+1)...)
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

// ImportErrors implements store.Reader.
func (s *Store) ImportErrors(
	ctx context.Context, app access.ID, id string, limit int, after int64,
) (list []store.ImportError, more bool, err error) {
	limit = pageLimit(limit)
	err = s.read(ctx, func(r *reader) error {
		list, more = nil, false
		key, err := r.app(app)
		if err != nil {
			return err
		}
		var row int64
		if err := r.get([]any{&row}, "SELECT row FROM import WHERE app = ? AND import_id = ?", key, id); err != nil {
			return err
		}
		ci, err := r.subjectCipher(key, id)
		if isNotFound(err) {
			return nil // no line was refused
		}
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			if more = len(list) == limit; more {
				return nil
			}
			var e store.ImportError
			var sealed []byte
			if err := rows.Scan(&e.Line, &sealed); err != nil {
				return err
			}
			var form []fieldForm
			content, err := ci.Open(sealed, importErrorPlace(id, e.Line))
			if err == nil {
				err = json.Unmarshal(content, &form)
			}
			if err != nil {
				return fmt.Errorf("open the errors of a line of %s: %w", id, err)
			}
			for _, f := range form {
				e.Fields = append(e.Fields, fault.Field(f))
			}
			list = append(list, e)
			return nil
		}, "SELECT line, sealed FROM import_error WHERE import = ? AND line > ? ORDER BY line LIMIT ?", row, after, limit+1)
	})
	if err != nil {
		return nil, false, err
	}
	return list, more, nil
}

// namesAsked is how many names one statement asks for.
const namesAsked = 64

var (
	marks           = "(?" + strings.Repeat(", ?", namesAsked-1) + ")"
	citizensByID    = "SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c.citizen_id IN " + marks
	citizensByRef   = "SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c.ref_hash IN " + marks
	mergedByID      = "SELECT " + citizenFields + fromMerged + " WHERE m.app = ? AND m.citizen_id IN " + marks
	mergedByRef     = "SELECT " + citizenFields + fromMerged + " WHERE m.app = ? AND m.ref_hash IN " + marks
	mergedAmong     = "SELECT citizen_id FROM citizen_merged WHERE app = ? AND citizen_id IN " + marks
	mergedRefsAmong = "SELECT ref_hash, into_id FROM citizen_merged WHERE app = ? AND ref_hash IN " + marks
	erasedAmong     = "SELECT subject FROM tombstone WHERE app = ? AND subject IN " + marks
)

// eachNamed calls fn for every row of a query whose arguments are an application and
// namesAsked names, until it was asked for all of n; a shorter list is filled up
// with its last element.
func (r *reader) eachNamed(query string, app int64, n int, name func(int) any, fn func(rows db.Rows) error) error {
	for begin := 0; begin < n; begin += namesAsked {
		args := make([]any, 1, 1+namesAsked)
		args[0] = app
		for i := begin; len(args) <= namesAsked; i = min(i+1, n-1) {
			args = append(args, name(i))
		}
		if err := r.each(fn, query, args...); err != nil {
			return err
		}
	}
	return nil
}

// anyMerged tells whether a citizen of an application was ever merged into
// another one.
func (r *reader) anyMerged(app int64) (yes bool, err error) {
	return yes, r.get([]any{&yes}, "SELECT EXISTS (SELECT 1 FROM citizen_merged WHERE app = ?)", app)
}

// CitizensBy implements store.Tx.
func (t *tx) CitizensBy(app access.ID, ids []permission.CitizenID, externalRefs []string) ([]store.Citizen, error) {
	key, err := t.app(app)
	if err != nil {
		return nil, err
	}
	list := make([]store.Citizen, 0, len(ids)+len(externalRefs))
	if t.met == nil {
		t.met = make(map[advancedKey]met, cap(list))
	}
	// In the order of the indexes, so that each page is read once.
	ids = slices.Sorted(slices.Values(ids))
	hashes := make([][]byte, len(externalRefs))
	for i, ref := range externalRefs {
		hashes[i] = t.s.refHash(app, ref)
	}
	slices.SortFunc(hashes, bytes.Compare)
	type opened struct {
		c  store.Citizen
		ci *secret.Cipher
	}
	var found []opened
	open := beside(func(k citizenAsKept) error {
		c, ci, err := t.s.openCitizen(&k, app, key)
		found = append(found, opened{c, ci})
		return err
	})
	defer open.end()
	ask := func(byID, byRef string) error {
		meet := func(rows db.Rows) error {
			var k citizenAsKept
			if err := k.scan(rows.Scan); err != nil {
				return err
			}
			return open.give(k)
		}
		if err := t.eachNamed(byID, key, len(ids), func(i int) any { return string(ids[i]) }, meet); err != nil {
			return err
		}
		return t.eachNamed(byRef, key, len(hashes), func(i int) any { return hashes[i] }, meet)
	}
	if err := ask(citizensByID, citizensByRef); err != nil {
		return nil, err
	}
	merged, err := t.anyMerged(key)
	if err == nil && merged {
		err = ask(mergedByID, mergedByRef)
	}
	if err == nil {
		err = open.end()
	}
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		list = append(list, o.c)
		t.meet(key, &o.c, o.ci)
	}
	return list, nil
}

// worker works off what it is given, in order, on a goroutine of its own.
type worker[T any] struct {
	todo   chan T
	failed chan struct{} // closed once err is set
	done   chan struct{} // closed once it has ended
	ended  bool
	err    error // the first
}

// beside begins a worker. Its owner ends it.
func beside[T any](work func(T) error) *worker[T] {
	w := &worker[T]{todo: make(chan T, namesAsked), failed: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for x := range w.todo {
			if w.err = unpanicked(work, x); w.err != nil {
				close(w.failed)
				return
			}
		}
	}()
	return w
}

// unpanicked makes an error of a panic, as the committer does of one on its own
// goroutine.
func unpanicked[T any](work func(T) error, x T) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a transaction panicked: %T", p)
		}
	}()
	return work(x)
}

// give hands over something to work off. An error is of what was given before.
func (w *worker[T]) give(x T) error {
	select {
	case w.todo <- x:
		return nil
	case <-w.failed:
		return w.err
	}
}

// end waits until everything is worked off. It may be called again.
func (w *worker[T]) end() error {
	if !w.ended {
		w.ended = true
		close(w.todo)
	}
	<-w.done
	return w.err
}

const subjectColumns = 4

// advancedKey names a subject.
type advancedKey struct {
	app     int64
	subject string
}

// met is a citizen that a transaction came across.
type met struct {
	cipher     *secret.Cipher
	is         bool // in table citizen, with these:
	ref, group string
}

// A statement that fails does not undo what it did to rows before: it would
// copy every page that it touches. So the whole transaction must then fail.
var (
	putCitizens  = tails(inserts("INSERT OR FAIL INTO citizen ("+citizenNames+") VALUES ", citizenColumns), citizenAgain)
	keepCitizens = tails(inserts("INSERT OR FAIL INTO citizen ("+citizenNames+") VALUES ", citizenColumns), // with the reference and the group that they have
		" ON CONFLICT (app, citizen_id) DO UPDATE SET version = excluded.version, due_at = excluded.due_at, sealed = excluded.sealed, standing = excluded.standing")
	makeSubjects    = tails(inserts("INSERT INTO subject (app, subject, sequence, sealed_key) VALUES ", subjectColumns), " ON CONFLICT DO NOTHING")
	putTransactions = inserts("INSERT OR FAIL INTO permission_transaction ("+transactionNames+") VALUES ", transactionColumns)
)

func tails(heads [maxInsert + 1]string, tail string) [maxInsert + 1]string {
	for n := range heads {
		heads[n] += tail
	}
	return heads
}

// PutRecorded implements store.Tx.
func (t *tx) PutRecorded(app access.ID, cs []store.Citizen, ts []permission.Transaction, evts ...event.Event) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	if err := t.mayPut(app, key, cs); err != nil {
		return err
	}
	if err := t.Publish(evts...); err != nil {
		return err
	}
	if err := t.makeSubjects(key, cs); err != nil {
		return err
	}
	cs, keep := t.inOrder(key, cs)
	if err := t.putCitizens(app, key, cs[:keep], true); err != nil {
		return err
	}
	if err := t.putCitizens(app, key, cs[keep:], false); err != nil {
		return err
	}
	return t.putTransactions(key, ts)
}

// insert inserts n rows of some columns. They are made, in order, on a goroutine
// of its own a few statements ahead, for sealing them takes as long as SQLite
// needs; row must not use the transaction's connection.
func (t *tx) insert(n, columns int, queries *[maxInsert + 1]string, row func(args []any, i int) ([]any, error)) error {
	type rows struct {
		args []any
		err  error
	}
	const ahead = 4
	ready, stop := make(chan rows, ahead), make(chan struct{})
	defer func() {
		close(stop)
		for range ready { // until it has ended
		}
	}()
	go func() {
		defer close(ready)
		for begin := 0; begin < n; begin += maxInsert {
			r := rows{args: make([]any, 0, maxInsert*columns)}
			for i := begin; i < min(begin+maxInsert, n) && r.err == nil; i++ {
				r.err = unpanicked(func(i int) (err error) {
					r.args, err = row(r.args, i)
					return err
				}, i)
			}
			select {
			case ready <- r:
			case <-stop:
				return
			}
			if r.err != nil {
				return
			}
		}
	}()
	for r := range ready {
		if r.err != nil {
			return r.err
		}
		if err := t.later(queries[len(r.args)/columns], r.args...); err != nil {
			return err
		}
	}
	return t.flush()
}

// putCitizens writes citizens. Those that are kept have the reference and the
// group that they had.
func (t *tx) putCitizens(app access.ID, key int64, cs []store.Citizen, kept bool) error {
	if len(cs) == 0 {
		return nil
	}
	ciphers := make([]*secret.Cipher, len(cs))
	for i, c := range cs {
		var err error
		if ciphers[i], err = t.cipherOf(key, c.ID); err != nil {
			return err
		}
	}
	queries := &putCitizens
	if kept {
		queries = &keepCitizens
	}
	var change touched
	err := t.insert(len(cs), citizenColumns, queries, func(args []any, i int) ([]any, error) {
		c := &cs[i]
		var ref any
		if c.ExternalRef != "" && !kept {
			ref = t.s.refHash(app, c.ExternalRef)
		}
		args, due, err := citizenRow(args, key, ref, ciphers[i], c)
		change.due(due)
		return args, err
	})
	if err != nil {
		return t.refBroken(err)
	}
	t.change.due(change.deadline)
	for i := range cs {
		t.meet(key, &cs[i], ciphers[i])
	}
	return nil
}

// putTransactions writes transactions of citizens who are there.
func (t *tx) putTransactions(key int64, ts []permission.Transaction) error {
	if len(ts) == 0 {
		return nil
	}
	ciphers := make([]*secret.Cipher, len(ts))
	for i, x := range ts {
		var err error
		if ciphers[i], err = t.cipherOf(key, x.Citizen); err != nil {
			return err
		}
	}
	if _, err := t.heads(key); err != nil { // so that it is known when a row needs it
		return err
	}
	return t.insert(len(ts), transactionColumns, &putTransactions, func(args []any, i int) ([]any, error) {
		return t.transactionRow(args, key, ciphers[i], &ts[i])
	})
}

// inOrder returns citizens in the order in which they are to be put: first those
// that keep their reference and their group, by their ID, so that an index is
// read from its one end to the other and none is changed; then all others, in
// the order given. keep is how many the first are.
func (t *tx) inOrder(app int64, cs []store.Citizen) (list []store.Citizen, keep int) {
	list = make([]store.Citizen, 0, len(cs))
	var others []store.Citizen
	for _, c := range cs {
		if m := t.met[advancedKey{app, string(c.ID)}]; m.is && m.ref == c.ExternalRef && m.group == c.Group {
			list = append(list, c)
		} else {
			others = append(others, c)
		}
	}
	slices.SortFunc(list, func(a, b store.Citizen) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return append(list, others...), len(list)
}

// mayPut refuses citizens that PutCitizen would, but for references that are in
// table citizen.
func (t *tx) mayPut(app access.ID, key int64, cs []store.Citizen) error {
	fresh := make([]string, 0, len(cs)) // perhaps
	for _, c := range cs {
		if t.met[advancedKey{key, string(c.ID)}].is {
			continue
		}
		if hashInName(string(c.ID)) != nil {
			return idErased()
		}
		fresh = append(fresh, string(c.ID))
	}
	if err := t.loadErasures(); err != nil {
		return err
	}
	if t.small.tombs {
		err := t.eachNamed(erasedAmong, key, len(fresh), func(i int) any { return t.s.subjectHash(key, fresh[i]) }, func(db.Rows) error {
			return idErased()
		})
		if err != nil {
			return err
		}
	}
	if merged, err := t.anyMerged(key); err != nil || !merged {
		return err
	}
	err := t.eachNamed(mergedAmong, key, len(fresh), func(i int) any { return fresh[i] }, func(db.Rows) error {
		return errors.New("put a citizen who is a part of another one")
	})
	if err != nil {
		return err
	}
	var hashes [][]byte
	owners := make(map[string]permission.CitizenID, len(cs))
	for _, c := range cs {
		if c.ExternalRef != "" {
			hash := t.s.refHash(app, c.ExternalRef)
			hashes, owners[string(hash)] = append(hashes, hash), c.ID
		}
	}
	return t.eachNamed(mergedRefsAmong, key, len(hashes), func(i int) any { return hashes[i] }, func(rows db.Rows) error {
		var hash []byte
		var into permission.CitizenID
		if err := rows.Scan(&hash, (*string)(&into)); err != nil || owners[string(hash)] == into {
			return err
		}
		return refTaken()
	})
}

// makeSubjects makes those subjects of citizens that are not there yet, but for
// the ones that CitizensBy returned.
func (t *tx) makeSubjects(app int64, cs []store.Citizen) error {
	if t.met == nil {
		t.met = make(map[advancedKey]met)
	}
	args := make([]any, 0, maxInsert*subjectColumns)
	made := make(map[advancedKey]met, maxInsert)
	for i, c := range cs {
		k := advancedKey{app, string(c.ID)}
		if t.met[k].cipher == nil {
			sealed, ci := t.s.keys.NewKey(subjectPlace(app, string(c.ID)))
			t.s.opens.put(sealed, ci)
			made[k] = met{cipher: ci}
			args = append(args, app, string(c.ID), int64(0), sealed)
		}
		if len(args) < cap(args) && i < len(cs)-1 || len(args) == 0 {
			continue
		}
		n, err := t.exec(makeSubjects[len(args)/subjectColumns], args...)
		if err != nil {
			return err
		}
		if n == int64(len(made)) { // else some have a key already, which advance finds
			maps.Copy(t.met, made)
		}
		args = args[:0]
		clear(made)
	}
	return nil
}

// refBroken tells the one constraint that citizens can break: the ID is no
// conflict.
func (c *conn) refBroken(err error) error {
	if c.db.Unique(err) {
		return refTaken()
	}
	return err
}
