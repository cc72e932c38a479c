package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// demoName is the demo application's name.
const demoName = "Demo"

// credentialName is the file of the data folder that keeps the demo's
// credential from one start to the next: two lines, the client ID and the
// client secret.
const credentialName = "demo-credential" // #nosec G101 -- the name of a file

// The demo's endpoints, as the last part of their path in the bin.
const (
	pathInterceptor  = "/interceptor"
	pathSubscription = "/subscription"
	pathPermissions  = "/permissions"
	pathMails        = "/mails"
)

// What the demo's citizens are asked: the IDs of options, of which the second
// is confirmed by mail, and the references of a statement and of a preference
// with its choices.
const (
	demoOption     = "newsletter"
	demoMailed     = "partner-offers"
	demoStatement  = "partner-offers-v1"
	demoPreference = "topics"
	demoJazz       = "jazz"
	demoChoro      = "choro"
)

// demo is the newcomer's application: a credential, and a bin of the inspector
// that an interceptor and three subscriptions deliver to.
type demo struct {
	app    access.ID
	client string
	secret secret.Value
	bin    string
}

// ensureDemo makes what the demo needs, or finds it in a folder that an
// earlier start has left.
func (n *node) ensureDemo(ctx context.Context) (demo, error) {
	d, err := n.demoCredential(ctx)
	if err != nil {
		return d, err
	}
	bins, err := n.store.Bins(ctx, d.app)
	if err != nil {
		return d, err
	}
	if len(bins) == 0 {
		b, err := n.app.PutBin(ctx, d.app)
		if err != nil {
			return d, err
		}
		bins = []store.Bin{b}
	}
	d.bin = bins[len(bins)-1].Name // the oldest: later ones are the newcomer's own

	no := false
	interceptor, faults := subscription.InterceptorDraft{
		Endpoint: n.sink.URL(d.bin) + pathInterceptor, IsAuthenticated: &no, Type: "DATA",
	}.Apply(subscription.Endpoint{}, urlCheck(n.guard))
	if err := n.ensureEndpoint(ctx, d, interceptor, faults, pathInterceptor); err != nil {
		return d, fmt.Errorf("register the demo interceptor: %w", err)
	}

	apiKey, header, name := string(subscription.AuthAPIKey), "header", "X-API-Key" // #nosec G101 -- the name of a header
	var types []string
	for _, t := range event.Lifecycle() {
		types = append(types, string(t))
	}
	sub, faults := subscription.Draft{
		Name: "Demo", URL: n.sink.URL(d.bin) + pathSubscription, EventTypes: types,
		Auth: &subscription.AuthDraft{Type: &apiKey, APIKey: &subscription.APIKeyDraft{
			Location: &header, Key: &name, Value: subscription.SecretInput{Given: true, Value: secret.Random(24)},
		}},
	}.Apply(subscription.Endpoint{}, true, urlCheck(n.guard))
	if err := n.ensureEndpoint(ctx, d, sub, faults, pathSubscription); err != nil {
		return d, fmt.Errorf("register the demo subscription: %w", err)
	}
	none := string(subscription.AuthNone)
	states, faults := subscription.Draft{
		Name: "Demo permissions", URL: n.sink.URL(d.bin) + pathPermissions, UpdateType: string(subscription.EffectivePermission),
		Auth: &subscription.AuthDraft{Type: &none},
	}.Apply(subscription.Endpoint{}, true, urlCheck(n.guard))
	if err := n.ensureEndpoint(ctx, d, states, faults, pathPermissions); err != nil {
		return d, fmt.Errorf("register the demo subscription to permissions: %w", err)
	}
	mails, faults := subscription.Draft{
		Name: "Demo mails", URL: n.sink.URL(d.bin) + pathMails, UpdateType: string(subscription.CitizenEmails),
		Auth: &subscription.AuthDraft{Type: &none},
	}.Apply(subscription.Endpoint{}, true, urlCheck(n.guard))
	if err := n.ensureEndpoint(ctx, d, mails, faults, pathMails); err != nil {
		return d, fmt.Errorf("register the demo subscription to mails: %w", err)
	}
	if err := n.ensureQuestions(ctx, d.app); err != nil {
		return d, fmt.Errorf("configure the demo's permissions: %w", err)
	}
	return d, nil
}

