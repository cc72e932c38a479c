package body

import "strconv"

// Kind is what a JSON value is.
type Kind uint8

// The kinds. Null is the zero kind.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Struct // a JSON object
)

// String returns the kind with its article, for a sentence.
func (k Kind) String() string {
	switch k {
	case Bool:
		return "true or false"
	case Number:
		return "a number"
	case String:
		return "a string"
	case Array:
		return "an array"
	case Struct:
		return "an object"
	}
	return "null"
}

// Node is a JSON value. It is never changed; its zero value is null. The
// members of an object keep their order, and no name occurs twice.
type Node struct {
	kind  Kind
	truth bool
	name  string // of a member, within its object
	text  string // of a string, or a number as it was written
	kids  []Node
}

// Kind returns what the value is.
func (n Node) Kind() Kind { return n.kind }

// Text returns the content of a string; empty for any other kind.
func (n Node) Text() string {
	if n.kind != String {
		return ""
	}
	return n.text
}

// True tells whether the value is true.
func (n Node) True() bool { return n.kind == Bool && n.truth }

// Member returns an object's member by its exact name; ok is false when there
// is none, or n is no object.
func (n Node) Member(name string) (m Node, ok bool) {
	if n.kind == Struct {
		for _, k := range n.kids {
			if k.name == name {
				return k, true
			}
		}
	}
	return Node{}, false
}

// Names returns the names of an object's members in order.
func (n Node) Names() []string {
	if n.kind != Struct {
		return nil
	}
	out := make([]string, len(n.kids))
	for i, k := range n.kids {
		out[i] = k.name
	}
	return out
}

// OfString returns a string.
func OfString(s string) Node { return Node{kind: String, text: s} }

// OfBool returns true or false.
func OfBool(b bool) Node { return Node{kind: Bool, truth: b} }

// OfInt returns a number.
func OfInt(i int64) Node { return Node{kind: Number, text: strconv.FormatInt(i, 10)} }

// OfArray returns an array.
func OfArray(items ...Node) Node { return Node{kind: Array, kids: items} }

// OfObject returns an empty object; add to it with With.
func OfObject() Node { return Node{kind: Struct} }

// With returns the object n with the member name set to v; n is unchanged. A
// member of that name keeps its place.
func (n Node) With(name string, v Node) Node {
	v.name = name
	kids := make([]Node, 0, len(n.kids)+1)
	found := false
	for _, k := range n.kids {
		if k.name == name {
			k, found = v, true
		}
		kids = append(kids, k)
	}
	if !found {
		kids = append(kids, v)
	}
	return Node{kind: Struct, name: n.name, kids: kids}
}

// Without returns the object n without the member name; n is unchanged.
func (n Node) Without(name string) Node {
	kids := make([]Node, 0, len(n.kids))
	for _, k := range n.kids {
		if k.name != name {
			kids = append(kids, k)
		}
	}
	return Node{kind: Struct, name: n.name, kids: kids}
}

// Merge applies a merge patch (RFC 7396) to target: null removes a member, an
// object is merged member by member, anything else replaces. Neither argument
// is changed.
func Merge(target, patch Node) Node {
	if patch.kind != Struct {
		patch.name = target.name
		return patch
	}
	out := Node{kind: Struct, name: target.name}
	at := make(map[string]int, len(patch.kids))
	for i, p := range patch.kids {
		at[p.name] = i
	}
	if target.kind == Struct {
		for _, t := range target.kids {
			i, ok := at[t.name]
			switch {
			case !ok:
				out.kids = append(out.kids, t)
			case patch.kids[i].kind != Null:
				out.kids = append(out.kids, Merge(t, patch.kids[i]))
			}
			delete(at, t.name)
		}
	}
	for _, p := range patch.kids {
		if _, ok := at[p.name]; ok && p.kind != Null {
			out.kids = append(out.kids, Merge(Node{name: p.name}, p))
		}
	}
	return out
}
