package body

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/fault"
)

// The codes of the faults that an Object notes.
const (
	CodeRequired      = "required"
	CodeWrongType     = "wrong_type"
	CodeUnknownMember = "unknown_member"
	CodeTooShort      = "too_short"
	CodeTooLong       = "too_long"
	CodeTooMany       = "too_many"
	CodeOutOfRange    = "out_of_range"
	CodeInvalidValue  = "invalid_value"
	CodeInvalidTime   = "invalid_time"
)

// MaxFaults is how many faults one answer lists; the first so many are kept.
// Ours: an answer must not be made much larger than its request.
const MaxFaults = 1000

// Presence says whether a member must be there.
type Presence bool

// The presences. Of an optional member null means absent; of a required one
// both are the fault "required".
const (
	Optional Presence = false
	Required Presence = true
)

// Object reads the members of a JSON object and notes every fault.
//
// Each accessor asks for one member by its exact name; when it is absent or at
// fault the zero value is returned. Err tells the faults, those of nested
// objects and every member that nobody asked for included, so it comes after
// the last accessor. Of several faults at one place the first is kept.
//
// All methods may be called on a nil *Object, which stands for a nested object
// that is absent or at fault: it has no members and notes nothing.
type Object struct {
	node  Node
	path  string
	asked map[string]bool
	notes *notes
}

// notes are shared by an object and those nested in it.
type notes struct {
	fields []fault.Field
	seen   map[string]bool
	opened []*Object
}

func (n *notes) add(path, code, msg string) {
	path = short(path)
	if n.seen[path] || len(n.fields) == MaxFaults {
		return
	}
	n.seen[path] = true
	n.fields = append(n.fields, fault.Field{Path: path, Code: code, Msg: msg})
}

// NewObject reads a value that must be an object; any other is fault.Invalid
// "wrong_type".
func NewObject(n Node) (*Object, error) {
	if n.kind != Struct {
		return nil, fault.At(fault.Invalid, CodeWrongType, "", "The body must be a JSON object, not "+n.kind.String()+".")
	}
	return open(n, "", &notes{seen: make(map[string]bool)}), nil
}

func open(n Node, path string, ns *notes) *Object {
	o := &Object{node: n, path: path, asked: make(map[string]bool), notes: ns}
	ns.opened = append(ns.opened, o)
	return o
}

// Path returns the JSON Pointer of the member name.
func (o *Object) Path(name string) string {
	if o == nil {
		return Join("", name)
	}
	return Join(o.path, name)
}

// Fault notes a fault at a JSON Pointer, counted from the whole body.
func (o *Object) Fault(path, code, msg string) {
	if o != nil {
		o.notes.add(path, code, msg)
	}
}

// Refuse notes a fault of the member name.
func (o *Object) Refuse(name, code, msg string) { o.Fault(o.Path(name), code, msg) }

// Add notes faults found elsewhere, their paths counted from the whole body.
func (o *Object) Add(fields ...fault.Field) {
	for _, f := range fields {
		o.Fault(f.Path, f.Code, f.Msg)
	}
}

// Ignore takes members note of that may be there and are not read.
func (o *Object) Ignore(names ...string) {
	if o != nil {
		for _, n := range names {
			o.asked[n] = true
		}
	}
}

// Names returns the names of all members in order, asked for or not.
func (o *Object) Names() []string {
	if o == nil {
		return nil
	}
	return o.node.Names()
}

// Has tells whether the member is there and not null. It does not ask for it:
// unread it remains an unknown member.
func (o *Object) Has(name string) bool {
	if o == nil {
		return false
	}
	n, ok := o.node.Member(name)
	return ok && n.kind != Null
}

// IsNull tells whether the member is there and null. It does not ask for it.
func (o *Object) IsNull(name string) bool {
	if o == nil {
		return false
	}
	n, ok := o.node.Member(name)
	return ok && n.kind == Null
}

// Raw returns the member as it is, null included; ok is false when it is
// absent.
func (o *Object) Raw(name string) (n Node, ok bool) {
	if o == nil {
		return Node{}, false
	}
	o.asked[name] = true
	return o.node.Member(name)
}

// get asks for a member of the kind.
func (o *Object) get(name string, p Presence, k Kind) (Node, bool) {
	n, _ := o.Raw(name)
	switch {
	case o == nil:
		return Node{}, false
	case n.kind == Null:
		if p == Required {
			o.Refuse(name, CodeRequired, "This member is required.")
		}
		return Node{}, false
	case n.kind != k:
		o.wrongType(o.Path(name), k)
		return Node{}, false
	}
	return n, true
}

