package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
)

// The bars of permissions. Source: the bars of the issue "Citizens, permissions
// and preferences".
const (
	barTransactions = 0.5
	barImport       = 20_000 // lines a second on 2 cores
	barRead         = 5      // ms
	barLapse        = 1      // s
)

// benchOption is the one option that citizens are asked about.
const benchOption = "newsletter"

// grant appends a request to record that a citizen granted the option.
func grant(b []byte, citizen int, validUntil string) []byte {
	b = append(b, `{"externalRef":"CRM-`...)
	b = strconv.AppendInt(b, int64(1_000_000+citizen), 10)
	b = append(b, `","channel":"import","changes":[{"optionId":"`+benchOption+`","justification":"consent","state":"GRANTED"`...)
	if validUntil != "" {
		b = append(append(append(b, `,"validUntil":"`...), validUntil...), '"')
	}
	return append(b, `}]}`...)
}

// configure makes the option, and a subscription for each update type that is
// given; without a url they are paused.
func configure(ctx context.Context, base, bearer, url string, types ...string) error {
	status := "active"
	if url == "" {
		url, status = "http://127.0.0.1:9/", "paused"
	}
	err := call(ctx, http.MethodPost, base+"/v1/options", bearer, map[string]string{
		"optionId": benchOption, "name": "Newsletter", "dataId": "email", "purposeId": "marketing", "partyId": "us",
	}, nil)
	for _, t := range types {
		if err == nil {
			err = call(ctx, http.MethodPost, base+"/v1/subscriptions", bearer, map[string]any{
				"name": "bench " + t, "url": url, "updateType": t, "status": status, "authentication": map[string]string{"authType": "none"},
			}, nil)
		}
	}
	return err
}

// Update types of permissions.
const (
	receipts  = "consent-receipts"
	effective = "effective-permission"
)

const pathTransactions = "/v1/permissions/transactions"

// transactions compares how many transactions a second 64 clients can record,
// told to two feeds, with what the same API answers when nothing is stored.
func transactions(ctx context.Context, b *Bench) ([]Row, error) {
	p, err := b.besideForgetful(ctx, pathTransactions,
		func() []byte { return grant(nil, rand.IntN(subjects), "") }, // #nosec G404 -- a load, no secret
		func(a apiReady) error {
			return configure(ctx, "http://"+a.Addr, a.Bearer, "", receipts, effective)
		})
	if err != nil {
		return nil, err
	}
	return []Row{AtLeast("transactions-durable", median(p.ratios), barTransactions, besideUnit,
		fmt.Sprintf("%s, one change each, %d citizens at random, both feeds of permissions used", p.conditions(pathTransactions), subjects))}, nil
}

// importLoad is how an import is measured.
type importLoad struct {
	citizens, lines int
	types           []string // of subscriptions
}

// imports measures imports through the API of a server of its own, each into a
// new folder.
func imports(ctx context.Context, b *Bench) ([]Row, error) {
	lines := pick(b.quick, 100_000, 1_000_000)
	var rows []Row
	var peak, growth float64
	for _, x := range []struct {
		name string
		importLoad
	}{
		{"import-20k-citizens", importLoad{20_000, lines, nil}},
		{"import-200k-citizens", importLoad{200_000, lines, nil}},
		{"import-20k-citizens-told", importLoad{20_000, lines / 2, []string{receipts, effective}}},
	} {
		w, err := b.importOnce(ctx, x.importLoad)
		if err != nil {
			return nil, err
		}
		peak, growth = max(peak, w.peak), max(growth, w.late/w.early)
		told := "no subscription"
		if len(x.types) > 0 {
			told = "told to " + strings.Join(x.types, " and ") + ", which are paused"
		}
		rows = append(rows, AtLeast(x.name, w.rate, barImport, "lines/s",
			fmt.Sprintf("%d lines of %d citizens at random, POST over loopback, the sender on the same CPUs; %s", x.lines, x.citizens, told)))
	}
	return append(rows, AtMost("memory-import", growth, barFlat, "late/early",
		fmt.Sprintf("resident memory in the second half of an import's time beside that in the first, the most of these; %.0f MiB at most", peak))), nil
}

