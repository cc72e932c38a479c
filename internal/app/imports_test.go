package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// parseLine reads a line as a face does, but laxly.
func parseLine(line []byte) (permission.Request, error) {
	var f struct {
		ExternalRef, CitizenID, Channel *string
		Changes                         []struct {
			OptionID, Justification, State *string
			ObtainedAt, ValidUntil         *time.Time
		}
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return permission.Request{}, fault.New(fault.Invalid, "invalid_json", "The line is not JSON.")
	}
	r := permission.Request{ExternalRef: f.ExternalRef, CitizenID: f.CitizenID, Channel: f.Channel}
	for _, c := range f.Changes {
		r.Changes = append(r.Changes, permission.ChangeDraft{
			OptionID: c.OptionID, Justification: c.Justification, State: c.State, ObtainedAt: c.ObtainedAt, ValidUntil: c.ValidUntil,
		})
	}
	return r, nil
}

// line asks to record one change by consent.
func line(externalRef, option string, state permission.State) string {
	return fmt.Sprintf(`{"externalRef":%q,"changes":[{"optionId":%q,"justification":"consent","state":%q}]}`, externalRef, option, state)
}

// bring imports lines, each of which it ends.
func (w *world) bring(r app.ImportRequest, lines ...string) (app.ImportProgress, error) {
	r.Lines, r.Parse = strings.NewReader(strings.Join(lines, "\n")), parseLine
	return w.Import(w.ctx, w.app, caller, r)
}

// wantImport compares the counts of an import, as it is read back, in the order
// lines, recorded, refused, errors, kept.
func (w *world) wantImport(importID string, status app.ImportStatus, counts ...int64) app.ImportProgress {
	w.t.Helper()
	p, err := w.Progress(w.ctx, w.app, importID)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := []int64{p.Lines, p.Recorded, p.Refused, p.Errors, p.Kept}; p.Status != status || !slices.Equal(got, counts) {
		w.t.Errorf("got the import %s with %v, want %s with %v", p.Status, got, status, counts)
	}
	return p
}

// refused renders what is kept of the lines that were refused.
func (w *world) refused(importID string) []string {
	w.t.Helper()
	list, more, err := w.store.ImportErrors(w.ctx, w.app, importID, 1000, 0)
	if err != nil || more {
		w.t.Fatalf("got more %t, %v", more, err)
	}
	var out []string
	for _, e := range list {
		s := fmt.Sprint(e.Line)
		for _, f := range e.Fields {
			s += " " + f.Path + ":" + f.Code
		}
		out = append(out, s)
	}
	return out
}

// transactions counts those of all citizens.
func (w *world) transactions() (n int) {
	w.t.Helper()
	cs, next, err := w.store.Citizens(w.ctx, w.app, store.CitizenQuery{Limit: 10_000})
	if err != nil || next != "" {
		w.t.Fatalf("got next %q, %v", next, err)
	}
	for _, c := range cs {
		n += len(w.history(c.ID))
	}
	return n
}

func TestImport_refusesOnlyTheLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	at, err := w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ID: ptr("c-1"), ExternalRef: ptr("crm-9")})
	if err != nil {
		t.Fatal(err)
	}
	fits := line("crm-1", research, permission.Granted)
	fits = strings.Repeat(" ", app.MaxImportLine-len(fits)) + fits
	got, err := w.bring(app.ImportRequest{},
		line("crm-1", mailing, permission.Granted), // 1
		`{"externalRef":`,                          // 2
		"",                                         // 3
		line("crm-2", "opt-none", permission.Claimed), // 4
		" "+fits, // 5: too long by one
		fits,     // 6
		" \r",    // 7
		strings.Replace(line("x", mailing, permission.Granted), `"externalRef":"x"`, `"citizenId":"c-none"`, 1), // 8
		strings.Replace(line("x", mailing, permission.Granted), `"externalRef":"x"`, `"citizenId":"c-1"`, 1),    // 9
		strings.Replace(line("crm-1", mailing, permission.Granted), `{`, `{"citizenId":"c-1",`, 1),              // 10
		line("crm-9", phoning, permission.Denied)+"\r",                                                          // 11
		strings.Repeat("x", 3*app.MaxImportLine),                                                                // 12
		line("crm-2", mailing, permission.Denied),                                                               // 13, without an end
	)
	if err != nil || got.Status != app.ImportComplete {
		t.Fatalf("got %+v, %v, want it complete", got, err)
	}
	w.wantImport(got.ID, app.ImportComplete, 13, 5, 6, 7, 7)
	want := []string{
		"2 :invalid_json", "4 /changes/0/optionId:unknown /changes/0/state:state_not_allowed", "5 :too_long",
		"8 /citizenId:not_found", "10 /externalRef:mismatch", "12 :too_long",
	}
	if lines := w.refused(got.ID); !slices.Equal(lines, want) {
		t.Errorf("got the refused lines %q, want %q", lines, want)
	}
	if n := len(w.history(at.ID)); n != 2 {
		t.Errorf("got %d transactions of the citizen of both names, want 2", n)
	}
	c, v := w.now("crm-1")
	if len(w.history(c.ID)) != 2 || len(v.Permissions) != 2 {
		t.Errorf("got the state %+v, want that of two transactions", v)
	}
}

