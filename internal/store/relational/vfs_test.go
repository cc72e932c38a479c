package relational

import (
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// badDisk is a file system of SQLite that hands everything to the system's own
// but fails each sync while it is told to. There is one per process.
type badDisk struct {
	failing atomic.Bool // syncs fail with SQLITE_IOERR_FSYNC
	syncs   atomic.Int64

	once sync.Once
	mu   sync.Mutex
	open uintptr             // the system's xOpen
	ours map[uintptr]uintptr // its methods → a copy with our xSync
	sync map[uintptr]uintptr // ours → the system's xSync
}

const badDiskName = "consentwire-test-bad-disk"

var disk badDisk

// vfsUser serves tests that share disk one after the other.
var vfsUser sync.Mutex

// useBadDisk makes the file system known and returns its name. The test has it
// for itself.
func useBadDisk(t *testing.T) string {
	t.Helper()
	vfsUser.Lock()
	t.Cleanup(func() {
		disk.failing.Store(false)
		vfsUser.Unlock()
	})
	disk.once.Do(func() {
		tls := libc.NewTLS()
		defer tls.Close()
		name, err := libc.CString(badDiskName) // SQLite keeps it
		if err != nil {
			t.Fatal(err)
		}
		system := lib.Xsqlite3_vfs_find(tls, 0)
		size := unsafe.Sizeof(lib.Tsqlite3_vfs{})
		mine := libc.Xmalloc(tls, libc.Tsize_t(size))
		v := (*lib.Tsqlite3_vfs)(at(mine))
		*v = *(*lib.Tsqlite3_vfs)(at(system))
		disk.open, disk.ours, disk.sync = v.FxOpen, map[uintptr]uintptr{}, map[uintptr]uintptr{}
		v.FpNext, v.FzName, v.FxOpen = 0, name, pointer(badOpen)
		if rc := lib.Xsqlite3_vfs_register(tls, mine, 0); rc != lib.SQLITE_OK {
			t.Fatalf("register: %d", rc)
		}
	})
	return badDiskName
}

func badOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	rc := call[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](disk.open)(tls, vfs, name, file, flags, out)
	f := (*lib.Tsqlite3_file)(at(file))
	if f.FpMethods == 0 {
		return rc
	}
	disk.mu.Lock()
	defer disk.mu.Unlock()
	ours, ok := disk.ours[f.FpMethods]
	if !ok {
		ours = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_io_methods{})))
		m := (*lib.Tsqlite3_io_methods)(at(ours))
		*m = *(*lib.Tsqlite3_io_methods)(at(f.FpMethods))
		disk.ours[f.FpMethods], disk.sync[ours] = ours, m.FxSync
		m.FxSync = pointer(badSync)
	}
	f.FpMethods = ours
	return rc
}

func badSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	disk.syncs.Add(1)
	if disk.failing.Load() {
		return lib.SQLITE_IOERR_FSYNC
	}
	disk.mu.Lock()
	system := disk.sync[(*lib.Tsqlite3_file)(at(file)).FpMethods]
	disk.mu.Unlock()
	return call[func(*libc.TLS, uintptr, int32) int32](system)(tls, file, flags)
}

// at turns an address of the C heap into a pointer.
func at(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// pointer and call turn a declared function into what SQLite calls, and back.
func pointer[T any](f T) uintptr { return *(*uintptr)(unsafe.Pointer(&struct{ f T }{f})) }

func call[T any](p uintptr) T { return *(*T)(unsafe.Pointer(&struct{ p uintptr }{p})) }
