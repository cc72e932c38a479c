package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

var goodKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

const goodToken = "0123456789abcdef0123456789abcdef"

// files writes a certificate with its key, another key, and some texts, and
// returns their folder.
func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", "other-"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
		cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+"cert.pem", 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
		write(name+"key.pem", 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	write("token", 0o600, []byte(goodToken+"\n"))
	write("token-crlf", 0o600, []byte(goodToken+"\r\n"))
	write("token-open", 0o644, []byte(goodToken))
	write("token-short", 0o600, []byte("hunter2\n"))
	write("keys", 0o600, []byte(goodKey+","+goodKey+"\n"))
	write("large", 0o600, bytes.Repeat([]byte("a"), maxSecretFile+1))
	return dir
}

func TestParse_defaults(t *testing.T) {
	t.Parallel()
	for _, cmd := range []Command{Serve, Migrate, Dev, RotateKeys} {
		got, c, err := Parse(strings.Fields(string(cmd)), []string{"HOME=/x", "consentwire_listen=x"}, io.Discard, io.Discard)
		if err != nil || got != cmd {
			t.Fatalf("got %q, %v, want %q", got, err, cmd)
		}
		want := Config{
			Listen:                "127.0.0.1:8080",
			DataDir:               "./consentwire-data",
			ConsentApprovalTTL:    60 * time.Minute,
			ConsentConsumptionTTL: 70 * time.Minute,
			RetrySchedule: []time.Duration{
				5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
				10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
			},
			AttemptTimeout: 15 * time.Second,
			LogLevel:       slog.LevelInfo,
			LogFormat:      "json",
		}
		switch cmd {
		case Dev:
			want.DataDir, want.LogLevel = "", slog.LevelWarn
		case RotateKeys:
			want.LogLevel = slog.LevelWarn
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: got %+v, want %+v", cmd, c, want)
		}
	}
}

// A newcomer's terminal shows the banner; whoever asks for more gets it.
func TestParse_devLogsWhatItIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args, env []string
	}{
		{[]string{"dev", "--log-level=info"}, nil},
		{[]string{"dev"}, []string{"CONSENTWIRE_LOG_LEVEL=info"}},
	} {
		_, c, err := Parse(tt.args, tt.env, io.Discard, io.Discard)
		if err != nil || c.LogLevel != slog.LevelInfo {
			t.Errorf("%v %v: got %v, %v, want %v", tt.args, tt.env, c.LogLevel, err, slog.LevelInfo)
		}
	}
}

