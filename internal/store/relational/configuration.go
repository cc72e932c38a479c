package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// The content of a thing of the configuration, besides what has a column. The
// names are never changed.
type (
	optionForm struct {
		Name        string `json:"name,omitzero"`
		DataID      string `json:"dataId"`
		PurposeID   string `json:"purposeId"`
		PartyID     string `json:"partyId"`
		Description string `json:"description,omitzero"`
	}
	groupForm struct {
		Name    string                `json:"name,omitzero"`
		Options []permission.OptionID `json:"options"`
	}
	preferenceForm struct {
		Label   string            `json:"label"`
		Type    string            `json:"type"`
		Choices []alternativeForm `json:"choices"`
	}
	alternativeForm struct {
		Reference string `json:"reference"`
		Label     string `json:"label"`
	}
	statementForm struct {
		Text     string `json:"text"`
		Language string `json:"language,omitzero"`
	}
	policyForm struct {
		URL  string `json:"url,omitzero"`
		Text string `json:"text,omitzero"`
	}
)

// thing is a row of table configuration.
type thing struct {
	kind      string
	id        string
	reference string // empty: the kind has none
	version   int
	life      permission.Life
	content   []byte
}

const thingFields = `kind, id, COALESCE(reference, ''), version, used, archived_at, content`

func scanThing(scan func(...any) error) (thing, error) {
	var x thing
	var archived int64
	if err := scan(&x.kind, &x.id, &x.reference, &x.version, &x.life.Used, &archived, &x.content); err != nil {
		return thing{}, err
	}
	x.life.ArchivedAt = moment(archived)
	return x, nil
}

// decode reads the content into one of the forms.
func (x thing) decode(form any) error {
	if err := json.Unmarshal(x.content, form); err != nil {
		return fmt.Errorf("decode the %s %s: %w", x.kind, x.id, err)
	}
	return nil
}

func (x thing) option() (permission.Option, error) {
	var f optionForm
	err := x.decode(&f)
	return permission.Option{
		Life: x.life, ID: permission.OptionID(x.id), Name: f.Name, DataID: f.DataID, PurposeID: f.PurposeID, PartyID: f.PartyID,
		Description: f.Description,
	}, err
}

func (x thing) group() (permission.Group, error) {
	var f groupForm
	err := x.decode(&f)
	return permission.Group{Life: x.life, ID: permission.GroupID(x.id), Name: f.Name, Options: f.Options}, err
}

func (x thing) preference() (permission.Preference, error) {
	var f preferenceForm
	err := x.decode(&f)
	p := permission.Preference{Life: x.life, Reference: x.id, Label: f.Label, Type: f.Type}
	for _, a := range f.Choices {
		p.Choices = append(p.Choices, permission.Alternative(a))
	}
	return p, err
}

func (x thing) statement() (permission.Statement, error) {
	var f statementForm
	err := x.decode(&f)
	return permission.Statement{
		Life: x.life, ID: permission.StatementID(x.id), Reference: x.reference, Text: f.Text, Language: f.Language, Version: x.version,
	}, err
}

func (x thing) policy() (permission.Policy, error) {
	var f policyForm
	err := x.decode(&f)
	return permission.Policy{
		Life: x.life, ID: permission.PolicyID(x.id), Reference: x.reference, URL: f.URL, Text: f.Text, Version: x.version,
	}, err
}

// gather adds what a row holds to one of the lists.
func gather[T any](list *[]T, read func() (T, error)) error {
	v, err := read()
	*list = append(*list, v)
	return err
}

// maxCatalogues is of how many applications the configuration is kept in
// memory.
const maxCatalogues = 256

// catalogues keep configurations by application, each with the version that it
// was read at.
type catalogues struct {
	mu   sync.Mutex
	apps map[int64]readCatalogue
}

type readCatalogue struct {
	version   int64
	catalogue *permission.Catalogue
}

func (k *catalogues) get(app, version int64) *permission.Catalogue {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.apps[app]; r.version == version {
		return r.catalogue
	}
	return nil
}

// put keeps a configuration unless a later one is kept: a reader may be behind
// the committer.
func (k *catalogues) put(app, version int64, c *permission.Catalogue) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.apps[app]; ok && r.version > version {
		return
	}
	if k.apps == nil || len(k.apps) >= maxCatalogues {
		k.apps = make(map[int64]readCatalogue)
	}
	k.apps[app] = readCatalogue{version, c}
}

// Catalogue implements store.Reader.
func (s *Store) Catalogue(ctx context.Context, app access.ID) (c *permission.Catalogue, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, err = r.catalogue(app, nil)
		return err
	})
	return c, err
}

// Catalogue implements store.Tx.
func (t *tx) Catalogue(app access.ID) (*permission.Catalogue, error) {
	if _, err := t.app(app); err != nil {
		return nil, err
	}
	return t.catalogue(app, t.configured)
}

