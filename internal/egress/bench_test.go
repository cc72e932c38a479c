package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// inFlight is how many requests the comparison keeps on the way at once.
const inFlight = 64

// BenchmarkDo_besideBareTransport sends the same 1 KiB to the same receiver,
// by turns with Client.Do and with nothing but a transport and keep-alive,
// 64 at a time, and reports how much of the bare transport's rate is left
// ("of-bare", 1 = all). Each turn is short, so that a busy machine hurts both
// alike.
func BenchmarkDo_besideBareTransport(b *testing.B) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Request-Id", "0123456789abcdef")
		_, _ = w.Write([]byte(`{"ok":true}`))
	}))
	server.StartTLS()
	defer server.Close()
	c, err := New(Options{Guard: testGuard(b, Policy{Allow: []string{"127.0.0.0/8"}}), RootCAs: rootPEM(server.Certificate().Raw)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.CloseIdle()
	guard := testGuard(b, Policy{Allow: []string{"127.0.0.0/8"}})
	target, fault := guard.Parse(server.URL + "/hook")
	if fault != nil {
		b.Fatal(fault)
	}
	body := bytes.Repeat([]byte("x"), 1024)
	header := func() http.Header {
		return http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"Consentwire/1"}, "Webhook-Id": {"evt_0123456789"},
			"Webhook-Timestamp": {"1614265330"}, "Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		}
	}
	ours := func() error {
		resp, err := c.Do(context.Background(), &Request{Target: target, Header: header(), Body: body})
		if err == nil && resp.Status != 200 {
			b.Errorf("status %d, want 200", resp.Status)
		}
		return err
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		MaxIdleConnsPerHost: inFlight,
		DisableCompression:  true,
	}
	defer transport.CloseIdleConnections()
	bare := func() error {
		req, err := http.NewRequest(http.MethodPost, server.URL+"/hook", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header = header()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return err
	}
	// turn runs n requests and returns the time they took.
	turn := func(n int, send func() error) time.Duration {
		var left atomic.Int64
		left.Store(int64(n))
		begin := time.Now()
		var wg sync.WaitGroup
		for range inFlight {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := send(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(begin)
	}
	only := os.Getenv("BENCH_ONLY") // "ours" or "bare", for a profile
	var took [2]time.Duration
	turn(2*inFlight, ours)
	turn(2*inFlight, bare)
	b.ReportAllocs()
	b.ResetTimer()
	for left, i := b.N, 0; left > 0; i++ {
		n := min(left, 2000)
		left -= n
		for k := range 2 {
			switch who := (i + k) % 2; {
			case who == 0 && only != "bare":
				took[0] += turn(n, ours)
			case who == 1 && only != "ours":
				took[1] += turn(n, bare)
			}
		}
	}
	b.StopTimer()
	if took[0] > 0 && took[1] > 0 {
		b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of-bare")
	}
	for k, name := range []string{"ours/s", "bare/s"} {
		if took[k] > 0 {
			v, _ := strconv.ParseFloat(strconv.FormatFloat(float64(b.N)/took[k].Seconds(), 'f', 0, 64), 64)
			b.ReportMetric(v, name)
		}
	}
}

// BenchmarkWire sends small requests, 64 at a time, to a receiver that does no
// more than it must: it reads up to the end of a request and answers.
func BenchmarkWire(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "in the open", true: "TLS"}[secure]
		b.Run(name, func(b *testing.B) { benchmarkWire(b, secure) })
	}
}

func benchmarkWire(b *testing.B, secure bool) {
	const end = "the end of the request"
	a := newAuthority(b)
	cert := a.issue(b, time.Now().Add(time.Hour))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c := testClient(b, a, func(o *Options) {
		o.Guard = testGuard(b, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.CloseIdle()
	defer ln.Close()
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if secure {
				conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
			}
			wg.Go(func() {
				defer conn.Close()
				buf, said := make([]byte, 32<<10), []byte(answer(200, `{"ok":true}`))
				for n := 0; ; {
					k, err := conn.Read(buf[n:])
					if n += k; err != nil {
						return
					}
					if bytes.HasSuffix(buf[:n], []byte(end)) {
						n = 0
						if _, err := conn.Write(said); err != nil {
							return
						}
					}
				}
			})
		}
	})
	scheme := map[bool]string{false: "http", true: "https"}[secure]
	target := testTarget(b, scheme+"://"+ln.Addr().String()+"/hook")
	body := append(make([]byte, 1024-len(end)), end...)
	send := func() error {
		_, err := c.Do(b.Context(), &Request{Target: target, Body: body, Timeout: 5 * time.Second, Header: http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"Consentwire/1"}, "Webhook-Id": {"evt_0123456789"},
			"Webhook-Timestamp": {"1614265330"}, "Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		}})
		return err
	}
	if err := send(); err != nil { // what the receiver speaks is known then
		b.Fatal(err)
	}
	b.SetParallelism((inFlight + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := send(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
