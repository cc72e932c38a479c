package servertest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
)

var update = flag.Bool("update", false, "write the golden files")

// scripts returns the README's shell blocks that go on from one another, as
// one script for this server.
func scripts(t *testing.T, s *servertest.Server) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	if len(out) < 2 || !strings.Contains(out[0], "OPERATOR=") || !strings.Contains(out[1], "permissions/transactions") {
		t.Fatalf("the README has %d shell blocks, want the consent's and then the permissions'", len(out))
	}
	script := strings.Join(out, "\n")
	for from, to := range map[string]string{
		"BASE=http://127.0.0.1:8080":                       "BASE=" + s.URL,
		"OPERATOR=$(cat /var/lib/consentwire/admin-token)": "OPERATOR=" + s.Operator,
	} {
		if !strings.Contains(script, from) {
			t.Fatalf("the README's script has no %q", from)
		}
		script = strings.Replace(script, from, to, 1)
	}
	return "set -eu\n" + script
}

// masks stand for what differs from run to run.
var masks = []struct {
	of *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`https?://127\.0\.0\.1:\d+`), "<us>"},
	{regexp.MustCompile(`/confirm/[A-Za-z0-9_-]{43}`), "/confirm/<token>"},
	{regexp.MustCompile(`\b(app|ctz|txn|stm|cli|eml|pol)_[A-Za-z0-9_-]+`), "<$1>"},
	{regexp.MustCompile(`\d+ de \pL+ de \d{4}, \d\d:\d\d UTC`), "<instante>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "<instant>"},
}

// The README's script as it stands: each of its three subscriptions receives
// the bodies of its golden file, which are those that DOMAIN 3.4 and 7.5
// document.
func TestReadme_permissions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{Env: []string{"CONSENTWIRE_EGRESS_ALLOW_HTTP=true"}})
	cmd := exec.Command("bash", "-c", scripts(t, s)) // #nosec G204 -- the README's own text
	cmd.Env = append(os.Environ(), "no_proxy=*")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the script fails: %v\n%s", err, out)
	}
	if strings.Contains(string(out), `"errors"`) {
		t.Fatalf("the script is refused something:\n%s", out)
	}
	bin := regexp.MustCompile(`"bin":"(bin_[^"]+)"|/inspect/(bin_[A-Za-z0-9_-]+)`).FindStringSubmatch(string(out))
	if bin == nil {
		t.Fatalf("the script names no bin:\n%s", out)
	}
	app := regexp.MustCompile(`"applicationId":"(app_[^"]+)"`).FindStringSubmatch(string(out))
	if app == nil {
		t.Fatalf("the script names no application:\n%s", out)
	}
	want := map[string]int{"effective-permission": 4, "consent-receipts": 4, "citizen-emails": 3}
	got := map[string][]string{}
	servertest.Eventually(t, "all bodies to arrive", func() bool {
		clear(got)
		for _, sub := range list(t, s, "/v1/subscriptions?applicationId="+app[1]) {
			kind := sub["updateType"].(string)
			if sub["name"] != kind {
				continue // of the script's first part
			}
			for _, d := range list(t, s, "/v1/deliveries?applicationId="+app[1]+"&status=delivered&subscriptionId="+sub["subscriptionId"].(string)) {
				got[kind] = append(got[kind], arrived(t, s, app[1], max(bin[1], bin[2]), d["eventId"].(string)))
			}
			slices.Reverse(got[kind]) // the list is newest first
		}
		for kind, n := range want {
			if len(got[kind]) < n {
				return false
			}
		}
		return true
	})
	for kind := range want {
		var text bytes.Buffer
		for _, b := range got[kind] {
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(b), "", "  "); err != nil {
				t.Fatalf("%s: %v in %s", kind, err, b)
			}
			text.WriteString(indented.String() + "\n")
		}
		have := text.String()
		for _, m := range masks {
			have = m.of.ReplaceAllString(have, m.by)
		}
		path := filepath.Join("testdata", kind+".golden")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(have), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if have != string(golden) {
			t.Errorf("%s: got\n%s\nwant the content of %s; go test -run %s -update writes it", kind, have, path, t.Name())
		}
	}
}

// list returns the items of a list.
func list(t *testing.T, s *servertest.Server, path string) []map[string]any {
	t.Helper()
	var page struct{ Items []map[string]any }
	s.Call("GET", path, s.Operator, nil).Want(t, 200).Into(t, &page)
	return page.Items
}

// arrived returns the body that the inspector got of an event.
func arrived(t *testing.T, s *servertest.Server, app, bin, event string) string {
	t.Helper()
	for _, r := range list(t, s, "/v1/inspect/"+bin+"/requests?limit=100&applicationId="+app) {
		h, _ := r["headers"].(map[string]any)
		for name, v := range h {
			if strings.EqualFold(name, "webhook-id") && v == event {
				if r["signature"] != "valid" {
					t.Errorf("%s: the signature is %v, want valid", event, r["signature"])
				}
				return r["body"].(string)
			}
		}
	}
	t.Fatalf("%s: delivered, but the inspector has no such request", event)
	return ""
}
