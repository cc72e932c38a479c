package relational

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/secret"
)

func responsePlace(ep int64, seq event.Seq) secret.Place {
	return secret.Place{What: "attempt", Owner: attemptOwner(ep, seq), Field: "response"}
}

func exchangePlace(ep int64, seq event.Seq) secret.Place {
	return secret.Place{What: "attempt", Owner: attemptOwner(ep, seq), Field: "token"}
}

func attemptOwner(ep int64, seq event.Seq) string {
	return strconv.FormatInt(ep, 10) + "/" + strconv.FormatInt(int64(seq), 10)
}

// sealAnswers returns an attempt's answer, and the exchange for its token,
// sealed under the subject's key; nil for what there was not, or when the event
// was erased meanwhile.
func (t *tx) sealAnswers(key epKey, a *delivery.Attempt) (response, token []byte, err error) {
	if a.Response == nil && a.Token == nil {
		return nil, nil, nil
	}
	erasures, err := t.erasures(key.app)
	if err != nil {
		return nil, nil, err
	}
	if erasures != nil {
		if last, ok := erasures.last[a.Subject]; ok && !slices.Contains(last, a.Seq) {
			return nil, nil, nil
		}
	}
	c := t.s.lately(key.app, a.Subject)
	if c == nil {
		if c, err = t.subjectCipher(key.app, a.Subject); err != nil {
			if isNotFound(err) {
				return nil, nil, nil
			}
			return nil, nil, err
		}
	}
	if a.Response != nil {
		response = c.Seal(encodeResponse(a.Response), responsePlace(key.ep, a.Seq))
	}
	if a.Token != nil {
		content, err := encodeExchange(a.Token)
		if err != nil {
			return nil, nil, err
		}
		token = c.Seal(content, exchangePlace(key.ep, a.Seq))
	}
	return response, token, nil
}

// encodeResponse writes the status, the number of fields, and each text with
// its length.
func encodeResponse(r *delivery.Response) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 256), uint64(r.Status)) // #nosec G115 -- 100..999
	b = binary.AppendUvarint(b, uint64(len(r.Headers)))
	text := func(s string) {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	for _, h := range r.Headers {
		text(h.Name)
		text(h.Value)
	}
	text(r.Body)
	return b
}

func decodeResponse(b []byte) (*delivery.Response, error) {
	bad := false
	number := func() int {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > 1<<20 {
			bad = true
			return 0
		}
		b = b[size:]
		return int(n)
	}
	text := func() string {
		n := number()
		if n > len(b) {
			bad, n = true, 0
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	r := &delivery.Response{Status: number()}
	for range number() {
		if bad {
			break
		}
		name := text()
		r.Headers = append(r.Headers, delivery.Header{Name: name, Value: text()})
	}
	r.Body = text()
	if bad || len(b) > 0 {
		return nil, errors.New("a kept answer is malformed")
	}
	return r, nil
}

// seals remembers the ciphers of the subjects whose events were read lately,
// so that their answers can be sealed without a look-up. What is sealed under
// a key that was destroyed meanwhile can never be opened, which is as it
// should be.
type seals struct {
	mu         sync.Mutex
	young, old map[sealKey]*secret.Cipher
}

type sealKey struct {
	app     int64
	subject string
}

func (k *seals) get(app int64, subject string) *secret.Cipher {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := sealKey{app, subject}
	if c := k.young[key]; c != nil {
		return c
	}
	return k.old[key]
}

// drop forgets a subject's.
func (k *seals) drop(app int64, subject string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.young, sealKey{app, subject})
	delete(k.old, sealKey{app, subject})
}

// clear forgets all.
func (k *seals) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.young, k.old = nil, nil
}

func (k *seals) put(app int64, subject string, c *secret.Cipher) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || len(k.young) >= maxCiphers/2 {
		k.young, k.old = make(map[sealKey]*secret.Cipher), k.young
	}
	k.young[sealKey{app, subject}] = c
}
