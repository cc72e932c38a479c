package egress

import (
	"net/netip"
	"strings"
	"testing"
)

func testGuard(t testing.TB, p Policy) *Guard {
	t.Helper()
	g, err := NewGuard(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestE1toE6_refuses(t *testing.T) {
	t.Parallel()
	g := testGuard(t, Policy{})
	tests := []struct{ name, url, code string }{
		{"empty", "", "required"},
		{"2001 characters", "https://receiver.example.org/" + strings.Repeat("é", 2001-29), "too_long"},
		{"plain http", "http://receiver.example.org/hook", "scheme"},
		{"another scheme", "ftp://receiver.example.org/hook", "scheme"},
		{"a unix socket", "unix:///var/run/docker.sock", "scheme"},
		{"no scheme", "receiver.example.org/hook", "scheme"},
		{"no slashes", "https:receiver.example.org", "scheme"},
		{"one slash", "https:/receiver.example.org", "scheme"},
		{"no scheme but slashes", "//receiver.example.org/hook", "scheme"},
		{"no host", "https:///hook", "host"},
		{"no host but a port", "https://:443/hook", "host"},
		{"no host but a query", "https://?x", "host"},
		{"a space before", " https://receiver.example.org", "invalid_characters"},
		{"a space behind", "https://receiver.example.org ", "invalid_characters"},
		{"a space inside", "https://receiver.example.org/a b", "invalid_characters"},
		{"a no-break space", "https://receiver.example.org/a\u00a0b", "invalid_characters"},
		{"an ideographic space", "https://receiver.example.org/\u3000", "invalid_characters"},
		{"a line break", "https://receiver.example.org/\r\nX: 1", "invalid_characters"},
		{"a NUL", "https://receiver.example.org/\x00", "invalid_characters"},
		{"a DEL", "https://receiver.example.org/\x7f", "invalid_characters"},
		{"a C1 control", "https://receiver.example.org/\u0085", "invalid_characters"},
		{"a line separator", "https://receiver.example.org/\u2028", "invalid_characters"},
		{"a bidi override", "https://receiver.example.org/\u202egpj", "invalid_characters"},
		{"a bidi isolate", "https://receiver.example.org/\u2066x", "invalid_characters"},
		{"a zero-width space", "https://receiver\u200b.example.org/", "invalid_characters"},
		{"a soft hyphen", "https://recei\u00adver.example.org/", "invalid_characters"},
		{"a byte order mark", "\ufeffhttps://receiver.example.org/", "invalid_characters"},
		{"invalid UTF-8", "https://receiver.example.org/\xff", "invalid_characters"},
		{"a backslash in the authority", `https://10.20.30.40\@receiver.example.org/`, "invalid_characters"},
		{"a backslash in the path", `https://receiver.example.org/\`, "invalid_characters"},
		{"user information", "https://bob:secret@receiver.example.org/", "userinfo"},
		{"a user", "https://bob@receiver.example.org/", "userinfo"},
		{"empty user information", "https://@receiver.example.org/", "userinfo"},
		{"a name as user information", "https://receiver.example.org@10.20.30.40/", "userinfo"},
		{"a fragment", "https://receiver.example.org/#x", "fragment"},
		{"an empty fragment", "https://receiver.example.org/#", "fragment"},
		{"a fragment before the host's end", "https://receiver.example.org#@10.20.30.40/", "fragment"},
		{"port 0", "https://receiver.example.org:0/", "port"},
		{"port 65536", "https://receiver.example.org:65536/", "port"},
		{"port 99999", "https://receiver.example.org:99999/", "port"},
		{"a negative port", "https://receiver.example.org:-1/", "port"},
		{"a signed port", "https://receiver.example.org:+443/", "port"},
		{"a port with a zero before it", "https://receiver.example.org:0443/", "port"},
		{"an empty port", "https://receiver.example.org:/", "port"},
		{"a named port", "https://receiver.example.org:https/", "port"},
		{"fullwidth digits as a port", "https://receiver.example.org:４４３/", "port"},
		{"two ports", "https://receiver.example.org:80:443/", "port"},
		{"a bracketed name", "https://[receiver.example.org]/", "host"},
		{"a bracketed IPv4 address", "https://[8.8.8.8]/", "host"},
		{"a bracket without end", "https://[2606:4700::1111/", "host"},
		{"text behind the bracket", "https://[2606:4700::1111]x/", "port"},
		{"an empty bracket", "https://[]/", "host"},
		{"an IPv6 address without brackets", "https://2606:4700::1111/", "port"},
		{"a zone", "https://[fe80::abcd%25eth1]/", "host"},
		{"a raw zone", "https://[fe80::abcd%eth1]/", "host"},
		{"a percent-encoded host", "https://%31%30.20.30.40/", "host"},
		{"a percent-encoded dot", "https://receiver%2eexample.org/", "host"},
		{"an empty label", "https://receiver..example.org/", "host"},
		{"a dot before", "https://.receiver.example.org/", "host"},
		{"only a dot", "https://./", "host"},
		{"two dots behind", "https://receiver.example.org../", "host"},
		{"a label of 64", "https://" + strings.Repeat("a", 64) + ".example/", "host"},
		{"a name of 254", "https://" + strings.Repeat("aa.", 84) + "aa/", "host"},
		{"a comma", "https://a,b.example/", "host"},
		{"an exclamation mark", "https://a!b.example/", "host"},
		{"a fullwidth slash", "https://receiver.example.org／x.evil.example/", "host"},
		{"a fullwidth at sign", "https://receiver.example.org＠evil.example/", "host"},
		{"a care-of sign", "https://a℀.example/", "host"},
		{"broken punycode", "https://xn--0.example/", "host"},
		{"an octal address", "https://0177.0.0.1/", "host"},
		{"a decimal address", "https://2130706433/", "host"},
		{"a hexadecimal address", "https://0x7f000001/", "host"},
		{"a hexadecimal part", "https://127.0.0.0x1/", "host"},
		{"a short address", "https://127.1/", "host"},
		{"five parts", "https://1.2.3.4.5/", "host"},
		{"a part above 255", "https://1.2.3.256/", "host"},
		{"a part with a zero before it", "https://8.8.8.08/", "host"},
		{"a numeric last label", "https://example.123/", "host"},
		{"a hexadecimal last label", "https://example.0xabc/", "host"},
		{"a bare 0x", "https://example.0x/", "host"},
		{"loopback", "https://127.0.0.1/", "forbidden_address"},
		{"loopback with a dot behind", "https://127.0.0.1./", "forbidden_address"},
		{"loopback in fullwidth digits", "https://１２７.０.０.１/", "forbidden_address"},
		{"loopback in circled digits", "https://①②⑦.⓪.⓪.①/", "forbidden_address"},
		{"loopback with ideographic dots", "https://127。0。0。1/", "forbidden_address"},
		{"a private address", "https://10.20.30.40/", "forbidden_address"},
		{"a private address with a port", "https://10.20.30.40:8443/", "forbidden_address"},
		{"the cloud's metadata", "https://169.254.169.254/latest/", "forbidden_address"},
		{"Oracle's metadata", "https://192.0.0.192/", "forbidden_address"},
		{"Alibaba's metadata", "https://100.100.100.200/", "forbidden_address"},
		{"Azure's host services", "https://168.63.129.16/", "forbidden_address"},
		{"AWS's metadata", "https://[fd00:ec2::254]/", "forbidden_address"},
		{"unspecified", "https://0.0.0.0/", "forbidden_address"},
		{"broadcast", "https://255.255.255.255/", "forbidden_address"},
		{"multicast", "https://224.0.0.1/", "forbidden_address"},
		{"IPv6 loopback", "https://[::1]/", "forbidden_address"},
		{"IPv6 unspecified", "https://[::]/", "forbidden_address"},
		{"mapped loopback", "https://[::ffff:127.0.0.1]/", "forbidden_address"},
		{"mapped loopback in hexadecimal", "https://[::ffff:7f00:1]/", "forbidden_address"},
		{"compatible loopback", "https://[::127.0.0.1]/", "forbidden_address"},
		{"NAT64", "https://[64:ff9b::10.20.30.40]/", "forbidden_address"},
		{"local NAT64", "https://[64:ff9b:1::10.20.30.40]/", "forbidden_address"},
		{"6to4", "https://[2002:0a14:1e28::1]/", "forbidden_address"},
		{"Teredo", "https://[2001:0:808:808::1]/", "forbidden_address"},
		{"ISATAP", "https://[2606:4700::5efe:a14:1e28]/", "forbidden_address"},
		{"unique local", "https://[fd12::1]/", "forbidden_address"},
		{"a broken escape in the path", "https://receiver.example.org/%zz", "path"},
		{"half an escape in the path", "https://receiver.example.org/%2", "path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fault := g.CheckURL(tt.url)
			if fault == nil || fault.Code != tt.code || fault.Msg == "" {
				t.Errorf("CheckURL(%q) = %+v, want code %q", tt.url, fault, tt.code)
			}
		})
	}
}

func TestE1toE6_accepts(t *testing.T) {
	t.Parallel()
	g := testGuard(t, Policy{})
	tests := []struct{ name, url, host, wire string }{
		{"a plain URL", "https://receiver.example.org/hook", "receiver.example.org", "/hook"},
		{"no path", "https://receiver.example.org", "receiver.example.org", "/"},
		{"only a query", "https://receiver.example.org?a=1", "receiver.example.org", "/?a=1"},
		{"an empty query", "https://receiver.example.org/a?", "receiver.example.org", "/a?"},
		{"capitals and a port", "HTTPS://RECEIVER.example.org:8443/Hook?x=%20", "receiver.example.org:8443", "/Hook?x=%20"},
		{"the default port", "https://receiver.example.org:443/", "receiver.example.org", "/"},
		{"a trailing dot", "https://receiver.example.org./x", "receiver.example.org", "/x"},
		{"a name that starts like an address", "https://10.20.30.40.example.org/hook", "10.20.30.40.example.org", "/hook"},
		{"a name that starts like a hexadecimal number", "https://0x7f.example/", "0x7f.example", "/"},
		{"a single label", "https://my-subscription/", "my-subscription", "/"},
		{"localhost", "https://localhost:8080/x", "localhost:8080", "/x"},
		{"an internal name", "https://receiver.internal/", "receiver.internal", "/"},
		{"an underscore", "https://my_host.example/", "my_host.example", "/"},
		{"hyphens anywhere", "https://-a.b-.r3---x.example/", "-a.b-.r3---x.example", "/"},
		{"a label of 63", "https://" + strings.Repeat("a", 63) + ".example/", strings.Repeat("a", 63) + ".example", "/"},
		{"umlauts", "https://Bücher.example/", "xn--bcher-kva.example", "/"},
		{"a sharp s stays itself", "https://straße.example/", "xn--strae-oqa.example", "/"},
		{"punycode", "https://XN--BCHER-KVA.example/", "xn--bcher-kva.example", "/"},
		{"ideographic dots", "https://receiver。example．org/", "receiver.example.org", "/"},
		{"a public address", "https://8.8.8.8/x", "8.8.8.8", "/x"},
		{"a public IPv6 address", "https://[2606:4700:4700:0::1111]:8443/", "[2606:4700:4700::1111]:8443", "/"},
		{"a mapped public address", "https://[::ffff:8.8.8.8]/", "8.8.8.8", "/"},
		{"escapes stay as they are", "https://receiver.example.org/%2F%2e%7E%c3%a9;a=b,c/@:!$&'()*+=?q=%zz&r=a/b?c%2F", "receiver.example.org", "/%2F%2e%7E%c3%a9;a=b,c/@:!$&'()*+=?q=%zz&r=a/b?c%2F"},
		{"dot segments stay", "https://receiver.example.org/a/../b/./c//d", "receiver.example.org", "/a/../b/./c//d"},
		{"two slashes", "https://receiver.example.org//a", "receiver.example.org", "//a"},
		{"brackets in path and query", "https://receiver.example.org/a[1]?b[2]={x|y}", "receiver.example.org", "/a[1]?b[2]={x|y}"},
		{"characters that must be encoded", "https://receiver.example.org/é\"<>^`{|}?é\"<>", "receiver.example.org", "/%C3%A9%22%3C%3E%5E%60%7B%7C%7D?%C3%A9%22%3C%3E"},
		{"an at sign and a colon in the path", "https://receiver.example.org/a@b:c", "receiver.example.org", "/a@b:c"},
		{"2000 characters", "https://receiver.example.org/" + strings.Repeat("a", 2000-29), "receiver.example.org", "/" + strings.Repeat("a", 2000-29)},
		{"2000 characters of several bytes", "https://receiver.example.org/" + strings.Repeat("é", 2000-29), "receiver.example.org", "/" + strings.Repeat("%C3%A9", 2000-29)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target, fault := g.Parse(tt.url)
			if fault != nil {
				t.Fatalf("Parse(%q): %v", tt.url, fault)
			}
			if target.url.Host != tt.host || target.url.RequestURI() != tt.wire || target.url.Scheme != "https" {
				t.Errorf("Parse(%q) = %s %s %s, want host %s, wire %s", tt.url, target.url.Scheme, target.url.Host, target.url.RequestURI(), tt.host, tt.wire)
			}
		})
	}
}

func TestE5_policy(t *testing.T) {
	t.Parallel()
	lists := Policy{Allow: []string{"127.0.0.0/8", "10.1.2.3", "::1", "fd00::/8", "Receiver.Internal", "::ffff:192.168.0.0/112"}}
	withHTTP := Policy{Allow: lists.Allow, AllowHTTP: true}
	tests := []struct {
		name   string
		policy Policy
		url    string
		code   string // "" = accepted
	}{
		{"a listed block", lists, "https://127.0.0.1:8443/", ""},
		{"a listed address", lists, "https://10.1.2.3/", ""},
		{"the address beside it", lists, "https://10.1.2.4/", "forbidden_address"},
		{"a listed IPv6 address", lists, "https://[::1]/", ""},
		{"a listed IPv6 block", lists, "https://[fd00::7]/", ""},
		{"a mapped spelling of a listed address", lists, "https://[::ffff:127.0.0.1]/", ""},
		{"a block listed in mapped form", lists, "https://192.168.7.7/", ""},
		{"plain http without permission", lists, "http://127.0.0.1/", "scheme"},
		{"plain http to a listed address", withHTTP, "http://127.0.0.1/", ""},
		{"plain http to a public address", withHTTP, "http://8.8.8.8/", "plain_http"},
		{"plain http to a private address that is not listed", withHTTP, "http://10.1.2.4/", "plain_http"},
		{"plain http to a name", withHTTP, "http://receiver.internal/", ""},
		{"permission without a list", Policy{AllowHTTP: true}, "http://127.0.0.1/", "plain_http"},
		{"everything listed, unspecified", Policy{Allow: []string{"0.0.0.0/0", "::/0"}}, "https://0.0.0.0/", "forbidden_address"},
		{"everything listed, multicast", Policy{Allow: []string{"0.0.0.0/0", "::/0"}}, "https://[ff02::1]/", "forbidden_address"},
		{"everything listed, broadcast", Policy{Allow: []string{"0.0.0.0/0"}}, "https://255.255.255.255/", "forbidden_address"},
		{"everything listed, private", Policy{Allow: []string{"0.0.0.0/0"}}, "https://192.168.0.1/", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fault := testGuard(t, tt.policy).CheckURL(tt.url)
			if got := codeOf(fault); got != tt.code {
				t.Errorf("CheckURL(%q) = %q, want %q", tt.url, got, tt.code)
			}
		})
	}
}

