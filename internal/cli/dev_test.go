package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/sink"
)

func TestArrival(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, int(7*time.Millisecond), time.Local)
	tests := []struct {
		name string
		r    sink.Request
		want string
	}{
		{
			"a delivery to the interceptor",
			sink.Request{
				At: at, Path: "/inspect/bin_1/interceptor", Body: `{"event":"consent:revoke","data":{}}`,
				Headers: []delivery.Header{{Name: delivery.HeaderSubject, Value: "con_1"}}, Signature: sink.Valid,
			},
			"12:00:00.007 consent:revoke con_1 interceptor signature valid",
		},
		{
			"a test",
			sink.Request{At: at, Path: "/inspect/bin_1/subscription", Body: `{"type":"webhook.test"}`, Signature: sink.Invalid},
			"12:00:00.007 webhook.test subscription signature invalid",
		},
		{
			"a mail, whose body names no event",
			sink.Request{
				At: at, Path: "/inspect/bin_1/mails", Body: `{"citizenId":"ctz_1","email":{}}`,
				Headers: []delivery.Header{{Name: delivery.HeaderSubject, Value: "ctz_1"}}, Signature: sink.Valid,
			},
			"12:00:00.007 citizen.email ctz_1 mails signature valid",
		},
		{
			"a stranger's request that plays with the terminal",
			sink.Request{At: at, Method: "GET", Path: "/inspect/bin_1/\x1b[2J\u202e", Body: `{"event":"\u001b[2J"`, Signature: sink.None},
			"12:00:00.007 GET /inspect/bin_1/.[2J. signature none",
		},
		{
			"a stranger's event that plays with the terminal",
			sink.Request{At: at, Path: "/x", Body: `{"event":"\u001b]0;x\u0007` + strings.Repeat("y", 100) + `"}`, Signature: sink.None},
			"12:00:00.007 .]0;x." + strings.Repeat("y", 53) + "… signature none",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := arrival(tt.r)
			if strings.Count(got, "\n") != 1 || strings.Join(strings.Fields(got), " ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
