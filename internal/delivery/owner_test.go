package delivery

import (
	"fmt"
	"testing"
)

func TestOwner(t *testing.T) {
	t.Parallel()
	const endpoints = 6000
	nodes := []string{"nod_a", "nod_b", "nod_c"}
	owned := map[string]int{}
	before := map[Endpoint]string{}
	for i := range endpoints {
		e := Endpoint(fmt.Sprintf("sub_%d", i))
		before[e] = Owner(nodes, e)
		owned[before[e]]++
		if got := Owner([]string{"nod_c", "nod_a", "nod_b"}, e); got != before[e] {
			t.Fatalf("%s: got %s, want %s in whatever order the nodes are named", e, got, before[e])
		}
	}
	for _, n := range nodes {
		if owned[n] < endpoints/3*9/10 || owned[n] > endpoints/3*11/10 {
			t.Errorf("%s has %d of %d endpoints, want about a third", n, owned[n], endpoints)
		}
	}
	moved := 0
	for e, was := range before {
		switch now := Owner(append(nodes, "nod_d"), e); {
		case now == "nod_d":
			moved++
		case now != was:
			t.Fatalf("%s went from %s to %s, want it to stay or to go to the new node", e, was, now)
		}
		if now := Owner(nodes[:2], e); was != "nod_c" && now != was {
			t.Fatalf("%s went from %s to %s, want it to stay when another node goes", e, was, now)
		}
	}
	if moved < endpoints/4*9/10 || moved > endpoints/4*11/10 {
		t.Errorf("%d of %d endpoints moved to a fourth node, want about a quarter", moved, endpoints)
	}
	if got := Owner(nil, "sub_1"); got != "" {
		t.Errorf("got %q, want no owner without a node", got)
	}
}
