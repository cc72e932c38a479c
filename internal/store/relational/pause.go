package relational

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// The states of a span.
const (
	spanDiscarded = "discarded"
	spanCancelled = "cancelled"
)

// Discard implements store.Tx.
func (t *tx) Discard(app access.ID, id subscription.ID, now time.Time) error {
	key, err := t.ownedEp(app, delivery.Endpoint(id))
	if err != nil {
		return err
	}
	t.change.endpoints = append(t.change.endpoints, delivery.Endpoint(id))
	if err := t.endWaiting(key, spanDiscarded, now); err != nil {
		return err
	}
	// A former span at the same place is empty: nothing was logged since.
	_, err = t.exec(`INSERT INTO span (ep, from_seq, to_seq, state, at) SELECT ep, `+cursorOf+` + 1, NULL, ?, ? FROM endpoint p WHERE ep = ?
		AND NOT EXISTS (SELECT 1 FROM span s WHERE s.ep = p.ep AND s.to_seq IS NULL)
		ON CONFLICT (ep, from_seq) DO UPDATE SET to_seq = NULL, state = excluded.state, at = excluded.at`,
		spanDiscarded, millis(now), key.ep)
	if err != nil {
		return err
	}
	return t.endErasures(key.app)
}

// cancelWaiting ends what waits for an endpoint that is being deleted. Its
// cursor stays at the log's present end: what is logged later is none of its
// business.
func (t *tx) cancelWaiting(key epKey, now time.Time) error {
	if err := t.endWaiting(key, spanCancelled, now); err != nil {
		return err
	}
	paused, err := t.closeSpan(key)
	if err == nil && paused == 0 {
		_, err = t.exec(`INSERT INTO span (ep, from_seq, to_seq, state, at) SELECT p.ep, `+cursorOf+` + 1, a.last_seq, ?, ?
			FROM endpoint p JOIN application a ON a.app = p.app WHERE p.ep = ? AND `+cursorOf+` < a.last_seq
			ON CONFLICT (ep, from_seq) DO UPDATE SET to_seq = excluded.to_seq, state = excluded.state, at = excluded.at`,
			spanCancelled, millis(now), key.ep)
	}
	if err != nil {
		return err
	}
	return t.toLogEnd(key)
}

// toLogEnd moves an endpoint's cursor to the log's end.
func (t *tx) toLogEnd(key epKey) error {
	t.small.moved(key.ep)
	_, err := t.exec("UPDATE endpoint SET cursor_seq = (SELECT last_seq FROM application WHERE app = ?) WHERE ep = ?", key.app, key.ep)
	if err == nil {
		_, err = t.exec("UPDATE endpoint_part SET cursor_seq = (SELECT last_seq FROM application WHERE app = ?) WHERE ep = ?", key.app, key.ep)
	}
	return err
}

// endWaiting breaks the lease, and ends exceptions that wait and replays that
// are not finished.
func (t *tx) endWaiting(key epKey, state string, now time.Time) error {
	if err := t.breakLeases(key.ep); err != nil {
		return err
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{
			"UPDATE exception SET state = ?, next_at = 0, ended_at = ? WHERE ep = ? AND state IN ('retrying', 'blocked')",
			[]any{state, millis(now), key.ep},
		},
		{"UPDATE replay SET ended = 1 WHERE ep = ? AND ended = 0", []any{key.ep}},
	} {
		if _, err := t.exec(step.query, step.args...); err != nil {
			return err
		}
	}
	return nil
}

// closeSpan ends the owner's pause at the log's end and returns how many there
// were, 0 or 1. One in which nothing was logged is kept, for it tells when the
// pause began.
func (t *tx) closeSpan(key epKey) (int64, error) {
	return t.exec("UPDATE span SET to_seq = (SELECT last_seq FROM application WHERE app = ?) WHERE ep = ? AND to_seq IS NULL", key.app, key.ep)
}

