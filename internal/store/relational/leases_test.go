//go:build postgres

package relational

import (
	"slices"
	"testing"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// TestLeases: one node at a time has an endpoint's lease: it lasts as long as the
// node renews it, by the database's clock, and passes on when it is given back or
// ends; whoever had it before is fenced.
func TestLeases(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	one, two := openNode(t, url), openNode(t, url)
	addApp(t, one, benchApp)
	update(t, one, func(tx store.Tx) error { return tx.PutEndpoint(benchEndpoint("sub_1"), delivery.Shown{}) })
	take := func(s *Store) (delivery.Lease, error) {
		t.Helper()
		p, err := s.Open(t.Context(), "sub_1")
		return p.Lease, err
	}
	taken := func(s *Store) {
		t.Helper()
		if _, err := take(s); fault.CodeOf(err) != "lease_taken" {
			t.Fatalf("got %v, want the lease taken", err)
		}
	}
	beat := func(s *Store, holds bool, nodes int) {
		t.Helper()
		b, err := s.Beat(t.Context())
		if err != nil || (b.Held["sub_1"] > 0) != holds || len(b.Nodes) != nodes || !slices.Contains(b.Nodes, b.Self) {
			t.Fatalf("got %+v, %v, want %d nodes, and held: %t", b, err, nodes, holds)
		}
	}
	fenced := func(s *Store, l delivery.Lease, want bool) {
		t.Helper()
		out, err := s.Record(t.Context(), []delivery.Progress{{Lease: l, At: start}})
		if err != nil || out[0].Fenced != want {
			t.Fatalf("got %+v, %v, want fenced: %t", out, err, want)
		}
	}
	age := func(what string) { // a lease, or a node's last beat, of long ago
		t.Helper()
		update(t, one, func(tx store.Tx) error {
			_, err := tx.(interface {
				exec(string, ...any) (int64, error)
			}).exec(what)
			return err
		})
	}

	first, err := take(one)
	if err != nil {
		t.Fatal(err)
	}
	taken(two)
	again, err := take(one) // its own
	if err != nil || again.Epoch <= first.Epoch {
		t.Fatalf("got %+v, %v, want another lease than %+v", again, err, first)
	}
	fenced(one, first, true)
	fenced(one, again, false)
	beat(one, true, 1)
	beat(two, false, 2)
	taken(two)

	age("UPDATE endpoint SET lease_until = 1")
	beat(one, true, 2) // nobody took it: it is renewed
	taken(two)
	age("UPDATE endpoint SET lease_until = 1")
	theirs, err := take(two)
	if err != nil {
		t.Fatal(err)
	}
	fenced(one, again, true)
	fenced(two, theirs, false)
	beat(one, false, 2)

	if err := one.Release(t.Context(), []delivery.Lease{again}, false); err != nil { // it is no longer one's
		t.Fatal(err)
	}
	taken(one)
	if err := two.Release(t.Context(), []delivery.Lease{theirs}, true); err != nil {
		t.Fatal(err)
	}
	beat(one, false, 1)
	if _, err := take(one); err != nil {
		t.Errorf("got %v, want the lease that was given back", err)
	}
	beat(two, false, 2)
	age("UPDATE node SET beat_at = beat_at - 16000")
	beat(two, false, 1)
}
