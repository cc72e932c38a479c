package signature_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/signature"
)

// The asymmetric vector of the Standard Webhooks libraries, over the same
// text as the symmetric one.
const (
	vectorKey    = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	vectorPublic = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	vectorKeySig = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

func keyOf(t testing.TB, text string) signature.PrivateKey {
	t.Helper()
	k, err := signature.ParsePrivateKey(text)
	if err != nil {
		t.Fatalf("ParsePrivateKey: %v", err)
	}
	return k
}

func publicOf(t testing.TB, text string) signature.PublicKey {
	t.Helper()
	k, err := signature.ParsePublicKey(text)
	if err != nil {
		t.Fatalf("ParsePublicKey(%q): %v", text, err)
	}
	return k
}

// signed returns the signature header of a message under the secrets and keys.
func signed(t testing.TB, id string, unix int64, body string, secrets []signature.Secret, keys ...signature.PrivateKey) string {
	t.Helper()
	s, err := signature.NewSigner(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.WithKeys(keys...).Sign(id, unix, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSign_keys(t *testing.T) {
	t.Parallel()
	secret, former := secretOf(t, vectorSecret), signature.NewSecret()
	key, retired := keyOf(t, vectorKey), signature.NewPrivateKey()
	v1 := signed(t, vectorID, vectorUnix, vectorBody, []signature.Secret{former})
	v1a := strings.TrimPrefix(signed(t, vectorID, vectorUnix, vectorBody, []signature.Secret{secret}, retired), vectorSig+" ")
	tests := []struct {
		name    string
		secrets []signature.Secret
		keys    []signature.PrivateKey
		want    string
	}{
		{"a secret alone", []signature.Secret{secret}, nil, vectorSig},
		{"a secret and a key", []signature.Secret{secret}, []signature.PrivateKey{key}, vectorSig + " " + vectorKeySig},
		{"two secrets and a key", []signature.Secret{secret, former}, []signature.PrivateKey{key}, vectorSig + " " + v1 + " " + vectorKeySig},
		{"two of each, in the order given", []signature.Secret{former, secret}, []signature.PrivateKey{retired, key}, v1 + " " + vectorSig + " " + v1a + " " + vectorKeySig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := signature.NewSigner(tt.secrets...)
			if err != nil {
				t.Fatal(err)
			}
			s = s.WithKeys(tt.keys...)
			for _, body := range []string{vectorBody, strings.Repeat("x", 100_000), vectorBody, "{}"} { // the state is reused
				got, err := s.Sign(vectorID, vectorUnix, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				if body == vectorBody && got != tt.want {
					t.Errorf("Sign = %q, want %q", got, tt.want)
				}
				for _, k := range tt.keys {
					if err := signature.VerifyKey(headerOf(vectorID, strconv.Itoa(vectorUnix), got), []byte(body), time.Unix(vectorUnix, 0), k.Public()); err != nil {
						t.Errorf("a body of %d bytes: VerifyKey = %v, want nil", len(body), err)
					}
				}
			}
		})
	}
}

func TestSign_refusesAZeroKey(t *testing.T) {
	t.Parallel()
	s, err := signature.NewSigner(signature.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	s = s.WithKeys(signature.NewPrivateKey(), signature.PrivateKey{})
	if got, err := s.Sign("evt_1", vectorUnix, []byte("{}")); !errors.Is(err, signature.ErrPrivateKey) || got != "" {
		t.Errorf("Sign = %q, %v; want %v", got, err, signature.ErrPrivateKey)
	}
}

func TestSign_allocatesWithKeys(t *testing.T) {
	s, err := signature.NewSigner(secretOf(t, vectorSecret))
	if err != nil {
		t.Fatal(err)
	}
	s = s.WithKeys(keyOf(t, vectorKey))
	body := []byte(strings.Repeat("a", 1024))
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Sign(vectorID, vectorUnix, body) }); got > 2 {
		t.Errorf("Sign with a key allocates %v times, want at most 2", got)
	}
}

func TestParsePrivateKey(t *testing.T) {
	t.Parallel()
	enc := strings.TrimPrefix(vectorKey, "whsk_")
	raw, err := base64.StdEncoding.DecodeString(enc)
	if err != nil {
		t.Fatal(err)
	}
	other := signature.NewPrivateKey().Public().Bytes()
	swapped := append(bytes.Clone(raw[:32]), other...)
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"the vector", vectorKey, true},
		{"no prefix", enc, false},
		{"the prefix of a secret", "whsec_" + enc, false},
		{"the prefix of a public key", "whpk_" + enc, false},
		{"the seed alone", "whsk_" + base64.StdEncoding.EncodeToString(raw[:32]), false},
		{"a byte more", "whsk_" + base64.StdEncoding.EncodeToString(append(bytes.Clone(raw), 0)), false},
		{"the public key of another seed", "whsk_" + base64.StdEncoding.EncodeToString(swapped), false},
		{"64 zero bytes", "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 64)), false},
		{"no padding", strings.TrimRight(vectorKey, "="), false},
		{"bits left over", strings.TrimSuffix(vectorKey, "g==") + "h==", false},
		{"a line break behind", vectorKey + "\n", false},
		{"a line break inside", vectorKey[:20] + "\n" + vectorKey[21:], false},
		{"only the prefix", "whsk_", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, err := signature.ParsePrivateKey(tt.text)
			if tt.ok {
				if err != nil || k.Text() != tt.text {
					t.Errorf("ParsePrivateKey = %v, Text equal %v; want the same text", err, k.Text() == tt.text)
				}
				return
			}
			if !errors.Is(err, signature.ErrPrivateKey) || k != (signature.PrivateKey{}) {
				t.Errorf("ParsePrivateKey = %v, want %v and no key", err, signature.ErrPrivateKey)
			}
		})
	}
}

func TestParsePublicKey(t *testing.T) {
	t.Parallel()
	enc := func(b []byte) string { return "whpk_" + base64.StdEncoding.EncodeToString(b) }
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"the vector", vectorPublic, true},
		{"no prefix", vectorPublic[5:], false},
		{"a private key", vectorKey, false},
		{"31 bytes", enc(make([]byte, 31)), false},
		{"33 bytes", enc(make([]byte, 33)), false},
		{"no padding", strings.TrimRight(vectorPublic, "="), false},
		{"bits left over", strings.TrimSuffix(vectorPublic, "4=") + "5=", false},
		{"a line break inside", vectorPublic[:20] + "\n" + vectorPublic[21:], false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, err := signature.ParsePublicKey(tt.text)
			if tt.ok {
				if err != nil || k.Text() != tt.text || k.String() != tt.text || enc(k.Bytes()) != tt.text {
					t.Errorf("ParsePublicKey = %q, %v; want the same text", k, err)
				}
				return
			}
			if !errors.Is(err, signature.ErrPublicKey) || k != (signature.PublicKey{}) {
				t.Errorf("ParsePublicKey = %q, %v; want %v and no key", k, err, signature.ErrPublicKey)
			}
		})
	}
}

