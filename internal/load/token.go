package load

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// benchToken is the token of both sides of the comparison.
const benchToken = "a-token-of-an-ordinary-length-of-forty-8" // #nosec G101 -- of a test receiver

// barFetched is what a fetched token that is cached may cost. Source: the bar
// of the issue "Every way in".
const barFetched = 0.95

// fetchedToken compares an engine that sends a token it has fetched with one
// that sends the same token because its owner configured it.
func fetchedToken(ctx context.Context, b *Bench) ([]Row, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	events := pick(b.quick, 200_000, 1_000_000)
	backlogs := [2]*backlog{
		{auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New(benchToken)}}},
		{auth: subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{
			GrantType: subscription.ClientCredentials, AuthenticationURL: t.url(pathToken), ContentType: subscription.ContentForm,
			ClientID: "bench", ClientSecret: secret.New("bench"), ClientAuthMethod: subscription.ClientAuthAuto,
		}}},
	}
	for i, l := range backlogs {
		l.events, l.endpoints, l.url = events, 1, t.url(pathAccept)
		if err := b.prepare(ctx, fmt.Sprintf("token-%d", i), l); err != nil {
			return nil, err
		}
		defer os.RemoveAll(l.dir)
	}
	var ratios []float64
	for pair := range b.pairs() {
		var ws [2]window
		for turn := range backlogs {
			i := (turn + pair) % 2 // each is first in turn
			if ws[i], err = b.runEngine(ctx, backlogs[i], t, b.halfTime()); err != nil {
				return nil, err
			}
		}
		ratios = append(ratios, ws[1].rate/ws[0].rate)
		fmt.Fprintf(os.Stderr, "bench: fetched token %.0f/s, static token %.0f/s: %.2f\n", ws[1].rate, ws[0].rate, ratios[len(ratios)-1])
	}
	return []Row{AtLeast("deliveries-fetched-token", median(ratios), barFetched, "of the rate with a static token",
		fmt.Sprintf("%s; %d pairs %.2f..%.2f", load(1, events), len(ratios), slices.Min(ratios), slices.Max(ratios)))}, nil
}
