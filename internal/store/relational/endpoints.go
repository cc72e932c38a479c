package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// endpointForm is the sealed configuration of an endpoint, secrets included:
// it never leaves this file but sealed. Its names are never changed; times are
// Unix milliseconds and durations nanoseconds, absent when zero.
type (
	endpointForm struct {
		Version        int64             `json:"version"`
		Name           string            `json:"name,omitzero"`
		URL            string            `json:"url"`
		Feed           string            `json:"feed,omitzero"`
		UpdateType     string            `json:"updateType,omitzero"`
		EventTypes     []event.Type      `json:"eventTypes,omitzero"`
		Status         string            `json:"status"`
		StatusReason   string            `json:"statusReason,omitzero"`
		StatusSince    int64             `json:"statusSince,omitzero"`
		Auth           authForm          `json:"auth"`
		SigningSecrets []signingForm     `json:"signingSecrets"`
		Asymmetric     bool              `json:"asymmetric,omitzero"`
		RetrySchedule  []time.Duration   `json:"retrySchedule,omitzero"`
		Timeout        time.Duration     `json:"timeout,omitzero"`
		RateLimit      int               `json:"rateLimit,omitzero"`
		MaxInFlight    int               `json:"maxInFlight,omitzero"`
		Description    string            `json:"description,omitzero"`
		Metadata       map[string]string `json:"metadata,omitzero"`
		OnBacklog      string            `json:"onBacklog,omitzero"`
		Parts          int               `json:"parts,omitzero"`
		Mail           mailForm          `json:"mail,omitzero"`
		CreatedAt      int64             `json:"createdAt,omitzero"`
		UpdatedAt      int64             `json:"updatedAt,omitzero"`
	}
	mailForm struct {
		Host     string `json:"host,omitzero"`
		Port     int    `json:"port,omitzero"`
		Security string `json:"security,omitzero"`
		User     string `json:"user,omitzero"`
		Password string `json:"password,omitzero"`
		From     string `json:"from,omitzero"`
		FromName string `json:"fromName,omitzero"`
		ReplyTo  string `json:"replyTo,omitzero"`
	}
	signingForm struct {
		Secret    string `json:"secret"`
		ExpiresAt int64  `json:"expiresAt,omitzero"`
	}
	authForm struct {
		Type   string     `json:"type,omitzero"`
		APIKey apiKeyForm `json:"apiKey,omitzero"`
		Bearer bearerForm `json:"bearer,omitzero"`
		OAuth2 oauth2Form `json:"oauth2,omitzero"`
		Basic  basicForm  `json:"basic,omitzero"`
		MTLS   mtlsForm   `json:"mtls,omitzero"`
	}
	apiKeyForm struct {
		Location string `json:"location,omitzero"`
		Key      string `json:"key,omitzero"`
		Value    string `json:"value,omitzero"`
	}
	bearerForm struct {
		Token        string `json:"token,omitzero"`
		RefreshToken string `json:"refreshToken,omitzero"`
		RefreshURL   string `json:"refreshUrl,omitzero"`
		ClientID     string `json:"clientId,omitzero"`
		ClientSecret string `json:"clientSecret,omitzero"`
	}
	oauth2Form struct {
		GrantType         string `json:"grantType,omitzero"`
		AuthenticationURL string `json:"authenticationUrl,omitzero"`
		ContentType       string `json:"contentType,omitzero"`
		ClientID          string `json:"clientId,omitzero"`
		ClientSecret      string `json:"clientSecret,omitzero"`
		Scope             string `json:"scope,omitzero"`
		ClientAuthMethod  string `json:"clientAuthMethod,omitzero"`
		Audience          string `json:"audience,omitzero"`
	}
	basicForm struct {
		User     string `json:"user,omitzero"`
		Password string `json:"password,omitzero"`
	}
	mtlsForm struct {
		Certificate   string `json:"certificate,omitzero"`
		PrivateKey    string `json:"privateKey,omitzero"`
		CACertificate string `json:"caCertificate,omitzero"`
	}
)

