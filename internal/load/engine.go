package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
)

// keyFile holds the master key of a prepared data folder.
const keyFile = "master.key"

// databaseFile is the file of a prepared folder that holds the address of its
// database; without it the store is in the folder.
const databaseFile = "database"

func openStore(ctx context.Context, dir string) (*relational.Store, error) {
	key, err := os.ReadFile(filepath.Join(dir, keyFile)) // #nosec G304 -- our own temporary folder
	if err != nil {
		return nil, err
	}
	keys, err := secret.ParseKeyring(secret.New(string(key)))
	if err != nil {
		return nil, err
	}
	url, err := os.ReadFile(filepath.Join(dir, databaseFile)) // #nosec G304 -- our own temporary folder
	if err == nil {
		return relational.Open(ctx, postgres.Server{URL: string(url)}, relational.Options{Keys: keys, Node: "nod_bench"})
	}
	return relational.Open(ctx, sqlite.File{Dir: dir}, relational.Options{Keys: keys})
}

// makeStore makes an empty data folder and opens it.
func (b *Bench) makeStore(ctx context.Context, name string) (string, *relational.Store, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte(secret.RandomStd(32)), 0o600); err != nil {
		return "", nil, err
	}
	if b.database != "" {
		if err := os.WriteFile(filepath.Join(dir, databaseFile), []byte(b.database), 0o600); err != nil {
			return "", nil, err
		}
	}
	s, err := openStore(ctx, dir)
	return dir, s, err
}

// backlog is what waits in a data folder.
type backlog struct {
	events    int
	endpoints int               // each hears every event
	url       string            // of all of them
	odd       string            // of the last one instead; empty: it has the others'
	auth      subscription.Auth // of all of them; zero: none

	dir  string
	left int64 // deliveries that no engine has been seen to attempt
}

// subjects is how many different citizens a backlog is about. Source: DESIGN 2,
// the prototype's 100 000.
const subjects = 100_000

// How a backlog is written: events of one transaction, and how many
// transactions are on their way at a time.
const publishBatch, publishers = 256, 8

// prepare makes a data folder with a backlog: full states of citizens, bodies
// of bodySize bytes.
func (b *Bench) prepare(ctx context.Context, name string, l *backlog) error {
	start := time.Now()
	dir, s, err := b.makeStore(ctx, name)
	if err != nil {
		return err
	}
	if l.auth.Type == "" {
		l.auth.Type = subscription.AuthNone
	}
	l.dir, l.left = dir, int64(l.events)*int64(l.endpoints)
	app := access.ID(id.New(id.Application))
	at := time.Now().UTC().Truncate(time.Millisecond)
	err = s.Update(ctx, func(tx store.Tx) error {
		if err := tx.PutApplication(access.Application{ID: app, Name: "bench", CreatedAt: at, UpdatedAt: at}); err != nil {
			return err
		}
		for i := range l.endpoints {
			e := subscription.Endpoint{
				ID: subscription.ID(id.New(id.Subscription)), Application: string(app), Style: subscription.Subscription, Version: 1,
				Name: "bench " + strconv.Itoa(i), URL: l.url, UpdateType: subscription.EffectivePermission,
				Status: subscription.Active, StatusSince: at, Auth: l.auth,
				SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("whsec_" + secret.RandomStd(32))}},
				MaxInFlight:    perEndpoint(l.endpoints), OnBacklog: subscription.BacklogAll, CreatedAt: at, UpdatedAt: at,
			}
			if l.odd != "" && i == l.endpoints-1 {
				e.URL = l.odd
			}
			if err := tx.PutEndpoint(e, delivery.Shown{URL: l.url}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = publish(ctx, s, app, l.events, at)
	}
	if err2 := s.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return fmt.Errorf("prepare %d events: %w", l.events, err)
	}
	fmt.Fprintf(os.Stderr, "bench: prepared %d events for %d endpoint(s) in %s\n", l.events, l.endpoints, time.Since(start).Round(100*time.Millisecond))
	return nil
}

// perEndpoint shares inFlight out, as far as it goes: a thousand endpoints have
// one each.
func perEndpoint(endpoints int) int { return max(1, inFlight/endpoints) }

