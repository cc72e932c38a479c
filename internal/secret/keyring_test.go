package secret

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
)

// key returns a key of one letter, as it is configured.
func key(letter byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{letter}, KeySize))
}

func ring(t testing.TB, list string) *Keyring {
	t.Helper()
	r, err := ParseKeyring(New(list))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if fault.CodeOf(err) != code {
		t.Errorf("got %v, want %q", err, code)
	}
}

var place = Place{What: "endpoint", Owner: "sub_1", Field: "sealed"}

func TestParseKeyring(t *testing.T) {
	t.Parallel()
	short := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 31))
	tests := []struct {
		name, list, code string
	}{
		{"one key", key('a'), ""},
		{"several keys", key('a') + "," + key('b') + "," + key('c'), ""},
		{"none", "", "master_key_missing"},
		{"a key of 31 bytes", short, "master_key_malformed"},
		{"a key of 33 bytes", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 33)), "master_key_malformed"},
		{"no base 64", strings.Repeat("!", 44), "master_key_malformed"},
		{"URL-safe base 64", base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, KeySize)), "master_key_malformed"},
		{"no padding", strings.TrimRight(key('a'), "="), "master_key_malformed"},
		{"bits behind the end", key('a')[:42] + "F=", "master_key_malformed"},
		{"a line break inside", key('a')[:20] + "\n" + key('a')[20:], "master_key_malformed"},
		{"a blank behind the comma", key('a') + ", " + key('b'), "master_key_malformed"},
		{"a comma at the end", key('a') + ",", "master_key_malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseKeyring(New(tt.list))
			wantCode(t, err, tt.code)
			if (err == nil) != (r != nil) {
				t.Errorf("got ring %v and error %v, want one of them", r, err)
			}
			if err != nil && tt.list != "" && strings.Contains(err.Error(), tt.list) {
				t.Errorf("the error holds the key: %v", err)
			}
		})
	}
}

func TestKeyring_opensWhatItSealed(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a'))
	for _, content := range []string{"", "x", strings.Repeat("secret ", 1000)} {
		sealed := r.Seal([]byte(content), place)
		if len(content) > 1 && bytes.Contains(sealed, []byte(content)) {
			t.Error("the record holds the content in clear")
		}
		got, err := r.Open(sealed, place)
		if err != nil || string(got) != content {
			t.Errorf("got %.20q, %v, want %.20q", got, err, content)
		}
		if bytes.Equal(sealed, r.Seal([]byte(content), place)) {
			t.Error("sealing twice gave the same record, want a fresh nonce")
		}
	}
}

func TestKeyring_refusesWhatIsNotAsSealed(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a'))
	sealed := r.Seal([]byte("content"), place)
	other := func(p Place) func([]byte) ([]byte, Place) {
		return func(b []byte) ([]byte, Place) { return b, p }
	}
	flip := func(i int) func([]byte) ([]byte, Place) {
		return func(b []byte) ([]byte, Place) { b[i] ^= 1; return b, place }
	}
	tests := []struct {
		name   string
		change func([]byte) ([]byte, Place)
		code   string
	}{
		{"another kind of row", other(Place{"consent", "sub_1", "sealed"}), "sealed_altered"},
		{"another row", other(Place{"endpoint", "sub_2", "sealed"}), "sealed_altered"},
		{"another column", other(Place{"endpoint", "sub_1", "shown"}), "sealed_altered"},
		{"the same letters split elsewhere", other(Place{"endpoints", "ub_1", "sealed"}), "sealed_altered"},
		{"the same letters split elsewhere, at the end", other(Place{"endpoint", "sub_1s", "ealed"}), "sealed_altered"},
		{"another format", flip(0), "sealed_malformed"},
		{"another key's ID", flip(3), "sealed_by_unknown_key"},
		{"another nonce", flip(1 + idSize), "sealed_altered"},
		{"another content", flip(1 + idSize + nonceSize), "sealed_altered"},
		{"another tag", flip(len(sealed) - 1), "sealed_altered"},
		{"one byte more", func(b []byte) ([]byte, Place) { return append(b, 0), place }, "sealed_altered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := r.Open(tt.change(bytes.Clone(sealed)))
			wantCode(t, err, tt.code)
			if got != nil {
				t.Errorf("got content %q with the error", got)
			}
			if err != nil && strings.Contains(err.Error(), "content") {
				t.Errorf("the error holds content: %v", err)
			}
		})
	}
	for n := range sealed { // every way to cut it short
		if _, err := r.Open(sealed[:n], place); fault.KindOf(err) != fault.Internal || err == nil {
			t.Errorf("cut to %d bytes: got %v, want an internal error", n, err)
		}
	}
}

