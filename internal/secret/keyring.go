package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/consentwire/consentwire/internal/fault"
)

// KeySize is the length of every key, in bytes: AES-256.
const KeySize = 32

// The first byte of a record. A record under a master key goes on with the ID
// of that key; one under a data key needs none.
const (
	formatMaster = 1
	formatData   = 2
)

const (
	idSize = 8
	// nonceSize and tagSize are those of AES-GCM. Source: NIST SP 800-38D,
	// 5.2.1.1 and 5.2.1.2. Nonces are random, so a master key must not seal
	// more than 2^32 records (ibid., 8.3).
	nonceSize = 12
	tagSize   = 16
)

// Place says where a record belongs. It is authenticated with the content, so
// that a record cannot be moved to another row or column (RULES 5).
type Place struct {
	What  string // the kind of row, e.g. "endpoint"
	Owner string // whose row it is: IDs that never change
	Field string // the column
}

// bytes returns an encoding in which no two places are alike.
func (p Place) bytes() []byte {
	b := make([]byte, 0, len(p.What)+len(p.Owner)+len(p.Field)+6)
	b = append(binary.AppendUvarint(b, uint64(len(p.What))), p.What...)
	b = append(binary.AppendUvarint(b, uint64(len(p.Owner))), p.Owner...)
	return append(b, p.Field...) // the last needs no length
}

// Keyring holds the master keys. It seals for the disk with the first and
// opens with all. It is safe for use by several goroutines.
type Keyring struct {
	keys atomic.Pointer[masterKeys]
}

// masterKeys are what a Keyring holds at a time. They are never changed.
type masterKeys struct {
	first [idSize]byte
	aeads map[[idSize]byte]cipher.AEAD
}

// ParseKeyring reads a comma-separated list of keys, each 32 bytes in standard
// base 64. The first seals, all open.
//
// A malformed list is fault.Invalid "master_key_malformed", an empty one
// fault.Invalid "master_key_missing"; neither holds any of it.
func ParseKeyring(v Value) (*Keyring, error) {
	k, err := parseKeys(v)
	if err != nil {
		return nil, err
	}
	r := new(Keyring)
	r.keys.Store(k)
	return r, nil
}

func parseKeys(v Value) (*masterKeys, error) {
	if !v.IsSet() {
		return nil, fault.New(fault.Invalid, "master_key_missing", "A master key is needed to seal what is kept.")
	}
	k := &masterKeys{aeads: make(map[[idSize]byte]cipher.AEAD)}
	for i, text := range strings.Split(v.Reveal(), ",") {
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(key) != KeySize || strings.ContainsAny(text, "\r\n") {
			return nil, fault.New(fault.Invalid, "master_key_malformed",
				"The master key must be a comma-separated list of keys, each 32 bytes in standard base 64.")
		}
		id := keyID(key)
		if i == 0 {
			k.first = id
		}
		k.aeads[id] = newAEAD(key)
	}
	return k, nil
}

// Replace takes over another list of keys, in the form of ParseKeyring, at
// once: whatever is sealed after it returns is sealed by the first of them.
// Every key that the ring held stays able to open. With an error, one of
// ParseKeyring's, nothing changes.
func (r *Keyring) Replace(v Value) error {
	k, err := parseKeys(v)
	if err != nil {
		return err
	}
	for {
		was := r.keys.Load()
		maps.Copy(k.aeads, was.aeads)
		if r.keys.CompareAndSwap(was, k) {
			return nil
		}
	}
}

// KeyID returns the ID of the key that seals now, in hexadecimal. It tells
// nothing of the key.
func (r *Keyring) KeyID() string {
	k := r.keys.Load()
	return hex.EncodeToString(k.first[:])
}

// keyID names a key without telling anything of it.
func keyID(key []byte) [idSize]byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("consentwire master key id 1"))
	return [idSize]byte(m.Sum(nil))
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is ours
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // an AES block of this standard library
	}
	return a
}

// Seal returns content sealed by the first master key for its place.
//
// Use it for small things: keys, and what is written seldom. A data key of its
// own seals what is written often.
func (r *Keyring) Seal(content []byte, p Place) []byte {
	k := r.keys.Load()
	b := make([]byte, 0, 1+idSize+nonceSize+len(content)+tagSize)
	b = append(b, formatMaster)
	b = append(b, k.first[:]...)
	return k.aeads[k.first].Seal(b, nil, content, p.bytes()) // #nosec G407 -- the AEAD takes a random nonce of its own
}

// Open is the inverse of Seal, under whichever key of the ring sealed.
//
// Errors, all fault.Internal and without content: "sealed_by_unknown_key" when
// the ring lacks the key, "sealed_malformed" when the record is too short or of
// an unknown format, "sealed_altered" when it was changed or belongs elsewhere.
func (r *Keyring) Open(sealed []byte, p Place) ([]byte, error) {
	if len(sealed) < 1+idSize+nonceSize+tagSize || sealed[0] != formatMaster {
		return nil, malformed()
	}
	a, ok := r.keys.Load().aeads[[idSize]byte(sealed[1:])]
	if !ok {
		return nil, fault.New(fault.Internal, "sealed_by_unknown_key", "A record was sealed by a master key that was not given.")
	}
	return open(a, sealed[1+idSize:], p)
}

