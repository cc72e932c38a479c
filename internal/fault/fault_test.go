package fault_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	conflict := fault.New(fault.Conflict, "busy", "It is busy.")
	tests := []struct {
		name string
		err  error
		kind fault.Kind
		code string
	}{
		{"no error", nil, fault.Internal, ""},
		{"an error that nobody classified", errors.New("disk"), fault.Internal, ""},
		{"a fault", conflict, fault.Conflict, "busy"},
		{"a wrapped fault", fmt.Errorf("approve: %w", conflict), fault.Conflict, "busy"},
		{"a fault among others", errors.Join(errors.New("disk"), conflict), fault.Conflict, "busy"},
		{"the outer of two", fault.Wrap(fault.Unavailable, "store_failed", "Try later.", conflict), fault.Unavailable, "store_failed"},
		{"a zero kind", &fault.Error{Code: "x"}, fault.Internal, "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if k, c := fault.KindOf(tt.err), fault.CodeOf(tt.err); k != tt.kind || c != tt.code {
				t.Errorf("got %d %q, want %d %q", k, c, tt.kind, tt.code)
			}
		})
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	cause := errors.New("fsync: no space")
	e := fault.Wrap(fault.Unavailable, "store_failed", "Try later.", cause)
	if got, want := e.Error(), "store_failed: Try later.: fsync: no space"; got != want || !errors.Is(e, cause) {
		t.Errorf("got %q, want %q with its cause", got, want)
	}
	if strings.Contains(e.Msg, "fsync") {
		t.Errorf("got the cause in the sentence for the caller: %q", e.Msg)
	}
	at := fault.At(fault.Invalid, "too_long", "/name", "At most 50 characters.")
	if got, want := at.Error(), "too_long: At most 50 characters. (/name)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []fault.Field{{Path: "/name", Code: "too_long", Msg: "At most 50 characters."}}; !reflect.DeepEqual(at.Fields, want) || at.Field != "/name" {
		t.Errorf("got %v at %q, want %v", at.Fields, at.Field, want)
	}
}

func TestInvalidFields(t *testing.T) {
	t.Parallel()
	a, b := fault.Field{Path: "/a", Code: "required", Msg: "Give a."}, fault.Field{Path: "/b", Code: "too_long", Msg: "Shorten b."}
	if err := fault.InvalidFields(nil); err != nil {
		t.Errorf("no field: got %v, want nil", err)
	}
	tests := []struct {
		name   string
		fields []fault.Field
		msg    string
	}{
		{"one field speaks for itself", []fault.Field{a}, "Give a."},
		{"several are all named", []fault.Field{b, a}, "Several fields of the request are faulty."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := &fault.Error{Kind: fault.Invalid, Code: "invalid_request", Msg: tt.msg, Field: tt.fields[0].Path, Fields: tt.fields}
			if got := fault.InvalidFields(tt.fields); !reflect.DeepEqual(got, error(want)) {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

func TestError_With(t *testing.T) {
	t.Parallel()
	e := fault.New(fault.Conflict, "busy", "It is busy.")
	one := e.With("a", "1")
	two := one.With("b", "2")
	other := two.With("a", "3")
	if e.Details != nil || len(one.Details) != 1 || !reflect.DeepEqual(two.Details, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("got %v, %v, %v, want one more each time and the former unchanged", e.Details, one.Details, two.Details)
	}
	if !reflect.DeepEqual(other.Details, map[string]string{"a": "3", "b": "2"}) || other.Kind != fault.Conflict {
		t.Errorf("got %v, want the newer value", other.Details)
	}
}
