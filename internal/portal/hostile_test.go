package portal

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/subscription"
)

// hostile are texts that break out of a page that is careless in one place.
var hostile = []string{
	`<script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><script>alert(1)</script>`, `</script><script>alert(1)</script>`,
	`<img src=x onerror=alert(1)>`, `"><img src=x onerror=alert(1)>`, `<svg onload=alert(1)>`, `<svg><script>alert(1)</script></svg>`,
	`<iframe src="javascript:alert(1)"></iframe>`, `<a href="javascript:alert(1)">x</a>`, `javascript:alert(1)`, `<base href="https://evil.example/">`,
	`<meta http-equiv="refresh" content="0;url=https://evil.example/">`, `<link rel=stylesheet href=//evil.example/x.css>`, `<style>*{display:none}</style>`,
	`<form action="https://evil.example/"><input name=token>`, `</form><form action=//evil.example>`, `" onmouseover="alert(1)`, `' onfocus='alert(1)' autofocus='`,
	"` onload=alert(1) `", `" style="position:fixed;inset:0`, `</title><script>alert(1)</script>`, `</textarea><script>alert(1)</script>`, `</template><script>alert(1)</script>`,
	`</pre><script>alert(1)</script>`, `</details></li></ol><h1>hacked</h1>`, `</summary><b>`, `</code><img src=x>`, `<!--`, `--><script>alert(1)</script>`, `<![CDATA[<script>alert(1)</script>]]>`,
	`<?php echo 1 ?>`, `<math><mtext></mtext><script>alert(1)</script></math>`, `<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
	`<template><script>alert(1)</script></template>`, `<object data="data:text/html,<script>alert(1)</script>"></object>`, `<embed src="//evil.example">`,
	`<details open ontoggle=alert(1)>`, `<video><source onerror=alert(1)></video>`, `<input autofocus onfocus=alert(1)>`, `<body onload=alert(1)>`, `<html><head>`,
	`&lt;script&gt;alert(1)&lt;/script&gt;`, `&#60;script&#62;alert(1)`, `%3Cscript%3Ealert(1)%3C/script%3E`, `\u003cscript\u003ealert(1)`,
	`{{.Token}}`, `{{template "main" .}}`, `${alert(1)}`, "\u202e<script>\u2028\u2029", "\uFEFF<script>", "＜script＞alert(1)", "data: x\n\nevent: end\ndata: y",
	"x\r\nSet-Cookie: a=b", strings.Repeat("<b>", 500), strings.Repeat(`"`, 500), `<plaintext>`, `<xmp><script>alert(1)</script></xmp>`, `<select><option>`, `<table><tr><td>`,
}

// shape returns the elements of a page with their attributes' names, in
// order: what no text may change. Values that hold no text of others are in
// it, too.
func shape(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		switch n.Type {
		case html.ElementNode:
			b.WriteString("<" + n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
				switch a.Key {
				case "class", "id", "src", "action", "method", "type", "name":
					b.WriteString("=" + a.Val)
				case "href":
					b.WriteString("=" + a.Val[:strings.LastIndex(a.Val, "/")+1])
				}
			}
			b.WriteString(">")
		case html.CommentNode:
			b.WriteString("<!-- -->")
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
		if n.Type == html.ElementNode {
			b.WriteString("</" + n.Data + ">\n")
		}
	}
	walk(doc)
	return b.String()
}

