package app

import (
	"context"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// The limits of a citizen's fields; lengths are in Unicode code points. Those
// marked ours have no source.
const (
	MaxCitizenID = 100 // ours: it goes into addresses and headers
	MaxEmails    = 20  // ours
	MaxEmail     = 254 // RFC 5321, section 4.5.3.1.3: a path of 256 with its brackets
)

// CodeInvalidEmail names an address that is none.
const CodeInvalidEmail = "invalid_email"

// CitizenDraft is what an owner may write on a citizen, read from a request
// but not checked. A nil member was absent.
type CitizenDraft struct {
	ID          *string // citizenId; chosen once
	ExternalRef *string
	Emails      []string // the address of each element of emails
	Language    *string  // BCP 47
}

// apply checks the draft and returns cur with all editable members replaced by
// it; cur is unchanged. A zero cur makes a citizen, whose ID may be left to the
// caller. The path of each fault is a JSON Pointer into the request.
func (d CitizenDraft) apply(cur store.Citizen) (store.Citizen, []fault.Field) {
	var fs []fault.Field
	add := func(path, code, msg string) { fs = append(fs, fault.Field{Path: path, Code: code, Msg: msg}) }
	next := cur
	switch {
	case d.ID == nil:
	case cur.ID == "":
		next.ID = permission.CitizenID(*d.ID)
		switch {
		case *d.ID == "":
			add("/citizenId", permission.CodeRequired, "Leave the member out and an ID is made.")
		case len(*d.ID) > MaxCitizenID:
			add("/citizenId", permission.CodeTooLong, fmt.Sprintf("The ID must have at most %d characters.", MaxCitizenID))
		case !isCitizenID(*d.ID):
			add("/citizenId", permission.CodeInvalidValue,
				"The ID is made of the letters A to Z, digits and -._~:@, and does not begin as the ID of something else here.")
		}
	case !isOf(cur, permission.CitizenID(*d.ID)):
		add("/citizenId", permission.CodeImmutable, "It names the citizen and never changes.")
	}

	next.ExternalRef = ""
	if d.ExternalRef == nil || *d.ExternalRef == "" {
		add("/externalRef", permission.CodeRequired, "This member is required.")
	} else {
		next.ExternalRef = *d.ExternalRef
		switch {
		case utf8.RuneCountInString(*d.ExternalRef) > permission.MaxCitizenRef:
			add("/externalRef", permission.CodeTooLong, fmt.Sprintf("The text must have at most %d characters.", permission.MaxCitizenRef))
		case strings.ContainsFunc(*d.ExternalRef, unicode.IsControl) || !utf8.ValidString(*d.ExternalRef):
			add("/externalRef", permission.CodeInvalidCharacter, "The text must be valid UTF-8 without control characters.")
		case strings.TrimSpace(*d.ExternalRef) != *d.ExternalRef || *d.ExternalRef == "." || *d.ExternalRef == "..":
			add("/externalRef", permission.CodeInvalidValue, `It must not begin or end with white space, nor be "." or "..".`)
		case goesBy(cur, *d.ExternalRef):
			next.ExternalRef = cur.ExternalRef // the name of one that was merged into it is no new name
		}
	}

	next.Emails = nil
	if len(d.Emails) > MaxEmails {
		add("/emails", permission.CodeTooMany, fmt.Sprintf("A citizen has at most %d addresses.", MaxEmails))
	} else {
		for i, e := range d.Emails {
			path := fmt.Sprintf("/emails/%d/address", i)
			switch {
			case e == "":
				add(path, permission.CodeRequired, "This member is required.")
			case utf8.RuneCountInString(e) > MaxEmail:
				add(path, permission.CodeTooLong, fmt.Sprintf("The address must have at most %d characters.", MaxEmail))
			case !isEmail(e):
				add(path, CodeInvalidEmail, "The address must look like name@example.org.")
			case slices.Contains(next.Emails, e):
				add(path, permission.CodeDuplicate, "The citizen has this address already.")
			default:
				next.Emails = append(next.Emails, e)
			}
		}
	}

	next.Language = ""
	if d.Language != nil {
		next.Language = *d.Language
		if !permission.IsLanguage(*d.Language) {
			add("/language", permission.CodeInvalidLanguage, `The language is a tag such as "en" or "pt-BR".`)
		}
	}
	return next, fs
}

// Check returns the faults of the draft for a citizen as it stands; a zero cur
// is one that is to be made.
func (d CitizenDraft) Check(cur store.Citizen) []fault.Field {
	_, fs := d.apply(cur)
	return fs
}

// isCitizenID tells whether an owner may choose the ID. It orders deliveries
// and is sent in a header, so it is plain, and never that of a consent or of
// an endpoint, with whose events the citizen's would be mixed.
func isCitizenID(s string) bool {
	for _, kind := range []string{id.Consent, id.Interceptor, id.Subscription, id.Sender} {
		if strings.HasPrefix(s, kind+"_") {
			return false
		}
	}
	return s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~:@", r)
	})
}

// isEmail tells whether s is one plain address (RFC 5322, section 3.4.1, with
// the letters of RFC 6532) that a mail can be sent to, and nothing beside it.
func isEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && a.Name == "" && !strings.ContainsAny(s, "[]") && !strings.ContainsFunc(s, unicode.IsControl)
}

