package load

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
)

// deadEndpoint has one of ten endpoints at an address where nobody listens.
func deadEndpoint(ctx context.Context, b *Bench) ([]Row, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	url := "http://" + l.Addr().String() + "/"
	if err := l.Close(); err != nil {
		return nil, err
	}
	return b.beside(ctx, "deliveries-beside-a-dead-endpoint", "1 of 10 endpoints refuses the connection", func(*target) string { return url })
}

// slowEndpoint has one of ten endpoints that answers in 10 s.
func slowEndpoint(ctx context.Context, b *Bench) ([]Row, error) {
	return b.beside(ctx, "deliveries-beside-a-slow-endpoint", "1 of 10 endpoints answers in 10 s", func(t *target) string { return t.url(pathSlow) })
}

// beside compares the rate of nine endpoints beside an odd one with that of ten
// that are well: nine tenths of it is what the nine had.
func (b *Bench) beside(ctx context.Context, name, what string, odd func(*target) string) ([]Row, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	events := pick(b.quick, 30_000, 120_000)
	var backlogs [2]*backlog
	for i, url := range []string{"", odd(t)} {
		backlogs[i] = &backlog{events: events, endpoints: 10, url: t.url(pathAccept), odd: url}
		if err := b.prepare(ctx, fmt.Sprintf("beside-%d", i), backlogs[i]); err != nil {
			return nil, err
		}
		defer os.RemoveAll(backlogs[i].dir)
	}
	var ratios []float64
	for range b.pairs() {
		var ws [2]window
		for i, l := range backlogs {
			if ws[i], err = b.runEngine(ctx, l, t, b.halfTime()); err != nil {
				return nil, err
			}
		}
		ratios = append(ratios, ws[1].rate/(0.9*ws[0].rate))
		fmt.Fprintf(os.Stderr, "bench: nine beside the odd one %.0f/s; ten that are well %.0f/s\n", ws[1].rate, ws[0].rate)
	}
	return []Row{AtLeast(name, median(ratios), barHealthy, "of the healthy endpoints' rate",
		fmt.Sprintf("%s; %s; %d pairs %.2f..%.2f", load(10, events), what, len(ratios), slices.Min(ratios), slices.Max(ratios)))}, nil
}