// For a point of small order anybody can sign some texts: here with S = 0 and
// the neutral element as R, which is right whenever the order divides k. So
// these keys are refused; that crypto/ed25519 accepts such a signature shows
// that each is one.
func TestParsePublicKey_smallOrder(t *testing.T) {
	t.Parallel()
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign := range []byte{0, 0x80} {
			key, err := hex.DecodeString(y)
			if err != nil {
				t.Fatal(err)
			}
			key[31] |= sign
			weak := false
			for i := 0; i < 1000 && !weak; i++ {
				weak = ed25519.Verify(key, []byte(strconv.Itoa(i)), forged)
			}
			if !weak {
				t.Errorf("%x is not of small order", key)
			}
			if _, err := signature.ParsePublicKey("whpk_" + base64.StdEncoding.EncodeToString(key)); !errors.Is(err, signature.ErrPublicKey) {
				t.Errorf("ParsePublicKey(%x) = %v, want %v", key, err, signature.ErrPublicKey)
			}
			set := `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}]}`
			if got, err := signature.ParseJWKSet([]byte(set)); err != nil || len(got) != 0 {
				t.Errorf("ParseJWKSet of %x = %v, %v; want no key", key, got, err)
			}
		}
	}
}

func TestPrivateKey_public(t *testing.T) {
	t.Parallel()
	if got := keyOf(t, vectorKey).Public(); got != publicOf(t, vectorPublic) {
		t.Errorf("Public = %v, want %v", got, vectorPublic)
	}
	if got := (signature.PrivateKey{}).Public(); got != (signature.PublicKey{}) || len(got.Bytes()) != 0 {
		t.Errorf("Public of a zero key = %v, want a zero key", got)
	}
	a, b := signature.NewPrivateKey(), signature.NewPrivateKey()
	if a == b || a.Public() == b.Public() {
		t.Error("two fresh keys are equal")
	}
	if got := keyOf(t, a.Text()); got != a {
		t.Error("a fresh key is not the same after Text and ParsePrivateKey")
	}
}

