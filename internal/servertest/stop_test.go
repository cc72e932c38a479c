package servertest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
)

func TestStop_finishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		child bool
	}{{"in process", false}, {"as a child", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := servertest.Options{CA: servertest.NewCA(t)}
			if tt.child {
				o.Binary = binary(t)
			}
			rcv := servertest.NewReceiver(t, o.CA)
			s := servertest.Start(t, o)
			a := s.NewApplication("Bank")
			register(t, a, rcv.URL)
			hold := make(chan struct{})
			rcv.Answer(func(r servertest.Received) servertest.Reply { return servertest.Reply{Wait: hold} })
			a.CreateConsent()
			first := rcv.Wait(t, 1)[0]

			s.Terminate()
			servertest.Eventually(t, "the server to take no more work", func() bool {
				r, err := s.Try("GET", "/readyz", "", nil)
				return err != nil || r.Status == http.StatusServiceUnavailable
			})
			select {
			case <-s.Done():
				t.Fatal("the server ended while a delivery was in flight")
			case <-time.After(300 * time.Millisecond):
			}
			close(hold)
			if code := s.WaitEnd(s.Done()); code != 0 {
				t.Errorf("got exit status %d, want 0", code)
			}
			if n := len(rcv.Received()); n != 1 {
				t.Errorf("%d deliveries were begun, want none after the signal", n)
			}

			s.Start()
			rcv.Wait(t, 2)
			var page struct {
				Items []struct {
					EventID, Status string
					AttemptCount    int
				}
			}
			servertest.Eventually(t, "both to be delivered", func() bool {
				a.Call("GET", "/v1/deliveries?status=delivered&limit=10", nil).Want(t, 200).Into(t, &page)
				return len(page.Items) == 2
			})
			for _, d := range page.Items {
				if d.AttemptCount != 1 {
					t.Errorf("got %d attempts of %s, want 1", d.AttemptCount, d.EventID)
				}
			}
			if got := rcv.Received(); len(got) != 2 || got[1].ID() == first.ID() {
				t.Errorf("what was delivered before the stop came again")
			}
		})
	}
}

func TestStop_aSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	o := servertest.Options{CA: servertest.NewCA(t), Binary: binary(t)}
	rcv := servertest.NewReceiver(t, o.CA)
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	register(t, a, rcv.URL)
	hold := make(chan struct{})
	rcv.Answer(func(servertest.Received) servertest.Reply { return servertest.Reply{Wait: hold} })
	a.CreateConsent()
	rcv.Wait(t, 1)
	from := s.Log.Len()
	s.Terminate()
	s.Log.Wait(t, from, `"msg":"stopping"`, s.Done())
	begin := time.Now()
	s.Stop()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v after the second signal", took)
	}
	close(hold)
}

// Streams never end by themselves; they must not hold the server up.
func TestStop_endsStreams(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{})
	a := s.NewApplication("Bank")
	bin := a.Call("POST", "/v1/inspect", map[string]any{}).Want(t, 201).Text(t, "bin")
	a.Call("PUT", "/v1/inspect/"+bin, map[string]any{"delayMs": 60_000}).Want(t, 200)
	go func() {
		_, _ = s.Try("POST", "/inspect/"+bin+"/slow", "", "{}") // cut off by the stop
	}()
	servertest.Eventually(t, "the request to wait in the inspector", func() bool {
		return strings.Contains(string(a.Call("GET", "/v1/inspect/"+bin+"/requests", nil).Want(t, 200).Body), "/slow")
	})
	begin := time.Now()
	if code := s.Stop(); code != 0 {
		t.Errorf("got exit status %d, want 0", code)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

func TestRestart_keepsAndDelivers(t *testing.T) {
	t.Parallel()
	o := servertest.Options{CA: servertest.NewCA(t)}
	rcv := servertest.NewReceiver(t, o.CA)
	rcv.Answer(func(servertest.Received) servertest.Reply { return servertest.Reply{Status: 503} })
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	_, signing := register(t, a, rcv.URL)
	c := a.CreateConsent()
	a.Act(c, "approve")
	before := rcv.Wait(t, 2)
	if code := s.Stop(); code != 0 {
		t.Errorf("got exit status %d, want 0", code)
	}
	n := len(rcv.Received())
	rcv.Answer(func(servertest.Received) servertest.Reply { return servertest.Reply{} })
	s.Start()

	// The token works on, the consent is as it was, and what waited comes in
	// order.
	if got := a.Call("GET", "/v1/consents/"+c, nil).Want(t, 200).Text(t, "lifecycleStatus"); got != "AUTHORISED" {
		t.Errorf("got %s, want AUTHORISED", got)
	}
	after := rcv.Wait(t, n+3)[n:]
	if got, want := fmt.Sprint(names(after)), "[before:consent:create after:consent:create consent:approved]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if after[0].ID() != before[0].ID() || string(after[0].Body) != string(before[0].Body) {
		t.Errorf("got %s %s, want the same event: %s %s", after[0].ID(), after[0].Body, before[0].ID(), before[0].Body)
	}
	if got, first := after[0].Header.Get("Consentwire-Attempt"), before[0].Header.Get("Consentwire-Attempt"); first != "1" || got == "1" {
		t.Errorf("got attempt %s after %s, want the count to go on", got, first)
	}
	for _, r := range after {
		if err := r.Verify(signing); err != nil {
			t.Error(err)
		}
	}
}