// importOnce imports into a new server.
func (b *Bench) importOnce(ctx context.Context, l importLoad) (w window, err error) {
	s, bearer, err := b.served(ctx)
	if err != nil {
		return w, err
	}
	defer s.stop()
	if err := configure(ctx, s.url, bearer, "", l.types...); err != nil {
		return w, err
	}
	type answer struct {
		took time.Duration
		err  error
	}
	done := make(chan answer, 1)
	start := time.Now()
	go func() {
		err := s.send(ctx, bearer, l.lines, func(b []byte, _ int) []byte { return grant(b, rand.IntN(l.citizens), "") }) // #nosec G404 -- a load, no secret
		done <- answer{time.Since(start), err}
	}()
	pid := s.cmd.Process.Pid
	var seen []float64
	for {
		select {
		case a := <-done:
			if a.err != nil {
				return w, a.err
			}
			if len(seen) < 4 {
				return w, fmt.Errorf("the import was over in %s", a.took)
			}
			// The first part of the time, in which all is being allocated, is left out.
			seen = seen[len(seen)/10:]
			w.early, w.late = slices.Max(seen[:len(seen)/2]), slices.Max(seen[len(seen)/2:])
			w.rate = float64(l.lines) / a.took.Seconds()
			w.peak, err = memory(pid, "VmHWM")
			fmt.Fprintf(os.Stderr, "bench: %d lines of %d citizens: %.0f/s, %.0f MiB at most, late/early %.2f\n", l.lines, l.citizens, w.rate, w.peak, w.late/w.early)
			return w, err
		case <-time.After(100 * time.Millisecond):
			mib, err := memory(pid, "VmRSS")
			if err != nil {
				return w, err
			}
			seen = append(seen, mib)
		}
	}
}

// send imports lines, each made by line, and checks that all were recorded.
func (s *server) send(ctx context.Context, bearer string, lines int, line func(b []byte, i int) []byte) error {
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 256<<10)
		var b []byte
		var err error
		for i := 0; i < lines && err == nil; i++ {
			b = append(line(b[:0], i), '\n')
			_, err = out.Write(b)
		}
		if err == nil {
			err = out.Flush()
		}
		_ = w.CloseWithError(err)
	}()
	defer r.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/permissions/import", r)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := (&http.Client{Transport: local(1)}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	var done struct{ Recorded int }
	if err := json.Unmarshal(answer, &done); err != nil || done.Recorded != lines {
		return fmt.Errorf("import %d lines: %s: %.300s", lines, resp.Status, answer)
	}
	return nil
}

// The reads of one citizen.
const (
	readTransactions = 1000
	readOptions      = 20
	readOthers       = 20_000 // citizens beside that one
)

