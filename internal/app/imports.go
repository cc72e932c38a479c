package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// The limits of an import. Ours.
const (
	MaxImportLines  = 1_000_000
	MaxImportLine   = 64 << 10 // bytes of one line, without its end
	MaxImportErrors = 10_000   // faults that are kept of an import; the others are counted
	MaxLineErrors   = 100      // faults that are kept of a line
)

// A batch of lines is one transaction of the store. It is closed by the first
// of these. Larger ones are little faster, and make others wait longer for
// their turn to write.
const (
	importLines = 4000
	importBytes = 1 << 20     // of the lines
	importAge   = time.Second // since its first line; looked at with each line
)

// importPatience is how long a batch waits for a store that is busy.
const importPatience = time.Minute

// CodeTooManyLines names an import with more than MaxImportLines lines.
const CodeTooManyLines = "too_many_lines"

// ImportStatus says how an import is.
type ImportStatus string

// The statuses of an import.
const (
	ImportRunning     ImportStatus = "running"
	ImportComplete    ImportStatus = "complete"    // all lines came
	ImportInterrupted ImportStatus = "interrupted" // the sender broke off, or we did
)

// ImportProgress is an import and how it is.
type ImportProgress struct {
	store.Import
	Status ImportStatus
}

// ImportRequest asks to record transactions, one a line.
type ImportRequest struct {
	Key    string // Idempotency-Key; empty: none
	Silent bool   // make no events
	Lines  io.Reader
	// Parse reads a line, which it must not keep. Its error, of the kind
	// fault.Invalid, refuses the line.
	Parse func(line []byte) (permission.Request, error)
}

// Import records the transactions of a stream of lines, each as Record does,
// and returns when the stream has ended. A line that is refused is reported and
// stops no other one; a blank one is passed over. Lines are read one by one and
// recorded in batches, so the memory does not grow with their number; of each
// citizen the order is that of the lines, and a batch writes each citizen once.
// The last line needs no end.
//
// What was recorded stays when the stream breaks off or the store fails: the
// import is then interrupted, and its counts are of what was committed. With
// the same Key and the same lines from the first on, Import goes on behind it,
// so that each line is recorded once; an import that is complete is returned as
// it is. A key belongs to its import for good.
//
// Errors, with the detail "importId" once there is one: fault.Conflict
// "idempotency_in_progress" while an import of that key runs;
// fault.Unprocessable "idempotency_key_reused" when the key was that of other
// lines, or with another Silent; fault.Invalid "incomplete_body" when the
// stream broke off; fault.TooLarge CodeTooManyLines, at the first line that is
// too many; and what the store answers.
func (a *App) Import(ctx context.Context, app access.ID, caller Caller, r ImportRequest) (ImportProgress, error) {
	if r.Key != "" {
		done, ok := a.running.begin(string(app), importKeys, r.Key)
		if !ok {
			return ImportProgress{}, fault.New(fault.Conflict, "idempotency_in_progress",
				"An import with this Idempotency-Key is still running; repeat it when it has ended.")
		}
		defer done()
	}
	fresh := id.New(id.Import)
	done, _ := a.running.begin(string(app), importIDs, fresh)
	defer func() { done() }()
	begun, err := a.beginImport(ctx, app, r, fresh)
	if err != nil {
		return ImportProgress{}, err
	}
	if begun.ID != fresh {
		done()
		done, _ = a.running.begin(string(app), importIDs, begun.ID)
	}
	i := importing{App: a, caller: caller, request: r, lines: newLines(r.Lines), at: begun}
	if err := i.run(ctx); err != nil {
		if f, is := errors.AsType[*fault.Error](err); is {
			return ImportProgress{}, f.With("importId", begun.ID)
		}
		return ImportProgress{}, err
	}
	return ImportProgress{i.at, ImportComplete}, nil
}

// What running remembers of imports: their keys, and those that this node
// carries out.
const (
	importKeys = "import by key"
	importIDs  = "import"
)

// all returns the keys of a route that are claimed.
func (r *running) all(app, route string) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]bool)
	for k := range r.keys {
		if k[0] == app && k[1] == route {
			out[k[2]] = true
		}
	}
	return out
}

// Progress returns an import as it stands. Error: fault.NotFound.
func (a *App) Progress(ctx context.Context, app access.ID, importID string) (ImportProgress, error) {
	live := a.running.all(string(app), importIDs)
	i, err := a.store.Import(ctx, app, importID)
	return a.progress(i, live), err
}

// ImportPage returns a page of imports, newest first; see store.Reader.
func (a *App) ImportPage(ctx context.Context, app access.ID, limit int, after string) ([]ImportProgress, string, error) {
	live := a.running.all(string(app), importIDs)
	list, next, err := a.store.Imports(ctx, app, limit, after)
	if err != nil {
		return nil, "", err
	}
	out := make([]ImportProgress, len(list))
	for k, i := range list {
		out[k] = a.progress(i, live)
	}
	return out, next, nil
}

