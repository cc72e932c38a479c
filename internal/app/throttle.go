package app

import (
	"sync"
	"time"
)

// How many wrong secrets are forgiven, and how fast they are forgotten. Ours:
// a person who mistypes notices nothing, a program that guesses gets one try a
// second for a client and ten for an address (RULES 5, API2).
const (
	clientBurst   = 10
	clientRefill  = time.Second
	addressBurst  = 100
	addressRefill = time.Second / 10
	throttleSize  = 10_000 // remembered pairs and addresses
)

// throttle slows wrong secrets down, per client and address and per address.
// Only failures are counted, so nobody is slowed by being right.
type throttle struct {
	mu      sync.Mutex
	clients map[[2]string]time.Time
	addrs   map[string]time.Time
}

func newThrottle() *throttle {
	return &throttle{clients: map[[2]string]time.Time{}, addrs: map[string]time.Time{}}
}

// check returns how long the caller must wait; 0 means it may try.
//
// The state of a key is one instant: when its debt is paid off. Each failure
// adds one refill to it; a debt of a whole burst makes the caller wait.
func (t *throttle) check(at time.Time, client, addr string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(
		over(t.clients[[2]string{client, addr}], at, clientBurst, clientRefill),
		over(t.addrs[addr], at, addressBurst, addressRefill),
	)
}

func (t *throttle) failed(at time.Time, client, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	prune(t.clients, at)
	prune(t.addrs, at)
	owe(t.clients, [2]string{client, addr}, at, clientRefill)
	owe(t.addrs, addr, at, addressRefill)
}

func over(paid, at time.Time, burst int, refill time.Duration) time.Duration {
	// Compared first: the difference to a zero time is the least there is, and
	// nothing can be taken from it.
	if !paid.After(at) {
		return 0
	}
	// One more failure must still fit into the burst.
	return max(0, paid.Sub(at)-time.Duration(burst-1)*refill)
}

func owe[K comparable](m map[K]time.Time, k K, at time.Time, refill time.Duration) {
	from := m[k]
	if from.Before(at) {
		from = at
	}
	m[k] = from.Add(refill)
}

// prune forgets paid debts once there are many, and everything if that does
// not help: memory is bounded before memory of guesses is kept.
func prune[K comparable](m map[K]time.Time, at time.Time) {
	if len(m) < throttleSize {
		return
	}
	for k, paid := range m {
		if !paid.After(at) {
			delete(m, k)
		}
	}
	if len(m) >= throttleSize {
		clear(m)
	}
}
