// Command bench measures Consentwire against all the bars that it sets itself,
// and prints a table of them.
//
//	go run ./bench [-row name] [-quick] [-large] [-profile file] [-server bin/consentwire]
//
// Results are kept in bench/results.json, one by one; a row that is there is
// not measured again until it is named by -row or the file is removed.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/consentwire/consentwire/internal/load"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	if played, err := load.Play(os.Args[1:]); played {
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := load.Options{Results: "bench/results.json"}
	flag.StringVar(&o.Only, "row", "", "measure this row (and those of the same run), even if its result is kept")
	flag.BoolVar(&o.Quick, "quick", false, "short runs, to see that it works; results are not kept")
	flag.BoolVar(&o.Large, "large", false, "the large rows too")
	flag.StringVar(&o.Server, "server", "bin/consentwire", "the server's binary")
	flag.StringVar(&o.Profile, "profile", "", "write the processor profile of the engine's last run to this file")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q", flag.Arg(0))
	}
	o.Measurements = append(load.Measurements(),
		load.Measurement{Rows: []string{"deliveries-postgres"}, Run: onPostgres},
		load.Measurement{Rows: []string{"kills-embedded"}, Run: killsEmbedded},
		load.Measurement{Rows: []string{"kills-postgres"}, Run: killsPostgres},
		load.Measurement{Rows: []string{"node-loss"}, Run: nodeLoss},
	)
	if err := load.Run(ctx, o, os.Stdout, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

// barPostgres is the bar of the engine on PostgreSQL. Source: DESIGN 2.
const barPostgres = 0.75

// onPostgres is the first row with the store in a PostgreSQL server on the same
// machine.
func onPostgres(ctx context.Context, b *load.Bench) ([]load.Row, error) {
	cluster, err := pgtest.Start()
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL (the package postgresql): %w", err)
	}
	defer cluster.End() // its folder is a temporary one
	url, err := cluster.Create()
	if err != nil {
		return nil, err
	}
	return load.OneSubscription(ctx, b.On(url), "deliveries-postgres", "PostgreSQL on the same machine, fsync on", barPostgres)
}
