package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestTable_everyRouteHasAScopeAndAnEntry(t *testing.T) {
	t.Parallel()
	ops := (&server{}).operations()
	groups := tags()
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(document(ops, "1.2.3"), &doc); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	listed := 0
	for _, op := range ops {
		name := op.method + " " + op.path
		if !slices.Contains([]scope{public, operator, application, operatorOrLoopback}, op.scope) {
			t.Errorf("%s: got scope %q, want one that exists", name, op.scope)
		}
		if op.serve == nil {
			t.Errorf("%s: nothing serves it", name)
		}
		if op.id == "" || seen[op.id] {
			t.Errorf("%s: got the operationId %q, want one of its own", name, op.id)
		}
		seen[op.id] = true
		if op.unlisted != "" {
			continue
		}
		listed++
		if got := doc.Paths[op.path][strings.ToLower(op.method)].OperationID; got != op.id {
			t.Errorf("%s: got the entry %q, want %q", name, got, op.id)
		}
		if op.summary == "" || len(op.answers) == 0 {
			t.Errorf("%s: got no summary or no answer", name)
		}
		if !slices.ContainsFunc(groups, func(g [2]string) bool { return g[0] == op.tag }) {
			t.Errorf("%s: got the group %q, want one that exists", name, op.tag)
		}
	}
	entries := 0
	for _, item := range doc.Paths {
		entries += len(item)
	}
	if entries != listed {
		t.Errorf("got %d entries in the document, want %d", entries, listed)
	}
}

// TestTable_scopes: who may call what is decided here, on purpose.
func TestTable_scopes(t *testing.T) {
	t.Parallel()
	for _, op := range (&server{}).operations() {
		want := application
		switch {
		case strings.HasPrefix(op.path, "/v1/applications"), op.path == "/v1/keys/rotate":
			want = operator
		case op.path == "/metrics":
			want = operatorOrLoopback
		case slices.Contains([]string{"/healthz", "/readyz", "/openapi.json", "/oauth2/token", "/api/portal/onboard/v1/token", "/.well-known/consentwire/{applicationId}/jwks.json"}, op.path), strings.HasPrefix(op.path, "/docs"):
			want = public
		}
		if op.scope != want {
			t.Errorf("%s %s: got scope %q, want %q", op.method, op.path, op.scope, want)
		}
	}
}

func TestDocument_isAsRecorded(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := json.Indent(&b, document((&server{}).operations(), "1.2.3"), "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Bytes(); !bytes.Equal(got, want) {
		g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
		for i := range min(len(g), len(w)) {
			if !bytes.Equal(g[i], w[i]) {
				t.Fatalf("%s:%d: got %s, want %s; go test -run TestDocument -update writes it", path, i+1, g[i], w[i])
			}
		}
		t.Fatalf("%s: got %d lines, want %d", path, len(g), len(w))
	}
}

func TestDocument_referencesOnlyWhatThereIs(t *testing.T) {
	t.Parallel()
	doc := string(document((&server{}).operations(), "1.2.3"))
	named := byName(components())
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]*)"`).FindAllStringSubmatch(doc, -1) {
		if named[m[1]] == nil {
			t.Errorf("got a reference to %q, want a component", m[1])
		}
		used[m[1]] = true
	}
	for name := range named {
		if !used[name] {
			t.Errorf("the component %s is used nowhere", name)
		}
	}
}

func TestDocument_examplesAreWhatTheyShow(t *testing.T) {
	t.Parallel()
	w := &world{t: t, schemas: byName(components())}
	check := func(name string, s *schema, v any) {
		b, err := encode(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.conforms(s, b, false); err != nil {
			t.Errorf("%s: %v in %s", name, err, b)
		}
	}
	for _, c := range components() {
		if c.name != "Document" {
			check(c.name, c.schema, ref(c.name).sample(w.schemas))
		}
	}
	for _, op := range (&server{}).operations() {
		if op.takes == nil {
			continue
		}
		for _, e := range op.takes.shows(w.schemas) {
			check(fmt.Sprintf("%s %s %s", op.method, op.path, e.name), ref(op.takes.component()), e.value)
		}
	}
}

func TestDocs_isAPageWithoutForeignHostsAndInlineCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.call("GET", "/docs", "", "").want(200)
	if got := a.header.Get("Content-Security-Policy"); got != docsPolicy {
		t.Errorf("got the policy %q, want %q", got, docsPolicy)
	}
	page := string(a.body)
	for _, bad := range []string{"<style", " style=", "<script>", "javascript:", "http://", "ZgotmplZ", "<no value>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if m := regexp.MustCompile(`\son[a-z]+=`).FindString(page); m != "" {
		t.Errorf("the page holds the handler %q", m)
	}
	for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "#") {
			t.Errorf("the page points to %q", m[1])
		}
	}
	for _, op := range w.ops {
		if op.unlisted == "" && !strings.Contains(page, `id="`+op.id+`"`) {
			t.Errorf("the page lacks %s", op.id)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("the page has the id %q twice", m[1])
		}
		ids[m[1]] = true
	}
	for path, media := range map[string]string{"/docs/docs.css": "text/css; charset=utf-8", "/docs/docs.js": "text/javascript; charset=utf-8", "/docs/mark.svg": "image/svg+xml"} {
		if got := w.call("GET", path, "", "").want(200).header.Get("Content-Type"); got != media {
			t.Errorf("%s: got the content type %q, want %q", path, got, media)
		}
	}
}
