package portal

import (
	"net/http"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/subscription"
)

// route is a page, or what a form does, and the scope that it needs.
type route struct {
	pattern string
	scope   access.Scope
	handler handler
}

// anyone is the scope of what every session may do, also without an application.
const anyone access.Scope = ""

// signedRoutes are all that need a session.
func (p *Portal) signedRoutes() []route {
	const look, bodies, people, change, admin = access.Look, access.Bodies, access.People, access.Change, access.Administer
	return []route{
		{"POST /portal/sign-out", anyone, p.signOut},

		{"GET /portal/{$}", look, p.overview},
		{"GET /portal/mailbox", people, p.mailbox},

		{"GET /portal/endpoints", look, p.endpointList},
		{"GET /portal/new/{kind}", change, p.newEndpoint},
		{"POST /portal/new/{kind}", change, p.saveEndpoint},
		{"POST /portal/new/{kind}/check", change, p.checkForm},
		{"GET /portal/endpoints/{endpoint}", look, p.endpointView},
		{"GET /portal/endpoints/{endpoint}/edit", change, p.editEndpoint},
		{"POST /portal/endpoints/{endpoint}/edit", change, p.saveEndpoint},
		{"POST /portal/endpoints/{endpoint}/check", change, p.checkForm},
		{"POST /portal/endpoints/{endpoint}/test", change, p.try},
		{"GET /portal/endpoints/{endpoint}/pause", change, p.askPause},
		{"POST /portal/endpoints/{endpoint}/pause", change, p.setStatus(subscription.Paused, "paused")},
		{"POST /portal/endpoints/{endpoint}/resume", change, p.setStatus(subscription.Active, "resumed")},
		{"POST /portal/endpoints/{endpoint}/rotate", change, p.rotate},
		{"GET /portal/endpoints/{endpoint}/replay", change, p.askReplay},
		{"POST /portal/endpoints/{endpoint}/replay", change, p.replay},
		{"GET /portal/endpoints/{endpoint}/jobs", look, p.streamJobs},
		{"GET /portal/endpoints/{endpoint}/remove", change, p.askRemove},
		{"POST /portal/endpoints/{endpoint}/remove", change, p.remove},

		{"GET /portal/deliveries", look, p.deliveries},
		{"GET /portal/deliveries/stream", look, p.streamDeliveries},
		{"GET /portal/deliveries/{delivery}", look, p.delivery},
		{"POST /portal/deliveries/{delivery}/redeliver", change, p.redeliver},

		{"GET /portal/consents", people, p.consents},
		{"GET /portal/consents/{consent}", people, p.consent},
		{"GET /portal/citizens", people, p.citizens},
		{"GET /portal/citizens/{citizen}", people, p.citizen},

		{"GET /portal/events", look, p.reference},
		{"GET /portal/events/{type}", look, p.reference},

		{"GET /portal/application", look, p.application},
		{"POST /portal/application", admin, p.rename},
		{"POST /portal/application/credentials", change, p.addCredential},
		{"POST /portal/application/credentials/{client}/remove", change, p.removeCredential},
		{"GET /portal/applications", admin, p.applications},
		{"POST /portal/applications", admin, p.makeApplication},
		{"POST /portal/applications/{application}/open", admin, p.openApplication},
		{"GET /portal/users", admin, p.users},
		{"POST /portal/users", admin, p.invite},
		{"POST /portal/users/{user}/remove", admin, p.removeUser},
		{"POST /portal/invitations/{invitation}/remove", admin, p.uninvite},

		{"GET /portal/inspector", bodies, p.binList},
		{"POST /portal/inspector", change, p.makeBin},
		{"GET /portal/inspector/{bin}", bodies, p.inspector},
		{"GET /portal/inspector/{bin}/stream", bodies, p.stream},
		{"GET /portal/inspector/{bin}/requests/{request}", bodies, p.request},
		{"POST /portal/inspector/{bin}/script", change, p.script},
		{"POST /portal/inspector/{bin}/clear", change, p.clear},
		{"POST /portal/inspector/{bin}/share", change, p.share},
		{"POST /portal/inspector/{bin}/unshare", change, p.unshare},
		{"POST /portal/inspector/{bin}/remove", change, p.removeBin},
	}
}

func (p *Portal) routes() {
	p.mux.HandleFunc("GET /portal/assets/{name}", p.assets.serve)
	p.mux.HandleFunc("GET /portal/sign-in", p.open(p.signIn))
	p.mux.HandleFunc("POST /portal/sign-in", p.open(p.enter))
	p.mux.HandleFunc("GET /portal/sign-in/provider", p.open(p.toProvider))
	p.mux.HandleFunc("GET "+CallbackPath, p.open(p.fromProvider))
	p.mux.HandleFunc("GET /portal/sign-in/{code}", p.open(p.useLink))
	p.mux.HandleFunc("GET /portal/shared/{bin}/{secret}", p.open(p.shared))
	p.mux.HandleFunc("GET /portal/shared/{bin}/{secret}/stream", p.open(p.sharedStream))
	p.mux.HandleFunc("GET /portal/join/{secret}", p.open(p.invitation))
	p.mux.HandleFunc("POST /portal/join/{secret}", p.open(p.join))
	p.mux.HandleFunc("POST /portal/preferences", p.open(p.prefer))
	for _, r := range p.signedRoutes() {
		p.mux.HandleFunc(r.pattern, p.signed(r.scope, r.handler))
	}

	p.mux.HandleFunc("GET "+app.ConfirmPath+"{token}", p.confirm)
	p.mux.HandleFunc("POST "+app.ConfirmPath+"{token}", p.answer)
	p.mux.HandleFunc(app.ConfirmPath, func(w http.ResponseWriter, r *http.Request) {
		p.unasked(w, r, fault.New(fault.NotFound, "not_found", "There is no such page."))
	})

	p.mux.HandleFunc("/portal/", p.signed(access.Look, func(http.ResponseWriter, *http.Request, session) error {
		return fault.New(fault.NotFound, "not_found", "There is no such page.")
	}))
}