func codeOf(f *URLFault) string {
	if f == nil {
		return ""
	}
	return f.Code
}

func TestNewGuard_namesTheBadEntry(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"", " ", "10.0.0.0/33", "10.0.0", "a b", "http://x", "host:80", "[::1", "fe80::1%eth0", "*.example", "0x7f000001"} {
		if _, err := NewGuard(Policy{Allow: []string{"127.0.0.0/8", entry}}); err == nil || !strings.Contains(err.Error(), `"`+entry+`"`) {
			t.Errorf("NewGuard(%q) = %v, want an error that names it", entry, err)
		}
	}
}

func TestE5_inspector(t *testing.T) {
	t.Parallel()
	listen := netip.MustParseAddrPort("127.0.0.1:8080")
	tests := []struct{ name, public, url, code string }{
		{"a bin", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/bin_1", ""},
		{"a bin below the slash", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/inspect/bin_1/a/b?c=d", ""},
		{"a bin by another spelling", "http://127.0.0.1:8080", "HTTP://127。0.0.1.:8080/inspect/bin_1", ""},
		{"a bin behind a name", "https://consents.example", "https://CONSENTS.example:443/inspect/bin_1", ""},
		{"a bin behind a name over http", "http://consents.example", "http://consents.example/inspect/bin_1", ""},
		{"a bin below a folder", "https://example.com/cw/", "https://example.com/cw/inspect/bin_1", ""},
		{"another path", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/applications", "scheme"},
		{"the prefix without its slash", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect", "scheme"},
		{"the prefix as a beginning", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspector/x", "scheme"},
		{"the prefix in other letters", "http://127.0.0.1:8080", "http://127.0.0.1:8080/Inspect/x", "scheme"},
		{"dot segments out of it", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/../v1/applications", "scheme"},
		{"a dot segment at the end", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/..", "scheme"},
		{"encoded dot segments", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/%2e%2E/v1", "scheme"},
		{"half encoded dot segments", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/.%2e/v1", "scheme"},
		{"an encoded slash", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/..%2Fv1", "scheme"},
		{"an encoded backslash", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/..%5cv1", "scheme"},
		{"twice encoded", "http://127.0.0.1:8080", "http://127.0.0.1:8080/inspect/%252e%252e/v1", "scheme"},
		{"another port", "http://127.0.0.1:8080", "http://127.0.0.1:8081/inspect/bin_1", "scheme"},
		{"another host", "http://127.0.0.1:8080", "http://127.0.0.2:8080/inspect/bin_1", "scheme"},
		{"another scheme", "http://127.0.0.1:8080", "https://127.0.0.1:8080/inspect/bin_1", "forbidden_address"},
		{"user information", "http://127.0.0.1:8080", "http://a@127.0.0.1:8080/inspect/bin_1", "userinfo"},
		{"no public URL", "", "http://127.0.0.1:8080/inspect/bin_1", "scheme"},
		{"outside of the folder", "https://example.com/cw", "https://example.com/inspect/bin_1", ""}, // an ordinary name
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := testGuard(t, Policy{})
			if err := g.SetOwn(tt.public, listen); err != nil {
				t.Fatal(err)
			}
			if got := codeOf(g.CheckURL(tt.url)); got != tt.code {
				t.Errorf("CheckURL(%q) = %q, want %q", tt.url, got, tt.code)
			}
		})
	}
	for _, bad := range []string{"consents.example", "ftp://x", "https://a@b", "https://a/?b", "https://a#b"} {
		if err := testGuard(t, Policy{}).SetOwn(bad); err == nil {
			t.Errorf("SetOwn(%q) = nil, want an error", bad)
		}
	}
}

func TestE5_ownAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, listen, url string
		refused           bool
	}{
		{"our listener", "127.0.0.1:8080", "https://127.0.0.1:8080/", true},
		{"our listener, mapped", "[::ffff:127.0.0.1]:8080", "https://127.0.0.1:8080/", true},
		{"our listener, asked for mapped", "127.0.0.1:8080", "https://[::ffff:127.0.0.1]:8080/", true},
		{"another port", "127.0.0.1:8080", "https://127.0.0.1:8081/", false},
		{"another address", "127.0.0.1:8080", "https://127.0.0.2:8080/", false},
		{"a listener everywhere", "0.0.0.0:8080", "https://127.0.0.2:8080/", true},
		{"a listener everywhere, IPv6", "[::]:8080", "https://[::1]:8080/", true},
		{"a listener everywhere, elsewhere", "0.0.0.0:8080", "https://8.8.8.8:8080/", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := testGuard(t, Policy{Allow: []string{"127.0.0.0/8", "::1"}})
			if err := g.SetOwn("", netip.MustParseAddrPort(tt.listen)); err != nil {
				t.Fatal(err)
			}
			if fault := g.CheckURL(tt.url); (fault != nil) != tt.refused {
				t.Errorf("CheckURL(%q) = %v, want refused %v", tt.url, fault, tt.refused)
			}
		})
	}
}

func TestE9_query(t *testing.T) {
	t.Parallel()
	g := testGuard(t, Policy{})
	tests := []struct{ name, url, want string }{
		{"no query", "https://a.example/x", "/x?k%20=1%262%3D3%2B%C3%A9"},
		{"no path", "https://a.example", "/?k%20=1%262%3D3%2B%C3%A9"},
		{"a query that stays", "https://a.example/x?a=%zz+b&c", "/x?a=%zz+b&c&k%20=1%262%3D3%2B%C3%A9"},
		{"an empty query", "https://a.example/x?", "/x?k%20=1%262%3D3%2B%C3%A9"},
		{"an ampersand at the end", "https://a.example/x?a=b&", "/x?a=b&k%20=1%262%3D3%2B%C3%A9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target, fault := g.Parse(tt.url)
			if fault != nil {
				t.Fatal(fault)
			}
			before := target.URL()
			with := target.WithQuery("k ", "1&2=3+é")
			if got := with.url.RequestURI(); got != tt.want {
				t.Errorf("RequestURI = %q, want %q", got, tt.want)
			}
			if target.URL() != before {
				t.Errorf("the first target changed to %q", target.URL())
			}
			if strings.Contains(with.String()+with.GoString()+with.LogValue().String(), "1%26") {
				t.Errorf("%s shows its query", with)
			}
		})
	}
}

// Whatever is accepted is read by net/http as it was checked, and checking
// it again changes nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"https://receiver.example.org/hook?x=%20", "HTTPS://[::ffff:8.8.8.8]:8443//a/../b", "https://①②⑦.⓪.⓪.①/",
		"https://bücher。example./é?\"<", "https://a_b.-c/%2f;x=y", "https://\u200cx.example", "https://xn--a/", "https://0x.a/",
		"http://127.0.0.1:8080/inspect/%2e%2e/x", "https://a:443?b=c?d", "https://[fe80::1%25eth0]/",
	} {
		f.Add(s)
	}
	g := testGuard(f, Policy{})
	if err := g.SetOwn("http://127.0.0.1:8080"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		target, fault := g.Parse(raw)
		if fault != nil {
			if fault.Code == "" || fault.Msg == "" {
				t.Fatalf("Parse(%q): a fault without code or sentence", raw)
			}
			return
		}
		u := target.url
		if u.User != nil || u.Fragment != "" || u.Opaque != "" || u.Hostname() == "" || strings.ContainsAny(u.Host, "@%/\\ ") {
			t.Fatalf("Parse(%q) = %#v", raw, *u)
		}
		for _, s := range []string{u.Host, u.RequestURI()} {
			if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Fatalf("Parse(%q) would send %q", raw, s)
			}
		}
		if len(target.URL()) > maxURL {
			return // encoding made it longer
		}
		again, fault := g.Parse(target.URL())
		if fault != nil || again.URL() != target.URL() || again.own != target.own {
			t.Fatalf("Parse(%q) = %q, and again %v, %v", raw, target.URL(), again, fault)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && !target.own && !g.blocks.public(a) {
			t.Fatalf("Parse(%q) accepted %s", raw, a)
		}
	})
}
