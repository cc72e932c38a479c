package storetest

import (
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
)

// TestLeaseModel: the model allows what the contract does, and sees a fence
// that is broken.
func TestLeaseModel(t *testing.T) {
	t.Parallel()
	const e = delivery.Endpoint("sub_1")
	op := func(from, to int64, in leaseCall, out leaseAnswer) porcupine.Operation {
		in.endpoint = e
		return porcupine.Operation{Input: in, Output: out, Call: from, Return: to}
	}
	publish := func(from, to int64, n int) porcupine.Operation {
		return op(from, to, leaseCall{do: leasePublish, n: n}, leaseAnswer{})
	}
	open := func(from, to, epoch int64, cursor event.Seq) []porcupine.Operation {
		return []porcupine.Operation{
			op(from, to, leaseCall{do: leaseOpen}, leaseAnswer{epoch: epoch, cursor: cursor}),
			op(from, to, leaseCall{do: leaseLook}, leaseAnswer{cursor: cursor}),
		}
	}
	record := func(from, to, epoch int64, cursor event.Seq, fenced bool) porcupine.Operation {
		return op(from, to, leaseCall{do: leaseRecord, epoch: epoch, cursor: cursor}, leaseAnswer{fenced: fenced})
	}
	backlog := func(from, to int64, n int) porcupine.Operation {
		return op(from, to, leaseCall{do: leaseHealth}, leaseAnswer{backlog: n})
	}
	do := func(from, to int64, d leaseDo) porcupine.Operation {
		return op(from, to, leaseCall{do: d}, leaseAnswer{})
	}
	refused := func(from, to int64) porcupine.Operation {
		return op(from, to, leaseCall{do: leaseOpen}, leaseAnswer{refused: true})
	}
	all := func(parts ...any) (out []porcupine.Operation) {
		for _, p := range parts {
			switch p := p.(type) {
			case porcupine.Operation:
				out = append(out, p)
			case []porcupine.Operation:
				out = append(out, p...)
			}
		}
		return out
	}
	tests := []struct {
		name    string
		history []porcupine.Operation
		right   bool
	}{
		{"one holder records", all(publish(1, 2, 9), open(3, 4, 1, 0), record(5, 6, 1, 7, false), backlog(7, 8, 2)), true},
		{"the cursor does not go back", all(publish(1, 2, 9), open(3, 4, 1, 0), record(5, 6, 1, 7, false), record(7, 8, 1, 3, false), backlog(9, 10, 2)), true},
		{"a former holder is fenced", all(publish(1, 2, 9), open(3, 4, 1, 0), open(5, 6, 2, 0), record(7, 8, 1, 7, true), backlog(9, 10, 9)), true},
		{"two who open at once, either first", all(open(1, 9, 2, 0), open(2, 8, 1, 0), record(10, 11, 1, 0, true), record(12, 13, 2, 0, false)), true},
		{"a record that races with an open, and wins", all(publish(1, 2, 9), open(3, 4, 1, 0), record(5, 9, 1, 7, false), open(6, 8, 2, 7)), true},
		{"a record that races with an open, and loses", all(publish(1, 2, 9), open(3, 4, 1, 0), record(5, 9, 1, 7, true), open(6, 8, 2, 0)), true},
		{"an open that tells what the next holder recorded", all(publish(1, 2, 9), open(3, 9, 1, 7), open(4, 5, 2, 0), record(6, 7, 2, 7, false)), true},
		{"a pause breaks the lease, a resume moves the cursor", all(publish(1, 2, 9), open(3, 4, 1, 0), do(5, 6, leasePause), record(7, 8, 1, 3, true), refused(9, 10), do(11, 12, leaseResume), record(13, 14, 1, 3, true), open(15, 16, 5, 9)), true},
		{"a suspension keeps the cursor", all(publish(1, 2, 9), open(3, 4, 1, 0), op(5, 6, leaseCall{do: leaseSuspend, epoch: 1, cursor: 2}, leaseAnswer{}), backlog(7, 8, 7), do(9, 10, leaseResume), open(11, 12, 4, 2)), true},

		{"a broken fence: a former holder records", all(publish(1, 2, 9), open(3, 4, 1, 0), open(5, 6, 2, 0), record(7, 8, 1, 7, false)), false},
		{"a broken fence: one who is fenced moves the cursor", all(publish(1, 2, 9), open(3, 4, 1, 0), open(5, 6, 2, 0), record(7, 8, 1, 7, true), backlog(9, 10, 2)), false},
		{"a broken fence: two who open at once, and both record", all(open(1, 9, 2, 0), open(2, 8, 1, 0), record(10, 11, 1, 0, false), record(12, 13, 2, 0, false)), false},
		{"a broken fence: a record behind the pause", all(publish(1, 2, 9), open(3, 4, 1, 0), do(5, 6, leasePause), record(7, 8, 1, 3, false)), false},
		{"a broken fence: a record behind the resume", all(publish(1, 2, 9), open(3, 4, 1, 0), do(5, 6, leasePause), do(7, 8, leaseResume), record(9, 10, 1, 3, false)), false},
		{"a broken fence: a record behind the suspension", all(publish(1, 2, 9), open(3, 4, 1, 0), op(5, 6, leaseCall{do: leaseSuspend, epoch: 1}, leaseAnswer{}), record(7, 8, 1, 3, false)), false},
		{"an epoch is given twice", all(open(1, 2, 1, 0), open(3, 4, 1, 0)), false},
		{"an epoch goes back", all(open(1, 2, 2, 0), open(3, 4, 1, 0)), false},
		{"the holder is fenced", all(open(1, 2, 1, 0), record(3, 4, 1, 0, true)), false},
		{"a paused one is opened", all(do(1, 2, leasePause), open(3, 4, 1, 0)), false},
		{"an active one is refused", all(do(1, 2, leasePause), do(3, 4, leaseResume), refused(5, 6)), false},
		{"an open tells a cursor from before its lease", all(publish(1, 2, 9), open(3, 4, 1, 0), record(5, 6, 1, 7, false), open(7, 8, 2, 0)), false},
		{"an open tells a cursor from before it took the lease, within the call", all(publish(1, 2, 9), open(3, 4, 1, 0), record(6, 7, 1, 7, false), open(5, 8, 2, 0)), false},
		{"a cursor goes back", all(publish(1, 2, 9), open(3, 4, 1, 0), record(5, 6, 1, 7, false), record(7, 8, 1, 3, false), backlog(9, 10, 6)), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := porcupine.CheckOperations(leaseModel, tt.history); got != tt.right {
				t.Errorf("got it allowed: %t, want %t\n%s", got, tt.right, &notebook{ops: tt.history})
			}
		})
	}
}
