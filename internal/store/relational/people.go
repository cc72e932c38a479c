package relational

import (
	"context"
	"fmt"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

func (r *reader) linked(app access.ID, group string) (list []store.Citizen, err error) {
	key, err := r.app(app)
	if err != nil {
		return nil, err
	}
	err = r.each(func(rows db.Rows) error {
		c, _, err := r.scanCitizen(rows.Scan, app, key)
		list = append(list, c)
		return err
	}, "SELECT "+citizenFields+fromCitizens+" WHERE c.app = ? AND c.group_id = ? ORDER BY c.row", key, group)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Linked implements store.Tx.
func (t *tx) Linked(app access.ID, group string) ([]store.Citizen, error) {
	return t.linked(app, group)
}

// Linked implements store.Reader.
func (s *Store) Linked(ctx context.Context, app access.ID, group string) (list []store.Citizen, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, err = r.linked(app, group)
		return err
	})
	return list, err
}

// MergeCitizen implements store.Tx. Transactions stay under the name and the
// key of the citizen that they were recorded for.
func (t *tx) MergeCitizen(app access.ID, from, into permission.CitizenID) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	if from == into {
		return fmt.Errorf("merge %s with itself", from)
	}
	var version int64
	if err := t.get([]any{&version}, "SELECT version FROM citizen WHERE app = ? AND citizen_id = ?", key, string(into)); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE citizen_merged SET into_id = ? WHERE app = ? AND into_id = ?", string(into), key, string(from)); err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO citizen_merged (app, citizen_id, citizen_row, ref_hash, into_id)
		SELECT app, citizen_id, row, ref_hash, ? FROM citizen WHERE app = ? AND citizen_id = ?`, string(into), key, string(from))
	if err != nil {
		return err
	}
	if n == 0 {
		return notFound()
	}
	delete(t.met, advancedKey{key, string(from)})
	for _, table := range []string{"citizen", "checkpoint"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE app = ? AND citizen_id = ?", key, string(from)); err != nil {
			return err
		}
	}
	return nil
}
