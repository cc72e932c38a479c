package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The bars of the portal: milliseconds. Source: the portal's issue.
const (
	barFirstPage = 100
	barListPage  = 50
)

// listPages are the pages of the portal that list what grows; %s is an endpoint.
var listPages = []string{
	"/portal/", "/portal/?time=month", "/portal/endpoints", "/portal/endpoints/%s", "/portal/deliveries", "/portal/deliveries?status=delivered",
	"/portal/deliveries?status=exhausted", "/portal/deliveries?status=pending", "/portal/deliveries?endpoint=%s", "/portal/deliveries?subject=ctz_77",
	"/portal/deliveries?type=permissions.effective", "/portal/consents", "/portal/citizens",
}

// portalPages measures the pages of a server whose store has many attempts: the
// first page after a start, and the lists, one request after the other.
func portalPages(ctx context.Context, b *Bench) ([]Row, error) {
	t, err := b.receiver(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	l := &backlog{events: pick(b.quick, 100_000, 1_000_000), endpoints: 10, url: t.url(pathAccept)}
	if err := b.prepare(ctx, "portal", l); err != nil {
		return nil, err
	}
	start := func() (*server, error) {
		return b.startOn(ctx, "serve", l.dir, "--master-key-file", filepath.Join(l.dir, keyFile))
	}
	s, err := start()
	if err != nil {
		return nil, err
	}
	defer func() { s.stop() }()
	for began := time.Now(); ; {
		n, err := t.counts(ctx)
		if err != nil {
			return nil, err
		}
		if n.Accepted >= l.left {
			break
		}
		if time.Since(began) > 20*time.Minute {
			return nil, fmt.Errorf("%d of %d were delivered in %s", n.Accepted, l.left, time.Since(began))
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	s.stop()
	if s, err = start(); err != nil {
		return nil, err
	}
	v, first, err := signIn(ctx, s)
	if err != nil {
		return nil, err
	}
	page, _, err := v.get(ctx, "/portal/endpoints")
	if err != nil {
		return nil, err
	}
	endpoint := regexp.MustCompile(`sub_[0-9a-z]+`).FindString(page)
	if endpoint == "" {
		return nil, errors.New("the page lists no endpoint")
	}
	worst, which, all := 0.0, "", []string{}
	for _, path := range listPages {
		path = strings.ReplaceAll(path, "%s", endpoint)
		var took []float64
		for range pick(b.quick, 20, 100) {
			_, d, err := v.get(ctx, path)
			if err != nil {
				return nil, err
			}
			took = append(took, d)
		}
		p99 := quantile(took, 0.99)
		if p99 > worst {
			worst, which = p99, path
		}
		all = append(all, fmt.Sprintf("%s %.1f", strings.ReplaceAll(path, endpoint, "…"), p99))
	}
	return []Row{
		AtMost("portal-first-page", slices.Max(first), barFirstPage, "ms", fmt.Sprintf("the slowest of the first pages after a start: sign-in page, sign-in, applications, overview: %.1f; %d attempts in the store", first, l.left)),
		AtMost("portal-list-page-p99", worst, barListPage, "ms", fmt.Sprintf("the slowest list (%s) of %d, with %d attempts in the store; p99 in ms: %s", which, len(listPages), l.left, strings.Join(all, ", "))),
	}, nil
}

// visitor is a browser that is signed in.
type visitor struct {
	s      *server
	client *http.Client
}

// get returns a page, and how long it took in ms.
func (v *visitor) get(ctx context.Context, path string) (page string, took float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.s.url+path, nil)
	if err != nil {
		return "", 0, err
	}
	return v.do(req)
}

func (v *visitor) post(ctx context.Context, path string, form url.Values) (page string, took float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.do(req)
}

func (v *visitor) do(req *http.Request) (page string, took float64, err error) {
	start := time.Now()
	resp, err := v.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status)
	}
	return string(b), float64(time.Since(start).Microseconds()) / 1000, err
}

// signIn signs the operator in, and lets the first application be shown. It
// returns how long each of its pages took.
func signIn(ctx context.Context, s *server) (v *visitor, took []float64, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, nil, err
	}
	v = &visitor{s, &http.Client{Transport: local(1), Jar: jar, Timeout: time.Minute}}
	_, d, err := v.get(ctx, "/portal/sign-in")
	if err != nil {
		return nil, nil, err
	}
	took = append(took, d)
	page, d, err := v.post(ctx, "/portal/sign-in", url.Values{"operator": {s.operator}})
	if err != nil {
		return nil, nil, err
	}
	took = append(took, d)
	app, token := regexp.MustCompile(`app_[0-9a-z]+`).FindString(page), regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)
	if app == "" || token == nil {
		return nil, nil, errors.New("the operator's page lists no application")
	}
	if _, d, err = v.post(ctx, "/portal/applications/"+app+"/open", url.Values{"token": {token[1]}}); err != nil {
		return nil, nil, err
	}
	return v, append(took, d), nil
}
