package load

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLocal(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	c := &http.Client{Transport: local(1)}
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, url := range []string{"http://192.0.2.1/", "http://[2001:db8::1]/", "http://0.0.0.0:1/"} {
		if resp, err := c.Get(url); err == nil || !strings.Contains(err.Error(), "not on this machine") {
			if err == nil {
				resp.Body.Close()
			}
			t.Errorf("%s: got %v, want it refused", url, err)
		}
	}
}