func (o *Object) wrongType(path string, want Kind) {
	o.Fault(path, CodeWrongType, "The value must be "+want.String()+".")
}

// Rule checks a text. It returns the code and the sentence of a fault, or an
// empty code.
type Rule func(s string) (code, msg string)

// Chars bounds a text's length in Unicode code points, both bounds inside.
func Chars(least, most int) Rule {
	return func(s string) (string, string) {
		switch n := utf8.RuneCountInString(s); {
		case n < least && least == 1:
			return CodeTooShort, "The text must not be empty."
		case n < least:
			return CodeTooShort, fmt.Sprintf("The text must have at least %d characters.", least)
		case n > most:
			return CodeTooLong, fmt.Sprintf("The text must have at most %d characters.", most)
		}
		return "", ""
	}
}

// OneOf demands one of the values, exactly.
func OneOf(values ...string) Rule {
	return func(s string) (string, string) {
		if slices.Contains(values, s) {
			return "", ""
		}
		return CodeInvalidValue, "The value must be one of " + strings.Join(values, ", ") + "."
	}
}

// NoControl refuses control characters.
func NoControl() Rule {
	return Where(func(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) },
		"invalid_character", "The text must not hold control characters.")
}

// Where refuses a text for which ok is false with the code and the sentence.
func Where(ok func(s string) bool, code, msg string) Rule {
	return func(s string) (string, string) {
		if ok(s) {
			return "", ""
		}
		return code, msg
	}
}

func (o *Object) check(path, s string, rules []Rule) bool {
	for _, r := range rules {
		if code, msg := r(s); code != "" {
			o.Fault(path, code, msg)
			return false
		}
	}
	return true
}

// Str reads a string that keeps the rules; the first rule it breaks is noted.
// An empty string is a value: demand Chars(1, …) where it is none.
func (o *Object) Str(name string, p Presence, rules ...Rule) string {
	n, ok := o.get(name, p, String)
	if !ok || !o.check(o.Path(name), n.text, rules) {
		return ""
	}
	return n.text
}

// OptStr reads an optional string; nil means absent, null or at fault.
func (o *Object) OptStr(name string, rules ...Rule) *string {
	n, ok := o.get(name, Optional, String)
	if !ok || !o.check(o.Path(name), n.text, rules) {
		return nil
	}
	return &n.text
}

// Bool reads true or false.
func (o *Object) Bool(name string, p Presence) bool {
	n, _ := o.get(name, p, Bool)
	return n.truth
}

// OptBool reads true or false; nil means absent, null or at fault.
func (o *Object) OptBool(name string) *bool {
	n, ok := o.get(name, Optional, Bool)
	if !ok {
		return nil
	}
	return &n.truth
}

// Int reads a whole number, both bounds inside. 1.0 and 1e0 are 1, as JSON
// Schema has it; a number with a fraction has the wrong type.
func (o *Object) Int(name string, p Presence, least, most int64) int64 {
	i, _ := o.integer(name, p, least, most)
	return i
}

// OptInt reads a whole number as Int does; nil means absent, null or at fault.
func (o *Object) OptInt(name string, least, most int64) *int64 {
	i, ok := o.integer(name, Optional, least, most)
	if !ok {
		return nil
	}
	return &i
}