// reads measures reads of one citizen with a long history through the API: its
// state now, and at instants of its past, one request after the other.
func reads(ctx context.Context, b *Bench) ([]Row, error) {
	s, bearer, err := b.served(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := configure(ctx, s.url, bearer, "", receipts, effective); err != nil {
		return nil, err
	}
	if err := s.send(ctx, bearer, readOthers, func(b []byte, i int) []byte { return grant(b, i, "") }); err != nil {
		return nil, err
	}
	for i := range readOptions {
		err := call(ctx, http.MethodPost, s.url+"/v1/options", bearer, map[string]string{
			"optionId": fmt.Sprintf("option-%d", i), "dataId": "email", "purposeId": "purpose-" + strconv.Itoa(i), "partyId": "us",
		}, nil)
		if err != nil {
			return nil, err
		}
	}
	var first, last time.Time
	for i := range readTransactions {
		var t struct{ RecordedAt time.Time }
		err := call(ctx, http.MethodPost, s.url+pathTransactions, bearer, map[string]any{
			"externalRef": "CRM-reader", "changes": []any{map[string]string{
				"optionId": fmt.Sprintf("option-%d", i%readOptions), "justification": "consent",
				"state": string([]permission.State{permission.Granted, permission.Denied}[i/readOptions%2]),
			}},
		}, &t)
		if err != nil {
			return nil, err
		}
		if last = t.RecordedAt; i == 0 {
			first = last
		}
	}
	read := func(n int, more func() string) ([]float64, error) {
		var took []float64
		for range n {
			url := s.url + "/v1/permissions?externalRef=CRM-reader" + more()
			start := time.Now()
			if err := call(ctx, http.MethodGet, url, bearer, nil, nil); err != nil {
				return nil, err
			}
			took = append(took, float64(time.Since(start).Microseconds())/1000)
		}
		return took, nil
	}
	n := pick(b.quick, 500, 5000)
	present, err := read(n, func() string { return "" })
	if err != nil {
		return nil, err
	}
	past, err := read(n, func() string {
		return "&at=" + event.Format(first.Add(rand.N(last.Sub(first)))) // #nosec G404 -- a load, no secret
	})
	if err != nil {
		return nil, err
	}
	what := func(took []float64, which string) string {
		return fmt.Sprintf("GET /v1/permissions%s, a citizen with %d transactions of %d options beside %d others, %d reads one by one, p50 %.2f ms, max %.1f ms",
			which, readTransactions, readOptions, readOthers, len(took), median(took), slices.Max(took))
	}
	return []Row{
		AtMost("read-p99", quantile(present, 0.99), barRead, "ms", what(present, "")),
		AtMost("read-at-p99", quantile(past, 0.99), barRead, "ms", what(past, " with at= at random")),
	}, nil
}

// lapsing is how many permissions lapse at one instant.
const lapsing = 3000

// lapses measures how long after the instant at which many permissions lapse
// the last of them is committed, while a receiver on the same machine is told
// of each by two feeds; and how long others wait for a change of theirs
// meanwhile.
func lapses(ctx context.Context, b *Bench) ([]Row, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	s, bearer, err := b.served(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := configure(ctx, s.url, bearer, t.url(pathAccept), receipts, effective); err != nil {
		return nil, err
	}
	var committed, delivered, waited []float64
	for turn := range b.pairs() {
		instant := time.Now().Add(5 * time.Second).Truncate(time.Millisecond)
		if err := s.send(ctx, bearer, lapsing, func(b []byte, i int) []byte { return grant(b, i, event.Format(instant)) }); err != nil {
			return nil, err
		}
		// Of each update there is one full state, and a delta besides.
		updates := int64(2*turn+1) * lapsing
		heard := func() (bool, error) {
			n, err := t.counts(ctx)
			return n.Accepted >= 2*updates, err
		}
		if _, err := until(ctx, 20*time.Millisecond, heard); err != nil {
			return nil, err
		}
		if err := pause(ctx, time.Until(instant)); err != nil {
			return nil, err
		}
		updates += lapsing
		others, stop := make(chan error, 1), make(chan struct{})
		go func() {
			took, err := s.changesUntil(ctx, bearer, stop)
			waited = append(waited, took...)
			others <- err
		}()
		at, err := until(ctx, 10*time.Millisecond, func() (bool, error) {
			n, err := s.logged(ctx, string(event.PermissionsEffective))
			return n >= updates, err
		})
		close(stop)
		if err := errors.Join(err, <-others); err != nil {
			return nil, err
		}
		committed = append(committed, at.Sub(instant).Seconds())
		if at, err = until(ctx, 10*time.Millisecond, heard); err != nil {
			return nil, err
		}
		delivered = append(delivered, at.Sub(instant).Seconds())
		fmt.Fprintf(os.Stderr, "bench: %d lapses committed after %.3f s, delivered after %.3f s\n", lapsing, committed[turn], delivered[turn])
	}
	return []Row{AtMost("lapses-3000", slices.Max(committed), barLapse, "s", fmt.Sprintf(
		"%d permissions lapse at one instant, told by two feeds to a receiver on the same CPUs; instant to last commit, the most of %d times (median %.2f s); delivered after %.2f s (median); a change by the API meanwhile took %.0f ms (median), %.0f ms at most",
		lapsing, len(committed), median(committed), median(delivered), median(waited), slices.Max(waited)))}, nil
}

// changesUntil makes consents one after the other until stop is closed, at least
// one, and returns the milliseconds that each took.
func (s *server) changesUntil(ctx context.Context, bearer string, stop <-chan struct{}) (took []float64, err error) {
	for {
		start := time.Now()
		if err := call(ctx, http.MethodPost, s.url+"/v1/consents", bearer, consentRequest, nil); err != nil {
			return took, err
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
		select {
		case <-stop:
			return took, nil
		default:
		}
	}
}

// until asks every so often until the answer is yes, and returns when it was.
func until(ctx context.Context, every time.Duration, ask func() (bool, error)) (time.Time, error) {
	for start := time.Now(); time.Since(start) < time.Minute; {
		if yes, err := ask(); err != nil || yes {
			return time.Now(), err
		}
		if err := pause(ctx, every); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("nothing came of it within a minute")
}

// logged returns how many events of a type the server has committed.
func (s *server) logged(ctx context.Context, typ string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.operator)
	resp, err := caller.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if n, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(`consentwire_events_total{type="`+typ+`"} `)); ok {
			f, err := strconv.ParseFloat(string(n), 64)
			return int64(f), err
		}
	}
	return 0, nil
}
