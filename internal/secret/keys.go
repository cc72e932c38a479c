package secret

import (
	"hash/maphash"
	"log/slog"
	"sync"
)

// Keys keep many opened data keys in little room, about 50 bytes each where a
// Cipher takes 1 KiB. What it returns may be the key of another name, or one
// that was replaced meanwhile: opening a record under it then fails, and the
// caller looks the right one up. It must not be used to seal.
//
// It is safe for use by several goroutines. When it is full the half that was
// not used for longest goes.
type Keys struct {
	seed maphash.Seed
	half int

	mu         sync.Mutex
	young, old map[uint64][KeySize]byte
}

// NewKeys returns an empty one that holds up to n keys.
func NewKeys(n int) *Keys {
	return &Keys{seed: maphash.MakeSeed(), half: n / 2, young: make(map[uint64][KeySize]byte)}
}

func (k *Keys) hash(space int64, name string) uint64 {
	return maphash.String(k.seed, name) ^ uint64(space)*0x9e3779b97f4a7c15 // #nosec G115 -- any number will do
}

// Get returns the key kept under a name in a space of names; nil: none.
func (k *Keys) Get(space int64, name string) *Cipher {
	h := k.hash(space, name)
	k.mu.Lock()
	key, ok := k.young[h]
	if !ok {
		if key, ok = k.old[h]; ok {
			k.add(h, key)
		}
	}
	k.mu.Unlock()
	if !ok {
		return nil
	}
	return &Cipher{newAEAD(key[:]), key}
}

// Put keeps a key under a name.
func (k *Keys) Put(space int64, name string, c *Cipher) {
	h := k.hash(space, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(h, c.key)
}

// Drop forgets a name's.
func (k *Keys) Drop(space int64, name string) {
	h := k.hash(space, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.young, h)
	delete(k.old, h)
}

func (k *Keys) add(h uint64, key [KeySize]byte) {
	if len(k.young) >= k.half {
		k.young, k.old = k.old, k.young
		clear(k.young)
		if k.young == nil {
			k.young = make(map[uint64][KeySize]byte)
		}
	}
	k.young[h] = key
}

// String returns a fixed mask.
func (*Keys) String() string { return masked }

// GoString returns a fixed mask.
func (*Keys) GoString() string { return masked }

// LogValue returns a fixed mask.
func (*Keys) LogValue() slog.Value { return slog.StringValue(masked) }
