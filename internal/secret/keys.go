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
	used int    // of them
	most int    // to which number they grow
	turn uint   // which of a full set goes
}

type kept struct {
	hash uint64 // 0: nothing is kept here
	key  [KeySize]byte
}

// firstKeys is for how many keys there is room at first.
const firstKeys = 1024

// NewKeys returns an empty one that grows until there is room for n keys, in sets
// of four.
func NewKeys(n int) *Keys {
	n = max(1, n/ways) * ways
	return &Keys{seed: maphash.MakeSeed(), keys: make([]kept, min(n, firstKeys)), most: n}
}

func (k *Keys) hash(space int64, name string) uint64 {
	return (maphash.String(k.seed, name) ^ uint64(space)*0x9e3779b97f4a7c15) | 1 // #nosec G115 -- any number will do
}

// set returns where the key of a hash may stand.
func (k *Keys) set(h uint64) []kept {
	at := int((h>>1)%uint64(len(k.keys)/ways)) * ways // #nosec G115 -- below the length
	return k.keys[at : at+ways]
}

// grow makes more room, when half of it is used.
func (k *Keys) grow() {
	if k.used < len(k.keys)/2 || len(k.keys) >= k.most {
		return
	}
	old := k.keys
	k.keys, k.used = make([]kept, min(k.most, 2*len(old))), 0
	for _, x := range old {
		if x.hash != 0 {
			k.place(x)
		}
	}
}

// place puts a key where it belongs, and another away where there is no room.
func (k *Keys) place(x kept) {
	set := k.set(x.hash)
	at := &set[k.turn%ways]
	for i := range set {
		if set[i].hash == x.hash || set[i].hash == 0 {
			at = &set[i]
			break
		}
	}
	k.turn++
	if at.hash == 0 {
		k.used++
	}
	*at = x
}

// Get returns the key kept under a name in a space of names; nil: none.
func (k *Keys) Get(space int64, name string) *Cipher {
	h := k.hash(space, name)
	k.mu.Lock()
	set := k.set(h)
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
	h := k.hash(space, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.grow()
	k.place(kept{h, c.key})
}

// Drop forgets a name's.
func (k *Keys) Drop(space int64, name string) {
	h := k.hash(space, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	set := k.set(h)
	for i := range set {
		if set[i].hash == h {
			last := ways - 1
			for set[last].hash == 0 {
				last--
			}
			set[i], set[last] = set[last], kept{}
			k.used--
			return
		}
	}
}

// Clear forgets all.
func (k *Keys) Clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.keys)
	k.used = 0
}

// String returns a fixed mask.
func (*Keys) String() string { return masked }

// GoString returns a fixed mask.
func (*Keys) GoString() string { return masked }

// LogValue returns a fixed mask.
func (*Keys) LogValue() slog.Value { return slog.StringValue(masked) }
