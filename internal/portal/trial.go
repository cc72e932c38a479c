package portal

import (
	"strconv"
	"strings"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/subscription"
)

// stage is a step on the way to a receiver, and whether it was taken.
type stage struct {
	Name  string
	State string // done, failed, open
	Note  string
}

// sent is a request with its answer, side by side.
type sent struct {
	Method, URL string
	Headers     []delivery.Header
	Body        string
	Hidden      bool // the visitor's role does not show bodies
	Answered    bool
	Status      int
	Text        string // of the status
	Reply       []delivery.Header
	ReplyBody   string
}

// exchangeView is a request for a token and what came of it.
type exchangeView struct {
	At     moment
	Took   string
	Step   string
	Reason string
	Hint   string
	Sent   sent
}

// trialView is a test request and what came of it.
type trialView struct {
	Verdict says
	Stages  []stage
	Took    string
	Reason  string
	Hint    string
	Asked   bool // the test request was sent, or would have been
	Sent    sent
	Token   *exchangeView
}

func sentOf(r delivery.Request, a *delivery.Response) sent {
	body, _ := pretty(r.Body, maxWhole)
	out := sent{Method: r.Method, URL: r.URL, Headers: r.Headers, Body: body}
	if a != nil {
		out.Answered, out.Status, out.Reply = true, a.Status, a.Headers
		out.ReplyBody, _ = pretty(a.Body, maxShown)
	}
	return out
}

func (l lang) exchange(x *delivery.Exchange) *exchangeView {
	if x == nil {
		return nil
	}
	v := &exchangeView{At: l.at(x.At), Took: took(x.Duration), Step: l.stepName(x.Step), Reason: l.t(x.Reason), Sent: sentOf(x.Request, x.Response)}
	if x.Reason != "" {
		v.Hint = l.tokenHint(x)
	}
	return v
}

func (l lang) trial(e subscription.Endpoint, t delivery.Trial) *trialView {
	v := &trialView{Took: took(t.Duration), Reason: l.t(t.Reason), Sent: sentOf(t.Request, t.Response), Token: l.exchange(t.Token), Asked: t.Step != delivery.StepToken}
	v.Stages = l.stages(t.Step, t.Delivered, e.ManagesToken())
	if t.Delivered {
		v.Verdict = says{good, l.t("It works"), l.t("The receiver took the test request.")}
		return v
	}
	v.Verdict = says{bad, l.t("It failed"), l.t("It ended at the step “%s”.", l.stepName(t.Step))}
	if v.Token != nil {
		v.Token.Hint = "" // said once
	}
	v.Hint = l.hint(t.Step, statusOf(t.Response), t.Reason, modeOf(e), t.Token)
	return v
}

func statusOf(r *delivery.Response) int {
	if r == nil {
		return 0
	}
	return r.Status
}

// stepName names a step.
func (l lang) stepName(s delivery.Step) string {
	switch s {
	case delivery.StepDNS:
		return l.t("name look-up (DNS)")
	case delivery.StepConnect:
		return l.t("connection (TCP)")
	case delivery.StepTLS:
		return l.t("encryption (TLS)")
	case delivery.StepToken:
		return l.t("token")
	case delivery.StepRequest:
		return l.t("request")
	case delivery.StepResponse:
		return l.t("answer")
	}
	return string(s)
}

// stages shows how far an attempt came.
func (l lang) stages(end delivery.Step, delivered, token bool) []stage {
	steps := []delivery.Step{delivery.StepDNS, delivery.StepConnect, delivery.StepTLS, delivery.StepRequest, delivery.StepResponse}
	if token {
		steps = append([]delivery.Step{delivery.StepToken}, steps...)
	}
	var out []stage
	state := "done"
	for _, s := range steps {
		switch {
		case delivered:
		case s == end:
			state = "failed"
		case state == "failed":
			state = "open"
		}
		out = append(out, stage{Name: l.stepName(s), State: state})
	}
	return out
}

// diagnosis says in a few words why nothing arrives, and what to do.
type diagnosis struct {
	Tone  tone
	Title string
	Text  string
	Hint  string
}

// diagnose tells what is the matter with an endpoint; nil: nothing is.
func (l lang) diagnose(e subscription.Endpoint, h delivery.Health) *diagnosis {
	switch {
	case e.Status == subscription.Paused:
		return nil // its owner knows
	case e.Status == subscription.Suspended:
		return &diagnosis{bad, l.t("We suspended this endpoint"), l.t(e.StatusReason),
			l.t("Mend the receiver, or give the address of another one; then set the endpoint active. All that waits is sent in order.")}
	case h.Hold.Held():
		d := &diagnosis{warn, l.t("No access token, so nothing is sent"), l.t(h.Hold.Reason), ""}
		if h.Hold.State == delivery.NeedsReauthorisation {
			d.Tone, d.Title = bad, l.t("The authorisation server refuses our credentials, so nothing is sent")
		}
		if h.Hold.Exchange != nil {
			d.Hint = l.tokenHint(h.Hold.Exchange)
		}
		return d
	case h.Breaker.Open:
		return &diagnosis{bad, l.t("It failed again and again, so only probes are sent"), l.t(h.Breaker.Reason), l.hintOf(h.Breaker.Reason, modeOf(e))}
	case h.Breaker.Failures > 0:
		return &diagnosis{warn, l.n(h.Breaker.Failures, "The last attempt failed", "The last %s attempts failed"), l.t(h.Breaker.Reason), l.hintOf(h.Breaker.Reason, modeOf(e))}
	}
	return nil
}

