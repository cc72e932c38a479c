package app_test

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/storetest"
	"github.com/consentwire/consentwire/internal/subscription"
)

// scene is a world in which every use case has something to do.
type scene struct {
	*world
	waiting, open, overdue consent.Consent
	one, two, three, four  permission.CitizenID // one's permission has lapsed unnoticed; three and four are linked
	said                   permission.TransactionID
	hook, paused           subscription.Endpoint
	sent                   string // a delivery to hook
	asked                  string
	bin                    string
	bearer                 string
	client                 string // another one of the application
	imported               string
	user                   string // ana@example.org
	session                [32]byte
	invitation             string // of rui@example.org
	shared                 string // the secret by which the bin is
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{world: newPosting(t)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.hearAll()
	s.hear(subscription.CitizenEmails)
	_, _, err := s.PutSender(s.ctx, s.app, sender("smtp.example.org"))
	must(err)
	s.hook = s.register(interceptor("https://hook.example/"))
	s.paused = s.register(operations())
	s.paused = s.set(s.paused, subscription.Paused, false)
	lapsing := change(mailing, permission.Granted)
	lapsing.ValidUntil = ptr(time.Now().Add(time.Hour))
	s.one = s.record(by("crm-1", lapsing)).Citizen.ID
	s.overdue = s.create(request())
	s.deliver(s.hook)
	time.Sleep(2 * time.Hour)
	s.waiting = s.create(request())
	s.open, err = s.Approve(s.ctx, s.app, string(s.create(request()).ID), "")
	must(err)
	said := s.record(by("crm-2", change(phoning, permission.Granted)))
	s.two, s.said = said.Citizen.ID, said.Transaction.ID()
	s.three = s.record(by("crm-3", change(mailing, permission.Granted))).Citizen.ID
	s.four = s.record(by("crm-4", change(phoning, permission.Granted))).Citizen.ID
	_, err = s.Link(s.ctx, s.app, s.three, app.CitizenKey{ID: s.four})
	must(err)
	s.person("crm-5", "", "eve@example.org")
	s.asked, _ = s.ask(by("crm-5", change(mailing, permission.Pending)))
	page := s.deliveries(s.hook)
	s.sent = page[len(page)-1].ID
	b, err := s.PutBin(s.ctx, s.app)
	must(err)
	s.bin = b.Name
	_, share, err := s.ShareBin(s.ctx, s.app, s.bin)
	must(err)
	s.shared = share.Reveal()
	bearer, err := s.IssueToken(s.ctx, s.cred.ClientID, s.sec.Reveal(), "192.0.2.1")
	must(err)
	s.bearer = bearer.Reveal()
	other, _, err := s.AddCredential(s.ctx, s.app)
	must(err)
	s.client = other.ClientID
	_, err = s.PutTemplate(s.ctx, s.app, mail.Receipt, "fr", mail.Draft{Subject: ptr("Merci"), Text: ptr("Merci"), HTML: ptr("<p>Merci</p>")})
	must(err)
	_, err = s.RemoveConfiguration(s.ctx, s.app, store.Option, phoning)
	must(err)
	p, err := s.bring(app.ImportRequest{Key: "key-0"}, line("crm-9", mailing, permission.Granted))
	must(err)
	s.imported = p.ID
	sec, err := s.Invite(s.ctx, s.app, "ana@example.org", access.Developer)
	must(err)
	u, err := s.Join(s.ctx, sec.Reveal(), "Ana", "correct horse battery")
	must(err)
	s.user = u.ID
	cookie, err := s.OpenSession(s.ctx, app.Visitor{User: u.ID, Name: u.Name, Application: s.app, Role: u.Role})
	must(err)
	s.session = access.HashSession(cookie.Reveal())
	sec, err = s.Invite(s.ctx, s.app, "rui@example.org", access.Viewer)
	must(err)
	s.invitation = sec.Reveal()
	return s
}

// sender is a mail sender that sends by a host.
func sender(host string) func(subscription.Endpoint) (subscription.Endpoint, error) {
	return func(cur subscription.Endpoint) (subscription.Endpoint, error) {
		e, fields := subscription.SenderDraft{
			Host: host, User: "mailer", Password: subscription.SecretInput{Given: true, Value: secret.New("p4ss-of-the-server")},
			From: "privacy@example.org", FromName: "Privacidade",
		}.Apply(cur, func(string, int, bool) error { return nil })
		return e, fault.InvalidFields(fields)
	}
}

// everything tells all that is kept of the world, with what is made by dice
// and clocks replaced.
func (w *world) everything() string {
	w.t.Helper()
	st := w.store.Store // no call counts, none fails
	var b strings.Builder
	say := func(what string, v any, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		fmt.Fprintf(&b, "%s %+v\n", what, v)
	}
	apps, _, err := st.Applications(w.ctx, 0, 100)
	say("applications", len(apps), err)
	for _, a := range apps {
		cs, err := st.Credentials(w.ctx, a.ID)
		say("application "+a.Name, len(cs), err)
	}
	if _, err := st.Application(w.ctx, w.app); fault.KindOf(err) == fault.NotFound {
		return shown(b.String())
	}
	for _, e := range w.events(w.app) {
		say("event", fmt.Sprint(e.Seq, e.Type, e.Subject, e.Sequence, e.Erased, string(e.Body)), nil)
	}
	consents, _, err := st.Consents(w.ctx, w.app, store.ConsentQuery{Limit: 100})
	for _, c := range consents {
		say("consent", fmt.Sprint(c.ID, c.Status, c.Version), err)
	}
	catalogue, err := st.Catalogue(w.ctx, w.app)
	say("options", catalogue.Options(), err)
	say("groups", catalogue.Groups(), nil)
	say("preferences", catalogue.Preferences(), nil)
	say("statements", catalogue.Statements(), nil)
	say("policies", catalogue.Policies(), nil)
	for _, k := range []permission.Kind{permission.Data, permission.Purpose, permission.Party} {
		parts, err := st.Parts(w.ctx, w.app, k)
		say("parts", parts, err)
	}
	citizens, _, err := st.Citizens(w.ctx, w.app, store.CitizenQuery{Limit: 100})
	slices.SortFunc(citizens, func(x, y store.Citizen) int { return cmp.Compare(x.ExternalRef, y.ExternalRef) })
	for _, c := range citizens {
		h, err := st.Transactions(w.ctx, w.app, c.ID)
		say("citizen", fmt.Sprint(c.ExternalRef, c.Emails, c.Language, c.Version, c.Group != "", len(c.Merged), len(h)), err)
		_, v, err := w.over(st).Permissions(w.ctx, w.app, app.CitizenKey{ID: c.ID}, time.Time{})
		say("in force", options(v), err)
	}
	say("all citizens", len(citizens), err)
	for _, style := range []subscription.Style{subscription.Subscription, subscription.Interceptor, subscription.MailSender} {
		es, _, err := st.Endpoints(w.ctx, w.app, store.EndpointQuery{Style: style, Limit: 100})
		for _, e := range es {
			say("endpoint", fmt.Sprint(e.Name, e.URL, e.Status, e.Version, e.Description, e.Mail.Host, len(e.SigningSecrets), e.Asymmetric), err)
			h, err := st.Health(w.ctx, w.app, e.ID)
			say("health", fmt.Sprint(h.Backlog, h.Discarded), err)
			js, err := st.Replays(w.ctx, delivery.Endpoint(e.ID))
			say("replays", len(js), err)
		}
		say("endpoints", len(es), err)
	}
	views, _, err := st.Deliveries(w.ctx, w.app, store.DeliveryQuery{Limit: 1000})
	for _, v := range views {
		say("delivery", fmt.Sprint(v.Seq, v.Type, v.Status, v.AttemptCount), err)
	}
	keys, err := st.SigningKeys(w.ctx, w.app)
	say("signing keys", len(keys), err)
	templates, err := st.Templates(w.ctx, w.app)
	say("templates", templates, err)
	bins, err := st.Bins(w.ctx, w.app)
	for _, x := range bins {
		say("bin", x.Script, err)
	}
	users, err := st.Users(w.ctx, w.app)
	for _, u := range users {
		say("user", fmt.Sprint(u.Email, u.Name, u.Role), err)
	}
	invitations, err := st.Invitations(w.ctx, w.app)
	slices.SortFunc(invitations, func(x, y access.Invitation) int { return cmp.Compare(x.Email, y.Email) })
	for _, i := range invitations {
		say("invitation", fmt.Sprint(i.Email, i.Role), err)
	}
	imports, _, err := st.Imports(w.ctx, w.app, 100, "")
	for _, i := range imports {
		say("import", fmt.Sprint(i.Done, i.Lines, i.Recorded, i.Refused, i.Errors, i.Silent), err)
	}
	return shown(b.String())
}

var (
	made  = regexp.MustCompile(`[A-Za-z0-9_-]{20,}`)
	timed = regexp.MustCompile(`(?:19|20)\d\d-\d\d-\d\d[T ][0-9:.]+`)
)

// shown numbers what was made by dice in the order of its appearance.
func shown(text string) string {
	seen := map[string]string{}
	text = timed.ReplaceAllString(text, "<time>")
	return made.ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("<%d>", len(seen))
		}
		return seen[id]
	})
}