func encodeEndpoint(e subscription.Endpoint) ([]byte, error) {
	a := e.Auth
	f := endpointForm{
		Version: e.Version, Name: e.Name, URL: e.URL, Feed: string(e.Feed),
		UpdateType: string(e.UpdateType), EventTypes: e.EventTypes,
		Status: string(e.Status), StatusReason: e.StatusReason, StatusSince: millis(e.StatusSince),
		Auth: authForm{
			Type:   string(a.Type),
			APIKey: apiKeyForm{a.APIKey.Location, a.APIKey.Key, a.APIKey.Value.Reveal()},
			Bearer: bearerForm{
				a.Bearer.Token.Reveal(), a.Bearer.RefreshToken.Reveal(), a.Bearer.RefreshURL,
				a.Bearer.ClientID, a.Bearer.ClientSecret.Reveal(),
			},
			OAuth2: oauth2Form{
				a.OAuth2.GrantType, a.OAuth2.AuthenticationURL, a.OAuth2.ContentType, a.OAuth2.ClientID,
				a.OAuth2.ClientSecret.Reveal(), a.OAuth2.Scope, a.OAuth2.ClientAuthMethod, a.OAuth2.Audience,
			},
			Basic: basicForm{a.Basic.User, a.Basic.Password.Reveal()},
			MTLS:  mtlsForm{a.MTLS.Certificate, a.MTLS.PrivateKey.Reveal(), a.MTLS.CACertificate},
		},
		Asymmetric:    e.Asymmetric,
		RetrySchedule: e.RetrySchedule, Timeout: e.Timeout, RateLimit: e.RateLimit, MaxInFlight: e.MaxInFlight,
		Description: e.Description, Metadata: e.Metadata, OnBacklog: string(e.OnBacklog), Parts: e.Parts,
		Mail: mailForm{
			e.Mail.Host, e.Mail.Port, e.Mail.Security, e.Mail.User, e.Mail.Password.Reveal(), e.Mail.From, e.Mail.FromName, e.Mail.ReplyTo,
		},
		CreatedAt: millis(e.CreatedAt), UpdatedAt: millis(e.UpdatedAt),
	}
	for _, s := range e.SigningSecrets {
		f.SigningSecrets = append(f.SigningSecrets, signingForm{s.Secret.Reveal(), millis(s.ExpiresAt)})
	}
	return json.Marshal(f)
}

func decodeEndpoint(b []byte, e *subscription.Endpoint) error {
	var f endpointForm
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("decode an endpoint: %w", err)
	}
	a := f.Auth
	e.Version, e.Name, e.URL, e.Feed = f.Version, f.Name, f.URL, event.Feed(f.Feed)
	e.UpdateType, e.EventTypes = subscription.UpdateType(f.UpdateType), f.EventTypes
	e.Status, e.StatusReason, e.StatusSince = subscription.Status(f.Status), f.StatusReason, moment(f.StatusSince)
	e.Auth = subscription.Auth{
		Type:   subscription.AuthType(a.Type),
		APIKey: subscription.APIKey{Location: a.APIKey.Location, Key: a.APIKey.Key, Value: secret.New(a.APIKey.Value)},
		Bearer: subscription.Bearer{
			Token: secret.New(a.Bearer.Token), RefreshToken: secret.New(a.Bearer.RefreshToken), RefreshURL: a.Bearer.RefreshURL,
			ClientID: a.Bearer.ClientID, ClientSecret: secret.New(a.Bearer.ClientSecret),
		},
		OAuth2: subscription.OAuth2{
			GrantType: a.OAuth2.GrantType, AuthenticationURL: a.OAuth2.AuthenticationURL, ContentType: a.OAuth2.ContentType,
			ClientID: a.OAuth2.ClientID, ClientSecret: secret.New(a.OAuth2.ClientSecret), Scope: a.OAuth2.Scope,
			ClientAuthMethod: a.OAuth2.ClientAuthMethod, Audience: a.OAuth2.Audience,
		},
		Basic: subscription.Basic{User: a.Basic.User, Password: secret.New(a.Basic.Password)},
		MTLS:  subscription.MTLS{Certificate: a.MTLS.Certificate, PrivateKey: secret.New(a.MTLS.PrivateKey), CACertificate: a.MTLS.CACertificate},
	}
	e.Asymmetric, e.SigningSecrets = f.Asymmetric, nil
	for _, s := range f.SigningSecrets {
		e.SigningSecrets = append(e.SigningSecrets, subscription.SigningSecret{Secret: secret.New(s.Secret), ExpiresAt: moment(s.ExpiresAt)})
	}
	e.RetrySchedule, e.Timeout, e.RateLimit, e.MaxInFlight = f.RetrySchedule, f.Timeout, f.RateLimit, f.MaxInFlight
	e.Description, e.Metadata, e.OnBacklog, e.Parts = f.Description, f.Metadata, subscription.OnBacklog(f.OnBacklog), f.Parts
	e.Mail = subscription.Mail{
		Host: f.Mail.Host, Port: f.Mail.Port, Security: f.Mail.Security, User: f.Mail.User, Password: secret.New(f.Mail.Password),
		From: f.Mail.From, FromName: f.Mail.FromName, ReplyTo: f.Mail.ReplyTo,
	}
	e.CreatedAt, e.UpdatedAt = moment(f.CreatedAt), moment(f.UpdatedAt)
	return nil
}

