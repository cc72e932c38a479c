package relational

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
)

// start is when every test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testKeys returns a ring of keys made of single letters.
func testKeys(t testing.TB, letters string) *secret.Keyring {
	t.Helper()
	list := ""
	for i, l := range letters {
		if i > 0 {
			list += ","
		}
		key := make([]byte, secret.KeySize)
		for i := range key {
			key[i] = byte(l)
		}
		list += base64.StdEncoding.EncodeToString(key)
	}
	k, err := secret.ParseKeyring(secret.New(list))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// folder is a data folder, and how its store is opened.
type folder struct {
	Dir       string
	Keys      *secret.Keyring
	NoMigrate bool
	OnCommit  func(int, time.Duration, error)
	OnEvent   func(event.Type, int)
	Log       *slog.Logger
	vfs       string
}

func openFolder(ctx context.Context, f folder) (*Store, error) {
	return Open(ctx, sqlite.File{Dir: f.Dir, NoMigrate: f.NoMigrate, Log: f.Log, VFS: f.vfs},
		Options{Keys: f.Keys, Log: f.Log, OnCommit: f.OnCommit, OnEvent: f.OnEvent})
}

// newStore opens a store in a folder of the test's.
func newStore(t testing.TB) *Store {
	t.Helper()
	return openStore(t, folder{Dir: sqlitetest.Dir(t)})
}

func openStore(t testing.TB, o folder) *Store {
	t.Helper()
	if o.Keys == nil {
		o.Keys = testKeys(t, "k")
	}
	s, err := openFolder(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// update runs fn in a transaction that must succeed.
func update(t testing.TB, s *Store, fn func(tx store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// addApp makes an application.
func addApp(t testing.TB, s *Store, id access.ID) access.ID {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		return tx.PutApplication(access.Application{ID: id, Name: "Bank " + string(id), CreatedAt: start, UpdatedAt: start})
	})
	return id
}

var testID atomic.Int64

// someEvent returns an event about a subject, with an ID that no other has.
func someEvent(app access.ID, subject string) event.Event {
	return event.Event{
		ID: fmt.Sprintf("evt_%d", testID.Add(1)), Application: string(app), Feed: event.LifecycleData, Type: event.ConsentCreated,
		Subject: subject, OccurredAt: start, RecordedAt: start.Add(time.Second), Body: []byte(`{"event":"after:consent:create"}`),
	}
}

// fullConsent returns a consent in which every field is set. fill makes sure
// of it.
func fullConsent(app access.ID, id string) consent.Consent {
	at := func(min int) time.Time { return start.Add(time.Duration(min) * time.Minute) }
	return consent.Consent{
		ID: consent.ID(id), ConsentID: "urn:bank:" + id, Application: string(app), Type: consent.Payment, Status: consent.Authorised, Version: 1,
		Permissions:    []string{"ACCOUNTS_READ", "RESOURCES_READ"},
		LoggedUser:     consent.Document{Identification: "52998224725", Rel: "CPF"},
		BusinessEntity: &consent.Document{Identification: "11222333000181", Rel: "CNPJ"},
		CitizenID:      "citizen-of-" + id,
		Payment:        &consent.Money{Type: "PIX", Currency: "BRL", Amount: "123456.78"},
		Creditor:       &consent.Creditor{PersonType: "PESSOA_NATURAL", CpfCnpj: "39053344705", Name: "Maria da Penha"},
		Approvers:      2, ApprovedBy: []string{"approver-joao"},
		CreatedAt: at(0), StatusUpdatedAt: at(1), AuthorisedAt: at(2), ConsumedAt: at(3), ExpiresAt: at(4),
		Deadline: at(5), ApprovalDeadline: at(6), ApproversDeadline: at(7), ConsumeDeadline: at(8),
		Rejection:  &consent.Rejection{By: "USER", Code: "CUSTOMER_MANUALLY_REJECTED", AdditionalInformation: "prefers another bank"},
		Extensions: []consent.Extension{{RequestedAt: at(9), ExpiresAt: at(10), PreviousExpiresAt: at(11)}},
	}
}

// requireFull fails when a field of v, at any depth, is zero: a test that
// compares whole values then proves that each field is kept.
func requireFull(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[time.Time](), reflect.TypeFor[secret.Value](), reflect.TypeFor[permission.Standing]():
			if v.IsZero() {
				t.Errorf("%s is zero, want it set", path)
			}
			return
		}
		for i := range v.NumField() {
			requireFull(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
		return
	case reflect.Pointer:
		if !v.IsNil() {
			requireFull(t, path, v.Elem())
			return
		}
	case reflect.Slice:
		for i := range v.Len() {
			requireFull(t, path, v.Index(i))
		}
	}
	if v.IsZero() {
		t.Errorf("%s is zero, want it set", path)
	}
}

// wantKind fails unless err has the kind and the code.
func wantKind(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		t.Errorf("got %v (kind %d), want kind %d %q", err, fault.KindOf(err), kind, code)
	}
}

// fileOf returns where a store keeps its data.
func fileOf(t testing.TB, s *Store) (name string) {
	t.Helper()
	err := s.read(t.Context(), func(r *reader) error {
		return r.get([]any{&name}, "SELECT file FROM pragma_database_list WHERE name = 'main'")
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// openRaw opens a file behind the store's back, on one connection.
func openRaw(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// What package sqlite does with the write-ahead log, as the tests know it.
const (
	walIdle     = 32 << 20
	walPatience = 20
	walAgain    = 50 * time.Millisecond
	walLater    = 2 * time.Second
)
