package egress

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rootPEM returns a certificate as a file of roots holds it.
func rootPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// authority signs the certificates of receivers.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "roots for tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert}
}

func (a *authority) pem() []byte { return rootPEM(a.cert.Raw) }

// issue returns a certificate for the names and for 127.0.0.1, valid until end.
func (a *authority) issue(t testing.TB, end time.Time, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"},
		NotBefore: end.Add(-2 * time.Hour), NotAfter: end, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if names == nil {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		template.DNSNames = []string{"receiver.example.org", "*.receiver.example", "localhost"}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// receiver is a server that does on each connection exactly what it is told.
type receiver struct {
	tls      *tls.Config
	ln       net.Listener
	handle   func(*line)
	dials    atomic.Int32
	requests atomic.Int32 // complete request heads
	written  atomic.Int64 // bytes of answers that the system took
	wg       sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
	ended    chan struct{}
	once     sync.Once
}

// line is one connection of a receiver's.
type line struct {
	*receiver
	net.Conn
	raw *net.TCPConn
	in  *bufio.Reader
}

func newReceiver(t testing.TB, cert tls.Certificate, handle func(*line)) *receiver {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{ln: ln, handle: handle, open: map[net.Conn]bool{}, ended: make(chan struct{}), tls: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}}
	r.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.dials.Add(1)
			r.mu.Lock()
			r.open[c] = true
			r.mu.Unlock()
			r.wg.Go(func() {
				defer func() {
					c.Close()
					r.mu.Lock()
					delete(r.open, c)
					r.mu.Unlock()
				}()
				raw := c.(*net.TCPConn)
				_ = raw.SetWriteBuffer(16 << 10)
				handle(&line{receiver: r, Conn: c, raw: raw, in: bufio.NewReader(c)})
			})
		}
	})
	t.Cleanup(r.close)
	return r
}

func (r *receiver) close() {
	r.once.Do(func() { close(r.ended) })
	r.ln.Close()
	r.mu.Lock()
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *receiver) url() string { return "https://" + r.ln.Addr().String() + "/hook" }

func (r *receiver) addrPort() netip.AddrPort { return netip.MustParseAddrPort(r.ln.Addr().String()) }

// secure makes the handshake; false when it failed.
func (l *line) secure() bool {
	c := tls.Server(peeked{l.raw, l.in}, l.tls)
	if c.Handshake() != nil {
		return false
	}
	l.Conn, l.in = c, bufio.NewReader(c)
	return true
}

// peeked is a connection of which something may be read already.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

// Read reads what was peeked at first.
func (p peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

// request reads one request and returns its body; nil when none came.
func (l *line) request() *http.Request {
	r, err := http.ReadRequest(l.in)
	if err != nil {
		return nil
	}
	l.requests.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// begun waits for the request's first byte: what is said before it is no
// answer.
func (l *line) begun() { _, _ = l.in.Peek(1) }

// say writes and tells whether the other side still takes it.
func (l *line) say(s string) bool {
	n, err := io.WriteString(l.Conn, s)
	l.written.Add(int64(n))
	return err == nil
}

// drip says one byte after the other, 10 ms apart, until nobody listens.
func (l *line) drip(s string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range len(s) {
		if !l.say(s[i : i+1]) {
			return
		}
		<-tick.C
	}
}

// flood repeats s until nobody takes it.
func (l *line) flood(s string) {
	for l.say(s) {
	}
}

// wait keeps the connection open until the other side ends it.
func (l *line) wait() { _, _ = io.Copy(io.Discard, l.in) }

// reset ends the connection without a farewell.
func (l *line) reset() {
	_ = l.raw.SetLinger(0)
	l.raw.Close()
}

// respond is a handler that answers every request with s and then does more.
func respond(s string, more ...func(*line)) func(*line) {
	return func(l *line) {
		if !l.secure() {
			return
		}
		for l.request() != nil {
			if !l.say(s) {
				return
			}
			for _, f := range more {
				f(l)
			}
			if len(more) > 0 {
				return
			}
		}
	}
}

// twin is a receiver's side of an HTTP/2 connection.
type twin struct {
	*line
	*http2.Framer
	fields bytes.Buffer
	enc    *hpack.Encoder
}

// http2Line is a handler that speaks HTTP/2: it greets with the settings,
// waits for the head of a request and leaves the rest to f.
func http2Line(settings []http2.Setting, f func(w *twin, stream uint32)) func(*line) {
	return func(l *line) {
		if !l.secure() {
			return
		}
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(l.in, preface); err != nil {
			return
		}
		w := &twin{line: l, Framer: http2.NewFramer(countWriter{l}, l.in)}
		w.AllowIllegalWrites = true
		w.enc = hpack.NewEncoder(&w.fields)
		if w.WriteSettings(settings...) != nil {
			return
		}
		for {
			frame, err := w.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() && w.WriteSettingsAck() != nil {
					return
				}
			case *http2.HeadersFrame:
				l.requests.Add(1)
				f(w, frame.StreamID)
			}
		}
	}
}

type countWriter struct{ l *line }

func (w countWriter) Write(p []byte) (int, error) {
	n, err := w.l.Conn.Write(p)
	w.l.written.Add(int64(n))
	return n, err
}

// block encodes fields, given as name and value by turns.
func (w *twin) block(pairs ...string) []byte {
	w.fields.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = w.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return w.fields.Bytes()
}

// headers sends a complete header block.
func (w *twin) headers(stream uint32, end bool, pairs ...string) error {
	return w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: w.block(pairs...), EndHeaders: true, EndStream: end})
}

// answer is a response with a length.
func answer(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// testClient returns a client that may dial loopback and trusts a.
func testClient(t testing.TB, a *authority, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Guard: testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}}), RootCAs: a.pem()}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func testTarget(t testing.TB, url string) *Target {
	t.Helper()
	target, fault := testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true}).Parse(url)
	if fault != nil {
		t.Fatal(fault)
	}
	return target
}

// gone is closed when the test ends the receiver: a connection that waits
// for it is never read.
func (l *line) gone() <-chan struct{} { return l.ended }
