//go:build postgres

package relational

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// publishAt logs one event for the endpoint of benchEndpoint, recorded at a time.
func publishAt(t *testing.T, s *Store, at time.Time) {
	t.Helper()
	e := someEvent(benchApp, "ctz_1")
	e.Feed, e.Type, e.RecordedAt = event.EffectivePermission, event.PermissionsEffective, at
	update(t, s, func(tx store.Tx) error { return tx.Publish(e) })
}

// partitions are those of the log that a plan names.
var partitions = regexp.MustCompile(`event_(\d{8})\b`)

// daysIn returns the days of the log that a plan looks at, but for those to come.
func daysIn(plan string) []string {
	seen, days := map[string]bool{}, []string(nil)
	for _, m := range partitions.FindAllStringSubmatch(plan, -1) {
		if !seen[m[1]] && m[1] < start.AddDate(0, 2, 0).Format("20060102") {
			seen[m[1]] = true
			days = append(days, m[1])
		}
	}
	return days
}

// TestRead_days: a read of the log looks at the days from the place where it
// begins on, whether its plan is made for its values or for any.
func TestRead_days(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t)
	url := cluster.Database(t)
	s := openNode(t, url)
	addApp(t, s, benchApp)
	update(t, s, func(tx store.Tx) error { return tx.PutEndpoint(benchEndpoint("sub_bench"), delivery.Shown{}) })
	const days = 30
	for day := range days {
		for range 3 {
			publishAt(t, s, start.Add(time.Duration(day)*24*time.Hour))
		}
	}
	for _, tt := range []struct {
		name  string
		after event.Seq
		want  int // days
	}{
		{"from the beginning", 0, days},
		{"from a place of the last day but two on", 3 * (days - 3), 4}, // and an hour before it
		{"from the last place but one", 3*days - 1, 2},
	} {
		page, err := s.Read(t.Context(), "sub_bench", tt.after, 512, 1<<20)
		if err != nil || len(page.Items) != 3*days-int(tt.after) {
			t.Errorf("%s: got %d events, %v, want %d", tt.name, len(page.Items), err, 3*days-int(tt.after))
		}
		err = s.read(t.Context(), func(r *reader) error {
			key, err := r.ep("sub_bench")
			if err != nil {
				return err
			}
			last, since, err := r.logSpan(key, tt.after)
			if err != nil {
				return err
			}
			args := []any{key.app, int64(tt.after), int64(last), `["permissions.effective"]`, `[]`, `[]`, "sub_bench", since, 512}
			var plan []string
			err = r.each(func(rows db.Rows) error {
				var line string
				err := rows.Scan(&line)
				plan = append(plan, line)
				return err
			}, "EXPLAIN "+readMatching, args...)
			if err != nil {
				return err
			}
			if got := daysIn(strings.Join(plan, "\n")); len(got) > tt.want {
				t.Errorf("%s: looks at the days %v, want at most %d:\n%s", tt.name, got, tt.want, strings.Join(plan, "\n"))
			}
			// And by the plan for any values.
			var statement string
			if err := r.get([]any{&statement}, "SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'EXPLAIN%'"); err != nil {
				return err
			}
			statement = strings.TrimPrefix(statement, "EXPLAIN ")
			literals := make([]string, len(args))
			for i, a := range args {
				if literals[i] = fmt.Sprint(a); i >= 3 && i <= 6 {
					literals[i] = "'" + literals[i] + "'"
				}
			}
			name := url[strings.LastIndex(url, "/")+1:]
			name, _, _ = strings.Cut(name, "?")
			out, err := cluster.SQL(name, "SET plan_cache_mode = force_generic_plan; PREPARE q AS "+statement+"; EXPLAIN EXECUTE q ("+strings.Join(literals, ", ")+")")
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := daysIn(out); len(got) > tt.want {
				t.Errorf("%s: by a general plan looks at the days %v, want at most %d:\n%s", tt.name, got, tt.want, out)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRead_clocks: whatever times nodes' clocks gave the events, none is passed
// over.
func TestRead_clocks(t *testing.T) {
	t.Parallel()
	s := openNode(t, pgtest.Shared(t).Database(t))
	addApp(t, s, benchApp)
	update(t, s, func(tx store.Tx) error { return tx.PutEndpoint(benchEndpoint("sub_bench"), delivery.Shown{}) })
	hours := []int{0, 1, 30, 31, 2, 3, 100, 50, 101, 102, 70, 71, 72, 73, 140, 141, 139, 200, 0, 201}
	for _, h := range hours {
		publishAt(t, s, start.Add(time.Duration(h)*time.Hour))
	}
	for step := 1; step <= 3; step++ { // with what is remembered of the last read, and without
		for after := event.Seq(0); int(after) < len(hours); after += event.Seq(step) {
			page, err := s.Read(t.Context(), "sub_bench", after, 512, 1<<20)
			if err != nil || len(page.Items) != len(hours)-int(after) {
				t.Fatalf("after %d: got %d events, %v, want %d", after, len(page.Items), err, len(hours)-int(after))
			}
			if _, err := s.Read(t.Context(), "sub_bench", after, step, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
}
