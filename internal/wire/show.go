package wire

import (
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Hidden is a secret as a read shows it: null. A nil *Hidden with omitempty
// shows nothing.
type Hidden struct{}

// MarshalJSON returns null.
func (Hidden) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

func hide(is bool) *Hidden {
	if is {
		return &Hidden{}
	}
	return nil
}

// SubscriptionBody is a subscription as a read shows it.
type SubscriptionBody struct {
	SubscriptionID string             `json:"subscriptionId"`
	ApplicationID  string             `json:"applicationId"`
	Name           string             `json:"name"`
	URL            string             `json:"url"`
	Status         string             `json:"status"` // active or paused
	StatusReason   string             `json:"statusReason,omitempty"`
	UpdateType     string             `json:"updateType"`
	EventTypes     []string           `json:"eventTypes,omitempty"`
	Authentication AuthenticationBody `json:"authentication"`
	RetrySchedule  []string           `json:"retrySchedule,omitempty"`
	TimeoutSeconds int                `json:"timeoutSeconds,omitempty"`
	RateLimit      int                `json:"rateLimit,omitempty"`
	MaxInFlight    int                `json:"maxInFlight,omitempty"`
	Parts          int                `json:"parts,omitempty"` // absent: one
	Description    string             `json:"description,omitempty"`
	Metadata       map[string]string  `json:"metadata,omitempty"`
	OnBacklog      string             `json:"onBacklog"`
	Signatures     []string           `json:"signatures"`
	Backlog        BacklogBody        `json:"backlog"`
	Discarded      int                `json:"discarded"` // since it was last paused by its owner
	Lost           *LossBody          `json:"lost,omitempty"`
	Circuit        CircuitBody        `json:"circuit"`
	Authorisation  *AuthorisationBody `json:"authorisation,omitempty"` // for managed tokens
	CreatedAt      string             `json:"createdAt"`
	UpdatedAt      string             `json:"updatedAt"`
	SigningSecret  string             `json:"signingSecret,omitempty"` // in the answer to its creation only
}

// AuthenticationBody is an authentication as a read shows it: the members of
// its authType, each secret null beside "<member>Set": true.
type AuthenticationBody struct {
	AuthType        string      `json:"authType"`
	APIKeyAuth      *APIKeyBody `json:"apiKeyAuth,omitempty"`
	Token           *Hidden     `json:"token,omitempty"`
	TokenSet        bool        `json:"tokenSet,omitempty"`
	RefreshToken    *Hidden     `json:"refreshToken,omitempty"`
	RefreshTokenSet bool        `json:"refreshTokenSet,omitempty"`
	RefreshURL      string      `json:"refreshUrl,omitempty"`
	ClientID        string      `json:"clientId,omitempty"`
	ClientSecret    *Hidden     `json:"clientSecret,omitempty"`
	ClientSecretSet bool        `json:"clientSecretSet,omitempty"`
	OAuth2Auth      *OAuth2Body `json:"oauth2Auth,omitempty"`
	BasicAuth       *BasicBody  `json:"basicAuth,omitempty"`
	MTLS            *MTLSBody   `json:"mtls,omitempty"` // beside any authType
}

// APIKeyBody is the member apiKeyAuth of a read.
type APIKeyBody struct {
	Location string `json:"location"`
	Key      string `json:"key"`
	Value    Hidden `json:"value"`
	ValueSet bool   `json:"valueSet"`
}

// OAuth2Body is the member oauth2Auth of a read.
type OAuth2Body struct {
	GrantType         string `json:"grantType"`
	AuthenticationURL string `json:"authenticationUrl"`
	ContentType       string `json:"contentType"`
	ClientID          string `json:"clientId"`
	ClientSecret      Hidden `json:"clientSecret"`
	ClientSecretSet   bool   `json:"clientSecretSet"`
	Scope             string `json:"scope,omitempty"`
	ClientAuthMethod  string `json:"clientAuthMethod"`
	Audience          string `json:"audience,omitempty"`
}

// BasicBody is the member basicAuth of a read.
type BasicBody struct {
	User        string `json:"user"`
	Password    Hidden `json:"password"`
	PasswordSet bool   `json:"passwordSet"`
}

// MTLSBody is the member mtls of a read.
type MTLSBody struct {
	Certificate   string  `json:"certificate,omitempty"`
	PrivateKey    *Hidden `json:"privateKey,omitempty"`
	PrivateKeySet bool    `json:"privateKeySet,omitempty"`
	CACertificate string  `json:"caCertificate,omitempty"`
}

// BacklogBody says what waits for an endpoint.
type BacklogBody struct {
	Count    int    `json:"count"`
	AtLeast  bool   `json:"atLeast,omitempty"` // the count is a lower bound
	OldestAt string `json:"oldestAt,omitempty"`
}

// LossBody says what an endpoint was never told because retention took it first,
// by the operator's word.
type LossBody struct {
	Count        int    `json:"count"`
	RecordedUpto string `json:"recordedUpto"` // when the last of them was recorded
	At           string `json:"at"`           // when the last of them were taken
}

// CircuitBody is an endpoint's breaker. Open, nothing new is sent until a
// delivery that was tried before succeeds.
type CircuitBody struct {
	State    string `json:"state"` // closed or open
	Since    string `json:"since,omitempty"`
	Failures int    `json:"failures"` // in a row
	Reason   string `json:"reason,omitempty"`
}

// AuthorisationBody tells how a token is that we get and renew. Unless its
// State is authorised nothing is sent, and what waits is held. Source:
// CONTRACT 7 and 9.
type AuthorisationBody struct {
	State  string `json:"state"` // authorised, held or needs_reauthorisation
	Since  string `json:"since"`
	Reason string `json:"reason,omitempty"`
	NextAt string `json:"nextAt,omitempty"` // of the next try; absent: none is planned
	// LastExchange is the request for a token that failed last.
	LastExchange *ExchangeBody `json:"lastExchange,omitempty"`
}

// InterceptorBody is an interceptor as a read shows it; the password never is.
type InterceptorBody struct {
	ID                 string      `json:"id"`
	Endpoint           string      `json:"endpoint"`
	IsAuthenticated    bool        `json:"isAuthenticated"`
	AuthenticationType string      `json:"authenticationType"`
	User               string      `json:"user"`
	Type               string      `json:"type"` // DATA or PAYMENT
	Status             string      `json:"status"`
	StatusReason       string      `json:"statusReason,omitempty"`
	Backlog            BacklogBody `json:"backlog"`
	Lost               *LossBody   `json:"lost,omitempty"`
	Circuit            CircuitBody `json:"circuit"`
	CreatedAt          string      `json:"createdAt"`
	UpdatedAt          string      `json:"updatedAt"`
	SigningSecret      string      `json:"signingSecret,omitempty"` // in the answer to its registration only
}

// Subscription shows a subscription and how it does. It never shows a secret.
func Subscription(e subscription.Endpoint, h delivery.Health) SubscriptionBody {
	b := SubscriptionBody{
		SubscriptionID: string(e.ID),
		ApplicationID:  e.Application,
		Name:           e.Name,
		URL:            e.URL,
		Status:         shownStatus(e),
		StatusReason:   e.StatusReason,
		UpdateType:     string(e.UpdateType),
		Authentication: authentication(e.Auth),
		TimeoutSeconds: int(e.Timeout / time.Second),
		RateLimit:      e.RateLimit,
		MaxInFlight:    e.MaxInFlight,
		Parts:          e.Parts,
		Description:    e.Description,
		Metadata:       e.Metadata,
		OnBacklog:      string(e.OnBacklog),
		Signatures:     e.Signatures(),
		Backlog:        backlog(h),
		Discarded:      h.Discarded,
		Lost:           lost(h.Lost),
		Circuit:        circuit(h.Breaker),
		Authorisation:  authorisation(e, h.Hold),
		CreatedAt:      event.Format(e.CreatedAt),
		UpdatedAt:      event.Format(e.UpdatedAt),
	}
	for _, t := range e.EventTypes {
		b.EventTypes = append(b.EventTypes, string(t))
	}
	for _, d := range e.RetrySchedule {
		b.RetrySchedule = append(b.RetrySchedule, subscription.FormatWait(d))
	}
	return b
}

// SubscriptionCreated shows a new subscription with its signing secret, this
// once.
func SubscriptionCreated(e subscription.Endpoint) SubscriptionBody {
	b := Subscription(e, delivery.Health{})
	b.SigningSecret = signingSecret(e)
	return b
}

// Interceptor shows an interceptor and how it does. It never shows a secret.
func Interceptor(e subscription.Endpoint, h delivery.Health) InterceptorBody {
	b := InterceptorBody{
		ID:           string(e.ID),
		Endpoint:     e.URL,
		Type:         "DATA",
		Status:       shownStatus(e),
		StatusReason: e.StatusReason,
		Backlog:      backlog(h),
		Lost:         lost(h.Lost),
		Circuit:      circuit(h.Breaker),
		CreatedAt:    event.Format(e.CreatedAt),
		UpdatedAt:    event.Format(e.UpdatedAt),
	}
	if e.Feed == event.LifecyclePayment {
		b.Type = "PAYMENT"
	}
	if e.Auth.Type == subscription.AuthBasic {
		b.IsAuthenticated, b.AuthenticationType, b.User = true, "BASIC", e.Auth.Basic.User
	}
	return b
}

// InterceptorCreated shows a new interceptor with its signing secret, this
// once.
func InterceptorCreated(e subscription.Endpoint) InterceptorBody {
	b := Interceptor(e, delivery.Health{})
	b.SigningSecret = signingSecret(e)
	return b
}

func signingSecret(e subscription.Endpoint) string {
	if len(e.SigningSecrets) == 0 {
		return ""
	}
	return e.SigningSecrets[0].Secret.Reveal()
}

// shownStatus is the status in source B's words: what we suspended shows as
// paused.
func shownStatus(e subscription.Endpoint) string {
	if e.Status == subscription.Suspended {
		return string(subscription.Paused)
	}
	return string(e.Status)
}

func authentication(a subscription.Auth) AuthenticationBody {
	b := AuthenticationBody{AuthType: string(a.Type)}
	switch a.Type {
	case subscription.AuthAPIKey:
		b.APIKeyAuth = &APIKeyBody{Location: a.APIKey.Location, Key: a.APIKey.Key, ValueSet: true}
	case subscription.AuthToken:
		t := a.Bearer
		b.TokenSet, b.RefreshTokenSet, b.ClientSecretSet = t.Token.IsSet(), t.RefreshToken.IsSet(), t.ClientSecret.IsSet()
		b.Token, b.RefreshToken, b.ClientSecret = hide(b.TokenSet), hide(b.RefreshTokenSet), hide(b.ClientSecretSet)
		b.RefreshURL, b.ClientID = t.RefreshURL, t.ClientID
	case subscription.AuthOAuth2:
		o := a.OAuth2
		b.OAuth2Auth = &OAuth2Body{
			GrantType: o.GrantType, AuthenticationURL: o.AuthenticationURL, ContentType: o.ContentType,
			ClientID: o.ClientID, ClientSecretSet: true, Scope: o.Scope, ClientAuthMethod: o.ClientAuthMethod, Audience: o.Audience,
		}
	case subscription.AuthBasic:
		b.BasicAuth = &BasicBody{User: a.Basic.User, PasswordSet: true}
	}
	if m := a.MTLS; m != (subscription.MTLS{}) {
		is := m.PrivateKey.IsSet()
		b.MTLS = &MTLSBody{Certificate: m.Certificate, PrivateKey: hide(is), PrivateKeySet: is, CACertificate: m.CACertificate}
	}
	return b
}

func backlog(h delivery.Health) BacklogBody {
	b := BacklogBody{Count: h.Backlog, AtLeast: h.AtLeast}
	if !h.OldestAt.IsZero() {
		b.OldestAt = event.Format(h.OldestAt)
	}
	return b
}

// lost is nil where nothing was.
func lost(l delivery.Loss) *LossBody {
	if l.Deliveries == 0 {
		return nil
	}
	return &LossBody{Count: l.Deliveries, RecordedUpto: event.Format(l.RecordedUpto), At: event.Format(l.At)}
}

// authorisation is nil for an endpoint whose token its owner manages. Until
// the engine has said how a managed one is, no trouble is known: it counts as
// authorised since the configuration was written.
func authorisation(e subscription.Endpoint, h delivery.Hold) *AuthorisationBody {
	if !e.ManagesToken() {
		return nil
	}
	if h.State == "" {
		return &AuthorisationBody{State: string(delivery.Authorised), Since: event.Format(e.UpdatedAt)}
	}
	return &AuthorisationBody{
		State: string(h.State), Since: event.Format(h.Since), Reason: h.Reason,
		NextAt: when(h.NextAt), LastExchange: Exchange(h.Exchange),
	}
}

func circuit(k delivery.Breaker) CircuitBody {
	b := CircuitBody{State: "closed", Failures: k.Failures, Reason: k.Reason}
	if k.Open {
		b.State, b.Since = "open", event.Format(k.Since)
	}
	return b
}
