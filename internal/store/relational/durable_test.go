package relational

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
)

// The environment of a process that a test starts from its own binary.
const (
	childTask = "SQLITE_TEST_TASK"
	childDir  = "SQLITE_TEST_DIR"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		os.Exit(child(task, os.Getenv(childDir), os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

// startChild starts the test's binary on a task over a folder.
func startChild(t *testing.T, task, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTask+"="+task, childDir+"="+dir)
	said := new(bytes.Buffer)
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		if t.Failed() {
			t.Logf("the process said: %s", said)
		}
	})
	return cmd, out
}

// child writes the ID of each consent that was acknowledged to out, and in the
// task "full" then what is answered after the disk is full.
func child(task, dir string, out io.Writer) int {
	if task == "full" {
		signal.Ignore(syscall.SIGXFSZ)
		const most = 2 << 20 // bytes of any file
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	s, err := openFolder(context.Background(), folder{Dir: dir, Keys: testKeys(childT{}, "k")})
	if err == nil {
		err = s.write(context.Background(), put("app_1"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var mu sync.Mutex
	say := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, text)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				c := fullConsent("app_1", fmt.Sprintf("con_%d_%d_%d", os.Getpid(), w, i))
				evts := []event.Event{someEvent("app_1", string(c.ID)), someEvent("app_1", string(c.ID))}
				for n := range evts {
					evts[n].ID = fmt.Sprintf("evt_%d_%d_%d_%d", os.Getpid(), w, i, n)
				}
				err := s.write(context.Background(), func(t *tx) error { return t.PutConsent(c, evts...) })
				if err != nil {
					say("error " + fault.CodeOf(err))
					return
				}
				say(string(c.ID))
			}
		})
	}
	wg.Wait()
	say("later " + fault.CodeOf(s.write(context.Background(), put("app_2"))))
	say("ping " + fault.CodeOf(s.Ping(context.Background())))
	_, err = s.Application(context.Background(), "app_1")
	say(fmt.Sprint("read ", err))
	if err := s.Close(); err != nil {
		say("close " + err.Error())
	}
	return 0
}

// childT lets helpers of tests serve a process that is none.
type childT struct{ testing.TB }

func (childT) Helper() {}

// checkWhole reads everything back: the log dense, each consent with its two
// events, each body opened. It returns the consents' IDs.
func checkWhole(t *testing.T, s *Store, app access.ID) []string {
	t.Helper()
	var ids []string
	for q := (store.ConsentQuery{Limit: 500}); ; {
		list, next, err := s.Consents(t.Context(), app, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			ids = append(ids, string(c.ID))
		}
		if next == "" {
			break
		}
		q.After = next
	}
	perSubject, last := map[string]int64{}, event.Seq(0)
	for q := (store.EventQuery{Limit: 500}); ; {
		list, next, err := s.Events(t.Context(), app, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			last++
			perSubject[e.Subject]++
			if e.Seq != last || e.Sequence != perSubject[e.Subject] || len(e.Body) == 0 {
				t.Fatalf("got place %d, sequence %d of %s, want %d, %d", e.Seq, e.Sequence, e.Subject, last, perSubject[e.Subject])
			}
		}
		if next == "" {
			break
		}
		q.After = next
	}
	for _, id := range ids {
		if perSubject[id] != 2 {
			t.Fatalf("%s has %d events, want 2: state and events commit together", id, perSubject[id])
		}
	}
	if int(last) != 2*len(ids) {
		t.Fatalf("got %d events for %d consents, want 2 each", last, len(ids))
	}
	slices.Sort(ids)
	return ids
}