// pagesWith returns every page with a text of others in each field that shows
// one, from a bin of its own. The names and IDs that differ between two calls
// are made the same.
func pagesWith(t *testing.T, shared *house, text string) map[string]string {
	t.Helper()
	own := *shared
	h := &own
	h.bin = h.newBin(t, h.owner)
	v := h.visit(t, h.owner)
	line := strings.Map(func(r rune) rune { // what fits into a header
		if r < ' ' {
			return -1
		}
		return r
	}, text)
	r := httptest.NewRequest(http.MethodPost, sink.Prefix+h.bin, strings.NewReader(text))
	r.Method, r.Host = strings.ToValidUTF8(line[:min(len(line), 64)], ""), line // a longer method is cut, and the page says so
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = sink.Prefix+h.bin+"/"+text, "", text
	for _, name := range []string{delivery.HeaderSubject, delivery.HeaderSequence, delivery.HeaderAttempt, "Webhook-Signature", "X-Other", "Authorization"} {
		r.Header[name] = []string{line}
	}
	r.Header[line] = []string{line}
	h.sink.ServeHTTP(httptest.NewRecorder(), r)
	quoted := fmt.Sprintf("%q", text)
	if strings.ContainsAny(text, "\u202e\u2028\uFEFF") {
		quoted = `"` + text + `"`
	}
	h.deliver(`{"event":`+quoted+`,"n":1}`, "X-Other", "x")
	rs, _, err := h.sink.Requests(t.Context(), h.owner, h.bin, "", 2)
	if err != nil || len(rs) != 2 {
		t.Fatalf("got %d requests, %v", len(rs), err)
	}
	out := map[string]string{
		"inspector": v.get("/portal/inspector/" + h.bin).Body.String(),
		"request":   v.get("/portal/inspector/" + h.bin + "/requests/" + rs[0].ID).Body.String(),
		"form":      v.post("/portal/inspector/"+h.bin+"/script", "status", text, "delayMs", text, "failureRatio", text).Body.String(),
		"notice":    v.get("/portal/inspector/" + h.bin + "?done=" + url.QueryEscape(text)).Body.String(),
		"nowhere":   v.get("/portal/" + url.PathEscape(text)).Body.String(),
	}
	e := subscription.Endpoint{
		ID: "sub_1", Style: subscription.Subscription, Name: text, URL: text, Status: subscription.Suspended, StatusReason: text,
		UpdateType: subscription.UpdateType(text),
	}
	health := delivery.Health{Breaker: delivery.Breaker{Open: true, Since: time.Unix(0, 0), Reason: text}}
	f := h.frame(httptest.NewRequest(http.MethodGet, "/portal/", nil), session{app: h.owner, role: access.Operator, token: "t"}, text)
	f.Application = text
	w := httptest.NewRecorder()
	if err := h.render(w, 200, "overview", overviewPage{
		frame: f, Notice: text, More: 1, MoreEndpoints: 1,
		Bins:      []binItem{{Name: "bin_1", URL: text, Script: text, Kept: text}},
		Endpoints: []endpointItem{h.endpointItem(english, e, health, time.Now())},
		Latest:    []deliveryItem{{ID: text, Href: "/x", Clock: text, Type: text, Subject: text, Endpoint: text, Status: says{bad, text, text}, Reason: text}},
	}); err != nil {
		t.Fatal(err)
	}
	out["overview"] = w.Body.String()
	w = httptest.NewRecorder()
	if err := h.render(w, 200, "error", errorPage{frame: f, Status: 500, Message: text, Advice: text}); err != nil {
		t.Fatal(err)
	}
	out["error"] = w.Body.String()
	w = httptest.NewRecorder()
	if err := h.render(w, 200, "mailbox", mailboxPage{frame: f, Later: true, Older: text, Mails: []mailItem{
		h.mailItem(english, mail.Event(permission.Citizen{Application: text, ID: permission.CitizenID(text), ExternalRef: text}, mail.Message{
			ID: text, Template: mail.Name(text), To: text, Language: text, Subject: text, Text: text, HTML: text, ActionURL: text, ExpiresAt: time.Unix(0, 0),
		}, time.Unix(0, 0))),
		{Note: text},
	}}); err != nil {
		t.Fatal(err)
	}
	out["mailbox"] = w.Body.String()
	w = httptest.NewRecorder()
	ask := h.confirmPage("en")
	ask.Title, ask.Lead, ask.Advice, ask.Application, ask.Statement, ask.PolicyText, ask.OpenUntil = text, text, text, text, text, text, english.at(time.Unix(0, 0))
	ask.Options = []confirmOption{{Name: text, Purpose: text, Party: text, Until: english.at(time.Unix(0, 0))}}
	h.show(w, r, 200, ask)
	out["confirm"] = w.Body.String()
	for name, page := range out {
		page = strings.ReplaceAll(page, h.bin, "bin_1")
		for i, r := range rs {
			page = strings.ReplaceAll(page, r.ID, fmt.Sprintf("req_%d", i))
		}
		out[name] = page
	}
	return out
}

func TestPages_showOthersAsText(t *testing.T) {
	t.Parallel()
	h, want := open(t), map[string]string{}
	for name, page := range pagesWith(t, h, "harmless") {
		want[name] = shape(t, page)
	}
	if len(hostile) < 50 {
		t.Fatalf("got %d texts, want 50 at least", len(hostile))
	}
	for i, text := range hostile {
		t.Run(fmt.Sprintf("text %d", i), func(t *testing.T) {
			t.Parallel()
			for name, page := range pagesWith(t, h, text) {
				if got := shape(t, page); got != want[name] {
					t.Errorf("%s with %q: the page's elements are others\ngot:\n%s\nwant:\n%s", name, text, got, want[name])
				}
			}
		})
	}
}
