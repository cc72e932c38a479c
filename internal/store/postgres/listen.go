package postgres

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	channel = "consentwire"
	// tellEvery is the least time between two notifications of one node
	// (DESIGN 3.13: at most 50 a second).
	tellEvery = 20 * time.Millisecond
	// tellMost is the largest notification. Source: PostgreSQL, NOTIFY: the
	// payload must be shorter than 8000 bytes.
	tellMost = 7900
	// tellAtOnce is how many notifications carry what waited; beyond it the others
	// are told to look at everything.
	tellAtOnce = 4
	// tellQueue is how many changes may wait to be told; beyond it the others
	// are told to look at everything.
	tellQueue = 256
	// The pauses before a lost side connection is opened again double from the
	// first to the last.
	firstPause, lastPause = 100 * time.Millisecond, 5 * time.Second
)

// news carries changes from node to node, over two connections of its own.
type news struct {
	s *server

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	queue chan []byte // nil: look at everything

	own atomic.Uint32 // the server's process that tells for us; they come again after its restart
}

func newNews(s *server) *news {
	n := &news{s: s, queue: make(chan []byte, tellQueue)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Tell implements db.Database.
func (n *news) Tell(change []byte) {
	if len(change) > tellMost {
		change = nil
	}
	select {
	case n.queue <- change:
	default: // the reader of a full queue tells everything
	}
}

// Hear implements db.Database. It returns once the others are heard, or after
// 5 s.
func (n *news) Hear(fn func([]byte)) {
	n.done.Go(n.tell)
	heard := make(chan struct{})
	n.done.Go(func() { n.listen(heard, fn) })
	t := time.NewTimer(connectTimeout)
	defer t.Stop()
	select {
	case <-heard:
	case <-t.C:
	}
}

func (n *news) close() {
	n.cancel()
	n.done.Wait()
}

// sleep waits, and tells whether there is more to do.
func (n *news) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// tell sends what is queued.
func (n *news) tell() {
	var c *pgconn.PgConn
	defer func() { closeSide(c) }()
	pause := firstPause
	for {
		var first []byte
		select {
		case first = <-n.queue:
		case <-n.ctx.Done():
			return
		}
		all := len(n.queue) >= cap(n.queue)-1 // some may have been left out
		list := [][]byte{first}
		for more := true; more; {
			select {
			case next := <-n.queue:
				list = append(list, next)
			default:
				more = false
			}
		}
		if list = gather(list); all {
			list = [][]byte{nil}
		}
		for sent := false; !sent; {
			if c == nil || c.IsClosed() {
				var err error
				if c, err = n.s.connect(n.ctx); err != nil {
					if c = nil; !n.sleep(pause) {
						return
					}
					pause = min(2*pause, lastPause)
					list = [][]byte{nil}
					continue
				}
				n.own.Store(c.PID())
			}
			sent = n.send(c, list)
		}
		pause = firstPause
		if !n.sleep(tellEvery) {
			return
		}
	}
}

// gather joins changes into few notifications, each change on a line of its own;
// an empty one: everything is to be looked at.
func gather(changes [][]byte) [][]byte {
	var list [][]byte
	seen := make(map[string]bool, len(changes))
	for _, c := range changes {
		if len(c) == 0 {
			return [][]byte{nil}
		}
		if seen[string(c)] {
			continue
		}
		seen[string(c)] = true
		if last := len(list) - 1; last >= 0 && len(list[last])+1+len(c) <= tellMost {
			list[last] = append(append(list[last], '\n'), c...)
			continue
		}
		if len(list) == tellAtOnce {
			return [][]byte{nil}
		}
		list = append(list, bytes.Clone(c))
	}
	return list
}

func (n *news) send(c *pgconn.PgConn, list [][]byte) bool {
	ctx, cancel := context.WithTimeout(n.ctx, connectTimeout)
	defer cancel()
	for _, change := range list {
		r := c.ExecParams(ctx, "SELECT pg_notify('"+channel+"', $1)", [][]byte{append([]byte{}, change...)}, nil, nil, nil).Read()
		if r.Err != nil {
			closeSide(c)
			return n.ctx.Err() != nil
		}
	}
	return true
}

// listen hears the others, and tells when it does for the first time. After a gap
// everything may have changed.
func (n *news) listen(heard chan<- struct{}, fn func([]byte)) {
	pause, first := firstPause, true
	for n.ctx.Err() == nil {
		err := n.hear(func() {
			if pause = firstPause; first {
				first = false
				close(heard)
				return
			}
			fn(nil)
		}, fn)
		if n.ctx.Err() != nil {
			return
		}
		n.s.log.Warn("other nodes' changes are not heard", "error", secretless(err).Error())
		if !n.sleep(pause) {
			return
		}
		pause = min(2*pause, lastPause)
	}
}

func (n *news) hear(began func(), fn func([]byte)) error {
	cfg := n.s.config.Copy()
	var got []string
	cfg.OnNotification = func(_ *pgconn.PgConn, m *pgconn.Notification) {
		if m.PID != n.own.Load() {
			got = append(got, m.Payload)
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, connectTimeout)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer closeSide(c)
	if err := c.Exec(ctx, "LISTEN "+channel).Close(); err != nil {
		return err
	}
	began()
	for {
		// The server is asked now and then, for a connection may end in silence.
		ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
		err := c.WaitForNotification(ctx)
		cancel()
		for _, m := range got {
			for line := range strings.SplitSeq(m, "\n") {
				fn([]byte(line))
			}
		}
		got = got[:0]
		switch {
		case n.ctx.Err() != nil:
			return n.ctx.Err()
		case err != nil && pgconn.Timeout(err) && !c.IsClosed():
			ctx, cancel := context.WithTimeout(n.ctx, connectTimeout)
			err = c.Exec(ctx, "SELECT 1").Close()
			cancel()
		}
		if err != nil {
			return err
		}
	}
}

func closeSide(c *pgconn.PgConn) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // it is given up in any case
}

// ahead is for how many days partitions are made before they are needed.
const ahead = 7

// Idle implements db.Database: it makes the partitions of the days to come.
func (s *server) Idle() error {
	today := time.Now().UnixMilli() / dayLength
	if s.madeUpto > today {
		return nil
	}
	err := s.writer.Begin(true)
	for d := today; err == nil && d <= today+ahead; d++ {
		for _, table := range []string{"event", "attempt"} {
			if err == nil {
				err = s.writer.Room(table, d*dayLength)
			}
		}
	}
	if err == nil {
		err = s.writer.Commit()
	}
	if err != nil { // they are made when they are needed, too
		_ = s.writer.Rollback() // there may be nothing to undo
		s.log.Warn("partitions for the days to come could not be made", "error", strconv.Quote(secretless(err).Error()))
		return nil
	}
	s.madeUpto = today + 1
	return nil
}
