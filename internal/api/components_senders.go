package api

import "github.com/consentwire/consentwire/internal/subscription"

func senderComponents() []component {
	security := func() *schema {
		return str("`starttls`: begins in plain and is secured before anything is said, never without. `tls`: secured from the first byte. `none`: plain, and only where the operator allows plain http and lists the host.").
			of(subscription.StartTLS, subscription.ImplicitTLS, subscription.NoTLS)
	}
	status := func() *schema {
		return str("`paused` by its owner: mails are discarded, and can be replayed.").of("active", "paused")
	}
	input := func(creating bool) []property {
		host := may("host", str("The mail server: a name or an address.").between(1, subscription.MaxHost).like("smtp.example.org"))
		from := may("from", str("The address that mails are from.").between(1, subscription.MaxAddress).like("privacy@example.org"))
		host.required, from.required = creating, creating
		ps := []property{
			host, may("port", integer("587 unless given; 465 with `tls`.").between(1, subscription.MaxPort)), may("security", security().or(subscription.DefaultSecurity)),
			may("user", str("For the sign-in; none without it.").between(1, subscription.MaxUser)), may("password", str("Beside `user`. A secret.").between(1, subscription.MaxPassword).orNull()),
			may("passwordSet", boolean("Whether the secret beside it is set. Ignored when written.")),
			from, may("fromName", str("Shown beside the address.").atMost(subscription.MaxFromName)), may("replyTo", str("Where answers go.").between(1, subscription.MaxAddress)),
			may("status", status().or("active")),
			may("retrySchedule", list(str("").like("5s")).saying("The waits between attempts, such as \"5s\" or \"1h30m\".").between(1, subscription.MaxRetries)),
			may("timeoutSeconds", integer("Of one attempt.").between(1, subscription.MaxTimeoutSeconds)), may("rateLimit", integer("Mails per second.").between(1, subscription.MaxRateLimit)),
			may("maxInFlight", integer("Connections at a time.").between(1, subscription.MaxInFlightLimit).or(subscription.DefaultMailsInFlight)),
		}
		if creating {
			return ps
		}
		for i := range ps {
			s := *ps[i].schema
			s.nullable, s.def = true, nil
			ps[i].schema = &s
		}
		return ps
	}
	return []component{
		{"MailSenderInput", taken("", input(true)...)},
		{"MailSenderPatch", taken("A merge patch (RFC 7396): null takes a member away.", input(false)...)},
		{"MailTestInput", taken("", must("to", str("Where the mail goes.").between(1, subscription.MaxAddress).like("me@example.org")))},
		{"MailSender", shown("",
			must("mailSenderId", str("").like("mls_06f3z8m1q4t7w0x2y5b8c1d4e7")), must("applicationId", str("").like("app_06f3z8m1q4t7w0x2y5b8c1d4e7")),
			must("host", str("").like("smtp.example.org")), must("port", integer("").like(587)), must("security", security()),
			may("user", str("").like("mailer@example.org")), may("password", hidden("Never shown.")), may("passwordSet", boolean("")),
			must("from", str("").like("privacy@example.org")), may("fromName", str("")), may("replyTo", str("")), must("status", status()), may("statusReason", str("Why it does not send, in plain words.")),
			may("retrySchedule", list(str("").like("5s"))), may("timeoutSeconds", integer("")), may("rateLimit", integer("")), must("maxInFlight", integer("").like(4)),
			must("backlog", shown("What waits for it.",
				must("count", integer("Exact up to 10,000.").like(0)), may("atLeast", boolean("The count is a lower bound.")), may("oldestAt", instant("When the oldest of them was recorded.").like(nil)))),
			must("discarded", integer("Since it was last paused by its owner.").like(0)), may("lost", lossSchema()),
			must("circuit", shown("Open: nothing new is sent until a mail that was tried before is taken.",
				must("state", str("").of("closed", "open")), may("since", instant("When it opened.").like(nil)), must("failures", integer("In a row; a refusal of one recipient is none.").like(0)), may("reason", str("The last failure.")))),
			must("createdAt", instant("")), must("updatedAt", instant("")))},
	}
}
