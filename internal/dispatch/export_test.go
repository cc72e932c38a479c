package dispatch

// SetWindow sets how many places a window holds. Call it before Run.
func (e *Engine) SetWindow(places int) { e.places = places }