// endpointFields are what scanEndpoint reads; p is the endpoint, a its
// application.
const endpointFields = `p.endpoint_id, a.app_id, p.style, p.sealed`

const fromEndpoints = ` FROM endpoint p JOIN application a ON a.app = p.app`

// scanEndpoint reads endpointFields and opens the configuration, without the
// application's key pairs. The endpoint must not be deleted.
func (r *reader) scanEndpoint(scan func(...any) error) (subscription.Endpoint, error) {
	var e subscription.Endpoint
	var id, style string
	var sealed []byte
	if err := scan(&id, &e.Application, &style, &sealed); err != nil {
		return subscription.Endpoint{}, err
	}
	e.ID, e.Style = subscription.ID(id), subscription.Style(style)
	content, err := r.s.keys.Open(sealed, endpointPlace(id))
	if err == nil {
		err = decodeEndpoint(content, &e)
	}
	if err != nil {
		return subscription.Endpoint{}, fmt.Errorf("open %s: %w", id, err)
	}
	return e, nil
}

// endpoint returns an endpoint that is not deleted, whosever it is;
// fault.NotFound.
func (r *reader) endpoint(id delivery.Endpoint) (subscription.Endpoint, error) {
	e, err := r.scanEndpoint(func(dst ...any) error {
		return r.get(dst, "SELECT "+endpointFields+fromEndpoints+" WHERE p.endpoint_id = ? AND p.deleted_at IS NULL", string(id.Whole()))
	})
	if err != nil {
		return subscription.Endpoint{}, err
	}
	return r.withKeys(e)
}

// Endpoint implements store.Tx.
func (t *tx) Endpoint(app access.ID, style subscription.Style, id subscription.ID) (subscription.Endpoint, error) {
	return t.ownEndpoint(app, style, id)
}

// Endpoint implements store.Reader.
func (s *Store) Endpoint(ctx context.Context, app access.ID, style subscription.Style, id subscription.ID) (e subscription.Endpoint, err error) {
	err = s.read(ctx, func(r *reader) error {
		e, err = r.ownEndpoint(app, style, id)
		return err
	})
	return e, err
}

func (r *reader) ownEndpoint(app access.ID, style subscription.Style, id subscription.ID) (subscription.Endpoint, error) {
	if style == subscription.MailSender && id == "" {
		key, err := r.app(app)
		if err != nil {
			return subscription.Endpoint{}, err
		}
		err = r.get([]any{(*string)(&id)}, "SELECT endpoint_id FROM endpoint WHERE app = ? AND style = ? AND deleted_at IS NULL", key, string(style))
		if err != nil {
			return subscription.Endpoint{}, err
		}
	}
	e, err := r.endpoint(delivery.Endpoint(id))
	if err == nil && (e.Application != string(app) || e.Style != style) {
		return subscription.Endpoint{}, notFound()
	}
	return e, err
}

