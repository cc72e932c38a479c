package servertest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
)

// program builds the program once, into a folder that TestMain removes.
type program struct {
	dir  string
	once sync.Once
	err  error
}

// built is shared by the tests, because linking takes seconds.
var built program

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "consentwire-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// binary returns the path of the program.
func binary(t *testing.T) string {
	t.Helper()
	file := filepath.Join(built.dir, "consentwire")
	built.once.Do(func() {
		out, err := exec.Command("go", "build", "-o", file, "github.com/consentwire/consentwire/cmd/consentwire").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return file
}

// shell runs a script as a newcomer would paste it, and returns what it
// writes. A machine without curl skips the test.
func shell(t *testing.T, script string) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is missing; the commands of the documents need it")
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s\n%v: %s", script, err, out)
	}
	return string(out)
}

// lifecycle are the source's six events by their dotted names, in the order
// of its table, and our two.
var lifecycle = []string{
	"consent.create.received", "consent.created", "consent.approved", "consent.rejected", "consent.expired", "consent.revoked",
	"consent.consumed", "consent.extended",
}

// register makes an interceptor for DATA consents at the URL and returns its
// ID and signing secret.
func register(t *testing.T, a *servertest.Application, url string) (id, signingSecret string) {
	t.Helper()
	r := a.Call("POST", "/api/smart-keys/interceptors", map[string]any{
		"endpoint": url, "isAuthenticated": false, "authenticationType": "", "user": "", "password": "", "type": "DATA",
	}).Want(t, 201)
	return r.Text(t, "id"), r.Text(t, "signingSecret")
}

// subscribe makes a subscription with more members and returns its ID and
// signing secret.
func subscribe(t *testing.T, a *servertest.Application, url string, members map[string]any) (id, signingSecret string) {
	t.Helper()
	body := map[string]any{"url": url, "updateType": "consent-receipts", "eventTypes": lifecycle}
	for k, v := range members {
		body[k] = v
	}
	r := a.Call("POST", "/v1/subscriptions", body).Want(t, 201)
	return r.Text(t, "subscriptionId"), r.Text(t, "signingSecret")
}

// bySubject returns what came, by subject, each in the order of arrival.
func bySubject(rs []servertest.Received) map[string][]servertest.Received {
	m := map[string][]servertest.Received{}
	for _, r := range rs {
		m[r.Subject()] = append(m[r.Subject()], r)
	}
	return m
}

// names returns the events' names, in the order of arrival.
func names(rs []servertest.Received) []string {
	out := []string{}
	for _, r := range rs {
		out = append(out, r.Event())
	}
	return out
}

// event is an event as the API shows it.
type event struct {
	EventID, Type, Subject, OccurredAt, RecordedAt string
	Sequence                                       int64
}

// events returns an application's log.
func events(t *testing.T, a *servertest.Application) []event {
	t.Helper()
	var all []event
	for after := ""; ; {
		var page struct {
			Items []event
			Next  string
		}
		a.Call("GET", "/v1/events?limit=100&after="+after, nil).Want(t, 200).Into(t, &page)
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		after = page.Next
	}
}

// only returns those of a type.
func only(es []event, typ string) []event {
	return slices.DeleteFunc(slices.Clone(es), func(e event) bool { return e.Type != typ })
}

// decode reads JSON and tells whether it could.
func decode(b []byte, v any) bool { return json.Unmarshal(b, v) == nil }
