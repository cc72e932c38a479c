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
	_ = s.read(context.Background(), func(r *reader) error { // without it they go when they are not used
		for _, x := range list {
			key, err := r.app(x.Application)
			if err != nil {
				continue
			}
			s.seals.drop(key, x.ID)
			s.keysBySubject.Drop(key, x.ID)
		}
		return nil
	})
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

// poll finds the logs that others wrote to and nobody told of. It ends with the
// store.
func (s *Store) poll() {
	known := map[access.ID]int64{}
	wait := pollFirst
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		var grown []access.ID
		err := s.read(context.Background(), func(r *reader) error {
			grown = nil
			return r.each(func(rows db.Rows) error {
				var app access.ID
				var last int64
				if err := rows.Scan((*string)(&app), &last); err != nil {
					return err
				}
				if known[app] != last {
					known[app] = last
					grown = append(grown, app)
				}
				return nil
			}, "SELECT app_id, last_seq FROM application")
		})
		wait = min(2*wait, pollLast)
		if err == nil && len(grown) > 0 && !first {
			wait = pollFirst
			s.watched(store.Change{Applications: grown})
		}
		timer.Reset(wait)
	}
}