// TestImport_asSingleTransactions: the same requests, one by one and imported,
// leave the same histories, states and log.
func TestImport_asSingleTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := func(record func(w *world, lines []string)) (log []string) {
			var lines []string
			for i := range 60 {
				l := line(fmt.Sprintf("crm-%d", i/12), []string{mailing, phoning, research}[i*7%3], []permission.State{permission.Granted, permission.Denied}[i*5%2])
				if i%4 == 0 {
					l = strings.Replace(l, `"state"`, `"validUntil":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`","state"`, 1)
				}
				if i%9 == 0 {
					l = strings.Replace(l, `"state"`, `"obtainedAt":"1999-01-01T00:00:00Z","state"`, 1)
				}
				lines = append(lines, l)
			}
			w := newWorld(t)
			w.configure()
			w.hearAll()
			record(w, lines)
			time.Sleep(2 * time.Hour)
			if _, err := w.AdvanceDue(w.ctx); err != nil {
				t.Fatal(err)
			}
			for _, e := range w.events(w.app) {
				log = append(log, w.told(e))
			}
			for i := range 5 {
				c, v := w.now(fmt.Sprintf("crm-%d", i))
				s := fmt.Sprintf("%s version %d, %d transactions:", c.ExternalRef, c.Version, len(w.history(c.ID)))
				for _, p := range v.Permissions {
					s += fmt.Sprintf(" %s=%s/%t", p.Option, p.State, p.Lapsed)
				}
				log = append(log, s)
			}
			return log
		}
		want := run(func(w *world, lines []string) {
			for _, l := range lines {
				r, err := parseLine([]byte(l))
				if err != nil {
					t.Fatal(err)
				}
				w.record(r)
			}
		})
		got := run(func(w *world, lines []string) {
			if p, err := w.bring(app.ImportRequest{}, lines...); err != nil || p.Recorded != 60 {
				t.Fatalf("got %+v, %v", p, err)
			}
		})
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestImport_silent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		short := change(mailing, permission.Granted)
		short.ValidUntil = ptr(time.Now().Add(time.Minute))
		w.record(by("crm-1", short))
		time.Sleep(time.Hour)
		if p, err := w.bring(app.ImportRequest{Silent: true}, line("crm-1", phoning, permission.Granted), line("crm-2", phoning, permission.Granted)); err != nil || p.Recorded != 2 {
			t.Fatalf("got %+v, %v", p, err)
		}
		w.record(by("crm-1", change(research, permission.Denied)))
		w.wantTold(
			"delta mailing=GRANTED", "effective mailing=GRANTED",
			"delta mailing=null", "effective mailing=null", // it lapsed, which the import did not do
			"delta research=DENIED", "effective mailing=null phoning=GRANTED research=DENIED",
		)
	})
}

// breaking is a stream that breaks off, or waits, behind its text.
type breaking struct {
	io.Reader
	end func() error
}

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.end()
	}
	return n, err
}

