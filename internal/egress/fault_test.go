package egress

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"
)

// behaviour is one way in which a receiver may answer an attempt, and what
// the client must make of it.
type behaviour struct {
	name   string
	handle func(*line)
	prep   func(t *testing.T, a *authority, r *receiver) // changes the receiver; may be nil
	big    bool                                          // the request's body is 8 MiB instead of 1 KiB

	status int      // of the answer; 0: no answer
	body   string   // the answer's body must begin with it
	steps  []string // where it ends without an answer, one of them
	unsent bool     // no request arrives
	dials  int32    // at most so many; 0: one
	full   bool     // it uses up the attempt's time
}

const (
	attempt = 400 * time.Millisecond // the time of one attempt in these tests
	slack   = time.Second            // what a busy machine may add
)

// behaviours returns the table. Sources: RULES D3, D4 and section 4.
func behaviours() []behaviour {
	const ok = "HTTP/1.1 200 OK\r\n"
	var (
		response = []string{StepResponse}
		sending  = []string{StepRequest, StepResponse} // which of them is a race of the two directions
		inTLS    = []string{StepTLS}
		secured  = func(f func(*line)) func(*line) {
			return func(l *line) { _ = l.secure() && func() bool { f(l); return true }() }
		}
		asked = func(f func(*line)) func(*line) {
			return secured(func(l *line) { _ = l.request() != nil && func() bool { f(l); return true }() })
		}
		hold         = (*line).wait
		filler       = strings.Repeat("x", 16<<10)
		bomb, noText = gzipBomb(), "\x00\xff\xfe" + strings.Repeat("a\x00", 9000)
	)
	h1 := []behaviour{
		// The connection.
		{name: "nobody listens", prep: func(_ *testing.T, _ *authority, r *receiver) { r.ln.Close() }, handle: hold, steps: []string{StepConnect}, unsent: true},
		{name: "closes at once", handle: func(*line) {}, steps: inTLS, unsent: true},
		{name: "resets at once", handle: (*line).reset, steps: []string{StepConnect, StepTLS}, unsent: true},
		{name: "never greets", handle: hold, steps: inTLS, unsent: true, full: true},
		{name: "speaks plain HTTP", handle: func(l *line) { l.say(answer(200, "")); l.wait() }, steps: inTLS, unsent: true},
		{name: "begins a TLS record and stalls", handle: func(l *line) { l.say("\x16\x03\x03\x40\x00\x02"); l.wait() }, steps: inTLS, unsent: true, full: true},
		{name: "drips a TLS record", handle: func(l *line) { l.drip("\x16\x03\x03\x40\x00" + filler) }, steps: inTLS, unsent: true, full: true},
		{name: "begins a TLS record and closes", handle: func(l *line) { l.say("\x16\x03\x03\x40\x00\x02") }, steps: inTLS, unsent: true},
		{name: "floods with empty TLS records", handle: func(l *line) { l.flood(strings.Repeat("\x16\x03\x03\x00\x00", 3000)) }, steps: inTLS, unsent: true},
		{name: "announces a handshake message of 16 MiB", handle: func(l *line) { l.flood("\x16\x03\x03\x40\x00\x02\xff\xff\xff" + filler[:16380]) }, steps: inTLS, unsent: true},
		{name: "knows no TLS above 1.1", prep: func(_ *testing.T, _ *authority, r *receiver) {
			r.tls.MinVersion, r.tls.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}, handle: asked(hold), steps: inTLS, unsent: true},
		{name: "has a certificate of an unknown authority", prep: func(t *testing.T, _ *authority, r *receiver) {
			r.tls.Certificates = []tls.Certificate{newAuthority(t).issue(t, time.Now().Add(time.Hour))}
		}, handle: asked(hold), steps: inTLS, unsent: true},
		{name: "has a certificate for another name", prep: func(t *testing.T, a *authority, r *receiver) {
			r.tls.Certificates = []tls.Certificate{a.issue(t, time.Now().Add(time.Hour), "other.example.org")}
		}, handle: asked(hold), steps: inTLS, unsent: true},
		{name: "has an expired certificate", prep: func(t *testing.T, a *authority, r *receiver) {
			r.tls.Certificates = []tls.Certificate{a.issue(t, time.Now().Add(-time.Minute))}
		}, handle: asked(hold), steps: inTLS, unsent: true},
		{name: "asks for a certificate of ours", prep: func(_ *testing.T, _ *authority, r *receiver) { r.tls.ClientAuth = tls.RequireAnyClientCert }, handle: asked(hold), steps: inTLS, unsent: true},

		// The request.
		{name: "closes after the handshake", handle: secured(func(*line) {}), steps: sending, unsent: true},
		{name: "resets after the handshake", handle: secured((*line).reset), steps: sending, unsent: true},
		{name: "never reads, a small request", handle: secured(func(l *line) { <-l.gone() }), steps: response, unsent: true, full: true},
		{name: "never reads, a large request", handle: secured(func(l *line) { <-l.gone() }), big: true, steps: []string{StepRequest}, unsent: true, full: true},
		{name: "resets within a large request", handle: secured(func(l *line) { _, _ = l.in.Discard(32 << 10); l.reset() }), big: true, steps: sending, unsent: true},
		{name: "refuses a large request before it is read", handle: secured(func(l *line) { l.begun(); l.say(answer(413, "too large")); <-l.gone() }), big: true, status: 413, body: "too large", unsent: true},
		{name: "accepts a large request before it is read and resets", handle: secured(func(l *line) { l.begun(); l.say(answer(202, "")); l.reset() }), steps: sending, status: 202, big: true, unsent: true},

		// The header block.
		{name: "says nothing", handle: asked(hold), steps: response, full: true},
		{name: "closes instead of an answer", handle: asked(func(*line) {}), steps: response},
		{name: "resets instead of an answer", handle: asked((*line).reset), steps: response},
		{name: "half a status line, then the end", handle: asked(func(l *line) { l.say("HTTP/1.1 20") }), steps: response},
		{name: "half a status line, then a reset", handle: asked(func(l *line) { l.say("HTTP/1.1 20"); l.reset() }), steps: response},
		{name: "half a status line, then nothing", handle: asked(func(l *line) { l.say("HTTP/1.1 20"); l.wait() }), steps: response, full: true},
		{name: "half a header block, then the end", handle: asked(func(l *line) { l.say(ok + "A: b\r\n") }), steps: response},
		{name: "half a header block, then a reset", handle: asked(func(l *line) { l.say(ok + "A: b\r\n"); l.reset() }), steps: response},
		{name: "half a header block, then nothing", handle: asked(func(l *line) { l.say(ok + "A: b\r\n"); l.wait() }), steps: response, full: true},
		{name: "drips the header block", handle: asked(func(l *line) { l.drip(ok + "A: " + filler) }), steps: response, full: true},
		{name: "header fields without end", handle: asked(func(l *line) { l.say(ok); l.flood("X-Filler: " + filler[:1000] + "\r\n") }), steps: response},
		{name: "one field without end", handle: asked(func(l *line) { l.say(ok + "X-Filler: "); l.flood(filler) }), steps: response},
		{name: "a field name without end", handle: asked(func(l *line) { l.say(ok); l.flood(filler) }), steps: response},
		{name: "a status line without end", handle: asked(func(l *line) { l.say("HTTP/1.1 200 "); l.flood(filler) }), steps: response},
		{name: "empty lines without end", handle: asked(func(l *line) { l.flood("\r\n\r\n\r\n\r\n") }), steps: response},
		{name: "NUL bytes without end", handle: asked(func(l *line) { l.flood(strings.Repeat("\x00", 4096)) }), steps: response},
		{name: "HTTP/0.9", handle: respond("<html>hello</html>\n"), steps: response},
		{name: "another protocol", handle: respond("SSH-2.0-OpenSSH_9.7\r\n"), steps: response},
		{name: "HTTP/2 on an HTTP/1.1 connection", handle: respond("\x00\x00\x00\x04\x00\x00\x00\x00\x00", hold), steps: response, full: true},
		{name: "a status of two digits", handle: respond("HTTP/1.1 99 X\r\n\r\n"), steps: response},
		{name: "a status that is no number", handle: respond("HTTP/1.1 2xx X\r\n\r\n"), steps: response},
		{name: "a negative status", handle: respond("HTTP/1.1 -20 X\r\n\r\n"), steps: response},
		{name: "a version that is none", handle: respond("HTTP/one 200 X\r\n\r\n"), steps: response},
		{name: "a field without a colon", handle: respond(ok + "nonsense\r\n\r\n"), steps: response},
		{name: "two lengths that differ", handle: respond(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), steps: response},
		{name: "a negative length", handle: respond(ok + "Content-Length: -1\r\n\r\n"), steps: response},
		{name: "a length that is no number", handle: respond(ok + "Content-Length: 0x10\r\n\r\n"), steps: response},
		{name: "a length beyond 64 bits", handle: respond(ok + "Content-Length: 99999999999999999999\r\n\r\n"), steps: response},
		{name: "an unknown transfer coding", handle: respond(ok + "Transfer-Encoding: gzip\r\n\r\n"), steps: response},
		{name: "interim answers without end", handle: asked(func(l *line) { l.flood(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 500)) }), steps: response},
		{name: "interim answers in a drip", handle: asked(func(l *line) { l.drip(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 500)) }), steps: response, full: true},
		{name: "an interim answer, then the end", handle: asked(func(l *line) { l.say("HTTP/1.1 103 X\r\n\r\n") }), steps: response},
		{name: "no reason phrase", handle: respond("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), status: 200},
		{name: "line feeds only", handle: respond("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), status: 200, body: "ok"},
		{name: "a space before a field's colon", handle: respond(ok + "A : b\r\nContent-Length: 0\r\n\r\n"), status: 200},
		{name: "HTTP/1.0", handle: respond("HTTP/1.0 200 OK\r\n\r\nok", func(*line) {}), status: 200, body: "ok"},
		{name: "invalid bytes in a field", handle: respond(ok + "X-Bad: \xff\xfe caf\xe9\r\nContent-Length: 0\r\n\r\n"), status: 200},
		{name: "an interim answer first", handle: respond("HTTP/1.1 100 Continue\r\n\r\n" + answer(200, "ok")), status: 200, body: "ok"},
		{name: "early hints first", handle: respond("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(204, "")), status: 204},

		// The status alone decides.
		{name: "204 with a body", handle: respond("HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nok"), status: 204},
		{name: "304", handle: respond("HTTP/1.1 304 X\r\n\r\n"), status: 304},
		{name: "410", handle: respond(answer(410, "gone")), status: 410, body: "gone"},
		{name: "503 with Retry-After", handle: respond("HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"), status: 503},
		{name: "status 999", handle: respond(answer(999, "")), status: 999},
		{name: "a redirect", handle: respond("HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nRefresh: 0\r\nContent-Length: 0\r\n\r\n"), status: 307},
		{name: "101, then silence", handle: respond("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", hold), status: 101},
		{name: "101, then a flood", handle: asked(func(l *line) {
			l.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			l.flood(filler)
		}), status: 101},

		// The body decides nothing.
		{name: "the body is shorter than its length", handle: respond(ok+"Content-Length: 10\r\n\r\nhalf", func(*line) {}), status: 200, body: "half"},
		{name: "the body is longer than its length", handle: respond(ok + "Content-Length: 2\r\n\r\nokay, and more"), status: 200, body: "ok"},
		{name: "a reset within the body", handle: respond(ok+"Content-Length: 10\r\n\r\n", (*line).reset), status: 200},
		{name: "the body stalls", handle: respond(ok+"Content-Length: 10\r\n\r\nhalf", hold), status: 200, body: "half", full: true},
		{name: "the body never begins", handle: respond(ok+"\r\n", hold), status: 200, full: true},
		{name: "the body drips", handle: asked(func(l *line) { l.say(ok + "\r\n"); l.drip(filler) }), status: 200, body: "xxx", full: true},
		{name: "a body without end", handle: asked(func(l *line) { l.say(ok + "\r\n"); l.flood(filler) }), status: 200, body: "xxx"},
		{name: "a body of a terabyte", handle: asked(func(l *line) { l.say(ok + "Content-Length: 1099511627776\r\n\r\n"); l.flood(filler) }), status: 200, body: "xxx"},
		{name: "chunks without end", handle: asked(func(l *line) {
			l.say(ok + "Transfer-Encoding: chunked\r\n\r\n")
			l.flood(strings.Repeat("1\r\nx\r\n", 1000))
		}), status: 200, body: "xxx"},
		{name: "a chunk size that is no number", handle: respond(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), status: 200, body: "ok"},
		{name: "a chunk size beyond 64 bits", handle: respond(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nfffffffffffffffff\r\n"), status: 200, body: "ok"},
		{name: "a chunk extension without end", handle: asked(func(l *line) { l.say(ok + "Transfer-Encoding: chunked\r\n\r\n1;"); l.flood(filler) }), status: 200},
		{name: "chunks that do not end", handle: respond(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", func(*line) {}), status: 200, body: "ok"},
		{name: "trailers", handle: respond(ok + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"), status: 200, body: "ok"},
		{name: "trailers without end", handle: asked(func(l *line) {
			l.say(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
			l.flood("X-Sum: " + filler[:1000] + "\r\n")
		}), status: 200, body: "ok"},
		{name: "a gzip bomb", handle: respond(ok+"Content-Encoding: gzip\r\n\r\n"+bomb, func(*line) {}), status: 200, body: "\x1f"},
		{name: "NUL and invalid UTF-8 in the body", handle: respond(ok+"\r\n"+noText, func(*line) {}), status: 200, body: "\uFFFD"},
	}

	pseudo := func(status string, more ...string) []string { return append([]string{":status", status}, more...) }
	speak := func(settings []http2.Setting, f func(w *twin, stream uint32)) func(*line) {
		return http2Line(settings, f)
	}
	rst := func(code http2.ErrCode) func(*line) {
		return speak(nil, func(w *twin, s uint32) { _ = w.WriteRSTStream(s, code) })
	}
	h2 := []behaviour{
		{name: "answers", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200")...)
			_ = w.WriteData(s, true, []byte("ok"))
		}), status: 200, body: "ok"},
		{name: "says nothing", handle: speak(nil, func(*twin, uint32) {}), steps: response, full: true},
		{name: "gives no room for the body", handle: speak([]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, func(*twin, uint32) {}), steps: []string{StepRequest, StepResponse}, full: true},
		{name: "gives a large body no room", big: true, handle: speak(nil, func(*twin, uint32) {}), steps: []string{StepRequest}, full: true},
		{name: "GOAWAY that denies every stream", handle: speak(nil, func(w *twin, _ uint32) { _ = w.WriteGoAway(0, http2.ErrCodeNo, nil) }), steps: sending},
		{name: "GOAWAY that denies every stream, before the request", handle: secured(func(l *line) {
			f := http2.NewFramer(countWriter{l}, l.in)
			_ = f.WriteSettings()
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			l.wait()
		}), steps: []string{StepConnect, StepRequest, StepResponse}, unsent: true, dials: maxDials},
		{name: "GOAWAY with a debug text of 16 KiB", handle: speak(nil, func(w *twin, _ uint32) { _ = w.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte(filler[:16000])) }), steps: sending},
		{name: "GOAWAY, then the answer", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.WriteGoAway(s, http2.ErrCodeNo, nil)
			_ = w.headers(s, true, pseudo("200")...)
		}), status: 200},
		{name: "resets the stream, refused", handle: rst(http2.ErrCodeRefusedStream), steps: sending},
		{name: "resets the stream, cancelled", handle: rst(http2.ErrCodeCancel), steps: sending},
		{name: "resets the stream, protocol error", handle: rst(http2.ErrCodeProtocol), steps: sending},
		{name: "resets the stream, no error", handle: rst(http2.ErrCodeNo), steps: sending},
		{name: "closes the connection", handle: speak(nil, func(w *twin, _ uint32) { w.Conn.Close() }), steps: sending},
		{name: "resets the connection", handle: speak(nil, func(w *twin, _ uint32) { w.reset() }), steps: sending},
		{name: "resets the stream after the header block", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200")...)
			_ = w.WriteRSTStream(s, http2.ErrCodeInternal)
		}), status: 200},
		{name: "the body stalls", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200")...)
			_ = w.WriteData(s, false, []byte("half"))
		}), status: 200, body: "half", full: true},
		{name: "a body without end", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200")...)
			for i := 0; i < 4; i++ { // all that the window allows; then it waits
				_ = w.WriteData(s, false, []byte(filler[:16380]))
			}
		}), status: 200, body: "xxx"},
		{name: "more body than there is room for", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200")...)
			for w.WriteData(s, false, []byte(filler)) == nil {
			}
		}), status: 200},
		{name: "a length that is not kept", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200", "content-length", "10")...)
			_ = w.WriteData(s, true, []byte("ok"))
		}), status: 200},
		{name: "no status", handle: speak(nil, func(w *twin, s uint32) { _ = w.headers(s, true, "a", "b") }), steps: response},
		{name: "a status that is no number", handle: speak(nil, func(w *twin, s uint32) { _ = w.headers(s, true, pseudo("ok")...) }), steps: response},
		{name: "101", handle: speak(nil, func(w *twin, s uint32) { _ = w.headers(s, false, pseudo("101")...) }), steps: response, full: true},
		{name: "a field in capitals", handle: speak(nil, func(w *twin, s uint32) { _ = w.headers(s, true, pseudo("200", "X-A", "b")...) }), steps: response},
		{name: "a header block that does not end", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: w.block(pseudo("200")...)})
		}), steps: response, full: true},
		{name: "continuations without end", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: w.block(pseudo("200")...)})
			for w.WriteContinuation(s, false, w.block("x-filler", filler[:8000])) == nil {
			}
		}), steps: response},
		{name: "empty continuations without end", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: w.block(pseudo("200")...)})
			for w.WriteContinuation(s, false, nil) == nil {
			}
		}), steps: response, full: true},
		{name: "interim answers without end", handle: speak(nil, func(w *twin, s uint32) {
			for w.headers(s, false, pseudo("103", "link", filler[:1000])...) == nil {
			}
		}), steps: sending},
		{name: "pushes", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.WritePushPromise(http2.PushPromiseParam{StreamID: s, PromiseID: 2, BlockFragment: w.block(":method", "GET"), EndHeaders: true})
		}), steps: sending},
		{name: "pings without end", handle: speak(nil, func(w *twin, _ uint32) {
			for w.WritePing(false, [8]byte{}) == nil {
			}
		}), steps: sending, full: true},
		{name: "settings without end", handle: speak(nil, func(w *twin, _ uint32) {
			for w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384}) == nil {
			}
		}), steps: sending, full: true},
		{name: "a window beyond 31 bits", handle: speak(nil, func(w *twin, s uint32) { _ = w.WriteWindowUpdate(s, 1<<31-1) }), steps: sending},
		{name: "a frame beyond 16 KiB", handle: speak(nil, func(w *twin, s uint32) { _ = w.WriteRawFrame(http2.FrameData, 0, s, make([]byte, 1<<20)) }), steps: sending},
		{name: "HTTP/1.1 on an HTTP/2 connection", handle: secured(func(l *line) { l.say(answer(200, "")); l.wait() }), steps: sending, unsent: true},
		{name: "never reads", handle: secured(func(l *line) { <-l.gone() }), steps: sending, unsent: true, full: true},
		{name: "trailers", handle: speak(nil, func(w *twin, s uint32) {
			_ = w.headers(s, false, pseudo("200")...)
			_ = w.WriteData(s, false, []byte("ok"))
			_ = w.headers(s, true, "x-sum", "1")
		}), status: 200, body: "ok"},
	}
	for i := range h2 {
		h2[i].name = "HTTP/2: " + h2[i].name
		if slices.Equal(h2[i].steps, response) { // the answer may come before the body is read
			h2[i].steps = sending
		}
		prep := h2[i].prep
		h2[i].prep = func(t *testing.T, a *authority, r *receiver) {
			r.tls.NextProtos = []string{"h2"}
			if prep != nil {
				prep(t, a, r)
			}
		}
	}
	return append(h1, h2...)
}