// CreateCitizen makes a citizen about whom nothing is recorded yet.
//
// Errors: fault.Invalid for the draft's shape; fault.Conflict
// "citizen_id_taken" and "external_ref_taken" when another citizen of the
// application has it.
func (a *App) CreateCitizen(ctx context.Context, app access.ID, d CitizenDraft) (store.Citizen, error) {
	c, fs := d.apply(store.Citizen{})
	if err := fault.InvalidFields(fs); err != nil {
		return store.Citizen{}, err
	}
	at := now()
	if c.ID == "" {
		c.ID = permission.CitizenID(id.New(id.Citizen))
	}
	c.Application, c.Version, c.CreatedAt, c.UpdatedAt = app, 1, at, at
	err := a.update(ctx, func(tx store.Tx) error {
		switch _, err := tx.Citizen(app, c.ID); {
		case err == nil:
			return fault.At(fault.Conflict, "citizen_id_taken", "/citizenId", "Another citizen has this ID; choose a new one.")
		case fault.KindOf(err) != fault.NotFound:
			return err
		}
		return tx.PutCitizen(c)
	})
	if err != nil {
		return store.Citizen{}, err
	}
	return c, nil
}

// EditCitizen replaces what an owner may write on a citizen. edit is given the
// citizen as it stands and returns what its owner wants; it may be called again
// and must be a function of its argument. One that was merged into another is
// that other; by the names of it the other is not renamed.
//
// Errors: fault.NotFound; fault.Invalid for the draft's shape; fault.Conflict
// "external_ref_taken".
func (a *App) EditCitizen(ctx context.Context, app access.ID, cid permission.CitizenID, edit func(store.Citizen) (CitizenDraft, error)) (store.Citizen, error) {
	at := now()
	var out store.Citizen
	err := a.update(ctx, func(tx store.Tx) error {
		cur, err := tx.Citizen(app, cid)
		if err != nil {
			return err
		}
		d, err := edit(cur)
		if err != nil {
			return err
		}
		c, fs := d.apply(cur)
		if err := fault.InvalidFields(fs); err != nil {
			return err
		}
		if out = c; c.ExternalRef == cur.ExternalRef && c.Language == cur.Language && slices.Equal(c.Emails, cur.Emails) {
			return nil
		}
		c.Version, c.UpdatedAt = cur.Version+1, at
		out = c
		u := a.follow(tx, cur, at)
		u.citizen = c
		return u.put(nil)
	})
	if err != nil {
		return store.Citizen{}, err
	}
	return out, nil
}

// CitizenKey names a citizen by its ID, its external reference, or both, which
// must then be the same citizen's.
type CitizenKey struct {
	ID          permission.CitizenID
	ExternalRef string
}

// Permissions returns a citizen and its state at an instant in the past, by
// what was recorded then, that instant inside; a zero at is now, and so is one
// that lies ahead by permission.MaxAhead at most, as clocks differ. What has
// lapsed by then shows so, even when nobody was told of it yet.
//
// Errors: fault.NotFound; fault.Invalid at "externalRef" when the key is empty
// or names two citizens, and at "at" when it lies further in the future.
func (a *App) Permissions(ctx context.Context, app access.ID, by CitizenKey, at time.Time) (store.Citizen, permission.View, error) {
	present := now()
	if at.After(present.Add(permission.MaxAhead)) {
		return store.Citizen{}, permission.View{}, fault.At(fault.Invalid, permission.CodeInFuture, "at", "The state of the future is not known yet.")
	}
	c, err := a.citizen(ctx, app, by)
	switch {
	case err != nil:
		return store.Citizen{}, permission.View{}, err
	case at.IsZero() || at.After(present):
		return c, c.Standing.Effective(present), nil
	case !at.Before(c.Standing.AsOf):
		return c, c.Standing.Effective(at), nil // nothing was recorded since
	}
	past, tail, err := a.store.Past(ctx, app, c.ID, at)
	if err == nil && past.Citizen != c.ID { // it was merged meanwhile
		c, err = a.store.Citizen(ctx, app, past.Citizen)
	}
	if err != nil {
		return store.Citizen{}, permission.View{}, err
	}
	return c, permission.Replay(past.Standing, tail, at), nil
}

func (a *App) citizen(ctx context.Context, app access.ID, by CitizenKey) (store.Citizen, error) {
	switch {
	case by.ID == "" && by.ExternalRef == "":
		return store.Citizen{}, fault.At(fault.Invalid, permission.CodeRequired, "externalRef", "Name the citizen by externalRef or citizenId.")
	case by.ID == "":
		return a.store.CitizenByRef(ctx, app, by.ExternalRef)
	}
	c, err := a.store.Citizen(ctx, app, by.ID)
	if err == nil && by.ExternalRef != "" && !goesBy(c, by.ExternalRef) {
		return store.Citizen{}, errTwoCitizens("externalRef")
	}
	return c, err
}

// isOf tells whether an ID names a citizen: it is its own, or that of one who
// was merged into it.
func isOf(c store.Citizen, cid permission.CitizenID) bool {
	return c.ID == cid || slices.ContainsFunc(c.Merged, func(m store.Merged) bool { return m.ID == cid })
}

// goesBy tells whether an external reference names a citizen, as isOf does.
func goesBy(c store.Citizen, externalRef string) bool {
	return externalRef != "" && (c.ExternalRef == externalRef ||
		slices.ContainsFunc(c.Merged, func(m store.Merged) bool { return m.ExternalRef == externalRef }))
}

func errTwoCitizens(path string) error {
	return fault.At(fault.Invalid, permission.CodeMismatch, path, "externalRef and citizenId are not the same citizen's.")
}
