//go:build postgres

package relational_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/storetest"
)

// TestContract_postgres holds a PostgreSQL database to the contract of package
// store.
func TestContract_postgres(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t)
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		t.Helper()
		keys, err := secret.ParseKeyring(secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))))
		if err != nil {
			t.Fatal(err)
		}
		url := cluster.Database(t)
		open := func(t *testing.T, keys *secret.Keyring) *relational.Store {
			t.Helper()
			s, err := relational.Open(t.Context(), postgres.Server{URL: url}, relational.Options{Keys: keys, Node: "nod_1"})
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
