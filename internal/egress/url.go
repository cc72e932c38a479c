package egress

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURL is the longest URL in code points. Source: "Update a Subscription",
// url (1..2000).
const maxURL = 2000

// URLFault is why a URL, or a host alone, may not be configured. Of a host the
// codes are invalid_host, plain_refused and forbidden_address.
type URLFault struct {
	Code string // required, too_long, invalid_characters, scheme, userinfo, fragment, host, port, path, plain_http, forbidden_address
	Msg  string // one sentence for the caller; it never repeats the URL
}

// Error returns the sentence.
func (f *URLFault) Error() string { return f.Msg }

// Target is a URL that passed the rules, parsed once for many requests. It is
// immutable. It prints without its query, which may hold a key.
type Target struct {
	url *url.URL
	own bool // under our own public URL's /inspect/

	origin  string // scheme and authority
	address string // host and port, to be dialled
	path    string // with the query, as it is requested
}

func newTarget(u *url.URL, own bool) *Target {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return &Target{url: u, own: own, origin: u.Scheme + "://" + u.Host, address: net.JoinHostPort(u.Hostname(), port), path: u.RequestURI()}
}

// String returns the URL without its query.
func (t *Target) String() string {
	if t == nil {
		return ""
	}
	return t.url.Scheme + "://" + t.url.Host + t.url.EscapedPath()
}

// GoString returns the URL without its query.
func (t *Target) GoString() string { return t.String() }

// LogValue returns the URL without its query.
func (t *Target) LogValue() slog.Value { return slog.StringValue(t.String()) }

// URL returns the whole URL as it is requested.
func (t *Target) URL() string { return t.url.String() }

// WithQuery returns the target with one more parameter at the end of its
// query; what was there stays as it was written. Both parts are
// percent-encoded.
func (t *Target) WithQuery(name, value string) *Target {
	u := *t.url
	switch {
	case u.RawQuery == "":
	case strings.HasSuffix(u.RawQuery, "&"):
	default:
		u.RawQuery += "&"
	}
	u.RawQuery += PercentEncode(name) + "=" + PercentEncode(value)
	return newTarget(&u, t.own)
}

// PercentEncode encodes every byte but the unreserved characters of RFC 3986
// 2.3, so that a text is the same in every part of a URL.
func PercentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// parts is a URL taken apart.
type parts struct {
	scheme string     // "http" or "https"
	host   string     // an address, or a name in lower case, ASCII, without a trailing dot
	addr   netip.Addr // when host is an address, un-mapped
	port   uint16
	rest   string // path and query as given
}

// origin returns scheme, host and port, the default port left out.
func (p parts) origin() string { return p.scheme + "://" + p.authority() }

func (p parts) authority() string {
	host := p.host
	if p.addr.Is6() {
		host = "[" + host + "]"
	}
	if p.port == defaultPort(p.scheme) {
		return host
	}
	return host + ":" + strconv.Itoa(int(p.port))
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}

// split takes a URL apart by RULES E1 to E4 and refuses what cannot be read
// in one way only. It knows nothing of policy.
func split(raw string) (parts, *URLFault) {
	if raw == "" {
		return parts{}, &URLFault{"required", "A URL is needed."}
	}
	if !utf8.ValidString(raw) {
		return parts{}, &URLFault{"invalid_characters", "The URL is not valid UTF-8."}
	}
	if utf8.RuneCountInString(raw) > maxURL {
		return parts{}, &URLFault{"too_long", "The URL is longer than 2000 characters."}
	}
	if strings.ContainsFunc(raw, forbiddenRune) {
		return parts{}, &URLFault{"invalid_characters", "The URL holds white space, a control character, a backslash or an invisible character."}
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	p := parts{scheme: strings.ToLower(scheme)}
	if !ok || p.scheme != "https" && p.scheme != "http" {
		return parts{}, &URLFault{"scheme", "The URL must start with https://."}
	}
	if strings.Contains(rest, "#") {
		return parts{}, &URLFault{"fragment", "The URL must not have a fragment (#)."}
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, p.rest = rest[:i], rest[i:]
	}
	if strings.Contains(authority, "@") {
		return parts{}, &URLFault{"userinfo", "The URL must not hold user information (@); credentials belong in the authentication."}
	}
	host, port, fault := splitPort(authority)
	if fault != nil {
		return parts{}, fault
	}
	switch {
	case port != "":
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] < '1' || port[0] > '9' {
			return parts{}, &URLFault{"port", "The URL's port must be a number from 1 to 65535."}
		}
		p.port = uint16(n)
	default:
		p.port = defaultPort(p.scheme)
	}
	if p.host, p.addr, fault = normalHost(host); fault != nil {
		return parts{}, fault
	}
	return p, nil
}

