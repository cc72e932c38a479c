package subscription

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

// The limits of a subscription's fields; lengths are in Unicode code points.
// Source: CONTRACT 5 and DOMAIN 7.9; those marked ours are in neither.
const (
	MaxName           = 50
	MaxURL            = 2000
	MaxTimeoutSeconds = 60
	MaxRateLimit      = 10_000
	MaxInFlightLimit  = 1024
	MaxParts          = 32 // delivery.MaxParts
	MaxDescription    = 500
	MaxMetadata       = 20
	MaxMetadataKey    = 40  // ours
	MaxMetadataValue  = 500 // ours
	MaxRetries        = 20

	MinRetryWait = 10 * time.Millisecond // ours: 0 would be a busy loop
	MaxRetryWait = 7 * 24 * time.Hour    // ours: a typing error, not a wish
)

// The codes of the faults in an owner's request.
const (
	CodeRequired         = "required"
	CodeTooShort         = "too_short"
	CodeTooLong          = "too_long"
	CodeTooMany          = "too_many"
	CodeOutOfRange       = "out_of_range"
	CodeInvalidValue     = "invalid_value"
	CodeInvalidCharacter = "invalid_character"
	CodeInvalidURL       = "invalid_url"
	CodeInvalidDuration  = "invalid_duration"
	CodeInvalidHeader    = "invalid_header_name"
	CodeReservedHeader   = "reserved_header"
	CodeKeyInURL         = "key_in_url"
	CodeDuplicate        = "duplicate"
	CodeForeignMember    = "foreign_member"
	CodeMustBeEmpty      = "must_be_empty"
	CodeSecretRequired   = "secret_required"
	CodePartsFixed       = "parts_fixed"
)

// URLCheck tells whether an address may be sent to, as far as that can be told
// before it is dialled (RULES E1-E6). Its error names the reason: the code and
// the sentence of a *fault.Error are taken over. It is never given an empty
// address or one of more than MaxURL characters.
type URLCheck func(raw string) error

// SecretInput is what a request says of one secret. The zero value says
// nothing: the member is absent.
type SecretInput struct {
	Given bool         // Value is the new secret, even when it is empty
	Keep  bool         // the endpoint's present secret stays
	Value secret.Value // when Given
}

// Draft is everything that an owner may write on a subscription, read from a
// request but not checked. Nil pointers, nil slices and empty texts say
// nothing; the default applies.
type Draft struct {
	Name           string
	URL            string
	Status         string
	UpdateType     string
	EventTypes     []string // dotted names, or the source's
	Auth           *AuthDraft
	RetrySchedule  []string // durations such as "5s" or "1h30m"
	TimeoutSeconds *int64
	RateLimit      *int64
	MaxInFlight    *int64
	Description    string
	Metadata       map[string]string
	OnBacklog      string
	Parts          *int64
	Signatures     []string
	Discard        bool
}

// AuthDraft is the member "authentication" of a request.
type AuthDraft struct {
	Type         *string
	APIKey       *APIKeyDraft // apiKeyAuth
	Token        SecretInput
	RefreshToken SecretInput
	RefreshURL   *string
	ClientID     *string
	ClientSecret SecretInput
	OAuth2       *OAuth2Draft // oauth2Auth
	Basic        *BasicDraft  // basicAuth
	MTLS         *MTLSDraft   // beside any type
}

// APIKeyDraft is the member "apiKeyAuth".
type APIKeyDraft struct {
	Location *string
	Key      *string
	Value    SecretInput
}

// OAuth2Draft is the member "oauth2Auth".
type OAuth2Draft struct {
	GrantType         *string
	AuthenticationURL *string
	ContentType       *string
	ClientID          *string
	ClientSecret      SecretInput
	Scope             *string
	ClientAuthMethod  *string
	Audience          *string
}

// BasicDraft is the member "basicAuth".
type BasicDraft struct {
	User     *string
	Password SecretInput
}

