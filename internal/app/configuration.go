package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// MaxConfiguration is how many options an application may have, archived ones
// included, and how many groups, preferences, statements and policies. Ours:
// all of it is held in memory, and the bound only stops a runaway (RULES 5,
// API4).
const MaxConfiguration = 10_000

// PutPart names what stands behind one of an option's three IDs: a new part,
// whose ID may be left to us, or one that is there, also when an option made
// it with its ID as its name.
//
// Error: fault.Invalid for the draft's shape.
func (a *App) PutPart(ctx context.Context, app access.ID, kind permission.Kind, d permission.PartDraft) (permission.Part, error) {
	p, fs := d.Apply(permission.Part{Kind: kind})
	if err := fault.InvalidFields(fs); err != nil {
		return permission.Part{}, err
	}
	if p.ID == "" {
		p.ID = id.New(id.Part)
	}
	return p, a.update(ctx, func(tx store.Tx) error { return tx.PutPart(app, p) })
}

// PutOption makes an option, when oid is empty, or replaces what its owner may
// write on it. Parts that nobody named are made with their IDs as their names.
//
// Errors: fault.NotFound when there is no such option; fault.Invalid for the
// draft's shape; fault.Conflict "reference_taken" when another option has the
// ID that the draft chooses, "configuration_full" beyond MaxConfiguration.
func (a *App) PutOption(ctx context.Context, app access.ID, oid permission.OptionID, d permission.OptionDraft) (permission.Option, error) {
	fresh := permission.OptionID(id.New(id.Option))
	return configure(ctx, a, app, func(tx store.Tx, c *permission.Catalogue) (permission.Option, error) {
		cur, err := c.Option(oid)
		if err != nil && oid != "" {
			return cur, err
		}
		o, fs := d.Apply(cur)
		if err := fault.InvalidFields(fs); err != nil {
			return o, err
		}
		if o.ID == "" {
			o.ID = fresh
		}
		if oid == "" {
			_, err := c.Option(o.ID)
			if err := free(err, "/optionId", len(c.Options())); err != nil {
				return o, err
			}
		}
		if err := putParts(tx, app, o); err != nil {
			return o, err
		}
		return o, tx.PutOption(app, o)
	})
}

// PutGroup makes a group of options, when gid is empty, or replaces what its
// owner may write on it. Errors as of PutOption.
func (a *App) PutGroup(ctx context.Context, app access.ID, gid permission.GroupID, d permission.GroupDraft) (permission.Group, error) {
	fresh := permission.GroupID(id.New(id.Group))
	return configure(ctx, a, app, func(tx store.Tx, c *permission.Catalogue) (permission.Group, error) {
		cur, err := c.Group(gid)
		if err != nil && gid != "" {
			return cur, err
		}
		g, fs := d.Apply(cur, c)
		if err := fault.InvalidFields(fs); err != nil {
			return g, err
		}
		if g.ID == "" {
			g.ID = fresh
		}
		if gid == "" {
			_, err := c.Group(g.ID)
			if err := free(err, "/groupId", len(c.Groups())); err != nil {
				return g, err
			}
		}
		return g, tx.PutGroup(app, g)
	})
}

// PutPreference makes a preference, when reference is empty, or replaces what
// its owner may write on it. Errors as of PutOption.
func (a *App) PutPreference(ctx context.Context, app access.ID, reference string, d permission.PreferenceDraft) (permission.Preference, error) {
	return configure(ctx, a, app, func(tx store.Tx, c *permission.Catalogue) (permission.Preference, error) {
		cur, err := c.Preference(reference)
		if err != nil && reference != "" {
			return cur, err
		}
		p, fs := d.Apply(cur)
		if err := fault.InvalidFields(fs); err != nil {
			return p, err
		}
		if reference == "" {
			_, err := c.Preference(p.Reference)
			if err := free(err, "/reference", len(c.Preferences())); err != nil {
				return p, err
			}
		}
		return p, tx.PutPreference(app, p)
	})
}

// PutStatement makes a permission statement, when sid is empty, or replaces
// what its owner may write on it; a new text or language is a new version, and
// the former ones are kept. Errors as of PutOption.
func (a *App) PutStatement(ctx context.Context, app access.ID, sid permission.StatementID, d permission.StatementDraft) (permission.Statement, error) {
	fresh := permission.StatementID(id.New(id.Statement))
	return configure(ctx, a, app, func(tx store.Tx, c *permission.Catalogue) (permission.Statement, error) {
		cur, err := c.Statement(sid)
		if err != nil && sid != "" {
			return cur, err
		}
		s, fs := d.Apply(cur)
		if err := fault.InvalidFields(fs); err != nil {
			return s, err
		}
		if sid == "" {
			s.ID = fresh
			if err := roomFor(len(c.Statements())); err != nil {
				return s, err
			}
		}
		return s, tx.PutStatement(app, s)
	})
}

// PutPolicy makes a privacy policy, when pid is empty, or replaces what its
// owner may write on it, as PutStatement does.
func (a *App) PutPolicy(ctx context.Context, app access.ID, pid permission.PolicyID, d permission.PolicyDraft) (permission.Policy, error) {
	fresh := permission.PolicyID(id.New(id.Policy))
	return configure(ctx, a, app, func(tx store.Tx, c *permission.Catalogue) (permission.Policy, error) {
		cur, err := c.Policy(pid)
		if err != nil && pid != "" {
			return cur, err
		}
		p, fs := d.Apply(cur)
		if err := fault.InvalidFields(fs); err != nil {
			return p, err
		}
		if pid == "" {
			p.ID = fresh
			if err := roomFor(len(c.Policies())); err != nil {
				return p, err
			}
		}
		return p, tx.PutPolicy(app, p)
	})
}