// forbiddenRune tells whether r may stand nowhere in a URL: white space,
// controls, the backslash that some parsers read as a slash, and characters
// that are not seen or turn the writing around.
func forbiddenRune(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d' // some languages need them in names
	return r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r) ||
		unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && r != zeroWidthNonJoiner && r != zeroWidthJoiner
}

// splitPort cuts an authority without user information.
func splitPort(authority string) (host, port string, fault *URLFault) {
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return "", "", &URLFault{"host", "The URL's host has an opening bracket without a closing one."}
		}
		host, port = authority[:end+1], authority[end+1:]
		if port == "" {
			return host, "", nil
		}
		if port[0] != ':' || port == ":" {
			return "", "", &URLFault{"port", "The URL's port must be a number from 1 to 65535."}
		}
		return host, port[1:], nil
	}
	host, port, ok := strings.Cut(authority, ":")
	if ok && (port == "" || strings.Contains(port, ":")) {
		return "", "", &URLFault{"port", "The URL's port must be a number from 1 to 65535."}
	}
	return host, port, nil
}

// normalHost returns the host as it is looked up and checked, and its address
// when it is one.
func normalHost(raw string) (string, netip.Addr, *URLFault) {
	bad := func(msg string) (string, netip.Addr, *URLFault) {
		return "", netip.Addr{}, &URLFault{"host", msg}
	}
	if inner, ok := strings.CutPrefix(raw, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if err != nil || !closed || !a.Is6() || a.Zone() != "" {
			return bad("Brackets in the URL's host are for an IPv6 address without a zone.")
		}
		a = a.Unmap()
		return a.String(), a, nil
	}
	if strings.Contains(raw, "%") {
		return bad("The URL's host must not be percent-encoded.")
	}
	// Mapping comes before every check: it makes digits of circled and
	// fullwidth ones, and dots of ideographic ones.
	mapping := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))
	host, err := mapping.ToASCII(raw)
	if err != nil {
		return bad("The URL's host is not a valid name.")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" {
		return bad("The URL has no host.")
	}
	if len(host) > 253 {
		return bad("The URL's host is longer than 253 characters.")
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if len(label) == 0 || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return bad("The URL's host must be a name of labels with 1 to 63 letters, digits, hyphens and underscores, or an address.")
		}
		last = label
	}
	if strings.HasPrefix(last, "0x") || !strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' }) {
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is4() {
			return bad("The URL's host looks like an IPv4 address but is not four decimal numbers.")
		}
		return host, a, nil
	}
	return host, netip.Addr{}, nil
}

// target returns the parsed URL. The path and query are sent as they were
// given, but for characters that cannot stand in a request: those are
// percent-encoded.
func (p parts) target() (*Target, *URLFault) {
	path, query, hasQuery := strings.Cut(p.rest, "?")
	wire := encodeIllegal(path, "\"<>^`{|}")
	if hasQuery {
		wire += "?" + encodeIllegal(query, "\"<>")
	}
	u, err := url.Parse(p.origin() + wire)
	if err != nil {
		return nil, &URLFault{"path", "The URL's path has a percent sign that is not followed by two hexadecimal digits."}
	}
	if wire == "" || wire[0] == '?' {
		wire = "/" + wire
	}
	if u.RequestURI() != wire {
		return nil, &URLFault{"path", "The URL's path cannot be sent as it is written."}
	}
	return newTarget(u, false), nil
}

func encodeIllegal(s, illegal string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || strings.IndexByte(illegal, c) >= 0 {
			b.WriteString(PercentEncode(s[i : i+1]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// under tells whether the path stays below prefix whoever reads it: no
// segment steps up or hides a slash, a dot or another percent sign behind an
// encoding.
func under(path, prefix string) bool {
	if !strings.HasPrefix(path, prefix) {
		return false
	}
	lower := strings.ToLower(path)
	for _, hidden := range []string{"%2e", "%2f", "%5c", "%25"} {
		if strings.Contains(lower, hidden) {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// hostPort is what a dialer is asked for: a name or an address, and a port.
func hostPort(address string) (host string, addr netip.Addr, port uint16, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", netip.Addr{}, 0, err
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return "", netip.Addr{}, 0, err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		addr = a.Unmap()
	}
	return host, addr, uint16(n), nil
}