// Endpoints implements store.Reader.
func (s *Store) Endpoints(ctx context.Context, app access.ID, q store.EndpointQuery) (list []subscription.Endpoint, total int, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, total = nil, 0
		key, err := r.app(app)
		if err != nil {
			return err
		}
		where, args := " WHERE p.app = ? AND p.deleted_at IS NULL", []any{key}
		if q.Style != "" {
			where, args = where+" AND p.style = ?", append(args, string(q.Style))
		}
		switch q.Status {
		case "":
		case string(subscription.Paused):
			where, args = where+" AND p.status IN (?, ?)", append(args, string(subscription.Paused), string(subscription.Suspended))
		default:
			where, args = where+" AND p.status = ?", append(args, q.Status)
		}
		if q.UpdateType != "" {
			where, args = where+" AND p.update_type = ?", append(args, string(q.UpdateType))
		}
		if err := r.get([]any{&total}, "SELECT COUNT(*) FROM endpoint p"+where, args...); err != nil {
			return err
		}
		asymmetric := false
		err = r.each(func(rows db.Rows) error {
			e, err := r.scanEndpoint(rows.Scan)
			list, asymmetric = append(list, e), asymmetric || e.Asymmetric
			return err
		}, "SELECT "+endpointFields+fromEndpoints+where+" ORDER BY p.ep LIMIT ? OFFSET ?", append(args, pageLimit(q.Limit), max(q.Offset, 0))...)
		if err != nil || !asymmetric {
			return err
		}
		keys, err := r.signingKeys(app)
		for i := range list {
			if list[i].Asymmetric {
				list[i].SigningKeys = slices.Clone(keys)
			}
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return list, total, nil
}

// CountEndpoints implements store.Tx.
func (t *tx) CountEndpoints(app access.ID) (n int, err error) {
	key, err := t.app(app)
	if err != nil {
		return 0, err
	}
	err = t.get([]any{&n}, "SELECT COUNT(*) FROM endpoint WHERE app = ? AND deleted_at IS NULL", key)
	return n, err
}

// InterceptorExists implements store.Tx.
func (t *tx) InterceptorExists(app access.ID, url string, feed event.Feed, except subscription.ID) (bool, error) {
	key, err := t.app(app)
	if err != nil {
		return false, err
	}
	var yes bool
	err = t.get([]any{&yes}, `SELECT EXISTS (SELECT 1 FROM endpoint WHERE app = ? AND style = ? AND deleted_at IS NULL
		AND url_hash = ? AND feed = ? AND endpoint_id <> ?)`,
		key, string(subscription.Interceptor), t.s.urlHash(app, url), string(feed), string(except))
	return yes, err
}

func (s *Store) urlHash(app access.ID, url string) []byte {
	return s.index.Hash(secret.Place{What: "endpoint", Owner: string(app), Field: "url"}, url)
}

// PutEndpoint implements store.Tx. An endpoint that is deleted, or another
// application's, is fault.NotFound.
func (t *tx) PutEndpoint(e subscription.Endpoint, shown delivery.Shown) error {
	app := access.ID(e.Application)
	key, err := t.app(app)
	if err != nil {
		return err
	}
	var last int64
	if err := t.get([]any{&last}, "SELECT last_seq FROM application WHERE app = ?", key); err != nil {
		return err
	}
	n, err := t.saveEndpoint(e)
	if err != nil {
		return err
	}
	filter, err := encodeFilter(e.Filter())
	if err != nil {
		return err
	}
	inForce := ""
	if n == 0 {
		if _, err := t.ep(delivery.Endpoint(e.ID)); !isNotFound(err) {
			if err != nil {
				return err
			}
			return notFound()
		}
		sealed, err := t.sealEndpoint(e)
		if err != nil {
			return err
		}
		t.keyed = true
		_, err = t.exec(`INSERT INTO endpoint
			(app, endpoint_id, style, status, update_type, feed, url_hash, version, sealed, start_seq, cursor_seq)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			key, string(e.ID), string(e.Style), string(e.Status), string(e.UpdateType), string(e.Feed),
			t.s.urlHash(app, e.URL), e.Version, sealed, last, last)
		if err != nil {
			return err
		}
	}
	id, err := t.ep(delivery.Endpoint(e.ID))
	if err != nil {
		return err
	}
	if n > 0 {
		err := t.get([]any{&inForce}, "SELECT filter FROM filter WHERE ep = ? ORDER BY from_seq DESC LIMIT 1", id.ep)
		if err != nil {
			return err
		}
	}
	if n == 0 {
		if err := t.putParts(id.ep, e.Parts, last); err != nil {
			return err
		}
	}
	if filter != inForce {
		// A second version at the same place replaces the first: nothing was
		// logged under it.
		_, err := t.exec("INSERT INTO filter (ep, from_seq, filter) VALUES (?, ?, ?) ON CONFLICT (ep, from_seq) DO UPDATE SET filter = excluded.filter", id.ep, last, filter)
		if err != nil {
			return err
		}
	}
	if err := t.useFeeds(key, e); err != nil {
		return err
	}
	return t.putShown(id.ep, e, shown)
}

// saveEndpoint writes the configuration and the status of an endpoint that
// exists, and returns how many there are: 0 or 1.
func (t *tx) saveEndpoint(e subscription.Endpoint) (int64, error) {
	app := access.ID(e.Application)
	key, err := t.app(app)
	if err != nil {
		return 0, err
	}
	sealed, err := t.sealEndpoint(e)
	if err != nil {
		return 0, err
	}
	t.change.endpoints = append(t.change.endpoints, delivery.Parts(delivery.Endpoint(e.ID), e.Parts)...)
	return t.exec(`UPDATE endpoint SET status = ?, update_type = ?, feed = ?, url_hash = ?, version = ?, sealed = ?
		WHERE endpoint_id = ? AND app = ? AND deleted_at IS NULL`,
		string(e.Status), string(e.UpdateType), string(e.Feed), t.s.urlHash(app, e.URL), e.Version, sealed, string(e.ID), key)
}

func (t *tx) sealEndpoint(e subscription.Endpoint) ([]byte, error) {
	content, err := encodeEndpoint(e)
	if err != nil {
		return nil, fmt.Errorf("encode an endpoint: %w", err)
	}
	return t.s.keys.Seal(content, endpointPlace(string(e.ID))), nil
}

// DeleteEndpoint implements store.Tx.
func (t *tx) DeleteEndpoint(app access.ID, id subscription.ID, now time.Time) error {
	e := delivery.Endpoint(id)
	key, err := t.ownedEp(app, e)
	if err != nil {
		return err
	}
	if _, err := t.endpoint(e); err != nil { // fault.NotFound: deleted before
		return err
	}
	if err := t.cancelWaiting(key, now); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM kept_token WHERE ep = ?", key.ep); err != nil {
		return err
	}
	t.change.endpoints = append(t.change.endpoints, e)
	if err := t.breakLeases(key.ep); err != nil {
		return err
	}
	_, err = t.exec("UPDATE endpoint SET deleted_at = ?, sealed = x'', url_hash = x'', hold_exchange = NULL WHERE ep = ?",
		millis(now), key.ep)
	if err != nil {
		return err
	}
	return t.endErasures(key.app)
}

// filterForm is how a filter is kept.
type filterForm struct {
	Feeds []event.Feed `json:"feeds,omitzero"`
	Types []event.Type `json:"types"`
}

func encodeFilter(f subscription.Filter) (string, error) {
	b, err := json.Marshal(filterForm(f))
	if err != nil {
		return "", fmt.Errorf("encode a filter: %w", err)
	}
	return string(b), nil
}

func decodeFilter(s string) (subscription.Filter, error) {
	var f filterForm
	if err := json.Unmarshal([]byte(s), &f); err != nil {
		return subscription.Filter{}, fmt.Errorf("decode a filter: %w", err)
	}
	return subscription.Filter(f), nil
}

// shownForm is how delivery.Shown is kept: sealed, because a path or a header's
// name may be telling although no secret is in it.
type shownForm struct {
	URL     string      `json:"url"`
	Headers [][2]string `json:"headers,omitzero"`
}

func shownPlace(id delivery.Endpoint, version int64) secret.Place {
	return secret.Place{What: "shown", Owner: string(id), Field: fmt.Sprint(version)}
}

func (t *tx) putShown(ep int64, e subscription.Endpoint, shown delivery.Shown) error {
	f := shownForm{URL: shown.URL}
	for _, h := range shown.Headers {
		f.Headers = append(f.Headers, [2]string{h.Name, h.Value})
	}
	content, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode what is shown: %w", err)
	}
	_, err = t.exec("INSERT INTO shown (ep, version, shown) VALUES (?, ?, ?) ON CONFLICT (ep, version) DO UPDATE SET shown = excluded.shown",
		ep, e.Version, t.s.keys.Seal(content, shownPlace(delivery.Endpoint(e.ID), e.Version)))
	return err
}

// shown returns how requests of one version of an endpoint's configuration
// look; fault.NotFound.
func (r *reader) shown(ep int64, id delivery.Endpoint, version int64) (delivery.Shown, error) {
	var sealed []byte
	err := r.get([]any{&sealed}, "SELECT shown FROM shown WHERE ep = ? AND version = ?", ep, version)
	if err != nil {
		return delivery.Shown{}, err
	}
	content, err := r.s.keys.Open(sealed, shownPlace(id, version))
	if err != nil {
		return delivery.Shown{}, fmt.Errorf("open what is shown of %s: %w", id, err)
	}
	var f shownForm
	if err := json.Unmarshal(content, &f); err != nil {
		return delivery.Shown{}, fmt.Errorf("decode what is shown of %s: %w", id, err)
	}
	out := delivery.Shown{URL: f.URL}
	for _, h := range f.Headers {
		out.Headers = append(out.Headers, delivery.Header{Name: h[0], Value: h[1]})
	}
	return out, nil
}
