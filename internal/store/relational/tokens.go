package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// tokenForm is the sealed part of a kept token. Its names are never changed;
// the time is Unix milliseconds, absent when it is not known.
type tokenForm struct {
	Access     string `json:"access,omitzero"`
	ExpiresAt  int64  `json:"expiresAt,omitzero"`
	Refresh    string `json:"refresh,omitzero"`
	ClientAuth string `json:"clientAuth,omitzero"`
}

// tokenPlace is under the master key.
func tokenPlace(id string) secret.Place {
	return secret.Place{What: "endpoint", Owner: id, Field: "token"}
}

// Token implements store.Engine.
func (s *Store) Token(ctx context.Context, e delivery.Endpoint) (tok subscription.Token, err error) {
	err = s.read(ctx, func(r *reader) error {
		tok = subscription.Token{}
		var sealed []byte
		err := r.get([]any{&tok.Generation, &sealed}, `SELECT COALESCE(k.generation, 0), COALESCE(k.sealed, x'')
			FROM endpoint p LEFT JOIN kept_token k ON k.ep = p.ep WHERE p.endpoint_id = ? AND p.deleted_at IS NULL`, string(e))
		if err != nil || len(sealed) == 0 {
			return err
		}
		var f tokenForm
		content, err := s.keys.Open(sealed, tokenPlace(string(e)))
		if err == nil {
			err = json.Unmarshal(content, &f)
		}
		if err != nil {
			return fmt.Errorf("open the token of %s: %w", e, err)
		}
		tok.Access, tok.ExpiresAt, tok.Refresh, tok.ClientAuth = secret.New(f.Access), moment(f.ExpiresAt), secret.New(f.Refresh), f.ClientAuth
		return nil
	})
	if err != nil {
		return subscription.Token{}, err
	}
	return tok, nil
}

// SaveToken implements store.Engine.
func (s *Store) SaveToken(ctx context.Context, e delivery.Endpoint, tok subscription.Token) error {
	content, err := json.Marshal(tokenForm{tok.Access.Reveal(), millis(tok.ExpiresAt), tok.Refresh.Reveal(), tok.ClientAuth})
	if err != nil {
		return fmt.Errorf("encode a token: %w", err)
	}
	return s.write(ctx, func(t *tx) error {
		var ep int64
		if err := t.get([]any{&ep}, "SELECT ep FROM endpoint WHERE endpoint_id = ? AND deleted_at IS NULL", string(e)); err != nil {
			return err
		}
		sealed := s.keys.Seal(content, tokenPlace(string(e)))
		n, err := t.exec("UPDATE kept_token SET generation = kept_token.generation + 1, sealed = ? WHERE ep = ? AND generation = ?", sealed, ep, tok.Generation)
		if err == nil && n == 0 && tok.Generation == 0 {
			n, err = t.exec("INSERT INTO kept_token (ep, generation, sealed) VALUES (?, 1, ?) ON CONFLICT DO NOTHING", ep, sealed)
		}
		if err == nil && n == 0 {
			return fault.New(fault.Conflict, "token_changed", "Another token was kept, or forgotten, meanwhile.")
		}
		return err
	})
}

// ForgetToken implements store.Tx.
func (t *tx) ForgetToken(app access.ID, id subscription.ID) error {
	key, err := t.ownedEp(app, delivery.Endpoint(id))
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO kept_token (ep, generation, sealed) SELECT ep, 1, x'' FROM endpoint WHERE ep = ? AND deleted_at IS NULL
		ON CONFLICT (ep) DO UPDATE SET generation = kept_token.generation + 1, sealed = x''`, key.ep)
	if err == nil && n == 0 {
		return notFound()
	}
	return err
}

// exchangeForm is how a delivery.Exchange is kept. Its names are never changed;
// the time is Unix milliseconds, the duration nanoseconds.
type (
	exchangeForm struct {
		At       int64         `json:"at,omitzero"`
		Duration int64         `json:"duration,omitzero"`
		Step     string        `json:"step,omitzero"`
		Reason   string        `json:"reason,omitzero"`
		Request  requestForm   `json:"request,omitzero"`
		Response *responseForm `json:"response,omitzero"`
	}
	requestForm struct {
		Method  string      `json:"method,omitzero"`
		URL     string      `json:"url,omitzero"`
		Headers [][2]string `json:"headers,omitzero"`
		Body    string      `json:"body,omitzero"`
	}
	responseForm struct {
		Status  int         `json:"status,omitzero"`
		Headers [][2]string `json:"headers,omitzero"`
		Body    string      `json:"body,omitzero"`
	}
)

func encodeExchange(x *delivery.Exchange) ([]byte, error) {
	f := exchangeForm{
		At: millis(x.At), Duration: int64(x.Duration), Step: string(x.Step), Reason: x.Reason,
		Request: requestForm{x.Request.Method, x.Request.URL, pairs(x.Request.Headers), x.Request.Body},
	}
	if r := x.Response; r != nil {
		f.Response = &responseForm{r.Status, pairs(r.Headers), r.Body}
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode an exchange: %w", err)
	}
	return b, nil
}

func decodeExchange(b []byte) (*delivery.Exchange, error) {
	var f exchangeForm
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("decode an exchange: %w", err)
	}
	x := &delivery.Exchange{
		At: moment(f.At), Duration: time.Duration(f.Duration), Step: delivery.Step(f.Step), Reason: f.Reason,
		Request: delivery.Request{Method: f.Request.Method, URL: f.Request.URL, Headers: headers(f.Request.Headers), Body: f.Request.Body},
	}
	if r := f.Response; r != nil {
		x.Response = &delivery.Response{Status: r.Status, Headers: headers(r.Headers), Body: r.Body}
	}
	return x, nil
}

// pairs and headers turn fields into how they are kept, and back.
func pairs(list []delivery.Header) (out [][2]string) {
	for _, h := range list {
		out = append(out, [2]string{h.Name, h.Value})
	}
	return out
}

func headers(list [][2]string) (out []delivery.Header) {
	for _, h := range list {
		out = append(out, delivery.Header{Name: h[0], Value: h[1]})
	}
	return out
}

// holdPlace is under the master key.
func holdPlace(id delivery.Endpoint) secret.Place {
	return secret.Place{What: "endpoint", Owner: string(id), Field: "hold_exchange"}
}

// sealHold returns the exchange of a hold sealed by the master key; nil without
// one.
func (t *tx) sealHold(id delivery.Endpoint, x *delivery.Exchange) ([]byte, error) {
	if x == nil {
		return nil, nil
	}
	content, err := encodeExchange(x)
	if err != nil {
		return nil, err
	}
	return t.s.keys.Seal(content, holdPlace(id)), nil
}

// openHold is the inverse of sealHold.
func (r *reader) openHold(id delivery.Endpoint, sealed []byte) (*delivery.Exchange, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	content, err := r.s.keys.Open(sealed, holdPlace(id))
	if err != nil {
		return nil, fmt.Errorf("open the hold of %s: %w", id, err)
	}
	return decodeExchange(content)
}