func TestImport_goesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	var lines []string
	for i := range 30 {
		lines = append(lines, line(fmt.Sprintf("crm-%d", i%7), mailing, permission.Granted))
	}
	lines[4] = "nonsense"
	whole := strings.Join(lines, "\n")
	cut := func(key, text string, silent bool) error {
		_, err := w.Import(w.ctx, w.app, caller, app.ImportRequest{Key: key, Silent: silent, Parse: parseLine,
			Lines: breaking{strings.NewReader(text), func() error { return io.ErrUnexpectedEOF }}})
		return err
	}
	idOf := func(err error) string {
		t.Helper()
		f, is := errors.AsType[*fault.Error](err)
		if !is || f.Code != "incomplete_body" || f.Details["importId"] == "" {
			t.Fatalf("got %v, want incomplete_body with the import's ID", err)
		}
		return f.Details["importId"]
	}

	part := strings.Join(lines[:10], "\n") + "\n" + lines[10][:20]
	imp := idOf(cut("key-1", part, false))
	w.wantImport(imp, app.ImportInterrupted, 10, 9, 1, 1, 1)
	w.restart()
	w.wantImport(imp, app.ImportInterrupted, 10, 9, 1, 1, 1)
	if got := idOf(cut("key-1", strings.Join(lines[:20], "\n")+"\n", false)); got != imp {
		t.Errorf("got the import %s, want %s again", got, imp)
	}
	w.wantImport(imp, app.ImportInterrupted, 20, 19, 1, 1, 1)
	idOf(cut("key-1", strings.Join(lines[:5], "\n"), false)) // not even what was recorded

	for name, other := range map[string]func() error{
		"other lines": func() error {
			_, err := w.bring(app.ImportRequest{Key: "key-1"}, append([]string{lines[1]}, lines[1:]...)...)
			return err
		},
		"fewer lines":  func() error { _, err := w.bring(app.ImportRequest{Key: "key-1"}, lines[:19]...); return err },
		"other events": func() error { _, err := w.bring(app.ImportRequest{Key: "key-1", Silent: true}, lines...); return err },
	} {
		if err := other(); fault.CodeOf(err) != "idempotency_key_reused" {
			t.Errorf("%s: got %v, want idempotency_key_reused", name, err)
		}
	}
	for range 2 { // the second time it is complete already
		p, err := w.bring(app.ImportRequest{Key: "key-1"}, lines...)
		if err != nil || p.ID != imp || p.Status != app.ImportComplete {
			t.Fatalf("got %+v, %v, want the import complete", p, err)
		}
		w.wantImport(imp, app.ImportComplete, 30, 29, 1, 1, 1)
	}
	if _, err := w.bring(app.ImportRequest{Key: "key-1"}, append(slices.Clone(lines), lines[0])...); fault.CodeOf(err) != "idempotency_key_reused" {
		t.Errorf("more lines than the import had: got %v, want idempotency_key_reused", err)
	}
	if n := w.transactions(); n != 29 {
		t.Errorf("got %d transactions, want each line once: 29", n)
	}

	// Without a key, or with another one, the same lines are new ones.
	for _, key := range []string{"", "", "key-2"} {
		if p, err := w.bring(app.ImportRequest{Key: key}, whole); err != nil || p.ID == imp || p.Recorded != 29 {
			t.Errorf("got %+v, %v, want an import of its own", p, err)
		}
	}
	if n := w.transactions(); n != 4*29 {
		t.Errorf("got %d transactions, want %d", n, 4*29)
	}
	list, next, err := w.ImportPage(w.ctx, w.app, 3, "")
	if err != nil || len(list) != 3 || next == "" {
		t.Fatalf("got %d imports and next %q, %v, want a page of 3", len(list), next, err)
	}
	list, next, err = w.ImportPage(w.ctx, w.app, 3, next)
	if err != nil || len(list) != 1 || next != "" || list[0].ID != imp || list[0].Status != app.ImportComplete {
		t.Errorf("got %+v and next %q, %v, want the first import", list, next, err)
	}
}

// TestImport_faults fails each update of an import, before and after it took
// effect, and repeats it: every line is recorded once all the same.
func TestImport_faults(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 12 {
		lines = append(lines, line(fmt.Sprintf("crm-%d", i%5), mailing, permission.Granted))
	}
	lines[3] = "nonsense"
	pieces := func() io.Reader { // a batch for each three lines: time passes between them
		var rs []io.Reader
		for part := range slices.Chunk(lines, 3) {
			rs = append(rs, strings.NewReader(strings.Join(part, "\n")+"\n"), breaking{strings.NewReader(""), func() error {
				time.Sleep(2 * time.Second)
				return io.EOF
			}})
		}
		return io.MultiReader(rs...)
	}
	run := func(t *testing.T, prepare func(w *world)) int {
		updates := 0
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.configure()
			w.hearAll()
			before := w.store.Calls()["Update"]
			prepare(w)
			for try := range 4 {
				p, err := w.Import(w.ctx, w.app, caller, app.ImportRequest{Key: "key", Lines: pieces(), Parse: parseLine})
				if err == nil {
					w.wantImport(p.ID, app.ImportComplete, 12, 11, 1, 1, 1)
					break
				}
				if try == 3 || fault.CodeOf(err) != "injected_fault" {
					t.Fatalf("try %d: got %v", try, err)
				}
			}
			updates = w.store.Calls()["Update"] - before
			if n := w.transactions(); n != 11 {
				t.Errorf("got %d transactions, want 11", n)
			}
			if n := len(w.events(w.app)); n != 2*11 && n != 2*5 {
				// A later grant of the same option is another entry, so each is told.
				t.Errorf("got %d events, want two for each transaction", n)
			}
		})
		return updates
	}
	n := run(t, func(*world) {})
	if n < 3 {
		t.Fatalf("got %d updates, want several batches", n)
	}
	for i := 1; i <= n; i++ {
		for _, after := range []bool{false, true} {
			run(t, func(w *world) { w.store.FailAt("Update", i, after) })
		}
	}
	run(t, func(w *world) { w.store.RunTwice() })
}

