package app

import "sync"

// running remembers which keyed requests are being carried out by this node.
type running struct {
	mu   sync.Mutex
	keys map[[3]string]struct{}
}

func newRunning() *running { return &running{keys: map[[3]string]struct{}{}} }

// begin claims a key until done is called; ok is false when it is taken.
func (r *running) begin(app, route, key string) (done func(), ok bool) {
	k := [3]string{app, route, key}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.keys[k]; taken {
		return nil, false
	}
	r.keys[k] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.keys, k)
	}, true
}
