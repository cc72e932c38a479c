package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/portal"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/telemetry"
)

// dev runs a server with a demo application and sample consents until ctx
// ends, and tells on stdout what to look at and what arrives.
func dev(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) (err error) {
	temporary := cfg.DataDir == ""
	if temporary {
		if cfg.DataDir, err = os.MkdirTemp("", "consentwire-dev-"); err != nil { // mode 0700
			return about("CONSENTWIRE_DATA_DIR", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.DataDir)) }()
	}
	allowLoopback(&cfg)
	l := telemetry.NewLogger(stderr, telemetry.Format(cfg.LogFormat), cfg.LogLevel)
	take := listen
	if !cfg.ListenSet {
		take = listenNearby
	}
	n, err := newNode(ctx, cfg, l, take)
	if err != nil {
		return err
	}
	d, err := n.ensureDemo(ctx)
	if err != nil {
		return errors.Join(err, n.close())
	}
	if isTerminal(stderr) {
		n.announce(l) // by default not shown: the banner says it
	} else {
		n.announce(telemetry.NewLogger(stderr, telemetry.Format(cfg.LogFormat), min(cfg.LogLevel, slog.LevelInfo)))
	}
	out := &lines{w: stdout}
	out.print(n.banner(d, temporary))

	p := policy(cfg)
	p.ApprovalTTL = briefTTL
	brief := app.New(app.Options{Store: n.store, Policy: p, Operator: n.operator})
	requests, cancel := n.sink.Watch(d.bin) // before the first is sent
	defer cancel()
	return n.run(ctx,
		newSamples(n.app, brief, l, d.app).run,
		func(ctx context.Context) { tellArrivals(ctx, requests, out) },
	)
}

// allowLoopback lets a newcomer's own receiver and token server on this machine
// be told, by plain http, too, unless the owner said what may be dialled.
// Source: DOMAIN 7.10, B7 and B10.
func allowLoopback(cfg *config.Config) {
	if len(cfg.EgressAllow) == 0 && len(cfg.EgressAllowHosts) == 0 {
		cfg.EgressAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		cfg.EgressAllowHTTP = true
	}
}

// listenNearby takes the address, or the same host with a port that the system
// picks when the address is in use.
func listenNearby(address string) (net.Listener, error) {
	l, err := listen(address)
	if host, _, serr := net.SplitHostPort(address); serr == nil && errors.Is(err, syscall.EADDRINUSE) {
		return listen(net.JoinHostPort(host, "0"))
	}
	return l, err
}

// isTerminal tells whether what is written to w is read by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}

// lines writes whole lines for several goroutines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// print writes s. A terminal that has gone is no reason to stop.
func (l *lines) print(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.w, s)
}

// banner is what a newcomer reads first.
func (n *node) banner(d demo, temporary bool) string {
	b := thisBuild()
	kept := "Everything is kept in " + n.cfg.DataDir + "."
	if temporary {
		kept = "Nothing is kept when you stop it."
	}
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("")
	line("  Consentwire %s is running, with a demo application and sample consents.", b.version)
	line("  %s Ctrl-C stops it.", kept)
	line("")
	line("  Portal         %s", n.portal.SignInLink(d.app))
	line("                 (signs you in, once)")
	line("  Inspector      %s", n.url+portal.Prefix+"inspector/"+d.bin)
	line("  Mailbox        %s", n.url+portal.Prefix+"mailbox")
	line("  API reference  %s", n.url+"/docs")
	line("  Client ID      %s", d.client)
	line("  Client secret  %s", d.secret.Reveal())
	line("")
	line("  Get a token and create a consent; paste this into a shell:")
	line("")
	line("%s", curl(n.url, d.client, d.secret))
	line("")
	line("  What arrives at the inspector:")
	line("")
	return s.String()
}

// curl returns a command, on one line, that gets a token and creates a
// consent.
func curl(url, client string, sec secret.Value) string {
	token := `$(curl -sS ` + url + `/oauth2/token -u ` + client + ":" + sec.Reveal() +
		` -d grant_type=client_credentials | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/')`
	return `curl -sS ` + url + `/v1/consents -H "Authorization: Bearer ` + token + `" -H 'Content-Type: application/json'` +
		` -d '{"permissions":["ACCOUNTS_READ","ACCOUNTS_BALANCES_READ","RESOURCES_READ"],` +
		`"loggedUser":{"document":{"identification":"12345678909","rel":"CPF"}}}'`
}

// tellArrivals writes a line for each request until ctx ends.
func tellArrivals(ctx context.Context, requests <-chan sink.Request, out *lines) {
	for {
		select {
		case r, ok := <-requests:
			if !ok {
				return
			}
			out.print(arrival(r))
		case <-ctx.Done():
			return
		}
	}
}

// arrival is the line about one request.
func arrival(r sink.Request) string {
	var body struct {
		Event     string `json:"event"`
		Type      string `json:"type"`
		CitizenID string `json:"citizenId"`
	}
	what := r.Method + " " + r.Path
	if json.Unmarshal([]byte(r.Body), &body) == nil {
		switch {
		case body.Event != "":
			what = body.Event
		case body.Type != "":
			what = body.Type
		case body.CitizenID != "" && strings.HasSuffix(r.Path, pathPermissions):
			what = string(event.PermissionsEffective) // its body is the state itself and names no event
		case body.CitizenID != "" && strings.HasSuffix(r.Path, pathMails):
			what = string(event.CitizenEmail) // nor does that of a mail
		}
	}
	by := ""
	for _, p := range []string{pathInterceptor, pathSubscription, pathPermissions, pathMails} {
		if strings.HasSuffix(r.Path, p) {
			by = p[1:]
		}
	}
	return fmt.Sprintf("  %s  %-22s  %-30s  %-12s  signature %s\n",
		r.At.Local().Format("15:04:05.000"), visible(what), visible(r.Header(delivery.HeaderSubject)), by, r.Signature)
}

// visible returns s without what a terminal might obey: anybody may send to
// the inspector.
func visible(s string) string {
	const most = 60 // characters
	rs := []rune(s)
	if len(rs) > most {
		rs = append(rs[:most-1], '…')
	}
	for i, r := range rs {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			rs[i] = '.'
		}
	}
	return string(rs)
}
