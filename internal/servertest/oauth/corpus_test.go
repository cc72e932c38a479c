package oauth_test

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

// verdict is what O6 and O2 make of an answer, spelled as a model: short, and
// by another road than the program's.
func verdict(a answer) (token string, known bool, life time.Duration, code string) {
	var m map[string]jsontext.Value
	if a.Err != nil || len(a.Body) > 1<<20 || json.Unmarshal(a.Body, &m) != nil || m == nil {
		return "", false, 0, ""
	}
	token, code = text(m["access_token"]), text(m["error"])
	_, failed := m["error"]
	kind, typed := m["token_type"]
	if failed || a.Status/100 != 2 || len(token) > 16<<10 || typed && !strings.EqualFold(text(kind), "bearer") ||
		strings.ContainsFunc(token, func(r rune) bool { return r < '!' || r > '~' }) {
		return "", false, 0, code
	}
	n, err := strconv.ParseFloat(strings.Trim(string(m["expires_in"]), `"`), 64)
	switch {
	case token == "" || err != nil && !math.IsInf(n, 1):
		return token, false, 0, code
	case n > 1e9:
		return token, true, math.MaxInt64, code
	}
	return token, true, time.Duration(max(n, 0) * 1e9), code
}

// text returns a JSON string's text, and "" for anything else.
func text(v jsontext.Value) string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	elsewhere := oauth.NewScript()
	other := oauth.Serve(t, elsewhere, oauth.ServeOptions{})
	names := map[string]bool{}
	for _, tt := range oauth.Corpus(other.URL) {
		if names[tt.Name] {
			t.Errorf("two cases are called %q", tt.Name)
		}
		names[tt.Name] = true
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			over(t, tt.Answer, func(t *testing.T, c *client, url string) {
				c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				a := c.post(url, nil, nil)
				token, known, life, code := verdict(a)
				if tt.Open && token == "" {
					return
				}
				if token != tt.Token || known != tt.Known || life != tt.Life || code != tt.Code {
					t.Errorf("got %.40q, %v %v, %q, want %.40q, %v %v, %q; the answer: %d %.200q (%v)",
						token, known, life, code, tt.Token, tt.Known, tt.Life, tt.Code, a.Status, a.Body, a.Err)
				}
				if broken := a.Err != nil || len(a.Body) > 1<<20; broken != tt.Broken {
					t.Errorf("got broken %v (%v), want %v", broken, a.Err, tt.Broken)
				}
				if away := strings.HasPrefix(a.Header.Get("Location"), other.URL+"/"); away != tt.Elsewhere {
					t.Errorf("got Location %q, want one elsewhere: %v", a.Header.Get("Location"), tt.Elsewhere)
				}
			})
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.Count(); n != 0 {
			t.Errorf("the other host was asked %d times", n)
		}
	})
}