// tokenHint tells how to mend a request for a token that failed.
func (l lang) tokenHint(x *delivery.Exchange) string {
	body := ""
	if x.Response != nil {
		body = x.Response.Body
	}
	said := func(code string) bool { return strings.Contains(body, code) || strings.Contains(x.Reason, code) }
	switch {
	case said("invalid_client"), x.Response != nil && x.Response.Status == 401:
		return l.t("The client ID or the client secret is wrong. Edit the endpoint, type both anew, and test it. If they are right, the server may want them in another place: choose how the client authenticates.")
	case said("invalid_grant"):
		return l.t("The refresh token is no longer good: it was used up, withdrawn or is too old. Get a new one and edit the endpoint.")
	case said("invalid_scope"):
		return l.t("The authorisation server does not know the scope. Correct it, or leave it empty.")
	case said("unauthorized_client"), said("unsupported_grant_type"):
		return l.t("The client is not allowed to use this grant. Allow it at the authorisation server.")
	case x.Step != delivery.StepResponse:
		return l.hint(x.Step, 0, x.Reason, modeNone, nil)
	case x.Response != nil && x.Response.Status == 404:
		return l.t("There is nothing at the token URL. Correct it.")
	case x.Response != nil && x.Response.Status >= 500:
		return l.t("The authorisation server is in trouble. We try again by ourselves.")
	}
	return l.t("Compare the request below with what the authorisation server expects: address, content type, how the client authenticates.")
}

// hintOf is hint where only the reason is known: it begins with what answered.
func (l lang) hintOf(reason string, m mode) string {
	status := 0
	if _, rest, ok := strings.Cut(reason, "the receiver answered "); ok && len(rest) >= 3 {
		status, _ = strconv.Atoi(rest[:3]) // 0: it is none
	}
	step := delivery.StepResponse
	switch {
	case status > 0:
	case strings.Contains(reason, "host name"):
		step = delivery.StepDNS
	case strings.Contains(reason, "certificate"), strings.Contains(reason, "TLS"):
		step = delivery.StepTLS
	case strings.Contains(reason, "connection"), strings.Contains(reason, "route"), strings.Contains(reason, "address"):
		step = delivery.StepConnect
	}
	return l.hint(step, status, reason, m, nil)
}

// hint tells how to mend what failed.
func (l lang) hint(step delivery.Step, status int, reason string, m mode, token *delivery.Exchange) string {
	switch step {
	case delivery.StepToken:
		if token != nil {
			return l.tokenHint(token)
		}
		return l.t("No access token was to be had. Test the endpoint to see the request for it.")
	case delivery.StepDNS:
		return l.t("Check the host in the address for typing errors. A name that only your own network knows cannot be looked up from here.")
	case delivery.StepConnect:
		if strings.Contains(reason, "not public") || strings.Contains(reason, "reserved") || strings.Contains(reason, "allow") {
			return l.t("The address is not a public one. The operator may allow it by CONSENTWIRE_EGRESS_ALLOW; for a trial, use a bin of the inspector.")
		}
		return l.t("Nothing listens there, or a firewall drops us. Check the port, that the receiver runs, and that it may be reached from the Internet.")
	case delivery.StepTLS:
		return l.t("The receiver's certificate must be valid for the host, not expired, and sent with its intermediate certificates. Private roots can be given with the endpoint.")
	case delivery.StepRequest:
		return l.t("The connection broke while the request was sent. If it happens again, look at the receiver's limits and time-outs.")
	}
	switch {
	case status == 401 && (m == modeOAuth2 || m == modeRefresh):
		return l.t("The receiver refuses the token that its authorisation server gave. Check audience and scope.")
	case status == 401 && m == modeNone:
		return l.t("The receiver wants us to prove who we are. Edit the endpoint and choose an authentication.")
	case status == 401:
		return l.t("The receiver refuses the credential. Edit the endpoint and type it anew.")
	case status == 403:
		return l.t("The receiver knows us and does not allow this. Check what the credential is allowed to do, and allow lists of addresses.")
	case status == 404, status == 405:
		return l.t("There is nothing that takes a POST at this path. Correct the address.")
	case status == 410:
		return l.t("410 means that the endpoint is gone for good, so we stop sending.")
	case status == 413, status == 415, status == 400, status == 422:
		return l.t("The receiver does not like the body. It must take JSON as it is, also members that it does not know.")
	case status == 429:
		return l.t("The receiver is asked too often. Set a rate limit for the endpoint.")
	case status >= 300 && status < 400:
		return l.t("Redirects are not followed. Give the address it leads to.")
	case status >= 500:
		return l.t("The receiver failed on its side. Its own log says why; we try again by the schedule.")
	case strings.Contains(reason, "time"):
		return l.t("The receiver did not answer in time. Let it answer first and work afterwards, or raise the timeout.")
	}
	return l.t("The request and the answer below show what happened.")
}
