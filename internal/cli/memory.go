package cli

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// headroom is what the limit leaves to what the runtime does not count, in
// percent. Source: "A Guide to the Go Garbage Collector", section
// "Suggested uses": 5 to 10.
const headroom = 10

// limitMemory keeps the heap below the limit of the control group that we run
// in, so that the collector works harder before the kernel kills us. An
// explicit GOMEMLIMIT wins.
func limitMemory(environ []string) {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "GOMEMLIMIT=") }) {
		return
	}
	if limit := groupLimit(os.DirFS("/")); limit > 0 {
		debug.SetMemoryLimit(limit / 100 * (100 - headroom))
	}
}

// groupLimit returns the smallest memory limit of our control group and those
// around it, in bytes; 0 when there is none.
//
// Source: the kernel's "Control Group v2", memory.max ("max" or bytes, each
// group bounded by those above it), and cgroups(7), /proc/[pid]/cgroup; for
// version 1 "Memory Resource Controller", memory.limit_in_bytes.
func groupLimit(root fs.FS) int64 {
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(0)
	look := func(file string) {
		b, err := fs.ReadFile(root, file)
		if err != nil {
			return
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		// Version 1 says "none" by the largest multiple of a page.
		if err == nil && n > 0 && n < math.MaxInt64/2 && (least == 0 || n < least) {
			least = n
		}
	}
	for line := range strings.Lines(string(own)) { // number:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, name := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "":
			base, name = "sys/fs/cgroup", "memory.max"
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			base, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			look(path.Join(base, dir, name))
			if dir == "/" {
				break
			}
		}
	}
	return least
}
