package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
)

// RequestBody is a request as it was sent, every secret masked.
type RequestBody struct {
	Method  string `json:"method"`
	URL     string `json:"url"`
	Headers Fields `json:"headers"`
	Body    string `json:"body"`
}

// ResponseBody is what is kept of an answer.
type ResponseBody struct {
	Status  int    `json:"status"`
	Headers Fields `json:"headers"`
	Body    string `json:"body"`
}

// ExchangeBody is a request for a token and its answer, secrets and tokens
// masked.
type ExchangeBody struct {
	At         string        `json:"at"`
	DurationMs float64       `json:"durationMs"`
	Step       string        `json:"step"`             // where it ended
	Reason     string        `json:"reason,omitempty"` // absent when a token came
	Request    RequestBody   `json:"request"`
	Response   *ResponseBody `json:"response,omitempty"` // absent without a complete header block
}

// Request shows a request.
func Request(r delivery.Request) RequestBody {
	return RequestBody{Method: r.Method, URL: r.URL, Headers: Fields(r.Headers), Body: r.Body}
}

// Response shows an answer; nil when there is none.
func Response(r *delivery.Response) *ResponseBody {
	if r == nil {
		return nil
	}
	return &ResponseBody{Status: r.Status, Headers: Fields(r.Headers), Body: r.Body}
}

// Exchange shows a request for a token; nil when there was none.
func Exchange(x *delivery.Exchange) *ExchangeBody {
	if x == nil {
		return nil
	}
	return &ExchangeBody{
		At: event.Format(x.At), DurationMs: Milliseconds(x.Duration), Step: string(x.Step), Reason: x.Reason,
		Request: Request(x.Request), Response: Response(x.Response),
	}
}

// Milliseconds returns a duration as answers show it, to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// when is a time of which the zero one is absent.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return event.Format(t)
}

// Fields are the header fields of a request or an answer, shown as one object
// in their order.
type Fields []delivery.Header

// MarshalJSON writes the object. Fields of one name, in whatever case, are one
// member with their values joined by commas. Source: RFC 9110 section 5.3.
func (fs Fields) MarshalJSON() ([]byte, error) {
	merged := make([]delivery.Header, 0, len(fs))
	at := make(map[string]int, len(fs))
	for _, f := range fs {
		key := strings.ToLower(f.Name)
		if i, twice := at[key]; twice {
			merged[i].Value += ", " + f.Value
			continue
		}
		at[key] = len(merged)
		merged = append(merged, f)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is the outer encoder's to say
	b.WriteByte('{')
	for i, f := range merged {
		if i > 0 {
			b.WriteByte(',')
		}
		for _, s := range []string{f.Name, f.Value} {
			if err := e.Encode(s); err != nil {
				return nil, err
			}
			b.Truncate(b.Len() - 1) // the line end
			b.WriteByte(':')
		}
		b.Truncate(b.Len() - 1) // the colon behind the value
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
