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
	"strings"
	"testing"
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
// ends all the same.
func TestD4_keyUpdates(t *testing.T) {
	t.Parallel()
	const (
		handshake, applicationData = 22, 23
		keyUpdate                  = "\x18\x00\x00\x01\x01" // update_requested
	)
	a := newAuthority(t)
	blocked := make(chan bool, 1)
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
		var log bytes.Buffer
		l.tls.KeyLogWriter, l.tls.SessionTicketsDisabled, l.tls.MinVersion = &log, true, tls.VersionTLS13
		_ = l.raw.SetReadBuffer(4 << 10)
		if !l.secure() {
			return
		}
		if l.Conn.(*tls.Conn).ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			blocked <- false
			return
		}
		if l.request() == nil {
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
		_ = l.raw.SetWriteDeadline(time.Now().Add(20 * time.Second))
		for range 250_000 {
			out = w.append(out, handshake, keyUpdate)
			w = w.next()
			out = w.append(out, applicationData, "x")
			if len(out) > 16<<10 {
				if !l.say(string(out)) {
					break
				}
				out = out[:0]
			}
		}
		blocked <- true
		<-l.gone()
	})
	c := testClient(t, a)
	const limit = 3 * time.Second
	begin := time.Now()
	_, err := doOrFail(t, c, &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Timeout: limit})
	took := time.Since(begin)
	if !<-blocked {
		t.Skip("the receiver did not choose AES, whose records this test can make")
	}
	if let := time.Since(begin); let > limit+grace+5*slack {
		t.Errorf("the connection was let go after %v, want %v and %v of grace", let, limit, grace)
	}
	checkError(t, err, []string{StepResponse})
	if took > limit+grace+slack {
		t.Errorf("took %v, want %v and %v of grace", took, limit, grace)
	}
}
