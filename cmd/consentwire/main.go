// Command consentwire keeps people's consents and tells every subscriber what
// changed. See `consentwire help`.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/consentwire/consentwire/internal/cli"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(errors.New((<-signals).String()))
		<-signals // a second one does not wait for what is in flight
		os.Exit(1)
	}()
	os.Exit(cli.Main(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
