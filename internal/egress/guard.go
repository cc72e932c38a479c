package egress

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// The rules that a dial may break, as metrics name them.
const (
	ruleReserved = "reserved_address" // not public, and not listed
	ruleOwn      = "own_address"      // our own listener
	rulePlain    = "plain_http"       // plain http to what is not listed
)

// Policy says what may be dialled beyond the public internet. Its zero value
// allows nothing more.
type Policy struct {
	// Allow lists CIDRs, addresses and host names that may be dialled although
	// their addresses are not public (CONTRACT 1, EGRESS_ALLOW). A host name
	// stands for whatever it resolves to.
	Allow []string
	// AllowHTTP permits plain http, and only towards what Allow lists.
	AllowHTTP bool
}

// Guard decides which URLs may be configured and which addresses dialled. It
// may be used by several goroutines.
type Guard struct {
	allow     []netip.Prefix
	hosts     []string
	allowHTTP bool
	blocks    blocks
	own       atomic.Pointer[own]
}

// own is where we are reached ourselves.
type own struct {
	origin  string // of the public URL
	inspect string // path prefix of the request inspector
	listen  []netip.AddrPort
}

// NewGuard returns the guard of a policy. Its error names the entry of Allow
// that is neither a CIDR nor an address nor a host name.
func NewGuard(p Policy) (*Guard, error) {
	b, err := readBlocks()
	if err != nil {
		return nil, err
	}
	g := &Guard{allowHTTP: p.AllowHTTP, blocks: b}
	for _, entry := range p.Allow {
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			g.allow = append(g.allow, unmapPrefix(prefix))
			continue
		}
		host, addr, fault := normalHost(bracketed(entry))
		switch {
		case fault != nil:
			return nil, fmt.Errorf("%q is neither a CIDR nor an address nor a host name", entry)
		case addr.IsValid():
			g.allow = append(g.allow, netip.PrefixFrom(addr, addr.BitLen()))
		default:
			g.hosts = append(g.hosts, host)
		}
	}
	g.own.Store(&own{})
	return g, nil
}

// bracketed lets an IPv6 address be written with and without brackets.
func bracketed(s string) string {
	if strings.Contains(s, ":") && !strings.HasPrefix(s, "[") {
		return "[" + s + "]"
	}
	return s
}

func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// SetOwn tells the guard where we are reached: the public URL, below which
// the inspector may always be dialled, and the addresses we listen on, which
// may never be dialled otherwise. It may be called again; both may be empty.
// A target keeps what held when it was parsed. Its error says what is wrong
// with the public URL.
func (g *Guard) SetOwn(publicURL string, listen ...netip.AddrPort) error {
	o := &own{listen: listen}
	if publicURL != "" {
		p, fault := split(publicURL)
		if fault != nil {
			return fmt.Errorf("public URL: %w", fault)
		}
		if strings.Contains(p.rest, "?") {
			return fmt.Errorf("public URL: it must not have a query")
		}
		o.origin, o.inspect = p.origin(), strings.TrimSuffix(p.rest, "/")+"/inspect/"
	}
	g.own.Store(o)
	return nil
}

// CheckURL tells whether a URL may be configured (RULES E1 to E6): nil when it
// may. An address that may not be dialled is refused; a name is not, for what
// it means is known only at the dial.
func (g *Guard) CheckURL(raw string) *URLFault {
	_, fault := g.Parse(raw)
	return fault
}

// Parse is CheckURL that also returns the target.
func (g *Guard) Parse(raw string) (*Target, *URLFault) {
	p, fault := split(raw)
	if fault != nil {
		return nil, fault
	}
	t, fault := p.target()
	if fault != nil {
		return nil, fault
	}
	o := g.own.Load()
	path, _, _ := strings.Cut(p.rest, "?")
	if o.origin != "" && p.origin() == o.origin && under(path, o.inspect) {
		t.own = true
		return t, nil
	}
	plain := p.scheme == "http"
	if plain && !g.allowHTTP {
		return nil, &URLFault{"scheme", "The URL must start with https://."}
	}
	if p.addr.IsValid() {
		switch g.refuse(p.addr, p.port, p.host, plain) {
		case "":
		case rulePlain:
			return nil, &URLFault{"plain_http", "Plain http is only allowed towards addresses that the operator lists."}
		case ruleOwn:
			return nil, &URLFault{"forbidden_address", "The URL's address is this server's own."}
		default:
			return nil, &URLFault{"forbidden_address", "The URL's address is not a public address and the operator does not allow it."}
		}
	}
	return t, nil
}

// refuse returns the rule that forbids to dial the address, or "" when none
// does. host is the name or address that was asked for.
func (g *Guard) refuse(a netip.Addr, port uint16, host string, plain bool) string {
	if undiallable(a) { // asked first: un-mapping would drop a zone
		return ruleReserved
	}
	a = a.Unmap()
	switch {
	case g.isOwn(a, port):
		return ruleOwn
	case slices.Contains(g.hosts, host), slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(a) }):
		return ""
	case plain:
		return rulePlain
	case g.blocks.public(a):
		return ""
	}
	return ruleReserved
}

// isOwn tells whether one of our listeners answers at the address. A listener
// on the unspecified address answers at every address of this machine.
func (g *Guard) isOwn(a netip.Addr, port uint16) bool {
	return slices.ContainsFunc(g.own.Load().listen, func(l netip.AddrPort) bool {
		if l.Port() != port {
			return false
		}
		if !l.Addr().IsUnspecified() {
			return l.Addr().Unmap().WithZone("") == a
		}
		return a.IsLoopback() || slices.Contains(localAddrs(), a)
	})
}

// localAddrs returns the addresses of this machine's interfaces; none when
// the system does not tell.
func localAddrs() []netip.Addr {
	ifaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, i := range ifaces {
		if n, ok := i.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}
