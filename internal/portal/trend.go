package portal

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/subscription"
)

// trendAttempts is how many of an endpoint's last attempts its trend is made of.
// Ours: what a glance can hold.
const trendAttempts = 40

// trend is how an endpoint's last attempts went, drawn small: a bar for each, as
// high as it took long, and marked when it failed.
type trend struct {
	Known  bool
	Rate   string // of success: "98 %"
	Median string // of the time that attempts took
	Label  string // the same in a sentence, for who does not see it
	Since  moment
	Bars   []bar
	Tone   tone
	Width  int
}

type bar struct {
	X, Y, Height string
	Failed       bool
}

// trends adds how their last attempts went to the items.
func (p *Portal) trends(ctx context.Context, l lang, s session, items []endpointItem) error {
	if len(items) == 0 {
		return nil
	}
	ids := make([]subscription.ID, len(items))
	for i, it := range items {
		ids[i] = subscription.ID(it.ID)
	}
	pulses, err := p.store.Pulses(ctx, s.app, ids, trendAttempts)
	if err != nil {
		return err
	}
	for i := range items {
		items[i].Trend = l.trend(pulses[ids[i]])
	}
	return nil
}

// trend draws attempts, the newest first.
func (l lang) trend(list []delivery.Pulse) trend {
	if len(list) == 0 {
		return trend{}
	}
	const step, height = 4, 24.0
	ok, longest := 0, time.Millisecond
	var times []time.Duration
	for _, a := range list {
		longest = max(longest, a.Duration)
		if a.Delivered {
			ok++
		}
		times = append(times, a.Duration)
	}
	t := trend{Known: true, Rate: percent(ok, len(list)), Median: took(median(times)), Since: l.at(list[len(list)-1].At), Width: step * len(list), Tone: good}
	switch {
	case ok == 0:
		t.Tone = bad
	case ok < len(list):
		t.Tone = warn
	}
	t.Label = l.t("Of the last %d attempts %s were accepted; in the middle they took %s.", len(list), t.Rate, t.Median)
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
	for i, a := range list {
		h := 2 + (height-2)*math.Log1p(float64(a.Duration)/float64(time.Millisecond))/math.Log1p(float64(longest)/float64(time.Millisecond))
		x := float64(step * (len(list) - 1 - i))
		t.Bars = append(t.Bars, bar{num(x), num(height - h), num(h), !a.Delivered})
	}
	return t
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// percent writes a part of a whole; only all of it is 100 %.
func percent(part, whole int) string {
	f := 100 * float64(part) / float64(max(whole, 1))
	if part < whole {
		f = min(f, 99.9)
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + " %"
}
