package subscription_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// hosts stands for the outbound client's own check: nothing plain but to
// "lab", and nothing to "bad".
func hosts(host string, _ int, plain bool) error {
	switch {
	case host == "bad":
		return fault.New(fault.Invalid, "forbidden_address", "Not there.")
	case host == "odd":
		return errors.New("not for the caller")
	case plain && host != "lab":
		return fault.New(fault.Invalid, subscription.CodePlainRefused, "Not in plain.")
	}
	return nil
}

func paths(fs []fault.Field) string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Path+" "+f.Code)
	}
	return strings.Join(out, ", ")
}

func TestSenderDraft_defaults(t *testing.T) {
	t.Parallel()
	for security, want := range map[string]string{"": "starttls 587", "starttls": "starttls 587", "tls": "tls 465", "none": "none 587"} {
		e, fs := subscription.SenderDraft{Host: "lab", Security: security, From: "a@b.org"}.Apply(subscription.Endpoint{}, hosts)
		if len(fs) > 0 || fmt.Sprint(e.Mail.Security, " ", e.Mail.Port) != want || e.Status != subscription.Active || e.Style != subscription.MailSender {
			t.Errorf("%q: got %+v %v, want %s", security, e.Mail, fs, want)
		}
		if e.Auth.Type != subscription.AuthNone || e.OnBacklog != subscription.BacklogAll || !strings.HasPrefix(e.URL, "smtp://lab:") {
			t.Errorf("%q: got %+v", security, e)
		}
	}
	six, fs := subscription.SenderDraft{Host: "2001:db8::1", From: "a@b.org"}.Apply(subscription.Endpoint{}, hosts)
	if len(fs) > 0 || six.URL != "smtp://[2001:db8::1]:587" || six.MaskedURL() != six.URL {
		t.Errorf("got %s %v, want the address in brackets", six.URL, fs)
	}
}

func TestSenderDraft_faults(t *testing.T) {
	t.Parallel()
	number := func(n int64) *int64 { return &n }
	good := func(change func(*subscription.SenderDraft)) subscription.SenderDraft {
		d := subscription.SenderDraft{Host: "smtp.example.org", From: "privacy@example.org"}
		change(&d)
		return d
	}
	tests := []struct {
		name string
		d    subscription.SenderDraft
		want string
	}{
		{"nothing", subscription.SenderDraft{}, "/host required, /from required"},
		{"a port of none", good(func(d *subscription.SenderDraft) { d.Port = number(0) }), "/port out_of_range"},
		{"a port beyond all", good(func(d *subscription.SenderDraft) { d.Port = number(65_536) }), "/port out_of_range"},
		{"the last port", good(func(d *subscription.SenderDraft) { d.Port = number(65_535) }), ""},
		{"an unknown security", good(func(d *subscription.SenderDraft) { d.Security = "ssl" }), "/security invalid_value"},
		{"a host that is refused", good(func(d *subscription.SenderDraft) { d.Host = "bad" }), "/host forbidden_address"},
		{"a check that fails", good(func(d *subscription.SenderDraft) { d.Host = "odd" }), "/host invalid_value"},
		{"a host that is too long", good(func(d *subscription.SenderDraft) { d.Host = strings.Repeat("a", 254) }), "/host too_long"},
		{"plain", good(func(d *subscription.SenderDraft) { d.Security = "none" }), "/security plain_refused"},
		{"a user without a password", good(func(d *subscription.SenderDraft) { d.User = "u" }), "/password required"},
		{"a kept password that there is not", good(func(d *subscription.SenderDraft) { d.User, d.Password.Keep = "u", true }), "/password required"},
		{"a password without a user", good(func(d *subscription.SenderDraft) { d.Password = given("p") }), "/user required"},
		{"an empty password", good(func(d *subscription.SenderDraft) { d.User, d.Password = "u", given("") }), "/password too_short"},
		{"a password with a NUL", good(func(d *subscription.SenderDraft) { d.User, d.Password = "u", given("a\x00b") }), "/password invalid_character"},
		{"a user with a NUL", good(func(d *subscription.SenderDraft) { d.User, d.Password = "u\x00v", given("p") }), "/user invalid_character"},
		{"a name with a line end", good(func(d *subscription.SenderDraft) { d.FromName = "a\r\nBcc: b@c.org" }), "/fromName invalid_character"},
		{"a name that is too long", good(func(d *subscription.SenderDraft) { d.FromName = strings.Repeat("ã", 101) }), "/fromName too_long"},
		{"a name of the greatest length", good(func(d *subscription.SenderDraft) { d.FromName = strings.Repeat("ã", 100) }), ""},
		{"no address", good(func(d *subscription.SenderDraft) { d.From = "Me <a@b.org>" }), "/from invalid_email"},
		{"no address to answer to", good(func(d *subscription.SenderDraft) { d.ReplyTo = "a@b@c" + strings.Repeat("d", 260) }), "/replyTo too_long"},
		{"a status of ours", good(func(d *subscription.SenderDraft) { d.Status = "suspended" }), "/status invalid_value"},
		{"numbers beyond all", good(func(d *subscription.SenderDraft) {
			d.TimeoutSeconds, d.RateLimit, d.MaxInFlight, d.RetrySchedule = number(61), number(10_001), number(1025), []string{"x"}
		}), "/retrySchedule/0 invalid_duration, /timeoutSeconds out_of_range, /rateLimit out_of_range, /maxInFlight out_of_range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, fs := tt.d.Apply(subscription.Endpoint{}, hosts); paths(fs) != tt.want {
				t.Errorf("got %q, want %q", paths(fs), tt.want)
			}
		})
	}
}

