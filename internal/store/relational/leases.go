package relational

import (
	"context"
	"slices"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// clock is the database's, in Unix milliseconds: the only one that decides on
// leases, so that no node's can be wrong.
const clock = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)"

// takeLease takes the lease of an endpoint, with a new epoch.
func (t *tx) takeLease(e delivery.Endpoint, ep, epoch *int64) error {
	dst := []any{ep, epoch}
	whole, part, parts := e.Split()
	which := []any{string(whole), parts, string(subscription.Active)}
	table, where := "endpoint", "endpoint_id = ? AND parts = ? AND status = ? AND deleted_at IS NULL"
	if parts > 1 {
		table, where = "endpoint_part", "ep = (SELECT ep FROM endpoint WHERE "+where+") AND part = ?"
		which = append(which, part)
	}
	var err error
	if t.s.db.Shared() {
		err = t.get(dst, "UPDATE "+table+" SET epoch = epoch + 1, owner = ?, lease_until = "+clock+" + ? WHERE "+where+
			" AND (owner = ? OR lease_until < "+clock+") RETURNING ep, epoch",
			append(append([]any{t.s.node, delivery.LeaseTime.Milliseconds()}, which...), t.s.node)...)
	} else {
		err = t.get(dst, "UPDATE "+table+" SET epoch = epoch + 1 WHERE "+where+" RETURNING ep, epoch", which...)
	}
	if !isNotFound(err) {
		t.small.moved(*ep)
		return err
	}
	var active bool
	err = t.get([]any{&active}, "SELECT EXISTS (SELECT 1 FROM endpoint WHERE endpoint_id = ? AND parts = ? AND status = ? AND deleted_at IS NULL)",
		string(whole), parts, string(subscription.Active))
	if err == nil && active {
		return fault.New(fault.Conflict, "lease_taken", "Another node has the endpoint's lease.")
	}
	if err == nil {
		err = fault.New(fault.Conflict, "not_active", "The endpoint is not active.")
	}
	return err
}

// Beat implements store.Engine.
func (s *Store) Beat(ctx context.Context) (b delivery.Beat, err error) {
	if !s.db.Shared() {
		b = delivery.Beat{Self: s.node, Nodes: []string{s.node}, Held: map[delivery.Endpoint]int64{}}
		err := s.read(ctx, func(r *reader) error {
			err := r.held(b.Held, "SELECT endpoint_id, 1, parts, epoch FROM endpoint WHERE deleted_at IS NULL AND parts = 1 AND status = ?", string(subscription.Active))
			if err != nil {
				return err
			}
			return r.held(b.Held, `SELECT p.endpoint_id, q.part, p.parts, q.epoch FROM endpoint_part q JOIN endpoint p ON p.ep = q.ep
				WHERE p.deleted_at IS NULL AND p.status = ?`, string(subscription.Active))
		})
		return b, err
	}
	const long = delivery.LeaseTime
	err = s.write(ctx, func(t *tx) error {
		b = delivery.Beat{Self: s.node, Held: map[delivery.Endpoint]int64{}}
		_, err := t.exec("INSERT INTO node (node_id, beat_at) VALUES (?, "+clock+") ON CONFLICT (node_id) DO UPDATE SET beat_at = excluded.beat_at", s.node)
		if err != nil {
			return err
		}
		err = t.held(b.Held, "UPDATE endpoint SET lease_until = "+clock+" + ? WHERE owner = ? RETURNING endpoint_id, 1, 1, epoch", long.Milliseconds(), s.node)
		if err != nil {
			return err
		}
		err = t.held(b.Held, "UPDATE endpoint_part SET lease_until = "+clock+` + ? WHERE owner = ? RETURNING (SELECT endpoint_id FROM endpoint p WHERE p.ep = endpoint_part.ep),
			part, (SELECT parts FROM endpoint p WHERE p.ep = endpoint_part.ep), epoch`, long.Milliseconds(), s.node)
		if err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM node WHERE beat_at < "+clock+" - ?", 100*long.Milliseconds()); err != nil {
			return err
		}
		return t.each(func(rows db.Rows) error {
			var id string
			err := rows.Scan(&id)
			b.Nodes = append(b.Nodes, id)
			return err
		}, "SELECT node_id FROM node WHERE beat_at >= "+clock+" - ?", long.Milliseconds())
	})
	slices.Sort(b.Nodes)
	return b, err
}

// held reads leases into a set.
func (r *reader) held(into map[delivery.Endpoint]int64, query string, args ...any) error {
	return r.each(func(rows db.Rows) error {
		var id string
		var part, parts int
		var epoch int64
		err := rows.Scan(&id, &part, &parts, &epoch)
		into[delivery.PartOf(delivery.Endpoint(id), part, parts)] = epoch
		return err
	}, query, args...)
}

// Release implements store.Engine.
func (s *Store) Release(ctx context.Context, leases []delivery.Lease, gone bool) error {
	if !s.db.Shared() {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		for _, l := range leases {
			whole, part, parts := l.Endpoint.Split()
			query, args := "UPDATE endpoint SET owner = '', lease_until = 0 WHERE endpoint_id = ?", []any{string(whole)}
			if parts > 1 {
				query = "UPDATE endpoint_part SET owner = '', lease_until = 0 WHERE ep = (SELECT ep FROM endpoint WHERE endpoint_id = ?) AND part = ?"
				args = append(args, part)
			}
			if err := t.later(query+" AND owner = ? AND epoch = ?", append(args, s.node, l.Epoch)...); err != nil {
				return err
			}
			t.change.endpoints = append(t.change.endpoints, l.Endpoint)
		}
		if gone {
			_, err := t.exec("DELETE FROM node WHERE node_id = ?", s.node)
			return err
		}
		return nil
	})
}
