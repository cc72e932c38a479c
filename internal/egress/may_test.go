package egress

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// TestDo_mayNot: what may not be written any more does not reach the receiver,
// over a fresh connection or one that is there, whatever it speaks.
func TestDo_mayNot(t *testing.T) {
	t.Parallel()
	plain := func(s *httptest.Server) *Client { s.Start(); return plainClient(t) }
	secure := func(h2 bool) func(s *httptest.Server) *Client {
		return func(s *httptest.Server) *Client {
			s.EnableHTTP2 = h2
			s.StartTLS()
			return testClient(t, newAuthority(t), func(o *Options) { o.RootCAs = rootPEM(s.Certificate().Raw) })
		}
	}
	for name, start := range map[string]func(*httptest.Server) *Client{
		"HTTP/1.1 in the open": plain, "HTTP/1.1": secure(false), "HTTP/2": secure(true),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
			c := start(s)
			defer s.Close()
			asked := 0
			do := func(may bool) error {
				_, err := c.Do(t.Context(), &Request{
					Target: testTarget(t, s.URL), Body: []byte("{}"), Timeout: 5 * time.Second,
					May: func() bool { asked++; return may },
				})
				return err
			}
			refused := func(n int32) {
				t.Helper()
				err := do(false)
				if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, %T, want it called off", err, e)
				}
				if got.Load() != n {
					t.Errorf("got %d requests, want %d", got.Load(), n)
				}
			}
			refused(0)
			for n := range int32(3) {
				if err := do(true); err != nil {
					t.Fatal(err)
				}
				refused(n + 1)
			}
			if asked != 7 {
				t.Errorf("was asked %d times for 7 requests", asked)
			}
		})
	}
}
