package storetest_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/storetest"
	"github.com/consentwire/consentwire/internal/subscription"
)

// memory is as much of a store as these tests need.
type memory struct {
	store.Store
	tx                              store.Tx
	ran, committed, recorded, saved int
}

func (m *memory) Update(_ context.Context, fn func(store.Tx) error) error {
	m.ran++
	if err := fn(m.tx); err != nil {
		return err
	}
	m.committed++
	return nil
}

func (m *memory) Record(_ context.Context, batch []delivery.Progress) ([]delivery.Outcome, error) {
	m.recorded++
	return make([]delivery.Outcome, len(batch)), nil
}

func (m *memory) SaveToken(context.Context, delivery.Endpoint, subscription.Token) error {
	m.saved++
	return nil
}

func (m *memory) Token(context.Context, delivery.Endpoint) (subscription.Token, error) {
	return subscription.Token{}, nil
}

func (m *memory) Rewrap(context.Context) (int, error) { return 7, nil }

func (m *memory) Applications(context.Context, int, int) ([]access.Application, int, error) {
	return []access.Application{{ID: "app_1"}}, 1, nil
}

func TestFaulty(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		after  bool
		takes  int // of three updates, how many took effect
		record int
	}{
		{"before it takes effect", false, 2, 0},
		{"after it took effect, the answer lost", true, 3, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &memory{}
			f := storetest.NewFaulty(m)
			f.FailAt("Update", 2, tt.after)
			for i := range 3 {
				err := f.Update(t.Context(), func(store.Tx) error { return nil })
				if want := i == 1; (fault.CodeOf(err) == storetest.Injected) != want || (err != nil) != want {
					t.Errorf("update %d: got %v, want it failed: %t", i+1, err, want)
				}
			}
			if m.committed != tt.takes {
				t.Errorf("got %d updates that took effect, want %d", m.committed, tt.takes)
			}
			f.FailAt("Record", 1, tt.after)
			out, err := f.Record(t.Context(), make([]delivery.Progress, 2))
			if fault.KindOf(err) != fault.Unavailable || out != nil || m.recorded != tt.record {
				t.Errorf("got %v, %v, recorded %d times, want a fault, nothing, %d", out, err, m.recorded, tt.record)
			}
			if out, err := f.Record(t.Context(), make([]delivery.Progress, 2)); len(out) != 2 || err != nil {
				t.Errorf("the next call: got %v, %v, want two outcomes", out, err)
			}
			if c := f.Calls(); c["Update"] != 3 || c["Record"] != 2 || c["Read"] != 0 {
				t.Errorf("got calls %v, want 3 of Update and 2 of Record", c)
			}
		})
	}
}

// call calls a method with arguments that are all zero and returns its error.
func call(v reflect.Value, name string) error {
	m := v.MethodByName(name)
	var args []reflect.Value
	for in := range m.Type().Ins() {
		args = append(args, reflect.Zero(in))
	}
	do := m.Call
	if m.Type().IsVariadic() {
		do = m.CallSlice
	}
	out := do(args)
	err, _ := out[len(out)-1].Interface().(error)
	return err
}