func TestStore_killedUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var acknowledged []string
	for round := range 4 {
		cmd, out := startChild(t, "load", dir)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			acknowledged = append(acknowledged, lines.Text())
			if n == 200+37*round { // what it had said before is read to the end
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		s, err := openFolder(t.Context(), folder{Dir: dir, Keys: testKeys(t, "k")})
		if err != nil {
			t.Fatal(err)
		}
		kept := checkWhole(t, s, "app_1")
		for _, id := range acknowledged {
			if _, ok := slices.BinarySearch(kept, id); !ok {
				t.Errorf("round %d: %q was acknowledged and is lost", round, id)
			}
		}
		if extra := len(kept) - len(acknowledged); extra > 8*(round+1) {
			t.Errorf("round %d: %d consents were kept without an answer, want at most one per caller", round, extra)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 4*200 {
		t.Errorf("got %d acknowledged, want at least 800", len(acknowledged))
	}
}

func TestStore_fullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, out := startChild(t, "full", dir)
	var acknowledged, rest []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "con_") {
			acknowledged = append(acknowledged, lines.Text())
		} else {
			rest = append(rest, lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Repeat([]string{"error store_failed"}, 8), "later store_failed", "ping store_failed", "read <nil>")
	if len(rest) < len(want) || !slices.Equal(rest[:len(want)], want) {
		t.Errorf("got %q, want %q", rest, want)
	}
	kept := checkWhole(t, openStore(t, folder{Dir: dir}), "app_1")
	slices.Sort(acknowledged)
	if !slices.Equal(kept, acknowledged) || len(kept) == 0 {
		t.Errorf("got %d kept, want exactly the %d that were acknowledged", len(kept), len(acknowledged))
	}
}

// TestStore_failedStatement: SQLITE_FULL in the middle of a function, which
// swallows it.
func TestStore_failedStatement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir})
	addApp(t, s, "app_1")
	err := s.write(t.Context(), func(t *tx) error {
		var pages int
		if err := t.get([]any{&pages}, "PRAGMA page_count"); err != nil {
			return err
		}
		if err := t.get([]any{&pages}, fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			return err
		}
		e := someEvent("app_1", "con_1")
		e.Body = make([]byte, 100<<10)
		_ = t.Publish(e)
		return nil
	})
	wantKind(t, err, fault.Unavailable, "store_failed")
	wantKind(t, s.write(t.Context(), put("app_2")), fault.Unavailable, "store_failed")
	wantKind(t, s.Ping(t.Context()), fault.Unavailable, "store_failed")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, folder{Dir: dir})
	if got := names(t, s); !slices.Equal(got, []string{"app_1"}) {
		t.Errorf("got %q, want what was acknowledged", got)
	}
	if err := s.write(t.Context(), put("app_2")); err != nil {
		t.Errorf("got %v, want a restart to mend it", err)
	}
}

func TestStore_failedSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told []error
	s := openStore(t, folder{Dir: dir, vfs: useBadDisk(t), OnCommit: func(_ int, _ time.Duration, err error) { told = append(told, err) }})
	for i := range 5 {
		if err := s.write(t.Context(), put(fmt.Sprint("app_", i))); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	s.Watch(func(store.Change) { calls++ })
	release := holdOpen(s)
	disk.failing.Store(true)
	before := disk.syncs.Load()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			err := s.write(t.Context(), func(t *tx) error {
				if i == 3 {
					return notFound()
				}
				return put(fmt.Sprint("app_lost_", i))(t)
			})
			if i == 3 {
				wantKind(t, err, fault.NotFound, "not_found")
			} else {
				wantKind(t, err, fault.Unavailable, "store_failed")
			}
		})
	}
	queued(s, 10)
	wantKind(t, release(), fault.Unavailable, "store_failed")
	wg.Wait()
	if n := disk.syncs.Load() - before; n != 1 {
		t.Errorf("got %d syncs, want the one that failed: it is never tried again", n)
	}
	if len(told) != 6 || told[5] == nil || calls != 0 {
		t.Errorf("got commits %v and %d calls of a watcher, want the last commit to fail and none", told, calls)
	}
	disk.failing.Store(false) // the disk is well again, but nobody knows what it holds
	wantKind(t, s.write(t.Context(), put("app_x")), fault.Unavailable, "store_failed")
	wantKind(t, s.Ping(t.Context()), fault.Unavailable, "store_failed")
	want := []string{"app_0", "app_1", "app_2", "app_3", "app_4"}
	if got := names(t, s); !slices.Equal(got, want) {
		t.Errorf("got %q, want reads to show %q", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, folder{Dir: dir})
	if got := names(t, s); !slices.Equal(got, want) {
		t.Errorf("got %q after the restart, want exactly what was acknowledged", got)
	}
	if err := s.write(t.Context(), put("app_x")); err != nil {
		t.Errorf("got %v, want a restart to mend it", err)
	}
}

