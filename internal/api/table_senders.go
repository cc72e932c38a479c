package api

func senderExample() object {
	return object{
		{"host", "smtp.example.org"}, {"port", 587}, {"security", "starttls"}, {"user", "mailer@example.org"}, {"password", "…"},
		{"from", "privacy@example.org"}, {"fromName", "Example Privacy"},
	}
}

func (s *server) senderOperations() []operation {
	st := senders()
	row := func(o operation) operation {
		o.scope, o.tag = application, tagSender
		return o
	}
	return []operation{
		row(operation{
			id: "putMailSender", method: "PUT", path: senderPath,
			summary: "Set the mail sender",
			text: "All editable fields are replaced, so a `user` needs its `password`; what is left out takes its default. From the first time on the mails to citizens are asked for. " +
				"A mail that the server refuses for good (5yz to its recipient or to the mail) is `exhausted` at once; everything else is tried again by the schedule.",
			takes: jsonBody("MailSenderInput", example{"starttls", "A server for submission", senderExample()}),
			answers: []answer{
				{status: 201, schema: "MailSender", text: "The mail sender, which is new."}, {status: 200, schema: "MailSender", text: "The mail sender as it now is."},
			},
			errors: []int{409}, serve: s.putSender,
		}),
		row(operation{
			id: "readMailSender", method: "GET", path: senderPath,
			summary: "Read the mail sender", answers: gives(200, "MailSender", "The mail sender."), errors: []int{404}, serve: s.readEndpoint(st),
		}),
		row(operation{
			id: "patchMailSender", method: "PATCH", path: senderPath,
			summary: "Change the mail sender",
			text:    "A merge patch (RFC 7396). A password that is left out is kept, unless the host or the port changes: then it must be given again (`secret_required`).",
			takes: patchBody("MailSenderPatch",
				example{"pause", "Discard mails from now on", object{{"status", "paused"}}},
				example{"password", "Another password", object{{"password", "…"}}}),
			answers: gives(200, "MailSender", "The mail sender as it now is."), errors: []int{404}, serve: s.patchSender,
		}),
		row(operation{
			id: "deleteMailSender", method: "DELETE", path: senderPath,
			summary: "Delete the mail sender", text: "What waits for it is cancelled; its deliveries stay readable.",
			answers: gives(204, "", "It is gone."), errors: []int{404}, serve: s.deleteSender,
		}),
		row(operation{
			id: "testMailSender", method: "POST", path: senderPath + "/test",
			summary: "Test the mail sender",
			text:    "Sends a short mail to an address now, past the log and the lanes, and answers 200 whatever the server answered: with the mail's header fields and the reply. At most 10 at once and then one every 6 seconds.",
			takes:   jsonBody("MailTestInput", example{"me", "To oneself", object{{"to", "me@example.org"}}}),
			answers: gives(200, "Trial", "What came of it."), errors: []int{404, 429}, serve: s.testSender,
		}),
		row(operation{
			id: "replayMailSender", method: "POST", path: senderPath + "/replay",
			summary: "Send mails again", text: textReplay, takes: jsonBody("ReplayInput", replayExamples()...),
			answers: gives(202, "Replay", "How many are sent again."), errors: []int{404, 409, 429}, serve: s.replay(st),
		}),
	}
}