// use is one use case in a scene.
type use struct {
	method string // of app.App
	name   string // which of several; empty: the only one
	do     func(*scene) error
	repeat string // code of a repeat that comes after it took effect; empty: it passes
	reads  bool   // it changes nothing
	anew   bool   // a repeat does it once more, by intent
	steps  bool   // several transactions, each of which may have taken effect
}

// uses are all use cases.
var uses = []use{
	{method: "CreateApplication", anew: true, do: func(s *scene) error { _, _, _, err := s.CreateApplication(s.ctx, "Shop"); return err }},
	{method: "RenameApplication", do: func(s *scene) error { _, err := s.RenameApplication(s.ctx, s.app, ptr("Bank & Sons")); return err }},
	{method: "DeleteApplication", repeat: "not_found", do: func(s *scene) error { return s.DeleteApplication(s.ctx, s.app) }},
	{method: "AddCredential", anew: true, do: func(s *scene) error { _, _, err := s.AddCredential(s.ctx, s.app); return err }},
	{method: "RemoveCredential", repeat: "not_found", do: func(s *scene) error { return s.RemoveCredential(s.ctx, s.app, s.client) }},
	{method: "IssueToken", reads: true, do: func(s *scene) error { // its tokens are not listed
		_, err := s.IssueToken(s.ctx, s.cred.ClientID, s.sec.Reveal(), "192.0.2.1")
		return err
	}},
	{method: "Authenticate", reads: true, do: func(s *scene) error { _, err := s.Authenticate(s.ctx, s.bearer); return err }},
	// sessions are not listed
	{method: "SignIn", reads: true, do: func(s *scene) error {
		_, err := s.SignIn(s.ctx, "ana@example.org", "correct horse battery", "192.0.2.1")
		return err
	}},
	{method: "SignInVerified", reads: true, do: func(s *scene) error {
		_, err := s.SignInVerified(s.ctx, "ana@example.org")
		return err
	}},
	{method: "OpenSession", reads: true, do: func(s *scene) error {
		_, err := s.OpenSession(s.ctx, app.Visitor{Name: "Ana", Application: s.app, Role: access.Viewer})
		return err
	}},
	{method: "Session", reads: true, do: func(s *scene) error { _, err := s.Session(s.ctx, s.session, true); return err }}, // when it was seen is not told
	{method: "ShowApplication", reads: true, do: func(s *scene) error { return s.ShowApplication(s.ctx, s.session, s.app) }},
	{method: "CloseSession", reads: true, do: func(s *scene) error { return s.CloseSession(s.ctx, s.session) }},
	{method: "Invite", anew: true, do: func(s *scene) error {
		_, err := s.Invite(s.ctx, s.app, "eva@example.org", access.Viewer)
		return err
	}},
	{method: "Invited", reads: true, do: func(s *scene) error { _, err := s.Invited(s.ctx, s.invitation); return err }},
	{method: "Join", repeat: "not_found", do: func(s *scene) error {
		_, err := s.Join(s.ctx, s.invitation, "Rui", "correct horse battery")
		return err
	}},
	{method: "JoinVerified", repeat: "not_found", do: func(s *scene) error {
		_, err := s.JoinVerified(s.ctx, s.invitation, "rui@example.org", "Rui")
		return err
	}},
	{method: "RemoveUser", repeat: "not_found", do: func(s *scene) error { return s.RemoveUser(s.ctx, s.app, s.user) }},
	{method: "Uninvite", repeat: "not_found", do: func(s *scene) error {
		return s.Uninvite(s.ctx, s.app, access.HashSession(s.invitation))
	}},
	{method: "CreateConsent", anew: true, do: func(s *scene) error {
		_, err := s.CreateConsent(s.ctx, s.app, request(), app.Keyed{}, render)
		return err
	}},
	{method: "CreateConsent", name: "with a key", do: func(s *scene) error {
		_, err := s.CreateConsent(s.ctx, s.app, request(), app.Keyed{Key: "k", Route: "r"}, render)
		return err
	}},
	{method: "CreateConsent", name: "that a rule refuses", anew: true, do: func(s *scene) error {
		r := request()
		r.Permissions = []string{"NO_SUCH_PERMISSION"}
		_, err := s.CreateConsent(s.ctx, s.app, r, app.Keyed{}, render)
		if fault.KindOf(err) == fault.Invalid {
			return nil
		}
		return err
	}},
	{method: "Approve", repeat: "consent_not_awaiting", do: func(s *scene) error { _, err := s.Approve(s.ctx, s.app, string(s.waiting.ID), ""); return err }},
	{method: "Approve", name: "one whose time is over", do: func(s *scene) error {
		_, err := s.Approve(s.ctx, s.app, string(s.overdue.ID), "")
		if fault.KindOf(err) == fault.Conflict {
			return nil
		}
		return err
	}},
	{method: "Decide", name: "revoke", repeat: "consent_closed", do: func(s *scene) error { return s.revoke(s.open.ID) }},
	{method: "Consent", do: func(s *scene) error { _, err := s.Consent(s.ctx, s.app, string(s.overdue.ID)); return err }},
	{method: "Consents", do: func(s *scene) error {
		_, _, err := s.Consents(s.ctx, s.app, store.ConsentQuery{Limit: 10})
		return err
	}},
	{method: "ExpireDue", do: func(s *scene) error { _, err := s.ExpireDue(s.ctx); return err }},
	{method: "CreateEndpoint", repeat: "interceptor_exists", do: func(s *scene) error {
		_, err := s.CreateEndpoint(s.ctx, s.app, interceptor("https://new.example/"))
		return err
	}},
	{method: "CreateEndpoint", name: "signed twice", anew: true, do: func(s *scene) error {
		e := operations()
		e.Asymmetric = true
		_, err := s.CreateEndpoint(s.ctx, s.app, e)
		return err
	}},
	{method: "EditEndpoint", name: "pause", anew: true, do: func(s *scene) error { return s.become(s.hook, subscription.Paused) }},
	{method: "EditEndpoint", name: "resume", anew: true, do: func(s *scene) error { return s.become(s.paused, subscription.Active) }},
	{method: "DeleteEndpoint", repeat: "not_found", do: func(s *scene) error { return s.DeleteEndpoint(s.ctx, s.app, s.hook.Style, s.hook.ID) }},
	{method: "RotateSecret", anew: true, do: func(s *scene) error { _, err := s.RotateSecret(s.ctx, s.app, s.hook.Style, s.hook.ID); return err }},
	{method: "Replay", anew: true, do: func(s *scene) error {
		_, err := s.Replay(s.ctx, s.app, s.hook.Style, s.hook.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{To: time.Now()}})
		return err
	}},
	{method: "Redeliver", anew: true, do: func(s *scene) error { _, err := s.Redeliver(s.ctx, s.app, s.sent); return err }},
	{method: "PutBin", anew: true, do: func(s *scene) error { _, err := s.PutBin(s.ctx, s.app); return err }},
	{method: "ScriptBin", do: func(s *scene) error {
		_, err := s.ScriptBin(s.ctx, s.app, s.bin, store.Script{Status: 503})
		return err
	}},
	{method: "ShareBin", reads: true, do: func(s *scene) error { _, _, err := s.ShareBin(s.ctx, s.app, s.bin); return err }}, // it is not listed
	{method: "UnshareBin", reads: true, do: func(s *scene) error { return s.UnshareBin(s.ctx, s.app, s.bin) }},
	{method: "SharedBin", reads: true, do: func(s *scene) error { _, err := s.SharedBin(s.ctx, s.bin, s.shared); return err }},
	{method: "RemoveBin", repeat: "not_found", do: func(s *scene) error { return s.RemoveBin(s.ctx, s.app, s.bin) }},
	{method: "EraseCitizen", repeat: "not_found", do: func(s *scene) error { _, err := s.EraseCitizen(s.ctx, s.app, s.three); return err }},
	{method: "CreateCitizen", repeat: "external_ref_taken", do: func(s *scene) error {
		_, err := s.CreateCitizen(s.ctx, s.app, app.CitizenDraft{ExternalRef: ptr("crm-7")})
		return err
	}},
	{method: "EditCitizen", do: func(s *scene) error {
		_, err := s.EditCitizen(s.ctx, s.app, s.two, func(store.Citizen) (app.CitizenDraft, error) {
			return app.CitizenDraft{ExternalRef: ptr("crm-2"), Emails: []string{"ana@example.org"}}, nil
		})
		return err
	}},
	{method: "Permissions", reads: true, do: func(s *scene) error {
		_, _, err := s.Permissions(s.ctx, s.app, app.CitizenKey{ExternalRef: "crm-2"}, time.Time{})
		return err
	}},
	{method: "Record", anew: true, do: func(s *scene) error { _, err := s.try(by("crm-1", change(research, permission.Granted))); return err }},
	{method: "Record", name: "with a key", do: func(s *scene) error {
		_, err := s.Record(s.ctx, s.app, caller, by("crm-8", change(research, permission.Granted)), app.Keyed{Key: "k", Route: "r"}, showRecorded)
		return err
	}},
	{method: "Record", name: "for one who is linked", anew: true, do: func(s *scene) error { _, err := s.try(by("crm-3", change(research, permission.Granted))); return err }},
	{method: "RevertTransaction", repeat: "transaction_reverted", do: func(s *scene) error { _, err := s.RevertTransaction(s.ctx, s.app, caller, s.said); return err }},
	{method: "AdvanceDue", do: func(s *scene) error { _, err := s.AdvanceDue(s.ctx); return err }},
	{method: "Tied", reads: true, do: func(s *scene) error { _, err := s.Tied(s.ctx, s.app, s.three); return err }},
	{method: "Link", do: func(s *scene) error { _, err := s.Link(s.ctx, s.app, s.one, app.CitizenKey{ID: s.two}); return err }},
	{method: "Unlink", repeat: app.CodeNotLinked, do: func(s *scene) error {
		_, err := s.Unlink(s.ctx, s.app, s.three, app.CitizenKey{ID: s.four})
		return err
	}},
	{method: "Merge", do: func(s *scene) error { _, err := s.Merge(s.ctx, s.app, s.one, app.CitizenKey{ID: s.two}); return err }},
	{method: "Question", reads: true, do: func(s *scene) error { _, err := s.Question(s.ctx, s.asked); return err }},
	{method: "Confirm", do: func(s *scene) error { return s.Confirm(s.ctx, s.asked) }},
	{method: "Import", steps: true, do: func(s *scene) error {
		_, err := s.bring(app.ImportRequest{Key: "key-1"}, line("crm-1", research, permission.Granted), "nonsense", line("crm-6", mailing, permission.Granted))
		return err
	}},
	{method: "Progress", reads: true, do: func(s *scene) error { _, err := s.Progress(s.ctx, s.app, s.imported); return err }},
	{method: "ImportPage", reads: true, do: func(s *scene) error { _, _, err := s.ImportPage(s.ctx, s.app, 10, ""); return err }},
	{method: "PutPart", do: func(s *scene) error {
		_, err := s.PutPart(s.ctx, s.app, permission.Data, permission.PartDraft{ID: ptr("phone"), Name: ptr("Telephone")})
		return err
	}},
	{method: "PutOption", repeat: "reference_taken", do: func(s *scene) error { _, err := s.PutOption(s.ctx, s.app, "", optionDraft("opt-new")); return err }},
	{method: "PutGroup", repeat: "reference_taken", do: func(s *scene) error {
		_, err := s.PutGroup(s.ctx, s.app, "", permission.GroupDraft{ID: ptr("grp-new"), Options: []string{mailing}})
		return err
	}},
	{method: "PutPreference", repeat: "reference_taken", do: func(s *scene) error { _, err := s.PutPreference(s.ctx, s.app, "", preferenceDraft("news")); return err }},
	{method: "PutStatement", repeat: "reference_taken", do: func(s *scene) error {
		_, err := s.PutStatement(s.ctx, s.app, "", statementDraft("new", "May we?"))
		return err
	}},
	{method: "PutPolicy", repeat: "reference_taken", do: func(s *scene) error {
		_, err := s.PutPolicy(s.ctx, s.app, "", permission.PolicyDraft{Reference: ptr("cookies"), Text: ptr("We bake.")})
		return err
	}},
	{method: "RemoveConfiguration", repeat: "not_found", do: func(s *scene) error {
		_, err := s.RemoveConfiguration(s.ctx, s.app, store.Option, research)
		return err
	}},
	{method: "RestoreConfiguration", do: func(s *scene) error { return s.RestoreConfiguration(s.ctx, s.app, store.Option, phoning) }},
	{method: "PutTemplate", do: func(s *scene) error {
		_, err := s.PutTemplate(s.ctx, s.app, mail.Receipt, "de", mail.Draft{Subject: ptr("Danke"), Text: ptr("Danke"), HTML: ptr("<p>Danke</p>")})
		return err
	}},
	{method: "DeleteTemplate", repeat: "not_found", do: func(s *scene) error { return s.DeleteTemplate(s.ctx, s.app, mail.Receipt, "fr") }},
	{method: "PutSender", do: func(s *scene) error { _, _, err := s.PutSender(s.ctx, s.app, sender("mx.example.org")); return err }, anew: true},
	{method: "PatchSender", do: func(s *scene) error { _, err := s.PatchSender(s.ctx, s.app, sender("mx.example.org")); return err }, anew: true},
	{method: "DeleteSender", repeat: "not_found", do: func(s *scene) error { return s.DeleteSender(s.ctx, s.app) }},
	{method: "RotateSigningKey", anew: true, do: func(s *scene) error { _, err := s.RotateSigningKey(s.ctx, s.app); return err }},
	{method: "Receipt", do: func(s *scene) error { _, err := s.Receipt(s.ctx, s.app, s.said, permission.ReceiptNative); return err }},
	{method: "Audit", do: func(s *scene) error {
		_, err := s.Audit(s.ctx, s.app, func(store.Audit, time.Time) ([]byte, error) { return []byte("{}"), nil })
		return err
	}},
}

