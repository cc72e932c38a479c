package egress

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// recordWriter makes the TLS 1.3 records of a server by hand, from the secret
// that it wrote to its key log. Source: RFC 8446 5.2, 7.1, 7.2 and 7.3, for
// TLS_AES_128_GCM_SHA256.
type recordWriter struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func expandLabel(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(info, byte(len(label)))
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), length)
	if err != nil {
		panic(err)
	}
	return out
}

func newRecordWriter(secret []byte) *recordWriter {
	block, err := aes.NewCipher(expandLabel(secret, "key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &recordWriter{secret: secret, aead: aead, iv: expandLabel(secret, "iv", 12)}
}

// next returns the writer with the keys that follow a key update.
func (w *recordWriter) next() *recordWriter {
	return newRecordWriter(expandLabel(w.secret, "traffic upd", 32))
}

// append adds one record of the given content type to out.
func (w *recordWriter) append(out []byte, kind byte, content string) []byte {
	nonce := bytes.Clone(w.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(w.seq >> (56 - 8*i))
	}
	w.seq++
	inner := append([]byte(content), kind)
	head := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(inner)+w.aead.Overhead()))
	return append(out, w.aead.Seal(head, nonce, inner, head)...)
}

// TestD4_keyUpdates: a receiver that asks for new keys again and again, and
// does not read the answers, blocks the connection's writer in the middle of
// a read; crypto/tls then cannot close the connection either. The attempt
// ends all the same. Whether the writer blocks is up to the system's buffers,
// so TestD4_stuckConnection asks the same without it.
func TestD4_keyUpdates(t *testing.T) {
	t.Parallel()
	const (
		handshake, applicationData = 22, 23
		keyUpdate                  = "\x18\x00\x00\x01\x01" // update_requested
		limit                      = 3 * time.Second
	)
	a := newAuthority(t)
	var otherSuite atomic.Bool
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
		var log bytes.Buffer
		l.tls.KeyLogWriter, l.tls.SessionTicketsDisabled, l.tls.MinVersion = &log, true, tls.VersionTLS13
		_ = l.raw.SetReadBuffer(4 << 10)
		if !l.secure() || l.request() == nil {
			return
		}
		if l.Conn.(*tls.Conn).ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			otherSuite.Store(true)
			return
		}
		_, rest, _ := strings.Cut(log.String(), "SERVER_TRAFFIC_SECRET_0 ")
		rest, _, _ = strings.Cut(rest, "\n")
		_, rest, _ = strings.Cut(rest, " ")
		secret, err := hex.DecodeString(rest)
		if err != nil {
			return
		}
		l.Conn = l.raw
		w := newRecordWriter(secret)
		var out []byte
		out = w.append(out, applicationData, "HTTP/1.1 200 OK\r\nX-Filler: ")
		for range 250_000 { // below the bound of the header block
			out = w.append(out, handshake, keyUpdate)
			w = w.next()
			out = w.append(out, applicationData, "x")
			if len(out) > 16<<10 {
				if !l.say(string(out)) {
					return
				}
				out = out[:0]
			}
		}
		<-l.gone()
	})
	begin := time.Now()
	_, err := doOrFail(t, testClient(t, a), &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: limit})
	took := time.Since(begin)
	if otherSuite.Load() {
		t.Skip("the receiver did not choose AES, whose records this test can make")
	}
	checkError(t, err, []string{StepResponse})
	if took > limit+grace+slack {
		t.Errorf("took %v, want %v and %v of grace", took, limit, grace)
	}
}

// stuck is a connection on which nothing moves until it is closed.
type stuck struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

// Write waits for the end.
func (s *stuck) Write([]byte) (int, error) { <-s.closed; return 0, net.ErrClosed }

// Close ends it.
func (s *stuck) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

// TestD4_stuckConnection: when the transport does not come back in time, or
// came back and left the closing to somebody who is stuck, the connection is
// closed under it; one whose exchange has ended well is left alone.
func TestD4_stuckConnection(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	tests := []struct {
		name string
		do   func(x *exchange) // what Do does meanwhile
		want time.Duration     // until the connection is closed; 0: never
	}{
		{"Do is stuck", func(*exchange) {}, limit + grace},
		{"Do came back without an answer", func(x *exchange) { <-x.Done(); x.end(true) }, limit + grace},
		{"Do came back with half an answer", func(x *exchange) { <-x.Done(); x.end(false) }, 0},
		{"Do came back before", func(x *exchange) { x.end(false) }, 0},
		{"Do failed before", func(x *exchange) { x.end(true) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				conn := &stuck{closed: make(chan struct{})}
				x := newExchange(t.Context(), limit)
				httptrace.ContextClientTrace(x.traced()).GotConn(httptrace.GotConnInfo{Conn: tls.Client(conn, &tls.Config{})})
				go tt.do(x)
				select {
				case <-conn.closed:
					if took := time.Since(begin); took != tt.want {
						t.Errorf("closed after %v, want %v", took, tt.want)
					}
				case <-time.After(time.Hour):
					if tt.want != 0 {
						t.Errorf("not closed, want it after %v", tt.want)
					}
				}
			})
		})
	}
}