// progress tells how an import is that was read after live was: it may have
// ended or begun meanwhile.
func (a *App) progress(i store.Import, live map[string]bool) ImportProgress {
	switch {
	case i.Done:
		return ImportProgress{i, ImportComplete}
	case live[i.ID] || a.running.all(string(i.Application), importIDs)[i.ID]:
		return ImportProgress{i, ImportRunning}
	}
	return ImportProgress{i, ImportInterrupted}
}

// beginImport returns the import of the request's key, or makes one.
func (a *App) beginImport(ctx context.Context, app access.ID, r ImportRequest, fresh string) (store.Import, error) {
	at := now()
	var out store.Import
	err := a.update(ctx, func(tx store.Tx) error {
		out = store.Import{ID: fresh, Application: app, Key: r.Key, Silent: r.Silent, Digest: sha256.Sum256(nil), StartedAt: at, UpdatedAt: at}
		if r.Key != "" {
			was, err := tx.ImportByKey(app, r.Key)
			switch {
			case err == nil && was.Silent != r.Silent:
				return errOtherLines()
			case err == nil:
				out = was
				return nil
			case fault.KindOf(err) != fault.NotFound:
				return err
			}
		}
		return tx.PutImport(out)
	})
	return out, err
}

func errOtherLines() *fault.Error {
	return fault.At(fault.Unprocessable, "idempotency_key_reused", "Idempotency-Key",
		"This Idempotency-Key was used for other lines; use a new one.")
}

// importing is an import that is carried out. One goroutine reads and parses
// lines, while another one has the batch before recorded.
type importing struct {
	*App
	caller  Caller
	request ImportRequest
	lines   *lines
	at      store.Import // as it was committed last
	read    int64        // lines
	pending chan recordedBatch
}

type recordedBatch struct {
	at  store.Import
	err error
}

// batch is some lines in order.
type batch struct {
	lines []importLine // without the blank ones
	count int64        // of all lines
	bytes int
	begun time.Time
	upto  [32]byte // the digest behind them
	last  bool
}

type importLine struct {
	number      int64
	request     permission.Request
	faults      []fault.Field // the line is refused for them
	transaction permission.TransactionID
	citizen     permission.CitizenID // if it must be made
}

func (i *importing) run(ctx context.Context) (err error) {
	// What a reader has taken in is recorded also when its sender has gone.
	ctx = context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, i.wait()) }()
	if err := i.skip(); err != nil {
		return err
	}
	for {
		b, err := i.next()
		if b.count > 0 || b.last && !i.at.Done {
			if e := i.hand(ctx, b); e != nil {
				return e
			}
		}
		if b.last || err != nil {
			return err
		}
	}
}

// skip passes over the lines that were dealt with before.
func (i *importing) skip() error {
	for i.read < i.at.Lines {
		if _, _, err := i.lines.next(); errors.Is(err, io.EOF) {
			return errOtherLines()
		} else if err != nil {
			return errBrokenOff(err)
		}
		i.read++
	}
	if i.lines.digest() != i.at.Digest {
		return errOtherLines()
	}
	if i.at.Done {
		if _, _, err := i.lines.next(); err == nil {
			return errOtherLines()
		} else if !errors.Is(err, io.EOF) {
			return errBrokenOff(err)
		}
	}
	return nil
}

func errBrokenOff(err error) error {
	return fault.Wrap(fault.Invalid, "incomplete_body", "The lines did not arrive whole. What arrived is recorded; send all again with the same Idempotency-Key.", err)
}

// next reads and parses the lines of a batch. An error ends the stream, and
// what came before it is in the batch.
func (i *importing) next() (b batch, err error) {
	b.lines = make([]importLine, 0, importLines)
	defer func() { i.read += b.count }()
	for b.count < importLines && b.bytes < importBytes && (b.count == 0 || time.Since(b.begun) < importAge) {
		full := i.read+b.count == MaxImportLines
		if full {
			b.upto = i.lines.digest()
		}
		line, long, err := i.lines.next()
		switch {
		case errors.Is(err, io.EOF):
			b.last, b.upto = true, i.lines.digest()
			return b, nil
		case full:
			return b, fault.New(fault.TooLarge, CodeTooManyLines, fmt.Sprintf("An import has at most %d lines; send the others as another one.", MaxImportLines))
		case err != nil:
			b.upto = i.lines.digest()
			return b, errBrokenOff(err)
		}
		if b.count == 0 {
			b.begun = time.Now()
		}
		b.count++
		b.bytes += len(line)
		if len(bytes.TrimSpace(line)) == 0 && !long {
			continue
		}
		l := importLine{number: i.read + b.count}
		if long {
			l.faults = []fault.Field{{Code: permission.CodeTooLong, Msg: fmt.Sprintf("A line has at most %d bytes.", MaxImportLine)}}
		} else if l.request, err = i.request.Parse(line); err != nil {
			if l.faults = refusal(err); l.faults == nil {
				return batch{}, err // what it had is read again one day
			}
		} else {
			l.transaction, l.citizen = permission.TransactionID(id.New(id.Transaction)), permission.CitizenID(id.New(id.Citizen))
		}
		b.lines = append(b.lines, l)
	}
	b.upto = i.lines.digest()
	return b, nil
}