func TestKeyring_rotation(t *testing.T) {
	t.Parallel()
	before, after := ring(t, key('a')), ring(t, key('b')+","+key('a'))
	old := before.Seal([]byte("kept"), place)
	if got, err := after.Open(old, place); err != nil || string(got) != "kept" {
		t.Errorf("a later key of the ring: got %q, %v, want it opened", got, err)
	}
	fresh := after.Seal([]byte("kept"), place)
	_, err := before.Open(fresh, place)
	wantCode(t, err, "sealed_by_unknown_key")
	if after.Current(old) || !after.Current(fresh) || after.Current(nil) {
		t.Errorf("current: got old %v, fresh %v, empty %v, want only the fresh one", after.Current(old), after.Current(fresh), after.Current(nil))
	}
	if bytes.Contains(fresh, bytes.Repeat([]byte{'b'}, 4)) {
		t.Error("the record tells of the master key")
	}
}

func TestKeyring_Replace(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a')+","+key('b'))
	first := r.KeyID()
	old := r.Seal([]byte("kept"), place)
	for _, bad := range []string{"", "none", key('c') + ",", key('c') + ", " + key('a')} {
		if err := r.Replace(New(bad)); fault.KindOf(err) != fault.Invalid || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v, want fault.Invalid without the list", bad, err)
		}
		if r.KeyID() != first || !r.Current(old) {
			t.Errorf("%q: got another key that seals, want nothing changed", bad)
		}
	}
	if _, err := r.Open(ring(t, key('c')).Seal([]byte("x"), place), place); err == nil {
		t.Error("a key of a malformed list opens")
	}

	if err := r.Replace(New(key('c') + "," + key('d'))); err != nil {
		t.Fatal(err)
	}
	fresh := r.Seal([]byte("fresh"), place)
	if r.KeyID() == first || r.KeyID() != ring(t, key('c')).KeyID() || r.Current(old) || !r.Current(fresh) {
		t.Errorf("got key %s after %s, want the new list's first", r.KeyID(), first)
	}
	if got, err := ring(t, key('c')).Open(fresh, place); err != nil || string(got) != "fresh" {
		t.Errorf("got %q, %v, want it sealed by the new first key", got, err)
	}
	for _, letter := range []byte("abcd") { // former ones and new ones
		if got, err := r.Open(ring(t, key(letter)).Seal([]byte("x"), place), place); err != nil || string(got) != "x" {
			t.Errorf("key %c: got %q, %v, want it opened", letter, got, err)
		}
	}
	if err := r.Replace(New(key('a'))); err != nil || r.KeyID() != first || !r.Current(old) {
		t.Errorf("got key %s, %v, want %s to be the first again", r.KeyID(), err, first)
	}
}

func TestKeyring_KeyID(t *testing.T) {
	t.Parallel()
	a, again, b := ring(t, key('a')).KeyID(), ring(t, key('a')+","+key('b')).KeyID(), ring(t, key('b')+","+key('a')).KeyID()
	if a != again || a == b || len(a) != 2*idSize || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("got %q, %q, %q, want one hexadecimal name for each first key", a, again, b)
	}
}

