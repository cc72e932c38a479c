package portal

import (
	"io"
	"net/http"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
)

// How a stream behaves. Ours.
const (
	heartbeat    = 15 * time.Second // a comment, so that proxies keep the line
	breath       = 100 * time.Millisecond
	streamBatch  = 100              // requests between two breaths
	writeTimeout = 10 * time.Second // for a page that does not read
)

// stream sends a bin's new requests to a page as server-sent events, those
// that came after the one in Last-Event-ID or the parameter "after". It ends
// with the page, with the session, or with the server.
//
// The watch only wakes it: what it sends is read from the inspector, so a page
// that was slow, or away for a moment, misses nothing that is still kept.
func (p *Portal) stream(w http.ResponseWriter, r *http.Request, s session) error {
	b, err := p.bin(r, s)
	if err != nil {
		return err
	}
	return p.streamBin(w, r, b, s.key, func() bool { return p.lives(r) })
}

// streamBin is stream of a bin, for a page that may show it as long as lives
// says so. key is by what the streams of a visitor are counted.
func (p *Portal) streamBin(w http.ResponseWriter, r *http.Request, b store.Bin, key [32]byte, lives func() bool) error {
	done, ok := p.visits.stream(key)
	if !ok {
		return fault.New(fault.TooMany, "too_many_streams", "Too many live pages are open; close one.")
	}
	defer done()
	woken, cancel := p.sink.Watch(b.Name)
	defer cancel()

	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = r.URL.Query().Get("after")
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold it back
	out := &events{w: w, c: http.NewResponseController(w)}
	defer func() { _ = out.c.SetWriteDeadline(time.Time{}) }() // the connection may carry other pages
	if out.send(func(w io.Writer) error { _, err := io.WriteString(w, "retry: 2000\n\n"); return err }) != nil {
		return nil // the page is gone, and so is its reader
	}

	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		rs, next, err := p.sink.Requests(r.Context(), b.Application, b.Name, after, streamBatch)
		if err != nil {
			if r.Context().Err() == nil && fault.KindOf(err) != fault.NotFound {
				p.log.ErrorContext(r.Context(), "read bin", "bin", b.Name, "error", err)
			}
			return nil // the page connects again
		}
		if len(rs) > 0 {
			after = rs[len(rs)-1].ID
			if out.send(func(w io.Writer) error { return writeRows(w, langOf(r), rs) }) != nil {
				return nil
			}
		}
		if next != "" || len(rs) > 0 { // others come soon: one write for all of them
			if !pause(r, breath) {
				return nil
			}
		}
		if next != "" {
			continue
		}
		select {
		case <-r.Context().Done():
			return nil
		case _, open := <-woken:
			if !open {
				return nil // the server stops
			}
			drain(woken)
		case <-beat.C:
			if !lives() {
				_ = out.send(func(w io.Writer) error { _, err := io.WriteString(w, "event: end\ndata: session\n\n"); return err })
				return nil
			}
			if out.send(func(w io.Writer) error { _, err := io.WriteString(w, ": beat\n\n"); return err }) != nil {
				return nil
			}
		}
	}
}

func writeRows(w io.Writer, l lang, rs []sink.Request) error {
	for _, r := range rs {
		if err := l.rowOf(r, "", maxShown).writeTo(w); err != nil {
			return err
		}
	}
	return nil
}

// drain takes what waits in the channel: all of it is read at once.
func drain(c <-chan sink.Request) {
	for {
		select {
		case _, open := <-c:
			if !open {
				return
			}
		default:
			return
		}
	}
}

// pause returns after d, or false when the page has gone.
func pause(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// events writes to a page that may have stopped reading.
type events struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (e *events) send(write func(io.Writer) error) error {
	// A writer that knows no deadlines keeps all in memory.
	_ = e.c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := write(e.w); err != nil {
		return err
	}
	return e.c.Flush()
}
