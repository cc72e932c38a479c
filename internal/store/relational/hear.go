package relational

import (
	"context"
	"encoding/json"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// How often a store that others write to looks for what it was not told
// (DESIGN 3.13): at first, and at last while nothing is found.
const (
	pollFirst = 250 * time.Millisecond
	pollLast  = 2 * time.Second
)

// changeForm is a store.Change on its way to other processes. The names are
// never changed.
type changeForm struct {
	Applications []access.ID         `json:"a,omitempty"`
	Endpoints    []delivery.Endpoint `json:"e,omitempty"`
	Deadline     int64               `json:"d,omitempty"`
	Erased       []store.Subject     `json:"x,omitempty"`
}

func encodeChange(c store.Change) []byte {
	b, err := json.Marshal(changeForm{c.Applications, c.Endpoints, millis(c.Deadline), c.Erased})
	if err != nil {
		return nil // then everything is looked at
	}
	return b
}

// hear takes what another process says that it changed.
func (s *Store) hear(told []byte) {
	var f changeForm
	if len(told) == 0 || json.Unmarshal(told, &f) != nil {
		s.forgetKeys() // somebody may have been erased
		s.lookAround()
		return
	}
	if len(f.Erased) > 0 {
		s.forgetErased(f.Erased)
	}
	s.watched(store.Change{Applications: f.Applications, Endpoints: f.Endpoints, Deadline: moment(f.Deadline), Erased: f.Erased})
}

// forgetErased drops data keys that another process destroyed.
func (s *Store) forgetErased(list []store.Subject) {
	s.tails.clear()
	err := s.read(context.Background(), func(r *reader) error {
		for _, x := range list {
			key, err := r.app(x.Application)
			if isNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			s.opens.dropCipher(s.seals.get(key, x.ID))
			s.seals.drop(key, x.ID)
			s.keysBySubject.Drop(key, x.ID)
		}
		return nil
	})
	if err != nil {
		s.forgetKeys()
	}
}

// forgetKeys drops every data key. Those that are in use are opened again.
func (s *Store) forgetKeys() {
	s.tails.clear()
	s.opens.clear()
	s.seals.clear()
	s.keysBySubject.Clear()
}

// lookAround tells the watchers of everything there is, because what changed is
// not known.
func (s *Store) lookAround() {
	var c store.Change
	err := s.read(context.Background(), func(r *reader) error {
		c = store.Change{}
		err := r.each(func(rows db.Rows) error {
			var app access.ID
			err := rows.Scan((*string)(&app))
			c.Applications = append(c.Applications, app)
			return err
		}, "SELECT app_id FROM application")
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			var e delivery.Endpoint
			err := rows.Scan((*string)(&e))
			c.Endpoints = append(c.Endpoints, e)
			return err
		}, "SELECT endpoint_id FROM endpoint WHERE deleted_at IS NULL")
	})
	if err != nil {
		return // the next look finds it
	}
	s.watched(c)
}

// looked is what a look at the database found, as far as poll compares it with
// the next.
type looked struct {
	logs      map[access.ID]int64 // their last places
	sum       endpointSum
	endpoints map[delivery.Endpoint]string // what poll knows them by
}

// poll finds the logs that others wrote to, and the endpoints that they changed
// since the last look, and nobody told of. It ends with the store.
func (s *Store) poll(last looked) {
	wait := pollFirst
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		wait = min(2*wait, pollLast)
		now, err := s.look(last)
		if err == nil {
			if c := now.since(last); len(c.Applications)+len(c.Endpoints) > 0 {
				wait = pollFirst
				s.watched(c)
			}
			last = now
		}
		timer.Reset(wait)
	}
}

// look looks at the database as poll does.
func (s *Store) look(last looked) (now looked, err error) {
	err = s.read(context.Background(), func(r *reader) (err error) {
		now = looked{logs: make(map[access.ID]int64, len(last.logs))}
		if now.sum, err = r.endpointSum(); err != nil {
			return err
		}
		if now.endpoints = last.endpoints; now.sum != last.sum || now.endpoints == nil {
			if now.endpoints, err = r.endpointStates(len(last.endpoints)); err != nil {
				return err
			}
		}
		return r.each(func(rows db.Rows) error {
			var app access.ID
			var end int64
			err := rows.Scan((*string)(&app), &end)
			now.logs[app] = end
			return err
		}, "SELECT app_id, last_seq FROM application")
	})
	return now, err
}

// since returns what changed after a look.
func (l looked) since(last looked) (c store.Change) {
	for app, end := range l.logs {
		if last.logs[app] != end {
			c.Applications = append(c.Applications, app)
		}
	}
	if l.sum == last.sum {
		return c
	}
	for e, state := range l.endpoints {
		if last.endpoints[e] != state {
			c.Endpoints = append(c.Endpoints, e)
		}
	}
	for e := range last.endpoints {
		if _, there := l.endpoints[e]; !there { // it went with its application
			c.Endpoints = append(c.Endpoints, e)
		}
	}
	return c
}

// endpointSum changes with every endpoint that is made, changed or deleted, and
// with every replay that begins.
type endpointSum struct{ count, versions, states, replays int64 }

func (r *reader) endpointSum() (sum endpointSum, err error) {
	err = r.get([]any{&sum.count, &sum.versions, &sum.states, &sum.replays}, `SELECT COUNT(*), COALESCE(SUM(version), 0),
		COALESCE(SUM(hashtext(status)::bigint + COALESCE(deleted_at, 0)), 0), (SELECT COUNT(*) FROM replay WHERE ended = 0) FROM endpoint`)
	return sum, err
}

// endpointStates returns what poll knows each endpoint by; about n are expected.
func (r *reader) endpointStates(n int) (map[delivery.Endpoint]string, error) {
	states := make(map[delivery.Endpoint]string, n)
	return states, r.each(func(rows db.Rows) error {
		var e delivery.Endpoint
		var state string
		err := rows.Scan((*string)(&e), &state)
		states[e] = state
		return err
	}, `SELECT p.endpoint_id, p.version || ' ' || p.status || ' ' || COALESCE(p.deleted_at, 0) || ' ' ||
		(SELECT COUNT(*) FROM replay x WHERE x.ep = p.ep AND x.ended = 0) FROM endpoint p`)
}
