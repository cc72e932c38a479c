package load

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
)

// local returns a transport that reaches this machine only: nothing else is ever
// loaded by it.
func local(conns int) *http.Transport {
	d := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !at.Addr().Unmap().IsLoopback() {
			return fmt.Errorf("%s is not on this machine", address)
		}
		return nil
	}}
	return &http.Transport{DialContext: d.DialContext, MaxIdleConns: conns, MaxIdleConnsPerHost: conns}
}
