package credential

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/consentwire/consentwire/internal/subscription"
)

// Exchange is one request for a token and its answer as they may be shown:
// every secret and every token is masked.
type Exchange struct {
	At       time.Time
	Duration time.Duration
	Step     string // where it ended; a step of egress
	Reason   string // in plain words; empty when a token came

	Method  string
	URL     string
	Headers [][2]string // name and value
	Body    string

	Answered      bool // the rest is set
	Status        int
	AnswerHeaders [][2]string
	AnswerBody    string
}

// grant is one way to ask for a token: everything of a token request but the
// secrets.
type grant struct {
	method string // subscription.ClientAuthBasic or ClientAuthBody
	json   bool
	fields [][2]string // what is no secret, in order
	id     string
	agent  string
}

// The media types of a token request.
const (
	mediaForm = "application/x-www-form-urlencoded"
	mediaJSON = "application/json"
)

// grantOf returns the grant of an endpoint's configuration. Source: RFC 6749
// 4.4.2 and 6; "Update a Subscription", OAuth2 and Salesforce.
//
// The audience has no place in RFC 6749; those who take one take it as a
// parameter of that name.
func grantOf(e subscription.Endpoint, method, agent string) grant {
	g := grant{method: method, agent: agent}
	if e.Auth.Type != subscription.AuthOAuth2 {
		g.fields, g.id = [][2]string{{"grant_type", "refresh_token"}}, e.Auth.Bearer.ClientID
		return g
	}
	o := e.Auth.OAuth2
	g.fields, g.id, g.json = [][2]string{{"grant_type", "client_credentials"}}, o.ClientID, o.ContentType == subscription.ContentJSON
	if o.Scope != "" {
		g.fields = append(g.fields, [2]string{"scope", o.Scope})
	}
	if o.Audience != "" {
		g.fields = append(g.fields, [2]string{"audience", o.Audience})
	}
	return g
}

// render makes the request's header and body with the secrets; empty ones are
// left out.
func (g grant) render(client, refresh string) (http.Header, []byte, error) {
	return g.write(client, refresh, false)
}

// write makes the request, or what is shown of it: then client and refresh
// stand for the secrets.
func (g grant) write(client, refresh string, shown bool) (http.Header, []byte, error) {
	h := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {g.agent},
	}
	fields := g.fields[:len(g.fields):len(g.fields)]
	if refresh != "" {
		fields = append(fields, [2]string{"refresh_token", refresh})
	}
	switch {
	case g.method == subscription.ClientAuthBasic:
		// RFC 6749 2.3.1 and appendix B: both are form-encoded first.
		value := hidden
		if !shown {
			value = base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(g.id) + ":" + url.QueryEscape(client)))
		}
		h["Authorization"] = []string{"Basic " + value}
	default:
		if g.id != "" {
			fields = append(fields, [2]string{"client_id", g.id})
		}
		if client != "" {
			fields = append(fields, [2]string{"client_secret", client})
		}
	}
	if !g.json {
		h["Content-Type"] = []string{mediaForm}
		return h, []byte(form(fields, shown)), nil
	}
	h["Content-Type"] = []string{mediaJSON}
	var b strings.Builder
	enc := jsontext.NewEncoder(&b)
	tokens := []jsontext.Token{jsontext.BeginObject}
	for _, f := range fields {
		tokens = append(tokens, jsontext.String(f[0]), jsontext.String(f[1]))
	}
	for _, t := range append(tokens, jsontext.EndObject) {
		if err := enc.WriteToken(t); err != nil {
			return nil, nil, err
		}
	}
	return h, []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// form encodes fields in their order; what stands for a secret stays readable
// where it is shown.
func form(fields [][2]string, shown bool) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte('&')
		}
		value := url.QueryEscape(f[1])
		if shown && f[1] == hidden {
			value = hidden
		}
		b.WriteString(url.QueryEscape(f[0]) + "=" + value)
	}
	return b.String()
}

// show fills in what the exchange shows of a request.
func (g grant) show(x *Exchange, address string, client, refresh bool) {
	stand := func(is bool) string {
		if is {
			return hidden
		}
		return ""
	}
	h, body, err := g.write(stand(client), stand(refresh), true)
	if err != nil {
		return
	}
	x.Method, x.URL, x.Body = http.MethodPost, address, string(body)
	for _, name := range []string{"Content-Type", "Accept", "User-Agent", "Authorization"} {
		if v := h[name]; len(v) > 0 {
			x.Headers = append(x.Headers, [2]string{name, v[0]})
		}
	}
}
