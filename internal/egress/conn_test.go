package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestGuard_CheckHost(t *testing.T) {
	t.Parallel()
	g := testGuard(t, Policy{Allow: []string{"10.0.0.0/8", "lab.example.org", "::1"}, AllowHTTP: true})
	if err := g.SetOwn("", netip.MustParseAddrPort("10.1.2.3:587")); err != nil {
		t.Fatal(err)
	}
	strict := testGuard(t, Policy{Allow: []string{"10.0.0.0/8"}})
	tests := []struct {
		name, host string
		port       uint16
		plain      bool
		want       string // with AllowHTTP
		strictly   string // without
	}{
		{"a name", "smtp.example.org", 587, false, "", ""},
		{"a name with its dot", "smtp.example.org.", 587, false, "", ""},
		{"a name of other letters", "é.example", 587, false, "", ""},
		{"a public address", "93.184.215.14", 587, false, "", ""},
		{"a public IPv6 address", "2606:4700::1111", 587, false, "", ""},
		{"in brackets", "[2606:4700::1111]", 587, false, "", ""},
		{"a listed address", "10.9.9.9", 25, false, "", ""},
		{"a listed address in plain", "10.9.9.9", 25, true, "", "plain_refused"},
		{"a name in plain, whose address is seen at the dial", "lab.example.org", 25, true, "", "plain_refused"},
		{"a public address in plain", "93.184.215.14", 25, true, "plain_refused", "plain_refused"},
		{"loopback", "127.0.0.1", 25, false, "forbidden_address", "forbidden_address"},
		{"mapped loopback", "::ffff:127.0.0.1", 25, false, "forbidden_address", "forbidden_address"},
		{"metadata", "169.254.169.254", 25, false, "forbidden_address", "forbidden_address"},
		{"unspecified", "0.0.0.0", 25, false, "forbidden_address", "forbidden_address"},
		{"our own listener", "10.1.2.3", 587, false, "forbidden_address", ""},
		{"another port of its", "10.1.2.3", 588, false, "", ""},
		{"an address in hexadecimal", "0x7f000001", 25, false, "invalid_host", "invalid_host"},
		{"a short address", "127.1", 25, false, "invalid_host", "invalid_host"},
		{"a zone", "fe80::1%lo", 25, false, "invalid_host", "invalid_host"},
		{"a port", "smtp.example.org:25", 25, false, "invalid_host", "invalid_host"},
		{"a URL", "smtp://example.org", 25, false, "invalid_host", "invalid_host"},
		{"a user", "me@example.org", 25, false, "invalid_host", "invalid_host"},
		{"a space", "smtp example", 25, false, "invalid_host", "invalid_host"},
		{"a line end", "smtp.example.org\r\n", 25, false, "invalid_host", "invalid_host"},
		{"circled digits", "①②⑦.0.0.1", 25, false, "forbidden_address", "forbidden_address"},
		{"nothing", "", 25, false, "invalid_host", "invalid_host"},
		{"a dot", ".", 25, false, "invalid_host", "invalid_host"},
	}
	code := func(f *URLFault) string {
		if f == nil {
			return ""
		}
		if strings.Contains(f.Msg, "URL") {
			t.Errorf("got %q, want a sentence about a host", f.Msg)
		}
		return f.Code
	}
	for _, tt := range tests {
		if got := code(g.CheckHost(tt.host, tt.port, tt.plain)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := code(strict.CheckHost(tt.host, tt.port, tt.plain)); got != tt.strictly {
			t.Errorf("%s, without plain http: got %q, want %q", tt.name, got, tt.strictly)
		}
	}
}

// TestDial_guarded: a connection for what is not HTTP keeps the rules of
// every dial: one look-up, all answers filtered, nothing else dialled.
func TestDial_guarded(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	canary, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer canary.Close()
	dialled := make(chan struct{}, 1)
	go func() {
		if c, err := canary.Accept(); err == nil {
			c.Close()
			dialled <- struct{}{}
		}
	}()
	tests := []struct {
		name    string
		answers [][]string
		policy  Policy
		plain   bool
		want    []string // of each dial: "" for a connection, or a part of the reason
		rules   string
	}{
		{"permitted", [][]string{{"127.0.0.1"}}, Policy{Allow: []string{"127.0.0.1"}}, false, []string{""}, ""},
		{"turned to a forbidden address", [][]string{{"127.0.0.1"}, {"127.0.0.2"}}, Policy{Allow: []string{"127.0.0.1"}}, false, []string{"", "not a public address"}, "reserved_address"},
		{"the forbidden one first", [][]string{{"127.0.0.2", "127.0.0.1"}}, Policy{Allow: []string{"127.0.0.1"}}, false, []string{""}, ""},
		{"nothing is listed", [][]string{{"127.0.0.1"}}, Policy{}, false, []string{"not a public address"}, "reserved_address"},
		{"plain, allowed and listed", [][]string{{"127.0.0.1"}}, Policy{Allow: []string{"127.0.0.1"}, AllowHTTP: true}, true, []string{""}, ""},
		{"plain and listed", [][]string{{"127.0.0.1"}}, Policy{Allow: []string{"127.0.0.1"}}, true, []string{"plain connections are not allowed"}, "plain_http"},
		{"plain and allowed", [][]string{{"93.184.215.14"}}, Policy{AllowHTTP: true}, true, []string{"only allowed towards addresses that the operator lists"}, "plain_http"},
		{"no such name", nil, Policy{}, false, []string{"does not exist or has no address"}, ""},
	}
	for _, tt := range tests {
		n := &names{answers: map[string][][]string{"mail.example.org": tt.answers}}
		rules := ""
		c, err := New(Options{Guard: testGuard(t, tt.policy), Resolve: n.resolve, Refused: func(rule string) { rules += rule }})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range tt.want {
			conn, err := c.Dial(t.Context(), Peer{Host: "Mail.Example.ORG.", Port: at.Port(), Plain: tt.plain}, 5*time.Second)
			if want == "" && err == nil {
				if conn.Host() != "mail.example.org" || conn.TLS().ServerName != "mail.example.org" || conn.TLS().MinVersion < 0x0303 || conn.TLS().NextProtos != nil {
					t.Errorf("%s: got the host %s and %v", tt.name, conn.Host(), conn.TLS().NextProtos)
				}
				conn.Close()
				continue
			}
			if e, ok := errors.AsType[*Error](err); !ok || want == "" || !strings.Contains(e.Reason, want) {
				t.Errorf("%s, dial %d: got %v, want %q", tt.name, i+1, err, want)
			}
		}
		if rules != tt.rules {
			t.Errorf("%s: got the rules %q, want %q", tt.name, rules, tt.rules)
		}
	}
	select {
	case <-dialled:
		t.Error("the forbidden address was dialled")
	default:
	}
}

func TestDial_ends(t *testing.T) {
	t.Parallel()
	g := testGuard(t, Policy{Allow: []string{"127.0.0.1"}, AllowHTTP: true})
	c, err := New(Options{Guard: g})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 1)
				if _, err := conn.Read(b); err == nil && b[0] == 'e' {
					for err == nil {
						_, err = conn.Write(make([]byte, 32<<10))
					}
				}
			}()
		}
	}()
	peer := Peer{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).AddrPort().Port(), Plain: true}
	open := func(ctx context.Context, timeout time.Duration) *Conn {
		t.Helper()
		conn, err := c.Dial(ctx, peer, timeout)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}

	late := open(t.Context(), 200*time.Millisecond)
	defer late.Close()
	if err := late.SetDeadline(time.Now().Add(time.Hour)); err != nil { // cannot be put off
		t.Fatal(err)
	}
	start := time.Now()
	_, err = late.Read(make([]byte, 1))
	if f := late.Fault(StepRequest, err); time.Since(start) > 3*time.Second || f.Reason != "the receiver did not take the request in time" {
		t.Errorf("got %v after %v, want the end of its time", f, time.Since(start))
	}

	endless := open(t.Context(), 10*time.Second)
	defer endless.Close()
	if _, err := endless.Write([]byte("e")); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, endless)
	if f := endless.Fault(StepResponse, err); n != MaxHeard || f.Reason != "the receiver's answers are too long" {
		t.Errorf("got %d bytes and %v, want %d", n, f, MaxHeard)
	}

	ctx, stop := context.WithCancel(t.Context())
	off := open(ctx, 10*time.Second)
	defer off.Close()
	time.AfterFunc(50*time.Millisecond, stop)
	_, err = off.Read(make([]byte, 1))
	if f := off.Fault(StepResponse, err); !errors.Is(f, context.Canceled) {
		t.Errorf("got %v, want that it was called off", f)
	}
	if _, err := c.Dial(ctx, peer, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was called off", err)
	}
}