func TestParse_accepts(t *testing.T) {
	t.Parallel()
	dir := files(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	tests := []struct {
		name string
		args string // after "serve"
		env  []string
		want func(*Config) // changes the default
	}{
		{"a variable", "", []string{"CONSENTWIRE_LISTEN=:0"}, func(c *Config) { c.Listen, c.ListenSet = ":0", true }},
		{"a flag", "--listen=[::1]:443", nil, func(c *Config) { c.Listen, c.ListenSet = "[::1]:443", true }},
		{"a flag before its variable", "--listen localhost:1", []string{"CONSENTWIRE_LISTEN=:0"}, func(c *Config) { c.Listen, c.ListenSet = "localhost:1", true }},
		{"a good flag whose variable is malformed", "--listen localhost:1", []string{"CONSENTWIRE_LISTEN=x"}, func(c *Config) { c.Listen, c.ListenSet = "localhost:1", true }},
		{"the last of two flags", "--listen :1 --listen :2", nil, func(c *Config) { c.Listen, c.ListenSet = ":2", true }},
		{"what an orchestrator injects", "", []string{"CONSENTWIRE_SERVICE_HOST=10.0.0.1", "CONSENTWIRE_PORT=tcp://10.0.0.1:80", "CONSENTWIRE_PORT_80_TCP_ADDR=10.0.0.1"}, func(*Config) {}},
		{"TLS", "--tls-cert-file " + at("cert.pem"), []string{"CONSENTWIRE_TLS_KEY_FILE=" + at("key.pem")}, func(c *Config) {
			c.TLSCertFile, c.TLSKeyFile = at("cert.pem"), at("key.pem")
		}},
		{"a public URL", "--public-url https://Consent.Example:8443", nil, func(c *Config) { c.PublicURL = "https://consent.example:8443" }},
		{"a public URL with a slash at its end", "", []string{"CONSENTWIRE_PUBLIC_URL=http://[::1]/"}, func(c *Config) { c.PublicURL = "http://[::1]" }},
		{"an empty variable of a setting without default", "", []string{"CONSENTWIRE_PUBLIC_URL=", "CONSENTWIRE_EGRESS_ALLOW=", "CONSENTWIRE_DATABASE=", "CONSENTWIRE_TLS_CERT_FILE="}, func(*Config) {}},
		{"a data folder", "--data-dir /var/lib/x", nil, func(c *Config) { c.DataDir = "/var/lib/x" }},
		{"the embedded store by name", "--database embedded", nil, func(*Config) {}},
		{"a token", "", []string{"CONSENTWIRE_ADMIN_TOKEN=" + goodToken}, func(c *Config) { c.AdminToken = secret.New(goodToken) }},
		{"a token from a file", "--admin-token-file " + at("token"), nil, func(c *Config) { c.AdminToken = secret.New(goodToken) }},
		{"a token from a file with a foreign line end", "", []string{"CONSENTWIRE_ADMIN_TOKEN_FILE=" + at("token-crlf")}, func(c *Config) { c.AdminToken = secret.New(goodToken) }},
		{"a token that others may read, with a warning", "--admin-token-file " + at("token-open"), nil, func(c *Config) {
			c.AdminToken = secret.New(goodToken)
			c.Warnings = []string{"--admin-token-file names a file that others may read (mode 0644); 0600 is enough."}
		}},
		{"a provider", "--oidc-issuer https://id.example/realms/x --oidc-client-id cw", []string{"CONSENTWIRE_OIDC_CLIENT_SECRET=s p"}, func(c *Config) {
			c.OIDC = OIDC{Issuer: "https://id.example/realms/x", ClientID: "cw", Secret: secret.New("s p"), Name: "id.example"}
		}},
		{"a provider by name, for which we have no secret", "--oidc-issuer https://id.example --oidc-client-id cw --oidc-name Aurora", nil, func(c *Config) {
			c.OIDC = OIDC{Issuer: "https://id.example", ClientID: "cw", Name: "Aurora"}
		}},
		{"a master key", "", []string{"CONSENTWIRE_MASTER_KEY=" + goodKey}, func(c *Config) { c.MasterKey = secret.New(goodKey) }},
		{"master keys from a file", "", []string{"CONSENTWIRE_MASTER_KEY_FILE=" + at("keys")}, func(c *Config) {
			c.MasterKey, c.MasterKeyFile = secret.New(goodKey+","+goodKey), at("keys")
		}},
		{"a command that prints the master keys, with what it needs of the environment", "--master-key-command exit", []string{"HOME=/x", "CONSENTWIRE_ADMIN_TOKEN=" + goodToken}, func(c *Config) {
			c.AdminToken = secret.New(goodToken)
			c.MasterKeyCommand, c.commandEnviron = "exit", []string{"HOME=/x"}
		}},
		{"addresses that may be dialled", "--egress-allow 127.0.0.1/8,::1,[fd00::1],10.1.2.3", nil, func(c *Config) {
			c.EgressAllow = []netip.Prefix{
				netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fd00::1/128"), netip.MustParsePrefix("10.1.2.3/32"),
			}
		}},
		{"hosts that may be dialled", "", []string{"CONSENTWIRE_EGRESS_ALLOW=localhost, My_Host.Internal."}, func(c *Config) { c.EgressAllowHosts = []string{"localhost", "my_host.internal"} }},
		{"a switch alone", "--egress-allow-http", nil, func(c *Config) { c.EgressAllowHTTP = true }},
		{"a switch with a value", "--egress-allow-http=false", []string{"CONSENTWIRE_EGRESS_ALLOW_HTTP=true"}, func(*Config) {}},
		{"a switch as a variable", "", []string{"CONSENTWIRE_EGRESS_ALLOW_HTTP=TRUE", "CONSENTWIRE_NO_MIGRATE=1"}, func(c *Config) { c.EgressAllowHTTP, c.NoMigrate = true, true }},
		{"short lives for tests", "--consent-approval-ttl 2s --consent-consumption-ttl 1m30s", nil, func(c *Config) {
			c.ConsentApprovalTTL, c.ConsentConsumptionTTL = 2*time.Second, 90*time.Second
		}},
		{"a retention in days", "--retention 90d", nil, func(c *Config) { c.Retention = 90 * 24 * time.Hour }},
		{"a retention in hours", "", []string{"CONSENTWIRE_RETENTION=36h"}, func(c *Config) { c.Retention = 36 * time.Hour }},
		{"a retention by size, whatever waits", "--retention-size 50GiB --retention-lossy", nil, func(c *Config) { c.RetentionSize, c.RetentionLossy = 50<<30, true }},
		{"a schedule of one wait", "--retry-schedule 1ms", nil, func(c *Config) { c.RetrySchedule = []time.Duration{time.Millisecond} }},
		{"a schedule with blanks", "", []string{"CONSENTWIRE_RETRY_SCHEDULE=1s, 2s"}, func(c *Config) { c.RetrySchedule = []time.Duration{time.Second, 2 * time.Second} }},
		{"the longest attempt", "--attempt-timeout 10m", nil, func(c *Config) { c.AttemptTimeout = 10 * time.Minute }},
		{"a level and a format", "--log-level debug --log-format text", nil, func(c *Config) { c.LogLevel, c.LogFormat = slog.LevelDebug, "text" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, want, err := Parse([]string{"serve"}, nil, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			cmd, got, err := Parse(append([]string{"serve"}, strings.Fields(tt.args)...), tt.env, io.Discard, io.Discard)
			if err != nil || cmd != Serve {
				t.Fatalf("got %q, %v, want serve", cmd, err)
			}
			if got.AdminToken.Reveal() != want.AdminToken.Reveal() || got.MasterKey.Reveal() != want.MasterKey.Reveal() {
				t.Errorf("got the secrets %q and %q, want %q and %q", got.AdminToken.Reveal(), got.MasterKey.Reveal(), want.AdminToken.Reveal(), want.MasterKey.Reveal())
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestParse_roots(t *testing.T) {
	t.Parallel()
	file := filepath.Join(files(t), "cert.pem")
	_, c, err := Parse([]string{"serve", "--egress-ca-file", file}, nil, io.Discard, io.Discard)
	if want, _ := os.ReadFile(file); err != nil || !bytes.Equal(c.EgressCA, want) {
		t.Errorf("got %q, %v, want the file's content", c.EgressCA, err)
	}
}

func TestParse_refuses(t *testing.T) {
	t.Parallel()
	dir := files(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	tests := []struct {
		name  string
		args  []string // after "serve"
		env   []string
		code  string
		names string // what the sentence names
	}{
		{"an unknown flag", []string{"--verbose"}, nil, "usage", "--verbose"},
		{"an argument", []string{"now"}, nil, "usage", "now"},
		{"a flag without its value", []string{"--listen"}, nil, "usage", "--listen"},
		{"a token on the command line", []string{"--admin-token", "hunter2"}, nil, "usage", "--admin-token"},
		{"a token on the command line, joined", []string{"--admin-token=hunter2"}, nil, "usage", "--admin-token"},
		{"a master key on the command line", []string{"--master-key=hunter2"}, nil, "usage", "--master-key"},
		{"an unknown variable", nil, []string{"CONSENTWIRE_LISTN=:80"}, "setting_unknown", "CONSENTWIRE_LISTN"},
		{"an unknown variable, empty", nil, []string{"CONSENTWIRE_X="}, "setting_unknown", "CONSENTWIRE_X"},
		{"a variable for the help", nil, []string{"CONSENTWIRE_HELP=true"}, "setting_unknown", "CONSENTWIRE_HELP"},
		{"the first of several unknown variables", nil, []string{"CONSENTWIRE_Z=", "CONSENTWIRE_B="}, "setting_unknown", "CONSENTWIRE_B"},

		{"an address without port", nil, []string{"CONSENTWIRE_LISTEN=127.0.0.1"}, "setting_malformed", "CONSENTWIRE_LISTEN"},
		{"an address given as a flag, under the flag's name", []string{"--listen", "x"}, nil, "setting_malformed", "--listen"},
		{"an empty address", nil, []string{"CONSENTWIRE_LISTEN="}, "setting_malformed", "CONSENTWIRE_LISTEN"},
		{"a port out of range", []string{"--listen=:65536"}, nil, "setting_malformed", "--listen"},
		{"a port in letters", []string{"--listen=:http"}, nil, "setting_malformed", "--listen"},
		{"a port with a sign", []string{"--listen=:+80"}, nil, "setting_malformed", "--listen"},
		{"an address with a blank", []string{"--listen=a b:80"}, nil, "setting_malformed", "--listen"},

		{"a certificate without key", []string{"--tls-cert-file", at("cert.pem")}, nil, "setting_malformed", "CONSENTWIRE_TLS_KEY_FILE"},
		{"a key without certificate", nil, []string{"CONSENTWIRE_TLS_KEY_FILE=" + at("key.pem")}, "setting_malformed", "CONSENTWIRE_TLS_CERT_FILE"},
		{"a certificate that is not there", []string{"--tls-cert-file", at("none"), "--tls-key-file", at("key.pem")}, nil, "setting_malformed", "--tls-cert-file"},
		{"a key that is not there", []string{"--tls-cert-file", at("cert.pem"), "--tls-key-file", at("none")}, nil, "setting_malformed", "--tls-key-file"},
		{"a key of another certificate", []string{"--tls-cert-file", at("cert.pem"), "--tls-key-file", at("other-key.pem")}, nil, "setting_malformed", "--tls-cert-file"},

		{"a public URL of another scheme", []string{"--public-url=ftp://x"}, nil, "setting_malformed", "--public-url"},
		{"a public URL without scheme", []string{"--public-url=consent.example"}, nil, "setting_malformed", "--public-url"},
		{"a public URL without host", []string{"--public-url=https://"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with a path", []string{"--public-url=https://x/y"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with a user", []string{"--public-url=https://hunter2@x"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with a query", []string{"--public-url=https://x?hunter2"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with an empty query", []string{"--public-url=https://x?"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with port 0", []string{"--public-url=https://x:0"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with an empty port", []string{"--public-url=https://x:"}, nil, "setting_malformed", "--public-url"},
		{"a public URL with a zone", []string{"--public-url=https://[fe80::1%25eth0]"}, nil, "setting_malformed", "--public-url"},

		{"an empty data folder", nil, []string{"CONSENTWIRE_DATA_DIR="}, "setting_malformed", "CONSENTWIRE_DATA_DIR"},
		{"a database without a host", nil, []string{"CONSENTWIRE_DATABASE=postgres://"}, "setting_malformed", "CONSENTWIRE_DATABASE must be"},
		{"an address that is none", []string{"--database=postgres://u:hunter2@h:port/db"}, nil, "setting_malformed", "--database must be"},
		{"another database", []string{"--database=mysql://u:hunter2@h/db"}, nil, "setting_malformed", "--database"},

		{"a provider that is no URL", []string{"--oidc-issuer=id.example", "--oidc-client-id=x"}, nil, "setting_malformed", "--oidc-issuer"},
		{"a provider with a password", []string{"--oidc-issuer=https://u:hunter2@id.example", "--oidc-client-id=x"}, nil, "setting_malformed", "--oidc-issuer"},
		{"a provider to which we are nobody", []string{"--oidc-issuer=https://id.example"}, nil, "setting_malformed", "CONSENTWIRE_OIDC_CLIENT_ID"},
		{"a client of no provider", []string{"--oidc-client-id=x"}, nil, "setting_malformed", "--oidc-client-id"},
		{"an empty secret at the provider", nil, []string{"CONSENTWIRE_OIDC_CLIENT_SECRET="}, "setting_malformed", "CONSENTWIRE_OIDC_CLIENT_SECRET"},
		{"a short token", nil, []string{"CONSENTWIRE_ADMIN_TOKEN=hunter2"}, "setting_malformed", "CONSENTWIRE_ADMIN_TOKEN"},
		{"a token of 31 characters", nil, []string{"CONSENTWIRE_ADMIN_TOKEN=hunter2" + goodToken[:24]}, "setting_malformed", "CONSENTWIRE_ADMIN_TOKEN"},
		{"an empty token", nil, []string{"CONSENTWIRE_ADMIN_TOKEN="}, "setting_malformed", "CONSENTWIRE_ADMIN_TOKEN"},
		{"a token with a blank", nil, []string{"CONSENTWIRE_ADMIN_TOKEN=hunter2 " + goodToken}, "setting_malformed", "CONSENTWIRE_ADMIN_TOKEN"},
		{"a token twice", []string{"--admin-token-file", at("token")}, []string{"CONSENTWIRE_ADMIN_TOKEN=" + goodToken}, "setting_malformed", "--admin-token-file"},
		{"a short token in a file", []string{"--admin-token-file", at("token-short")}, nil, "setting_malformed", "--admin-token-file"},
		{"a token file that is not there", nil, []string{"CONSENTWIRE_ADMIN_TOKEN_FILE=" + at("none")}, "setting_malformed", "CONSENTWIRE_ADMIN_TOKEN_FILE"},
		{"a token file that is a folder", []string{"--admin-token-file", dir}, nil, "setting_malformed", "--admin-token-file"},
		{"a token file without name", nil, []string{"CONSENTWIRE_ADMIN_TOKEN_FILE="}, "setting_malformed", "CONSENTWIRE_ADMIN_TOKEN_FILE"},
		{"a token file without end", []string{"--admin-token-file", at("large")}, nil, "setting_malformed", "--admin-token-file"},

		{"a master key that is no base 64", nil, []string{"CONSENTWIRE_MASTER_KEY=hunter2"}, "setting_malformed", "CONSENTWIRE_MASTER_KEY"},
		{"a master key of 16 bytes", nil, []string{"CONSENTWIRE_MASTER_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 16))}, "setting_malformed", "CONSENTWIRE_MASTER_KEY"},
		{"a master key in URL-safe base 64", nil, []string{"CONSENTWIRE_MASTER_KEY=" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{255}, 32))}, "setting_malformed", "CONSENTWIRE_MASTER_KEY"},
		{"a list of master keys with a hole", nil, []string{"CONSENTWIRE_MASTER_KEY=" + goodKey + ",," + goodKey}, "setting_malformed", "CONSENTWIRE_MASTER_KEY"},
		{"an empty master key", nil, []string{"CONSENTWIRE_MASTER_KEY="}, "setting_malformed", "CONSENTWIRE_MASTER_KEY"},
		{"a master key file that is not there", []string{"--master-key-file", at("none")}, nil, "setting_malformed", "--master-key-file"},

		{"a master key file without name", nil, []string{"CONSENTWIRE_MASTER_KEY_FILE="}, "setting_malformed", "CONSENTWIRE_MASTER_KEY_FILE"},
		{"an empty command for the master keys", nil, []string{"CONSENTWIRE_MASTER_KEY_COMMAND="}, "setting_malformed", "CONSENTWIRE_MASTER_KEY_COMMAND must be a command"},
		{"a blank command for the master keys", []string{"--master-key-command", " "}, nil, "setting_malformed", "--master-key-command must be a command"},
		{"a master key and a command", []string{"--master-key-command=echo hunter2"}, []string{"CONSENTWIRE_MASTER_KEY=" + goodKey}, "setting_malformed", "--master-key-command must not be given together with CONSENTWIRE_MASTER_KEY."},
		{"a master key file and a command", []string{"--master-key-file", at("keys")}, []string{"CONSENTWIRE_MASTER_KEY_COMMAND=echo hunter2"}, "setting_malformed", "CONSENTWIRE_MASTER_KEY_COMMAND must not be given together with --master-key-file."},
		{"a master key and its file", []string{"--master-key-file", at("keys")}, []string{"CONSENTWIRE_MASTER_KEY=" + goodKey}, "setting_malformed", "--master-key-file must not be given together with CONSENTWIRE_MASTER_KEY."},

		{"a CIDR that is too long", []string{"--egress-allow=10.0.0.0/33"}, nil, "setting_malformed", "--egress-allow"},
		{"a host with a port", []string{"--egress-allow=localhost:80"}, nil, "setting_malformed", "--egress-allow"},
		{"a host that is a URL", []string{"--egress-allow=http://localhost"}, nil, "setting_malformed", "--egress-allow"},
		{"a host with a star", []string{"--egress-allow=*.internal"}, nil, "setting_malformed", "--egress-allow"},
		{"half an address", []string{"--egress-allow=127.1"}, nil, "setting_malformed", "--egress-allow"},
		{"an address in hexadecimal", []string{"--egress-allow=0x7f000001"}, nil, "setting_malformed", "--egress-allow"},
		{"an address with a zone", []string{"--egress-allow=fe80::1%eth0"}, nil, "setting_malformed", "--egress-allow"},
		{"a list with a hole", []string{"--egress-allow=10.0.0.0/8,,localhost"}, nil, "setting_malformed", "--egress-allow"},
		{"a switch that is neither", nil, []string{"CONSENTWIRE_EGRESS_ALLOW_HTTP=maybe"}, "setting_malformed", "CONSENTWIRE_EGRESS_ALLOW_HTTP"},
		{"a switch that is neither, as a flag", []string{"--no-migrate=maybe"}, nil, "setting_malformed", "--no-migrate"},
		{"roots that are not there", []string{"--egress-ca-file", at("none")}, nil, "setting_malformed", "--egress-ca-file"},
		{"roots that are no certificate", []string{"--egress-ca-file", at("token")}, nil, "setting_malformed", "--egress-ca-file"},

		{"a duration without unit", nil, []string{"CONSENTWIRE_CONSENT_APPROVAL_TTL=60"}, "setting_malformed", "CONSENTWIRE_CONSENT_APPROVAL_TTL"},
		{"no duration", nil, []string{"CONSENTWIRE_CONSENT_APPROVAL_TTL=0"}, "setting_malformed", "CONSENTWIRE_CONSENT_APPROVAL_TTL"},
		{"a negative duration", []string{"--consent-consumption-ttl=-5m"}, nil, "setting_malformed", "--consent-consumption-ttl"},
		{"a retention without a unit", []string{"--retention", "90"}, nil, "setting_malformed", "--retention"},
		{"a retention of nothing", nil, []string{"CONSENTWIRE_RETENTION=0d"}, "setting_malformed", "CONSENTWIRE_RETENTION"},
		{"a retention of negative days", nil, []string{"CONSENTWIRE_RETENTION=-3d"}, "setting_malformed", "CONSENTWIRE_RETENTION"},
		{"a size without a unit", nil, []string{"CONSENTWIRE_RETENTION_SIZE=50"}, "setting_malformed", "CONSENTWIRE_RETENTION_SIZE"},
		{"a size of nothing", nil, []string{"CONSENTWIRE_RETENTION_SIZE=0GiB"}, "setting_malformed", "CONSENTWIRE_RETENTION_SIZE"},
		{"an empty schedule", nil, []string{"CONSENTWIRE_RETRY_SCHEDULE="}, "setting_malformed", "CONSENTWIRE_RETRY_SCHEDULE"},
		{"a schedule with a faulty wait", nil, []string{"CONSENTWIRE_RETRY_SCHEDULE=5s,soon"}, "setting_malformed", "CONSENTWIRE_RETRY_SCHEDULE"},
		{"a schedule that ends in a comma", nil, []string{"CONSENTWIRE_RETRY_SCHEDULE=5s,"}, "setting_malformed", "CONSENTWIRE_RETRY_SCHEDULE"},
		{"a schedule of 21 waits", nil, []string{"CONSENTWIRE_RETRY_SCHEDULE=1s" + strings.Repeat(",1s", 20)}, "setting_malformed", "CONSENTWIRE_RETRY_SCHEDULE"},
		{"an attempt that is too long", []string{"--attempt-timeout=601s"}, nil, "setting_malformed", "--attempt-timeout"},
		{"an unknown level", nil, []string{"CONSENTWIRE_LOG_LEVEL=loud"}, "setting_malformed", "CONSENTWIRE_LOG_LEVEL"},
		{"an unknown format", nil, []string{"CONSENTWIRE_LOG_FORMAT=xml"}, "setting_malformed", "CONSENTWIRE_LOG_FORMAT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Parse(append([]string{"serve"}, tt.args...), tt.env, io.Discard, io.Discard)
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Kind != fault.Invalid || f.Code != tt.code {
				t.Fatalf("got %v, want an invalid %s", err, tt.code)
			}
			if !strings.Contains(f.Msg, tt.names) {
				t.Errorf("got %q, want it to name %s", f.Msg, tt.names)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %q, which holds the secret", err)
			}
			if strings.ContainsAny(f.Msg, "\r\n") {
				t.Errorf("got %q, want one sentence", f.Msg)
			}
		})
	}
}

func TestParse_commands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		env  []string
		cmd  Command
		code string
		says string // on standard output
	}{
		{"none", nil, nil, "", "usage", ""},
		{"an unknown one", []string{"start"}, nil, "", "usage", ""},
		{"version needs no good environment", []string{"version"}, []string{"CONSENTWIRE_X=1", "CONSENTWIRE_LISTEN=x"}, Version, "", ""},
		{"migrate", []string{"migrate", "--data-dir", "d"}, nil, Migrate, "", ""},
		{"migrate ignores the switch that only serve has", []string{"migrate"}, []string{"CONSENTWIRE_NO_MIGRATE=maybe"}, Migrate, "", ""},
		{"migrate has no such flag", []string{"migrate", "--no-migrate"}, nil, "", "usage", ""},
		{"dev", []string{"dev", "--data-dir", "d", "--listen", "127.0.0.1:0"}, nil, Dev, "", ""},
		{"keys rotate", []string{"keys", "rotate", "--data-dir", "d", "--no-migrate"}, nil, RotateKeys, "", ""},
		{"keys alone", []string{"keys"}, nil, "", "usage", ""},
		{"help of keys rotate", []string{"keys", "rotate", "--help"}, nil, Help, "", "--master-key-command"},
		{"help", []string{"--help"}, nil, Help, "", "serve"},
		{"help of a command needs no good environment", []string{"serve", "-h"}, []string{"CONSENTWIRE_X=1"}, Help, "", "--listen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			cmd, _, err := Parse(tt.args, tt.env, &out, io.Discard)
			if cmd != tt.cmd || fault.CodeOf(err) != tt.code {
				t.Errorf("got %q, %v, want %q and code %q", cmd, err, tt.cmd, tt.code)
			}
			if !strings.Contains(out.String(), tt.says) || tt.says == "" && out.Len() > 0 {
				t.Errorf("got %q on standard output, want %q in it", out.String(), tt.says)
			}
		})
	}
}

// Every setting of the contract is in the help of serve, with its default.
func TestParse_helpListsAll(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if cmd, _, err := Parse([]string{"serve", "--help"}, nil, &out, io.Discard); cmd != Help || err != nil {
		t.Fatalf("got %q, %v, want help", cmd, err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"Default: 127.0.0.1:8080. [CONSENTWIRE_LISTEN]", "[CONSENTWIRE_TLS_CERT_FILE]", "[CONSENTWIRE_TLS_KEY_FILE]", "[CONSENTWIRE_PUBLIC_URL]",
		"./consentwire-data", "[CONSENTWIRE_DATA_DIR]", "Default: embedded. [CONSENTWIRE_DATABASE]", "CONSENTWIRE_ADMIN_TOKEN is", "[CONSENTWIRE_ADMIN_TOKEN_FILE]",
		"CONSENTWIRE_MASTER_KEY seals", "[CONSENTWIRE_MASTER_KEY_FILE]", "at most 30s, with at most 64 KiB of output. Default: none. [CONSENTWIRE_MASTER_KEY_COMMAND]", "[CONSENTWIRE_EGRESS_ALLOW]", "Default: false. [CONSENTWIRE_EGRESS_ALLOW_HTTP]",
		"[CONSENTWIRE_EGRESS_CA_FILE]", "Default: 60m. [CONSENTWIRE_CONSENT_APPROVAL_TTL]", "Default: 70m. [CONSENTWIRE_CONSENT_CONSUMPTION_TTL]",
		"Default: forever. [CONSENTWIRE_RETENTION]", "Default: unlimited. [CONSENTWIRE_RETENTION_SIZE]", "Default: false. [CONSENTWIRE_RETENTION_LOSSY]",
		"Default: 5s,5m,30m,2h,5h,10h,14h,20h,24h. [CONSENTWIRE_RETRY_SCHEDULE]", "Default: 15s. [CONSENTWIRE_ATTEMPT_TIMEOUT]",
		"Default: info. [CONSENTWIRE_LOG_LEVEL]", "Default: json. [CONSENTWIRE_LOG_FORMAT]", "[CONSENTWIRE_NO_MIGRATE]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the help lacks %q:\n%s", want, out.String())
		}
	}
}

func TestConfig_BaseURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		c    Config
		addr string
		want string
	}{
		{"the public URL when there is one", Config{PublicURL: "https://x"}, "127.0.0.1:1", "https://x"},
		{"the address we listen on", Config{}, "127.0.0.2:1", "http://127.0.0.2:1"},
		{"TLS by its scheme", Config{TLSCertFile: "c"}, "[::1]:1", "https://[::1]:1"},
		{"all addresses of IPv4 as the loopback", Config{}, "0.0.0.0:1", "http://127.0.0.1:1"},
		{"all addresses as the loopback", Config{}, "[::]:1", "http://127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.addr))
			if got := tt.c.BaseURL(addr); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("CONSENTWIRE_EGRESS_ALLOW=10.0.0.0/8", "--listen=:0")
	f.Add("CONSENTWIRE_RETRY_SCHEDULE=,", "--public-url=http://%zz")
	f.Add("CONSENTWIRE_PUBLIC_URL=http://[::1%25a]:80", "--egress-allow-http=")
	f.Fuzz(func(t *testing.T, env, arg string) {
		_, c, err := Parse([]string{"serve", arg}, []string{env}, io.Discard, io.Discard)
		if err == nil && c.Listen == "" && !strings.HasPrefix(arg, "-h") && !strings.HasPrefix(arg, "--help") {
			t.Errorf("got no fault and no address for %q %q", env, arg)
		}
	})
}
