package relational

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/db"
)

// Open opens the store of a database.
//
// Errors, all fault.Unavailable: those of the opener; "master_key_missing"
// without a ring; "master_key_wrong" when the ring lacks a key that seals
// something in it: the one it was made with, or another that came first in the
// ring since, until Rewrap is done; "store_moved"; "store_unreadable" when it is none of ours or
// cannot be opened.
func Open(ctx context.Context, from db.Opener, o Options) (_ *Store, err error) {
	if o.Keys == nil {
		return nil, fault.New(fault.Unavailable, "master_key_missing", "The store needs the master key that seals it.")
	}
	s := &Store{
		node: cmp.Or(o.Node, id.New(id.Node)), log: o.Log, onCommit: o.OnCommit, onEvent: o.OnEvent, keys: o.Keys,
		keysBySubject: secret.NewKeys(maxKeys),
		stop:          make(chan struct{}), done: make(chan struct{}),
	}
	s.writes.wake = make(chan struct{}, 1)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.db, err = from.Open(ctx); err != nil {
		return nil, err
	}
	s.writer = &conn{Conn: s.db.Writer(), db: s.db}
	if err := s.unlock(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	readers := s.db.Readers()
	s.readers = make(chan *conn, len(readers))
	for _, c := range readers {
		s.readers <- &conn{Conn: c, db: s.db}
	}
	if s.db.Shared() {
		s.db.Hear(s.hear)
		first, err := s.look(looked{})
		if err != nil {
			return nil, errors.Join(unreadable(err), s.db.Close())
		}
		go s.poll(first) // #nosec G118 -- it ends with the store
	}
	go s.commit()
	return s, nil
}

// Close implements store.Store. What is queued is written first; a read that
// is going on is waited for.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.closing.Store(true)
		close(s.stop)
		<-s.done
		for range cap(s.readers) {
			<-s.readers
		}
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if s.failed.Load() != nil {
		return storeFailed()
	}
	return s.read(ctx, func(r *reader) error {
		var one int
		return r.get([]any{&one}, "SELECT 1 FROM meta LIMIT 1")
	})
}

func unreadable(err error) error {
	return fault.Wrap(fault.Unavailable, "store_unreadable", "The store cannot be opened in the data folder.", err)
}

// The rows of table meta.
const (
	metaCheck = "check" // something known, sealed: tells a wrong key
	metaIndex = "index" // the key of look-up hashes
	metaMoved = "moved" // it was moved elsewhere (store/move)
	metaNext  = "next " // and a key's ID: as check, by a later key that has sealed since; until Rewrap is done
)

func metaPlace(name string) secret.Place {
	return secret.Place{What: "meta", Owner: name, Field: "value"}
}

// unlock checks the master key against the file, and makes the file's own keys
// when it is new. A file that has lost them is refused rather than given
// others, for nothing in it could be opened. A ring that cannot open everything
// is refused at once, rather than one delivery after another.
func (s *Store) unlock() error {
	r := &reader{conn: s.writer, s: s}
	var check, index []byte
	var moved bool
	err := r.get([]any{&moved}, "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?)", metaMoved)
	if err != nil {
		return unreadable(err)
	}
	if moved {
		return fault.New(fault.Unavailable, "store_moved",
			"This store was moved into a PostgreSQL database; serve that one, or its deliveries would be made twice.")
	}
	err = r.get([]any{&check}, "SELECT value FROM meta WHERE name = ?", metaCheck)
	if fault.KindOf(err) == fault.NotFound {
		return s.firstKeys(r)
	}
	if err == nil {
		err = r.get([]any{&index}, "SELECT value FROM meta WHERE name = ?", metaIndex)
	}
	var next map[string][]byte
	if err == nil {
		next, err = r.nextMarks()
	}
	if err != nil {
		return unreadable(err)
	}
	if _, err = s.keys.Open(check, metaPlace(metaCheck)); err == nil {
		s.index, err = s.keys.OpenIndex(index, metaPlace(metaIndex))
	}
	for name, mark := range next {
		if err == nil {
			_, err = s.keys.Open(mark, metaPlace(name))
		}
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, "master_key_wrong",
			"The master key is not the one that sealed this data folder; give the key, or the list of keys, that it was last used with.", err)
	}
	if err := r.markNext(); err != nil {
		return unreadable(err)
	}
	return nil
}

func (s *Store) firstKeys(r *reader) error {
	var used int
	err := r.get([]any{&used}, "SELECT EXISTS (SELECT 1 FROM application) OR EXISTS (SELECT 1 FROM meta)")
	if err != nil {
		return unreadable(err)
	}
	index, x := s.keys.NewIndex(metaPlace(metaIndex))
	var made int64
	if used == 0 {
		made, err = r.exec("INSERT INTO meta (name, value) VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING",
			metaCheck, s.keys.Seal([]byte("consentwire"), metaPlace(metaCheck)), metaIndex, index)
		if err != nil {
			return unreadable(err)
		}
	}
	if made > 0 {
		s.index = x
		return nil
	}
	// Another process may have made them at this moment.
	var check bool
	err = r.get([]any{&check}, "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?)", metaCheck)
	if err == nil && !check {
		err = errors.New("the store has lost its keys")
	}
	if err != nil {
		return unreadable(err)
	}
	return s.unlock()
}