// Apply checks the draft and returns cur with all editable fields replaced by
// it; cur is unchanged. What an owner does not write (ID, times, version,
// signing secrets, the reason of the status) is cur's. The status is what the
// request asks for, active or paused, whatever cur's is.
//
// Every faulty field is returned, its path a JSON Pointer into the request;
// when there is one the endpoint must not be used. Without creating, the
// authentication is required, and an address that is cur's already is not
// checked again.
//
// A secret that is kept while the scheme, host or port of url, refreshUrl or
// authenticationUrl changes is "secret_required": whoever may edit an endpoint
// could else have its secrets sent to himself.
//
// Source: CONTRACT 5; DOMAIN 7.9; RULES E1-E3, E9.
func (d Draft) Apply(cur Endpoint, creating bool, check URLCheck) (Endpoint, []fault.Field) {
	v := validator{check: check}
	e := cur
	e.Style, e.Feed = Subscription, ""

	e.Name = d.Name
	v.length("/name", d.Name, 0, MaxName)
	v.noControl("/name", d.Name)
	e.URL = v.url("/url", &d.URL, cur.URL)

	e.Status = Active
	if d.Status != "" {
		e.Status = Status(d.Status)
		v.oneOf("/status", d.Status, string(Active), string(Paused))
	}
	if d.Discard && e.Status != Paused {
		v.add("/discard", CodeInvalidValue, "Only a request that leaves the subscription paused can discard what waits.")
	}

	e.UpdateType = EffectivePermission
	typed := true
	if d.UpdateType != "" {
		e.UpdateType = UpdateType(d.UpdateType)
		typed = v.oneOf("/updateType", d.UpdateType, string(CitizenEmails), string(ConsentReceipts), string(EffectivePermission))
	}
	e.EventTypes = nil
	if d.EventTypes != nil && typed {
		e.EventTypes = v.eventTypes(d.EventTypes, e.UpdateType)
	}

	switch {
	case d.Auth != nil:
		e.Auth = v.auth(*d.Auth, cur, e.URL)
	case creating:
		e.Auth = Auth{Type: AuthNone}
	default:
		v.add("/authentication", CodeRequired, "This member is required; its authType may be none.")
	}

	e.RetrySchedule = v.schedule(d.RetrySchedule)
	e.Timeout = time.Duration(v.integer("/timeoutSeconds", d.TimeoutSeconds, MaxTimeoutSeconds)) * time.Second
	e.RateLimit = int(v.integer("/rateLimit", d.RateLimit, MaxRateLimit))
	e.MaxInFlight = int(v.integer("/maxInFlight", d.MaxInFlight, MaxInFlightLimit))

	e.Description = d.Description
	v.length("/description", d.Description, 0, MaxDescription)
	v.noControlButLines("/description", d.Description)
	e.Metadata = v.metadata(d.Metadata)

	e.OnBacklog = BacklogAll
	if d.OnBacklog != "" {
		e.OnBacklog = OnBacklog(d.OnBacklog)
		if v.oneOf("/onBacklog", d.OnBacklog, string(BacklogAll), string(BacklogLatest)) &&
			e.OnBacklog == BacklogLatest && typed && e.UpdateType != EffectivePermission {
			v.add("/onBacklog", CodeInvalidValue, "The value latest needs the updateType effective-permission, whose every update holds the full state.")
		}
	}
	if parts := int(v.integer("/parts", d.Parts, MaxParts)); creating {
		e.Parts = parts
		if parts == 1 {
			e.Parts = 0
		}
	} else if parts > 0 && parts <= MaxParts && parts != max(1, cur.Parts) {
		v.add("/parts", CodePartsFixed, "The number of parts never changes, for the order of deliveries hangs on it; make another subscription with as many as you need, and delete this one.")
	}
	if e.MaxInFlight > 0 && e.MaxInFlight < e.Parts {
		v.add("/maxInFlight", CodeOutOfRange, "Each part needs one request on the wire at least; allow as many as there are parts.")
	}
	if e.Asymmetric = v.signatures(d.Signatures); !e.Asymmetric {
		e.SigningKeys = nil
	}
	return e, v.fields
}

// InterceptorDraft is everything that an owner may write on an interceptor,
// read from a request but not checked.
type InterceptorDraft struct {
	Endpoint           string
	IsAuthenticated    *bool
	AuthenticationType string
	User               string
	Password           SecretInput
	Type               string
}

