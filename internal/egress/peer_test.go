package egress

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestClient_peer(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	valid, expired := ca.issue(t, time.Now().Add(time.Hour)), ca.issue(t, time.Now().Add(-time.Hour), "elsewhere.example")
	tests := []struct {
		name   string
		serves tls.Certificate
		peer   []byte
		roots  []byte
		ok     bool
	}{
		{"the certificate itself, without roots", valid, rootPEM(valid.Certificate[0]), nil, true},
		{"the certificate itself, expired and for another name", expired, rootPEM(expired.Certificate[0]), nil, true},
		{"another of the same authority", valid, rootPEM(expired.Certificate[0]), nil, false},
		{"another of an authority that is trusted", valid, rootPEM(expired.Certificate[0]), ca.pem(), false},
		{"the authority's own", valid, ca.pem(), nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{tt.serves}, MinVersion: tls.VersionTLS12}
			srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes
			srv.StartTLS()
			t.Cleanup(srv.Close)
			guard, err := NewGuard(Policy{Allow: []string{"127.0.0.1"}})
			if err != nil {
				t.Fatal(err)
			}
			c, err := New(Options{Guard: guard, RootCAs: tt.roots, Peer: tt.peer})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.CloseIdle)
			target, refused := guard.Parse(srv.URL)
			if refused != nil {
				t.Fatal(refused)
			}
			resp, err := c.Do(t.Context(), &Request{Target: target, Timeout: 10 * time.Second})
			if tt.ok {
				if err != nil || resp.Status != http.StatusAccepted {
					t.Errorf("got %+v, %v, want status %d", resp, err, http.StatusAccepted)
				}
				return
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Step != StepTLS || e.Reason != "the receiver's certificate is not valid" {
				t.Errorf("got %v, want the certificate refused", err)
			}
		})
	}
	if _, err := New(Options{Guard: mustGuard(t), Peer: []byte("no certificate")}); err == nil {
		t.Error("got a client for a peer without certificate, want an error")
	}
}

func mustGuard(t *testing.T) *Guard {
	t.Helper()
	g, err := NewGuard(Policy{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}
