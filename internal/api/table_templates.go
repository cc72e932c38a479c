package api

import (
	"strings"

	"github.com/consentwire/consentwire/internal/mail"
)

// templateExample is a template of one's own.
func templateExample() object {
	return object{
		{"subject", "{{.application}}: please confirm"},
		{"text", "Hello,\n\nplease confirm that you agree to:\n\n{{.options}}\n\n{{.link}}\n\nThe link works until {{.expiresAt}}.\n"},
		{"html", "<p>Hello,</p>\n<p>please confirm that you agree to:</p>\n{{.options}}\n<p><a href=\"{{.link}}\">Yes, I agree</a></p>\n<p>The link works until {{.expiresAt}}.</p>\n"},
	}
}

func (s *server) templateOperations() []operation {
	const base = "/v1/email-templates"
	const one = base + "/{template}/{language}"
	var names []string
	for _, n := range mail.Names() {
		names = append(names, "`"+string(n)+"`")
	}
	textPlaceholders := "The placeholders are `{{." + strings.Join(mail.Placeholders(), "}}`, `{{.") + "}}`; nothing else may stand in double braces. " +
		"Values are escaped for where they stand. A paragraph of the text, or a line of the HTML that is one whole `<p>…</p>`, in which no placeholder has anything to say is left out; comments in the HTML are, too. " +
		"A `double-opt-in` must show `{{.link}}` in the text and in the HTML."
	row := func(o operation) operation {
		o.scope, o.tag = application, tagTemplates
		return o
	}
	return []operation{
		row(operation{
			id: "listEmailTemplates", method: "GET", path: base,
			summary: "List mail templates",
			text: "What mails are made of: for each of " + strings.Join(names, ", ") + " and each language your own template (`own`), else ours, which are in English and Portuguese. " +
				"A citizen is written to in their language, else in a shorter form of it (`pt` for `pt-BR`), else in English.",
			query: []parameter{offsetParam(), limitParam()}, answers: gives(200, "EmailTemplatePage", "A page."), serve: s.listTemplates,
		}),
		row(operation{
			id: "readEmailTemplate", method: "GET", path: one,
			summary: "Read a mail template", text: "Exactly the one of that language.",
			answers: gives(200, "EmailTemplate", "The template."), serve: s.readTemplate,
		}),
		row(operation{
			id: "putEmailTemplate", method: "PUT", path: one,
			summary: "Write a mail template of your own",
			text:    "In any language; it goes before ours from then on. Mails that were written before stay as they are. " + textPlaceholders,
			takes:   jsonBody("EmailTemplateInput", example{"double-opt-in", "For double-opt-in in English", templateExample()}),
			answers: gives(200, "EmailTemplate", "The template as it now is."), errors: []int{409}, serve: s.putTemplate,
		}),
		row(operation{
			id: "deleteEmailTemplate", method: "DELETE", path: one,
			summary: "Delete a mail template of your own", text: "Ours, where we have one, is used again; ours cannot be deleted.",
			answers: gives(204, "", "It is gone."), serve: s.deleteTemplate,
		}),
		row(operation{
			id: "previewEmailTemplate", method: "POST", path: one + "/preview",
			summary: "Preview a mail",
			text:    "Fills a template in with an example. With a body that one, which is checked and not kept; without one the template that a citizen of that language would get, whose `language` may be another one.",
			takes:   optionalBody("EmailPreviewInput", example{"draft", "What is not kept yet", templateExample()}),
			answers: gives(200, "EmailPreview", "What it would look like."), serve: s.previewTemplate,
		}),
	}
}

func templateComponents() []component {
	shows := func(ps ...property) []property {
		return append([]property{
			must("template", str("").of(templateNames()...).like("double-opt-in")), must("language", str("A tag such as `en` or `pt-BR` (BCP 47).").like("en")),
		}, ps...)
	}
	written := func(name string) any {
		for _, m := range templateExample() {
			if m.name == name {
				return m.value
			}
		}
		return nil
	}
	input := func(member func(string, *schema) property) []property {
		return []property{
			member("subject", str("One line.").between(1, mail.MaxSubject)), member("text", str("Plain text.").between(1, mail.MaxText)),
			member("html", str("A part of a page, without `<html>` and `<body>`.").between(1, mail.MaxHTML)),
		}
	}
	return []component{
		{"EmailTemplateInput", taken("", input(must)...)},
		{"EmailPreviewInput", taken("All three or none.", input(may)...)},
		{"EmailTemplate", shown("", shows(
			must("subject", str("").like(written("subject"))), must("text", str("").like(written("text"))), must("html", str("").like(written("html"))),
			must("own", boolean("Yours, not ours.").like(true)), may("updatedAt", instant("Of your own: when it was written.")))...)},
		{"EmailTemplatePage", page("EmailTemplate")},
		{"EmailPreview", shown("", shows(
			must("subject", str("").like("Example Shop: please confirm")), must("text", str("").like("Hello,\n…")), must("html", str("").like("<p>Hello,</p>\n…")))...)},
	}
}

func templateNames() []string {
	var out []string
	for _, n := range mail.Names() {
		out = append(out, string(n))
	}
	return out
}
