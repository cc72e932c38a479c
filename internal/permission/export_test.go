package permission

// Held returns the entries that a Standing holds, by option: those ahead
// without repetition, then the last one.
func (s Standing) Held() map[OptionID][]Entry {
	held := make(map[OptionID][]Entry)
	for _, l := range s.lines {
		held[l.option] = nil
		seen := map[*Entry]bool{}
		keep := func(e *Entry) {
			if e != nil && !seen[e] {
				seen[e] = true
				held[l.option] = append(held[l.option], *e)
			}
		}
		for _, g := range l.ahead {
			keep(g.entry)
		}
		keep(l.last)
	}
	return held
}
