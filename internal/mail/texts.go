package mail

import "fmt"

// builtin is one of our templates, ready to be filled in.
type builtin struct {
	Template
	compiled
}

// builtins are our templates in the languages that we speak. They are not
// changed.
var builtins = ready(english5, portuguese5)

// ready compiles our templates. One that cannot be is a mistake of ours, and a
// test finds it.
func ready(sets ...[]Template) []builtin {
	var out []builtin
	for _, set := range sets {
		for _, t := range set {
			c, fs := compile(t)
			if len(fs) > 0 {
				panic(fmt.Sprintf("mail %s in %s: %v", t.Name, t.Language, fs))
			}
			out = append(out, builtin{t, c})
		}
	}
	return out
}

// english5 are the five mails in English.
var english5 = []Template{
	{
		Name: DoubleOptIn, Language: "en",
		Subject: "{{.application}}: please confirm your choice",
		Text: `Hello,

someone, most likely you, agreed to the following with {{.application}}:

{{.options}}

What was shown with it:
{{.statement}}

Privacy policy: {{.policyUrl}}

Only you can confirm it. Open this link, and press the button on its page:
{{.link}}

The link works until {{.expiresAt}}.

It was not you, or you have changed your mind? Then you need not do anything: without your answer nothing is agreed to.

{{.application}}
`,
		HTML: `<p>Hello,</p>
<p>someone, most likely you, agreed to the following with {{.application}}:</p>
{{.options}}
<p>What was shown with it:<br>{{.statement}}</p>
<p>Privacy policy: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Only you can confirm it. Open this link, and press the button on its page:<br><a href="{{.link}}">{{.link}}</a></p>
<p>The link works until {{.expiresAt}}.</p>
<p>It was not you, or you have changed your mind? Then you need not do anything: without your answer nothing is agreed to.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: ConsentConfirmation, Language: "en",
		Subject: "{{.application}}: you agreed",
		Text: `Hello,

this confirms that you agreed to the following with {{.application}}:

{{.options}}

Where no end is named, it counts until you withdraw it. You may withdraw it at any time.

What you were shown:
{{.statement}}

Privacy policy: {{.policyUrl}}

Where you can read it again: {{.link}}

Number of the record: {{.receiptId}}

It was not you, or something is wrong? Then please tell {{.application}}, with the number of the record.

{{.application}}
`,
		HTML: `<p>Hello,</p>
<p>this confirms that you agreed to the following with {{.application}}:</p>
{{.options}}
<p>Where no end is named, it counts until you withdraw it. You may withdraw it at any time.</p>
<p>What you were shown:<br>{{.statement}}</p>
<p>Privacy policy: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Where you can read it again: <a href="{{.link}}">{{.link}}</a></p>
<p>Number of the record: {{.receiptId}}</p>
<p>It was not you, or something is wrong? Then please tell {{.application}}, with the number of the record.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: WithdrawalConfirmation, Language: "en",
		Subject: "{{.application}}: you do not agree, or no longer",
		Text: `Hello,

this confirms that you do not agree, or no longer agree, to the following with {{.application}}:

{{.options}}

You need not do anything more. If you change your mind, you may agree at any time.

What you were shown:
{{.statement}}

Privacy policy: {{.policyUrl}}

Where you can read it again: {{.link}}

Number of the record: {{.receiptId}}

It was not you, or something is wrong? Then please tell {{.application}}, with the number of the record.

{{.application}}
`,
		HTML: `<p>Hello,</p>
<p>this confirms that you do not agree, or no longer agree, to the following with {{.application}}:</p>
{{.options}}
<p>You need not do anything more. If you change your mind, you may agree at any time.</p>
<p>What you were shown:<br>{{.statement}}</p>
<p>Privacy policy: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Where you can read it again: <a href="{{.link}}">{{.link}}</a></p>
<p>Number of the record: {{.receiptId}}</p>
<p>It was not you, or something is wrong? Then please tell {{.application}}, with the number of the record.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: ExpiryReminder, Language: "en",
		Subject: "{{.application}}: what you agreed to ends soon",
		Text: `Hello,

what you agreed to with {{.application}} ends soon:

{{.options}}

It ends on {{.expiresAt}}.

You need not do anything: it then ends by itself. If it is to go on, please tell {{.application}} before that.

What you were shown when you agreed:
{{.statement}}

Privacy policy: {{.policyUrl}}

Where you can read it again: {{.link}}

You never agreed to this, or something is wrong? Then please tell {{.application}}.

{{.application}}
`,
		HTML: `<p>Hello,</p>
<p>what you agreed to with {{.application}} ends soon:</p>
{{.options}}
<p>It ends on {{.expiresAt}}.</p>
<p>You need not do anything: it then ends by itself. If it is to go on, please tell {{.application}} before that.</p>
<p>What you were shown when you agreed:<br>{{.statement}}</p>
<p>Privacy policy: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Where you can read it again: <a href="{{.link}}">{{.link}}</a></p>
<p>You never agreed to this, or something is wrong? Then please tell {{.application}}.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: Receipt, Language: "en",
		Subject: "{{.application}}: your receipt",
		Text: `Hello,

this is your receipt for the choice that {{.application}} recorded. Please keep it.

{{.options}}

What you were shown:
{{.statement}}

Privacy policy: {{.policyUrl}}

Your receipt on the web: {{.link}}

Number of the receipt: {{.receiptId}}

You may change your mind at any time.

It was not you, or something is wrong? Then please tell {{.application}}, with the number of the receipt.

{{.application}}
`,
		HTML: `<p>Hello,</p>
<p>this is your receipt for the choice that {{.application}} recorded. Please keep it.</p>
{{.options}}
<p>What you were shown:<br>{{.statement}}</p>
<p>Privacy policy: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Your receipt on the web: <a href="{{.link}}">{{.link}}</a></p>
<p>Number of the receipt: {{.receiptId}}</p>
<p>You may change your mind at any time.</p>
<p>It was not you, or something is wrong? Then please tell {{.application}}, with the number of the receipt.</p>
<p>{{.application}}</p>
`,
	},
}

