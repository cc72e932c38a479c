package sqlite

import (
	"fmt"
	"log/slog"
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
	c   *conn // the one that writes
	log *slog.Logger

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

// Grown implements db.Database.
func (l *wal) Grown(erased bool) error {
	l.erased = l.erased || erased
	if err := l.empty(); err != nil {
		return err
	}
	if l.groups++; l.groups < walLook {
		return nil
	}
	l.groups = 0
	_, err := l.checkpoint("NOOP")
	switch {
	case err != nil:
	case l.size >= max(walRestart, l.restart):
		_, err = l.checkpoint("RESTART")
		l.restart = 0
		if l.size >= walRestart && l.pending > 0 {
			l.restart = l.size + walStep
			l.log.Warn("the write-ahead log cannot start over; a reader holds it", "bytes", l.size)
		}
	case l.pending >= walBusy:
		_, err = l.checkpoint("PASSIVE")
	}
	return err
}

// Idle implements db.Database.
func (l *wal) Idle() error {
	if err := l.empty(); err != nil {
		return err
	}
	if l.pending < walIdle {
		return nil
	}
	_, err := l.checkpoint("PASSIVE")
	l.pending = 0 // what a reader holds back waits for the next look
	return err
}

// empty carries everything over into the file and cuts the log off, when it
// holds what was erased. A reader may be in the way; then it is tried again, and
// when that was in vain for long the readers that run are awaited.
func (l *wal) empty() error {
	if !l.erased || l.waits {
		return nil
	}
	wait, later := time.Duration(0), walAgain
	if l.tries++; l.tries > walPatience {
		wait, later = walWait, walLater
	}
	if l.tries == 2*walPatience {
		l.log.Warn("the write-ahead log cannot be emptied after an erasure; a reader holds it", "bytes", l.size)
	}
	l.c.c.SetBusyTimeout(wait)
	done, err := l.checkpoint("TRUNCATE")
	l.c.c.SetBusyTimeout(busyTimeout)
	if err != nil {
		return err
	}
	if done {
		l.erased, l.tries, later = false, 0, walAgain
	}
	if l.waits = true; l.again == nil {
		l.again = time.NewTimer(later)
	} else {
		l.again.Reset(later)
	}
	return nil
}

// Due implements db.Database.
func (l *wal) Due() <-chan time.Time {
	if !l.waits {
		return nil
	}
	return l.again.C
}

// Again implements db.Database.
func (l *wal) Again() error {
	l.waits = false
	return l.Idle()
}

// checkpoint tells whether nobody was in the way. Only an error that is fatal
// counts.
func (l *wal) checkpoint(mode string) (free bool, err error) {
	var refused, frames, done int64
	if err := l.c.Get([]any{&refused, &frames, &done}, "PRAGMA wal_checkpoint("+mode+")"); err != nil {
		if fatal(err) {
			return false, fmt.Errorf("checkpoint: %w", err)
		}
		return false, nil
	}
	l.size, l.pending = frames*pageSize, (frames-done)*pageSize
	return refused == 0, nil
}
