package subscription_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

func TestEndpoint_Masked(t *testing.T) {
	t.Parallel()
	s := secret.New("ABC1234")
	key := func(location, name string) subscription.Auth {
		return subscription.Auth{Type: subscription.AuthAPIKey, APIKey: subscription.APIKey{Location: location, Key: name, Value: s}}
	}
	tests := []struct {
		name, url string
		auth      subscription.Auth
		want      string
	}{
		{"none", "https://a/b", subscription.Auth{Type: subscription.AuthNone}, "https://a/b []"},
		{"a header", "https://a/b", key("header", "X-API-Key"), "https://a/b [[X-API-Key ***]]"},
		{"the query", "https://a/b", key("query", "key"), "https://a/b?key=*** [[Cache-Control no-store]]"},
		{"the query beside another", "https://a/b?x=1", key("query", "a b&c"), "https://a/b?x=1&a%20b%26c=*** [[Cache-Control no-store]]"},
		{"the query after a mark alone", "https://a/b?", key("query", "key"), "https://a/b?key=*** [[Cache-Control no-store]]"},
		{"a bearer token", "https://a/b", subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: s}}, "https://a/b [[Authorization Bearer ***]]"},
		{"client credentials", "https://a/b", subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{ClientSecret: s}}, "https://a/b [[Authorization Bearer ***]]"},
		{"basic", "https://a/b", subscription.Auth{Type: subscription.AuthBasic, Basic: subscription.Basic{User: "u", Password: s}}, "https://a/b [[Authorization Basic ***]]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := subscription.Endpoint{URL: tt.url, Auth: tt.auth}
			if got := fmt.Sprint(e.MaskedURL(), " ", e.MaskedHeaders()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEndpoint_Rotate(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	signing := func(e subscription.Endpoint, now time.Time) string {
		var out []string
		for _, s := range e.SigningAt(now) {
			out = append(out, s.Secret.Reveal())
		}
		return strings.Join(out, " ")
	}
	first := subscription.Endpoint{SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("one")}}}
	second := first.Rotate(secret.New("two"), t0)
	third := second.Rotate(secret.New("three"), t0.Add(time.Hour))
	tests := []struct {
		name string
		e    subscription.Endpoint
		at   time.Time
		want string
	}{
		{"before any rotation", first, t0, "one"},
		{"at once both sign", second, t0, "two one"},
		{"a moment before the end both sign", second, t0.Add(24*time.Hour - time.Millisecond), "two one"},
		{"at the end the old one no longer signs", second, t0.Add(24 * time.Hour), "two"},
		{"a second rotation leaves the first one's end", third, t0.Add(24*time.Hour - time.Millisecond), "three two one"},
		{"then only the second's old one is left", third, t0.Add(24 * time.Hour), "three two"},
		{"and in the end the current one", third, t0.Add(25 * time.Hour), "three"},
		{"the endpoint that was rotated is unchanged", first, t0, "one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := signing(tt.e, tt.at); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}

	many := first
	for i := range 50 {
		many = many.Rotate(secret.New(fmt.Sprint("secret", i)), t0)
	}
	if n := len(many.SigningSecrets); n != 10 || many.SigningSecrets[0].Secret.Reveal() != "secret49" {
		t.Errorf("after 50 rotations %d secrets are kept, want the newest 10", n)
	}
	if late := second.Rotate(secret.New("four"), t0.Add(30*time.Hour)); len(late.SigningSecrets) != 2 {
		t.Errorf("an ended secret is kept: %d, want 2", len(late.SigningSecrets))
	}
}

func TestEndpoint_Secrets(t *testing.T) {
	t.Parallel()
	e := subscription.Endpoint{
		Auth: subscription.Auth{
			APIKey: subscription.APIKey{Value: secret.New("a")},
			Bearer: subscription.Bearer{Token: secret.New("b"), RefreshToken: secret.New("c"), ClientSecret: secret.New("d")},
			OAuth2: subscription.OAuth2{ClientSecret: secret.New("e")},
			Basic:  subscription.Basic{Password: secret.New("f")},
			MTLS:   subscription.MTLS{PrivateKey: secret.New("x")},
		},
		SigningKeys:    []subscription.SigningKey{{PrivateKey: secret.New("k")}},
		SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("g")}, {Secret: secret.New("h")}},
	}
	var got strings.Builder
	for _, s := range e.Secrets() {
		got.WriteString(s.Reveal())
	}
	if got.String() != "abcdefxkgh" {
		t.Errorf("got %s, want abcdefxkgh", got.String())
	}
	if n := len(subscription.Endpoint{}.Secrets()); n != 0 {
		t.Errorf("an endpoint without secrets has %d, want none", n)
	}
}
