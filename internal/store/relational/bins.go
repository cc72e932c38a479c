package relational

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
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
	Share        string            `json:"share,omitzero"`      // hash, in hexadecimal digits
	ShareUntil   int64             `json:"shareUntil,omitzero"` // Unix milliseconds
}

// PutBin implements store.Tx. A name that another application has is
// fault.NotFound.
func (t *tx) PutBin(b store.Bin) error {
	key, err := t.app(b.Application)
	if err != nil {
		return err
	}
	form := scriptForm{Status: b.Script.Status, DelayMs: b.Script.Delay.Milliseconds(), FailureRatio: b.Script.FailureRatio, Headers: b.Script.Headers, Body: b.Script.Body}
	if !b.Share.Until.IsZero() {
		form.Share, form.ShareUntil = hex.EncodeToString(b.Share.Hash[:]), millis(b.Share.Until)
	}
	f, err := json.Marshal(form)
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
	if f.ShareUntil != 0 {
		hash, err := hex.DecodeString(f.Share)
		if err != nil || len(hash) != len(b.Share.Hash) {
			return store.Bin{}, fmt.Errorf("decode how a bin is shared: %w", errors.Join(err, errors.New("no hash")))
		}
		b.Share = store.Share{Hash: [32]byte(hash), Until: moment(f.ShareUntil)}
	}
	return b, nil
}
