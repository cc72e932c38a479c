package app

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(3, time.Second)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		if err := l.take("a", at); err != nil {
			t.Fatalf("use %d: got %v, want none", i+1, err)
		}
	}
	f, is := errors.AsType[*fault.Error](l.take("a", at.Add(400*time.Millisecond)))
	if !is || f.Kind != fault.TooMany || f.RetryAfter != 600*time.Millisecond {
		t.Errorf("got %v, want too many and a wait of 600ms", f)
	}
	if err := l.take("b", at); err != nil {
		t.Errorf("another key: got %v, want none", err)
	}
	if err := l.take("a", at.Add(time.Second)); err != nil {
		t.Errorf("after a refill: got %v, want none", err)
	}
	if err := l.take("a", at.Add(time.Second)); err == nil {
		t.Error("after one refill two uses passed, want one")
	}
	for i := range 3 * limiterSize {
		_ = l.take(strconv.Itoa(i), at)
	}
	if n := len(l.paid); n > limiterSize {
		t.Errorf("got %d keys remembered, want at most %d", n, limiterSize)
	}
}
