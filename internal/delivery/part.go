package delivery

import (
	"crypto/md5" // #nosec G501 -- it shares subjects out and keeps no secret
	"encoding/binary"
	"strconv"
	"strings"
)

// MaxParts is in how many parts an endpoint may be (DESIGN 3.8).
const MaxParts = 32

// PartOf names a part, counted from 1, of an endpoint whose subjects are shared
// out to several parts, each with a cursor, a lease and lanes of its own; of one,
// the endpoint itself.
func PartOf(whole Endpoint, part, parts int) Endpoint {
	if parts <= 1 {
		return whole
	}
	return whole + Endpoint("/"+strconv.Itoa(part)+"of"+strconv.Itoa(parts))
}

// Parts names all parts of an endpoint.
func Parts(whole Endpoint, parts int) []Endpoint {
	list := make([]Endpoint, 0, max(1, parts))
	for part := range max(1, parts) {
		list = append(list, PartOf(whole, part+1, parts))
	}
	return list
}

// Split returns of which endpoint e is a part, which one, counted from 1, and of
// how many. A whole endpoint is the one part of itself.
func (e Endpoint) Split() (whole Endpoint, part, parts int) {
	id, rest, ok := strings.Cut(string(e), "/")
	if !ok {
		return e, 1, 1
	}
	k, n, _ := strings.Cut(rest, "of")
	part, err := strconv.Atoi(k)
	parts, err2 := strconv.Atoi(n)
	if err != nil || err2 != nil || part < 1 || part > parts || parts > MaxParts {
		return e, 1, 1 // no name of ours
	}
	return Endpoint(id), part, parts
}

// Whole returns of which endpoint e is a part.
func (e Endpoint) Whole() Endpoint {
	whole, _, _ := e.Split()
	return whole
}

// Hears tells whether a subject is one of the part's.
func (e Endpoint) Hears(subject string) bool {
	_, part, parts := e.Split()
	return PartFor(subject, parts) == part
}

// PartFor returns which of an endpoint's parts, counted from 1, hears a subject. A
// database can decide it too: by the first two bytes of the name's MD5 (RFC 1321),
// as a number, modulo the number of parts.
func PartFor(subject string, parts int) int {
	if parts <= 1 {
		return 1
	}
	sum := md5.Sum([]byte(subject)) // #nosec G401 -- as above
	return int(binary.BigEndian.Uint16(sum[:]))%parts + 1
}
