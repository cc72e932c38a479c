package portal

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// liveEvery is how often a live part of a page looks for something new. Ours:
// what happened is on the page within a second.
const liveEvery = 400 * time.Millisecond

// live keeps a part of a page as it is now: it sends what make renders as
// server-sent events, whenever it differs from what was sent last. It ends with
// the page, with the session, or with the server.
//
// It asks the store, not the engine, for the attempt may have been another
// node's.
func (p *Portal) live(w http.ResponseWriter, r *http.Request, s session, make func() (part string, data any, err error)) error {
	done, ok := p.visits.stream(s.key)
	if !ok {
		return fault.New(fault.TooMany, "too_many_streams", "Too many live pages are open; close one.")
	}
	defer done()
	l := langOf(r)
	var last []byte
	next := func() (fresh []byte, err error) {
		name, data, err := make()
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		// Any page has the parts.
		if err := p.pages[l]["deliveries"].ExecuteTemplate(&b, name, data); err != nil {
			return nil, err
		}
		if bytes.Equal(b.Bytes(), last) {
			return nil, nil
		}
		last = bytes.Clone(b.Bytes())
		return last, nil
	}
	if _, err := next(); err != nil {
		return err // before anything is written
	}
	last = nil

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold it back
	out := &events{w: w, c: http.NewResponseController(w)}
	defer func() { _ = out.c.SetWriteDeadline(time.Time{}) }() // the connection may carry other pages
	say := func(text string) bool {
		return out.send(func(w io.Writer) error { _, err := io.WriteString(w, text); return err }) == nil
	}
	if !say("retry: 2000\n\n") {
		return nil // the page is gone, and so is its reader
	}
	tick, beat := time.NewTicker(liveEvery), time.NewTicker(heartbeat)
	defer tick.Stop()
	defer beat.Stop()
	for {
		fresh, err := next()
		if err != nil {
			if r.Context().Err() == nil {
				p.log.ErrorContext(r.Context(), "live page", "error", err)
			}
			return nil // the page connects again
		}
		if fresh != nil && !say("event: part\ndata: "+strings.ReplaceAll(string(fresh), "\n", "\ndata: ")+"\n\n") {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-beat.C:
			if !p.lives(r) {
				say("event: end\ndata: session\n\n")
				return nil
			}
			if !say(": beat\n\n") {
				return nil
			}
		case <-tick.C:
		}
	}
}
