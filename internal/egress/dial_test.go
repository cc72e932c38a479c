package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// names is a stub of the name servers. Each look-up of a name takes the next
// of its answers; the last one repeats.
type names struct {
	mu      sync.Mutex
	answers map[string][][]string
	asked   map[string]int
}

func (n *names) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.answers[host]
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if n.asked == nil {
		n.asked = map[string]int{}
	}
	now := all[min(n.asked[host], len(all)-1)]
	n.asked[host]++
	var out []netip.Addr
	for _, a := range now {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// TestE5_oneResolutionPerDial: what was resolved is checked, and nothing but
// what was checked is dialled. 127.0.0.1 stands for a permitted address and
// 127.0.0.2 for a forbidden one, on which a canary listens at the same port.
func TestE5_oneResolutionPerDial(t *testing.T) {
	t.Parallel()
	const (
		refused = "not a public address"
		nobody  = "refused the connection"
	)
	a := newAuthority(t)
	good := a.issue(t, time.Now().Add(time.Hour))
	tests := []struct {
		name    string
		answers [][]string
		want    []string // of each attempt: "" for an answer, or a part of the reason
	}{
		{"permitted", [][]string{{"127.0.0.1"}}, []string{"", ""}},
		{"a mapped spelling of it", [][]string{{"::ffff:127.0.0.1"}}, []string{"", ""}},
		{"forbidden", [][]string{{"127.0.0.2"}}, []string{refused, refused}},
		{"a second look-up turns to a forbidden address", [][]string{{"127.0.0.1"}, {"127.0.0.2"}}, []string{"", refused}},
		{"and back", [][]string{{"127.0.0.2"}, {"127.0.0.1"}, {"127.0.0.2"}}, []string{refused, "", refused}},
		{"the forbidden one first", [][]string{{"127.0.0.2", "127.0.0.1"}}, []string{""}},
		{"the forbidden one last", [][]string{{"127.0.0.1", "127.0.0.2"}}, []string{""}},
		{"a forbidden one is no way round a dead one", [][]string{{"127.0.0.3", "127.0.0.2"}}, []string{nobody, nobody}},
		{"a forbidden mapped one is none either", [][]string{{"127.0.0.3", "::ffff:127.0.0.2"}}, []string{nobody}},
		{"a permitted one is", [][]string{{"127.0.0.3", "127.0.0.1"}}, []string{""}},
		{"IPv6 loopback", [][]string{{"::1"}}, []string{refused}},
		{"IPv6 unspecified", [][]string{{"::"}}, []string{refused}},
		{"unspecified", [][]string{{"0.0.0.0"}}, []string{refused}},
		{"mapped", [][]string{{"::ffff:127.0.0.2"}}, []string{refused}},
		{"compatible", [][]string{{"::127.0.0.2"}}, []string{refused}},
		{"NAT64", [][]string{{"64:ff9b::127.0.0.2"}}, []string{refused}},
		{"local NAT64", [][]string{{"64:ff9b:1::127.0.0.2"}}, []string{refused}},
		{"6to4", [][]string{{"2002:7f00:2::1"}}, []string{refused}},
		{"Teredo", [][]string{{"2001::80ff:fffd"}}, []string{refused}},
		{"ISATAP", [][]string{{"2606:4700::5efe:127.0.0.2"}}, []string{refused}},
		{"a zone", [][]string{{"fe80::1%lo"}}, []string{refused}},
		{"a zone on a permitted address", [][]string{{"::ffff:127.0.0.1%lo"}}, []string{refused}},
		{"metadata", [][]string{{"169.254.169.254"}}, []string{refused}},
		{"no address", [][]string{{}}, []string{"does not exist or has no address"}},
		{"no such name", nil, []string{"does not exist or has no address"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, good, func(l *line) { // one answer per connection, so that each attempt dials
				if l.secure() && l.request() != nil {
					l.say("HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				}
			})
			canary, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), r.addrPort().Port()).String())
			if err != nil {
				t.Fatal(err)
			}
			defer canary.Close()
			n := &names{answers: map[string][][]string{"receiver.example.org": tt.answers}}
			rules := 0
			c := testClient(t, a, func(o *Options) {
				o.Guard = testGuard(t, Policy{Allow: []string{"127.0.0.1", "127.0.0.3"}})
				o.Resolve = n.resolve
				o.Refused = func(rule string) {
					rules++
					if rule != "reserved_address" {
						t.Errorf("the rule is %q", rule)
					}
				}
			})
			target := testTarget(t, fmt.Sprintf("https://receiver.example.org:%d/", r.addrPort().Port()))
			wantRules := 0
			for i, want := range tt.want {
				resp, err := c.Do(t.Context(), &Request{Target: target, Body: []byte("{}"), Timeout: 10 * time.Second})
				if want == "" {
					if err != nil || resp.Status != 200 {
						t.Errorf("attempt %d: %v, %v, want status 200", i+1, resp, err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("attempt %d: %v, %v, want an error with %q", i+1, resp, err, want)
				}
				checkError(t, err, []string{StepDNS, StepConnect})
				if want == refused {
					wantRules++
				}
			}
			if rules != wantRules {
				t.Errorf("%d refusals were told, want %d", rules, wantRules)
			}
			if got := n.asked["receiver.example.org"]; tt.answers != nil && got != len(tt.want) {
				t.Errorf("the name was resolved %d times for %d dials", got, len(tt.want))
			}
			_ = canary.(*net.TCPListener).SetDeadline(time.Now())
			if conn, err := canary.Accept(); err == nil {
				conn.Close()
				t.Error("the forbidden address was dialled")
			}
		})
	}
}

// TestE5_E6_allowList: an operator's list opens addresses by block, by
// address and by name; a name opens nothing for another name.
func TestE5_E6_allowList(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), respond(answer(200, "ok")))
	n := &names{answers: map[string][][]string{"one.receiver.example": {{"127.0.0.1"}}, "two.receiver.example": {{"127.0.0.1"}}, "localhost": {{"127.0.0.1"}}}}
	tests := []struct {
		name  string
		allow []string
		host  string
		want  bool
	}{
		{"nothing", nil, "one.receiver.example", false},
		{"nothing, localhost", nil, "localhost", false},
		{"a block", []string{"127.0.0.0/8"}, "one.receiver.example", true},
		{"a mapped block", []string{"::ffff:127.0.0.0/104"}, "one.receiver.example", true},
		{"another block", []string{"10.0.0.0/8", "::/0"}, "one.receiver.example", false},
		{"an address", []string{"127.0.0.1"}, "localhost", true},
		{"another address", []string{"127.0.0.2"}, "localhost", false},
		{"the name", []string{"One.Receiver.Example."}, "one.receiver.example", true},
		{"the name in another spelling", []string{"one.receiver.example"}, "ONE。receiver.EXAMPLE", true},
		{"another name", []string{"two.receiver.example"}, "one.receiver.example", false},
		{"a parent", []string{"receiver.example"}, "one.receiver.example", false},
		{"the address of a listed name", []string{"one.receiver.example"}, "127.0.0.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := testClient(t, a, func(o *Options) { o.Guard, o.Resolve = testGuard(t, Policy{Allow: tt.allow}), n.resolve })
			resp, err := c.Do(t.Context(), &Request{Target: testTarget(t, fmt.Sprintf("https://%s:%d/", tt.host, r.addrPort().Port())), Body: []byte("{}"), Timeout: 10 * time.Second})
			if (err == nil) != tt.want || err == nil && resp.Status != 200 {
				t.Errorf("got %v, %v, want an answer: %v", resp, err, tt.want)
			}
			if err != nil {
				checkError(t, hideLiteral(err, tt.host), []string{StepConnect})
			}
		})
	}
}

