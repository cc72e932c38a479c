package subscription

import "time"

// HasCurrent tells whether one of an application's key pairs is current.
func HasCurrent(keys []SigningKey) bool {
	for _, k := range keys {
		if k.ExpiresAt.IsZero() {
			return true
		}
	}
	return false
}

// KeysAt returns the key pairs that sign at now, in their order: the current
// one and those that were rotated less than RotationOverlap ago. At the instant
// ExpiresAt a rotated one no longer signs.
func KeysAt(keys []SigningKey, now time.Time) []SigningKey {
	var out []SigningKey
	for _, k := range keys {
		if k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt) {
			out = append(out, k)
		}
	}
	return out
}

// RotateKeys makes fresh an application's current key pair, at its CreatedAt.
// keys are those it has, newest first. The first result is what now signs,
// newest first; the second, what of it is new or has another end and is to be
// kept, together with those that end at once.
//
// The former current one signs beside the fresh one for RotationOverlap; those
// rotated before keep their end. Of more than ten the oldest end at once.
func RotateKeys(keys []SigningKey, fresh SigningKey) (signing, changed []SigningKey) {
	now := fresh.CreatedAt
	signing, changed = []SigningKey{fresh}, []SigningKey{fresh}
	for _, k := range KeysAt(keys, now) {
		was := k.ExpiresAt
		if was.IsZero() {
			k.ExpiresAt = now.Add(RotationOverlap)
		}
		if len(signing) == maxSigning {
			k.ExpiresAt = now
		} else {
			signing = append(signing, k)
		}
		if !k.ExpiresAt.Equal(was) {
			changed = append(changed, k)
		}
	}
	return signing, changed
}