// refusal returns the faults of a line; nil when the error is about something
// else.
func refusal(err error) []fault.Field {
	f, is := errors.AsType[*fault.Error](err)
	switch {
	case !is || f.Kind != fault.Invalid && f.Kind != fault.NotFound:
		return nil
	case len(f.Fields) == 0:
		return []fault.Field{{Path: f.Field, Code: f.Code, Msg: f.Msg}}
	}
	return f.Fields
}

// hand has a batch recorded, once the one before is, and does not wait for it.
func (i *importing) hand(ctx context.Context, b batch) error {
	if err := i.wait(); err != nil {
		return err
	}
	done := make(chan recordedBatch, 1)
	was := i.at
	go func() {
		at, err := i.recordPatiently(ctx, was, b)
		done <- recordedBatch{at, err}
	}()
	i.pending = done
	return nil
}

// wait waits until what was handed over is recorded.
func (i *importing) wait() error {
	if i.pending == nil {
		return nil
	}
	r := <-i.pending
	i.pending = nil
	if r.err == nil {
		i.at = r.at
	}
	return r.err
}

// recordPatiently comes back while the store is busy with others.
func (i *importing) recordPatiently(ctx context.Context, was store.Import, b batch) (store.Import, error) {
	for until := time.Now().Add(importPatience); ; {
		at, err := i.record(ctx, was, b)
		f, is := errors.AsType[*fault.Error](err)
		if !is || f.Code != "busy" || time.Now().After(until) {
			return at, err
		}
		time.Sleep(f.RetryAfter)
	}
}

// record records a batch with how far the import then is.
func (i *importing) record(ctx context.Context, was store.Import, b batch) (store.Import, error) {
	at := now()
	var next store.Import
	err := i.update(ctx, func(tx store.Tx) error {
		is, err := tx.Import(was.Application, was.ID)
		if err != nil {
			return err
		}
		if is.Lines != was.Lines || is.Done {
			return fault.New(fault.Conflict, "idempotency_in_progress", "The import goes on elsewhere.")
		}
		catalogue, err := tx.Catalogue(was.Application)
		if err != nil {
			return err
		}
		p, err := i.meet(tx, was.Application, at, was.Silent, b.lines)
		if err != nil {
			return err
		}
		next = was
		next.Done, next.Digest, next.UpdatedAt = b.last, b.upto, at
		next.Lines += b.count
		var errs []store.ImportError
		var ts []permission.Transaction
		used := make(map[[2]string]bool)
		for _, l := range b.lines {
			faults := l.faults
			if faults == nil {
				t, err := p.record(l, i.caller, catalogue, used)
				if err == nil {
					ts = append(ts, t)
					continue
				}
				if faults = refusal(err); faults == nil {
					return err
				}
			}
			next.Refused++
			next.Errors += int64(len(faults))
			if n := min(len(faults), MaxLineErrors, int(MaxImportErrors-next.Kept)); n > 0 {
				next.Kept += int64(n)
				errs = append(errs, store.ImportError{Line: l.number, Fields: faults[:n]})
			}
		}
		next.Recorded += int64(len(ts))
		if err := p.put(ts); err != nil {
			return err
		}
		return tx.PutImport(next, errs...)
	})
	return next, err
}

// people are the citizens of a batch.
type people struct {
	a       *App
	tx      store.Tx
	app     access.ID
	at      time.Time
	silent  bool
	byID    map[permission.CitizenID]*updates
	byRef   map[string]*updates
	changed []*updates // in the order of their first change
	words   words
}

