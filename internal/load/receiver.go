package load

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
)

// The receiver's paths. The first two are answered 200 and differ in what is
// counted.
const (
	pathBare     = "/bare"
	pathAccept   = "/accept/"
	pathPoison   = "/poison/"   // 503 for a tenth of the subjects, chosen by hash
	pathSlow     = "/slow/"     // 200 after 10 s; not counted
	pathArrivals = "/arrivals/" // 200, and the time is noted by subject
	pathCounts   = "/counts"
	pathNoted    = "/noted"
	pathToken    = "/token" // an OAuth 2.0 token
)

// counts is what the receiver has answered so far.
type counts struct {
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
}

type address struct {
	Addr string `json:"addr"`
}

// receive is the role of the receiver: an ordinary net/http server that counts.
func receive([]string) error {
	ctx, cancel := untilStdinEnds()
	defer cancel()
	var accepted, refused atomic.Int64
	var mu sync.Mutex
	arrivals := map[string]int64{}
	drain := func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) } // what fails is not counted by its sender

	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathBare, func(_ http.ResponseWriter, r *http.Request) { drain(r) })
	mux.HandleFunc("POST "+pathAccept, func(_ http.ResponseWriter, r *http.Request) {
		drain(r)
		accepted.Add(1)
	})
	mux.HandleFunc("POST "+pathPoison, func(w http.ResponseWriter, r *http.Request) {
		drain(r)
		if poisoned(r.Header.Get(delivery.HeaderSubject)) {
			refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		accepted.Add(1)
	})
	mux.HandleFunc("POST "+pathSlow, func(_ http.ResponseWriter, r *http.Request) {
		drain(r)
		_ = pause(r.Context(), 10*time.Second) // its sender may go
	})
	mux.HandleFunc("POST "+pathArrivals, func(_ http.ResponseWriter, r *http.Request) {
		at := time.Now().UnixNano()
		mu.Lock()
		arrivals[r.Header.Get(delivery.HeaderSubject)] = at
		mu.Unlock()
		drain(r)
		accepted.Add(1)
	})
	mux.HandleFunc("POST "+pathToken, func(w http.ResponseWriter, r *http.Request) {
		drain(r)
		answer(w, map[string]any{"access_token": benchToken, "token_type": "Bearer", "expires_in": 3600})
	})
	mux.HandleFunc("GET "+pathCounts, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, counts{accepted.Load(), refused.Load()})
	})
	mux.HandleFunc("GET "+pathNoted, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer(w, arrivals)
		arrivals = map[string]int64{}
	})
	return listen(ctx, mux)
}

// poisoned tells whether a subject is one of the tenth that always fails.
func poisoned(subject string) bool {
	h := fnv.New32a()
	_, _ = io.WriteString(h, subject) // never fails (hash.Hash)
	return h.Sum32()%10 == 0
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler) // the parent is gone
	}
}

// listen serves on a free loopback port, tells the parent which, and ends with
// ctx.
func listen(ctx context.Context, h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := say(address{l.Addr().String()}); err != nil {
		return err
	}
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// target is the parent's view of a receiver.
type target struct {
	*child
	addr string
}

func (b *Bench) receiver(ctx context.Context) (*target, error) {
	var a address
	c, err := b.start(ctx, &a, "receiver")
	if err != nil {
		return nil, err
	}
	return &target{c, a.Addr}, nil
}

func (t *target) url(path string) string { return "http://" + t.addr + path }

func (t *target) counts(ctx context.Context) (c counts, err error) {
	return c, getJSON(ctx, t.url(pathCounts), "", &c)
}
