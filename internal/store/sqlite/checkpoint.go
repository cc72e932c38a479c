package sqlite

import "fmt"

// When the write-ahead log is carried over into the file, by how many bytes of
// it were not yet; what the committer has to do comes first while it is small.
// A log that long readers keep from starting over is made to at walRestart.
const (
	pageSize   = 8192
	walIdle    = 32 << 20
	walBusy    = 128 << 20
	walRestart = 256 << 20
	walStep    = 64 << 20 // before a restart that failed is tried again
	walLook    = 8        // groups between two looks at the log
)

// wal watches the length of the write-ahead log. Checkpoints run on the
// connection that writes, between two groups, so that no other can reset the
// log under it.
type wal struct {
	groups  int   // since the last look
	size    int64 // bytes of the log in use
	pending int64 // those that are not in the file yet
	restart int64 // the size at which a restart is tried
}

// grown is called after each group.
func (l *wal) grown(k *committer) {
	if l.groups++; l.groups < walLook {
		return
	}
	l.groups = 0
	l.checkpoint(k, "PRAGMA wal_checkpoint(NOOP)")
	switch {
	case l.size >= max(walRestart, l.restart):
		l.checkpoint(k, "PRAGMA wal_checkpoint(RESTART)")
		l.restart = 0
		if l.size >= walRestart && l.pending > 0 {
			l.restart = l.size + walStep
			k.s.log.Warn("the write-ahead log cannot start over; a reader holds it", "bytes", l.size)
		}
	case l.pending >= walBusy:
		l.checkpoint(k, "PRAGMA wal_checkpoint(PASSIVE)")
	}
}

// idle is called when no write waits.
func (l *wal) idle(k *committer) {
	if l.pending >= walIdle {
		l.checkpoint(k, "PRAGMA wal_checkpoint(PASSIVE)")
		l.pending = 0 // what a reader holds back waits for the next look
	}
}

func (l *wal) checkpoint(k *committer, pragma string) {
	if k.s.failed.Load() != nil {
		return
	}
	var refused, frames, done int64
	if err := k.c.get([]any{&refused, &frames, &done}, pragma); err != nil {
		if fatal(err) {
			k.fail(fmt.Errorf("checkpoint: %w", err))
		}
		return
	}
	l.size, l.pending = frames*pageSize, (frames-done)*pageSize
}