// catalogue returns an application's configuration, from memory when that has
// it. What a transaction has changed itself is not kept: after a rollback
// another change has the same version.
func (r *reader) catalogue(app access.ID, changed map[int64]bool) (*permission.Catalogue, error) {
	var key, version int64
	err := r.get([]any{&key, &version}, "SELECT app, configuration FROM application WHERE app_id = ?", string(app))
	if err != nil {
		return nil, err
	}
	if c := r.s.asked.get(key, version); c != nil {
		return c, nil
	}
	c, err := r.readCatalogue(key)
	if err == nil && !changed[key] {
		r.s.asked.put(key, version, c)
	}
	return c, err
}

func (r *reader) readCatalogue(app int64) (*permission.Catalogue, error) {
	var (
		os []permission.Option
		gs []permission.Group
		ps []permission.Preference
		ss []permission.Statement
		ls []permission.Policy
	)
	err := r.each(func(rows db.Rows) error {
		x, err := scanThing(rows.Scan)
		if err != nil {
			return err
		}
		switch x.kind {
		case store.Option:
			return gather(&os, x.option)
		case store.Group:
			return gather(&gs, x.group)
		case store.Preference:
			return gather(&ps, x.preference)
		case store.Statement:
			return gather(&ss, x.statement)
		case store.Policy:
			return gather(&ls, x.policy)
		}
		return fmt.Errorf("there is no kind %q of things in a configuration", x.kind)
	}, "SELECT "+thingFields+" FROM configuration WHERE app = ? ORDER BY row", app)
	if err != nil {
		return nil, err
	}
	return permission.NewCatalogue(os, gs, ps, ss, ls), nil
}

// configure opens a change of an application's configuration.
func (t *tx) configure(app access.ID) (int64, error) {
	key, err := t.app(app)
	if err != nil {
		return 0, err
	}
	if t.configured[key] {
		return key, nil
	}
	if t.configured == nil {
		t.configured = make(map[int64]bool)
	}
	t.configured[key] = true
	_, err = t.exec("UPDATE application SET configuration = configuration + 1 WHERE app = ?", key)
	return key, err
}

// putThing inserts or updates a row of table configuration, and keeps the
// content that a new version replaces.
func (t *tx) putThing(app access.ID, x thing, form any) error {
	key, err := t.configure(app)
	if err != nil {
		return err
	}
	content, err := json.Marshal(form)
	if err != nil {
		return fmt.Errorf("encode the %s %s: %w", x.kind, x.id, err)
	}
	var reference any
	if x.reference != "" {
		reference = x.reference
		var taken bool
		err := t.get([]any{&taken}, "SELECT EXISTS (SELECT 1 FROM configuration WHERE app = ? AND kind = ? AND reference = ? AND id <> ?)",
			key, x.kind, x.reference, x.id)
		if err != nil {
			return err
		}
		if taken {
			return fault.At(fault.Conflict, "reference_taken", "/reference", "Another "+x.kind+" has this reference already.")
		}
	}
	if x.version > 1 {
		_, err := t.exec(`INSERT INTO configuration_former (app, kind, id, version, content)
			SELECT app, kind, id, version, content FROM configuration WHERE app = ? AND kind = ? AND id = ? AND version < ?
			ON CONFLICT (app, kind, id, version) DO UPDATE SET content = excluded.content`,
			key, x.kind, x.id, x.version)
		if err != nil {
			return err
		}
	}
	_, err = t.exec(`INSERT INTO configuration (app, kind, id, reference, version, used, archived_at, content)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (app, kind, id) DO UPDATE SET reference = excluded.reference, version = excluded.version,
			used = excluded.used, archived_at = excluded.archived_at, content = excluded.content`,
		key, x.kind, x.id, reference, x.version, x.life.Used, millis(x.life.ArchivedAt), string(content))
	return err
}

// PutOption implements store.Tx.
func (t *tx) PutOption(app access.ID, o permission.Option) error {
	return t.putThing(app, thing{kind: store.Option, id: string(o.ID), life: o.Life},
		optionForm{o.Name, o.DataID, o.PurposeID, o.PartyID, o.Description})
}

// PutGroup implements store.Tx.
func (t *tx) PutGroup(app access.ID, g permission.Group) error {
	return t.putThing(app, thing{kind: store.Group, id: string(g.ID), life: g.Life}, groupForm{g.Name, g.Options})
}

// PutPreference implements store.Tx.
func (t *tx) PutPreference(app access.ID, p permission.Preference) error {
	f := preferenceForm{Label: p.Label, Type: p.Type}
	for _, a := range p.Choices {
		f.Choices = append(f.Choices, alternativeForm(a))
	}
	return t.putThing(app, thing{kind: store.Preference, id: p.Reference, life: p.Life}, f)
}

// PutStatement implements store.Tx.
func (t *tx) PutStatement(app access.ID, s permission.Statement) error {
	return t.putThing(app, thing{kind: store.Statement, id: string(s.ID), reference: s.Reference, version: s.Version, life: s.Life},
		statementForm{s.Text, s.Language})
}

// PutPolicy implements store.Tx.
func (t *tx) PutPolicy(app access.ID, p permission.Policy) error {
	return t.putThing(app, thing{kind: store.Policy, id: string(p.ID), reference: p.Reference, version: p.Version, life: p.Life},
		policyForm{p.URL, p.Text})
}

