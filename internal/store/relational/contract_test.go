package relational_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
	"github.com/consentwire/consentwire/internal/store/storetest"
)

// TestContract holds the embedded store to the contract of package store.
func TestContract(t *testing.T) {
	t.Parallel()
	contract(t, func(t *testing.T) db.Opener { t.Helper(); return sqlite.File{Dir: sqlitetest.Dir(t)} })
}

// contract holds what a database is to the contract; empty returns a new one.
func contract(t *testing.T, empty func(t *testing.T) db.Opener) {
	t.Helper()
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		t.Helper()
		keys, err := secret.ParseKeyring(secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))))
		if err != nil {
			t.Fatal(err)
		}
		from := empty(t)
		open := func(t *testing.T, keys *secret.Keyring) *relational.Store {
			t.Helper()
			s, err := relational.Open(t.Context(), from, relational.Options{Keys: keys, Node: "nod_1"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			return s
		}
		s := open(t, keys)
		return storetest.Backend{Store: s, Keys: keys, Reopen: func(t *testing.T, with *secret.Keyring) store.Store {
			t.Helper()
			if with == nil {
				with = keys
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			s = open(t, with)
			return s
		}}
	})
}