// TestFaulty_failsEveryCall: a method that is added to the contract, to Engine,
// Reader or Tx, and not to Faulty makes this red.
func TestFaulty_failsEveryCall(t *testing.T) {
	t.Parallel()
	m := &memory{}
	f := storetest.NewFaulty(m)
	check := func(t *testing.T, name string, v reflect.Value, method string) {
		t.Helper()
		f.FailAt(name, 1, false) // whatever is passed on panics, for there is nothing behind
		if err := call(v, method); fault.CodeOf(err) != storetest.Injected {
			t.Errorf("got %v, want a fault", err)
		}
		if n := f.Calls()[name]; n == 0 {
			t.Errorf("the call is not counted as %q", name)
		}
	}
	for m := range reflect.TypeFor[store.Store]().Methods() {
		if m.Name == "Watch" || m.Name == "Close" {
			continue
		}
		t.Run(m.Name, func(t *testing.T) { check(t, m.Name, reflect.ValueOf(f), m.Name) })
	}
	for m := range reflect.TypeFor[store.Tx]().Methods() {
		t.Run(storetest.TxCall+m.Name, func(t *testing.T) {
			err := f.Update(t.Context(), func(tx store.Tx) error {
				check(t, storetest.TxCall+m.Name, reflect.ValueOf(tx), m.Name)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFaulty_tokens(t *testing.T) {
	t.Parallel()
	m := &memory{}
	f := storetest.NewFaulty(m)
	for i, after := range []bool{false, true} {
		f.FailAt("SaveToken", 1, after)
		err := f.SaveToken(t.Context(), "sub_1", subscription.Token{})
		if fault.CodeOf(err) != storetest.Injected || m.saved != i {
			t.Errorf("after %t: got %v, saved %d times, want a fault and %d", after, err, m.saved, i)
		}
	}
	f.FailAt("Token", 1, true)
	if _, err := f.Token(t.Context(), "sub_1"); fault.CodeOf(err) != storetest.Injected {
		t.Errorf("got %v, want a fault", err)
	}
	f.FailAt("Rewrap", 1, true)
	if n, err := f.Rewrap(t.Context()); n != 0 || fault.CodeOf(err) != storetest.Injected {
		t.Errorf("got %d, %v, want nothing but a fault", n, err)
	}
	if n, err := f.Rewrap(t.Context()); n != 7 || err != nil {
		t.Errorf("got %d, %v, want what the store says", n, err)
	}
}

func TestFaulty_reads(t *testing.T) {
	t.Parallel()
	f := storetest.NewFaulty(&memory{})
	as, n, err := f.Applications(t.Context(), 0, 1)
	if len(as) != 1 || n != 1 || err != nil {
		t.Errorf("got %v, %d, %v, want what the store has", as, n, err)
	}
	for _, after := range []bool{false, true} {
		f.FailAt("Applications", 1, after)
		as, n, err = f.Applications(t.Context(), 0, 1)
		if as != nil || n != 0 || fault.CodeOf(err) != storetest.Injected {
			t.Errorf("after %t: got %v, %d, %v, want nothing but a fault", after, as, n, err)
		}
	}
	f.FailAt("Applications", 1, false)
	f.FailAt("Applications", 2, true)
	f.Heal()
	for range 2 {
		if _, _, err := f.Applications(t.Context(), 0, 1); err != nil {
			t.Errorf("healed: got %v, want nil", err)
		}
	}
}

func TestFaulty_RunTwice(t *testing.T) {
	t.Parallel()
	m := &memory{}
	f := storetest.NewFaulty(m)
	f.RunTwice()
	if err := f.Update(t.Context(), func(store.Tx) error { return nil }); err != nil || m.ran != 2 || m.committed != 1 {
		t.Errorf("got %v, run %d times, committed %d, want nil, 2, 1", err, m.ran, m.committed)
	}
	mine := errors.New("mine")
	if err := f.Update(t.Context(), func(store.Tx) error { return mine }); !errors.Is(err, mine) || m.ran != 3 || m.committed != 1 {
		t.Errorf("got %v, run %d times, committed %d, want the function's error and no more", err, m.ran, m.committed)
	}
}

// TestFaulty_within: a call within an Update fails before or after the
// transaction did it.
func TestFaulty_within(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		tx := &countingTx{}
		f := storetest.NewFaulty(&memory{tx: tx})
		f.FailAt(storetest.TxCall+"Publish", 2, after)
		err := f.Update(t.Context(), func(tx store.Tx) error { return errors.Join(tx.Publish(), tx.Publish(), tx.Publish()) })
		want := 2
		if after {
			want = 3
		}
		if fault.CodeOf(err) != storetest.Injected || tx.published != want {
			t.Errorf("after %t: got %v, published %d times, want a fault and %d", after, err, tx.published, want)
		}
	}
}

// countingTx is as much of a transaction as that needs.
type countingTx struct {
	store.Tx
	published int
}

func (c *countingTx) Publish(...event.Event) error {
	c.published++
	return nil
}
