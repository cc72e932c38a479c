// Package house holds the tests of the house rules: what each room may
// import, what only one room may do, and what no file may contain. It has no
// code of its own.
package house

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/consentwire/consentwire"

// rules are the rooms that do no I/O, start no goroutine and read no clock.
var rules = []string{"access", "consent", "delivery", "event", "mail", "permission", "subscription"}

// anything marks a room that may import every other.
const anything = "any"

// rooms is the import table of ARCHITECTURE.md: for each room, by its path
// under internal/ (or from the root, for the few outside), the rooms its code
// may import; "rules" stands for all rule rooms. Test files may import any.
var rooms = map[string]string{
	"/cmd/consentwire": "cli",
	"/signature":       "",
	"/bench":           anything,

	"fault":     "",
	"id":        "",
	"secret":    "fault",
	"telemetry": "secret",
	"body":      "fault",

	"event":        "",
	"consent":      "event fault",
	"permission":   "event fault",
	"mail":         "event fault permission",
	"subscription": "event fault secret",
	"delivery":     "event fault mail",
	"access":       "fault secret",

	"wire":           "body fault id secret rules",
	"store":          "fault secret rules",
	"store/db":       "",
	"store/sqlite":   "store/db store/schema fault",
	"store/postgres": "store/db store/schema fault",
	"store/schema":   "fault",
	// The tests of several rooms use these.
	"store/postgres/pgtest":   "",
	"store/sqlite/sqlitetest": "store/sqlite",
	"store/move":              "store/db fault",
	"store/relational":        "store store/db fault id secret rules",
	"store/storetest":         "store fault id secret rules",
	"app":                     "store fault id secret signature wire rules",
	"egress":                  "fault id telemetry",
	"credential":              "egress fault id secret subscription",
	"smtp":                    "delivery egress fault mail secret subscription",
	"oidc":                    "egress fault secret",
	"dispatch":                "credential egress fault id secret signature smtp telemetry rules",
	"sweep":                   "app id telemetry",
	"sink":                    "fault id secret signature store telemetry rules",
	"api":                     "app body sink store fault id signature telemetry wire rules",
	"portal":                  "app body sink store fault id portal/receivers signature telemetry wire rules",
	"portal/receivers":        "",
	"config":                  "fault secret",
	"cli":                     anything,
	"load":                    anything,
	"servertest":              anything,
	// The tests inside any room use it, so it may import none.
	"servertest/oauth":   "",
	"servertest/mailbox": "",
}

// mayImport returns the full paths that a room may import.
func mayImport(list string) map[string]bool {
	out := map[string]bool{}
	for _, name := range strings.Fields(list) {
		switch name {
		case "rules":
			for _, r := range rules {
				out[module+"/internal/"+r] = true
			}
		case "signature":
			out[module+"/signature"] = true
		default:
			out[module+"/internal/"+name] = true
		}
	}
	return out
}

// roomOf returns a folder's key in rooms.
func roomOf(dir string) string {
	if room, ok := strings.CutPrefix(dir, "internal/"); ok {
		return room
	}
	return "/" + dir
}

func TestRooms_importOnlyWhatTheTableAllows(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		if f.test {
			continue
		}
		room := roomOf(f.dir)
		list, ok := rooms[room]
		if !ok {
			t.Errorf("%s: the room %q is not in the import table", f.path, room)
			continue
		}
		if list == anything {
			continue
		}
		allowed := mayImport(list)
		for _, imp := range f.imports() {
			if strings.HasPrefix(imp, module+"/") && !allowed[imp] {
				t.Errorf("%s: %s may not import %s", f.path, room, strings.TrimPrefix(imp, module+"/"))
			}
		}
	}
}

func TestRooms_tableNamesOnlyRooms(t *testing.T) {
	t.Parallel()
	for room, list := range rooms {
		for _, name := range strings.Fields(list) {
			_, known := rooms[name]
			if !known && name != "rules" && name != anything && name != "signature" {
				t.Errorf("the row of %s names %q, which is no room", room, name)
			}
		}
	}
}