// configure changes an application's configuration in one transaction.
func configure[T any](ctx context.Context, a *App, app access.ID, change func(store.Tx, *permission.Catalogue) (T, error)) (T, error) {
	var out T
	err := a.update(ctx, func(tx store.Tx) error {
		c, err := tx.Catalogue(app)
		if err != nil {
			return err
		}
		out, err = change(tx, c)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return out, nil
}

// RemoveConfiguration takes a part of the configuration out of use: archived
// tells that a transaction refers to it, so that it stays to be read, and may
// be restored; else it is deleted. An option that a group holds is archived
// too. It may be called again.
//
// The kinds are those of store.Tx.DeleteConfiguration; a preference is named by
// its reference, all others by their ID. Error: fault.NotFound.
func (a *App) RemoveConfiguration(ctx context.Context, app access.ID, kind, ref string) (archived bool, err error) {
	at := now()
	return configure(ctx, a, app, func(tx store.Tx, c *permission.Catalogue) (bool, error) {
		l, put, err := lifeOf(tx, app, c, kind, ref)
		if err != nil {
			return false, err
		}
		used := l.Used
		if kind == store.Option {
			l.Used = used || inGroup(c, permission.OptionID(ref))
		}
		next, gone := l.Remove(at)
		if gone {
			return false, tx.DeleteConfiguration(app, kind, ref)
		}
		next.Used = used
		return true, put(next)
	})
}

// RestoreConfiguration takes an archived part of the configuration back into
// use. It may be called again. Arguments and error as of RemoveConfiguration.
func (a *App) RestoreConfiguration(ctx context.Context, app access.ID, kind, ref string) error {
	return a.update(ctx, func(tx store.Tx) error {
		c, err := tx.Catalogue(app)
		if err != nil {
			return err
		}
		l, put, err := lifeOf(tx, app, c, kind, ref)
		if err != nil {
			return err
		}
		return put(l.Restore())
	})
}

// lifeOf returns the life of a part of the configuration, and how to write
// another one.
func lifeOf(tx store.Tx, app access.ID, c *permission.Catalogue, kind, ref string) (permission.Life, func(permission.Life) error, error) {
	switch kind {
	case store.Option:
		o, err := c.Option(permission.OptionID(ref))
		return o.Life, func(l permission.Life) error { o.Life = l; return tx.PutOption(app, o) }, err
	case store.Group:
		g, err := c.Group(permission.GroupID(ref))
		return g.Life, func(l permission.Life) error { g.Life = l; return tx.PutGroup(app, g) }, err
	case store.Preference:
		p, err := c.Preference(ref)
		return p.Life, func(l permission.Life) error { p.Life = l; return tx.PutPreference(app, p) }, err
	case store.Statement:
		s, err := c.Statement(permission.StatementID(ref))
		return s.Life, func(l permission.Life) error { s.Life = l; return tx.PutStatement(app, s) }, err
	case store.Policy:
		p, err := c.Policy(permission.PolicyID(ref))
		return p.Life, func(l permission.Life) error { p.Life = l; return tx.PutPolicy(app, p) }, err
	}
	return permission.Life{}, nil, fault.New(fault.NotFound, "not_found", "The configuration has nothing of this kind.")
}

func inGroup(c *permission.Catalogue, o permission.OptionID) bool {
	return slices.ContainsFunc(c.Groups(), func(g permission.Group) bool { return slices.Contains(g.Options, o) })
}

// markUsed remembers of all that a transaction refers to that it may no longer
// be deleted. What is in seen is so already, and what it marks is added to it.
func markUsed(tx store.Tx, app access.ID, c *permission.Catalogue, t permission.Transaction, seen map[[2]string]bool) error {
	mark := func(kind, ref string) error {
		if ref == "" || seen[[2]string{kind, ref}] {
			return nil
		}
		seen[[2]string{kind, ref}] = true
		l, put, err := lifeOf(tx, app, c, kind, ref)
		if err != nil || l.Used {
			return err
		}
		l.Used = true
		return put(l)
	}
	for _, e := range t.Entries {
		if err := mark(store.Option, string(e.Option)); err != nil {
			return err
		}
		if err := mark(store.Group, string(e.Group)); err != nil {
			return err
		}
	}
	for _, ch := range t.Choices {
		if err := mark(store.Preference, ch.Preference); err != nil {
			return err
		}
	}
	if err := mark(store.Statement, string(t.Origin.Statement)); err != nil {
		return err
	}
	return mark(store.Policy, string(t.Origin.Policy))
}

// free tells whether a thing may be made: lookup is what looking for one of
// its name came to, and n how many of its kind there are.
func free(lookup error, path string, n int) error {
	switch {
	case lookup == nil:
		return fault.At(fault.Conflict, "reference_taken", path, "Another one of its kind has this name; choose a new one.")
	case fault.KindOf(lookup) != fault.NotFound:
		return lookup
	}
	return roomFor(n)
}

func roomFor(n int) error {
	if n >= MaxConfiguration {
		return fault.New(fault.Conflict, "configuration_full", fmt.Sprintf("The application has %d of this kind, the most it may have; remove one first.", n))
	}
	return nil
}

// putParts makes the parts of an option that are not there yet.
func putParts(tx store.Tx, app access.ID, o permission.Option) error {
	for _, p := range o.Parts() {
		switch _, err := tx.Part(app, p.Kind, p.ID); {
		case err == nil:
		case fault.KindOf(err) != fault.NotFound:
			return err
		default:
			if err := tx.PutPart(app, p); err != nil {
				return err
			}
		}
	}
	return nil
}
