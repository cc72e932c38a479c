package telemetry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3", "abc")
	m.Request("GET /v1/consents/{id}", "GET", 404, 3*time.Millisecond)
	m.Event("consent.created", 2)
	m.Ended("exhausted", 3)
	m.Delivered(20 * time.Millisecond)
	m.Delivered(-time.Second)
	m.AttemptStarted()
	m.AttemptStarted()
	m.AttemptEnded("response", 503, 20*time.Millisecond)
	m.Exceptions(4, 5)
	m.Endpoints(6, 1, 3, 2)
	m.TokenRequest("refused")
	m.DialRefused("reserved_address")
	m.Commit(7, 2*time.Millisecond, nil)
	m.Commit(7, 2*time.Millisecond, errors.New("disk full"))
	m.Gauge("wal_bytes", "Size of the write-ahead log.", func() float64 { return 4096 })

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`consentwire_http_requests_total{method="GET",route="GET /v1/consents/{id}",status="404"} 1`,
		`consentwire_http_request_duration_seconds_bucket{route="GET /v1/consents/{id}",le="0.005"} 1`,
		`consentwire_events_total{type="consent.created"} 2`,
		`consentwire_deliveries_total{outcome="exhausted"} 3`,
		`consentwire_deliveries_total{outcome="delivered"} 2`,
		`consentwire_deliveries_total{outcome="discarded"} 0`,
		`consentwire_delivery_delay_seconds_sum 0.02`,
		`consentwire_attempts_in_flight 1`,
		`consentwire_attempts_total{class="5xx",step="response"} 1`,
		`consentwire_attempt_duration_seconds_count 1`,
		`consentwire_exceptions{state="blocked"} 5`,
		`consentwire_endpoints{condition="open"} 1`,
		`consentwire_endpoints{condition="held"} 3`,
		`consentwire_token_requests_total{outcome="refused"} 1`,
		`consentwire_token_requests_total{outcome="issued"} 0`,
		`consentwire_egress_refused_total{rule="reserved_address"} 1`,
		`consentwire_commits_total{result="ok"} 1`,
		`consentwire_commits_total{result="failed"} 1`,
		`consentwire_commit_duration_seconds_count 1`,
		`consentwire_commit_rows_sum 7`,
		`consentwire_wal_bytes 4096`,
		`consentwire_build_info{commit="abc",go="go`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	if t.Failed() {
		t.Log(w.Body.String())
	}
}

func TestMetrics_nilCountsNothing(t *testing.T) {
	t.Parallel()
	var m *Metrics
	m.Request("GET /", "GET", 200, 0)
	m.Event("consent.created", 1)
	m.Ended("exhausted", 1)
	m.Delivered(0)
	m.AttemptStarted()
	m.AttemptEnded("dns", 0, 0)
	m.Exceptions(0, 0)
	m.Endpoints(0, 0, 0, 0)
	m.TokenRequest("issued")
	m.DialRefused("scheme")
	m.Commit(0, 0, nil)
	m.Gauge("x", "x", func() float64 { return 0 })
}

func TestClass(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{0: "none", 99: "none", 101: "1xx", 204: "2xx", 599: "5xx", 600: "none"} {
		if got := class(status); got != want {
			t.Errorf("class(%d) = %q, want %q", status, got, want)
		}
	}
}

func BenchmarkLogger_attempt(b *testing.B) {
	l := NewLogger(discard{}, JSON, 0)
	for b.Loop() {
		l.Info("attempt", "endpoint", "sub_0123456789abcdefghjkmnpqrs", "event", "evt_0123456789abcdefghjkmnpqrs",
			"attempt", 1, "status", 204, "step", "response", "durationMs", 1.25)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
