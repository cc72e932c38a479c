package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

func endpointRoundTrip(t *testing.T, r *room) {
	r.apps()
	full := subscription.Endpoint{
		ID: "sub_1", Application: string(app1), Style: subscription.Subscription, Version: 3,
		Name: "Name ☃", URL: "https://example.org/a?b=c", UpdateType: subscription.ConsentReceipts,
		EventTypes: []event.Type{event.ConsentRevoked, event.ConsentApproved},
		Status:     subscription.Active, StatusReason: "why", StatusSince: minute(1),
		Auth: subscription.Auth{
			Type:   subscription.AuthOAuth2,
			APIKey: subscription.APIKey{Location: "query", Key: "k", Value: newSecret("a ☃")},
			Bearer: subscription.Bearer{Token: newSecret("b"), RefreshToken: newSecret("c"), RefreshURL: "https://r", ClientID: "d", ClientSecret: newSecret("e")},
			OAuth2: subscription.OAuth2{
				GrantType: "client-credentials", AuthenticationURL: "https://o", ContentType: "application-json", ClientID: "f",
				ClientSecret: newSecret("g"), Scope: "h i", ClientAuthMethod: "body", Audience: "j",
			},
			Basic: subscription.Basic{User: "k", Password: newSecret("l")},
			MTLS:  subscription.MTLS{Certificate: "-----BEGIN m\n", PrivateKey: newSecret("n"), CACertificate: "o"},
		},
		Asymmetric:     true,
		SigningSecrets: []subscription.SigningSecret{{Secret: newSecret("whsec_1")}, {Secret: newSecret("whsec_0"), ExpiresAt: minute(99)}},
		RetrySchedule:  []time.Duration{5 * time.Second, 1500 * time.Millisecond}, Timeout: 7 * time.Second, RateLimit: 8, MaxInFlight: 9,
		Description: "words", Metadata: map[string]string{"a": "b", "☃": ""}, OnBacklog: subscription.BacklogLatest,
		CreatedAt: t0, UpdatedAt: minute(2),
	}
	plain := interceptor(app1, "int_1")
	plain.SigningSecrets = []subscription.SigningSecret{{Secret: newSecret("whsec_2")}}
	r.put(full, plain)
	check := func(want subscription.Endpoint) {
		t.Helper()
		got, err := r.Store.Endpoint(r.ctx, app1, want.Style, want.ID)
		r.must(err)
		r.same("an endpoint", got, want)
		got, err = r.Store.Config(r.ctx, delivery.Endpoint(want.ID))
		r.must(err)
		r.same("an endpoint's configuration", got, want)
	}
	check(full)
	check(plain)
	sender := subscription.Endpoint{
		ID: "mls_1", Application: string(app1), Style: subscription.MailSender, Version: 1, URL: "smtp://smtp.example.org:465",
		Status: subscription.Active, StatusSince: minute(1), Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
		Mail: subscription.Mail{
			Host: "smtp.example.org", Port: 465, Security: "tls", User: "p", Password: newSecret("q ☃"), From: "r@example.org", FromName: "s ☃", ReplyTo: "t@example.org",
		},
		CreatedAt: t0, UpdatedAt: minute(2),
	}
	theOne := func(app access.ID) (subscription.Endpoint, error) {
		var inside subscription.Endpoint
		var insideErr error
		r.update(func(tx store.Tx) error {
			inside, insideErr = tx.Endpoint(app, subscription.MailSender, "")
			return nil
		})
		out, err := r.Store.Endpoint(r.ctx, app, subscription.MailSender, "")
		r.same("the application's mail sender within a transaction", inside, out)
		r.same("its error", insideErr == nil, err == nil)
		return out, err
	}
	_, err := theOne(app1)
	r.notFound("a mail sender that is not there", err)
	r.put(sender)
	check(sender)
	one, err := theOne(app1)
	r.must(err)
	r.same("the application's mail sender", one, sender)
	_, err = theOne(app2)
	r.notFound("another application's", err)
	_, err = r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "")
	r.notFound("a subscription without an ID", err)
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, sender.ID, minute(3)) })
	_, err = theOne(app1)
	r.notFound("a mail sender that was deleted", err)
	sender.ID = "mls_2"
	r.put(sender)
	one, err = theOne(app1)
	r.must(err)
	r.same("the mail sender that came after it", one, sender)
	full.Version, full.Name, full.Auth, full.RetrySchedule, full.Metadata = 4, "", subscription.Auth{Type: subscription.AuthNone}, nil, nil
	r.put(full)
	check(full)
	_, err = r.Store.Endpoint(r.ctx, app1, subscription.Interceptor, "sub_1")
	r.notFound("a subscription asked for as an interceptor", err)
	_, err = r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "int_1")
	r.notFound("an interceptor asked for as a subscription", err)
	_, err = r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "sub_9")
	r.notFound("an unknown subscription", err)
	_, err = r.Store.Config(r.ctx, "sub_9")
	r.notFound("an unknown endpoint's configuration", err)
	full.Status = subscription.Paused
	full.Version++
	r.put(full)
	check(full) // Config, too, whatever its status
}