// hideLiteral takes the address out that the owner wrote himself.
func hideLiteral(err error, literal string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	return &Error{e.Step, strings.ReplaceAll(e.Reason, literal, "it"), e.Err}
}

// TestE5_ownListener: our own listener is reached below the public URL's
// /inspect/ and in no other way, whatever the operator lists; nothing uses a
// connection that was opened for the inspector.
func TestE5_ownListener(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
		if first, err := l.in.Peek(1); err != nil || first[0] == 0x16 && !l.secure() { // both with and without TLS
			return
		}
		for l.request() != nil && l.say(answer(200, "ok")) {
		}
	})
	port := r.addrPort().Port()
	n := &names{answers: map[string][][]string{"one.receiver.example": {{"127.0.0.1"}}}}
	for _, public := range []string{"http://127.0.0.1:%d", "https://127.0.0.1:%d", "http://one.receiver.example:%d/", "https://one.receiver.example:%d/base"} {
		public = fmt.Sprintf(public, port)
		t.Run(public[:5], func(t *testing.T) {
			guard := testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})
			if err := guard.SetOwn(public, r.addrPort()); err != nil {
				t.Fatal(err)
			}
			told := ""
			c := testClient(t, a, func(o *Options) {
				o.Guard, o.Resolve, o.Refused = guard, n.resolve, func(rule string) { told = rule }
			})
			// What a stored configuration may hold although it would be refused now.
			before := testGuard(t, Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true})
			ident := mustIdentity(t, credentials{}, string(a.pem()))
			for _, ident := range []*Identity{nil, ident, nil, ident} {
				for _, tt := range []struct {
					path string
					own  bool
				}{{"/inspect/bin_1/x", true}, {"/v1/applications", false}, {"/inspect/../v1/applications", false}, {"/inspect/%2e%2e/v1", false}, {"/Inspect/bin_1", false}} {
					url := strings.TrimSuffix(public, "/") + tt.path
					target, _ := guard.Parse(url)
					if target == nil || !target.own {
						var fault *URLFault
						if target, fault = before.Parse(url); fault != nil {
							t.Fatal(fault)
						}
					}
					told = ""
					resp, err := c.Do(t.Context(), &Request{Target: target, Body: []byte("{}"), Identity: ident, Timeout: 10 * time.Second})
					if tt.own != (err == nil) || tt.own && resp.Status != 200 || !tt.own && told != "own_address" {
						t.Errorf("%s: got %v, %v, rule %q, want an answer: %v", url, resp, err, told, tt.own)
					}
				}
			}
		})
	}
}