func TestPrivateKey_printsNothing(t *testing.T) {
	t.Parallel()
	k := signature.NewPrivateKey()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(k.Text(), "whsk_"))
	if err != nil || len(raw) != 64 {
		t.Fatalf("key of %d bytes, %v; want 64", len(raw), err)
	}
	j, err := json.Marshal(map[string]any{"k": k, "p": &k, "l": []signature.PrivateKey{k}})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "k", k, "in", struct{ K signature.PrivateKey }{k})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "k", k, "in", struct{ K signature.PrivateKey }{k})
	seed := raw[:32]
	for _, got := range []string{
		fmt.Sprint(k), fmt.Sprint(&k), fmt.Sprintf("%v|%+v|%#v|%s|%x|%X|%q|%d", k, k, k, k, k, k, k, k),
		fmt.Sprintf("%+v", struct{ K signature.PrivateKey }{k}), string(j), k.LogValue().String(), log.String(),
	} {
		for _, part := range []string{
			string(seed), hex.EncodeToString(seed), strings.ToUpper(hex.EncodeToString(seed)),
			base64.StdEncoding.EncodeToString(raw)[:40], strings.Trim(fmt.Sprint(seed), "[]"), strings.Trim(fmt.Sprintf("%q", seed[:8]), `"`),
		} {
			if strings.Contains(got, part) {
				t.Errorf("the key shows in %q", got)
			}
		}
	}
}