// DeleteConfiguration implements store.Tx.
func (t *tx) DeleteConfiguration(app access.ID, kind, id string) error {
	key, err := t.configure(app)
	if err != nil {
		return err
	}
	n, err := t.exec("DELETE FROM configuration WHERE app = ? AND kind = ? AND id = ?", key, kind, id)
	if err == nil && n == 0 {
		return notFound()
	}
	if err != nil {
		return err
	}
	_, err = t.exec("DELETE FROM configuration_former WHERE app = ? AND kind = ? AND id = ?", key, kind, id)
	return err
}

// StatementVersions implements store.Reader.
func (s *Store) StatementVersions(ctx context.Context, app access.ID, id permission.StatementID) ([]permission.Statement, error) {
	return versions(ctx, s, app, store.Statement, string(id), thing.statement)
}

// PolicyVersions implements store.Reader.
func (s *Store) PolicyVersions(ctx context.Context, app access.ID, id permission.PolicyID) ([]permission.Policy, error) {
	return versions(ctx, s, app, store.Policy, string(id), thing.policy)
}

// versions returns all versions of a thing, the current one last.
func versions[T any](ctx context.Context, s *Store, app access.ID, kind, id string, as func(thing) (T, error)) (list []T, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		key, err := r.app(app)
		if err != nil {
			return err
		}
		last, err := scanThing(func(dst ...any) error {
			return r.get(dst, "SELECT "+thingFields+" FROM configuration WHERE app = ? AND kind = ? AND id = ?", key, kind, id)
		})
		if err != nil {
			return err
		}
		err = r.each(func(rows db.Rows) error {
			former := last
			former.content = nil
			if err := rows.Scan(&former.version, &former.content); err != nil {
				return err
			}
			return gather(&list, func() (T, error) { return as(former) })
		}, "SELECT version, content FROM configuration_former WHERE app = ? AND kind = ? AND id = ? ORDER BY version", key, kind, id)
		if err != nil {
			return err
		}
		return gather(&list, func() (T, error) { return as(last) })
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Part implements store.Tx.
func (t *tx) Part(app access.ID, kind permission.Kind, id string) (permission.Part, error) {
	key, err := t.app(app)
	if err != nil {
		return permission.Part{}, err
	}
	p := permission.Part{Kind: kind, ID: id}
	err = t.get([]any{&p.Name}, "SELECT name FROM part WHERE app = ? AND kind = ? AND part_id = ?", key, string(kind), id)
	if err != nil {
		return permission.Part{}, err
	}
	return p, nil
}

// PutPart implements store.Tx.
func (t *tx) PutPart(app access.ID, p permission.Part) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO part (app, kind, part_id, name) VALUES (?, ?, ?, ?)
		ON CONFLICT (app, kind, part_id) DO UPDATE SET name = excluded.name`, key, string(p.Kind), p.ID, p.Name)
	return err
}

// Parts implements store.Reader.
func (s *Store) Parts(ctx context.Context, app access.ID, kind permission.Kind) (list []permission.Part, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		key, err := r.app(app)
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			p := permission.Part{Kind: kind}
			err := rows.Scan(&p.ID, &p.Name)
			list = append(list, p)
			return err
		}, "SELECT part_id, name FROM part WHERE app = ? AND kind = ? ORDER BY row", key, string(kind))
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// useFeeds notes which feeds of permissions and e-mails an endpoint hears, and
// the one of a subscription's update type, even if it lists other events
// (CONTRACT 8).
func (t *tx) useFeeds(app int64, e subscription.Endpoint) error {
	f := e.Filter()
	for _, u := range []subscription.UpdateType{subscription.ConsentReceipts, subscription.EffectivePermission, subscription.CitizenEmails} {
		feed := event.Feed(u) // the update types have the names of their feeds
		if !f.Matches(e.ID, event.Event{Type: u.Own(), Feed: feed}) && (e.Style != subscription.Subscription || e.UpdateType != u) {
			continue
		}
		n, err := t.exec("INSERT INTO feed_used (app, feed) VALUES (?, ?) ON CONFLICT DO NOTHING", app, string(feed))
		if err != nil {
			return err
		}
		if n > 0 {
			t.keyed = true
			delete(t.small.feeds, feedKey{app, feed})
		}
	}
	return nil
}

const feedIsUsed = "SELECT EXISTS (SELECT 1 FROM feed_used WHERE app = ? AND feed = ?)"

// FeedUsed implements store.Tx.
func (t *tx) FeedUsed(app access.ID, feed event.Feed) (used bool, err error) {
	key, err := t.app(app)
	if err != nil {
		return false, err
	}
	k := feedKey{key, feed}
	if used, ok := t.small.feeds[k]; ok {
		return used, nil
	}
	err = t.get([]any{&used}, feedIsUsed, key, string(feed))
	if err != nil {
		return false, err
	}
	if len(t.small.feeds) >= maxSmallKeys {
		clear(t.small.feeds)
	}
	t.small.feeds[k] = used
	return used, nil
}
