package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts what the night operator asks about. It has a registry of its
// own. A nil *Metrics counts nothing, so a room that is built without one
// needs no second path.
//
// Labels come from small fixed sets: routes are patterns of the table, never
// paths, and no label names an endpoint, an application or a person.
type Metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	events         *prometheus.CounterVec
	deliveries     *prometheus.CounterVec
	attempts       *prometheus.CounterVec
	attemptSeconds prometheus.Histogram
	delaySeconds   prometheus.Histogram
	inFlight       prometheus.Gauge
	exceptions     *prometheus.GaugeVec
	endpoints      *prometheus.GaugeVec
	tokens         *prometheus.CounterVec
	refusedDials   *prometheus.CounterVec
	pruned         prometheus.Counter
	commits        *prometheus.CounterVec
	commitSeconds  prometheus.Histogram
	commitRows     prometheus.Histogram
}

// NewMetrics returns metrics with every series at zero.
func NewMetrics(version, commit string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_http_requests_total", Help: "Requests answered, by route pattern, method and status.",
		}, []string{"route", "method", "status"}),
		requestSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "consentwire_http_request_duration_seconds", Help: "Time to answer a request, by route pattern.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"route"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_events_total", Help: "Events committed to the log, by type.",
		}, []string{"type"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_deliveries_total", Help: "Deliveries that ended, by outcome.",
		}, []string{"outcome"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_attempts_total", Help: "Attempts, by the step where they ended and the class of the answer (none without one).",
		}, []string{"step", "class"}),
		attemptSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "consentwire_attempt_duration_seconds", Help: "One attempt, from dial to end of answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}),
		delaySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "consentwire_delivery_delay_seconds", Help: "From the event's record to its delivery, retries included.",
			Buckets: []float64{.0025, .005, .01, .025, .05, .1, .5, 1, 5, 30, 300, 3600, 86400},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "consentwire_attempts_in_flight", Help: "Attempts on the wire now.",
		}),
		exceptions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "consentwire_exceptions", Help: "Deliveries that could not just pass, by state (retrying, blocked).",
		}, []string{"state"}),
		endpoints: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "consentwire_endpoints", Help: "Endpoints of the engine, by condition (running, open: the breaker holds them, held: they have no token, caught_up).",
		}, []string{"condition"}),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "consentwire_retention_events_total", Help: "Events that retention took from the log.",
		}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_token_requests_total", Help: "Requests to token endpoints, by outcome (issued, refused: the credentials are, failed).",
		}, []string{"outcome"}),
		refusedDials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_egress_refused_total", Help: "Connections that the egress rules refused, by rule.",
		}, []string{"rule"}),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "consentwire_commits_total", Help: "Group commits, by result (ok, failed).",
		}, []string{"result"}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "consentwire_commit_duration_seconds", Help: "One group commit, fsync included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}),
		commitRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "consentwire_commit_rows", Help: "Changes and results that shared one commit.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "consentwire_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.requestSeconds, m.events, m.deliveries, m.attempts, m.attemptSeconds, m.delaySeconds, m.inFlight,
		m.exceptions, m.endpoints, m.pruned, m.tokens, m.refusedDials, m.commits, m.commitSeconds, m.commitRows, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, o := range []string{"delivered", "exhausted", "discarded", "superseded", "cancelled", "lost"} {
		m.deliveries.WithLabelValues(o)
	}
	for _, o := range []string{"issued", "refused", "failed"} {
		m.tokens.WithLabelValues(o)
	}
	for _, r := range []string{"ok", "failed"} {
		m.commits.WithLabelValues(r)
	}
	return m
}

// Handler serves the metrics in the Prometheus text format. Who may read them
// is the caller's decision.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts one answered request. Route is the table's pattern; a path
// that no route matched is "none".
func (m *Metrics) Request(route, method string, status int, d time.Duration) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.requestSeconds.WithLabelValues(route).Observe(d.Seconds())
}

// Event counts n events of a type that were committed.
func (m *Metrics) Event(typ string, n int) {
	if m == nil {
		return
	}
	m.events.WithLabelValues(typ).Add(float64(n))
}

// Pruned counts n events that retention took from the log.
func (m *Metrics) Pruned(n int) {
	if m == nil {
		return
	}
	m.pruned.Add(float64(n))
}

// Ended counts n deliveries that reached an end: delivered, exhausted,
// discarded, superseded, cancelled, or lost to retention.
func (m *Metrics) Ended(outcome string, n int) {
	if m == nil {
		return
	}
	m.deliveries.WithLabelValues(outcome).Add(float64(n))
}

// Delivered counts one delivery and its delay: from the event's record to
// now.
func (m *Metrics) Delivered(delay time.Duration) {
	if m == nil {
		return
	}
	m.deliveries.WithLabelValues("delivered").Inc()
	m.delaySeconds.Observe(max(0, delay.Seconds()))
}

// AttemptStarted counts an attempt that goes on the wire; each is followed by
// one AttemptEnded.
func (m *Metrics) AttemptStarted() {
	if m == nil {
		return
	}
	m.inFlight.Inc()
}

// AttemptEnded counts an attempt that is over: the step where it ended, the
// status of the answer (0 without one) and its time.
func (m *Metrics) AttemptEnded(step string, status int, d time.Duration) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	m.attempts.WithLabelValues(step, class(status)).Inc()
	m.attemptSeconds.Observe(d.Seconds())
}

// Exceptions tells how many deliveries are in trouble now.
func (m *Metrics) Exceptions(retrying, blocked int) {
	if m == nil {
		return
	}
	m.exceptions.WithLabelValues("retrying").Set(float64(retrying))
	m.exceptions.WithLabelValues("blocked").Set(float64(blocked))
}

// Endpoints tells the engine's endpoints: how many it runs, of how many the
// breaker is open, how many wait for a token, and how many have read the log
// to its end.
func (m *Metrics) Endpoints(running, open, held, caughtUp int) {
	if m == nil {
		return
	}
	m.endpoints.WithLabelValues("running").Set(float64(running))
	m.endpoints.WithLabelValues("open").Set(float64(open))
	m.endpoints.WithLabelValues("held").Set(float64(held))
	m.endpoints.WithLabelValues("caught_up").Set(float64(caughtUp))
}

// TokenRequest counts a request to a token endpoint: it issued a token, it
// refused the credentials, or neither.
func (m *Metrics) TokenRequest(outcome string) {
	if m == nil {
		return
	}
	m.tokens.WithLabelValues(outcome).Inc()
}

// DialRefused counts a connection that the egress rules refused.
func (m *Metrics) DialRefused(rule string) {
	if m == nil {
		return
	}
	m.refusedDials.WithLabelValues(rule).Inc()
}

// Commit counts a group commit: how many changes and results shared it, how
// long it took, and whether it failed.
func (m *Metrics) Commit(rows int, d time.Duration, err error) {
	if m == nil {
		return
	}
	if err != nil {
		m.commits.WithLabelValues("failed").Inc()
		return
	}
	m.commits.WithLabelValues("ok").Inc()
	m.commitSeconds.Observe(d.Seconds())
	m.commitRows.Observe(float64(rows))
}

// Gauge registers a number that is read when the metrics are: the size of the
// write-ahead log, the backlog. The name gets the prefix "consentwire_"; read
// must be quick and safe for several goroutines. It panics when the name is
// taken, which is a mistake in the wiring.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	if m == nil {
		return
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "consentwire_" + name, Help: help}, read))
}

func class(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}
