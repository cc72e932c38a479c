// Package load measures Consentwire on the machine at hand, against the bars that
// it sets itself: a load generator, a receiver, a bare loop to compare with, and
// what an engine and a server do between them. It serves the command bench and
// the developers' program of that name.
//
// Rates are ratios within one run, never absolute: each run of the engine sits
// between two of a bare net/http keep-alive POST loop that sends bodies of the
// same size to the same receiver, and the result is the median of the pairs.
// Receiver, loop, engine and server are processes of their own, so that their
// processor time and memory can be told apart (/proc, so only on Linux). All
// send to the loopback interface only.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one measured figure against its bar.
type Row struct {
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
	Bar        string  `json:"bar"` // e.g. ">= 0.85"
	Pass       bool    `json:"pass"`
	Conditions string  `json:"conditions"`
	At         string  `json:"at"` // RFC 3339, when it was measured
}

// Measurement yields one row or several that share a run.
type Measurement struct {
	Rows  []string
	Large bool // takes minutes to prepare
	// Operator marks what says something about a machine rather than about a
	// change of the program; the command bench measures these.
	Operator bool
	Run      func(ctx context.Context, b *Bench) ([]Row, error)
}

// Measurements are all that this package makes.
func Measurements() []Measurement {
	return []Measurement{
		{Rows: []string{"deliveries-1-subscription", "cpu-per-1000-deliveries", "memory-backlog"}, Operator: true, Run: oneSubscription},
		{Rows: []string{"deliveries-10-subscriptions"}, Operator: true, Run: tenSubscriptions},
		{Rows: []string{"deliveries-1000-subscriptions"}, Run: thousandSubscriptions},
		{Rows: []string{"deliveries-10-percent-poisoned"}, Operator: true, Run: poisonedSubjects},
		{Rows: []string{"deliveries-beside-a-dead-endpoint"}, Operator: true, Run: deadEndpoint},
		{Rows: []string{"deliveries-beside-a-slow-endpoint"}, Operator: true, Run: slowEndpoint},
		{Rows: []string{"deliveries-fetched-token"}, Run: fetchedToken},
		{Rows: []string{"deliveries-backlog-10m", "memory-backlog-10m"}, Large: true, Run: tenMillion},
		{Rows: []string{"portal-first-page", "portal-list-page-p99"}, Large: true, Run: portalPages},
		{Rows: []string{"latency-p50", "latency-p99"}, Operator: true, Run: latency},
		{Rows: []string{"changes-durable"}, Operator: true, Run: changes},
		{Rows: []string{"dev-first-delivery"}, Run: firstDelivery},
		{Rows: []string{"transactions-durable"}, Run: transactions},
		{Rows: []string{"import-20k-citizens", "import-200k-citizens", "import-20k-citizens-told", "memory-import"}, Run: imports},
		{Rows: []string{"read-p99", "read-at-p99"}, Run: reads},
		{Rows: []string{"lapses-3000"}, Run: lapses},
	}
}

// Options say what is measured, and how. The zero value measures all rows that
// are not large, for some minutes, and keeps nothing.
type Options struct {
	Measurements []Measurement
	Only         string // a row; with those of the same run
	Quick        bool   // short runs, to see that it works; results are not kept
	Large        bool   // the large rows too
	Server       string // the server's binary
	Database     string // address of an empty PostgreSQL database for the rows on deliveries; empty: the embedded store
	Profile      string // file for the processor profile of the engine's last run; empty: none
	Results      string // file in which results are kept: a row that is there is not measured again; empty: none
	JSON         string // file for the results as JSON; "-": in place of the table; empty: none

	// Role are the arguments with which this program takes one of the roles,
	// before the role's own; see Play.
	Role []string
}

// Bench is one run.
type Bench struct {
	self   string // this program, to be run again in another role
	role   []string
	server string // the server's binary
	dir    string // scratch, removed at the end
	quick  bool

	database string // where stores are made instead of in folders; empty: in folders
	profile  string // file for the processor profile of the engine's last run; empty: none
}

// On returns the same run with its stores in a database.
func (b *Bench) On(database string) *Bench {
	there := *b
	there.database = database
	return &there
}

// Quick tells whether the runs are to be short.
func (b *Bench) Quick() bool { return b.quick }

// roles are what a child process of the benchmark can be.
var roles = map[string]func(args []string) error{
	"receiver": receive,
	"loop":     loop,
	"engine":   engine,
	"api":      serveAPI,
}

