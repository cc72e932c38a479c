package app_test

import (
	"fmt"
	"testing"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/store"
)

func TestPutTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	draft := mail.Draft{Subject: ptr("Merci"), Text: ptr("Merci"), HTML: ptr("<p>Merci</p>")}
	kept := func() []mail.Template {
		t.Helper()
		own, err := w.store.Templates(w.ctx, w.app)
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
	made, err := w.PutTemplate(w.ctx, w.app, mail.Receipt, "FR", draft)
	if err != nil || made.Language != "fr" || made.UpdatedAt.IsZero() {
		t.Fatalf("got %+v, %v, want a template in fr", made, err)
	}
	if own := kept(); len(own) != 1 || own[0] != made {
		t.Errorf("got %+v, want %+v", own, made)
	}
	again, err := w.PutTemplate(w.ctx, w.app, mail.Receipt, "fr", mail.Draft{Subject: ptr("Bonjour"), Text: ptr("x"), HTML: ptr("x")})
	if own := kept(); err != nil || len(own) != 1 || own[0] != again {
		t.Errorf("got %+v, %v, want it replaced by %+v", own, err, again)
	}
	_, err = w.PutTemplate(w.ctx, w.app, "other", "fr", draft)
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.PutTemplate(w.ctx, w.app, mail.DoubleOptIn, "fr", draft)
	wantFault(t, err, fault.Invalid, "invalid_request")
	_, err = w.PutTemplate(w.ctx, "app_none", mail.Receipt, "fr", draft)
	wantFault(t, err, fault.NotFound, "not_found")

	other, _, _ := w.application("Another bank")
	wantFault(t, w.DeleteTemplate(w.ctx, other, mail.Receipt, "fr"), fault.NotFound, "not_found")
	wantFault(t, w.DeleteTemplate(w.ctx, w.app, mail.Receipt, "!"), fault.NotFound, "not_found")
	if err := w.DeleteTemplate(w.ctx, w.app, mail.Receipt, "fR"); err != nil || len(kept()) != 0 {
		t.Errorf("got %+v, %v, want it gone", kept(), err)
	}
	wantFault(t, w.DeleteTemplate(w.ctx, w.app, mail.Receipt, "fr"), fault.NotFound, "not_found")

	err = w.store.Update(w.ctx, func(tx store.Tx) error {
		for i := range app.MaxTemplates {
			if err := tx.PutTemplate(w.app, mail.Template{Name: mail.Receipt, Language: fmt.Sprintf("en-x-%d", i), Subject: "x", Text: "x", HTML: "x", UpdatedAt: made.UpdatedAt}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.PutTemplate(w.ctx, w.app, mail.Receipt, "fr", draft)
	wantFault(t, err, fault.Conflict, "templates_full")
	if _, err := w.PutTemplate(w.ctx, w.app, mail.Receipt, "en-x-7", draft); err != nil {
		t.Errorf("got %v, want one that is there replaced", err)
	}
}