// Apply checks the draft and returns cur with all editable fields replaced by
// it, as Draft.Apply does. The status is active: whoever writes an interceptor
// wants it to run.
//
// Source: CONTRACT 3; DOMAIN 1.2; RULES E1-E3, E9.
func (d InterceptorDraft) Apply(cur Endpoint, check URLCheck) (Endpoint, []fault.Field) {
	v := validator{check: check}
	e := cur
	e.Style, e.Status, e.OnBacklog = Interceptor, Active, BacklogAll
	e.Asymmetric, e.SigningKeys = false, nil
	e.URL = v.url("/endpoint", &d.Endpoint, cur.URL)
	e.Auth = Auth{Type: AuthNone}
	switch {
	case d.IsAuthenticated == nil:
		v.add("/isAuthenticated", CodeRequired, "This member is required: true or false.")
	case *d.IsAuthenticated:
		e.Auth.Type = AuthBasic
		switch {
		case d.AuthenticationType == "":
			v.add("/authenticationType", CodeRequired, "With isAuthenticated the authenticationType BASIC is required.")
		// The length keeps out letters that only fold to one of these, such as U+017F.
		case len(d.AuthenticationType) != len("BASIC") || !strings.EqualFold(d.AuthenticationType, "BASIC"):
			v.add("/authenticationType", CodeInvalidValue, "The authenticationType must be BASIC.")
		}
		var user *string
		if d.User != "" {
			user = &d.User
		}
		e.Auth.Basic.User = v.user("/user", user)
		e.Auth.Basic.Password = v.secret("/password", d.Password, secret.Value{}, true, password)
	default:
		const msg = "Without isAuthenticated this member must be empty or absent."
		if d.AuthenticationType != "" {
			v.add("/authenticationType", CodeMustBeEmpty, msg)
		}
		if d.User != "" {
			v.add("/user", CodeMustBeEmpty, msg)
		}
		if d.Password.Value.IsSet() {
			v.add("/password", CodeMustBeEmpty, msg)
		}
	}
	switch d.Type {
	case "DATA":
		e.Feed = event.LifecycleData
	case "PAYMENT":
		e.Feed = event.LifecyclePayment
	case "":
		v.add("/type", CodeRequired, "This member is required: DATA or PAYMENT.")
	default:
		v.oneOf("/type", d.Type, "DATA", "PAYMENT")
	}
	return e, v.fields
}

// validator notes faults; its methods return the checked value.
type validator struct {
	check  URLCheck
	moved  bool // an address changed its scheme, host or port
	fields []fault.Field
}

func (v *validator) add(path, code, msg string) {
	v.fields = append(v.fields, fault.Field{Path: path, Code: code, Msg: msg})
}

func (v *validator) required(path string) { v.add(path, CodeRequired, "This member is required.") }

func (v *validator) foreign(path string, present bool, msg string) {
	if present {
		v.add(path, CodeForeignMember, msg)
	}
}

// length bounds a text in code points, both bounds inside.
func (v *validator) length(path, s string, least, most int) bool {
	switch n := utf8.RuneCountInString(s); {
	case n < least:
		v.add(path, CodeTooShort, "The text must not be empty.")
	case n > most:
		v.add(path, CodeTooLong, fmt.Sprintf("The text must have at most %d characters.", most))
	default:
		return true
	}
	return false
}

func (v *validator) noControl(path, s string) bool {
	return v.characters(path, s, func(r rune) bool { return !unicode.IsControl(r) }, "The text must not hold control characters.")
}

func (v *validator) noControlButLines(path, s string) {
	v.characters(path, s, func(r rune) bool { return !unicode.IsControl(r) || strings.ContainsRune("\t\n\r", r) },
		"The text must not hold control characters other than line ends and tabs.")
}

// characters demands valid UTF-8 of which every character is ok.
func (v *validator) characters(path, s string, ok func(rune) bool, msg string) bool {
	for _, r := range s {
		if !ok(r) {
			v.add(path, CodeInvalidCharacter, msg)
			return false
		}
	}
	if !utf8.ValidString(s) {
		v.add(path, CodeInvalidCharacter, "The text must be valid UTF-8.")
		return false
	}
	return true
}

func (v *validator) oneOf(path, s string, values ...string) bool {
	if slices.Contains(values, s) {
		return true
	}
	v.add(path, CodeInvalidValue, "The value must be one of "+strings.Join(values, ", ")+".")
	return false
}

// integer returns the value of a member from 1 to most; 0 when it is absent.
func (v *validator) integer(path string, n *int64, most int64) int64 {
	if n == nil {
		return 0
	}
	if *n < 1 || *n > most {
		v.add(path, CodeOutOfRange, fmt.Sprintf("The value must be a whole number from 1 to %d.", most))
	}
	return *n
}

// url returns a required address. former is the endpoint's present one, empty
// when it has none.
func (v *validator) url(path string, raw *string, former string) string {
	switch {
	case raw == nil || *raw == "":
		v.required(path)
		return ""
	case *raw == former:
		return former
	case !v.length(path, *raw, 1, MaxURL):
		return ""
	}
	if err := v.check(*raw); err != nil {
		f := asFault(err, CodeInvalidURL, "The address cannot be used.")
		v.add(path, f.Code, f.Msg)
		return ""
	}
	if former != "" && origin(former) != origin(*raw) {
		v.moved = true
	}
	return *raw
}

