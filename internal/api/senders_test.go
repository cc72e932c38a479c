package api

import (
	"strings"
	"testing"
)

const (
	senderPassword = "p4ss-of-the-mail-server"
	sender         = `{"host":"smtp.example.org","user":"mailer","password":"` + senderPassword + `","from":"privacy@example.org","fromName":"Privacidade ☃"}`
)

func TestMailSender(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range [][2]string{{"GET", ""}, {"PATCH", `{"port":1}`}, {"DELETE", ""}, {"POST", "/test"}, {"POST", "/replay"}} {
		path, body := "/v1/mail-sender", r[1]
		if strings.HasPrefix(body, "/") {
			path, body = path+body, `{"to":"me@example.org","eventIds":["evt_1"]}`
		}
		if got := w.our(r[0], path, body).want(404).text("code"); got != "not_found" {
			t.Errorf("%s %s without a sender: got the code %q, want not_found", r[0], path, got)
		}
	}

	a := w.our("PUT", "/v1/mail-sender", sender).want(201)
	if got := a.header.Get("Location"); got != "/v1/mail-sender" {
		t.Errorf("got the location %q", got)
	}
	id := a.text("mailSenderId")
	if got := w.our("PUT", "/v1/mail-sender", sender).want(200).text("mailSenderId"); got != id {
		t.Errorf("a second PUT: got the sender %s, want %s, for there is one", got, id)
	}
	var shown map[string]any
	w.our("GET", "/v1/mail-sender", "").want(200).into(&shown)
	for name, want := range map[string]any{
		"host": "smtp.example.org", "port": 587.0, "security": "starttls", "user": "mailer", "password": nil, "passwordSet": true,
		"from": "privacy@example.org", "fromName": "Privacidade ☃", "status": "active", "maxInFlight": 4.0,
	} {
		if got, is := shown[name]; !is || got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	w.call("GET", "/v1/mail-sender", w.theirs.token, "").want(404)
	for _, list := range []string{"/v1/subscriptions", "/api/smart-keys/interceptors"} {
		if n := len(w.our("GET", list, "").want(200).items()); n != 0 {
			t.Errorf("%s: got %d, want the sender in no other list", list, n)
		}
	}

	tests := []struct{ name, method, body, want string }{
		{"a password that is left out is not kept by a PUT", "PUT", `{"host":"smtp.example.org","user":"mailer","from":"a@b.org"}`, "/password required"},
		{"nor is null with its flag", "PUT", `{"host":"smtp.example.org","user":"mailer","password":null,"passwordSet":true,"from":"a@b.org"}`, "/password required"},
		{"a password without a user", "PUT", `{"host":"smtp.example.org","password":"x","from":"a@b.org"}`, "/user required"},
		{"nothing", "PUT", `{}`, "/from required, /host required"},
		{"another host wants the password", "PATCH", `{"host":"smtp.example.net"}`, "/password secret_required"},
		{"another port, too", "PATCH", `{"port":2525}`, "/password secret_required"},
		{"and another port by another security", "PATCH", `{"security":"tls"}`, "/password secret_required"},
		{"plain where it is not allowed", "PATCH", `{"security":"none"}`, "/security plain_refused"},
		{"an address that is not public", "PATCH", `{"host":"127.0.0.1","password":"x"}`, "/host forbidden_address"},
		{"an address in another spelling", "PATCH", `{"host":"0x7f.1","password":"x"}`, "/host invalid_host"},
		{"a URL", "PATCH", `{"host":"smtp://example.org","password":"x"}`, "/host invalid_host"},
		{"no address", "PATCH", `{"from":"me"}`, "/from invalid_email"},
		{"a line end in a name", "PATCH", `{"fromName":"a\r\nBcc: b@c.org"}`, "/fromName invalid_character"},
		{"an unknown member", "PATCH", `{"url":null}`, "/url unknown_member"},
		{"a member of ours", "PATCH", `{"mailSenderId":"mls_1"}`, "/mailSenderId read_only"},
	}
	for _, tt := range tests {
		if got := w.our(tt.method, "/v1/mail-sender", tt.body).want(400).faults(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}

	// A patch keeps what it does not name, the password included.
	w.our("PATCH", "/v1/mail-sender", `{"password":null,"passwordSet":true,"replyTo":"dpo@example.org"}`).want(200).into(&shown)
	if shown["passwordSet"] != true || shown["replyTo"] != "dpo@example.org" || shown["fromName"] != "Privacidade ☃" {
		t.Errorf("got %v, want the password kept and replyTo set", shown)
	}
	w.our("PATCH", "/v1/mail-sender", `{"host":"SMTP.example.org."}`).want(200) // the same host
	w.our("PATCH", "/v1/mail-sender", `{"security":"tls","password":"`+senderPassword+`"}`).want(200).into(&shown)
	if shown["port"] != 465.0 {
		t.Errorf("got the port %v, want that of tls, for none was chosen", shown["port"])
	}
	shown = nil
	w.our("PATCH", "/v1/mail-sender", `{"user":null}`).want(200).into(&shown)
	if _, is := shown["password"]; is || shown["passwordSet"] != nil {
		t.Errorf("got %v, want no password without its user", shown)
	}

	w.our("POST", "/v1/mail-sender/test", `{"to":"me@example.org"}`).want(200)
	if got := w.our("POST", "/v1/mail-sender/test", `{"to":"me@example.org>\r\nRCPT TO:<x@y.org"}`).want(400).faults(); got != "/to invalid_email" {
		t.Errorf("a test to no address: got %q, want /to invalid_email", got)
	}
	if got := strings.Join(w.tester.to, " "); got != "me@example.org" {
		t.Errorf("got tests to %q, want one to me@example.org", got)
	}
	if got := w.our("GET", "/v1/deliveries?mailSenderId="+id+"&subscriptionId=sub_1", "").want(400).faults(); got != "mailSenderId foreign_parameter" {
		t.Errorf("two endpoints in a query: got %q", got)
	}
	w.our("GET", "/v1/deliveries?mailSenderId="+id, "").want(200)
	w.our("GET", "/v1/deliveries?subscriptionId="+id, "").want(404)

	w.our("DELETE", "/v1/mail-sender", "").want(204)
	w.our("GET", "/v1/mail-sender", "").want(404)
	if got := w.our("PUT", "/v1/mail-sender", sender).want(201).text("mailSenderId"); got == id {
		t.Errorf("got the deleted sender's ID %s again", got)
	}
	for _, seen := range append(w.answers, w.log.String()) {
		if strings.Contains(seen, senderPassword) {
			t.Errorf("the password is in %s", seen)
		}
	}
}