func gzipBomb() string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 32<<20))
	_ = w.Close()
	return b.String()
}

// TestD3_D4_D6_anyReceiver: whatever the receiver does, the attempt ends in
// its time with the right verdict, at most one request was on the wire, and
// neither what was read nor what is kept goes beyond the bounds.
func TestD3_D4_D6_anyReceiver(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	table := behaviours()
	for _, b := range table {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, good, b.handle)
			if b.prep != nil {
				b.prep(t, a, r)
			}
			c := testClient(t, a)
			attemptOnce(t, c, r, b)
			c.CloseIdle()
			r.close()
			if got, most := r.dials.Load(), max(b.dials, 1); got > most {
				t.Errorf("%d dials, want at most %d", got, most)
			}
			if got := r.requests.Load(); got > 1 || b.unsent && got != 0 {
				t.Errorf("%d requests on the wire, want at most one", got)
			}
			// What the sockets of both sides hold is written, but not read.
			if got := r.written.Load(); got > 8<<20 {
				t.Errorf("the receiver got rid of %d bytes", got)
			}
		})
	}
}

func attemptOnce(t testing.TB, c *Client, r *receiver, b behaviour) {
	t.Helper()
	body := bytes.Repeat([]byte("b"), 1024)
	if b.big {
		body = make([]byte, 8<<20)
	}
	target := testTarget(t, r.url()+"?key=query-secret")
	begin := time.Now()
	resp, err := doOrFail(t, c, &Request{Target: target, Header: http.Header{"Webhook-Id": {"evt_1"}}, Body: body, Timeout: attempt})
	took := time.Since(begin)
	if took > attempt+slack || b.full && took < attempt {
		t.Errorf("took %v, want %v or less, and all of it: %v", took, attempt, b.full)
	}
	if err != nil {
		checkError(t, err, b.steps)
		return
	}
	if resp.Status != b.status {
		t.Errorf("status %d, want %d (0: none, but an end in %v)", resp.Status, b.status, b.steps)
	}
	if !strings.HasPrefix(resp.Body, b.body) {
		t.Errorf("body %.40q, want it to begin with %q", resp.Body, b.body)
	}
	kept := 0
	for _, h := range resp.Header {
		kept += len(h.Name) + len(h.Value)
		if !utf8.ValidString(h.Value) || strings.Contains(h.Value, "\x00") {
			t.Errorf("the field %s was kept as %q", h.Name, h.Value)
		}
	}
	if len(resp.Body) > MaxKept || kept > MaxKept || !utf8.ValidString(resp.Body) || strings.Contains(resp.Body, "\x00") {
		t.Errorf("kept %d bytes of body and %d of header: too much, or no text", len(resp.Body), kept)
	}
}

