package relational

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/consentwire/consentwire/internal/secret"
)

// heads are the ends of an application's two chains, of its log and of its
// transactions. The committer remembers them; an append then writes them and
// reads nothing.
type heads struct {
	seq          int64 // place of the log's last event
	log, history []byte

	at, late sql.NullInt64 // see logTimes; where others write, too
}

// fields are what into reads.
func (h *heads) fields(r *reader) string {
	if r.s.db.Shared() {
		return "last_seq, log_head, history_head, log_at, log_late"
	}
	return "last_seq, log_head, history_head"
}

func (h *heads) into(r *reader) []any {
	dst := []any{&h.seq, &h.log, &h.history}
	if r.s.db.Shared() {
		dst = append(dst, &h.at, &h.late)
	}
	return dst
}

// heads returns an application's. What is changed in them must be written by
// the same transaction.
func (t *tx) heads(app int64) (*heads, error) {
	if h := t.small.heads[app]; h != nil {
		return h, nil
	}
	h := new(heads)
	err := t.get(h.into(&t.reader), "SELECT "+h.fields(&t.reader)+" FROM application WHERE app = ?", app)
	if err != nil {
		return nil, err
	}
	if len(t.small.heads) >= maxSmallKeys {
		if err := t.putHistories(); err != nil {
			return nil, err
		}
		clear(t.small.heads)
	}
	t.small.heads[app] = h
	return h, nil
}

// putHistories writes the ends of the chains of transactions that moved. It is
// the last that a transaction does.
func (t *tx) putHistories() error {
	for app := range t.grown {
		h := t.small.heads[app]
		if h == nil {
			continue // the application was deleted
		}
		if err := t.later("UPDATE application SET history_head = ? WHERE app = ?", h.history, app); err != nil {
			return err
		}
	}
	clear(t.grown)
	return nil
}

// chainTransaction returns what is kept as the chain of a permission
// transaction, which is to be inserted next: transactions are chained in the
// order of their rows. recorded and sealed are its columns recorded_at and
// sealed.
func (t *tx) chainTransaction(app int64, id, citizen string, recorded int64, sealed []byte) (chain []byte, err error) {
	h, err := t.heads(app)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(sealed)
	h.history = chainedTransaction{id, recorded, t.s.subjectHash(app, citizen)}.chain(h.history, digest[:])
	if t.grown == nil {
		t.grown = make(map[int64]struct{}, 1)
	}
	t.grown[app] = struct{}{}
	return h.history, nil
}

// chainedTransaction is what of a transaction is chained besides its content.
type chainedTransaction struct {
	id       string
	recorded int64
	citizen  []byte // hash
}

// chain returns the transaction's chain, from that of the one before.
func (x chainedTransaction) chain(before, digest []byte) []byte {
	b := link(make([]byte, 0, 256), "transaction", before, digest, x.citizen)
	b = binary.AppendVarint(b, x.recorded)
	b = append(binary.AppendUvarint(b, uint64(len(x.id))), x.id...)
	sum := sha256.Sum256(b)
	return sum[:]
}

// chainedEvent is what of an event is chained besides its body.
type chainedEvent struct {
	seq, sequence, occurred, recorded int64
	id, feed, typ, except             string
	subject                           []byte // hash
}

// chain returns the event's chain, from that of the one before.
func (e *chainedEvent) chain(before, digest []byte) []byte {
	b := link(make([]byte, 0, 384), "event", before, digest, e.subject)
	for _, n := range [...]int64{e.seq, e.sequence, e.occurred, e.recorded} {
		b = binary.AppendVarint(b, n)
	}
	for _, s := range [...]string{e.id, e.feed, e.typ, e.except} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// link begins what is hashed: the kind of the record, then the chain before it
// (32 zeros for the first), its digest and the hash of its subject.
func link(b []byte, kind string, before, digest, subject []byte) []byte {
	var first [sha256.Size]byte
	if len(before) == 0 {
		before = first[:]
	}
	b = append(b, "consentwire "...)
	b = append(b, kind...)
	b = append(b, " 1"...)
	for _, part := range [...][]byte{before, digest, subject} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return b
}

// subjectHash is the keyed hash that stands for a subject's name in what must
// outlive it.
func (s *Store) subjectHash(app int64, subject string) []byte {
	return s.index.Hash(secret.Place{What: "subject", Owner: strconv.FormatInt(app, 10), Field: "name"}, subject)
}

// erasedPrefix begins the name that a subject has once nothing of it is left;
// its hash in hexadecimal follows.
const erasedPrefix = "erased_"

func erasedName(hash []byte) string { return erasedPrefix + hex.EncodeToString(hash) }

// hashInName returns the hash from an erasedName; nil: it is no such name.
func hashInName(name string) []byte {
	text, ok := strings.CutPrefix(name, erasedPrefix)
	if !ok || len(text) != 2*sha256.Size {
		return nil
	}
	hash, err := hex.DecodeString(text)
	if err != nil || erasedName(hash) != name {
		return nil
	}
	return hash
}

// isErased tells whether a subject was erased, so that its ID must not be used
// again; nor may one that looks like what takes the place of an ID.
func (t *tx) isErased(app int64, id string) (yes bool, err error) {
	if hashInName(id) != nil {
		return true, nil
	}
	if err := t.loadErasures(); err != nil || !t.small.tombs {
		return false, err
	}
	err = t.get([]any{&yes}, "SELECT EXISTS (SELECT 1 FROM tombstone WHERE app = ? AND subject = ?)", app, t.s.subjectHash(app, id))
	return yes, err
}
