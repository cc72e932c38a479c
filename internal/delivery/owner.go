package delivery

import "hash/fnv"

// Owner returns which of the nodes is to send to an endpoint: the one whose name
// together with the endpoint's has the highest hash. All nodes that know of the
// same others agree; when one comes or goes only those endpoints move that it
// takes or leaves. Empty: there are no nodes.
//
// Source: rendezvous hashing (Thaler, Ravishankar, "Using Name-Based Mappings to
// Increase Hit Rates", 1998).
func Owner(nodes []string, e Endpoint) (owner string) {
	var highest uint64
	for _, n := range nodes {
		h := fnv.New64a()
		_, _ = h.Write([]byte(n + "\x00" + string(e))) // never fails
		// FNV alone tells names apart badly that differ at their end.
		x := h.Sum64()
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd
		x ^= x >> 33
		x *= 0xc4ceb9fe1a85ec53
		x ^= x >> 33
		if owner == "" || x > highest || x == highest && n > owner {
			owner, highest = n, x
		}
	}
	return owner
}