func TestSenderDraft_keepsThePasswordOnlyWhereItGoes(t *testing.T) {
	t.Parallel()
	number := func(n int64) *int64 { return &n }
	first := subscription.SenderDraft{Host: "smtp.example.org", User: "u", Password: given("p"), From: "a@b.org"}
	cur, fs := first.Apply(subscription.Endpoint{}, hosts)
	if len(fs) > 0 {
		t.Fatal(fs)
	}
	tests := []struct {
		name   string
		change func(*subscription.SenderDraft)
		want   string
	}{
		{"nothing changes", func(*subscription.SenderDraft) {}, ""},
		{"the host in other letters", func(d *subscription.SenderDraft) { d.Host = "SMTP.Example.ORG." }, ""},
		{"another user", func(d *subscription.SenderDraft) { d.User = "v" }, ""},
		{"another host", func(d *subscription.SenderDraft) { d.Host = "smtp.example.net" }, "/password secret_required"},
		{"another port", func(d *subscription.SenderDraft) { d.Port = number(25) }, "/password secret_required"},
		{"another port by another security", func(d *subscription.SenderDraft) { d.Security = "tls" }, "/password secret_required"},
		{"another security at the same port", func(d *subscription.SenderDraft) { d.Security, d.Port = "tls", number(587) }, ""},
		{"plain from now on", func(d *subscription.SenderDraft) { d.Security = "none" }, "/security plain_refused"},
		{"another host with its password", func(d *subscription.SenderDraft) { d.Host, d.Password = "smtp.example.net", given("q") }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := first
			d.Password = subscription.SecretInput{Keep: true}
			tt.change(&d)
			e, fs := d.Apply(cur, hosts)
			if paths(fs) != tt.want {
				t.Errorf("got %q, want %q", paths(fs), tt.want)
			}
			if d.Password.Keep && len(fs) == 0 && !e.Mail.Password.Equal(secret.New("p")) {
				t.Error("got another password, want the one that was")
			}
		})
	}
	gone := first
	gone.User, gone.Password = "", subscription.SecretInput{Keep: true}
	if e, fs := gone.Apply(cur, hosts); len(fs) > 0 || e.Mail.Password.IsSet() {
		t.Errorf("got %v and a password, want it gone with its user", fs)
	}
	// What passed once is not asked again: a name may have stopped to resolve.
	if _, fs := first.Apply(cur, func(string, int, bool) error { return errors.New("asked again") }); len(fs) > 0 {
		t.Errorf("got %v, want the same host not checked again", fs)
	}
}

func TestEndpoint_MailSender(t *testing.T) {
	t.Parallel()
	e, _ := subscription.SenderDraft{Host: "smtp.example.org", User: "u", Password: given("p"), From: "a@b.org", FromName: "A", ReplyTo: "c@b.org"}.
		Apply(subscription.Endpoint{ID: "mls_1", Application: "app_1"}, hosts)
	if got, want := fmt.Sprint(e.MaskedHeaders()), "[[From A <a@b.org>] [Reply-To c@b.org]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if s := e.Secrets(); len(s) != 1 || s[0].Reveal() != "p" {
		t.Errorf("got the secrets %v, want the password", s)
	}
	evt := subscription.StatusChanged(e, subscription.Active, time.Unix(0, 0))
	if !strings.Contains(string(evt.Body), `"mailSenderId":"mls_1"`) || strings.Contains(string(evt.Body), "subscriptionId") {
		t.Errorf("got %s, want it about the mail sender", evt.Body)
	}
}

func TestIsAddress(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"a@b": true, "a.b+c@example.org": true, "o'neil@b.org": true, strings.Repeat("a", 64) + "@b.org": true,
		"": false, "@": false, "a@": false, "@b": false, "a b@c.org": false, ".a@b.org": false, "a.@b.org": false, "a..b@c.org": false,
		"a@b..c": false, "a@-b.org": false, "a@b-.org": false, "a@b_c.org": false, "a@b.org.": false, "<a@b.org>": false, "a@b.org,c@d.org": false,
		`"a"@b.org`: false, "a@[127.0.0.1]": false, "joão@b.org": false, "a@é.org": false, "a@b.org\r\n": false, "a\x00@b.org": false, "a@b@c.org": false,
		strings.Repeat("a", 65) + "@b.org": false, "a@" + strings.Repeat("b", 64) + ".org": false, "a@" + strings.Repeat("b.", 130) + "org": false,
	} {
		if got := subscription.IsAddress(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}