// Play takes a role, when the arguments name one. The process then belongs to
// the run that has started it.
func Play(args []string) (played bool, err error) {
	if len(args) == 0 || roles[args[0]] == nil {
		return false, nil
	}
	if err := roles[args[0]](args[1:]); err != nil {
		return true, fmt.Errorf("%s: %w", args[0], err)
	}
	return true, nil
}

// Run measures, and prints a table to stdout and what it is at to stderr. Its
// error says which rows could not be measured; a bar that is missed is none.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	kept, err := readResults(o.Results)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.Server == "" {
		o.Server = self
	}
	bin, err := filepath.Abs(o.Server)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "consentwire-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &Bench{self: self, role: o.Role, server: bin, dir: dir, quick: o.Quick, database: o.Database, profile: o.Profile}

	before, start := loadAverage(), time.Now()
	var shown []Row
	var failed []string
	known := o.Only == ""
	for _, m := range o.Measurements {
		switch {
		case o.Only != "":
			if !slices.Contains(m.Rows, o.Only) {
				continue
			}
			known = true
		case m.Large && !o.Large:
			continue
		case !o.Quick && all(m.Rows, func(name string) bool { _, ok := kept[name]; return ok }):
			for _, name := range m.Rows {
				shown = append(shown, kept[name])
			}
			continue
		}
		fmt.Fprintf(stderr, "bench: measuring %s\n", strings.Join(m.Rows, ", "))
		rows, err := m.Run(ctx, b)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = append(failed, fmt.Sprintf("%s: %v", m.Rows[0], err))
			continue
		}
		for i := range rows {
			rows[i].At = time.Now().UTC().Format(time.RFC3339)
			rows[i].Conditions += "; " + machine()
			kept[rows[i].Name] = rows[i]
		}
		shown = append(shown, rows...)
		if !o.Quick && o.Results != "" {
			if err := writeResults(o.Results, o.Measurements, kept); err != nil {
				return err
			}
		}
	}
	if !known {
		return fmt.Errorf("there is no row %q", o.Only)
	}
	if err := show(o.JSON, shown, stdout); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "\nload average (1, 5, 15 min) before %s, after %s; took %s\n", before, loadAverage(), time.Since(start).Round(time.Second))
	if o.Quick {
		fmt.Fprintln(stderr, "quick: short runs, which say little")
	}
	if len(failed) > 0 {
		return fmt.Errorf("could not be measured: %s", strings.Join(failed, "; "))
	}
	return nil
}

// show prints the rows as a table, and as JSON where that is asked for.
func show(file string, rows []Row, stdout io.Writer) error {
	if file == "" {
		return printTable(stdout, rows)
	}
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if file == "-" {
		_, err := stdout.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return printTable(stdout, rows)
}

func all[T any](s []T, fn func(T) bool) bool {
	return !slices.ContainsFunc(s, func(v T) bool { return !fn(v) })
}

func printTable(stdout io.Writer, rows []Row) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tmeasured\tbar\t\tconditions")
	for _, r := range rows {
		verdict := "ok"
		if !r.Pass {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%.3g %s\t%s\t%s\t%s\n", r.Name, r.Value, r.Unit, r.Bar, verdict, r.Conditions)
	}
	return w.Flush()
}

// AtLeast makes a row that must not be below its bar.
func AtLeast(name string, value, bar float64, unit, conditions string) Row {
	return Row{Name: name, Value: value, Unit: unit, Bar: fmt.Sprintf(">= %g", bar), Pass: value >= bar, Conditions: conditions}
}

// AtMost makes a row that must not be above its bar.
func AtMost(name string, value, bar float64, unit, conditions string) Row {
	return Row{Name: name, Value: value, Unit: unit, Bar: fmt.Sprintf("<= %g", bar), Pass: value <= bar, Conditions: conditions}
}

func readResults(file string) (map[string]Row, error) {
	out := map[string]Row{}
	if file == "" {
		return out, nil
	}
	b, err := os.ReadFile(file) // #nosec G304 -- named by whoever runs it
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []Row
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, r := range rows {
		out[r.Name] = r
	}
	return out, nil
}

// writeResults replaces the file, in the order of the table.
func writeResults(file string, all []Measurement, kept map[string]Row) error {
	rows := []Row{}
	for _, m := range all {
		for _, name := range m.Rows {
			if r, ok := kept[name]; ok {
				rows = append(rows, r)
			}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the bars hold "<="
	enc.SetIndent("", "  ")
	if err := enc.Encode(rows); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}