// fullEndpoint returns a subscription in which every field is set, as no real
// one is.
func fullEndpoint(app access.ID, id subscription.ID) subscription.Endpoint {
	sec := func(s string) secret.Value { return secret.New("secret-" + s + "-" + string(id)) }
	return subscription.Endpoint{
		ID: id, Application: string(app), Style: subscription.Subscription, Version: 3,
		Name: "name-of-it", URL: "https://receiver.example/path-token-4711", Feed: event.LifecycleData,
		UpdateType: subscription.CitizenEmails, EventTypes: []event.Type{event.ConsentApproved, event.PermissionsDelta},
		Status: subscription.Suspended, StatusReason: "It answered 410.", StatusSince: start,
		Auth: subscription.Auth{
			Type:   subscription.AuthOAuth2,
			APIKey: subscription.APIKey{Location: "header", Key: "X-Key", Value: sec("api-key")},
			Bearer: subscription.Bearer{
				Token: sec("token"), RefreshToken: sec("refresh"), RefreshURL: "https://tokens.example/refresh", ClientID: "client-a", ClientSecret: sec("client"),
			},
			OAuth2: subscription.OAuth2{
				GrantType: "client-credentials", AuthenticationURL: "https://tokens.example/token", ContentType: "application-json",
				ClientID: "client-b", ClientSecret: sec("oauth"), Scope: "scope-of-it", ClientAuthMethod: "body", Audience: "audience-of-it",
			},
			Basic: subscription.Basic{User: "user-of-it", Password: sec("password")},
			MTLS:  subscription.MTLS{Certificate: "certificate-of-it", PrivateKey: sec("mtls"), CACertificate: "ca-of-it"},
		},
		Asymmetric: true, SigningKeys: []subscription.SigningKey{{
			ID: "key_1", PrivateKey: secret.New("secret-whsk"), PublicKey: "whpk_1", CreatedAt: start, ExpiresAt: start.Add(time.Hour),
		}},
		SigningSecrets: []subscription.SigningSecret{{Secret: sec("signing-1"), ExpiresAt: start.Add(time.Hour)}, {Secret: sec("signing-2"), ExpiresAt: start.Add(2 * time.Hour)}},
		RetrySchedule:  []time.Duration{time.Second, 90 * time.Minute}, Timeout: 7 * time.Second, RateLimit: 8, MaxInFlight: 9,
		Description: "description-of-it", Metadata: map[string]string{"team": "metadata-of-it"}, OnBacklog: subscription.BacklogLatest,
		Mail: subscription.Mail{
			Host: "mail-host-of-it", Port: 587, Security: "starttls", User: "mail-user-of-it", Password: sec("mail"),
			From: "mail-from-of-it", FromName: "mail-name-of-it", ReplyTo: "mail-reply-of-it",
		},
		CreatedAt: start.Add(time.Minute), UpdatedAt: start.Add(2 * time.Minute),
	}
}

// fullExchange returns a request for a token in which every field is set.
func fullExchange() *delivery.Exchange {
	return &delivery.Exchange{
		At: start, Duration: 1234567 * time.Nanosecond, Step: delivery.StepResponse, Reason: "reason-of-the-exchange",
		Request: delivery.Request{
			Method: "POST", URL: "https://tokens.example/of-the-request", Headers: []delivery.Header{{Name: "X-Of-The-Request", Value: "***"}}, Body: "body-of-the-request",
		},
		Response: &delivery.Response{Status: 400, Headers: []delivery.Header{{Name: "X-Of-The-Answer", Value: "b"}}, Body: "body-of-the-answer"},
	}
}

// fullToken returns a token to be kept as the first.
func fullToken() subscription.Token {
	return subscription.Token{
		Access: secret.New("secret-access"), ExpiresAt: start.Add(time.Hour), Refresh: secret.New("secret-refresh"),
		ClientAuth: subscription.ClientAuthBasic, Generation: 1,
	}
}

// saveToken keeps a token as the first.
func saveToken(t testing.TB, s *Store, e delivery.Endpoint, tok subscription.Token) {
	t.Helper()
	tok.Generation = 0
	if err := s.SaveToken(t.Context(), e, tok); err != nil {
		t.Fatal(err)
	}
}