func TestVerifyKey(t *testing.T) {
	t.Parallel()
	key, other := publicOf(t, vectorPublic), signature.NewPrivateKey()
	now := time.Unix(vectorUnix, 0)
	stamp := strconv.Itoa(vectorUnix)
	good := headerOf(vectorID, stamp, vectorKeySig)
	pair := signed(t, vectorID, vectorUnix, vectorBody, []signature.Secret{signature.NewSecret(), secretOf(t, vectorSecret)}, other, keyOf(t, vectorKey))
	forged := func(change func(sig []byte)) string {
		sig, err := base64.StdEncoding.DecodeString(vectorKeySig[4:])
		if err != nil {
			t.Fatal(err)
		}
		change(sig)
		return "v1a," + base64.StdEncoding.EncodeToString(sig)
	}
	// S + L is the other number that RFC 8032, section 5.1.7, has refused.
	order, err := hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	if err != nil {
		t.Fatal(err)
	}
	malleable := forged(func(sig []byte) {
		carry := 0
		for i, o := range order {
			sum := int(sig[32+i]) + int(o) + carry
			sig[32+i], carry = byte(sum), sum>>8
		}
	})
	with := func(name, value string) http.Header { h := good.Clone(); h.Add(name, value); return h }
	keys := func(k ...signature.PublicKey) []signature.PublicKey { return k }
	tests := []struct {
		name   string
		header http.Header
		body   string
		now    time.Time
		keys   []signature.PublicKey
		want   error
	}{
		{"the vector", good, vectorBody, now, keys(key), nil},
		{"two signatures, the receiver knows the new key", headerOf(vectorID, stamp, pair), vectorBody, now, keys(other.Public()), nil},
		{"two signatures, the receiver knows the old key", headerOf(vectorID, stamp, pair), vectorBody, now, keys(key), nil},
		{"one signature, the receiver knows both keys", good, vectorBody, now, keys(other.Public(), key), nil},
		{"two header lines", headerOf(vectorID, stamp, vectorSig, vectorKeySig), vectorBody, now, keys(key), nil},
		{"behind versions nobody knows", headerOf(vectorID, stamp, "v3,AAAA v1b,x v1a v1a, "+vectorKeySig), vectorBody, now, keys(key), nil},
		{"five minutes late", good, vectorBody, now.Add(5 * time.Minute), keys(key), nil},
		{"five minutes early", good, vectorBody, now.Add(-5 * time.Minute), keys(key), nil},
		{"a moment more than five minutes late", good, vectorBody, now.Add(5*time.Minute + 1), keys(key), signature.ErrTooOld},
		{"a moment more than five minutes early", good, vectorBody, now.Add(-5*time.Minute - 1), keys(key), signature.ErrTooNew},
		{"the end of time", headerOf(vectorID, "9223372036854775807", vectorKeySig), vectorBody, now, keys(key), signature.ErrHeaders},
		{"another body", good, vectorBody + " ", now, keys(key), signature.ErrNoMatches},
		{"another id", headerOf("msg_other", stamp, vectorKeySig), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"another timestamp", headerOf(vectorID, strconv.Itoa(vectorUnix+1), vectorKeySig), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"another key", good, vectorBody, now, keys(other.Public()), signature.ErrNoMatches},
		{"only a symmetric signature", headerOf(vectorID, stamp, vectorSig), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"the signature called v1", headerOf(vectorID, stamp, "v1,"+vectorKeySig[4:]), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"the signature called v2a", headerOf(vectorID, stamp, "v2a,"+vectorKeySig[4:]), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"a version in capitals", headerOf(vectorID, stamp, "V1A,"+vectorKeySig[4:]), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"a changed R", headerOf(vectorID, stamp, forged(func(sig []byte) { sig[0] ^= 1 })), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"a changed S", headerOf(vectorID, stamp, forged(func(sig []byte) { sig[32] ^= 1 })), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"the same signature with S+L", headerOf(vectorID, stamp, malleable), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"zero bytes", headerOf(vectorID, stamp, forged(func(sig []byte) { clear(sig) })), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"a truncated signature", headerOf(vectorID, stamp, vectorKeySig[:len(vectorKeySig)-4]), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"no padding", headerOf(vectorID, stamp, strings.TrimRight(vectorKeySig, "=")), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"bits left over", headerOf(vectorID, stamp, strings.TrimSuffix(vectorKeySig, "g==")+"h=="), vectorBody, now, keys(key), signature.ErrNoMatches},
		{"no signature", headerOf(vectorID, stamp), vectorBody, now, keys(key), signature.ErrHeaders},
		{"an id with a dot", headerOf("msg.1", stamp, vectorKeySig), vectorBody, now, keys(key), signature.ErrHeaders},
		{"a timestamp with a plus", headerOf(vectorID, "+"+stamp, vectorKeySig), vectorBody, now, keys(key), signature.ErrHeaders},
		{"no headers", http.Header{}, vectorBody, now, keys(key), signature.ErrHeaders},
		{"two ids", with("webhook-id", "msg_2"), vectorBody, now, keys(key), signature.ErrHeaders},
		{"two timestamps", with("webhook-timestamp", stamp), vectorBody, now, keys(key), signature.ErrHeaders},
		{"no key", good, vectorBody, now, nil, signature.ErrNoKey},
		{"a zero key beside the right one", good, vectorBody, now, keys(key, signature.PublicKey{}), signature.ErrPublicKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := signature.VerifyKey(tt.header, []byte(tt.body), tt.now, tt.keys...); !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
				t.Errorf("VerifyKey = %v, want %v", err, tt.want)
			}
		})
	}
}

// Each verifier goes by its own scheme: a header that is right for one only
// does not pass the other.
func TestVerify_ignoresKeys(t *testing.T) {
	t.Parallel()
	secret, key := signature.NewSecret(), signature.NewPrivateKey()
	now := time.Unix(vectorUnix, 0)
	all := signed(t, vectorID, vectorUnix, vectorBody, []signature.Secret{secret}, key)
	v1, v1a, _ := strings.Cut(all, " ")
	tests := []struct {
		name, sigs       string
		bySecret, byAKey error
	}{
		{"both", all, nil, nil},
		{"both, the other way round", v1a + " " + v1, nil, nil},
		{"v1 alone", v1, nil, signature.ErrNoMatches},
		{"v1a alone", v1a, signature.ErrNoMatches, nil},
		{"versions exchanged", "v1a" + v1[2:] + " v1" + v1a[3:], signature.ErrNoMatches, signature.ErrNoMatches},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := headerOf(vectorID, strconv.Itoa(vectorUnix), tt.sigs)
			if err := signature.Verify(h, []byte(vectorBody), now, secret); !errors.Is(err, tt.bySecret) {
				t.Errorf("Verify = %v, want %v", err, tt.bySecret)
			}
			if err := signature.VerifyKey(h, []byte(vectorBody), now, key.Public()); !errors.Is(err, tt.byAKey) {
				t.Errorf("VerifyKey = %v, want %v", err, tt.byAKey)
			}
		})
	}
}