func (s *scene) become(e subscription.Endpoint, as subscription.Status) error {
	_, err := s.EditEndpoint(s.ctx, s.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
		cur.Status = as
		return app.Edit{Endpoint: cur}, nil
	})
	return err
}

// TestUses_areAll: a use case that is added to app.App and not run under a
// store that fails makes this red.
func TestUses_areAll(t *testing.T) {
	t.Parallel()
	elsewhere := map[string]string{
		"RotateKeys":     "TestRotateKeys: its one call is Rewrap, which goes on where it stopped",
		"Retain":         "TestRetain_fails: each of its steps stands alone",
		"SignInOperator": "TestSignIn: it asks no store",
		"TakeTest":       "TestLimiter: it asks no store",
		"TakeReplay":     "TestLimiter: it asks no store",
	}
	for m := range reflect.TypeFor[*app.App]().Methods() {
		known := slices.ContainsFunc(uses, func(u use) bool { return u.method == m.Name })
		if known == (elsewhere[m.Name] != "") {
			t.Errorf("%s: got it run under faults: %t, elsewhere: %q", m.Name, known, elsewhere[m.Name])
		}
	}
}

// point is a call of the store, counted from 1, that is to fail.
type point struct {
	call  string
	n     int
	after bool
}

// TestUses_everyCallFails: whichever call of the store fails, before or after
// it took effect, the caller is told so; the use case is done whole or not at
// all; and when its caller tries again it is done, once.
func TestUses_everyCallFails(t *testing.T) {
	t.Parallel()
	for i, u := range uses {
		if slow && i%20 != 0 {
			continue // with the race detector a sample, the rest without it
		}
		t.Run(strings.TrimSpace(u.method+" "+u.name), func(t *testing.T) {
			t.Parallel()
			var before, done string
			var points []point
			in := func(fn func(*scene)) { synctest.Test(t, func(t *testing.T) { fn(newScene(t)) }) }
			in(func(s *scene) {
				before = s.everything()
				was := s.store.Calls()
				if err := u.do(s); err != nil {
					t.Errorf("without a fault: %v", err)
				}
				for call, n := range s.store.Calls() {
					for k := range n - was[call] {
						points = append(points, point{call, k + 1, false}, point{call, k + 1, true})
					}
				}
				done = s.everything()
			})
			if (before == done) != u.reads {
				t.Errorf("got changed: %t, want %t", before != done, !u.reads)
			}
			slices.SortFunc(points, func(a, b point) int { return cmp.Or(cmp.Compare(a.call, b.call), a.n-b.n) })
			for len(points) > 0 && !t.Failed() {
				in(func(s *scene) { points = u.fail(s, points, before, done) })
			}
		})
	}
}

