package relational

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// diskFault is a call of the file system that is to fail.
type diskFault struct {
	op   string // read, write or sync
	wal  bool   // of the write-ahead log; else of the database
	skip int    // calls that pass before it
	rc   int32
	half bool // a write: half of it reaches the file
	once bool // else all that follow fail too
}

// weakDisk is a file system of SQLite that hands everything to the system's own
// but for the faults that it is told of. There is one per process.
type weakDisk struct {
	once sync.Once
	user sync.Mutex // serves tests one after the other

	mu     sync.Mutex
	open   uintptr             // the system's xOpen
	ours   map[uintptr]uintptr // its methods → a copy with ours among them
	system map[uintptr]uintptr // and back
	wal    map[uintptr]bool
	armed  *diskFault
	hit    int
}

var weak = weakDisk{wal: map[uintptr]bool{}, ours: map[uintptr]uintptr{}, system: map[uintptr]uintptr{}}

const weakDiskName = "consentwire-test-weak-disk"

// useWeakDisk makes the file system known and returns its name. The test has it
// for itself.
func useWeakDisk(t *testing.T) string {
	t.Helper()
	weak.user.Lock()
	t.Cleanup(func() {
		weak.arm(nil)
		weak.user.Unlock()
	})
	weak.once.Do(func() {
		tls := libc.NewTLS()
		defer tls.Close()
		name, err := libc.CString(weakDiskName) // SQLite keeps it
		if err != nil {
			t.Fatal(err)
		}
		mine := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_vfs{})))
		v := (*lib.Tsqlite3_vfs)(at(mine))
		*v = *(*lib.Tsqlite3_vfs)(at(lib.Xsqlite3_vfs_find(tls, 0)))
		weak.open = v.FxOpen
		v.FpNext, v.FzName, v.FxOpen = 0, name, pointer(weakOpen)
		if rc := lib.Xsqlite3_vfs_register(tls, mine, 0); rc != lib.SQLITE_OK {
			t.Fatalf("register: %d", rc)
		}
	})
	return weakDiskName
}

// arm tells of the next fault; nil: there is none.
func (d *weakDisk) arm(f *diskFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed, d.hit = f, 0
}

func (d *weakDisk) hits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hit
}

// fails tells whether this call does, and the system's methods.
func (d *weakDisk) fails(op string, file uintptr) (*diskFault, *lib.Tsqlite3_io_methods) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, system := d.armed, (*lib.Tsqlite3_io_methods)(at(d.system[(*lib.Tsqlite3_file)(at(file)).FpMethods]))
	if f == nil || f.op != op || f.wal != d.wal[file] {
		return nil, system
	}
	if f.skip > 0 {
		f.skip--
		return nil, system
	}
	if d.hit++; f.once {
		d.armed = nil
	}
	return f, system
}

func weakOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	rc := call[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](weak.open)(tls, vfs, name, file, flags, out)
	f := (*lib.Tsqlite3_file)(at(file))
	if f.FpMethods == 0 || flags&(lib.SQLITE_OPEN_WAL|lib.SQLITE_OPEN_MAIN_DB) == 0 {
		return rc
	}
	weak.mu.Lock()
	defer weak.mu.Unlock()
	weak.wal[file] = flags&lib.SQLITE_OPEN_WAL != 0
	ours, ok := weak.ours[f.FpMethods]
	if !ok {
		ours = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_io_methods{})))
		m := (*lib.Tsqlite3_io_methods)(at(ours))
		*m = *(*lib.Tsqlite3_io_methods)(at(f.FpMethods))
		m.FxSync, m.FxRead, m.FxWrite = pointer(weakSync), pointer(weakRead), pointer(weakWrite)
		weak.ours[f.FpMethods], weak.system[ours] = ours, f.FpMethods
	}
	f.FpMethods = ours
	return rc
}

func weakSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f, system := weak.fails("sync", file)
	if f != nil {
		return f.rc
	}
	return call[func(*libc.TLS, uintptr, int32) int32](system.FxSync)(tls, file, flags)
}

func weakRead(tls *libc.TLS, file, buf uintptr, n int32, offset int64) int32 {
	f, system := weak.fails("read", file)
	if f != nil {
		return f.rc
	}
	return call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](system.FxRead)(tls, file, buf, n, offset)
}

func weakWrite(tls *libc.TLS, file, buf uintptr, n int32, offset int64) int32 {
	f, system := weak.fails("write", file)
	write := call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](system.FxWrite)
	if f == nil {
		return write(tls, file, buf, n, offset)
	}
	if f.half {
		if rc := write(tls, file, buf, n/2, offset); rc != lib.SQLITE_OK {
			return rc
		}
	}
	return f.rc
}