// meet reads all citizens that the lines name.
func (a *App) meet(tx store.Tx, app access.ID, at time.Time, silent bool, lines []importLine) (*people, error) {
	p := &people{a: a, tx: tx, app: app, at: at, silent: silent, byID: map[permission.CitizenID]*updates{}, byRef: map[string]*updates{}}
	var ids []permission.CitizenID
	var refs []string
	for _, l := range lines {
		switch r := l.request; {
		case r.CitizenID != nil:
			cid := permission.CitizenID(*r.CitizenID)
			if _, asked := p.byID[cid]; !asked {
				p.byID[cid], ids = nil, append(ids, cid)
			}
		case r.ExternalRef != nil && *r.ExternalRef != "":
			if _, asked := p.byRef[*r.ExternalRef]; !asked {
				p.byRef[*r.ExternalRef], refs = nil, append(refs, *r.ExternalRef)
			}
		}
	}
	cs, err := tx.CitizensBy(app, ids, refs)
	if err != nil {
		return nil, err
	}
	for _, c := range cs {
		if p.byID[c.ID] == nil {
			p.add(p.follow(c))
		}
	}
	for _, c := range cs {
		if c.Group != "" && p.byID[c.ID].linked == nil {
			if err := p.gather(c.Group); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// gather meets the citizens of a group, of whom some are here already.
func (p *people) gather(group string) error {
	cs, err := p.tx.Linked(p.app, group)
	if err != nil {
		return err
	}
	var all []*updates
	for _, c := range cs {
		if p.byID[c.ID] == nil {
			p.add(p.follow(c))
		}
		all = append(all, p.byID[c.ID])
	}
	tie(all)
	return nil
}

func (p *people) follow(c store.Citizen) *updates {
	u := p.a.follow(p.tx, c, p.at)
	u.silent, u.words = p.silent, &p.words
	return u
}

// add makes a citizen known by all its names.
func (p *people) add(u *updates) {
	p.byID[u.citizen.ID] = u
	if u.citizen.ExternalRef != "" {
		p.byRef[u.citizen.ExternalRef] = u
	}
	for _, m := range u.citizen.Merged {
		p.byID[m.ID] = u
		if m.ExternalRef != "" {
			p.byRef[m.ExternalRef] = u
		}
	}
}

// Citizen returns a citizen as it stands in the batch.
func (p *people) Citizen(_ access.ID, cid permission.CitizenID) (store.Citizen, error) {
	return known(p.byID[cid])
}

// CitizenByRef returns a citizen as it stands in the batch.
func (p *people) CitizenByRef(_ access.ID, externalRef string) (store.Citizen, error) {
	return known(p.byRef[externalRef])
}

func known(u *updates) (store.Citizen, error) {
	if u == nil {
		return store.Citizen{}, fault.New(fault.NotFound, "not_found", "There is no such citizen.")
	}
	return u.citizen, nil
}

// record counts what a line asks for.
func (p *people) record(l importLine, caller Caller, c *permission.Catalogue, used map[[2]string]bool) (permission.Transaction, error) {
	who, missing, err := whose(p, p.app, l.request, l.citizen, p.at)
	if err != nil {
		return permission.Transaction{}, err
	}
	u := p.byID[who.ID]
	fresh := u == nil
	if fresh {
		u = p.follow(who)
	}
	t, err := u.record(l.request, l.transaction, caller, c, missing, used)
	if err != nil {
		return permission.Transaction{}, err
	}
	if fresh {
		p.add(u)
	}
	p.change(u)
	for _, o := range u.linked {
		p.change(o)
	}
	return t, nil
}

// change notes that a citizen is to be written.
func (p *people) change(u *updates) {
	if !u.changed {
		u.changed = true
		p.changed = append(p.changed, u)
	}
}

// put writes everybody who changed, and the transactions that did it.
func (p *people) put(ts []permission.Transaction) error {
	cs := make([]store.Citizen, len(p.changed))
	var evts []event.Event
	for i, u := range p.changed {
		cs[i] = u.citizen
		evts = append(evts, stamp(p.app, u.at, u.events)...)
	}
	if err := p.tx.PutRecorded(p.app, cs, ts, evts...); err != nil {
		return err
	}
	for _, u := range p.changed {
		if err := u.checkpoint(); err != nil {
			return err
		}
	}
	return nil
}

// lines reads lines one by one.
type lines struct {
	r    *bufio.Reader
	hash hash.Hash // of all lines that were returned
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, MaxImportLine+1), hash: sha256.New()}
}

// next returns the next line without its end, good until the next call; of one
// that is too long only that it is. io.EOF: there is none.
func (l *lines) next() (line []byte, long bool, err error) {
	line, err = l.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, true, l.rest(line)
	case errors.Is(err, io.EOF) && len(line) > 0:
	case err != nil:
		return nil, false, err
	default:
		line = line[:len(line)-1]
	}
	l.hash.Write(line)
	l.hash.Write([]byte{'\n'})
	return line, false, nil
}

// rest passes over the rest of a line that is too long. It counts by its own
// hash, so that one of which only a part came does not count.
func (l *lines) rest(piece []byte) error {
	own := sha256.New()
	own.Write(piece)
	for {
		piece, err := l.r.ReadSlice('\n')
		own.Write(piece)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, errors.Is(err, io.EOF):
			l.hash.Write(own.Sum(nil))
			return nil
		default:
			return err
		}
	}
}

// digest returns the hash of all lines so far.
func (l *lines) digest() (d [32]byte) {
	l.hash.Sum(d[:0])
	return d
}