func TestVerifyKey_looksAtFewSignatures(t *testing.T) {
	t.Parallel()
	now, key := time.Unix(vectorUnix, 0), publicOf(t, vectorPublic)
	junk := "v1a," + base64.StdEncoding.EncodeToString(make([]byte, 64)) + " "
	tests := []struct {
		name   string
		before int
		want   error
	}{
		{"the last that is looked at", 63, nil},
		{"the first that is not", 64, signature.ErrNoMatches},
		{"behind 100,000 others", 100_000, signature.ErrNoMatches},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := headerOf(vectorID, strconv.Itoa(vectorUnix), strings.Repeat(junk, tt.before)+vectorKeySig)
			if err := signature.VerifyKey(h, []byte(vectorBody), now, key); !errors.Is(err, tt.want) {
				t.Errorf("VerifyKey = %v, want %v", err, tt.want)
			}
		})
	}
}

// What is accepted is exactly what the signer would have made. Ed25519 is
// deterministic, and only one encoding of a signature counts.
func FuzzVerifyKey(f *testing.F) {
	f.Add(vectorID, strconv.Itoa(vectorUnix), vectorKeySig, vectorBody)
	f.Add(vectorID, strconv.Itoa(vectorUnix), vectorSig+" "+vectorKeySig, vectorBody)
	f.Add(vectorID, strconv.Itoa(vectorUnix), "v1a,"+strings.Repeat("A", 86)+"==", vectorBody)
	f.Add("a.b", "-1", "v1a,", "")
	f.Add("", "99999999999999999999", "v1a,x v1,=", "\xff")
	key := keyOf(f, vectorKey)
	signer, err := signature.NewSigner(signature.NewSecret())
	if err != nil {
		f.Fatal(err)
	}
	signer = signer.WithKeys(key)
	f.Fuzz(func(t *testing.T, id, stamp, sig, body string) {
		if err := signature.VerifyKey(headerOf(id, stamp, sig), []byte(body), time.Unix(vectorUnix, 0), key.Public()); err != nil {
			return
		}
		unix, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil {
			t.Fatalf("accepted with the timestamp %q", stamp)
		}
		all, err := signer.Sign(id, unix, []byte(body))
		if err != nil {
			return // the signer would not sign it; the verifier does not care
		}
		if _, want, _ := strings.Cut(all, " "); !strings.Contains(sig, want) {
			t.Fatalf("accepted %q for %q.%q.%q", sig, id, stamp, body)
		}
	})
}

// A key that is read is written as it was read, and works.
func FuzzParseKeys(f *testing.F) {
	f.Add(vectorKey)
	f.Add(vectorPublic)
	f.Add("whsk_")
	f.Add("whpk_" + strings.Repeat("A", 43) + "=")
	f.Add(strings.TrimRight(vectorKey, "="))
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := signature.ParsePrivateKey(text); err == nil {
			if k.Text() != text {
				t.Fatal("a private key is not written as it was read")
			}
			sig := signed(t, "evt_1", vectorUnix, "{}", []signature.Secret{secretOf(t, vectorSecret)}, k)
			if err := signature.VerifyKey(headerOf("evt_1", strconv.Itoa(vectorUnix), sig), []byte("{}"), time.Unix(vectorUnix, 0), k.Public()); err != nil {
				t.Fatalf("a private key that was read does not sign: %v", err)
			}
		}
		if k, err := signature.ParsePublicKey(text); err == nil && (k.Text() != text || len(k.Bytes()) != 32) {
			t.Fatalf("the public key %q is not written as it was read", text)
		}
	})
}

func BenchmarkSign_withKey(b *testing.B) {
	s, err := signature.NewSigner(secretOf(b, vectorSecret))
	if err != nil {
		b.Fatal(err)
	}
	s = s.WithKeys(keyOf(b, vectorKey))
	body := []byte(strings.Repeat("a", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(vectorID, vectorUnix, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyKey(b *testing.B) {
	body := strings.Repeat("a", 1024)
	key := keyOf(b, vectorKey)
	h := headerOf(vectorID, strconv.Itoa(vectorUnix), signed(b, vectorID, vectorUnix, body, []signature.Secret{signature.NewSecret()}, key))
	public, now := key.Public(), time.Unix(vectorUnix, 0)
	b.ReportAllocs()
	for b.Loop() {
		if err := signature.VerifyKey(h, []byte(body), now, public); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePrivateKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signature.ParsePrivateKey(vectorKey); err != nil {
			b.Fatal(err)
		}
	}
}
