package oauth

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"time"
)

// Case is one way in which a token endpoint may answer, and what a client must
// make of it.
type Case struct {
	Name   string // a sentence
	Answer http.Handler

	// Token is what must be used; empty: nothing may be used.
	Token string
	// Known tells that the token's Life was given; else it is good until a
	// receiver says 401. Life is math.MaxInt64 when what was given is longer.
	Known bool
	Life  time.Duration
	// Code is the error of RFC 6749 5.2 that the answer reports.
	Code string
	// Open tells that no rule decides: the token may be used or refused.
	Open bool
	// Broken tells that no whole answer comes: what it says must not count.
	Broken bool
	// Elsewhere tells that the answer points to another host, which must not
	// be asked.
	Elsewhere bool
}

// Corpus returns the cases. Redirects go to elsewhere, a URL without a path.
// Every case ends by itself; for answers that wait see Held, Late and Endless.
//
// Source: RFC 6749 5.1, 5.2, 7.1; RULES O2, O6.
func Corpus(elsewhere string) []Case {
	const token = "tok.A-1_~+/=!" // #nosec G101 -- it opens nothing
	good := Token(token, 3600)
	body := func(b string) Answer { return Answer{Body: b} }
	life := func(name, value string, known bool, l time.Duration) Case {
		return Case{
			Name: "expires_in is " + name, Token: token, Known: known, Life: l,
			Answer: body(Object("access_token", token, "token_type", "Bearer", "expires_in", json.RawMessage(value))),
		}
	}
	kind := func(name, value string, usable, open bool) Case {
		c := Case{
			Name: "token_type is " + name, Open: open,
			Answer: body(Object("access_token", token, "token_type", json.RawMessage(value), "expires_in", 3600)),
		}
		if usable {
			c.Token, c.Known, c.Life = token, true, time.Hour
		}
		return c
	}
	access := func(name, value string) Case {
		return Case{
			Name:   "access_token is " + name,
			Answer: body(Object("access_token", json.RawMessage(value), "token_type", "Bearer", "expires_in", 3600)),
		}
	}
	refuse := func(status int, code string) Case {
		return Case{Name: http.StatusText(status) + " with " + code, Answer: Error(status, code, "no\r\nX-Injected: <b>1</b>"), Code: code}
	}
	usable := func(name string, h http.Handler) Case {
		return Case{Name: name, Answer: h, Token: token, Known: true, Life: time.Hour}
	}
	open := func(name string, h http.Handler) Case {
		c := usable(name, h)
		c.Open = true
		return c
	}
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	redirect := func(status int) Case {
		return Case{Name: http.StatusText(status) + " to another host", Answer: Redirect(status, elsewhere+"/token"), Elsewhere: true}
	}
	skewed := good
	skewed.Header = http.Header{"Date": {"Fri, 31 Dec 1999 23:59:59 GMT"}, "Expires": {"Sat, 01 Jan 2000 00:00:00 GMT"}}
	return []Case{
		usable("as it should be", good),
		usable("members that nobody knows", Token(token, 3600, "scope", "a b", "not-before-policy", 0, "x", map[string]any{"access_token": "inner"})),
		usable("white space around", body(" \r\n\t"+good.Body+"\n \n")),
		usable("escapes inside the token", body(`{"access_token":"\u0074ok.A-1_~+\/=!","token_type":"Bearer","expires_in":3600}`)),
		usable("a clock that is years behind", skewed),
		usable("a refresh token that nobody asked for", Token(token, 3600, "refresh_token", "refresh-from-nowhere")),
		usable("an instance_url elsewhere", Token(token, 3600, "instance_url", elsewhere)),
		usable("a few interim answers", Flood(3, good)),
		usable("the connection cut behind the answer", CutAfter(good)),
		usable("a null beside error_description", Token(token, 3600, "error_description", nil)),

		life("0", "0", true, 0),
		life("-1", "-1", true, 0),
		life("1", "1", true, time.Second),
		life("huge", "1000000000000000000", true, math.MaxInt64),
		life("beyond every float", "1e999", true, math.MaxInt64),
		life("a text", `"3600"`, true, time.Hour),
		life("a fraction", "3599.9", true, 3599900*time.Millisecond),
		life("in exponents", "3.6e3", true, time.Hour),
		life("null", "null", false, 0),
		life("no number", `"soon"`, false, 0),
		life("an object", `{"seconds":3600}`, false, 0),
		{Name: "no expires_in", Answer: body(Object("access_token", token, "token_type", "Bearer")), Token: token},

		kind("bearer in any case", `"bEaReR"`, true, false),
		kind("mac", `"mac"`, false, false),
		kind("DPoP", `"DPoP"`, false, false),
		kind("a number", "1", false, false),
		kind("null", "null", true, true),
		open("no token_type", body(Object("access_token", token, "expires_in", 3600))),

		{Name: "no access_token", Answer: body(Object("token_type", "Bearer", "expires_in", 3600))},
		access("null", "null"),
		access("a number", "12345"),
		access("an object", `{"value":"`+token+`"}`),
		access("empty", `""`),
		access("with a line feed", quoted(token+"\r\nX-Injected: 1")),
		access("with a NUL", quoted(token+"\x00")),
		access("with a space", quoted("Bearer "+token)),
		access("not ASCII", quoted(token+"é")),
		access("with half a surrogate pair", `"`+token+`\ud800"`),
		access("not UTF-8", `"`+token+"\xff\""),
		access("longer than 16 KiB", quoted(strings.Repeat("x", 16<<10+1))),
		{
			Name: "access_token is 16 KiB long", Token: strings.Repeat("x", 16<<10), Known: true, Life: time.Hour,
			Answer: Token(strings.Repeat("x", 16<<10), 3600),
		},
		{Name: "access_token in other letters", Answer: body(Object("ACCESS_TOKEN", token, "token_type", "Bearer"))},
		{Name: "access_token with a long s", Answer: body(Object("acce\u017fs_token", token, "token_type", "Bearer"))},
		{Name: "access_token twice", Answer: body(Object("access_token", "other", "access_token", token, "token_type", "Bearer"))},
		{Name: "any member twice", Answer: body(Object("access_token", token, "token_type", "Bearer", "x", 1, "x", 1))},

		{Name: "an error beside the token", Answer: Token(token, 3600, "error", "invalid_grant"), Code: "invalid_grant"},
		{Name: "an error that is no text beside the token", Answer: Token(token, 3600, "error", 17)},
		refuse(http.StatusBadRequest, "invalid_grant"),
		refuse(http.StatusBadRequest, "invalid_request"),
		refuse(http.StatusBadRequest, "invalid_scope"),
		refuse(http.StatusBadRequest, "unauthorized_client"),
		refuse(http.StatusBadRequest, "unsupported_grant_type"),
		refuse(http.StatusUnauthorized, "invalid_client"),
		refuse(http.StatusForbidden, "access_denied"),
		refuse(http.StatusOK, "invalid_grant"),
		{Name: "a token beside 400", Answer: Answer{Status: http.StatusBadRequest, Body: good.Body}},
		{Name: "a token beside 500", Answer: Answer{Status: http.StatusInternalServerError, Body: good.Body}},
		{Name: "403 without a body", Answer: Answer{Status: http.StatusForbidden}},
		{Name: "404 in HTML", Answer: Answer{Status: http.StatusNotFound, Type: "text/html", Body: html}},
		{Name: "429 with seconds", Answer: Busy(http.StatusTooManyRequests, "7")},
		{Name: "429 with a date", Answer: Busy(http.StatusTooManyRequests, time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))},
		{Name: "500", Answer: Busy(http.StatusInternalServerError, "")},
		{Name: "503 with seconds", Answer: Busy(http.StatusServiceUnavailable, "7")},

		{Name: "nothing", Answer: body("")},
		{Name: "204", Answer: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })},
		{Name: "HTML", Answer: Answer{Type: "text/html", Body: html}},
		{Name: "HTML that claims to be JSON", Answer: body(html)},
		{Name: "a form", Answer: Answer{Type: "application/x-www-form-urlencoded", Body: "access_token=tok&token_type=bearer&expires_in=3600"}},
		{Name: "the token alone", Answer: Answer{Type: "text/plain", Body: token}},
		{Name: "null", Answer: body("null")},
		{Name: "a text", Answer: body(`"` + token + `"`)},
		{Name: "an array", Answer: body("[" + good.Body + "]")},
		{Name: "half an object", Answer: body(good.Body[:len(good.Body)/2])},
		{Name: "trailing data", Answer: body(good.Body + "x")},
		{Name: "two objects", Answer: body(good.Body + "\n" + good.Body)},
		{Name: "a NUL behind the object", Answer: body(good.Body + "\x00")},
		{Name: "a byte order mark", Answer: body("\ufeff" + good.Body)},
		{Name: "a comment", Answer: body("/* */" + good.Body)},
		{Name: "a comma too many", Answer: body(strings.TrimSuffix(good.Body, "}") + ",}")},
		{
			Name: "twenty thousand arrays in one another", Token: token, Open: true,
			Answer: body(`{"access_token":"` + token + `","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}"),
		},
		open("JSON that claims to be text", Answer{Type: "text/plain", Body: good.Body}),
		open("JSON that claims to be HTML", Answer{Type: "text/html", Body: good.Body}),
		open("a broken Content-Type", Answer{Type: ";;=", Body: good.Body}),
		{Name: "more than 1 MiB", Answer: Huge(token), Broken: true},

		redirect(http.StatusMovedPermanently),
		redirect(http.StatusFound),
		redirect(http.StatusSeeOther),
		redirect(http.StatusTemporaryRedirect),
		redirect(http.StatusPermanentRedirect),
		{
			Name: "a token beside a redirect", Elsewhere: true,
			Answer: Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {elsewhere + "/token"}}, Body: good.Body},
		},

		{Name: "the connection cut before the answer", Answer: CutBefore(good), Broken: true},
		{Name: "the connection cut inside the answer", Answer: CutInside(good), Broken: true},
		{Name: "what is not HTTP", Answer: Garbage(), Broken: true},
	}
}

const html = "<!DOCTYPE html><title>Sign in</title><form action=\"/login\"><input name=user></form>\n"