// big is an event of many pages about a subject.
func big(id, subject string) func(*tx) error {
	return func(t *tx) error {
		e := someEvent("app_1", subject)
		e.ID, e.Body = id, make([]byte, 40<<10)
		return t.Publish(e)
	}
}

// logged returns the IDs of all events, each of which must open.
func logged(t *testing.T, s *Store) []string {
	t.Helper()
	es, _, err := s.Events(t.Context(), "app_1", store.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range es {
		if len(e.Body) != 40<<10 {
			t.Errorf("%s: got a body of %d bytes, want 40 KiB", e.ID, len(e.Body))
		}
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestStore_faultsWithinAGroup: whichever write or sync of a group's commit
// fails, whole or half done, nobody in the group is told that it was kept,
// nothing more is written, reads go on, and a restart finds what was
// acknowledged and nothing else.
func TestStore_faultsWithinAGroup(t *testing.T) {
	t.Parallel()
	vfs := useWeakDisk(t)
	for _, f := range []struct {
		name string
		diskFault
		// kept: the log on the disk may hold the commit though nobody knows.
		unknown bool
	}{
		{"the disk is full", diskFault{op: "write", wal: true, rc: lib.SQLITE_FULL}, false},
		{"the disk is full for a moment", diskFault{op: "write", wal: true, rc: lib.SQLITE_FULL, once: true}, false},
		{"a write fails", diskFault{op: "write", wal: true, rc: lib.SQLITE_IOERR_WRITE, once: true}, false},
		{"a write is cut short", diskFault{op: "write", wal: true, rc: lib.SQLITE_IOERR_WRITE, half: true, once: true}, false},
		{"a write is cut short by a full disk", diskFault{op: "write", wal: true, rc: lib.SQLITE_FULL, half: true}, false},
		{"a sync fails", diskFault{op: "sync", wal: true, rc: lib.SQLITE_IOERR_FSYNC, once: true}, true},
	} {
		t.Run(f.name, func(t *testing.T) {
			for skip := 0; ; skip = skip*2 + 1 {
				dir := t.TempDir()
				s := openStore(t, folder{Dir: dir, vfs: vfs})
				addApp(t, s, "app_1")
				var want []string
				for i := range 3 {
					id := fmt.Sprint("evt_kept_", i)
					if err := s.write(t.Context(), big(id, fmt.Sprint("con_", i))); err != nil {
						t.Fatal(err)
					}
					want = append(want, id)
				}
				release := holdOpen(s)
				armed := f.diskFault
				armed.skip = skip
				weak.arm(&armed)
				errs := make([]error, 8)
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() { errs[i] = s.write(t.Context(), big(fmt.Sprint("evt_new_", i), fmt.Sprint("con_new_", i))) })
				}
				queued(s, len(errs))
				held := release()
				wg.Wait()
				if weak.hits() == 0 { // the group has fewer calls
					weak.arm(nil)
					if err := errors.Join(append(errs, held)...); err != nil {
						t.Errorf("without a fault: %v", err)
					}
					if skip == 0 {
						t.Error("the fault was never met")
					}
					return
				}
				for i, err := range append(errs, held) {
					if fault.CodeOf(err) == "" || fault.CodeOf(err) != "store_failed" {
						t.Errorf("skip %d, write %d: got %v, want store_failed", skip, i, err)
					}
				}
				weak.arm(nil)
				wantKind(t, s.write(t.Context(), put("app_x")), fault.Unavailable, "store_failed")
				wantKind(t, s.Ping(t.Context()), fault.Unavailable, "store_failed")
				if got := logged(t, s); !slices.Equal(got, want) {
					t.Errorf("skip %d: got %q while it runs, want %q", skip, got, want)
				}
				if err := s.Close(); err != nil {
					t.Errorf("skip %d: close: %v", skip, err)
				}
				s = openStore(t, folder{Dir: dir, vfs: vfs})
				got := logged(t, s)
				if !slices.Equal(got, want) && (!f.unknown || len(got) != len(want)+len(errs)) {
					t.Errorf("skip %d: got %q after the restart, want %q", skip, got, want)
				}
				if err := s.write(t.Context(), put("app_x")); err != nil {
					t.Errorf("skip %d: got %v, want a restart to mend it", skip, err)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestStore_faultsInACheckpoint: when carrying the log over into the database
// fails, what was acknowledged is not lost, and nothing more is written.
func TestStore_faultsInACheckpoint(t *testing.T) {
	t.Parallel()
	vfs := useWeakDisk(t)
	for _, f := range []struct {
		name string
		diskFault
	}{
		{"the database's sync fails", diskFault{op: "sync", rc: lib.SQLITE_IOERR_FSYNC, once: true}},
		{"the log's sync before it fails", diskFault{op: "sync", wal: true, skip: 1, rc: lib.SQLITE_IOERR_FSYNC, once: true}},
		{"the disk is full", diskFault{op: "write", rc: lib.SQLITE_FULL}},
		{"a write is cut short", diskFault{op: "write", skip: 2, rc: lib.SQLITE_IOERR_WRITE, half: true, once: true}},
		{"the log cannot be read", diskFault{op: "read", wal: true, skip: 1, rc: lib.SQLITE_IOERR_READ, once: true}},
	} {
		t.Run(f.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, folder{Dir: dir, vfs: vfs})
			addApp(t, s, "app_1")
			for i := range 20 {
				if err := s.write(t.Context(), big(fmt.Sprintf("evt_kept_%02d", i), fmt.Sprint("con_", i))); err != nil {
					t.Fatal(err)
				}
			}
			c := fullConsent("app_1", "con_gone")
			if err := s.write(t.Context(), func(t *tx) error { return t.PutConsent(c) }); err != nil {
				t.Fatal(err)
			}
			want := logged(t, s)
			armed := f.diskFault
			weak.arm(&armed)
			// An erasure empties the log as soon as nobody reads.
			erased := s.write(t.Context(), func(t *tx) error { return t.Erase("app_1", "con_gone") })
			deadline := time.Now().Add(20 * time.Second)
			for weak.hits() == 0 && time.Now().Before(deadline) {
				_ = s.Ping(t.Context()) // until the checkpoint was tried
			}
			if weak.hits() == 0 {
				t.Fatal("the fault was never met")
			}
			err := s.write(t.Context(), put("app_x"))
			failed := fault.CodeOf(err) == "store_failed"
			if err != nil && !failed {
				t.Errorf("got %v, want it kept or store_failed", err)
			}
			if !failed && f.op == "sync" {
				t.Errorf("got %v behind a sync that failed, want store_failed: it is never tried again", err)
			}
			weak.arm(nil)
			if failed {
				wantKind(t, s.Ping(t.Context()), fault.Unavailable, "store_failed")
			}
			if got := logged(t, s); !slices.Equal(got, want) {
				t.Errorf("got %q while it runs, want %q", got, want)
			}
			if err := s.Close(); err != nil && !failed {
				t.Errorf("close: %v", err)
			}
			s = openStore(t, folder{Dir: dir, vfs: vfs})
			if got := logged(t, s); !slices.Equal(got, want) {
				t.Errorf("got %q after the restart, want %q", got, want)
			}
			_, err = s.Consent(t.Context(), "app_1", "con_gone")
			if erased == nil && fault.KindOf(err) != fault.NotFound {
				t.Errorf("got %v for the consent whose erasure was acknowledged, want it gone", err)
			}
			if err := s.write(t.Context(), put("app_y")); err != nil {
				t.Errorf("got %v, want a restart to mend it", err)
			}
		})
	}
}

// TestStore_faultsInARead: who reads is told that it could not be looked, never
// that there is nothing; nothing is lost by it.
func TestStore_faultsInARead(t *testing.T) {
	t.Parallel()
	vfs := useWeakDisk(t)
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir, vfs: vfs})
	addApp(t, s, "app_1")
	for i := range 4 {
		if err := s.write(t.Context(), big(fmt.Sprintf("evt_kept_%02d", i), fmt.Sprint("con_", i))); err != nil {
			t.Fatal(err)
		}
	}
	want := logged(t, s)
	for _, wal := range []bool{false, true} {
		met := 0
		for skip, more := 0, true; more; skip++ {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, folder{Dir: dir, vfs: vfs}) // whose readers have read nothing yet
			if wal {                                     // something is in the log again
				id := fmt.Sprintf("evt_more_%02d", skip)
				if err := s.write(t.Context(), big(id, "con_more")); err != nil {
					t.Fatal(err)
				}
				want = append(want, id)
			}
			weak.arm(&diskFault{op: "read", wal: wal, skip: skip, rc: lib.SQLITE_IOERR_READ, once: true})
			es, _, err := s.Events(t.Context(), "app_1", store.EventQuery{Limit: 1000})
			hit := weak.hits() > 0
			weak.arm(nil)
			if more = hit; hit {
				met++
			}
			if hit && err == nil && len(es) != len(want) || !hit && err != nil {
				t.Errorf("log %t, skip %d, met %t: got %d events, %v, want all or an error", wal, skip, hit, len(es), err)
			}
			if err != nil && fault.KindOf(err) == fault.NotFound {
				t.Errorf("log %t, skip %d: got %v, want no word of what there is", wal, skip, err)
			}
			if got := logged(t, s); !slices.Equal(got, want) {
				t.Errorf("log %t, skip %d: got %q when it can be read again, want %q", wal, skip, got, want)
			}
		}
		if met == 0 {
			t.Errorf("log %t: the fault was never met", wal)
		}
	}
}
