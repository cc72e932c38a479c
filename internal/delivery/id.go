package delivery

import (
	"encoding/base32"
	"encoding/binary"
	"strings"

	"github.com/consentwire/consentwire/internal/event"
)

const idPrefix = "dlv_"

// idEncoding is Crockford's base 32 in lower case, as in every ID.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ID returns the ID of the delivery of the event at seq to an endpoint. It is
// computed, so that a delivery has one before it has a row. Opaque to callers.
func ID(e Endpoint, seq event.Seq) string {
	b := binary.AppendUvarint(make([]byte, 0, 48), uint64(seq)) // #nosec G115 -- never negative
	return idPrefix + idEncoding.EncodeToString(append(b, e...))
}

// ParseID is the inverse of ID; ok is false for a text that ID never returns.
func ParseID(id string) (e Endpoint, seq event.Seq, ok bool) {
	text, ok := strings.CutPrefix(id, idPrefix)
	if !ok || len(text) > 200 {
		return "", 0, false
	}
	b, err := idEncoding.DecodeString(text)
	if err != nil {
		return "", 0, false
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || size == len(b) || n == 0 || n > 1<<62 {
		return "", 0, false
	}
	e, seq = Endpoint(b[size:]), event.Seq(n)
	return e, seq, ID(e, seq) == id
}
