package load

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// How long and how often is measured. DESIGN 2 asks for five pairs or more.
func (b *Bench) pairs() int { return pick(b.quick, 3, 5) }

func (b *Bench) halfTime() time.Duration { return pick(b.quick, time.Second, 3*time.Second) }

func (b *Bench) warmup() time.Duration { return pick(b.quick, 500*time.Millisecond, time.Second) }

func pick[T any](quick bool, short, long T) T {
	if quick {
		return short
	}
	return long
}

// paired is what the alternation came to.
type paired struct {
	ratios []float64 // engine to the mean of the bare halves beside it
	bare   []half
	runs   []window
}

// alternate runs the bare loop and an engine in turns, beginning and ending
// with the loop.
func (b *Bench) alternate(ctx context.Context, t *target, l *backlog) (paired, error) {
	var p paired
	var ready string
	c, err := b.start(ctx, &ready, "loop", t.url(pathBare))
	if err != nil {
		return p, err
	}
	defer c.stop()
	if _, err := c.bare(b.warmup()); err != nil {
		return p, err
	}
	before, err := c.bare(b.halfTime())
	if err != nil {
		return p, err
	}
	p.bare = append(p.bare, before)
	for range b.pairs() {
		w, err := b.runEngine(ctx, l, t, b.halfTime())
		if err != nil {
			return p, err
		}
		after, err := c.bare(b.halfTime())
		if err != nil {
			return p, err
		}
		p.runs = append(p.runs, w)
		p.ratios = append(p.ratios, w.rate/((before.rate+after.rate)/2))
		p.bare = append(p.bare, after)
		fmt.Fprintf(os.Stderr, "bench: engine %.0f/s between %.0f/s and %.0f/s: %.2f\n", w.rate, before.rate, after.rate, p.ratios[len(p.ratios)-1])
		before = after
	}
	return p, nil
}

// each returns one figure of every element.
func each[T any](s []T, figure func(T) float64) []float64 {
	out := make([]float64, len(s))
	for i, v := range s {
		out[i] = figure(v)
	}
	return out
}

func median(s []float64) float64 { return quantile(s, 0.5) }

// quantile returns the nearest rank.
func quantile(s []float64, q float64) float64 {
	s = slices.Sorted(slices.Values(s))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func (p paired) conditions(what string) string {
	return fmt.Sprintf("%s; %d pairs %.2f..%.2f, engine %.0f/s, bare loop %.0f/s (medians)", what, len(p.ratios),
		slices.Min(p.ratios), slices.Max(p.ratios),
		median(each(p.runs, func(w window) float64 { return w.rate })),
		median(each(p.bare, func(h half) float64 { return h.rate })))
}

// deliver makes a backlog and measures its delivery in pairs.
func (b *Bench) deliver(ctx context.Context, name, path string, events, endpoints int) (paired, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return paired{}, err
	}
	defer t.stop()
	l := &backlog{events: events, endpoints: endpoints, url: t.url(path)}
	if err := b.prepare(ctx, name, l); err != nil {
		return paired{}, err
	}
	defer os.RemoveAll(l.dir)
	return b.alternate(ctx, t, l)
}

// The bars of the engine. Source: DESIGN 2.
const (
	barRatio    = 0.85
	barAlike    = 0.85 // "within 15 % of the first row": a part of its bar
	barHealthy  = 0.9
	barCPU      = 0.08
	barMemory   = 100
	barFlat     = 1.25 // ours: how much of its early memory an engine may have late
	barChanges  = 0.5
	barP50      = 3
	barP99      = 12
	barDevStart = 2
)

// load describes the engine's load.
func load(endpoints, events int) string {
	return fmt.Sprintf("SQLite synchronous=FULL, %d subscription(s) with %d in flight each, backlog %d each, %d-byte bodies, %d subjects",
		endpoints, perEndpoint(endpoints), events, bodySize, min(subjects, events))
}

func oneSubscription(ctx context.Context, b *Bench) ([]Row, error) {
	events := pick(b.quick, 300_000, 1_500_000)
	p, err := b.deliver(ctx, "one", pathAccept, events, 1)
	if err != nil {
		return nil, err
	}
	what := p.conditions(load(1, events))
	used := median(each(p.runs, func(w window) float64 { return w.cpu }))
	bare := median(each(p.bare, func(h half) float64 { return h.cpu }))
	return []Row{
		AtLeast("deliveries-1-subscription", median(p.ratios), barRatio, "of the bare loop", what),
		AtMost("cpu-per-1000-deliveries", used, barCPU, "s", fmt.Sprintf("store included; the bare loop uses %.3f s", bare)),
		p.memory("memory-backlog", events),
	}, nil
}