// ensureQuestions configures what the sample citizens are asked, unless an
// earlier start has.
func (n *node) ensureQuestions(ctx context.Context, owner access.ID) error {
	p := func(s string) *string { return &s }
	option := func(id, name, party string) error {
		_, err := n.app.PutOption(ctx, owner, "", permission.OptionDraft{
			ID: &id, Name: &name, DataID: p("email"), PurposeID: p("marketing"), PartyID: &party,
		})
		return err
	}
	for _, err := range []error{option(demoOption, "Newsletter", "us"), option(demoMailed, "Offers of our partners", "partners"), n.demoStatement(ctx, owner)} {
		if err != nil && fault.CodeOf(err) != "reference_taken" {
			return err
		}
	}
	_, err := n.app.PutPreference(ctx, owner, "", permission.PreferenceDraft{
		Reference: p(demoPreference), Label: p("Topics you like"), Type: p(permission.MultiChoice),
		Choices: []permission.AlternativeDraft{{Reference: p(demoJazz), Label: p("Jazz")}, {Reference: p(demoChoro), Label: p("Choro")}},
	})
	if fault.CodeOf(err) == "reference_taken" {
		return nil
	}
	return err
}

// demoStatement makes the text by which the citizens are asked, unless it is
// there.
func (n *node) demoStatement(ctx context.Context, owner access.ID) error {
	c, err := n.store.Catalogue(ctx, owner)
	if err != nil {
		return err
	}
	if _, err := c.StatementByRef(demoStatement); fault.KindOf(err) != fault.NotFound {
		return err
	}
	reference, text, language := demoStatement, "Yes, your partners may send me their offers by e-mail.", "en"
	_, err = n.app.PutStatement(ctx, owner, "", permission.StatementDraft{Reference: &reference, Text: &text, Language: &language})
	return err
}

// demoCredential returns the demo application with a credential that works.
func (n *node) demoCredential(ctx context.Context) (demo, error) {
	file := filepath.Join(n.cfg.DataDir, credentialName)
	b, err := os.ReadFile(file) // #nosec G304 -- a fixed name in our own data folder
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return demo{}, about("CONSENTWIRE_DATA_DIR", err)
	default:
		client, sec, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
		cred, err := n.store.Credential(ctx, client)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return demo{}, err
		}
		if err == nil && cred.Opens(sec) {
			return demo{app: cred.Application, client: client, secret: secret.New(sec)}, nil
		}
	}
	ap, cred, sec, err := n.app.CreateApplication(ctx, demoName)
	if err != nil {
		return demo{}, err
	}
	if err := os.WriteFile(file, []byte(cred.ClientID+"\n"+sec.Reveal()+"\n"), 0o600); err != nil {
		return demo{}, about("CONSENTWIRE_DATA_DIR", err)
	}
	return demo{app: ap.ID, client: cred.ClientID, secret: sec}, nil
}

// ensureEndpoint registers e unless there is one already; that one is led to
// where the bin is now, for the port may be another.
func (n *node) ensureEndpoint(ctx context.Context, d demo, e subscription.Endpoint, faults []fault.Field, path string) error {
	if err := fault.InvalidFields(faults); err != nil {
		return err
	}
	there, _, err := n.store.Endpoints(ctx, d.app, store.EndpointQuery{Style: e.Style, Limit: 100})
	if err != nil {
		return err
	}
	for _, old := range there {
		if !strings.HasSuffix(old.URL, "/"+d.bin+path) {
			continue
		}
		if old.URL == e.URL {
			return nil
		}
		_, err := n.app.EditEndpoint(ctx, d.app, e.Style, old.ID, func(cur subscription.Endpoint) (app.Edit, error) {
			cur.URL = e.URL
			return app.Edit{Endpoint: cur}, nil
		})
		return err
	}
	_, err = n.app.CreateEndpoint(ctx, d.app, e)
	return err
}
