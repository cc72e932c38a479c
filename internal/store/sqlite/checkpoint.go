package sqlite

import (
	"fmt"
	"time"
)

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

	walAgain    = 50 * time.Millisecond  // between two tries to empty the log
	walPatience = 20                     // tries that wait for no reader
	walWait     = 250 * time.Millisecond // those after them wait so long,
	walLater    = 2 * time.Second        // and come so much later
)

// wal watches the length of the write-ahead log. Checkpoints run on the
// connection that writes, between two groups, so that no other can reset the
// log under it.
type wal struct {
	groups  int   // since the last look
	size    int64 // bytes of the log in use
	pending int64 // those that are not in the file yet
	restart int64 // the size at which a restart is tried

	// erased says that the log holds what was erased, so that it must be
	// emptied.
	erased bool
	tries  int
	again  *time.Timer // for the next try; nil: there was none yet
	waits  bool        // again is running
}

// grown is called after each group.
func (l *wal) grown(k *committer) {
	l.empty(k)
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
	l.empty(k)
	if l.pending >= walIdle {
		l.checkpoint(k, "PRAGMA wal_checkpoint(PASSIVE)")
		l.pending = 0 // what a reader holds back waits for the next look
	}
}

// empty carries everything over into the file and cuts the log off, when it
// holds what was erased. A reader may be in the way; then it is tried again, and
// when that was in vain for long the readers that run are awaited.
func (l *wal) empty(k *committer) {
	if !l.erased || l.waits {
		return
	}
	wait, later := time.Duration(0), walAgain
	if l.tries++; l.tries > walPatience {
		wait, later = walWait, walLater
	}
	if l.tries == 2*walPatience {
		k.s.log.Warn("the write-ahead log cannot be emptied after an erasure; a reader holds it", "bytes", l.size)
	}
	k.patience(wait)
	done := l.checkpoint(k, "PRAGMA wal_checkpoint(TRUNCATE)")
	k.patience(busyTimeout)
	if done {
		l.erased, l.tries, later = false, 0, walAgain
	}
	if l.waits = true; l.again == nil {
		l.again = time.NewTimer(later)
	} else {
		l.again.Reset(later)
	}
}

// due returns what tells that the log may be emptied again.
func (l *wal) due() <-chan time.Time {
	if !l.waits {
		return nil
	}
	return l.again.C
}

// patience sets how long the connection waits for others.
func (k *committer) patience(d time.Duration) { k.c.c.SetBusyTimeout(d) }

// checkpoint tells whether nobody was in the way.
func (l *wal) checkpoint(k *committer, pragma string) bool {
	if k.s.failed.Load() != nil {
		return true
	}
	var refused, frames, done int64
	if err := k.c.get([]any{&refused, &frames, &done}, pragma); err != nil {
		if fatal(err) {
			k.fail(fmt.Errorf("checkpoint: %w", err))
		}
		return false
	}
	l.size, l.pending = frames*pageSize, (frames-done)*pageSize
	return refused == 0
}