// doOrFail is Do, but a Do that does not come back fails the test instead of
// holding it up.
func doOrFail(t testing.TB, c *Client, r *Request) (*Response, error) {
	t.Helper()
	var resp *Response
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err = c.Do(t.Context(), r)
	}()
	select {
	case <-done:
	case <-time.After(r.Timeout + 10*time.Second):
		t.Fatal("the attempt does not end")
	}
	return resp, err
}

// checkError holds an error to its form: one of the steps, a reason, and no
// byte of the URL or of the receiver.
func checkError(t testing.TB, err error, steps []string) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("%T %v, want an *Error", err, err)
	}
	found := false
	for _, s := range steps {
		found = found || s == e.Step
	}
	if !found || e.Reason == "" {
		t.Errorf("ended in %q with %q (%v), want one of %v", e.Step, e.Reason, e.Err, steps)
	}
	for _, leak := range []string{"127.0.0.1", "https:", "/hook", "query-secret", "HTTP/1.1 ", "xxx"} {
		if strings.Contains(e.Error(), leak) {
			t.Errorf("the error %q shows %q", e, leak)
		}
	}
}

// TestD4_memory: no behaviour makes the client hold or allocate more than a
// little, its own share of TLS and the test's receiver included.
func TestD4_memory(t *testing.T) { // alone, for it counts what the process allocates
	const held, throughput = 4 << 20, 64 << 20
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	for _, b := range behaviours() {
		if b.big {
			continue
		}
		r := newReceiver(t, good, b.handle)
		if b.prep != nil {
			b.prep(t, a, r)
		}
		c := testClient(t, a)
		request := &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: 100 * time.Millisecond}
		var before, after, live runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, _ = doOrFail(t, c, request)
		runtime.ReadMemStats(&after)
		runtime.GC() // the receiver still does what it does
		runtime.ReadMemStats(&live)
		allowed := uint64(held)
		if b.full { // the whole time is spent on reading something, nothing of which is kept
			allowed = throughput
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > allowed {
			t.Errorf("%s: %d KiB allocated, want at most %d", b.name, got>>10, allowed>>10)
		}
		if got := int64(live.HeapAlloc) - int64(before.HeapAlloc); got > held {
			t.Errorf("%s: %d KiB held, want at most %d", b.name, got>>10, held>>10)
		}
		c.CloseIdle()
		r.close()
	}
}
