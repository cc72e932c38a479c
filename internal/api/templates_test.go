package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEmailTemplates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const own = `{"subject":"{{.application}}: merci","text":"Merci\n\n{{.options}}","html":"<p>Merci</p>\n{{.options}}"}`
	ours := w.our("GET", "/v1/email-templates", "").want(200).items()
	if len(ours) != 10 {
		t.Fatalf("got %d templates, want our 5 in 2 languages", len(ours))
	}
	for _, x := range ours {
		if _, has := x["updatedAt"]; has || x["own"] != false {
			t.Errorf("got %v, want it ours", x)
		}
		var one map[string]any
		w.our("GET", "/v1/email-templates/"+x["template"].(string)+"/"+x["language"].(string), "").want(200).into(&one)
		if one["text"] != x["text"] || one["html"] != x["html"] || one["subject"] != x["subject"] {
			t.Errorf("got %v, want %v", one, x)
		}
	}
	if n := len(w.our("GET", "/v1/email-templates?offset=9", "").want(200).items()); n != 1 {
		t.Errorf("got %d on the last page, want 1", n)
	}

	for _, path := range []string{"receipt/fr", "RECEIPT/en", "other/en", "receipt/e_n", "receipt/pt-BR"} {
		w.our("GET", "/v1/email-templates/"+path, "").want(404)
		w.our("DELETE", "/v1/email-templates/"+path, "").want(404)
	}
	w.our("DELETE", "/v1/email-templates/receipt/en", "").want(404) // it is ours
	w.our("PUT", "/v1/email-templates/other/en", own).want(404)
	w.our("POST", "/v1/email-templates/other/en/preview", own).want(404)

	// One's own, in another spelling of the language.
	var made map[string]any
	w.our("PUT", "/v1/email-templates/receipt/FR-ca", own).want(200).into(&made)
	if made["language"] != "fr-CA" || made["own"] != true || made["updatedAt"] == nil || made["subject"] != "{{.application}}: merci" {
		t.Errorf("got %v", made)
	}
	w.our("GET", "/v1/email-templates/receipt/fr-CA", "").want(200)
	w.our("GET", "/v1/email-templates/receipt/fr-ca", "").want(200)
	w.our("PUT", "/v1/email-templates/receipt/en", own).want(200)
	if got := w.our("GET", "/v1/email-templates/receipt/en", "").want(200).text("text"); got != "Merci\n\n{{.options}}" {
		t.Errorf("got the text %q, want one's own", got)
	}
	if n := len(w.our("GET", "/v1/email-templates?limit=100", "").want(200).items()); n != 11 {
		t.Errorf("got %d templates, want one more than ours", n)
	}
	if n := len(w.call("GET", "/v1/email-templates", w.theirs.token, "").want(200).items()); n != 10 {
		t.Errorf("got %d templates for another application, want only ours", n)
	}
	w.our("DELETE", "/v1/email-templates/receipt/EN", "").want(204)
	if got := w.our("GET", "/v1/email-templates/receipt/en", "").want(200).text("subject"); got != "{{.application}}: your receipt" {
		t.Errorf("got the subject %q, want ours back", got)
	}
	w.our("DELETE", "/v1/email-templates/receipt/en", "").want(404)

	tests := []struct{ name, path, body, want string }{
		{"nothing", "receipt/en", `{}`, "/html required, /subject required, /text required"},
		{"no language", "receipt/e_n", own, "language invalid_language"},
		{"faults of shape and of the rules together", "receipt/en", `{"subject":1,"text":"x","html":"<p","x":1}`, "/html invalid_html, /subject wrong_type, /x unknown_member"},
		{"two faults of the rules", "receipt/en", `{"subject":"","text":"{{.evil","html":"x"}`, "/subject required, /text invalid_placeholder"},
		{"another placeholder", "receipt/en", `{"subject":"{{.user}}","text":"x","html":"x"}`, "/subject invalid_placeholder"},
		{"a header field in the subject", "receipt/en", `{"subject":"a\r\nBcc: b@c.org","text":"x","html":"x"}`, "/subject invalid_character"},
		{"a double opt-in without its link", "double-opt-in/en", own, "/html link_required, /text link_required"},
		{"an unfinished tag", "receipt/en", `{"subject":"x","text":"x","html":"<a href=\"{{.link}}"}`, "/html invalid_html"},
	}
	for _, tt := range tests {
		if got := w.our("PUT", "/v1/email-templates/"+tt.path, tt.body).want(400).faults(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := w.our("POST", "/v1/email-templates/"+tt.path+"/preview", tt.body); tt.body != "{}" && got.want(400).faults() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got.faults(), tt.want)
		}
	}
}

func TestEmailTemplates_preview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	preview := func(path, body string) (p previewBody) {
		t.Helper()
		w.our("POST", "/v1/email-templates/"+path+"/preview", body).want(200).into(&p)
		return p
	}
	for _, x := range w.our("GET", "/v1/email-templates", "").want(200).items() {
		name, language := x["template"].(string), x["language"].(string)
		p := preview(name+"/"+language, "")
		if p.Template != name || p.Language != language || !strings.Contains(p.Text, "Newsletter") || strings.Contains(p.Text+p.HTML+p.Subject, "{{") {
			t.Errorf("got %+v", p)
		}
	}
	var application struct{ Name string }
	w.call("GET", "/v1/applications/"+w.ours.application, operatorBearer, "").want(200).into(&application)
	if p := preview("receipt/pt-BR", "{}"); p.Language != "pt" || application.Name == "" || p.Subject != application.Name+": o seu recibo" {
		t.Errorf("got %+v, want ours in pt, of %s", p, application.Name)
	}
	draft, err := json.Marshal(map[string]string{"subject": "Soi", "text": "Texte {{.link}}", "html": `<a href="{{.link}}">{{.options}}</a>`})
	if err != nil {
		t.Fatal(err)
	}
	p := preview("double-opt-in/fr", string(draft))
	if p.Language != "fr" || p.Subject != "Soi" || !strings.Contains(p.HTML, `<a href="https://`) || !strings.Contains(p.HTML, "Partners &amp; friends") {
		t.Errorf("got %+v, want the draft filled in", p)
	}
	w.our("GET", "/v1/email-templates/double-opt-in/fr", "").want(404) // nothing was kept
	w.our("PUT", "/v1/email-templates/double-opt-in/fr", string(draft)).want(200)
	if p := preview("double-opt-in/fr-CA", ""); p.Language != "fr" || p.Subject != "Soi" {
		t.Errorf("got %+v, want one's own", p)
	}
}
