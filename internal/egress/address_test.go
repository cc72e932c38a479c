package egress

import (
	"net/netip"
	"testing"
)

func testBlocks(t *testing.T) blocks {
	t.Helper()
	b, err := readBlocks()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestE5_blocks_wholeRegistries(t *testing.T) {
	t.Parallel()
	b := testBlocks(t)
	if got, want := len(b.special), 26+25+5; got != want {
		t.Errorf("%d blocks, want %d: one per registry entry and ours", got, want)
	}
	for _, p := range b.special {
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{p.Addr(), end} {
			if b.public(a) {
				t.Errorf("%s of %s counts as public", a, p)
			}
		}
	}
}

func TestE5_blocks_public(t *testing.T) {
	t.Parallel()
	b := testBlocks(t)
	tests := []struct {
		addr string
		want bool
	}{
		{"8.8.8.8", true}, {"1.1.1.1", true}, {"9.255.255.255", true}, {"11.0.0.0", true},
		{"100.63.255.255", true}, {"100.128.0.0", true}, {"172.15.255.255", true}, {"172.32.0.0", true},
		{"169.253.255.255", true}, {"192.0.1.0", true}, {"223.255.255.255", true}, {"168.63.129.15", true},
		{"2606:4700:4700::1111", true}, {"2a00:1450:4001::200e", true}, {"2000::1", true}, {"2003::1", true},
		{"::ffff:8.8.8.8", true},

		{"0.0.0.0", false}, {"0.1.2.3", false}, {"10.20.30.40", false}, {"127.0.0.1", false}, {"127.255.255.254", false},
		{"100.64.0.1", false}, {"169.254.169.254", false}, {"172.16.0.1", false}, {"192.168.1.1", false},
		{"192.0.0.170", false}, {"192.0.0.192", false}, {"192.0.2.1", false}, {"192.88.99.1", false},
		{"198.18.0.1", false}, {"198.19.255.255", false}, {"198.51.100.1", false}, {"203.0.113.1", false},
		{"224.0.0.1", false}, {"239.255.255.255", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
		{"100.100.100.200", false}, {"168.63.129.16", false},

		{"::", false}, {"::1", false}, {"::ffff:127.0.0.1", false}, {"::ffff:10.20.30.40", false}, {"::7f00:1", false},
		{"64:ff9b::8.8.8.8", false}, {"64:ff9b::10.20.30.40", false}, {"64:ff9b:1::1", false},
		{"2002:0a14:1e28::1", false}, {"2002:808:808::1", false}, {"2001::1", false}, {"2001:0:4136:e378:8000:63bf:3fff:fdd2", false},
		{"2001:db8::1", false}, {"3fff::1", false}, {"5f00::1", false}, {"100::1", false},
		{"2606:4700::5efe:8.8.8.8", false}, {"2606:4700::200:5efe:8.8.8.8", false},
		{"fc00::1", false}, {"fd00:ec2::254", false}, {"fe80::1", false}, {"fec0::1", false}, {"ff02::1", false},
		{"4000::1", false}, {"fe80::1%eth0", false}, {"2606:4700::1%eth0", false},
	}
	for _, tt := range tests {
		if got := b.public(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("public(%s) = %v, want %v", tt.addr, got, tt.want)
		}
	}
	if b.public(netip.Addr{}) {
		t.Error("no address counts as public")
	}
}

// Nothing outside of 2000::/3 is ever public, and a mapped address is what it
// maps.
func FuzzPublic(f *testing.F) {
	f.Add([]byte{8, 8, 8, 8})
	f.Add([]byte{0x26, 6, 0x47, 0, 0, 0, 0, 0, 0, 0, 0x5e, 0xfe, 8, 8, 8, 8})
	b, err := readBlocks()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		got := b.public(a)
		switch {
		case a.Is4():
			if mapped := b.public(netip.AddrFrom16(a.As16())); mapped != got {
				t.Errorf("public(%s) = %v, but its mapped form %v", a, got, mapped)
			}
		case got && !a.Is4In6() && raw[0]>>5 != 1:
			t.Errorf("%s is outside of 2000::/3 and public", a)
		}
		if got && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()) {
			t.Errorf("%s is public", a)
		}
	})
}