// TestE1_D7_plainHTTP: plain http goes only where the operator's list and his
// permission meet.
func TestE1_D7_plainHTTP(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := newReceiver(t, a.issue(t, time.Now().Add(time.Hour)), func(l *line) {
		for l.request() != nil && l.say(answer(200, "ok")) {
		}
	})
	n := &names{answers: map[string][][]string{"one.receiver.example": {{"127.0.0.1"}}, "public.example": {{"8.8.8.8"}}}}
	tests := []struct {
		name, host string
		policy     Policy
		rule       string // "" = an answer; "scheme": refused when it is configured
	}{
		{"no permission", "127.0.0.1", Policy{Allow: []string{"127.0.0.0/8"}}, "scheme"},
		{"no permission, a name", "one.receiver.example", Policy{Allow: []string{"127.0.0.0/8"}}, "scheme"},
		{"a listed address", "127.0.0.1", Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true}, ""},
		{"a name with a listed address", "one.receiver.example", Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true}, ""},
		{"a listed name", "one.receiver.example", Policy{Allow: []string{"one.receiver.example"}, AllowHTTP: true}, ""},
		{"a name with an address that is not listed", "one.receiver.example", Policy{Allow: []string{"10.0.0.0/8"}, AllowHTTP: true}, rulePlain},
		{"a public name", "public.example", Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true}, rulePlain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			guard, told := testGuard(t, tt.policy), ""
			target, fault := guard.Parse(fmt.Sprintf("http://%s:%d/", tt.host, r.addrPort().Port()))
			if fault != nil {
				if fault.Code != tt.rule {
					t.Errorf("refused with %q, want %q", fault.Code, tt.rule)
				}
				return
			}
			c := testClient(t, a, func(o *Options) {
				o.Guard, o.Resolve, o.Refused = guard, n.resolve, func(rule string) { told = rule }
			})
			resp, err := c.Do(t.Context(), &Request{Target: target, Body: []byte("{}"), Timeout: 10 * time.Second})
			if (err == nil) != (tt.rule == "") || told != tt.rule || err == nil && resp.Status != http.StatusOK {
				t.Errorf("got %v, %v, rule %q, want rule %q", resp, err, told, tt.rule)
			}
		})
	}
}

// TestD4_lookup: the look-up of a name is part of the attempt's time, also
// when the resolver knows no time.
func TestD4_lookup(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	tests := []struct {
		name    string
		resolve func(ctx context.Context, host string) ([]netip.Addr, error)
		reason  string
	}{
		{"never answers", func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }, "not resolved in time"},
		{"times out", func(context.Context, string) ([]netip.Addr, error) { return nil, &net.DNSError{IsTimeout: true} }, "not resolved in time"},
		{"fails", func(context.Context, string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "server misbehaving", Server: "10.0.0.53", Name: "https:"}
		}, "gave no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := testClient(t, a, func(o *Options) { o.Resolve = tt.resolve })
			begin := time.Now()
			_, err := c.Do(t.Context(), &Request{Target: testTarget(t, "https://receiver.example.org/hook"), Body: []byte("{}"), Timeout: attempt})
			checkError(t, err, []string{StepDNS})
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			if took := time.Since(begin); took > attempt+slack {
				t.Errorf("took %v, want %v or less", took, attempt)
			}
		})
	}
}