// fail lets one call after the other fail until one has taken effect, and
// returns those that are left.
func (u use) fail(s *scene, points []point, before, done string) []point {
	t := s.t
	for len(points) > 0 && !t.Failed() {
		p := points[0]
		points = points[1:]
		s.store.FailAt(p.call, p.n, p.after)
		err := u.do(s)
		s.store.Heal()
		if fault.KindOf(err) != fault.Unavailable || fault.CodeOf(err) != storetest.Injected {
			t.Errorf("%+v: got %v, want the store's fault", p, err)
		}
		within := strings.HasPrefix(p.call, storetest.TxCall)
		switch got := s.everything(); {
		case u.steps:
		case got == before:
			if p.call == "Update" && p.after && !u.reads {
				t.Errorf("%+v: its commit is lost", p)
			}
			continue
		case got != done:
			t.Errorf("%+v: half done:\n%s", p, diff(got, before))
			return points
		case within || p.call == "Update" && !p.after:
			t.Errorf("%+v: done, although the transaction failed", p)
		}
		if u.anew {
			return points
		}
		if err := u.do(s); fault.CodeOf(err) != u.repeat || (err == nil) != (u.repeat == "") {
			if !u.steps || err != nil {
				t.Errorf("%+v: the repeat: got %v, want %q", p, err, u.repeat)
			}
		}
		if got := s.everything(); got != done {
			t.Errorf("%+v: after the repeat:\n%s", p, diff(got, done))
		}
		return points
	}
	if err := u.do(s); err != nil {
		t.Errorf("after all faults: %v", err)
	}
	if got := s.everything(); got != done {
		t.Errorf("after all faults:\n%s", diff(got, done))
	}
	return points
}

// diff tells which lines are in one text only.
func diff(got, want string) string {
	var b strings.Builder
	lines := func(text, other, sign string) {
		have := strings.Split(other, "\n")
		for _, l := range strings.Split(text, "\n") {
			if !slices.Contains(have, l) {
				fmt.Fprintln(&b, sign, l)
			}
		}
	}
	lines(got, want, "+")
	lines(want, got, "-")
	return b.String()
}