// holdBack records a hold and an attempt, each with an exchange, of an endpoint
// that is active.
func holdBack(t testing.TB, s *Store, e delivery.Endpoint, subject string) {
	t.Helper()
	p, err := s.Open(t.Context(), e)
	if err == nil {
		_, err = s.Record(t.Context(), []delivery.Progress{{
			Lease: p.Lease, At: start, Hold: &delivery.Hold{State: delivery.TokenTrouble, Since: start, Reason: "No token.", Exchange: fullExchange()},
			Attempts: []delivery.Attempt{{Seq: 1, Subject: subject, N: 1, At: start, Step: delivery.StepToken, Token: fullExchange()}},
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestStore_keepsEveryField: a field that is added to a type and not kept makes
// this red.
func TestStore_keepsEveryField(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	app := addApp(t, s, "app_1")
	c, e := fullConsent(app, "con_1"), fullEndpoint(app, "sub_1")
	ctz, txn := fullCitizen(app, "ctz_1"), fullTransaction("ctz_1")
	requireFull(t, "citizen", reflect.ValueOf(ctz))
	txn.Entries[0].Place, txn.Choices[0].Place, txn.Reverts = 1, 1, "txn_0" // as no real one is
	requireFull(t, "transaction", reflect.ValueOf(txn))
	requireFull(t, "consent", reflect.ValueOf(c))
	e.Parts = 2
	requireFull(t, "endpoint", reflect.ValueOf(e))
	ev := someEvent(app, "con_1")
	ev.Except = "sub_1"
	bin := store.Bin{Name: "bin_1", Application: app, CreatedAt: start, Script: store.Script{
		Status: 503, Delay: 1500 * time.Millisecond, FailureRatio: 0.25, Headers: map[string]string{"A": "b"}, Body: "no",
	}, Share: store.Share{Hash: [32]byte{0: 1, 31: 2}, Until: start}}
	requireFull(t, "bin", reflect.ValueOf(bin))
	tok := fullToken()
	requireFull(t, "token", reflect.ValueOf(tok))
	requireFull(t, "exchange", reflect.ValueOf(*fullExchange()))
	active := fullEndpoint(app, "sub_2")
	active.Status = subscription.Active
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.PutCitizen(ctz), tx.PutTransaction(app, txn),
			tx.PutConsent(c, ev), tx.PutEndpoint(e, delivery.Shown{URL: "u"}), tx.PutBin(bin), tx.PutSigningKey(app, e.SigningKeys[0]),
			tx.PutEndpoint(active, delivery.Shown{}))
	})
	saveToken(t, s, "sub_1", tok)
	holdBack(t, s, "sub_2", "con_1")
	ev.Seq, ev.Sequence = 1, 1
	all := ev
	all.Erased = true // which this one is not
	requireFull(t, "event", reflect.ValueOf(all))

	gotC, err := s.Consent(t.Context(), app, "con_1")
	if err != nil || !reflect.DeepEqual(gotC, c) {
		t.Errorf("got %+v, %v, want %+v", gotC, err, c)
	}
	gotZ, err := s.Citizen(t.Context(), app, "ctz_1")
	if err != nil || !reflect.DeepEqual(gotZ, ctz) {
		t.Errorf("got %+v, %v, want %+v", gotZ, err, ctz)
	}
	gotX, err := s.Transaction(t.Context(), app, txn.ID())
	if err != nil || !reflect.DeepEqual(gotX, txn) {
		t.Errorf("got %+v, %v, want %+v", gotX, err, txn)
	}
	gotE, err := s.Endpoint(t.Context(), app, e.Style, e.ID)
	if err != nil || !reflect.DeepEqual(gotE, e) {
		t.Errorf("got %+v, %v, want %+v", gotE, err, e)
	}
	gotV, err := s.Event(t.Context(), app, ev.ID)
	if err != nil || !reflect.DeepEqual(gotV, ev) {
		t.Errorf("got %+v, %v, want %+v", gotV, err, ev)
	}
	gotB, err := s.Bin(t.Context(), "bin_1")
	if err != nil || !reflect.DeepEqual(gotB, bin) {
		t.Errorf("got %+v, %v, want %+v", gotB, err, bin)
	}
	gotT, err := s.Token(t.Context(), "sub_1")
	if err != nil || gotT != tok {
		t.Errorf("got %+v, %v, want %+v", gotT, err, tok)
	}
	gotH, err := s.Health(t.Context(), app, "sub_2")
	if err != nil || !reflect.DeepEqual(gotH.Hold.Exchange, fullExchange()) {
		t.Errorf("got %+v, %v, want %+v", gotH.Hold.Exchange, err, fullExchange())
	}
	gotD, err := s.Delivery(t.Context(), app, delivery.ID("sub_2", 1))
	if err != nil || len(gotD.Attempts) != 1 || !reflect.DeepEqual(gotD.Attempts[0].Token, fullExchange()) {
		t.Errorf("got %+v, %v, want %+v", gotD.Attempts, err, fullExchange())
	}
}

func TestStore_nothingPersonalOrSecretInClear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := testKeys(t, "k")
	s := openStore(t, folder{Dir: dir, Keys: keys})
	app := addApp(t, s, "app_1")
	ev := someEvent(app, "con_1")
	ev.Body = []byte(`{"event":"the-body-of-the-event"}`)
	e := fullEndpoint(app, "sub_1")
	active := fullEndpoint(app, "sub_2")
	active.Status = subscription.Active
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.PutConsent(fullConsent(app, "con_1"), ev), tx.PutSigningKey(app, e.SigningKeys[0]), tx.PutEndpoint(active, delivery.Shown{}),
			tx.PutEndpoint(e, delivery.Shown{URL: e.URL, Headers: []delivery.Header{{Name: "X-Telling-Name", Value: "***"}}}),
			tx.PutIdempotent(app, store.Idempotent{Key: "key-1", Route: "POST /v1/consents", Response: []byte("the-stored-answer"), ExpiresAt: start.Add(time.Hour)}, start),
		)
	})
	saveToken(t, s, "sub_1", fullToken())
	holdBack(t, s, "sub_2", "con_1")
	permissions(t, s, app)
	clear := []string{
		"external-ref-of", "merged-ref-of", "ctz_of_it", "email-of-it", "language-of-it", "campaign-of-it", "person-of-it", "authority-of-it", "client-of-it",
		"GRANTED", "choice-of-it", "label-of-it", "legitimate-interest", `"asOf"`,
		"52998224725", "11222333000181", "39053344705", "CNPJ", "citizen-of-", "Maria da Penha", "123456.78", "approver-joao",
		"ACCOUNTS_READ", "CUSTOMER_MANUALLY_REJECTED", "prefers another bank",
		"the-body-of-the-event", "the-stored-answer", "X-Telling-Name",
		"name-of-it", "receiver.example", "path-token-4711", "tokens.example", "client-a", "client-b", "scope-of-it", "audience-of-it",
		"user-of-it", "mail-", "description-of-it", "metadata-of-it", "secret-", "certificate-of-it", "ca-of-it",
		"reason-of-the-exchange", "of-the-request", "Of-The-Request", "of-the-answer", "Of-The-Answer",
		strings.Repeat("k", 16), // of the master key
	}
	scan := func(when string, files ...string) {
		t.Helper()
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if f != sqlite.FileName+"-shm" && !bytes.Contains(b, []byte("con_1")) && !bytes.Contains(b, []byte("SQLite")) {
				t.Errorf("%s, %s: holds nothing that must be there, so the scan proves nothing", when, f)
			}
			for _, c := range clear {
				if bytes.Contains(b, []byte(c)) {
					t.Errorf("%s, %s: holds %q in clear", when, f, c)
				}
			}
		}
	}
	wal, err := os.ReadFile(filepath.Join(dir, sqlite.FileName+"-wal"))
	if err != nil || !bytes.Contains(wal, []byte("con_1")) {
		t.Fatalf("the log holds no consent (%v): the scan proves nothing", err)
	}
	scan("while open", sqlite.FileName, sqlite.FileName+"-wal", sqlite.FileName+"-shm")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	scan("closed", sqlite.FileName)
	if _, err := os.Stat(filepath.Join(dir, sqlite.FileName+"-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the log after a close, want it gone", err)
	}
}