func publish(ctx context.Context, s *relational.Store, app access.ID, events int, at time.Time) error {
	body := []byte(`{"event":"effective-permission","data":"` + strings.Repeat("x", bodySize-42) + `"}`)
	var next atomic.Int64
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for first.Load() == nil {
				from := int(next.Add(publishBatch)) - publishBatch
				if from >= events {
					return
				}
				var evts []event.Event
				for i := from; i < min(from+publishBatch, events); i++ {
					evts = append(evts, event.Event{
						ID: id.New(id.Event), Application: string(app), Feed: event.EffectivePermission, Type: event.PermissionsEffective,
						Subject: "ctz_" + strconv.Itoa(i%subjects), OccurredAt: at, RecordedAt: at, Body: body,
					})
				}
				if err := s.Update(ctx, func(tx store.Tx) error { return tx.Publish(evts...) }); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}

// engine is the role of the engine: it delivers the backlog of a data folder
// until its standard input ends, then finishes what is in flight. A second
// argument names a file for its processor profile.
func engine(args []string) error {
	ctx, cancel := untilStdinEnds()
	defer cancel()
	if len(args) > 1 {
		stop, err := profile(args[1])
		if err != nil {
			return err
		}
		defer stop()
	}
	s, err := openStore(ctx, args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	guard, err := egress.NewGuard(egress.Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})
	if err != nil {
		return err
	}
	client, err := egress.New(egress.Options{Guard: guard})
	if err != nil {
		return err
	}
	var nodes dispatch.Nodes
	if _, err := os.Stat(filepath.Join(args[0], databaseFile)); err == nil {
		nodes = s
	}
	e := dispatch.New(dispatch.Options{
		Log: s, Nodes: nodes, Client: client, Guard: guard, Version: "bench",
		Schedule: delivery.Schedule{5 * time.Second, 5 * time.Minute, 30 * time.Minute},
		Timeout:  egress.DefaultTimeout, Logger: slog.New(slog.DiscardHandler),
	})
	s.Watch(func(c store.Change) { e.Wake(c.Applications, c.Endpoints) })
	if err := say("ready"); err != nil {
		return err
	}
	return e.Run(ctx)
}

// window is what an engine did between two looks at it.
type window struct {
	rate    float64 // accepted deliveries a second
	cpu     float64 // seconds of processor time for 1,000 attempts
	peak    float64 // MiB, the most since it started
	early   float64 // MiB, the most in the window's first half
	late    float64 // MiB, the most in its second half
	refused int64
}

// watch looks at a running engine for d.
func watch(ctx context.Context, c *child, t *target, d time.Duration) (w window, err error) {
	pid := c.cmd.Process.Pid
	look := func() (at time.Time, n counts, used time.Duration, err error) {
		if n, err = t.counts(ctx); err != nil {
			return
		}
		used, err = cpu(pid)
		return time.Now(), n, used, err
	}
	at0, n0, cpu0, err := look()
	if err != nil {
		return w, err
	}
	const samples = 20
	for i := range samples {
		if err := pause(ctx, d/samples); err != nil {
			return w, err
		}
		mib, err := memory(pid, "VmRSS")
		if err != nil {
			return w, err
		}
		if i < samples/2 {
			w.early = max(w.early, mib)
		} else {
			w.late = max(w.late, mib)
		}
	}
	at1, n1, cpu1, err := look()
	if err != nil {
		return w, err
	}
	if w.peak, err = memory(pid, "VmHWM"); err != nil {
		return w, err
	}
	accepted := n1.Accepted - n0.Accepted
	w.refused = n1.Refused - n0.Refused
	if accepted == 0 {
		return w, fmt.Errorf("the engine delivered nothing in %s", d)
	}
	w.rate = float64(accepted) / at1.Sub(at0).Seconds()
	w.cpu = (cpu1 - cpu0).Seconds() / float64(accepted+w.refused) * 1000
	return w, nil
}

// runEngine starts the engine on a backlog, lets it warm up, looks at it for d,
// and stops it.
func (b *Bench) runEngine(ctx context.Context, l *backlog, t *target, d time.Duration) (window, error) {
	before, err := t.counts(ctx)
	if err != nil {
		return window{}, err
	}
	w, err := b.runOnce(ctx, l.dir, t, d)
	if err != nil {
		return w, err
	}
	after, err := t.counts(ctx)
	if err != nil {
		return w, err
	}
	if l.left -= after.Accepted - before.Accepted + after.Refused - before.Refused; l.left <= 0 {
		return w, fmt.Errorf("the backlog of %d events ran out", l.events)
	}
	return w, nil
}

func (b *Bench) runOnce(ctx context.Context, dir string, t *target, d time.Duration) (window, error) {
	var ready string
	args := []string{dir}
	if b.profile != "" {
		args = append(args, b.profile)
	}
	c, err := b.start(ctx, &ready, "engine", args...)
	if err != nil {
		return window{}, err
	}
	defer c.stop()
	if err := pause(ctx, b.warmup()); err != nil {
		return window{}, err
	}
	return watch(ctx, c, t, d)
}

// profile writes a processor profile to a file until stop is called.
func profile(name string) (stop func(), err error) {
	f, err := os.Create(name) // #nosec G304 -- named by whoever runs it
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: write the profile:", err)
		}
	}, nil
}
