package delivery_test

import (
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
)

func TestPace_Answered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		took time.Duration
		late int
		want delivery.Pace
	}{
		{"an answer at once", time.Millisecond, 0, delivery.Quick},
		{"just before the limit", delivery.SlowAfter - 1, 0, delivery.Quick},
		{"at the limit", delivery.SlowAfter, 0, delivery.Slow},
		{"an answer at once while another hangs", time.Millisecond, 1, delivery.Slow},
	}
	for _, tt := range tests {
		for _, p := range []delivery.Pace{delivery.Unproven, delivery.Quick, delivery.Slow} {
			if got := p.Answered(tt.took, tt.late); got != tt.want {
				t.Errorf("%s: got pace %d after %d, want %d", tt.name, got, p, tt.want)
			}
		}
	}
}

func TestPace_InFlight(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                   string
		pace                   delivery.Pace
		limit, room, competing int
		want                   int
	}{
		{"who answers has its own limit", delivery.Quick, 64, 10, 100, 64},
		{"who never answered is tried with one", delivery.Unproven, 64, 1000, 0, 1},
		{"a slow one alone has its own limit", delivery.Slow, 64, 1000, 1, 64},
		{"and no more than there is", delivery.Slow, 1024, 1000, 1, 1000},
		{"of several each has its part", delivery.Slow, 64, 1000, 40, 25},
		{"one at least, however many there are", delivery.Slow, 64, 1000, 5000, 1},
		{"nobody has more than its own limit", delivery.Slow, 3, 1000, 2, 3},
	}
	for _, tt := range tests {
		if got := tt.pace.InFlight(tt.limit, tt.room, tt.competing); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestRetrySlots: whatever the limit, neither kind can take everything, and
// together they can.
func TestRetrySlots(t *testing.T) {
	t.Parallel()
	for limit := 1; limit <= 1024; limit++ {
		retries, most := delivery.RetrySlots(limit)
		if retries*8 > limit || limit >= 8 && (retries+1)*8 <= limit {
			t.Errorf("of %d: got %d slots for retries, want an eighth", limit, retries)
		}
		if most < 1 || most < retries || limit > 1 && (most >= limit || limit-most > max(1, limit/8)) {
			t.Errorf("of %d: got at most %d retries, want all but an eighth", limit, most)
		}
	}
}

// TestShare: endpoints that load as much as they may, in any order, stay within
// the total, and when all have had their turn they have about the same.
func TestShare(t *testing.T) {
	t.Parallel()
	const total = 64 << 20
	for _, n := range []int{1, 2, 7, 100, 1000} {
		held := make([]int, n)
		sum := 0
		for round := range 40 {
			for i := range held {
				more := delivery.Share(total, total-sum, held[i], n)
				held[i] += more
				if sum += more; sum > total {
					t.Fatalf("%d endpoints: got %d bytes in round %d, want at most %d", n, sum, round, total)
				}
			}
		}
		for i, h := range held {
			if h > total/n || h < total/n*9/10 {
				t.Errorf("%d endpoints: endpoint %d got %d, want about %d", n, i, h, total/n)
			}
		}
	}
	if got := delivery.Share(total, total/2, total/2, 4); got != 0 {
		t.Errorf("got %d for one that holds more than its share, want 0", got)
	}
}
