//go:build npm

package servertest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
)

// hostile are fifty texts that run a script in a page that is careless in one
// place.
func hostile() []string {
	const run = "__pwned=1"
	list := []string{
		`<script>%s</script>`, `"><script>%s</script>`, `'><script>%s</script>`, `</script><script>%s</script>`, `</title><script>%s</script>`,
		`</textarea><script>%s</script>`, `</pre><script>%s</script>`, `</code></td></tr></table><script>%s</script>`, `--><script>%s</script>`, `</style><script>%s</script>`,
		`<img src=x onerror=%s>`, `"><img src=x onerror=%s>`, `'><img src=x onerror=%s>`, `<img src=x onerror="%s">`, "<img src=x onerror=`%s`>",
		`<svg onload=%s>`, `<svg/onload=%s>`, `<svg><script>%s</script></svg>`, `"><svg onload=%s>`, `<math><mtext></mtext><script>%s</script></math>`,
		`<body onload=%s>`, `<input autofocus onfocus=%s>`, `<select autofocus onfocus=%s>`, `<textarea autofocus onfocus=%s>`, `<details open ontoggle=%s>`,
		`<video><source onerror=%s></video>`, `<audio src=x onerror=%s>`, `<object data="javascript:%s">`, `<embed src="javascript:%s">`, `<iframe src="javascript:parent.__pwned=1;%s">`,
		`<iframe srcdoc="<script>parent.__pwned=1;%s</script>">`, `<a href="javascript:%s" autofocus>x</a>`, `<form action="javascript:%s"><input type=submit autofocus>`, `<button formaction="javascript:%s" autofocus>`, `<marquee onstart=%s>`,
		`" onfocus="%s" autofocus x="`, `' onfocus='%s' autofocus x='`, `" onmouseover="%s" style="position:fixed;inset:0" x="`, "` onfocus=`%s` autofocus", `x onfocus=%s autofocus x`,
		`javascript:%s`, `jAvAsCrIpT:%s`, `data:text/html,<script>%s</script>`, `<meta http-equiv="refresh" content="0;url=javascript:%s">`, `<base href="javascript:%s//">`,
		`<link rel=import href="data:text/html,<script>%s</script>">`, `<template><script>%s</script></template><script>%[1]s</script>`, `<noscript><p title="</noscript><img src=x onerror=%s>">`, `{{%s}}${%[1]s}#{%[1]s}`, `</dd></dl><script>%s</script>`,
	}
	for i := range list {
		list[i] = fmt.Sprintf(list[i], run)
	}
	return list
}

// TestBrowser_hostile: fifty texts, in every field that the portal shows and
// somebody else writes, run no script. Receivers answer with them, too.
func TestBrowser_hostile(t *testing.T) {
	t.Parallel()
	texts := hostile()
	if len(texts) != 50 {
		t.Fatalf("there are %d texts, want 50", len(texts))
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // it is a test's
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n) // 0 is one, too
		w.Header().Set("X-Hostile", texts[n])
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, texts[n])
	}))
	t.Cleanup(receiver.Close)
	n := startDev(t)
	link, _ := n.wait(`(http://\S+/portal/sign-in/\S+)`, 5*time.Second)
	client, sec := n.credentials(5 * time.Second)
	a := servertest.Guest(t, link[1][:strings.Index(link[1], "/portal")], client, sec)
	bin := a.Call("POST", "/v1/inspect", nil).Want(t, http.StatusCreated)
	pages := []string{"/portal/inspector/" + bin.Text(t, "bin")}

	took := map[string]int{}
	try := func(what, method, path string, body any, header ...string) servertest.Response {
		t.Helper()
		r := a.Call(method, path, body, header...)
		if r.Status < 300 {
			took[what]++
		} else {
			t.Logf("%s: %s", what, r.Body)
		}
		return r
	}
	for i, text := range texts {
		label, name := fmt.Sprintf("%d %s", i, text), text[:min(len(text), 50)] // a subscription's name is short
		sub := try("subscriptions", "POST", "/v1/subscriptions", map[string]any{
			"name": name, "url": fmt.Sprintf("%s/%d?q=%s", receiver.URL, i, strings.NewReplacer(" ", "+", "`", "", "#", "").Replace(text)),
			"updateType": "consent-receipts", "eventTypes": []string{"consent.rejected"},
			"authentication": map[string]any{"authType": "basic", "basicAuth": map[string]any{"user": strings.ReplaceAll(text, ":", ";"), "password": text}},
		})
		if sub.Status >= 300 { // the text is no part of a URL
			sub = try("subscriptions", "POST", "/v1/subscriptions", map[string]any{
				"name": name, "url": fmt.Sprintf("%s/%d", receiver.URL, i), "updateType": "consent-receipts", "eventTypes": []string{"consent.rejected"},
				"authentication": map[string]any{"authType": "none"},
			})
		}
		if id := sub.Text(t, "id"); id != "" {
			pages = append(pages, "/portal/endpoints/"+id, "/portal/endpoints/"+id+"/edit")
		}
		option := fmt.Sprintf("opt-hostile-%d", i)
		try("options", "POST", "/v1/options", map[string]any{"optionId": option, "name": label, "dataId": text, "purposeId": text, "partyId": text})
		ref := "ref " + label
		said := try("transactions", "POST", "/v1/permissions/transactions", map[string]any{
			"externalRef": ref, "channel": text,
			"changes": []map[string]any{{"optionType": "option", "optionId": option, "justification": "consent", "state": "GRANTED"}},
		})
		if id := said.Text(t, "citizenId"); id != "" {
			pages = append(pages, "/portal/citizens/"+id)
		}
		c := servertest.Consent()
		c["loggedUser"] = map[string]any{"document": map[string]string{"identification": text, "rel": "CPF"}}
		made := a.Call("POST", "/v1/consents", c)
		if made.Status >= 300 { // it is held to what a document is
			made = a.Call("POST", "/v1/consents", servertest.Consent())
		}
		if id := made.Text(t, "id"); id != "" {
			try("rejections", "POST", "/v1/consents/"+id+"/reject", map[string]any{"rejectedBy": "USER", "code": "CUSTOMER_MANUALLY_REJECTED", "additionalInformation": text})
			pages = append(pages, "/portal/consents/"+id)
		}
		r, err := http.NewRequest(http.MethodPost, bin.Text(t, "url"), strings.NewReader(fmt.Sprintf(`{"event":%q,"x":%q}`, text, text)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Hostile", text)
		r.Header.Set("Webhook-Subject", "con_"+text)
		r.URL.RawQuery = "q=" + strings.ReplaceAll(text, " ", "+")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		took["requests"]++
		_ = resp.Body.Close() // nothing is read of it
	}
	for what, least := range map[string]int{"subscriptions": 50, "options": 50, "transactions": 50, "rejections": 50, "requests": 50} {
		if took[what] < least {
			t.Errorf("%d %s were taken, want %d", took[what], what, least)
		}
	}
	browse(t, map[string]any{"hostile": true, "link": link[1], "visit": pages})
}
