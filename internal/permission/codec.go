package permission

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The form in which transactions and Standings are kept: a version, then the
// members in a fixed order; texts and lists behind their length, numbers as
// varints, times in Unix milliseconds. It is ours, is sealed by whoever keeps
// it, and leaves the program in no other way. A change of the order is a new
// version; the former ones stay readable.
const formVersion = 1

// errDamaged tells that what was kept is not what was written.
var errDamaged = errors.New("the data is damaged")

// Encode returns the form in which a transaction is kept.
func (t Transaction) Encode() []byte {
	w := writer{append(make([]byte, 0, 256), formVersion)}
	w.texts(string(t.Citizen), string(t.Reverts))
	w.origin(t.Origin)
	w.number(int64(len(t.Entries)))
	for i := range t.Entries {
		w.entry(&t.Entries[i])
	}
	w.number(int64(len(t.Choices)))
	for i := range t.Choices {
		w.choice(&t.Choices[i])
	}
	w.number(int64(len(t.Told)))
	w.texts(t.Told...)
	return w.b
}

// DecodeTransaction reads what Transaction.Encode returned. Its error is about
// data that is damaged, and is nobody's fault outside.
func DecodeTransaction(data []byte) (Transaction, error) {
	r := open(data)
	t := Transaction{Citizen: CitizenID(r.text()), Reverts: TransactionID(r.text()), Origin: new(Origin)}
	*t.Origin = r.origin()
	if n := r.length(); n > 0 {
		t.Entries = make([]Entry, n)
		for i := range t.Entries {
			t.Entries[i] = r.entry()
			t.Entries[i].Origin = t.Origin
		}
	}
	if n := r.length(); n > 0 {
		t.Choices = make([]Choice, n)
		for i := range t.Choices {
			t.Choices[i] = r.choice()
			t.Choices[i].Origin = t.Origin
		}
	}
	for range r.length() {
		t.Told = append(t.Told, r.text())
	}
	if err := r.close(); err != nil {
		return Transaction{}, fmt.Errorf("read transaction: %w", err)
	}
	return t, nil
}

// Encode returns the form in which a Standing is kept. Entries and choices name
// their origin, and lines their entries, by place.
func (s Standing) Encode() []byte {
	var origins []*Origin
	var entries []*Entry
	places := make(map[TransactionID]int, len(s.lines))
	numbers := make(map[*Entry]int, len(s.lines))
	see := func(o *Origin) {
		if _, seen := places[o.Transaction]; !seen {
			places[o.Transaction] = len(origins)
			origins = append(origins, o)
		}
	}
	keep := func(e *Entry) {
		if _, seen := numbers[e]; e != nil && !seen {
			numbers[e] = len(entries)
			entries = append(entries, e)
			see(e.Origin)
		}
	}
	for _, l := range s.lines {
		for _, g := range l.ahead {
			keep(g.entry)
		}
		keep(l.last)
	}
	for _, a := range s.answers {
		see(a.choice.Origin)
	}

	w := writer{append(make([]byte, 0, 128+128*len(entries)), formVersion)}
	w.time(s.AsOf)
	w.number(int64(len(origins)))
	for _, o := range origins {
		w.origin(o)
	}
	w.number(int64(len(entries)))
	for _, e := range entries {
		w.number(int64(places[e.Origin.Transaction]))
		w.entry(e)
	}
	w.number(int64(len(s.lines)))
	for _, l := range s.lines {
		w.texts(string(l.option))
		w.number(int64(len(l.ahead)))
		for _, g := range l.ahead {
			w.number(g.from, g.until, int64(numbers[g.entry]))
		}
		last := 0 // none
		if l.last != nil {
			last = 1 + numbers[l.last]
		}
		w.number(int64(last))
	}
	w.number(int64(len(s.answers)))
	for _, a := range s.answers {
		w.number(int64(places[a.choice.Origin.Transaction]))
		w.choice(a.choice)
		w.flag(a.unset)
	}
	return w.b
}

// DecodeStanding reads what Standing.Encode returned; nothing at all is the
// zero Standing. Its error is about data that is damaged, and is nobody's fault
// outside.
func DecodeStanding(data []byte) (Standing, error) {
	if len(data) == 0 {
		return Standing{}, nil
	}
	r := open(data)
	s := Standing{AsOf: r.time()}
	origins := make([]Origin, r.length())
	for i := range origins {
		origins[i] = r.origin()
	}
	entries := make([]Entry, r.length())
	for i := range entries {
		o := r.place(len(origins))
		if entries[i] = r.entry(); o >= 0 {
			entries[i].Origin = &origins[o]
		}
	}
	s.lines = make([]line, r.length())
	for i := range s.lines {
		l := line{option: OptionID(r.text())}
		l.ahead = make([]segment, r.length())
		for k := range l.ahead {
			l.ahead[k] = segment{from: r.number(), until: r.number()}
			if e := r.place(len(entries)); e >= 0 {
				l.ahead[k].entry = &entries[e]
			}
		}
		if e := r.place(1 + len(entries)); e > 0 {
			l.last = &entries[e-1]
		}
		s.lines[i] = l
	}
	s.answers = make([]answer, r.length())
	choices := make([]Choice, len(s.answers))
	for i := range choices {
		o := r.place(len(origins))
		if choices[i] = r.choice(); o >= 0 {
			choices[i].Origin = &origins[o]
		}
		s.answers[i] = answer{&choices[i], r.flag()}
	}
	if err := r.close(); err != nil {
		return Standing{}, fmt.Errorf("read standing: %w", err)
	}
	return s, nil
}