// pure lists what a rule room may import from outside the module: functions
// of their arguments.
var pure = []string{
	"bytes", "cmp", "crypto", "crypto/ecdsa", "crypto/ed25519", "crypto/elliptic", "crypto/hmac", "crypto/rsa",
	"crypto/sha256", "crypto/subtle", "crypto/x509", "encoding", "encoding/base32", "encoding/base64", "encoding/binary",
	"encoding/hex", "encoding/json", "encoding/pem", "errors", "fmt", "hash", "hash/fnv", "crypto/md5", "html", "html/template", "iter", "maps", "math",
	"math/big", "math/bits", "net/netip", "net/url", "regexp", "slices", "sort", "strconv", "strings", "text/template", "text/template/parse", "time",
	"unicode", "unicode/utf16", "unicode/utf8",
	"github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext",
	"golang.org/x/net/http/httpguts", "golang.org/x/net/idna", "golang.org/x/text/unicode/norm",
}

// impure lists functions of allowed packages that ask the clock or write.
var impure = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},

	"crypto/ecdsa":   {"GenerateKey"},
	"crypto/ed25519": {"GenerateKey"},
	"crypto/rsa":     {"GenerateKey", "GenerateMultiPrimeKey"},
	"crypto/x509":    {"CreateCertificate", "SystemCertPool"},
}

// TestPure: rules import nothing that does I/O and never ask for the time.
func TestPure(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		if f.test || !slices.Contains(rules, roomOf(f.dir)) {
			continue
		}
		for _, imp := range f.imports() {
			if !strings.HasPrefix(imp, module+"/") && !slices.Contains(pure, imp) {
				t.Errorf("%s: a rule room may not import %s", f.path, imp)
			}
		}
		for _, u := range f.uses() {
			if slices.Contains(impure[u.pkg], u.name) {
				t.Errorf("%s: a rule room may not call %s.%s", f.at(u.node), u.pkg, u.name)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a rule room may not start a goroutine", f.at(g))
			}
			return true
		})
	}
}

// outbound lists what opens connections.
var outbound = map[string][]string{
	"net": {
		"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer", "Resolver", "DefaultResolver",
		"LookupHost", "LookupIP", "LookupAddr", "LookupCNAME", "LookupMX", "LookupNS", "LookupPort", "LookupSRV", "LookupTXT",
		"ResolveIPAddr", "ResolveTCPAddr", "ResolveUDPAddr",
	},
	"net/http": {
		"Client", "DefaultClient", "Transport", "DefaultTransport", "Get", "Head", "Post", "PostForm", "ProxyFromEnvironment",
	},
	"net/http/httputil": {"ReverseProxy", "NewSingleHostReverseProxy", "NewClientConn", "NewProxyClientConn"},
	"crypto/tls":        {"Dial", "DialWithDialer", "Dialer", "Client"},

	"github.com/wneessen/go-mail":      {"NewClient", "Client", "QuickSend"},
	"github.com/wneessen/go-mail/smtp": {"Dial", "SendMail"},
}

// TestSealedIn: nothing dials out but egress. Tests, the servers for tests and
// the benchmarks are receivers and callers, so they may; the load generator dials
// this machine only, which a test of its own holds it to.
func TestSealedIn(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		if f.test || f.dir == "internal/egress" || f.dir == "internal/servertest" || f.dir == "internal/servertest/oauth" || f.dir == "bench" || f.dir == "internal/load" || f.dir == "internal/store/postgres/pgtest" {
			continue
		}
		for _, imp := range f.imports() {
			if imp == "net/smtp" || imp == "net/rpc" || strings.HasPrefix(imp, "golang.org/x/net/http2") || strings.HasPrefix(imp, "golang.org/x/net/proxy") || imp == "golang.org/x/net/websocket" {
				t.Errorf("%s: only egress may import %s", f.path, imp)
			}
		}
		for _, u := range f.uses() {
			if slices.Contains(outbound[u.pkg], u.name) {
				t.Errorf("%s: only egress may use %s.%s", f.at(u.node), u.pkg, u.name)
			}
		}
	}
}

// use is a selector on an imported package.
type use struct {
	pkg  string // its path
	name string
	node ast.Node
}

// uses returns every selector on an imported package.
func (f file) uses() []use {
	names := map[string]string{}
	for _, s := range f.ast.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if s.Name != nil {
			name = s.Name.Name
		}
		names[name] = p
	}
	var out []use
	ast.Inspect(f.ast, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && names[x.Name] != "" {
			out = append(out, use{pkg: names[x.Name], name: s.Sel.Name, node: s})
		}
		return true
	})
	return out
}