func endpointPages(t *testing.T, r *room) {
	r.apps()
	var all []subscription.Endpoint
	for i := range 9 {
		e := subscriber(app1, subscription.ID(fmt.Sprintf("sub_%d", 9-i))) // the order of IDs is another
		e.UpdateType = []subscription.UpdateType{subscription.EffectivePermission, subscription.ConsentReceipts}[i%2]
		e.Status = []subscription.Status{subscription.Active, subscription.Paused, subscription.Suspended}[i%3]
		all = append(all, e)
		r.put(e, interceptor(app1, subscription.ID(fmt.Sprintf("int_%d", i))))
	}
	r.put(subscriber(app2, "sub_other"))
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, all[0].ID, t0) })
	changed := all[1]
	changed.Version = 2
	r.put(changed) // an update moves nothing
	tests := []struct {
		name string
		q    store.EndpointQuery
		keep func(i int) bool
	}{
		{"all", store.EndpointQuery{}, func(int) bool { return true }},
		{"active ones", store.EndpointQuery{Status: "active"}, func(i int) bool { return i%3 == 0 }},
		{"paused ones, the suspended included", store.EndpointQuery{Status: "paused"}, func(i int) bool { return i%3 != 0 }},
		{"by update type", store.EndpointQuery{UpdateType: subscription.ConsentReceipts}, func(i int) bool { return i%2 == 1 }},
		{"by both", store.EndpointQuery{UpdateType: subscription.ConsentReceipts, Status: "active"}, func(i int) bool { return i == 3 }},
		{"by an update type that none has", store.EndpointQuery{UpdateType: subscription.CitizenEmails}, func(int) bool { return false }},
	}
	for _, tt := range tests {
		var want []subscription.ID
		for i := 1; i < len(all); i++ {
			if tt.keep(i) {
				want = append(want, all[i].ID)
			}
		}
		for _, page := range [][2]int{{0, 100}, {0, 2}, {1, 3}, {2, 1}, {50, 10}} {
			q := tt.q
			q.Style, q.Offset, q.Limit = subscription.Subscription, page[0], page[1]
			es, n, err := r.Store.Endpoints(r.ctx, app1, q)
			r.must(err)
			var got []subscription.ID
			for _, e := range es {
				got = append(got, e.ID)
			}
			from := min(page[0], len(want))
			if part := want[from:min(from+page[1], len(want))]; !slices.Equal(got, part) || n != len(want) {
				t.Errorf("%s from %d, at most %d: got %v of %d, want %v of %d", tt.name, page[0], page[1], got, n, part, len(want))
			}
		}
	}
	if _, n, err := r.Store.Endpoints(r.ctx, app1, store.EndpointQuery{Style: subscription.Interceptor, Limit: 1}); n != 9 || err != nil {
		t.Errorf("got %d interceptors, %v, want 9", n, err)
	}
	r.update(func(tx store.Tx) error {
		if n, err := tx.CountEndpoints(app1); n != 17 || err != nil {
			t.Errorf("got %d endpoints, %v, want the 17 that are not deleted", n, err)
		}
		return nil
	})
}

func interceptors(t *testing.T, r *room) {
	r.apps()
	e := interceptor(app1, "int_1")
	e.URL = "https://example.org/hook"
	gone := interceptor(app1, "int_2")
	gone.URL = "https://example.org/gone"
	sub := subscriber(app1, "sub_1")
	r.put(e, gone, sub)
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, gone.ID, t0) })
	tests := []struct {
		name   string
		app    access.ID
		url    string
		feed   event.Feed
		except subscription.ID
		want   bool
	}{
		{"the same", app1, e.URL, event.LifecycleData, "", true},
		{"the same, asked for by another", app1, e.URL, event.LifecycleData, "int_9", true},
		{"itself", app1, e.URL, event.LifecycleData, "int_1", false},
		{"the other feed", app1, e.URL, event.LifecyclePayment, "", false},
		{"another URL", app1, e.URL + "/", event.LifecycleData, "", false},
		{"another application", app2, e.URL, event.LifecycleData, "", false},
		{"one that was deleted", app1, gone.URL, event.LifecycleData, "", false},
		{"a subscription's URL", app1, sub.URL, event.LifecycleData, "", false},
	}
	for _, tt := range tests {
		r.update(func(tx store.Tx) error {
			if got, err := tx.InterceptorExists(tt.app, tt.url, tt.feed, tt.except); got != tt.want || err != nil {
				t.Errorf("%s: got %t, %v, want %t", tt.name, got, err, tt.want)
			}
			return nil
		})
	}
	e.URL, e.Version = "https://example.org/moved", 2
	r.put(e)
	r.update(func(tx store.Tx) error {
		was, err := tx.InterceptorExists(app1, "https://example.org/hook", event.LifecycleData, "")
		need(err)
		is, err := tx.InterceptorExists(app1, e.URL, event.LifecycleData, "")
		need(err)
		if was || !is {
			t.Errorf("got the former URL %t, the new one %t, want false, true", was, is)
		}
		return nil
	})
}