func TestImport_running(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		var imp string
		look := func() error {
			time.Sleep(time.Minute)
			synctest.Wait()
			list, _, err := w.ImportPage(w.ctx, w.app, 10, "")
			if err != nil || len(list) != 1 || list[0].Status != app.ImportRunning {
				t.Fatalf("got %+v, %v, want one import, running", list, err)
			}
			imp = list[0].ID
			w.wantImport(imp, app.ImportRunning, 0, 0, 0, 0, 0)
			if _, err := w.bring(app.ImportRequest{Key: "key"}, "{}"); fault.CodeOf(err) != "idempotency_in_progress" {
				t.Errorf("got %v, want idempotency_in_progress", err)
			}
			return io.EOF
		}
		looked := false
		lines := io.MultiReader(
			breaking{strings.NewReader(line("crm-1", mailing, permission.Granted) + "\n"), look},
			breaking{strings.NewReader(line("crm-1", phoning, permission.Granted) + "\n"), func() error {
				// The first lines waited for longer than a batch may be old.
				synctest.Wait()
				w.wantImport(imp, app.ImportRunning, 2, 2, 0, 0, 0)
				looked = true
				return io.EOF
			}},
		)
		p, err := w.Import(w.ctx, w.app, caller, app.ImportRequest{Key: "key", Lines: lines, Parse: parseLine})
		if err != nil || p.ID != imp || !looked {
			t.Fatalf("got %+v, %v, want the import %s", p, err, imp)
		}
		w.wantImport(imp, app.ImportComplete, 2, 2, 0, 0, 0)
	})
}

func TestImport_bounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	t.Run("lines", func(t *testing.T) {
		t.Parallel()
		// Blank lines count, too, and are quick.
		text := strings.Repeat("\n", app.MaxImportLines-1) + line("crm-1", mailing, permission.Granted)
		p, err := w.bring(app.ImportRequest{Silent: true}, text)
		if err != nil || p.Lines != app.MaxImportLines || p.Recorded != 1 {
			t.Errorf("got %+v, %v, want the last line recorded", p, err)
		}
		_, err = w.bring(app.ImportRequest{Silent: true}, text, "", "")
		f, is := errors.AsType[*fault.Error](err)
		if !is || f.Kind != fault.TooLarge || f.Code != app.CodeTooManyLines {
			t.Fatalf("got %v, want %s", err, app.CodeTooManyLines)
		}
		w.wantImport(f.Details["importId"], app.ImportInterrupted, app.MaxImportLines, 1, 0, 0, 0)
	})
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		text := strings.Repeat("x\n", app.MaxImportErrors+500)
		p, err := w.bring(app.ImportRequest{}, text)
		if err != nil {
			t.Fatal(err)
		}
		w.wantImport(p.ID, app.ImportComplete, app.MaxImportErrors+500, 0, app.MaxImportErrors+500, app.MaxImportErrors+500, app.MaxImportErrors)
	})
}

// generated makes lines one by one, so that none is kept.
type generated struct {
	line func(i int) string
	n, i int
	rest string
}

func (g *generated) Read(p []byte) (int, error) {
	if g.rest == "" {
		if g.i == g.n {
			return 0, io.EOF
		}
		g.rest = g.line(g.i)
		g.i++
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// TestImport_memory runs alone: it measures the heap.
func TestImport_memory(t *testing.T) { //nolint:paralleltest // what others allocate would count
	if testing.Short() {
		t.Skip("takes several seconds")
	}
	const n, most = 200_000, 8 << 20
	w := newWorld(t)
	w.configure()
	held := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var first, peak int64
	g := &generated{n: n, line: func(i int) string {
		switch h := int64(0); {
		case i == n/10:
			first = held()
		case i > n/10 && i%(n/10) == 0:
			h = held()
			peak = max(peak, h)
		}
		if i%4 == 0 {
			return "nonsense\n"
		}
		return line(fmt.Sprintf("crm-%d", i%200), []string{mailing, phoning, research}[i%3], permission.Granted) + "\n"
	}}
	p, err := w.Import(w.ctx, w.app, caller, app.ImportRequest{Silent: true, Lines: g, Parse: parseLine})
	if err != nil || p.Recorded != n/4*3 {
		t.Fatalf("got %+v, %v", p, err)
	}
	if grown := peak - first; grown > most {
		t.Errorf("the heap grew by %d KiB over nine tenths of the lines, want at most %d KiB", grown>>10, most>>10)
	} else {
		t.Logf("the heap held %d KiB after a tenth of the lines and %d KiB at most later", first>>10, peak>>10)
	}
}
