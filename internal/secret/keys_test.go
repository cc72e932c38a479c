package secret

import (
	"fmt"
	"testing"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	ring, err := ParseKeyring(New("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	if err != nil {
		t.Fatal(err)
	}
	place := Place{What: "event", Owner: "evt_1", Field: "body"}
	k := NewKeys(8)
	_, c := ring.NewKey(place)
	sealed := c.Seal([]byte("content"), place)
	k.Put(1, "con_1", c)
	opens := func(space int64, name string) bool {
		got := k.Get(space, name)
		if got == nil {
			return false
		}
		content, err := got.Open(sealed, place)
		return err == nil && string(content) == "content"
	}
	if !opens(1, "con_1") {
		t.Error("got no key that opens, want the one that was put")
	}
	if k.Get(2, "con_1") != nil || k.Get(1, "con_2") != nil {
		t.Error("got a key, want none under another name or in another space")
	}
	for i := range 40 {
		_, other := ring.NewKey(place)
		k.Put(1, fmt.Sprint("other_", i), other)
	}
	k.Put(1, "con_1", c)
	if !opens(1, "con_1") {
		t.Error("got no key that opens, want the last one put to be there")
	}
	held := 0
	for i := range 40 {
		if k.Get(1, fmt.Sprint("other_", i)) != nil {
			held++
		}
	}
	if held == 0 || held > 7 {
		t.Errorf("got %d of the others, want what room there is", held)
	}
	k.Drop(1, "con_1")
	if k.Get(1, "con_1") != nil {
		t.Error("got a key that was dropped")
	}
	if got := fmt.Sprintf("%v %+v %#v", k, k, k); got != fmt.Sprintf("%s %s %s", masked, masked, masked) {
		t.Errorf("got %q, want nothing of a key printed", got)
	}
	k.Put(1, "con_1", c)
	k.Clear()
	if k.Get(1, "con_1") != nil || k.Get(1, "other_39") != nil {
		t.Error("got a key, want all to be forgotten")
	}
}

func TestKeys_grow(t *testing.T) {
	t.Parallel()
	ring, err := ParseKeyring(New("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	if err != nil {
		t.Fatal(err)
	}
	_, c := ring.NewKey(Place{What: "event"})
	k := NewKeys(8 * firstKeys)
	if len(k.keys) != firstKeys {
		t.Errorf("got room for %d at first, want %d", len(k.keys), firstKeys)
	}
	const n = 2 * firstKeys
	for i := range n {
		k.Put(1, fmt.Sprint(i), c)
	}
	held := 0
	for i := range n {
		if k.Get(1, fmt.Sprint(i)) != nil {
			held++
		}
	}
	if held < n*9/10 {
		t.Errorf("got %d of %d keys, want nearly all where there is room for four times as many", held, n)
	}
	for i := range 20 * firstKeys {
		k.Put(2, fmt.Sprint(i), c)
	}
	if len(k.keys) != 8*firstKeys || k.used > len(k.keys) {
		t.Errorf("got room for %d, %d of it used, want no more than %d", len(k.keys), k.used, 8*firstKeys)
	}
}