// writer appends to b.
type writer struct{ b []byte }

func (w *writer) number(ns ...int64) {
	for _, n := range ns {
		w.b = binary.AppendVarint(w.b, n)
	}
}

func (w *writer) texts(ss ...string) {
	for _, s := range ss {
		w.b = append(binary.AppendVarint(w.b, int64(len(s))), s...)
	}
}

func (w *writer) flag(f bool) {
	if f {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *writer) time(t time.Time) {
	w.flag(!t.IsZero())
	if !t.IsZero() {
		w.number(t.UnixMilli())
	}
}

func (w *writer) origin(o *Origin) {
	w.texts(string(o.Transaction), string(o.Policy), o.PolicyRef, string(o.Statement), o.StatementRef, o.Channel, o.Campaign)
	w.texts(o.Actor.By, o.Actor.ByName, o.Actor.Client, o.Actor.ClientName, o.Actor.Authority, o.Actor.AuthorityName)
	w.number(int64(o.PolicyVersion), int64(o.StatementVersion), o.RecordedAt.UnixMilli())
}

func (w *writer) entry(e *Entry) {
	w.texts(string(e.Option), string(e.Group), string(e.Justification), string(e.State))
	w.number(int64(e.Place), e.ObtainedAt.UnixMilli(), e.ValidFrom.UnixMilli())
	w.time(e.ValidUntil)
}

func (w *writer) choice(c *Choice) {
	w.texts(c.Preference, c.Label)
	w.number(int64(c.Place), c.ObtainedAt.UnixMilli(), int64(len(c.Chosen)))
	for _, a := range c.Chosen {
		w.texts(a.Reference, a.Label)
	}
}

// reader takes from s, of which its texts are parts, and notes when that does
// not go; what it returns then is not to be used.
type reader struct {
	s   string
	bad bool
}

func open(data []byte) *reader {
	if len(data) == 0 || data[0] != formVersion {
		return &reader{bad: true}
	}
	return &reader{s: string(data[1:])}
}

// close returns an error unless everything was read, and as it was written.
func (r *reader) close() error {
	if r.bad || r.s != "" {
		return errDamaged
	}
	return nil
}

func (r *reader) number() int64 {
	var u uint64
	for i := range min(len(r.s), binary.MaxVarintLen64) {
		c := r.s[i]
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.s = r.s[i+1:]
			n := int64(u >> 1) //#nosec G115 -- zigzag: the half that is left fits
			if u&1 != 0 {
				n = ^n
			}
			return n
		}
	}
	r.bad, r.s = true, ""
	return 0
}

// length returns a number that what is left can hold: each element takes a
// byte at least.
func (r *reader) length() int {
	n := r.number()
	if n < 0 || n > int64(len(r.s)) {
		r.bad, r.s = true, ""
		return 0
	}
	return int(n)
}

// place returns a place in a list of so many; -1 when there is none such.
func (r *reader) place(of int) int {
	n := r.number()
	if n < 0 || n >= int64(of) {
		r.bad = true
		return -1
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.length()
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) flag() bool {
	if r.s == "" {
		r.bad = true
		return false
	}
	f := r.s[0]
	r.s = r.s[1:]
	r.bad = r.bad || f > 1
	return f == 1
}

func (r *reader) time() time.Time {
	if !r.flag() {
		return time.Time{}
	}
	return r.instant()
}

func (r *reader) instant() time.Time { return time.UnixMilli(r.number()).UTC() }

func (r *reader) origin() Origin {
	return Origin{
		Transaction: TransactionID(r.text()),
		Policy:      PolicyID(r.text()), PolicyRef: r.text(),
		Statement: StatementID(r.text()), StatementRef: r.text(),
		Channel: r.text(), Campaign: r.text(),
		Actor:         Actor{By: r.text(), ByName: r.text(), Client: r.text(), ClientName: r.text(), Authority: r.text(), AuthorityName: r.text()},
		PolicyVersion: int(r.number()), StatementVersion: int(r.number()), RecordedAt: r.instant(),
	}
}

func (r *reader) entry() Entry {
	return Entry{
		Option: OptionID(r.text()), Group: GroupID(r.text()), Justification: Justification(r.text()), State: State(r.text()),
		Place: int(r.number()), ObtainedAt: r.instant(), ValidFrom: r.instant(), ValidUntil: r.time(),
	}
}

func (r *reader) choice() Choice {
	c := Choice{Preference: r.text(), Label: r.text(), Place: int(r.number()), ObtainedAt: r.instant()}
	if n := r.length(); n > 0 {
		c.Chosen = make([]Alternative, n)
		for i := range c.Chosen {
			c.Chosen[i] = Alternative{r.text(), r.text()}
		}
	}
	return c
}