// OneSubscription measures deliveries to one subscription, against a bar of its
// own.
func OneSubscription(ctx context.Context, b *Bench, name, where string, bar float64) ([]Row, error) {
	events := pick(b.quick, 200_000, 600_000)
	p, err := b.deliver(ctx, "one", pathAccept, events, 1)
	if err != nil {
		return nil, err
	}
	return []Row{AtLeast(name, median(p.ratios), bar, "of the bare loop",
		p.conditions(fmt.Sprintf("%s, 1 subscription with %d in flight, backlog %d, %d-byte bodies, %d subjects",
			where, perEndpoint(1), events, bodySize, min(subjects, events))))}, nil
}

// memory returns the row of the most memory that any engine had. It is flat
// when no engine had much more late in its window than early.
func (p paired) memory(name string, events int) Row {
	peak, growth := 0.0, 0.0
	for _, w := range p.runs {
		peak, growth = max(peak, w.peak), max(growth, w.late/w.early)
	}
	r := AtMost(name, peak, barMemory, "MiB", fmt.Sprintf("resident, the most of %d runs with a backlog of %d; late/early %.2f", len(p.runs), events, growth))
	r.Bar += fmt.Sprintf(", late/early <= %g", barFlat)
	r.Pass = r.Pass && growth <= barFlat
	return r
}

func tenSubscriptions(ctx context.Context, b *Bench) ([]Row, error) {
	return b.several(ctx, "deliveries-10-subscriptions", 10, pick(b.quick, 30_000, 150_000))
}

func thousandSubscriptions(ctx context.Context, b *Bench) ([]Row, error) {
	return b.several(ctx, "deliveries-1000-subscriptions", 1000, pick(b.quick, 300, 1_500))
}

func (b *Bench) several(ctx context.Context, name string, endpoints, events int) ([]Row, error) {
	p, err := b.deliver(ctx, "several", pathAccept, events, endpoints)
	if err != nil {
		return nil, err
	}
	return []Row{AtLeast(name, median(p.ratios), barRatio*barAlike, "of the bare loop",
		p.conditions(load(endpoints, events)))}, nil
}

func tenMillion(ctx context.Context, b *Bench) ([]Row, error) {
	events := pick(b.quick, 500_000, 10_000_000)
	p, err := b.deliver(ctx, "large", pathAccept, events, 1)
	if err != nil {
		return nil, err
	}
	return []Row{
		AtLeast("deliveries-backlog-10m", median(p.ratios), barRatio*barAlike, "of the bare loop",
			p.conditions(load(1, events))),
		p.memory("memory-backlog-10m", events),
	}, nil
}

// poisonedSubjects compares an engine whose receiver refuses a tenth of the
// subjects with the one that has none of them: the healthy nine tenths keep
// their rate.
func poisonedSubjects(ctx context.Context, b *Bench) ([]Row, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	events := pick(b.quick, 200_000, 1_000_000)
	var backlogs [2]*backlog
	for i, path := range []string{pathAccept, pathPoison} {
		backlogs[i] = &backlog{events: events, endpoints: 1, url: t.url(path)}
		if err := b.prepare(ctx, fmt.Sprintf("poison-%d", i), backlogs[i]); err != nil {
			return nil, err
		}
		defer os.RemoveAll(backlogs[i].dir)
	}
	var ratios []float64
	refused := 0 // in all: once every poisoned subject waits for its retry, none is refused in a window
	for range b.pairs() {
		var ws [2]window
		for i, l := range backlogs {
			if ws[i], err = b.runEngine(ctx, l, t, b.halfTime()); err != nil {
				return nil, err
			}
		}
		refused += int(ws[1].refused)
		// Nine tenths of the clean rate is what the healthy subjects had.
		ratios = append(ratios, ws[1].rate/(0.9*ws[0].rate))
		fmt.Fprintf(os.Stderr, "bench: healthy %.0f/s beside %.0f/s refused; clean %.0f/s\n", ws[1].rate, float64(ws[1].refused)/b.halfTime().Seconds(), ws[0].rate)
	}
	if refused == 0 {
		return nil, fmt.Errorf("no poisoned subject was tried")
	}
	return []Row{AtLeast("deliveries-10-percent-poisoned", median(ratios), barHealthy, "of the healthy subjects' rate",
		fmt.Sprintf("%s, 1 subject in 10 answered 503; %d pairs %.2f..%.2f", load(1, events), len(ratios), slices.Min(ratios), slices.Max(ratios)))}, nil
}
