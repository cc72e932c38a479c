package load

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/api"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/telemetry"
)

type apiReady struct {
	Addr   string `json:"addr"`
	Bearer string `json:"bearer"`
}

// serveAPI is the role of the API in front of a data folder's store, or, with
// no folder, in front of one that keeps nothing. All else is the same. A second
// argument names a file for its processor profile.
func serveAPI(args []string) error {
	ctx, cancel := untilStdinEnds()
	defer cancel()
	var s store.Store = &forgetful{}
	if len(args) > 0 {
		kept, err := openStore(ctx, args[0])
		if err != nil {
			return err
		}
		defer kept.Close()
		s = kept
	}
	if len(args) > 1 {
		stop, err := profile(args[1])
		if err != nil {
			return err
		}
		defer stop()
	}
	a := app.New(app.Options{
		Store: s, Operator: secret.Random(32),
		Policy: consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: time.Hour},
	})
	_, cred, sec, err := a.CreateApplication(ctx, "bench")
	if err != nil {
		return err
	}
	bearer, err := a.IssueToken(ctx, cred.ClientID, sec.Reveal(), "127.0.0.1")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	logger := telemetry.NewLogger(io.Discard, telemetry.JSON, slog.LevelInfo)
	public := func() string { return "http://" + l.Addr().String() }
	h := api.New(api.Options{
		App: a, Store: s, Check: func(string) error { return nil }, Tester: noTester{},
		Sink:  sink.New(sink.Options{Store: s, Logger: logger, PublicURL: public}),
		Ready: func(context.Context) error { return nil }, Version: "bench", PublicURL: public,
		Logger: logger, Metrics: telemetry.NewMetrics("bench", ""),
	})
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := say(apiReady{l.Addr().String(), bearer.Reveal()}); err != nil {
		return err
	}
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type noTester struct{}

func (noTester) Test(context.Context, subscription.Endpoint) (delivery.Trial, error) {
	return delivery.Trial{}, errors.New("the benchmark sends no test")
}

func (noTester) TestMail(context.Context, subscription.Endpoint, string) (delivery.Trial, error) {
	return delivery.Trial{}, errors.New("the benchmark sends no test")
}

// forgetful is a store that accepts consents and transactions and keeps none.
// It remembers the one application, credential and token that its caller needs;
// what it does not implement the benchmark does not call.
type forgetful struct {
	store.Store
	application access.Application
	credential  access.Credential
	token       access.Token
}

// Application returns the one that was put.
func (f *forgetful) Application(context.Context, access.ID) (access.Application, error) {
	return f.application, nil
}

// Credential returns the one that was put.
func (f *forgetful) Credential(context.Context, string) (access.Credential, error) {
	return f.credential, nil
}

// Token returns the one that was put.
func (f *forgetful) AccessToken(context.Context, [32]byte) (access.Token, error) { return f.token, nil }

// Update runs fn; there is nothing to commit.
func (f *forgetful) Update(_ context.Context, fn func(store.Tx) error) error {
	return fn(forgetfulTx{f: f})
}

type forgetfulTx struct {
	store.Tx
	f *forgetful
}

func (t forgetfulTx) PutApplication(a access.Application) error {
	t.f.application = a
	return nil
}

func (t forgetfulTx) PutCredential(c access.Credential) error {
	t.f.credential = c
	return nil
}

func (t forgetfulTx) PutToken(k access.Token, _ time.Time) error {
	t.f.token = k
	return nil
}

func (forgetfulTx) PutConsent(consent.Consent, ...event.Event) error { return nil }

func (forgetfulTx) Idempotent(access.ID, string, string, time.Time) (store.Idempotent, error) {
	return store.Idempotent{}, errNothingKept
}

var errNothingKept = fault.New(fault.NotFound, "not_found", "Nothing is kept.")

// asked is the configuration that every application of a forgetful store has.
var asked = permission.NewCatalogue([]permission.Option{{
	ID: benchOption, Name: "Newsletter", DataID: "email", PurposeID: "marketing", PartyID: "us", Life: permission.Life{Used: true},
}}, nil, nil, nil, nil)

func (forgetfulTx) Catalogue(access.ID) (*permission.Catalogue, error) { return asked, nil }

func (forgetfulTx) CitizenByRef(access.ID, string) (store.Citizen, error) {
	return store.Citizen{}, errNothingKept
}

func (forgetfulTx) PutCitizen(store.Citizen, ...event.Event) error { return nil }

func (forgetfulTx) PutTransaction(access.ID, permission.Transaction) error { return nil }

// FeedUsed tells that those of permissions are.
func (forgetfulTx) FeedUsed(_ access.ID, f event.Feed) (bool, error) {
	return f != event.CitizenEmails, nil
}
