package secret

import (
	"hash/maphash"
	"log/slog"
	"sync"
)

// ways is in how many places a key may stand.
const ways = 4

// Keys keep many opened data keys in little room, 40 bytes each where a Cipher
// takes 1 KiB. What it returns may be a key that was replaced meanwhile: opening
// a record under it then fails, and the caller looks the right one up.
//
// It is safe for use by several goroutines. Where there is no room one of four
// goes, in turn: were it the one that was not used for longest, keys that are used
// one after the other, round and round, would all go before they are used again.
type Keys struct {
	seed maphash.Seed

	mu   sync.Mutex
	keys []kept // sets of ways each
	turn uint   // which of a full set goes
}

type kept struct {
	hash uint64 // 0: nothing is kept here
	key  [KeySize]byte
}

// NewKeys returns an empty one with room for n keys, in sets of four.
func NewKeys(n int) *Keys {
	return &Keys{seed: maphash.MakeSeed(), keys: make([]kept, max(1, n/ways)*ways)}
}

// set returns where a name's key may stand, and the name's hash.
func (k *Keys) set(space int64, name string) ([]kept, uint64) {
	h := (maphash.String(k.seed, name) ^ uint64(space)*0x9e3779b97f4a7c15) | 1 // #nosec G115 -- any number will do
	at := int(h>>1%uint64(len(k.keys)/ways)) * ways                            // #nosec G115 -- below the length
	return k.keys[at : at+ways], h
}

// Get returns the key kept under a name in a space of names; nil: none.
func (k *Keys) Get(space int64, name string) *Cipher {
	set, h := k.set(space, name)
	k.mu.Lock()
	for i := range set {
		if set[i].hash == h {
			key := set[i].key
			k.mu.Unlock()
			return &Cipher{newAEAD(key[:]), key}
		}
	}
	k.mu.Unlock()
	return nil
}

// Put keeps a key under a name.
func (k *Keys) Put(space int64, name string, c *Cipher) {
	set, h := k.set(space, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	at := &set[k.turn%ways]
	for i := range set {
		if set[i].hash == h || set[i].hash == 0 {
			at = &set[i]
			break
		}
	}
	k.turn++
	*at = kept{h, c.key}
}

// Drop forgets a name's.
func (k *Keys) Drop(space int64, name string) {
	set, h := k.set(space, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range set {
		if set[i].hash == h {
			last := ways - 1
			for set[last].hash == 0 {
				last--
			}
			set[i], set[last] = set[last], kept{}
			return
		}
	}
}

// String returns a fixed mask.
func (*Keys) String() string { return masked }

// GoString returns a fixed mask.
func (*Keys) GoString() string { return masked }

// LogValue returns a fixed mask.
func (*Keys) LogValue() slog.Value { return slog.StringValue(masked) }
