package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hermeticEnv marks the process inside of the namespaces; its value is a
// folder that it may write to.
const hermeticEnv = "EGRESS_HERMETIC_DIR"

// hermeticSetup makes every address of both families local, as RULES section
// 1 "Method" has it, and puts the stub in the place of the name servers.
const hermeticSetup = `set -e
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo
mount --bind "$` + hermeticEnv + `/resolv.conf" /etc/resolv.conf
exec "$0" -test.run='^$'`

// TestSealedIn_hermetic: with every address of the internet on this machine,
// the corpus and a list of addresses make no dial to a forbidden one. It is
// observed from outside, by a listener that sees where each dial went.
func TestSealedIn_hermetic(t *testing.T) {
	t.Parallel()
	skip := func(why string) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the hermetic test cannot run, and CI must not do without it: %s", why)
		}
		t.Skip(why)
	}
	flags := []string{"-nm"}
	if os.Getuid() != 0 {
		flags = []string{"-Urnm"}
	}
	for _, tool := range []string{"unshare", "ip", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip("there is no program " + tool)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", append(flags, "true")...).CombinedOutput(); err != nil {
		skip(fmt.Sprintf("no namespaces: %v %s", err, out))
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/resolv.conf", []byte("nameserver 127.0.0.53\noptions timeout:1 attempts:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	cert := a.issue(t, time.Now().Add(time.Hour), hermeticNames...)
	if err := os.WriteFile(dir+"/root.pem", a.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeKeyPair(dir, cert); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append(flags, "sh", "-c", hermeticSetup, self)...)
	cmd.Env = append(os.Environ(), hermeticEnv+"="+dir, "SSL_CERT_FILE="+dir+"/root.pem")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("inside: %v", err)
	}
}

// hermeticNames are the names that the certificate of the catch-all listener
// is for.
var hermeticNames = []string{
	"receiver.example.org", "*.receiver.example", "receiver.internal", "localhost", "10.20.30.40.example.org", "*.names.example",
}

// hermeticInside runs in the namespaces and returns the exit status.
func hermeticInside() int {
	if err := hermeticRun(os.Getenv(hermeticEnv)); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// catchAll counts dials by where they went.
type catchAll struct {
	mu    sync.Mutex
	dials map[netip.Addr]int
}

func (c *catchAll) take() map[netip.Addr]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.dials
	c.dials = map[netip.Addr]int{}
	return out
}

const receiverAddr, deadAddr = "93.184.215.14", "93.184.215.15" // public by the registries