func (o *Object) integer(name string, p Presence, least, most int64) (int64, bool) {
	n, ok := o.get(name, p, Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.ParseInt(n.text, 10, 64)
	in := true
	if err != nil {
		f, _ := strconv.ParseFloat(n.text, 64) // too large is an infinity
		if math.Trunc(f) != f {
			o.Refuse(name, CodeWrongType, "The value must be a whole number.")
			return 0, false
		}
		if in = math.Abs(f) <= 1<<53; in {
			i = int64(f)
		}
	}
	if !in || i < least || i > most {
		o.Refuse(name, CodeOutOfRange, fmt.Sprintf("The value must be a whole number from %d to %d.", least, most))
		return 0, false
	}
	return i, true
}

// Num reads a number, both bounds inside.
func (o *Object) Num(name string, p Presence, least, most float64) float64 {
	n, ok := o.get(name, p, Number)
	if !ok {
		return 0
	}
	f, _ := strconv.ParseFloat(n.text, 64) // too large is an infinity
	if f < least || f > most {
		o.Refuse(name, CodeOutOfRange, fmt.Sprintf("The value must be a number from %g to %g.", least, most))
		return 0
	}
	return f
}

// Strings reads an array of strings that each keep the rules. The result has
// the array's length, so that an index names the same element in both; an
// element at fault is an empty string. Nil means absent, null or at fault; an
// empty array is not nil.
func (o *Object) Strings(name string, p Presence, rules ...Rule) []string {
	n, ok := o.get(name, p, Array)
	if !ok {
		return nil
	}
	out := make([]string, len(n.kids))
	for i, k := range n.kids {
		path := Join(o.Path(name), strconv.Itoa(i))
		switch {
		case k.kind != String:
			o.wrongType(path, String)
		case o.check(path, k.text, rules):
			out[i] = k.text
		}
	}
	return out
}

// Obj opens a nested object; nil when it is absent, null or at fault.
func (o *Object) Obj(name string, p Presence) *Object {
	n, ok := o.get(name, p, Struct)
	if !ok {
		return nil
	}
	return open(n, o.Path(name), o.notes)
}

// Objects opens an array of objects. The result has the array's length; an
// element at fault is nil. Nil means absent, null or at fault; an empty array
// is not nil.
func (o *Object) Objects(name string, p Presence) []*Object {
	n, ok := o.get(name, p, Array)
	if !ok {
		return nil
	}
	out := make([]*Object, len(n.kids))
	for i, k := range n.kids {
		path := Join(o.Path(name), strconv.Itoa(i))
		if k.kind != Struct {
			o.wrongType(path, Struct)
			continue
		}
		out[i] = open(k, path, o.notes)
	}
	return out
}

// Map reads an object whose members are all strings, of whatever name; one of
// another kind is noted and left out. Nil means absent, null or at fault.
func (o *Object) Map(name string, p Presence) map[string]string {
	n, ok := o.get(name, p, Struct)
	if !ok {
		return nil
	}
	out := make(map[string]string, len(n.kids))
	for _, k := range n.kids {
		if k.kind != String {
			o.wrongType(Join(o.Path(name), k.name), String)
			continue
		}
		out[k.name] = k.text
	}
	return out
}

// Time reads an instant as RFC 3339 has it, with any offset; the result is in
// UTC, cut to milliseconds, in the years 1 to 9999. A leap second is refused,
// for a clock without them cannot keep it.
func (o *Object) Time(name string, p Presence) time.Time {
	n, ok := o.get(name, p, String)
	if !ok {
		return time.Time{}
	}
	t, ok := ParseTime(n.text)
	if !ok {
		o.Refuse(name, CodeInvalidTime, "The value must be an instant such as 2026-01-31T12:00:00.000Z (RFC 3339).")
		return time.Time{}
	}
	return t
}

// ParseTime reads an instant as Object.Time does; ok is false when s is none.
// It serves query parameters too.
func ParseTime(s string) (t time.Time, ok bool) {
	// time.Parse is laxer than RFC 3339: it takes one digit for the hour and
	// a comma before the fraction.
	const shape = "0000-00-00T00:00:00"
	if len(s) < len(shape)+1 || len(s) > len(shape)+len(".000000000+00:00") {
		return t, false
	}
	for i := range len(shape) {
		switch c := s[i]; shape[i] {
		case '0':
			if c < '0' || c > '9' {
				return t, false
			}
		case 'T':
			if c != 'T' && c != 't' {
				return t, false
			}
		default:
			if c != shape[i] {
				return t, false
			}
		}
	}
	if strings.Contains(s, ",") {
		return t, false
	}
	t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
	if err != nil {
		return time.Time{}, false
	}
	t = t.UTC().Truncate(time.Millisecond)
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// Done notes every member of this object that nobody asked for. Err does the
// same for all objects that were opened; call Done alone to note them early.
func (o *Object) Done() {
	if o == nil {
		return
	}
	for _, k := range o.node.kids {
		if !o.asked[k.name] {
			o.Refuse(k.name, CodeUnknownMember, "This member is not known here; leave it out.")
		}
	}
}

// Err returns a fault.Invalid that lists every fault noted so far, in this
// object and all that belong to the same body, or nil when there is none.
func (o *Object) Err() error {
	if o == nil {
		return nil
	}
	for _, c := range o.notes.opened {
		c.Done()
	}
	return fault.InvalidFields(o.notes.fields)
}
