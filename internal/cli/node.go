package cli

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/consentwire/consentwire/internal/api"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/oidc"
	"github.com/consentwire/consentwire/internal/portal"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/smtp"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/sweep"
	"github.com/consentwire/consentwire/internal/telemetry"
)

const (
	stopWithin = 20 * time.Second // for what is in flight; CONTRACT 1, SIGTERM
	// A store that failed is found within pingEvery; its process then stops
	// within stopBroken, for nothing of what is in flight can be recorded.
	pingEvery, stopBroken = time.Second, 2 * time.Second
)

// node is one server: its rooms, joined.
type node struct {
	cfg      config.Config
	log      *slog.Logger
	listener net.Listener
	address  *address
	identity *os.File // holds this node's name; nil: the store is ours alone
	url      string   // how the world reaches us
	operator secret.Value

	store  *relational.Store
	app    *app.App
	guard  *egress.Guard
	client *egress.Client
	engine *dispatch.Engine
	sweep  *sweep.Sweep
	sink   *sink.Sink
	portal *portal.Portal
	http   *http.Server

	stopping   atomic.Bool
	streams    context.Context // of answers that last; ends when the server stops
	endStreams context.CancelFunc
}

// newNode opens the store, listens, and joins the rooms. Nothing runs yet; a
// node that is not run must be closed.
func newNode(ctx context.Context, cfg config.Config, l *slog.Logger, listen func(address string) (net.Listener, error)) (_ *node, err error) {
	b := thisBuild()
	log.SetFlags(0)
	log.SetOutput(egress.QuietStdLog(l)) // a library that logs by itself, past every redaction
	for _, w := range cfg.Warnings {
		l.Warn(w)
	}
	k, err := ensureKeys(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, w := range k.warnings {
		l.Warn(w)
	}
	for _, f := range k.made {
		l.Info("key made", "file", f)
	}

	metrics := telemetry.NewMetrics(b.version, b.commit)
	n := &node{cfg: cfg, log: l, operator: k.admin}
	n.streams, n.endStreams = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	var name string
	if cfg.Database.IsSet() {
		if name, n.identity, err = identity(cfg.DataDir); err != nil {
			return nil, err
		}
	}
	n.store, err = relational.Open(ctx, opener(cfg, l), relational.Options{
		Keys: k.ring, Log: l, Node: name,
		OnCommit: metrics.Commit,
		OnEvent:  func(t event.Type, count int) { metrics.Event(string(t), count) },
	})
	if err != nil {
		return nil, about(storeSetting(cfg, err), err)
	}
	if n.listener, err = listen(cfg.Listen); err != nil {
		return nil, err
	}
	if !cfg.Database.IsSet() { // with one, other nodes may have the same folder
		if n.address, err = publishAddress(cfg, n.listener.Addr()); err != nil {
			return nil, err
		}
	}
	n.url = cfg.BaseURL(n.listener.Addr())
	publicURL := func() string { return n.url }

	n.app = app.New(app.Options{
		Store: n.store, Policy: policy(cfg), Operator: k.admin, Keys: &keyMaster{cfg: cfg, ring: k.ring, log: l}, PublicURL: publicURL,
		Retention: app.Retention{For: cfg.Retention, Bytes: cfg.RetentionSize, Lossy: cfg.RetentionLossy},
		Pruned:    func(p store.Pruned) { reportPruned(p, metrics, l) },
	})
	if err = n.openEgress(metrics); err != nil {
		return nil, err
	}
	var nodes dispatch.Nodes
	if cfg.Database.IsSet() {
		nodes = n.store
	}
	n.engine = dispatch.New(dispatch.Options{
		Log: n.store, Nodes: nodes, Tallies: n.store, Client: n.client, Mailer: smtp.New(n.client, delivery.UserAgent(b.version)), Guard: n.guard, Schedule: delivery.Schedule(cfg.RetrySchedule),
		Timeout: cfg.AttemptTimeout, Version: b.version, Logger: l, Metrics: metrics,
	})
	n.sweep = sweep.New(n.app, l)
	n.sink = sink.New(sink.Options{Store: n.store, Logger: l, PublicURL: publicURL})
	var signOn portal.SignOn
	if o := cfg.OIDC; o.Issuer != "" {
		signOn = oidc.New(oidc.Options{
			Issuer: o.Issuer, ClientID: o.ClientID, Secret: o.Secret, Name: o.Name, Client: n.client, Guard: n.guard,
			Callback: func() string { return publicURL() + portal.CallbackPath },
		})
	}
	n.portal, err = portal.New(portal.Options{
		SignOn: signOn,
		App:    n.app, Store: n.store, Sink: n.sink, Check: urlCheck(n.guard), Tester: n.engine, Docs: eventDocs(),
		PublicURL: publicURL, Logger: l, Version: b.version,
	})
	if err != nil {
		return nil, fmt.Errorf("build the portal: %w", err)
	}
	n.http = newHTTPServer(&faces{
		api: api.New(api.Options{
			App: n.app, Store: n.store, Check: urlCheck(n.guard), Host: hostCheck(n.guard), Tester: n.engine, Sink: n.sink,
			Ready: n.ready, Version: b.version, Commit: b.commit, PublicURL: publicURL, Logger: l, Metrics: metrics,
		}),
		portal: n.portal, sink: n.sink, streams: n.streams,
	}, l)
	n.store.Watch(func(c store.Change) {
		n.engine.Wake(c.Applications, c.Endpoints)
		n.sweep.Deadline(c.Deadline)
		n.sink.Forget(c.Erased...)
	})
	return n, nil
}

// eventDocs describes the types of events in the shape that the portal takes.
func eventDocs() []portal.Doc {
	var out []portal.Doc
	for _, w := range api.Webhooks() {
		out = append(out, portal.Doc(w))
	}
	return out
}

// reportPruned tells what retention took. What was lost is for somebody to hear.
func reportPruned(p store.Pruned, m *telemetry.Metrics, l *slog.Logger) {
	m.Pruned(p.Events)
	m.Ended("lost", p.Lost)
	if p.Lost > 0 {
		l.Warn("retention took deliveries that were not made yet", "count", p.Lost)
	}
	l.Debug("retention took events from the log", "count", p.Events)
}

func policy(cfg config.Config) consent.Policy {
	return consent.Policy{ApprovalTTL: cfg.ConsentApprovalTTL, ConsumptionTTL: cfg.ConsentConsumptionTTL}
}

// listen takes the address. Its error is a sentence about the setting.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	cause := err
	if op, ok := errors.AsType[*net.OpError](err); ok {
		cause = op.Err
	}
	return nil, about("CONSENTWIRE_LISTEN", fmt.Errorf("the address %s cannot be listened on: %w", address, cause))
}

