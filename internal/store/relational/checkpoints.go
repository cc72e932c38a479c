package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
)

// checkpointPlace is under the citizen's key.
func checkpointPlace(id permission.CitizenID, at int64, field string) secret.Place {
	return secret.Place{What: "checkpoint", Owner: string(id), Field: field + "/" + strconv.FormatInt(at, 10)}
}

// PutCheckpoint implements store.Tx.
func (t *tx) PutCheckpoint(app access.ID, c store.Checkpoint) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	ci, err := t.cipherOf(key, c.Citizen)
	if err != nil {
		return err
	}
	at := millis(c.At)
	var histories any
	if len(c.Histories) != 1 || c.Histories[0] != c.Citizen {
		content, err := json.Marshal(c.Histories)
		if err != nil {
			return fmt.Errorf("encode a checkpoint: %w", err)
		}
		histories = ci.Seal(content, checkpointPlace(c.Citizen, at, "histories"))
	}
	return t.later(`INSERT INTO checkpoint (app, citizen_id, at, place, standing, histories)
		VALUES (?, ?, ?, (SELECT COALESCE(MAX(row), 0) FROM permission_transaction), ?, ?)`,
		key, string(c.Citizen), at, ci.Seal(c.Standing.Encode(), checkpointPlace(c.Citizen, at, "standing")), histories)
}

// cipherOf returns the cipher of a citizen's key, which is made when there is
// none.
func (t *tx) cipherOf(app int64, id permission.CitizenID) (*secret.Cipher, error) {
	if m := t.met[advancedKey{app, string(id)}]; m.cipher != nil {
		return m.cipher, nil
	}
	err := t.advance(app, string(id), 0)
	return t.last.cipher, err
}

const checkpointBefore = `SELECT at, place, standing, histories FROM checkpoint
	WHERE app = ? AND citizen_id = ? AND at <= ? ORDER BY at DESC, row DESC LIMIT 1`

// checkpoint returns a citizen's last one at or before an instant, and the
// transaction behind which it stands; one without an instant when there is
// none.
func (r *reader) checkpoint(app int64, citizen permission.CitizenID, at time.Time) (c store.Checkpoint, place int64, err error) {
	c = store.Checkpoint{Citizen: citizen, Histories: []permission.CitizenID{citizen}}
	var ms int64
	var standing, histories []byte
	err = r.get([]any{&ms, &place, &standing, &histories}, checkpointBefore, app, string(citizen), at.UnixMilli())
	if isNotFound(err) {
		return c, 0, nil
	}
	if err != nil {
		return c, 0, err
	}
	ci, err := r.subjectCipher(app, string(citizen))
	if err != nil {
		return c, 0, err
	}
	content, err := ci.Open(standing, checkpointPlace(citizen, ms, "standing"))
	if err == nil {
		c.Standing, err = permission.DecodeStanding(content)
	}
	if err == nil && histories != nil {
		c.Histories = nil
		if content, err = ci.Open(histories, checkpointPlace(citizen, ms, "histories")); err == nil {
			err = json.Unmarshal(content, &c.Histories)
		}
	}
	if err != nil {
		return c, 0, fmt.Errorf("open a checkpoint of %s: %w", citizen, err)
	}
	c.At = moment(ms)
	return c, place, nil
}

// Past implements store.Reader.
func (s *Store) Past(
	ctx context.Context, app access.ID, citizen permission.CitizenID, at time.Time,
) (c store.Checkpoint, tail []permission.Transaction, err error) {
	err = s.read(ctx, func(r *reader) error {
		key, err := r.app(app)
		if err != nil {
			return err
		}
		id, err := r.present(key, citizen)
		if err != nil {
			return err
		}
		var place int64
		if c, place, err = r.checkpoint(key, id, at); err != nil {
			return err
		}
		tail, err = r.under(key, c.Histories, place, at)
		return err
	})
	if err != nil {
		return store.Checkpoint{}, nil, err
	}
	return c, tail, nil
}
