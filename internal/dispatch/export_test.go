package dispatch

// SetWindow sets how many places a window holds. Call it before Run.
func (e *Engine) SetWindow(places int) { e.places = places }

// SetSlots sets how many requests may be on the wire of endpoints that answer
// quickly, of those that have not answered yet, and of the slow. Call it before
// Run.
func (e *Engine) SetSlots(quick, unproven, slow int) { e.slots = [paces]int{unproven, quick, slow} }

// Loaded is how many bytes of events are loaded.
func (e *Engine) Loaded() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bytes
}

// GiveBack makes the engine give back what it has loaded and not touched.
func (e *Engine) GiveBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runners {
		if r.state == open {
			r.unread()
			e.kick(r)
		}
	}
}

// Runners is how many endpoints, or parts of endpoints, are being seen to.
func (e *Engine) Runners() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.runners)
}