// Current tells whether the record was sealed by the key that seals now.
func (r *Keyring) Current(sealed []byte) bool {
	return len(sealed) > idSize && sealed[0] == formatMaster && [idSize]byte(sealed[1:]) == r.keys.Load().first
}

// NewKey makes a data key. It returns the key sealed by the first master key
// for its place, which is to be kept, and a Cipher that uses it.
func (r *Keyring) NewKey(p Place) (sealed []byte, c *Cipher) {
	var key [KeySize]byte
	rand.Read(key[:]) // never fails (crypto/rand)
	defer clear(key[:])
	return r.Seal(key[:], p), &Cipher{newAEAD(key[:]), key}
}

// OpenKey returns the Cipher of a data key that NewKey made for that place.
// Its errors are those of Open.
func (r *Keyring) OpenKey(sealed []byte, p Place) (*Cipher, error) {
	key, err := r.Open(sealed, p)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if len(key) != KeySize {
		return nil, malformed()
	}
	return &Cipher{newAEAD(key), [KeySize]byte(key)}, nil
}

// Cipher seals and opens under one data key. It is safe for use by several
// goroutines; keep it, for making one costs more than using it.
type Cipher struct {
	aead cipher.AEAD
	key  [KeySize]byte // for Keys
}

// Seal returns content sealed for its place.
func (c *Cipher) Seal(content []byte, p Place) []byte {
	b := make([]byte, 1, 1+nonceSize+len(content)+tagSize)
	b[0] = formatData
	return c.aead.Seal(b, nil, content, p.bytes()) // #nosec G407 -- the AEAD takes a random nonce of its own
}

// Open is the inverse of Seal. Errors, fault.Internal and without content:
// "sealed_malformed", "sealed_altered"; the latter also when another key
// sealed.
func (c *Cipher) Open(sealed []byte, p Place) ([]byte, error) {
	if len(sealed) < 1+nonceSize+tagSize || sealed[0] != formatData {
		return nil, malformed()
	}
	return open(c.aead, sealed[1:], p)
}

func open(a cipher.AEAD, sealed []byte, p Place) ([]byte, error) {
	content, err := a.Open(make([]byte, 0, len(sealed)-nonceSize-tagSize), nil, sealed, p.bytes())
	if err != nil { // it says nothing but that
		return nil, fault.New(fault.Internal, "sealed_altered", "A sealed record was altered, or belongs to another place.")
	}
	return content, nil
}

func malformed() error {
	return fault.New(fault.Internal, "sealed_malformed", "A sealed record is cut short or of an unknown format.")
}

// Index makes keyed hashes, by which content can be found that only is kept
// sealed: without the key nobody can try out what was hashed. It is safe for
// use by several goroutines.
type Index struct{ key [KeySize]byte }

// NewIndex makes the key of an Index. It returns it sealed by the first master
// key for its place, which is to be kept, and the Index.
func (r *Keyring) NewIndex(p Place) (sealed []byte, x *Index) {
	x = new(Index)
	rand.Read(x.key[:]) // never fails (crypto/rand)
	return r.Seal(x.key[:], p), x
}

// OpenIndex returns the Index that NewIndex made for that place. Its errors
// are those of Open.
func (r *Keyring) OpenIndex(sealed []byte, p Place) (*Index, error) {
	key, err := r.Open(sealed, p)
	if err != nil {
		return nil, err
	}
	if len(key) != KeySize {
		return nil, malformed()
	}
	return &Index{[KeySize]byte(key)}, nil
}

// Hash returns the HMAC-SHA256 of a place and a content; equal contents of
// different places have different hashes.
func (x *Index) Hash(p Place, content string) []byte {
	m := hmac.New(sha256.New, x.key[:])
	where := p.bytes()
	m.Write(binary.AppendUvarint(nil, uint64(len(where))))
	m.Write(where)
	m.Write([]byte(content))
	return m.Sum(nil)
}

// String returns a fixed mask.
func (*Keyring) String() string { return masked }

// GoString returns a fixed mask.
func (*Keyring) GoString() string { return masked }

// LogValue returns a fixed mask.
func (*Keyring) LogValue() slog.Value { return slog.StringValue(masked) }

// String returns a fixed mask.
func (*Cipher) String() string { return masked }

// GoString returns a fixed mask.
func (*Cipher) GoString() string { return masked }

// LogValue returns a fixed mask.
func (*Cipher) LogValue() slog.Value { return slog.StringValue(masked) }

// String returns a fixed mask.
func (*Index) String() string { return masked }

// GoString returns a fixed mask.
func (*Index) GoString() string { return masked }

// LogValue returns a fixed mask.
func (*Index) LogValue() slog.Value { return slog.StringValue(masked) }
