//go:build postgres

package relational

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// TestTrips bounds how often the database is asked, each time for as long as a
// message is under way: with a database in another room that is all that counts.
func TestTrips(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Shared(t).Database(t))
	s := openNode(t, proxy.URL())
	addApp(t, s, benchApp)
	update(t, s, func(tx store.Tx) error {
		if err := tx.PutEndpoint(benchEndpoint("sub_bench"), delivery.Shown{}); err != nil {
			return err
		}
		body := bytes.Repeat([]byte("x"), 1024)
		for i := range 1024 {
			e := event.Event{
				ID: fmt.Sprintf("evt_trip_%d", i), Application: string(benchApp), Feed: event.EffectivePermission, Type: event.PermissionsEffective,
				Subject: fmt.Sprintf("ctz_%d", i), OccurredAt: start, RecordedAt: start, Body: body,
			}
			if err := tx.Publish(e); err != nil {
				return err
			}
		}
		return nil
	})
	pos, err := s.Open(t.Context(), "sub_bench")
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.Read(t.Context(), "sub_bench", 0, 1024, 64<<20)
	if err != nil || len(page.Items) != 1024 {
		t.Fatalf("got %d items, %v", len(page.Items), err)
	}
	n := 0
	consent := func() {
		n++
		c, evts := benchConsent(string(benchApp), fmt.Sprintf("con_%d", n))
		update(t, s, func(tx store.Tx) error { return tx.PutConsent(c, evts...) })
	}
	delivered := func() {
		n++
		from := (n % 4) * 256
		p := delivery.Progress{Lease: pos.Lease, At: start, Cursor: page.Items[from+255].Seq}
		for _, it := range page.Items[from : from+256] {
			p.Attempts = append(p.Attempts, benchAttempt(it, n))
		}
		if _, err := s.Record(t.Context(), []delivery.Progress{p}); err != nil {
			t.Fatal(err)
		}
	}
	failed := func() {
		n++
		p := delivery.Progress{Lease: pos.Lease, At: start}
		for _, it := range page.Items[:256] {
			a := benchAttempt(it, n)
			a.Delivered, a.Status, a.Reason = false, 500, "the receiver answered 500"
			x := delivery.Exception{Seq: it.Seq, Subject: it.Subject, State: delivery.WaitRetry, Tries: n, NextAt: start}
			p.Attempts, p.Put, p.Rouse = append(p.Attempts, a), append(p.Put, x), append(p.Rouse, x.Subject)
		}
		if _, err := s.Record(t.Context(), []delivery.Progress{p}); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		if _, err := s.Read(t.Context(), "sub_bench", 0, 512, 64<<20); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		most int64
		do   func()
	}{
		{"a consent with two events", 8, consent},
		{"256 attempts that succeeded", 5, delivered},
		{"256 attempts that failed", 8, failed},
		{"a page of the log", 8, read},
	} {
		tt.do() // statements are prepared
		tt.do()
		// What is told to other nodes, and looked for, goes on beside it: the least
		// is what it takes.
		got := int64(math.MaxInt64)
		for range 10 {
			before := proxy.Trips()
			tt.do()
			got = min(got, proxy.Trips()-before)
		}
		if got > tt.most {
			t.Errorf("%s: got %d round trips, want at most %d", tt.name, got, tt.most)
		} else {
			t.Logf("%s: %d round trips", tt.name, got)
		}
	}
}
