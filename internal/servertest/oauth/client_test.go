package oauth_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

// client is a plain caller of token endpoints.
type client struct {
	t    *testing.T
	http *http.Client
}

func newClient(t *testing.T, c *oauth.Certificate) *client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Pool()},
		MaxResponseHeaderBytes: 256 << 10, // RULES D4
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, &http.Client{
		Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// direct returns one that calls the handler.
func direct(t *testing.T, h http.Handler) *client {
	t.Helper()
	return &client{t, &http.Client{Transport: oauth.Direct(h)}}
}

// answer is what came, read without any care.
type answer struct {
	Err     error // no whole answer came
	Status  int
	Header  http.Header
	Body    []byte
	Token   string `json:"access_token"`
	Type    string `json:"token_type"`
	Seconds int    `json:"expires_in"`
	Refresh string `json:"refresh_token"`
	Code    string `json:"error"`
}

func (c *client) send(req *http.Request) answer {
	c.t.Helper()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{Err: err}
	}
	defer resp.Body.Close()
	var a answer
	a.Status, a.Header = resp.StatusCode, resp.Header
	if a.Body, a.Err = io.ReadAll(resp.Body); a.Err == nil {
		_ = json.Unmarshal(a.Body, &a) // what is no such object has no such members
	}
	return a
}

// post sends a form, as a client by Basic when one is given.
func (c *client) post(address string, basic *oauth.Client, form url.Values) answer {
	c.t.Helper()
	return c.send(c.request(c.t.Context(), address, basic, form))
}

func (c *client) request(ctx context.Context, address string, basic *oauth.Client, form url.Values) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != nil {
		req.SetBasicAuth(url.QueryEscape(basic.ID), url.QueryEscape(basic.Secret))
	}
	return req
}

// postJSON sends a JSON object.
func (c *client) postJSON(address string, body any) answer {
	c.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, address, bytes.NewReader(b))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return c.send(req)
}