// openEgress makes the one way out.
func (n *node) openEgress(m *telemetry.Metrics) (err error) {
	allow := append([]string(nil), n.cfg.EgressAllowHosts...)
	for _, p := range n.cfg.EgressAllow {
		allow = append(allow, p.String())
	}
	if n.guard, err = egress.NewGuard(egress.Policy{Allow: allow, AllowHTTP: n.cfg.EgressAllowHTTP}); err != nil {
		return about("CONSENTWIRE_EGRESS_ALLOW", err)
	}
	own, err := netip.ParseAddrPort(n.listener.Addr().String())
	if err != nil {
		return about("CONSENTWIRE_LISTEN", err)
	}
	if err := n.guard.SetOwn(n.url, own); err != nil {
		return about("CONSENTWIRE_PUBLIC_URL", err)
	}
	n.client, err = egress.New(egress.Options{Guard: n.guard, RootCAs: n.cfg.EgressCA, Refused: m.DialRefused})
	return about("CONSENTWIRE_EGRESS_CA_FILE", err)
}

// urlCheck is the guard's word on a URL in the shape that the rules take.
func urlCheck(g *egress.Guard) subscription.URLCheck {
	return func(raw string) error {
		if f := g.CheckURL(raw); f != nil {
			return fault.New(fault.Invalid, f.Code, f.Msg)
		}
		return nil
	}
}