// TestKeyring_replacedInUse: whatever is sealed while the keys are replaced
// opens, and what is sealed after a replacement is sealed by its first key.
func TestKeyring_replacedInUse(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a'))
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				sealed := r.Seal([]byte("x"), place)
				r.Current(sealed)
				if got, err := r.Open(sealed, place); err != nil || string(got) != "x" {
					t.Errorf("got %q, %v, want it opened", got, err)
					return
				}
			}
		})
	}
	for range 200 {
		for _, letter := range []byte("bcdef") {
			if err := r.Replace(New(key(letter))); err != nil {
				t.Error(err)
			}
			if !r.Current(r.Seal(nil, place)) {
				t.Error("got it sealed by a former key")
			}
		}
	}
	stop.Store(true)
	wg.Wait()

	r = ring(t, key('a')) // none of several lists at once is lost
	for _, letter := range []byte("bcdefgh") {
		wg.Go(func() {
			if err := r.Replace(New(key(letter))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, letter := range []byte("abcdefgh") {
		if _, err := r.Open(ring(t, key(letter)).Seal(nil, place), place); err != nil {
			t.Errorf("key %c: got %v, want it opened", letter, err)
		}
	}
}

func TestKeyring_dataKeys(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a'))
	owner := Place{"subject", "1/con_1", "sealed_key"}
	sealedKey, c := r.NewKey(owner)
	again, err := r.OpenKey(sealedKey, owner)
	if err != nil {
		t.Fatal(err)
	}
	sealed := c.Seal([]byte("body"), place)
	if got, err := again.Open(sealed, place); err != nil || string(got) != "body" {
		t.Errorf("got %q, %v, want it opened with the key that was kept", got, err)
	}
	_, err = r.OpenKey(sealedKey, Place{"subject", "1/con_2", "sealed_key"})
	wantCode(t, err, "sealed_altered")
	_, err = r.OpenKey(r.Seal([]byte("no key"), owner), owner)
	wantCode(t, err, "sealed_malformed")

	_, stranger := r.NewKey(owner)
	_, err = stranger.Open(sealed, place)
	wantCode(t, err, "sealed_altered")
	_, err = c.Open(sealed, Place{"endpoint", "sub_2", "sealed"})
	wantCode(t, err, "sealed_altered")
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 0x80
		if _, err := c.Open(changed, place); err == nil {
			t.Errorf("byte %d was changed: got no error", i)
		}
		if _, err := c.Open(sealed[:i], place); err == nil {
			t.Errorf("cut to %d bytes: got no error", i)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a'))
	at := Place{"meta", "index", "value"}
	sealed, x := r.NewIndex(at)
	again, err := r.OpenIndex(sealed, at)
	if err != nil {
		t.Fatal(err)
	}
	here := Place{"consent", "app_1", "citizenId"}
	h := x.Hash(here, "52998224725")
	if !bytes.Equal(h, again.Hash(here, "52998224725")) {
		t.Error("the index that was kept hashes differently")
	}
	_, other := r.NewIndex(at)
	for name, o := range map[string][]byte{
		"another content":                       x.Hash(here, "52998224726"),
		"another application":                   x.Hash(Place{"consent", "app_2", "citizenId"}, "52998224725"),
		"a content that runs into the place":    x.Hash(Place{"consent", "app_1", "citizenI"}, "d52998224725"),
		"another store's key, the same content": other.Hash(here, "52998224725"),
	} {
		if bytes.Equal(h, o) {
			t.Errorf("%s: got the same hash", name)
		}
	}
	_, err = r.OpenIndex(sealed, here)
	wantCode(t, err, "sealed_altered")
	_, err = r.OpenIndex(r.Seal([]byte("short"), at), at)
	wantCode(t, err, "sealed_malformed")
}

func TestKeys_doNotPrint(t *testing.T) {
	t.Parallel()
	r := ring(t, key('a'))
	_, c := r.NewKey(place)
	_, x := r.NewIndex(place)
	for _, k := range []any{r, c, x} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("key", "error", k)
		for _, got := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), log.String()} {
			if !strings.Contains(got, masked) || len(got) > 100 {
				t.Errorf("%T: got %.60q, want a mask", k, got)
			}
		}
	}
}

// FuzzKeyring_Open: nothing that was not sealed opens, and nothing panics.
func FuzzKeyring_Open(f *testing.F) {
	r := ring(f, key('a')+","+key('b'))
	good := r.Seal([]byte("content"), place)
	_, c := r.NewKey(place)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(c.Seal([]byte("content"), place))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := r.Open(b, place); err == nil && string(got) != "content" { // all that ever was sealed
			t.Errorf("opened %x to %q", b, got)
		}
		if _, err := r.OpenKey(b, place); err == nil {
			t.Errorf("opened %x to a key", b)
		}
		r.Current(b)
	})
}

func BenchmarkCipher(b *testing.B) {
	_, c := ring(b, key('a')).NewKey(place)
	body := bytes.Repeat([]byte("x"), 1024)
	sealed := c.Seal(body, place)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Seal(body, place)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Open(sealed, place); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open key", func(b *testing.B) {
		r := ring(b, key('a'))
		k, _ := r.NewKey(place)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.OpenKey(k, place); err != nil {
				b.Fatal(err)
			}
		}
	})
}
