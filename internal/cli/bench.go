package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/load"
)

// benchRole is what a child of the command bench is started as. It is none of
// the commands that are told of.
const benchRole = "bench-role"

// bench measures what this machine does, and tells it as a table or as JSON. It
// needs no configuration and touches no data of a server.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := load.Options{Role: []string{benchRole}}
	flags := flag.NewFlagSet("consentwire bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `Usage: consentwire bench [flags]

Measures this machine: deliveries a second against a bare HTTP loop to the same
receiver, beside failing subjects and dead or slow endpoints; the time from a
change to its receiver; durable changes a second; processor time and memory.
Receiver, loop and engine are processes of their own on the loopback interface;
the store is made in a temporary folder and removed. It takes about ten minutes,
with --quick two. Rates are ratios within one run; the bars are our own.

`)
		flags.PrintDefaults()
	}
	flags.BoolVar(&o.Quick, "quick", false, "short runs, to see what it does; they say little")
	flags.StringVar(&o.Only, "row", "", "measure this `row` only, and those of the same run")
	flags.StringVar(&o.JSON, "json", "", "write the rows as JSON to this `file` too; - for standard output instead of the table")
	flags.StringVar(&o.Database, "database", "", "`URL` of an empty PostgreSQL database for the rows on deliveries (default: the embedded store)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fault.New(fault.Invalid, "usage", "See consentwire bench --help.")
	}
	if flags.NArg() > 0 {
		return fault.New(fault.Invalid, "usage", fmt.Sprintf("Unexpected argument %q; see consentwire bench --help.", flags.Arg(0)))
	}
	for _, m := range load.Measurements() {
		if m.Operator {
			o.Measurements = append(o.Measurements, m)
		}
	}
	return load.Run(ctx, o, stdout, stderr)
}