// hostCheck is the guard's word on a mail server in the shape that the rules
// take.
func hostCheck(g *egress.Guard) subscription.HostCheck {
	return func(host string, port int, plain bool) error {
		if f := g.CheckHost(host, uint16(port), plain); f != nil { // #nosec G115 -- the rules have bounded it
			return fault.New(fault.Invalid, f.Code, f.Msg)
		}
		return nil
	}
}

// ready tells whether requests should be sent here: the store is reachable,
// migrated (it could not be open otherwise) and whole, and the engine runs.
func (n *node) ready(ctx context.Context) error {
	if n.stopping.Load() {
		return fault.New(fault.Unavailable, "stopping", "The server is stopping.")
	}
	if err := n.store.Ping(ctx); err != nil {
		return err
	}
	if !n.engine.Running() {
		return fault.New(fault.Unavailable, "starting", "The engine does not run yet.")
	}
	return nil
}

// run serves until ctx ends or something breaks, then stops and closes
// everything. also run beside it and end with its context; they may be none.
// The error is what broke.
func (n *node) run(ctx context.Context, also ...func(context.Context)) error {
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	broken := make(chan error, 4)
	var rooms, rest sync.WaitGroup
	start := func(wg *sync.WaitGroup, name string, fn func(context.Context) error) {
		wg.Go(func() {
			if err := fn(work); err != nil {
				broken <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start(&rooms, "engine", n.engine.Run)
	start(&rooms, "sweep", n.sweep.Run)
	start(&rest, "store", n.watchStore)
	start(&rest, "http", func(context.Context) error { return n.serveHTTP() })
	for _, fn := range also {
		rest.Go(func() { fn(work) })
	}

	var err error
	select {
	case <-ctx.Done():
		n.log.Info("stopping", "signal", context.Cause(ctx))
	case err = <-broken:
		n.log.Error("stopping, because something broke", "error", err)
	}
	n.stop(ctx, stopWork, &rooms, err)
	rest.Wait()
	return errors.Join(err, n.close())
}

// stop takes no more work and waits for what is in flight.
func (n *node) stop(ctx context.Context, stopWork func(), rooms *sync.WaitGroup, broken error) {
	within := stopWithin
	if broken != nil {
		within = stopBroken
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	n.stopping.Store(true) // readyz says so before anything ends
	stopWork()
	n.endStreams()

	finished := make(chan struct{})
	go func() {
		defer close(finished)
		rooms.Wait()
	}()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if err := n.http.Shutdown(last); err != nil {
			n.log.Warn("requests were cut off", "error", err)
			_ = n.http.Close() // what it could not close is closed already
		}
	}()
	// The inspector answers in its own time; once the engine needs no more
	// answers, nobody's time is worth waiting for.
	select {
	case <-finished:
	case <-last.Done():
	}
	n.sink.Close()
	n.client.CloseIdle() // those to our own inspector, unused ones too, would be waited for
	<-answered
	if broken == nil {
		<-finished // the engine keeps its own time
	}
}

// serveHTTP answers until the server is shut down.
func (n *node) serveHTTP() error {
	err := error(nil)
	if n.cfg.TLSCertFile != "" {
		err = n.http.ServeTLS(n.listener, n.cfg.TLSCertFile, n.cfg.TLSKeyFile)
	} else {
		err = n.http.Serve(n.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// watchStore returns the error of a store that failed: what the disk holds is
// then unknown, and only a start finds out (RULES D1).
func (n *node) watchStore(ctx context.Context) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := n.store.Ping(ctx); fault.CodeOf(err) == "store_failed" {
			return err
		}
	}
}

// close releases what newNode took. Idempotent.
func (n *node) close() error {
	n.endStreams()
	var errs []error
	if n.sink != nil {
		n.sink.Close()
	}
	if n.listener != nil {
		if err := n.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.client != nil {
		n.client.CloseIdle()
	}
	if n.address != nil { // while the folder still is ours
		errs = append(errs, n.address.remove())
		n.address = nil
	}
	if n.identity != nil {
		defer n.identity.Close()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