// portuguese5 are the five mails in Portuguese.
var portuguese5 = []Template{
	{
		Name: DoubleOptIn, Language: "pt",
		Subject: "{{.application}}: confirme a sua escolha",
		Text: `Olá,

alguém, provavelmente você, concordou com o que segue junto a {{.application}}:

{{.options}}

O que foi mostrado:
{{.statement}}

Política de privacidade: {{.policyUrl}}

Só você pode confirmar. Abra este link e aperte o botão na página:
{{.link}}

O link funciona até {{.expiresAt}}.

Não foi você, ou mudou de ideia? Então não precisa fazer nada: sem a sua resposta, nada fica acordado.

{{.application}}
`,
		HTML: `<p>Olá,</p>
<p>alguém, provavelmente você, concordou com o que segue junto a {{.application}}:</p>
{{.options}}
<p>O que foi mostrado:<br>{{.statement}}</p>
<p>Política de privacidade: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Só você pode confirmar. Abra este link e aperte o botão na página:<br><a href="{{.link}}">{{.link}}</a></p>
<p>O link funciona até {{.expiresAt}}.</p>
<p>Não foi você, ou mudou de ideia? Então não precisa fazer nada: sem a sua resposta, nada fica acordado.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: ConsentConfirmation, Language: "pt",
		Subject: "{{.application}}: você concordou",
		Text: `Olá,

confirmamos que você concordou com o que segue junto a {{.application}}:

{{.options}}

Onde não há data de fim, vale até você revogar. Você pode revogar a qualquer momento.

O que lhe foi mostrado:
{{.statement}}

Política de privacidade: {{.policyUrl}}

Onde você pode ler de novo: {{.link}}

Número do registro: {{.receiptId}}

Não foi você, ou algo está errado? Então avise {{.application}}, com o número do registro.

{{.application}}
`,
		HTML: `<p>Olá,</p>
<p>confirmamos que você concordou com o que segue junto a {{.application}}:</p>
{{.options}}
<p>Onde não há data de fim, vale até você revogar. Você pode revogar a qualquer momento.</p>
<p>O que lhe foi mostrado:<br>{{.statement}}</p>
<p>Política de privacidade: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Onde você pode ler de novo: <a href="{{.link}}">{{.link}}</a></p>
<p>Número do registro: {{.receiptId}}</p>
<p>Não foi você, ou algo está errado? Então avise {{.application}}, com o número do registro.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: WithdrawalConfirmation, Language: "pt",
		Subject: "{{.application}}: você não concorda, ou não concorda mais",
		Text: `Olá,

confirmamos que você não concorda, ou não concorda mais, com o que segue junto a {{.application}}:

{{.options}}

Você não precisa fazer mais nada. Se mudar de ideia, pode concordar a qualquer momento.

O que lhe foi mostrado:
{{.statement}}

Política de privacidade: {{.policyUrl}}

Onde você pode ler de novo: {{.link}}

Número do registro: {{.receiptId}}

Não foi você, ou algo está errado? Então avise {{.application}}, com o número do registro.

{{.application}}
`,
		HTML: `<p>Olá,</p>
<p>confirmamos que você não concorda, ou não concorda mais, com o que segue junto a {{.application}}:</p>
{{.options}}
<p>Você não precisa fazer mais nada. Se mudar de ideia, pode concordar a qualquer momento.</p>
<p>O que lhe foi mostrado:<br>{{.statement}}</p>
<p>Política de privacidade: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Onde você pode ler de novo: <a href="{{.link}}">{{.link}}</a></p>
<p>Número do registro: {{.receiptId}}</p>
<p>Não foi você, ou algo está errado? Então avise {{.application}}, com o número do registro.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: ExpiryReminder, Language: "pt",
		Subject: "{{.application}}: o que você autorizou termina em breve",
		Text: `Olá,

aquilo com que você concordou junto a {{.application}} termina em breve:

{{.options}}

Termina em {{.expiresAt}}.

Você não precisa fazer nada: nessa data termina por si só. Se deve continuar, avise {{.application}} antes disso.

O que lhe foi mostrado quando concordou:
{{.statement}}

Política de privacidade: {{.policyUrl}}

Onde você pode ler de novo: {{.link}}

Você nunca concordou com isto, ou algo está errado? Então avise {{.application}}.

{{.application}}
`,
		HTML: `<p>Olá,</p>
<p>aquilo com que você concordou junto a {{.application}} termina em breve:</p>
{{.options}}
<p>Termina em {{.expiresAt}}.</p>
<p>Você não precisa fazer nada: nessa data termina por si só. Se deve continuar, avise {{.application}} antes disso.</p>
<p>O que lhe foi mostrado quando concordou:<br>{{.statement}}</p>
<p>Política de privacidade: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>Onde você pode ler de novo: <a href="{{.link}}">{{.link}}</a></p>
<p>Você nunca concordou com isto, ou algo está errado? Então avise {{.application}}.</p>
<p>{{.application}}</p>
`,
	},
	{
		Name: Receipt, Language: "pt",
		Subject: "{{.application}}: o seu recibo",
		Text: `Olá,

este é o seu recibo da escolha que {{.application}} registrou. Guarde-o, por favor.

{{.options}}

O que lhe foi mostrado:
{{.statement}}

Política de privacidade: {{.policyUrl}}

O seu recibo na web: {{.link}}

Número do recibo: {{.receiptId}}

Você pode mudar de ideia a qualquer momento.

Não foi você, ou algo está errado? Então avise {{.application}}, com o número do recibo.

{{.application}}
`,
		HTML: `<p>Olá,</p>
<p>este é o seu recibo da escolha que {{.application}} registrou. Guarde-o, por favor.</p>
{{.options}}
<p>O que lhe foi mostrado:<br>{{.statement}}</p>
<p>Política de privacidade: <a href="{{.policyUrl}}">{{.policyUrl}}</a></p>
<p>O seu recibo na web: <a href="{{.link}}">{{.link}}</a></p>
<p>Número do recibo: {{.receiptId}}</p>
<p>Você pode mudar de ideia a qualquer momento.</p>
<p>Não foi você, ou algo está errado? Então avise {{.application}}, com o número do recibo.</p>
<p>{{.application}}</p>
`,
	},
}