// asFault returns the fault in a check's error, or one of the given code and
// sentence when there is none.
func asFault(err error, code, msg string) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fault.New(fault.Invalid, code, msg)
}

// origin returns an address's scheme, host and port in one spelling, or the
// address itself when it has none.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return raw
	}
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[scheme]
	}
	return scheme + "://" + strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") + ":" + port
}

func (v *validator) eventTypes(names []string, u UpdateType) []event.Type {
	if len(names) == 0 {
		v.add("/eventTypes", CodeTooShort, "The list must not be empty; leave it out for the feed of the updateType.")
		return nil
	}
	out := make([]event.Type, 0, len(names))
	for i, name := range names {
		path := "/eventTypes/" + strconv.Itoa(i)
		t := event.Type("")
		if isASCII(name) { // other letters may fold to an ASCII one
			t = event.Parse(name)
		}
		switch {
		case !t.IsLifecycle() && t != u.Own() && t != event.WebhookStatusChanged:
			v.add(path, CodeInvalidValue, fmt.Sprintf("With the updateType %s this may be %s, a lifecycle event or webhook.status_changed.", u, u.Own()))
		case slices.Contains(out, t):
			v.add(path, CodeDuplicate, "The list names this event type twice.")
		default:
			out = append(out, t)
		}
	}
	return out
}

// The kinds of signature that a delivery carries. Source: Standard Webhooks
// 1.0.0.
const (
	SignatureV1  = "v1"  // HMAC-SHA256 under the endpoint's secret; always there
	SignatureV1a = "v1a" // Ed25519 under the application's key; on request
)

// signatures tells whether a list asks for v1a beside v1. Nil asks for v1.
func (v *validator) signatures(kinds []string) (asymmetric bool) {
	if kinds == nil {
		return false
	}
	good := true
	for i, k := range kinds {
		path := "/signatures/" + strconv.Itoa(i)
		if slices.Contains(kinds[:i], k) {
			v.add(path, CodeDuplicate, "The list names this signature twice.")
			good = false
			continue
		}
		good = v.oneOf(path, k, SignatureV1, SignatureV1a) && good
	}
	if good && !slices.Contains(kinds, SignatureV1) {
		v.add("/signatures", CodeRequired, "The list must name v1, which every delivery carries.")
	}
	return slices.Contains(kinds, SignatureV1a)
}

// Signatures returns the kinds of signature that the endpoint's deliveries
// carry.
func (e Endpoint) Signatures() []string {
	if e.Asymmetric {
		return []string{SignatureV1, SignatureV1a}
	}
	return []string{SignatureV1}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

func (v *validator) schedule(waits []string) []time.Duration {
	if waits == nil {
		return nil
	}
	switch n := len(waits); {
	case n == 0:
		v.add("/retrySchedule", CodeTooShort, "The schedule must have at least one wait; leave it out for the server's.")
	case n > MaxRetries:
		v.add("/retrySchedule", CodeTooMany, fmt.Sprintf("The schedule may have at most %d waits.", MaxRetries))
		return nil
	}
	out := make([]time.Duration, 0, len(waits))
	for i, w := range waits {
		path := "/retrySchedule/" + strconv.Itoa(i)
		d, err := time.ParseDuration(w)
		switch {
		case err != nil:
			v.add(path, CodeInvalidDuration, `The wait must be a duration such as "5s", "10m" or "1h30m".`)
		case d < MinRetryWait || d > MaxRetryWait:
			v.add(path, CodeOutOfRange, "The wait must be from 10ms to 168h.")
		default:
			out = append(out, d.Truncate(time.Millisecond))
		}
	}
	return out
}

func (v *validator) metadata(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	if len(m) > MaxMetadata {
		v.add("/metadata", CodeTooMany, fmt.Sprintf("There may be at most %d members.", MaxMetadata))
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		path := "/metadata/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k)
		if v.length(path, k, 1, MaxMetadataKey) && v.noControl(path, k) && v.length(path, m[k], 0, MaxMetadataValue) {
			v.noControlButLines(path, m[k])
		}
	}
	return maps.Clone(m)
}

// FormatWait renders a wait of a retry schedule in the largest unit that
// divides it: "5s", "30m", "2h", "1500ms".
func FormatWait(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
