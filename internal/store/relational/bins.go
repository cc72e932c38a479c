package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// scriptForm is how a bin's script is kept.
type scriptForm struct {
	Status       int               `json:"status"`
	DelayMs      int64             `json:"delayMs,omitzero"`
	FailureRatio float64           `json:"failureRatio,omitzero"`
	Headers      map[string]string `json:"headers,omitzero"`
	Body         string            `json:"body,omitzero"`
}

// PutBin implements store.Tx. A name that another application has is
// fault.NotFound.
func (t *tx) PutBin(b store.Bin) error {
	key, err := t.app(b.Application)
	if err != nil {
		return err
	}
	f, err := json.Marshal(scriptForm{b.Script.Status, b.Script.Delay.Milliseconds(), b.Script.FailureRatio, b.Script.Headers, b.Script.Body})
	if err != nil {
		return fmt.Errorf("encode a bin's script: %w", err)
	}
	n, err := t.exec(`INSERT INTO bin (name, app, script, created_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET script = excluded.script WHERE bin.app = excluded.app`,
		b.Name, key, string(f), millis(b.CreatedAt))
	if err == nil && n == 0 {
		return notFound()
	}
	return err
}

// DeleteBin implements store.Tx.
func (t *tx) DeleteBin(app access.ID, name string) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	n, err := t.exec("DELETE FROM bin WHERE name = ? AND app = ?", name, key)
	if err == nil && n == 0 {
		return notFound()
	}
	return err
}

// Bin implements store.Tx.
func (t *tx) Bin(name string) (store.Bin, error) { return t.bin(name) }

// Bin implements store.Reader.
func (s *Store) Bin(ctx context.Context, name string) (b store.Bin, err error) {
	err = s.read(ctx, func(r *reader) error {
		b, err = r.bin(name)
		return err
	})
	return b, err
}

func (r *reader) bin(name string) (store.Bin, error) {
	return scanBin(func(dst ...any) error {
		return r.get(dst, `SELECT b.name, a.app_id, b.script, b.created_at
			FROM bin b JOIN application a ON a.app = b.app WHERE b.name = ?`, name)
	})
}

// Bins implements store.Reader.
func (s *Store) Bins(ctx context.Context, app access.ID) (list []store.Bin, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		key, err := r.app(app)
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			b, err := scanBin(rows.Scan)
			list = append(list, b)
			return err
		}, `SELECT b.name, a.app_id, b.script, b.created_at
			FROM bin b JOIN application a ON a.app = b.app WHERE b.app = ? ORDER BY b.created_at DESC, b.name DESC`, key)
	})
	return list, err
}

// scanBin reads name, app_id, script, created_at.
func scanBin(scan func(...any) error) (store.Bin, error) {
	var b store.Bin
	var app, script string
	var created int64
	if err := scan(&b.Name, &app, &script, &created); err != nil {
		return store.Bin{}, err
	}
	var f scriptForm
	if err := json.Unmarshal([]byte(script), &f); err != nil {
		return store.Bin{}, fmt.Errorf("decode a bin's script: %w", err)
	}
	b.Application, b.CreatedAt = access.ID(app), moment(created)
	b.Script = store.Script{
		Status: f.Status, Delay: time.Duration(f.DelayMs) * time.Millisecond,
		FailureRatio: f.FailureRatio, Headers: f.Headers, Body: f.Body,
	}
	return b, nil
}