func hermeticRun(dir string) error {
	cfg, err := readKeyPair(dir)
	if err != nil {
		return err
	}
	all := &catchAll{dials: map[netip.Addr]int{}}
	for _, port := range []string{"443", "8443", "9443", "80"} {
		ln, err := net.Listen("tcp", ":"+port) // both families, every address
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				to := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
				all.mu.Lock()
				all.dials[to]++
				all.mu.Unlock()
				go func() {
					defer c.Close()
					l := &line{receiver: &receiver{tls: cfg}, Conn: c, raw: c.(*net.TCPConn), in: bufio.NewReader(c)}
					if l.secure() && l.request() != nil {
						l.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
					}
				}()
			}
		}()
	}
	stub := &names{answers: map[string][][]string{}}
	if err := serveNames(stub); err != nil {
		return err
	}
	guard, err := NewGuard(Policy{})
	if err != nil {
		return err
	}
	c, err := New(Options{Guard: guard}) // the roots come from SSL_CERT_FILE, the names from /etc/resolv.conf
	if err != nil {
		return err
	}
	defer c.CloseIdle()

	// The sensor must work before its silence means anything.
	for _, to := range []string{"10.20.30.40", "169.254.169.254", "[fd00:ec2::254]", "127.0.0.1"} {
		conn, err := net.Dial("tcp", to+":443")
		if err != nil {
			return fmt.Errorf("a bare dial to %s: %w", to, err)
		}
		conn.Close()
	}
	deadline := time.Now().Add(5 * time.Second)
	for seen := 0; seen < 4; seen += len(all.take()) {
		if time.Now().After(deadline) {
			return errors.New("the catch-all listener does not see every dial")
		}
	}

	type probe struct {
		id, url string
		dns     map[string][][]string
	}
	var probes []probe
	corpus, err := samples()
	if err != nil {
		return err
	}
	for _, s := range corpus {
		var input string
		var p pair
		if json.Unmarshal(s.Input, &input) != nil {
			if json.Unmarshal(s.Input, &p) != nil || p.URL == "" {
				continue
			}
			input = p.URL
		}
		if s.Kind != "bearer" {
			probes = append(probes, probe{s.ID, input, s.DNS})
		}
	}
	forbidden := []string{
		"0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.168.0.1",
		"198.18.0.1", "192.0.2.1", "168.63.129.16", "240.0.0.1", "::1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1",
		"2002:a00:1::1", "2001::1", "2001:db8::1", "2606:4700::5efe:a00:1", "fd00:ec2::254", "fe80::1", "fec0::1",
	}
	for i, addr := range forbidden {
		host := addr
		if strings.Contains(addr, ":") {
			host = "[" + addr + "]"
		}
		name := fmt.Sprintf("n%d.names.example", i)
		probes = append(probes,
			probe{"address " + addr, "https://" + host + "/", nil},
			probe{"name of " + addr, "https://" + name + "/", map[string][][]string{name: {{addr}}}},
			probe{"name of a dead one and " + addr, "https://x" + name + "/", map[string][][]string{"x" + name: {{deadAddr, addr}, {addr, receiverAddr}}}},
		)
	}
	var answered, refused, blocked int
	for _, p := range probes {
		stub.mu.Lock()
		for name, answers := range p.dns {
			for i, addrs := range answers {
				for k, addr := range addrs {
					addrs[k] = strings.NewReplacer("RECEIVER", receiverAddr, "DEAD1", deadAddr).Replace(addr)
				}
				answers[i] = addrs
			}
			stub.answers[name] = answers
		}
		stub.mu.Unlock()
		target, fault := guard.Parse(p.url)
		if fault != nil {
			refused++
			continue
		}
		for range 3 {
			resp, err := c.Do(context.Background(), &Request{Target: target, Body: []byte("{}"), Timeout: 5 * time.Second})
			switch {
			case err != nil:
				blocked++
			case resp.Status == 200:
				answered++
			}
		}
		for to, n := range all.take() {
			if s := to.String(); s != receiverAddr && s != deadAddr {
				return fmt.Errorf("%s: %d dials to %s", p.id, n, to)
			}
		}
	}
	fmt.Printf("%d probes: %d refused when configured, %d attempts blocked, %d answered, 0 forbidden dials\n", len(probes), refused, blocked, answered)
	if refused == 0 || blocked == 0 || answered == 0 {
		return errors.New("the probes did not take every way")
	}
	return nil
}

// serveNames answers A and AAAA questions over UDP with a time to live of 0,
// each with the next answer of the stub. A name server is asked for both
// families, so an answer is used up by the question for A.
func serveNames(n *names) error {
	conn, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		return err
	}
	go func() {
		last := map[string][]netip.Addr{}
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := slices.Clone(buf[:size])
			host, end := question(q)
			if end == 0 {
				continue
			}
			kind := binary.BigEndian.Uint16(q[end-4:])
			if kind == 1 {
				last[host], _ = n.resolve(context.Background(), host)
			} else if _, ok := last[host]; !ok {
				last[host], _ = n.resolve(context.Background(), host)
			}
			var answers bytes.Buffer
			count := 0
			for _, a := range last[host] {
				if kind == 1 && a.Is4() || kind == 28 && a.Is6() {
					count++
					answers.Write([]byte{0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(a.BitLen() / 8)})
					answers.Write(a.AsSlice())
				}
			}
			head := []byte{q[0], q[1], 0x84, 0, 0, 1, 0, byte(count), 0, 0, 0, 0}
			_, _ = conn.WriteTo(slices.Concat(head, q[12:end], answers.Bytes()), from)
		}
	}()
	return nil
}

// question returns the name that a query asks for and where the question
// ends; 0 when it cannot be read.
func question(q []byte) (string, int) {
	var labels []string
	i := 12
	for i < len(q) && q[i] != 0 {
		next := i + 1 + int(q[i])
		if next >= len(q) {
			return "", 0
		}
		labels = append(labels, string(q[i+1:next]))
		i = next
	}
	if i+5 > len(q) {
		return "", 0
	}
	return strings.ToLower(strings.Join(labels, ".")), i + 5
}

// writeKeyPair leaves the certificate and its key for the inner half.
func writeKeyPair(dir string, cert tls.Certificate) error {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return os.WriteFile(dir+"/receiver.pem", append(rootPEM(cert.Certificate[0]), key...), 0o600)
}

func readKeyPair(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(dir+"/receiver.pem", dir+"/receiver.pem")
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}, nil
}
