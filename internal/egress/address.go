package egress

import (
	_ "embed" // for the registries
	"encoding/csv"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The registries' own files, with their date in the first line. To bring one
// up to date, replace it by the registry's current file and mend that line.
var (
	//go:embed registry/iana-ipv4-special-registry-1.csv
	registry4 string
	//go:embed registry/iana-ipv6-special-registry-1.csv
	registry6 string
)

// blocks are the addresses that are not for the public.
type blocks struct {
	special []netip.Prefix // every block of the registries, and a few more
	global6 netip.Prefix   // outside of it no IPv6 address is public
}

// readBlocks parses the registries. Every listed block counts, also those
// that are globally reachable: none of them is a receiver's.
func readBlocks() (blocks, error) {
	b := blocks{global6: netip.MustParsePrefix("2000::/3")} // RFC 4291 2.4, and the IANA IPv6 address space registry
	for _, file := range []string{registry4, registry6} {
		r := csv.NewReader(strings.NewReader(file))
		r.Comment = '#'
		rows, err := r.ReadAll()
		if err != nil {
			return blocks{}, fmt.Errorf("read the registry of special addresses: %w", err)
		}
		for _, row := range rows[1:] {
			for cell := range strings.SplitSeq(row[0], ", ") {
				cell, _, _ = strings.Cut(cell, " [") // a footnote
				p, err := netip.ParsePrefix(cell)
				if err != nil {
					return blocks{}, fmt.Errorf("read the registry of special addresses: %w", err)
				}
				b.special = append(b.special, p)
			}
		}
	}
	b.special = append(b.special,
		netip.MustParsePrefix("224.0.0.0/4"),        // multicast, RFC 5771
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure's host services, a public address by its look
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba's metadata
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle's metadata
		netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS's metadata
	)
	return b, nil
}

// public tells whether a is an ordinary address of the internet. IPv4 inside
// IPv6 is unwrapped when it is mapped, and else refused: NAT64 by its blocks
// and by being outside of global6, 6to4 and Teredo by their blocks, ISATAP by
// its interface identifier.
func (b blocks) public(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if !a.IsValid() || a.Is6() && (!b.global6.Contains(a) || isatap(a)) {
		return false
	}
	return !slices.ContainsFunc(b.special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// isatap tells whether the interface identifier is ::0:5efe:a.b.c.d or
// ::200:5efe:a.b.c.d. Source: RFC 5214 6.1.
func isatap(a netip.Addr) bool {
	x := a.As16()
	return (x[8] == 0 || x[8] == 2) && x[9] == 0 && x[10] == 0x5e && x[11] == 0xfe
}

// undiallable tells whether a can be nobody's address, whatever the operator
// lists: unspecified (the system would dial itself), multicast, broadcast, or
// bound to an interface by a zone.
func undiallable(a netip.Addr) bool {
	if a.Zone() != "" {
		return true
	}
	a = a.Unmap()
	return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
