package portal

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
)

// plotted is a length of time that the plots of the start page may show.
type plotted struct {
	name  string // in the address
	from  string // how its beginning is written
	span  delivery.Span
	spans int // bars
}

// plottedTimes are those that may be shown, the first one unless told otherwise.
var plottedTimes = []plotted{
	{"hour", "15:04", delivery.Minutely, 60},
	{"day", "2006-01-02 15:04", delivery.Quarters, 96},
	{"month", "2006-01-02", delivery.SixHours, 120},
}

func (t plotted) words(l lang) string {
	switch t.name {
	case "day":
		return l.t("Day")
	case "month":
		return l.t("Month")
	default:
		return l.t("Hour")
	}
}

// plots are what became of an application's deliveries over a time.
type plots struct {
	Times  []plottedTime
	Failed bool
	Charts []chart
	From   string
}

type plottedTime struct {
	Name, Title string
	Shown       bool
}

// chart is one plot: its figure in words, and a bar for each span of time. What a
// bar shows is written in its title.
type chart struct {
	Title, Figure, Note string
	Top                 string // what the highest bar stands for
	BarWidth            string
	Bars                []plotBar
}

type plotBar struct {
	X, Y, Height string
	Tone         tone   // empty: the plain one
	Text         string // empty: it belongs to the bar before it
}

// The size of a plot in its own units. Ours.
const (
	plotWidth  = 480
	plotHeight = 72
)

// plots reads and draws the tallies of the time of that name.
func (p *Portal) plots(ctx context.Context, l lang, s session, name string, now time.Time) (plots, error) {
	shown := plottedTimes[0]
	for _, t := range plottedTimes {
		if t.name == name {
			shown = t
		}
	}
	out := plots{}
	for _, t := range plottedTimes {
		out.Times = append(out.Times, plottedTime{t.name, t.words(l), t.name == shown.name})
	}
	long := time.Duration(shown.span)
	from := shown.span.Begin(now).Add(-time.Duration(shown.spans-1) * long)
	list, err := p.store.Tallies(ctx, s.app, shown.span, from)
	if err != nil {
		return out, err
	}
	out.From, out.Charts = from.Format(shown.from), l.charts(shown, from, now, list)
	return out, nil
}

// charts draws tallies: one bar for each span from the first on.
func (l lang) charts(shown plotted, from, now time.Time, list []delivery.Tally) []chart {
	long := time.Duration(shown.span)
	spans := make([]delivery.Tally, shown.spans)
	var all delivery.Tally
	for i := range list {
		if k := int(list[i].At.Sub(from) / long); k >= 0 && k < len(spans) {
			spans[k].Merge(&list[i])
			all.Merge(&list[i])
		}
	}
	for i := range spans {
		spans[i].At = from.Add(time.Duration(i) * long)
	}
	lasted := func(i int) float64 { // the last span is not over
		return max(min(now.Sub(spans[i].At), long), time.Second).Seconds()
	}
	figure := func(known bool, text string) string {
		if !known {
			return "–"
		}
		return text
	}
	rate := l.draw(spans, func(i int, t *delivery.Tally) []part {
		per := float64(t.Accepted) / lasted(i)
		return []part{{per, "", l.t("%s per second", perSecond(per))}}
	})
	rate.Title, rate.Figure, rate.Note = l.t("Deliveries"), l.number(all.Accepted), l.t("accepted by receivers")
	rate.Top = l.t("%s per second", perSecond(rate.high))

	success := l.draw(spans, func(_ int, t *delivery.Tally) []part {
		failed := t.Sent - t.Accepted
		text := l.t("%s attempts, %s failed", l.number(t.Sent), l.number(failed))
		return []part{{float64(t.Sent), good, text}, {float64(failed), bad, ""}}
	})
	success.Title, success.Figure = l.t("Success"), figure(all.Sent > 0, percent(all.Accepted, all.Sent))
	success.Note = l.t("%s attempts, %s failed", l.number(all.Sent), l.number(all.Sent-all.Accepted))
	if all.Exhausted > 0 {
		success.Note += " · " + l.n(all.Exhausted, "1 delivery given up", "%s deliveries given up")
	}
	success.Top = l.n(int(success.high), "1 attempt", "%s attempts")

	notify := l.draw(spans, func(_ int, t *delivery.Tally) []part {
		return []part{{ms(t.Notify.Quantile(0.99)), quiet, l.within(&t.Notify)}, {ms(t.Notify.Quantile(0.5)), "", ""}}
	})
	n := all.Notify.Count() > 0
	notify.Title, notify.Figure = l.t("Time to notify"), figure(n, took(all.Notify.Quantile(0.5)))
	notify.Note = l.t("half within it")
	if n {
		notify.Note = l.t("half within it, 99 %% within %s", took(all.Notify.Quantile(0.99)))
	}
	notify.Top = took(time.Duration(notify.high * float64(time.Millisecond)))

	backlog := l.draw(spans, func(_ int, t *delivery.Tally) []part {
		return []part{{float64(t.Waiting), warn, l.n(t.Waiting, "1 waited", "%s waited")}}
	})
	backlog.Title, backlog.Figure = l.t("Backlog"), l.number(all.Waiting)
	backlog.Note = l.t("waited at most, without suspended endpoints")
	backlog.Top = l.number(int(backlog.high))
	return []chart{rate.chart, success.chart, notify.chart, backlog.chart}
}

// part is a bar, or what lies before it.
type part struct {
	value float64
	tone  tone
	text  string
}

type drawn struct {
	chart
	high float64
}

// draw makes a chart of what parts says of each span; a part lies before the one
// that it gave first.
func (l lang) draw(spans []delivery.Tally, parts func(i int, t *delivery.Tally) []part) drawn {
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
	step := float64(plotWidth) / float64(len(spans))
	d := drawn{chart: chart{BarWidth: num(step - 1)}}
	all := make([][]part, len(spans))
	for i := range spans {
		all[i] = parts(i, &spans[i])
		for _, p := range all[i] {
			d.high = max(d.high, p.value)
		}
	}
	for i, list := range all {
		at := spans[i].At.Format("15:04")
		if i > 0 && spans[i].At.Sub(spans[i-1].At) > time.Hour {
			at = spans[i].At.Format("2006-01-02 15:04")
		}
		for _, p := range list {
			if p.value <= 0 {
				continue
			}
			h := max(2, p.value/d.high*plotHeight)
			b := plotBar{X: num(float64(i) * step), Y: num(plotHeight - h), Height: num(h), Tone: p.tone}
			if p.text != "" {
				b.Text = at + ": " + p.text
			}
			d.Bars = append(d.Bars, b)
		}
	}
	return d
}

// within tells of times how many of them were how long.
func (l lang) within(t *delivery.Times) string {
	return l.t("half within %s, 99 %% within %s", took(t.Quantile(0.5)), took(t.Quantile(0.99)))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// perSecond writes a rate.
func perSecond(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 1:
		return strconv.FormatFloat(f, 'g', 2, 64)
	case f < 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(math.Round(f), 'f', 0, 64)
}
