package body_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/fault"
)

// faults returns "path code" of each fault.
func faults(err error) []string {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return nil
	}
	var out []string
	for _, x := range f.Fields {
		out = append(out, x.Path+" "+x.Code)
	}
	return out
}

func object(t *testing.T, s string) *body.Object {
	t.Helper()
	o, err := body.ParseObject([]byte(s))
	if err != nil {
		t.Fatalf("parse %s: %v", s, err)
	}
	return o
}

func TestObject_notesFaults(t *testing.T) {
	t.Parallel()
	str := func(p body.Presence, rules ...body.Rule) func(*body.Object) {
		return func(o *body.Object) { o.Str("a", p, rules...) }
	}
	integer := func(o *body.Object) { o.Int("a", body.Required, 1, 60) }
	instant := func(o *body.Object) { o.Time("a", body.Required) }
	tests := []struct {
		name, body string
		read       func(*body.Object)
		want       string
	}{
		{"a required text that is absent", `{}`, str(body.Required), "/a required"},
		{"a required text that is null", `{"a":null}`, str(body.Required), "/a required"},
		{"an optional text that is null", `{"a":null}`, str(body.Optional), ""},
		{"a text that is a number", `{"a":1}`, str(body.Optional), "/a wrong_type"},
		{"a text that is an array", `{"a":["x"]}`, str(body.Required), "/a wrong_type"},
		{"a text under another case of letters", `{"A":"x"}`, str(body.Optional), "/A unknown_member"},
		{"a name with a long s", `{"pa` + "\u017f" + `s":"x"}`, func(o *body.Object) { o.Str("pass", body.Optional) }, "/pa\u017fs unknown_member"},
		{"a text with too few characters", `{"a":""}`, str(body.Required, body.Chars(1, 5)), "/a too_short"},
		{"a text with too many characters", `{"a":"éééééé"}`, str(body.Required, body.Chars(1, 5)), "/a too_long"},
		{"a text of as many characters as may be", `{"a":"😀😀😀😀😀"}`, str(body.Required, body.Chars(1, 5)), ""},
		{"a text that is none of the values", `{"a":"DATa"}`, str(body.Required, body.OneOf("DATA", "PAYMENT")), "/a invalid_value"},
		{"a text with a control character", `{"a":"x\u0007"}`, str(body.Required, body.NoControl()), "/a invalid_character"},
		{"only the first rule that is broken", `{"a":"\u0007\u0007"}`, str(body.Required, body.Chars(1, 1), body.NoControl()), "/a too_long"},
		{"a truth that is a text", `{"a":"true"}`, func(o *body.Object) { o.Bool("a", body.Optional) }, "/a wrong_type"},
		{"a truth that is a number", `{"a":0}`, func(o *body.Object) { o.OptBool("a") }, "/a wrong_type"},
		{"a whole number that is a text", `{"a":"1"}`, integer, "/a wrong_type"},
		{"a whole number with a fraction", `{"a":1.5}`, integer, "/a wrong_type"},
		{"a whole number with a point", `{"a":6.0e1}`, integer, ""},
		{"a whole number below the bounds", `{"a":0}`, integer, "/a out_of_range"},
		{"a whole number above the bounds", `{"a":61}`, integer, "/a out_of_range"},
		{"a whole number above all bounds", `{"a":99999999999999999999}`, integer, "/a out_of_range"},
		{"a whole number without an end", `{"a":1e999999}`, integer, "/a out_of_range"},
		{"a whole number below all bounds", `{"a":-1e30}`, func(o *body.Object) { o.OptInt("a", math.MinInt64, math.MaxInt64) }, "/a out_of_range"},
		{"a number out of bounds", `{"a":1.01}`, func(o *body.Object) { o.Num("a", body.Required, 0, 1) }, "/a out_of_range"},
		{"a number without an end", `{"a":-1e999}`, func(o *body.Object) { o.Num("a", body.Required, 0, 1) }, "/a out_of_range"},
		{"texts that are one text", `{"a":"x"}`, func(o *body.Object) { o.Strings("a", body.Optional) }, "/a wrong_type"},
		{"texts with others between", `{"a":["x",1,null,"yy"]}`, func(o *body.Object) { o.Strings("a", body.Optional, body.Chars(1, 1)) },
			"/a/1 wrong_type, /a/2 wrong_type, /a/3 too_long"},
		{"an object that is an array", `{"a":[]}`, func(o *body.Object) { o.Obj("a", body.Optional) }, "/a wrong_type"},
		{"an unknown member deep inside", `{"a":{"b":{"x":1}}}`, func(o *body.Object) {
			o.Obj("a", body.Required).Obj("b", body.Required).Str("c", body.Optional)
		}, "/a/b/x unknown_member"},
		{"an absent object says nothing of its members", `{}`, func(o *body.Object) {
			a := o.Obj("a", body.Required)
			a.Str("b", body.Required)
			a.Refuse("c", "never", "")
			a.Obj("d", body.Required).Done()
		}, "/a required"},
		{"objects with others between", `{"a":[{"b":"x"},1,{"c":2}]}`, func(o *body.Object) {
			for _, e := range o.Objects("a", body.Required) {
				e.Str("b", body.Required)
			}
		}, "/a/1 wrong_type, /a/2/b required, /a/2/c unknown_member"},
		{"a map with other kinds", `{"a":{"x":"1","y/z":2,"n":null}}`, func(o *body.Object) { o.Map("a", body.Optional) },
			"/a/y~1z wrong_type, /a/n wrong_type"},
		{"a name to be escaped", `{"~/":1}`, func(*body.Object) {}, "/~0~1 unknown_member"},
		{"an empty name", `{"":1}`, func(*body.Object) {}, "/ unknown_member"},
		{"an ignored member", `{"a":[1]}`, func(o *body.Object) { o.Ignore("a") }, ""},
		{"two faults of one place", `{"a":1}`, func(o *body.Object) {
			o.Str("a", body.Required)
			o.Add(fault.Field{Path: "/a", Code: "required"}, fault.Field{Path: "/b", Code: "other"})
		}, "/a wrong_type, /b other"},
		{"an instant in words", `{"a":"yesterday"}`, instant, "/a invalid_time"},
		{"an instant that is a number", `{"a":1700000000}`, instant, "/a wrong_type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := object(t, tt.body)
			tt.read(o)
			if got := strings.Join(faults(o.Err()), ", "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := strings.Join(faults(o.Err()), ", "); got != tt.want {
				t.Errorf("asked again got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestObject_reads(t *testing.T) {
	t.Parallel()
	o := object(t, `{"s":"x","e":"","b":true,"i":-7,"n":0.25,"l":["a","b"],"z":[],"o":{"k":"v"},"os":[{"k":"1"},{"k":"2"}],"m":{"A":"1","a":"2"},"t":"2026-01-31T23:30:00.123999-03:00","null":null}`)
	sub := o.Obj("o", body.Required)
	var ks []string
	for _, e := range o.Objects("os", body.Required) {
		ks = append(ks, e.Str("k", body.Required))
	}
	got := []any{
		o.Str("s", body.Required), *o.OptStr("e"), o.OptStr("none") == nil, o.OptStr("null") == nil, o.Bool("b", body.Required), *o.OptBool("b"), o.OptBool("none") == nil,
		o.Int("i", body.Required, -10, 10), *o.OptInt("i", -10, 10), o.OptInt("none", 0, 1) == nil, o.Num("n", body.Required, 0, 1),
		o.Strings("l", body.Required), o.Strings("z", body.Required) != nil, o.Strings("none", body.Optional) == nil,
		sub.Str("k", body.Required), sub.Path("k"), ks, o.Map("m", body.Required), o.Map("none", body.Optional) == nil,
		o.Time("t", body.Required).Format(time.RFC3339Nano), o.Has("s"), o.Has("null"), o.IsNull("null"), o.IsNull("none"), o.Has("S"),
	}
	want := "[x  true true true true true -7 -7 true 0.25 [a b] true true v /o/k [1 2] map[A:1 a:2] true 2026-02-01T02:30:00.123Z true false true false false]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if err := o.Err(); err != nil {
		t.Errorf("got %v, want no fault", err)
	}
}

func TestObject_Err_isInvalidAndListsAll(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 2 * body.MaxFaults {
		fmt.Fprintf(&b, `,"m%d":0`, i)
	}
	o := object(t, `{`+b.String()[1:]+`}`)
	err := o.Err()
	if fault.KindOf(err) != fault.Invalid || fault.CodeOf(err) != "invalid_request" {
		t.Errorf("got %v, want kind Invalid and code invalid_request", err)
	}
	if n := len(faults(err)); n != body.MaxFaults {
		t.Errorf("got %d faults, want the first %d", n, body.MaxFaults)
	}
}

func TestParseObject_refusesOthers(t *testing.T) {
	t.Parallel()
	for _, s := range []string{`null`, `[]`, `"x"`, `1`, `true`} {
		_, err := body.ParseObject([]byte(s))
		if got := faults(err); !slices.Equal(got, []string{" wrong_type"}) {
			t.Errorf("%s: got %q, want wrong_type at the whole body", s, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"2026-01-31T12:00:00Z":                "2026-01-31T12:00:00Z",
		"2026-01-31t12:00:00z":                "2026-01-31T12:00:00Z",
		"2026-01-31T12:00:00.9999999Z":        "2026-01-31T12:00:00.999Z",
		"2026-01-31T12:00:00.5+05:30":         "2026-01-31T06:30:00.5Z",
		"2024-02-29T00:00:00-00:00":           "2024-02-29T00:00:00Z",
		"9999-12-31T23:59:59.999999999Z":      "9999-12-31T23:59:59.999Z",
		"2026-01-31T12:00:00.123456789+00:00": "2026-01-31T12:00:00.123Z",
	}
	for in, want := range good {
		got, ok := body.ParseTime(in)
		if !ok || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%s: got %v %v, want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "2026", "2026-01-31", "2026-01-31T12:00Z", "2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "2026-01-31T1:00:00Z",
		"2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00.Z", "2026-02-30T12:00:00Z", "2025-02-29T12:00:00Z", "2026-13-01T12:00:00Z",
		"2026-01-31T24:00:00Z", "2026-01-31T12:60:00Z", "2016-12-31T23:59:60Z", "2026-01-31T12:00:00+0300", "2026-01-31T12:00:00+03",
		"2026-01-31T12:00:00+25:00", "2026-01-31T12:00:00ZZ", " 2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z ", "+2026-01-31T12:00:00Z",
		"９026-01-31T12:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z",
		"2026-01-31T12:00:00.1234567890123456789Z",
	} {
		if got, ok := body.ParseTime(in); ok {
			t.Errorf("%s: got %v, want a refusal", in, got)
		}
	}
}
