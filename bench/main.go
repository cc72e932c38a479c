// Command bench measures Consentwire against the bars that it sets itself, and
// prints a table of them.
//
//	go run ./bench [-row name] [-quick] [-large] [-profile file] [-server bin/consentwire]
//
// Rates are ratios within one run, never absolute: each run of the engine sits
// between two of a bare net/http keep-alive POST loop that sends bodies of the
// same size to the same receiver, and the result is the median of the pairs.
// Receiver, loop, engine and server are processes of their own, so that their
// processor time and memory can be told apart (/proc, so only on Linux).
//
// Results are kept in bench/results.json, one by one; a row that is there is
// not measured again until it is named by -row or the file is removed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// resultsFile is where results are kept, from the module's root.
const resultsFile = "bench/results.json"

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

// measurement yields one row or several that share a run.
type measurement struct {
	rows  []string
	large bool // takes minutes to prepare
	run   func(ctx context.Context, b *bench) ([]Row, error)
}

func measurements() []measurement {
	return []measurement{
		{rows: []string{"deliveries-1-subscription", "cpu-per-1000-deliveries", "memory-backlog"}, run: oneSubscription},
		{rows: []string{"deliveries-10-subscriptions"}, run: tenSubscriptions},
		{rows: []string{"deliveries-1000-subscriptions"}, run: thousandSubscriptions},
		{rows: []string{"deliveries-10-percent-poisoned"}, run: poisonedSubjects},
		{rows: []string{"deliveries-beside-a-dead-endpoint"}, run: deadEndpoint},
		{rows: []string{"deliveries-beside-a-slow-endpoint"}, run: slowEndpoint},
		{rows: []string{"deliveries-postgres"}, run: onPostgres},
		{rows: []string{"deliveries-fetched-token"}, run: fetchedToken},
		{rows: []string{"deliveries-backlog-10m", "memory-backlog-10m"}, large: true, run: tenMillion},
		{rows: []string{"latency-p50", "latency-p99"}, run: latency},
		{rows: []string{"changes-durable"}, run: changes},
		{rows: []string{"dev-first-delivery"}, run: firstDelivery},
		{rows: []string{"transactions-durable"}, run: transactions},
		{rows: []string{"import-20k-citizens", "import-200k-citizens", "import-20k-citizens-told", "memory-import"}, run: imports},
		{rows: []string{"read-p99", "read-at-p99"}, run: reads},
		{rows: []string{"lapses-3000"}, run: lapses},
		{rows: []string{"kills-embedded"}, run: killsEmbedded},
		{rows: []string{"kills-postgres"}, run: killsPostgres},
		{rows: []string{"node-loss"}, run: nodeLoss},
	}
}

// bench is one run of the program.
type bench struct {
	self   string // this program, to be run again in another role
	server string // the server's binary
	dir    string // scratch, removed at the end
	quick  bool

	database string // where stores are made instead of in folders; empty: in folders

	profile string // file for the processor profile of the engine's last run; empty: none
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](os.Args[2:]); err != nil {
			log.Fatalf("%s: %v", os.Args[1], err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

// roles are what a child process of the benchmark can be.
var roles = map[string]func(args []string) error{
	"receiver": receive,
	"loop":     loop,
	"engine":   engine,
	"api":      serveAPI,
}

func run(ctx context.Context) error {
	only := flag.String("row", "", "measure this row (and those of the same run), even if its result is kept")
	quick := flag.Bool("quick", false, "short runs, to see that it works; results are not kept")
	large := flag.Bool("large", false, "the large rows too")
	server := flag.String("server", "bin/consentwire", "the server's binary")
	profile := flag.String("profile", "", "write the processor profile of the engine's last run to this file")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	kept, err := readResults()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin, err := filepath.Abs(*server)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "consentwire-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{self: self, server: bin, dir: dir, quick: *quick, profile: *profile}

	before, start := loadAverage(), time.Now()
	var shown []Row
	var failed []string
	known := *only == ""
	for _, m := range measurements() {
		switch {
		case *only != "":
			if !slices.Contains(m.rows, *only) {
				continue
			}
			known = true
		case m.large && !*large:
			continue
		case !*quick && all(m.rows, func(name string) bool { _, ok := kept[name]; return ok }):
			for _, name := range m.rows {
				shown = append(shown, kept[name])
			}
			continue
		}
		log.Printf("measuring %s", strings.Join(m.rows, ", "))
		rows, err := m.run(ctx, b)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = append(failed, fmt.Sprintf("%s: %v", m.rows[0], err))
			continue
		}
		for i := range rows {
			rows[i].At = time.Now().UTC().Format(time.RFC3339)
			rows[i].Conditions += "; " + machine()
			kept[rows[i].Name] = rows[i]
		}
		shown = append(shown, rows...)
		if !*quick {
			if err := writeResults(kept); err != nil {
				return err
			}
		}
	}
	if !known {
		return fmt.Errorf("there is no row %q", *only)
	}
	if err := printTable(shown); err != nil {
		return err
	}
	fmt.Printf("\nload average (1, 5, 15 min) before %s, after %s; took %s\n", before, loadAverage(), time.Since(start).Round(time.Second))
	if *quick {
		fmt.Println("quick: short runs, not kept")
	}
	if len(failed) > 0 {
		return fmt.Errorf("could not be measured: %s", strings.Join(failed, "; "))
	}
	return nil
}

func all[T any](s []T, fn func(T) bool) bool {
	return !slices.ContainsFunc(s, func(v T) bool { return !fn(v) })
}

func printTable(rows []Row) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
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

// atLeast and atMost make rows with the two kinds of bars.
func atLeast(name string, value, bar float64, unit, conditions string) Row {
	return Row{Name: name, Value: value, Unit: unit, Bar: fmt.Sprintf(">= %g", bar), Pass: value >= bar, Conditions: conditions}
}

func atMost(name string, value, bar float64, unit, conditions string) Row {
	return Row{Name: name, Value: value, Unit: unit, Bar: fmt.Sprintf("<= %g", bar), Pass: value <= bar, Conditions: conditions}
}

func readResults() (map[string]Row, error) {
	out := map[string]Row{}
	b, err := os.ReadFile(resultsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []Row
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", resultsFile, err)
	}
	for _, r := range rows {
		out[r.Name] = r
	}
	return out, nil
}

// writeResults replaces the file, in the order of the table.
func writeResults(kept map[string]Row) error {
	rows := []Row{}
	for _, m := range measurements() {
		for _, name := range m.rows {
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
	return os.WriteFile(resultsFile, b.Bytes(), 0o600)
}