// TestStore_swappedRows: who can write the file cannot give one row's content
// to another.
func TestStore_swappedRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir})
	app := addApp(t, s, "app_1")
	update(t, s, func(tx store.Tx) error {
		var err error
		for _, id := range []string{"con_1", "con_2"} {
			err = errors.Join(err, tx.PutConsent(fullConsent(app, id), someEvent(app, id), someEvent(app, id)))
		}
		plain := fullEndpoint(app, "sub_3")
		plain.Asymmetric, plain.Status = false, subscription.Active
		one, two := plain.SigningKeys[0], plain.SigningKeys[0]
		two.ID, two.PublicKey = "key_2", "whpk_2"
		held := plain
		held.ID = "sub_4"
		was := fullCitizen(app, "ctz_2").Standing
		at := []store.Checkpoint{
			{Citizen: "ctz_2", At: start, Standing: was, Histories: []permission.CitizenID{"ctz_2"}},
			{Citizen: "ctz_2", At: start.Add(time.Hour), Histories: []permission.CitizenID{"ctz_2"}},
		}
		other := fullTransaction("ctz_1")
		other.Origin.Transaction = "txn_2"
		return errors.Join(
			err, tx.PutCitizen(fullCitizen(app, "ctz_1")), tx.PutTransaction(app, fullTransaction("ctz_1")), tx.PutTransaction(app, other),
			tx.PutCitizen(fullCitizen(app, "ctz_2")), tx.PutCheckpoint(app, at[0]), tx.PutCheckpoint(app, at[1]), tx.PutEndpoint(fullEndpoint(app, "sub_1"), delivery.Shown{}), tx.PutEndpoint(fullEndpoint(app, "sub_2"), delivery.Shown{}),
			tx.PutEndpoint(plain, delivery.Shown{}), tx.PutEndpoint(held, delivery.Shown{}), tx.PutSigningKey(app, one), tx.PutSigningKey(app, two))
	})
	for _, e := range []delivery.Endpoint{"sub_3", "sub_4"} {
		saveToken(t, s, e, fullToken())
		holdBack(t, s, e, "con_1")
	}
	evts, _, err := s.Events(t.Context(), app, store.EventQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := openRaw(t, filepath.Join(dir, sqlite.FileName))
	for _, q := range []string{
		"UPDATE consent SET sealed = (SELECT sealed FROM consent WHERE consent_id = 'con_2') WHERE consent_id = 'con_1'",
		"UPDATE subject SET sealed_key = (SELECT sealed_key FROM subject WHERE subject = 'con_1') WHERE subject = 'con_2'",
		"UPDATE event SET body = (SELECT body FROM event WHERE seq = 2) WHERE seq = 1", // of the same subject
		"UPDATE endpoint SET sealed = (SELECT sealed FROM endpoint WHERE endpoint_id = 'sub_2') WHERE endpoint_id = 'sub_1'",
		"UPDATE kept_token SET sealed = (SELECT sealed FROM kept_token ORDER BY ep LIMIT 1) WHERE ep = (SELECT ep FROM endpoint WHERE endpoint_id = 'sub_4')",
		"UPDATE endpoint SET hold_exchange = (SELECT hold_exchange FROM endpoint WHERE endpoint_id = 'sub_3') WHERE endpoint_id = 'sub_4'",
		"UPDATE attempt SET token = (SELECT token FROM attempt ORDER BY ep LIMIT 1) WHERE ep = (SELECT ep FROM endpoint WHERE endpoint_id = 'sub_4')",
		"UPDATE signing_key SET public_key = 'whpk_forged' WHERE key_id = 'key_2'",
		"UPDATE citizen SET standing = sealed WHERE citizen_id = 'ctz_1'",
		"UPDATE checkpoint SET standing = (SELECT standing FROM checkpoint ORDER BY at LIMIT 1) WHERE row = (SELECT row FROM checkpoint ORDER BY at DESC LIMIT 1)",
		"UPDATE permission_transaction SET sealed = (SELECT sealed FROM permission_transaction WHERE transaction_id = 'txn_2') WHERE transaction_id = 'txn_ctz_1'",
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, folder{Dir: dir})
	_, err = s.Consent(t.Context(), app, "con_1")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Consent(t.Context(), app, "con_2")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Event(t.Context(), app, evts[0].ID)
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Endpoint(t.Context(), app, subscription.Subscription, "sub_1")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Token(t.Context(), "sub_4")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Health(t.Context(), app, "sub_4")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Open(t.Context(), "sub_4")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Delivery(t.Context(), app, delivery.ID("sub_4", 1))
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.SigningKeys(t.Context(), app)
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Citizen(t.Context(), app, "ctz_1")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, err = s.Transaction(t.Context(), app, "txn_ctz_1")
	wantKind(t, err, fault.Internal, "sealed_altered")
	_, _, err = s.Past(t.Context(), app, "ctz_2", start.Add(time.Hour))
	wantKind(t, err, fault.Internal, "sealed_altered")
	if _, _, err := s.Past(t.Context(), app, "ctz_2", start); err != nil {
		t.Errorf("got %v for a checkpoint that was left alone", err)
	}
	if _, err := s.Citizen(t.Context(), app, "ctz_2"); err != nil {
		t.Errorf("got %v for a citizen that was left alone", err)
	}
	if tok, err := s.Token(t.Context(), "sub_3"); err != nil || tok != fullToken() {
		t.Errorf("got %v, %v for a token that was left alone", tok, err)
	}
	if _, err = s.Event(t.Context(), app, evts[1].ID); err != nil {
		t.Errorf("got %v for a row that was left alone", err)
	}
}