// Resume implements store.Tx.
func (t *tx) Resume(app access.ID, id subscription.ID, now time.Time) error {
	key, err := t.ownedEp(app, delivery.Endpoint(id))
	if err != nil {
		return err
	}
	t.change.endpoints = append(t.change.endpoints, delivery.Endpoint(id))
	paused, err := t.closeSpan(key)
	if err != nil {
		return err
	}
	if paused > 0 {
		err = t.toLogEnd(key)
	} else {
		_, err = t.exec("UPDATE exception SET next_at = ? WHERE ep = ? AND state = 'retrying'", millis(now), key.ep)
	}
	if err != nil {
		return err
	}
	if err := t.breakLeases(key.ep); err != nil {
		return err
	}
	_, err = t.exec("UPDATE endpoint SET breaker_open = 0, breaker_since = 0, failures = 0, failure = '' WHERE ep = ?", key.ep)
	return err
}

// PutReplay implements store.Tx.
func (t *tx) PutReplay(app access.ID, j delivery.Replay) error {
	key, err := t.ownedEp(app, j.Endpoint)
	if err != nil {
		return err
	}
	t.change.endpoints = append(t.change.endpoints, j.Endpoint)
	parts, err := t.partsOf(key.ep)
	if err != nil {
		return err
	}
	if parts <= 1 {
		return t.putReplay(key, j, 1)
	}
	shares, err := t.shareOut(key, parts, j.Seqs[min(j.Done, len(j.Seqs)):])
	for i := 0; i < parts && err == nil; i++ {
		share := j // each part makes its own
		share.ID, share.Seqs, share.Done = j.ID+"/"+strconv.Itoa(i+1), shares[i], 0
		err = t.putReplay(key, share, i+1)
	}
	return err
}

// maxReplayJobs is how many replays are told of. Ours.
const maxReplayJobs = 10

// ReplayJobs implements store.Reader. The shares of parts are one job.
func (s *Store) ReplayJobs(ctx context.Context, app access.ID, id subscription.ID) (list []delivery.ReplayJob, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		t, err := r.told(app, delivery.Endpoint(id))
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			var share delivery.ReplayJob
			var created int64
			if err := rows.Scan(&share.ID, &share.Total, &share.Done, &share.Ended, &created); err != nil {
				return err
			}
			share.ID, _, _ = strings.Cut(share.ID, "/")
			share.CreatedAt = moment(created)
			if n := len(list); n > 0 && list[n-1].ID == share.ID {
				last := &list[n-1]
				last.Total, last.Done, last.Ended = last.Total+share.Total, last.Done+share.Done, last.Ended && share.Ended
				return nil
			}
			if len(list) < maxReplayJobs {
				list = append(list, share)
			}
			return nil
		}, "SELECT replay_id, total, done, ended, created_at FROM replay WHERE ep = ? ORDER BY created_at DESC, replay_id LIMIT ?",
			t.key.ep, maxReplayJobs*delivery.MaxParts)
	})
	return list, err
}

func (t *tx) putReplay(key epKey, j delivery.Replay, part int) error {
	_, err := t.exec("INSERT INTO replay (replay_id, ep, part, seqs, total, done, include_stale, created_at, ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		j.ID, key.ep, part, encodeSeqs(j.Seqs), len(j.Seqs), j.Done, j.IncludeStale, millis(j.CreatedAt), j.Done >= len(j.Seqs))
	return err
}

// encodeSeqs keeps ascending places as their differences.
func encodeSeqs(seqs []event.Seq) []byte {
	b := make([]byte, 0, 2*len(seqs))
	last := event.Seq(0)
	for _, s := range seqs {
		b = binary.AppendUvarint(b, uint64(s-last)) // #nosec G115 -- ascending
		last = s
	}
	return b
}

func decodeSeqs(b []byte) ([]event.Seq, error) {
	var out []event.Seq
	last := event.Seq(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 || d > 1<<62 {
			return nil, errors.New("the places of a replay are malformed")
		}
		last += event.Seq(d)
		out, b = append(out, last), b[n:]
	}
	return out, nil
}
