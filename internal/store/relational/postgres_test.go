//go:build postgres

package relational_test

import (
	"testing"

	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// TestContract_postgres holds a PostgreSQL database to the contract of package
// store.
func TestContract_postgres(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t)
	contract(t, func(t *testing.T) db.Opener { t.Helper(); return postgres.Server{URL: cluster.Database(t)} })
}
