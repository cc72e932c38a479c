package portal

import (
	"net/http"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
)

// share makes a link by which anybody may read the bin, and shows it, this once:
// so there is no redirect.
func (p *Portal) share(w http.ResponseWriter, r *http.Request, s session) error {
	b, sec, err := p.app.ShareBin(r.Context(), s.app, r.PathValue("bin"))
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Inspector")
	if err != nil {
		return err
	}
	page := ownBin(f, b)
	page.Link = strings.TrimSuffix(p.publicURL(), "/") + "/portal/shared/" + b.Name + "/" + sec.Reveal()
	return p.fillBin(w, r, b, http.StatusOK, page)
}

func (p *Portal) unshare(w http.ResponseWriter, r *http.Request, s session) error {
	if err := p.app.UnshareBin(r.Context(), s.app, r.PathValue("bin")); err != nil {
		return err
	}
	p.back(w, r, r.PathValue("bin"), "unshared")
	return nil
}

func (p *Portal) removeBin(w http.ResponseWriter, r *http.Request, s session) error {
	if err := p.app.RemoveBin(r.Context(), s.app, r.PathValue("bin")); err != nil {
		return err
	}
	http.Redirect(w, r, p.base()+"/inspector?done=bin-removed", http.StatusSeeOther)
	return nil
}

// shared shows a bin to who has its link, and changes nothing.
func (p *Portal) shared(w http.ResponseWriter, r *http.Request) error {
	b, err := p.app.SharedBin(r.Context(), r.PathValue("bin"), r.PathValue("secret"))
	if err != nil {
		return err
	}
	f := p.frame(r, session{}, "Inspector")
	return p.fillBin(w, r, b, http.StatusOK, inspectorPage{
		frame: f, Here: f.Base + "/shared/" + b.Name + "/" + r.PathValue("secret"), SharedUntil: f.Lang.at(b.Share.Until),
	})
}

func (p *Portal) sharedStream(w http.ResponseWriter, r *http.Request) error {
	name, sec := r.PathValue("bin"), r.PathValue("secret")
	b, err := p.app.SharedBin(r.Context(), name, sec)
	if err != nil {
		return err
	}
	return p.streamBin(w, r, b, access.HashSession(sec), func() bool {
		_, err := p.app.SharedBin(r.Context(), name, sec)
		return err == nil
	})
}