func TestExpiry_missedWhileDown(t *testing.T) {
	t.Parallel()
	o := servertest.Options{CA: servertest.NewCA(t), Env: []string{"CONSENTWIRE_CONSENT_APPROVAL_TTL=2s"}}
	rcv := servertest.NewReceiver(t, o.CA)
	s := servertest.Start(t, o)
	a := s.NewApplication("Bank")
	register(t, a, rcv.URL)
	c := a.CreateConsent()
	deadline := when(t, a, c, "consent.created").Add(2 * time.Second)
	if code := s.Stop(); code != 0 {
		t.Errorf("got exit status %d, want 0", code)
	}
	<-time.After(time.Until(deadline) + 700*time.Millisecond)
	started := time.Now()
	s.Start()
	ready := time.Now()
	got := rcv.Wait(t, 3)
	if got := got[len(got)-1].Event(); got != "consent:expired" {
		t.Errorf("got %s last, want consent:expired", got)
	}
	e := only(events(t, a), "consent.expired")
	if len(e) != 1 || !at(t, e[0].OccurredAt).Equal(deadline) {
		t.Fatalf("got %+v, want one expiry that occurred at %v", e, deadline)
	}
	if recorded := at(t, e[0].RecordedAt); recorded.Before(started.Truncate(time.Millisecond)) || recorded.Sub(ready) > 2*time.Second {
		t.Errorf("recorded %v after it was ready, want at once", recorded.Sub(ready))
	}
}

// After one failed write nothing is known of the disk: the server says so,
// stops, and finds out at the next start (RULES D1).
func TestStoreFailure_stopsTheProcess(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{})
	a := s.NewApplication("Bank")
	kept := a.CreateConsent()
	breakFile(t, filepath.Join(s.Dir, "consentwire.db-wal"))

	r, err := a.Try("POST", "/v1/consents", servertest.Consent())
	if err != nil || r.Status != http.StatusServiceUnavailable || !strings.Contains(string(r.Body), "store_failed") {
		t.Errorf("got %d %s (%v), want 503 store_failed: it was not written", r.Status, r.Body, err)
	}
	if r, err := s.Try("GET", "/readyz", "", nil); err == nil && r.Status != http.StatusServiceUnavailable {
		t.Errorf("readyz: got %d, want 503", r.Status)
	}
	if code := s.WaitEnd(s.Done()); code == 0 {
		t.Error("got exit status 0, want a failure")
	}
	if last := s.Log.Tail(1); !strings.HasPrefix(last, "consentwire: ") || !strings.Contains(last, "disk") {
		t.Errorf("it said %q last, want a sentence on the disk", last)
	}
	s.Start()
	a.Call("GET", "/v1/consents/"+kept, nil).Want(t, 200)
	a.CreateConsent()
}

// breakFile makes every write of this process to a file fail, as a disk does
// that has had enough: its descriptors then are for reading only.
func breakFile(t *testing.T, file string) {
	t.Helper()
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err != nil || to != file {
			continue
		}
		var n int
		if _, err := fmt.Sscan(fd.Name(), &n); err != nil {
			t.Fatal(err)
		}
		if n == int(readOnly.Fd()) {
			continue
		}
		if err := syscall.Dup3(int(readOnly.Fd()), n, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	if broken == 0 {
		t.Fatalf("the server has not opened %s", file)
	}
}
