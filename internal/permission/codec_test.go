package permission_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

// kept returns a transaction and a Standing with a bit of everything.
func kept(t testing.TB) (permission.Transaction, permission.Standing) {
	t.Helper()
	r := request(
		change(of("group", "grp-bcx"), times(nil, nil, ptr(time.Hour))),
		change(says("legitimate-interest", "OBJECTED"), times(ptr(-time.Hour), ptr(2*time.Hour), ptr(3*time.Hour))),
		change(times(nil, nil, ptr(90*time.Minute))),
	)
	r.Preferences = []permission.ChoiceDraft{picks("topics", "topics_rock", "topics_jazz"), picks("pace")}
	r.PolicyRef, r.StatementID, r.Channel, r.RecordedName = ptr("privacy-2026"), ptr("ps-8"), ptr("web"), ptr("Ana\u2028")
	txn, fs := r.Transaction(basis("txn-1", t0), catalogue())
	if len(fs) > 0 {
		t.Fatal(places(fs))
	}
	s, _ := permission.Standing{}.Record(txn, t0)
	s, _ = s.Advance(t0.Add(time.Hour))
	return txn, s
}

// TestDecode_damaged: what is cut off, longer or of another version is refused,
// and so is a place that does not exist; nothing panics.
func TestDecode_damaged(t *testing.T) {
	t.Parallel()
	txn, s := kept(t)
	for name, tt := range map[string]struct {
		good   []byte
		decode func([]byte) error
	}{
		"a transaction": {txn.Encode(), func(b []byte) error { _, err := permission.DecodeTransaction(b); return err }},
		"a standing":    {s.Encode(), func(b []byte) error { _, err := permission.DecodeStanding(b); return err }},
	} {
		if err := tt.decode(tt.good); err != nil {
			t.Fatalf("%s: got %v, want it read", name, err)
		}
		for n := 1; n < len(tt.good); n++ {
			if tt.decode(tt.good[:n]) == nil {
				t.Errorf("%s: got its first %d bytes read, want an error", name, n)
			}
		}
		if tt.decode(append(bytes.Clone(tt.good), 0)) == nil || tt.decode(append([]byte{2}, tt.good[1:]...)) == nil {
			t.Errorf("%s: got it read with a byte more or of another version, want an error", name)
		}
	}
	if s, err := permission.DecodeStanding(nil); err != nil || !s.Next().IsZero() || !s.AsOf.IsZero() {
		t.Errorf("got %+v %v for nothing, want the zero Standing", s, err)
	}
	if s, err := permission.DecodeStanding(permission.Standing{}.Encode()); err != nil || !s.AsOf.IsZero() {
		t.Errorf("got %+v %v for the zero Standing, want it", s, err)
	}
	if _, err := permission.DecodeTransaction(nil); err == nil {
		t.Error("got nothing read as a transaction, want an error")
	}
}

// TestDecode_flipped: whatever one byte is changed to, nothing panics and
// nothing is left without its origin.
func TestDecode_flipped(t *testing.T) {
	t.Parallel()
	_, s := kept(t)
	good, tried, refused := s.Encode(), 0, 0
	for i, c := range good {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff, c - 2, c - 1, c + 1, c + 2, c ^ 0x80} {
			b := bytes.Clone(good)
			b[i] = v
			tried++
			s, err := permission.DecodeStanding(b)
			if err != nil {
				refused++
				continue
			}
			sound(t, s)
		}
	}
	if refused < tried/4 {
		t.Errorf("got %d of %d refused, want a quarter at least", refused, tried)
	}
}

// sound uses whatever a Standing holds.
func sound(t *testing.T, s permission.Standing) {
	t.Helper()
	for _, es := range s.Held() {
		for _, e := range es {
			if e.Origin == nil {
				t.Errorf("got %+v, want an origin", e)
			}
		}
	}
	permission.EffectiveBody(permission.Citizen{}, s.Effective(t0))
	s.Next()
	if again, err := permission.DecodeStanding(s.Encode()); err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
		t.Errorf("got %v, want the same standing", err)
	}
}

// FuzzDecode: whatever was kept is refused, or is what it would be kept as.
func FuzzDecode(f *testing.F) {
	txn, s := kept(f)
	f.Add(txn.Encode())
	f.Add(s.Encode())
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if txn, err := permission.DecodeTransaction(data); err == nil {
			if again, err := permission.DecodeTransaction(txn.Encode()); err != nil || !bytes.Equal(again.Encode(), txn.Encode()) {
				t.Errorf("got %v, want the same transaction", err)
			}
		}
		if s, err := permission.DecodeStanding(data); err == nil {
			sound(t, s)
		}
	})
}
