package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

const (
	minAdminToken = 32 // characters (CONTRACT 1)
	masterKeySize = 32 // bytes (CONTRACT 9)
	maxSchedule   = 20 // waits, as in a subscription's own (CONTRACT 5)
	maxSecretFile = 64 << 10
)

// checker gives the settings their types. It keeps the first fault.
type checker struct {
	environ  []string // all of it
	env      map[string]string
	flags    map[string]bool // those on the command line
	warnings []string
	err      error
}

func newChecker(ctx *kong.Context, environ []string, env map[string]string) *checker {
	c := &checker{environ: environ, env: env, flags: map[string]bool{}}
	for _, p := range ctx.Path {
		if p.Flag != nil && !p.Resolved {
			c.flags[p.Flag.Name] = true
		}
	}
	return c
}

// config checks every setting, in the order of the table.
func (c *checker) config(cmd Command, s settings, noMigrate toggle) (Config, error) {
	out := Config{
		Listen:      c.listen("listen", s.Listen),
		ListenSet:   c.given("listen"),
		TLSCertFile: s.TLSCertFile,
		TLSKeyFile:  s.TLSKeyFile,
		PublicURL:   c.publicURL("public-url", s.PublicURL),
		DataDir:     c.dataDir(cmd, "data-dir", s.DataDir),
	}
	c.pair(s.TLSCertFile, s.TLSKeyFile)
	out.Database = c.database(cmd, "database", s.Database)
	out.AdminToken = c.secret("admin-token", s.AdminTokenFile, checkAdminToken)
	out.MasterKeyFile = s.MasterKeyFile
	out.MasterKeyCommand, out.commandEnviron = c.keyCommand("master-key-command", s)
	out.MasterKey = c.secret("master-key", s.MasterKeyFile, checkMasterKey)
	out.EgressAllow, out.EgressAllowHosts = c.allow("egress-allow", s.EgressAllow)
	out.EgressAllowHTTP = c.toggle("egress-allow-http", s.EgressAllowHTTP)
	out.EgressCA = c.roots("egress-ca-file", s.EgressCAFile)
	out.OIDC = c.oidc(s)
	out.ConsentApprovalTTL = c.duration("consent-approval-ttl", s.ConsentApprovalTTL)
	out.ConsentConsumptionTTL = c.duration("consent-consumption-ttl", s.ConsentConsumptionTTL)
	out.RetrySchedule = c.schedule("retry-schedule", s.RetrySchedule)
	out.AttemptTimeout = c.duration("attempt-timeout", s.AttemptTimeout)
	if out.AttemptTimeout > 10*time.Minute {
		c.fail("attempt-timeout", "must be at most 10m")
	}
	out.Retention = c.retention("retention", s.Retention)
	out.RetentionSize = c.size("retention-size", s.RetentionSize)
	out.RetentionLossy = c.toggle("retention-lossy", s.RetentionLossy)
	out.LogLevel = c.level("log-level", s.LogLevel)
	if (cmd == Dev || cmd == RotateKeys) && !c.given("log-level") {
		out.LogLevel = slog.LevelWarn
	}
	out.LogFormat = s.LogFormat
	if s.LogFormat != "json" && s.LogFormat != "text" {
		c.fail("log-format", "must be json or text")
	}
	if cmd == Serve || cmd == RotateKeys {
		out.NoMigrate = c.toggle("no-migrate", noMigrate)
	}
	if c.err != nil {
		return Config{}, c.err
	}
	out.Warnings = c.warnings
	return out, nil
}

// fail keeps the first fault: a sentence about the setting, under the name by
// which it was given.
func (c *checker) fail(flag, sentence string) {
	if c.err == nil {
		name := c.name(flag)
		c.err = fault.At(fault.Invalid, "setting_malformed", name, name+" "+sentence+".")
	}
}

// given tells whether the setting is on the command line or in the
// environment.
func (c *checker) given(flag string) bool {
	_, set := c.env[variable(flag)]
	return set || c.flags[flag]
}

func (c *checker) name(flag string) string {
	if c.flags[flag] {
		return "--" + flag
	}
	return variable(flag)
}

func (c *checker) listen(flag, s string) string {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || strconv.FormatUint(n, 10) != port ||
		host != "" && !isIP(host) && !isName(host) {
		c.fail(flag, "must be host:port with a port from 0 to 65535, e.g. 127.0.0.1:8080")
	}
	return s
}

func (c *checker) pair(cert, key string) {
	switch {
	case cert == "" && key == "":
	case cert == "":
		c.fail("tls-cert-file", "is missing: it is needed beside "+c.name("tls-key-file"))
	case key == "":
		c.fail("tls-key-file", "is missing: it is needed beside "+c.name("tls-cert-file"))
	default:
		c.readable("tls-cert-file", cert)
		c.readable("tls-key-file", key)
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			c.fail("tls-cert-file", "does not hold a certificate that fits the key of "+c.name("tls-key-file"))
		}
		c.private("tls-key-file", key)
	}
}

func (c *checker) readable(flag, file string) []byte {
	b, err := os.ReadFile(file) // #nosec G304 -- a file that a setting names
	if err != nil {
		c.fail(flag, "names a file that cannot be read: "+cause(err))
	}
	return b
}

func (c *checker) publicURL(flag, s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.Opaque != "" || strings.ContainsAny(s, "?#") || u.Path != "" && u.Path != "/" ||
		strings.Contains(u.Host, "%") || !isIP(u.Hostname()) && !isName(u.Hostname()) || !isPort(u) {
		c.fail(flag, "must be an http or https URL of scheme and host without a path, e.g. https://consent.example")
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// isPort tells whether the URL names no port, or one that can be dialled.
func isPort(u *url.URL) bool {
	p := u.Port()
	n, err := strconv.ParseUint(p, 10, 16)
	return p == "" && !strings.HasSuffix(u.Host, ":") || err == nil && n > 0
}

func (c *checker) dataDir(cmd Command, flag, s string) string {
	if s == "" && c.given(flag) {
		c.fail(flag, "must name a folder")
	}
	if s == "" && cmd != Dev {
		return "./consentwire-data"
	}
	if strings.ContainsRune(s, 0) {
		c.fail(flag, "must not hold a NUL")
	}
	return s
}

// database refuses what would otherwise be ignored: the data of a cluster
// must not go into a local file.
// database returns the address of a database; unset: the embedded store. Its
// password never gets into an error.
func (c *checker) database(cmd Command, flag, s string) secret.Value {
	if s == "" || s == "embedded" {
		return secret.Value{}
	}
	scheme, _, _ := strings.Cut(strings.ToLower(s), "://")
	u, err := url.Parse(s)
	switch {
	case scheme != "postgres" && scheme != "postgresql", err != nil, u.Host == "" && u.RawQuery == "":
		c.fail(flag, "must be embedded, or postgres://user:password@host:port/name")
	case cmd == Dev:
		c.fail(flag, "must be embedded for dev; serve takes a database")
	}
	return secret.New(s)
}

// secret returns the content of a secret, from its variable or its file, or
// an unset value when neither is given.
func (c *checker) secret(flag, file string, check func(string) string) secret.Value {
	value, fromEnv := c.env[variable(flag)]
	name := flag
	if file != "" {
		name = flag + "-file"
		if fromEnv {
			c.fail(name, "must not be given together with "+variable(flag))
			return secret.Value{}
		}
		b, err := readSecret(file)
		if err != nil {
			c.fail(name, "names a file that cannot be read: "+cause(err))
			return secret.Value{}
		}
		value = b
		c.private(name, file)
	} else if !fromEnv {
		if c.given(flag + "-file") {
			c.fail(flag+"-file", "must name a file")
		}
		return secret.Value{}
	}
	if wrong := check(value); wrong != "" {
		c.fail(name, wrong)
		return secret.Value{}
	}
	return secret.New(value)
}

// keyCommand returns the command that prints the master keys, and its
// environment: ours without the secrets that are none of its business.
func (c *checker) keyCommand(flag string, s settings) (command string, environ []string) {
	if !c.given(flag) {
		return "", nil
	}
	_, fromEnv := c.env[variable("master-key")]
	switch {
	case strings.TrimSpace(s.MasterKeyCommand) == "":
		c.fail(flag, "must be a command")
	case strings.ContainsRune(s.MasterKeyCommand, 0):
		c.fail(flag, "must not hold a NUL")
	case fromEnv:
		c.fail(flag, "must not be given together with "+variable("master-key"))
	case s.MasterKeyFile != "":
		c.fail(flag, "must not be given together with "+c.name("master-key-file"))
	}
	environ = []string{}
	for _, e := range c.environ {
		name, _, _ := strings.Cut(e, "=")
		if name != variable("database") && !slices.ContainsFunc(secrets, func(s string) bool { return name == variable(s) }) {
			environ = append(environ, e)
		}
	}
	return s.MasterKeyCommand, environ
}

// private warns of a secret's file that others may read. Orchestrators mount
// secrets with such modes, so it is no fault.
func (c *checker) private(flag, file string) {
	if i, err := os.Stat(file); err == nil && i.Mode().Perm()&0o077 != 0 {
		c.warnings = append(c.warnings, openMode(c.name(flag)+" names a file", i.Mode()))
	}
}

func openMode(what string, m os.FileMode) string {
	return fmt.Sprintf("%s that others may read (mode %04o); 0600 is enough.", what, m.Perm())
}

// readSecret returns a file's content without the line break at its end.
func readSecret(file string) (string, error) {
	f, err := os.Open(file) // #nosec G304 -- a file that a setting names
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecretFile {
		return "", fmt.Errorf("it is larger than %d bytes", maxSecretFile)
	}
	return line(b), nil
}

// line returns a text without the line break at its end.
func line(b []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
}

// oidc checks the provider by which users sign in.
func (c *checker) oidc(s settings) OIDC {
	out := OIDC{ClientID: s.OIDCClientID, Name: s.OIDCName, Secret: c.secret("oidc-client-secret", s.OIDCClientSecretFile, func(s string) string {
		if s == "" {
			return "must not be empty"
		}
		return ""
	})}
	if s.OIDCIssuer == "" {
		if c.given("oidc-issuer") {
			c.fail("oidc-issuer", "must be a URL")
		}
		for _, other := range []string{"oidc-client-id", "oidc-name", "oidc-client-secret-file"} {
			if c.given(other) {
				c.fail(other, "must be given together with "+c.name("oidc-issuer"))
			}
		}
		return OIDC{}
	}
	u, err := url.Parse(s.OIDCIssuer)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsAny(s.OIDCIssuer, "?#") {
		c.fail("oidc-issuer", "must be an https URL without query and fragment, e.g. https://id.example")
		return OIDC{}
	}
	if s.OIDCClientID == "" {
		c.fail("oidc-client-id", "must be given together with "+c.name("oidc-issuer"))
	}
	out.Issuer = s.OIDCIssuer
	if out.Name == "" {
		out.Name = u.Hostname()
	}
	return out
}

// checkAdminToken returns what is wrong with a token, or nothing.
func checkAdminToken(s string) string {
	for _, b := range []byte(s) {
		if b <= ' ' || b > '~' {
			return "must hold visible ASCII characters only"
		}
	}
	if len(s) < minAdminToken {
		return fmt.Sprintf("must have at least %d characters", minAdminToken)
	}
	return ""
}

// checkMasterKey returns what is wrong with a list of keys, or nothing.
func checkMasterKey(s string) string {
	for _, k := range strings.Split(s, ",") {
		b, err := base64.StdEncoding.Strict().DecodeString(k)
		if err != nil || len(b) != masterKeySize || strings.ContainsAny(k, "\r\n") {
			return fmt.Sprintf("must be a comma-separated list of keys, each %d bytes in standard base 64", masterKeySize)
		}
	}
	return ""
}

func (c *checker) allow(flag, s string) (prefixes []netip.Prefix, hosts []string) {
	if s == "" {
		return nil, nil
	}
	for _, e := range strings.Split(s, ",") {
		e = strings.TrimSpace(e)
		if p, err := netip.ParsePrefix(e); err == nil {
			prefixes = append(prefixes, p.Masked())
			continue
		}
		if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(e, "["), "]")); err == nil && ip.Zone() == "" {
			prefixes = append(prefixes, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(e, "."))
		if !isName(name) {
			c.fail(flag, "must be a comma-separated list of CIDRs or hosts, e.g. 10.0.0.0/8,receiver.internal")
			return nil, nil
		}
		hosts = append(hosts, name)
	}
	return prefixes, hosts
}

func (c *checker) toggle(flag string, s toggle) bool {
	switch strings.ToLower(string(s)) {
	case "true", "1", "yes":
		return true
	case "false", "0", "no", "":
		return false
	}
	c.fail(flag, "must be true or false")
	return false
}

func (c *checker) roots(flag, file string) []byte {
	if file == "" {
		return nil
	}
	b := c.readable(flag, file)
	if !x509.NewCertPool().AppendCertsFromPEM(b) {
		c.fail(flag, "names a file without a certificate in PEM")
		return nil
	}
	return b
}

func (c *checker) duration(flag, s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond {
		c.fail(flag, "must be a duration of at least 1ms with its unit, e.g. 60m")
	}
	return d
}

// retention reads how long is kept; 0: for ever.
func (c *checker) retention(flag, s string) time.Duration {
	if s == "forever" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour // #nosec G115 -- 16 bits
		}
	}
	if err != nil || d < time.Second {
		c.fail(flag, "must be forever, or a duration of at least 1s with its unit, e.g. 90d")
	}
	return d
}

// size reads a number of bytes; 0: there is no limit.
func (c *checker) size(flag, s string) int64 {
	if s == "unlimited" {
		return 0
	}
	for unit, shift := range map[string]uint{"MiB": 20, "GiB": 30, "TiB": 40} {
		text, ok := strings.CutSuffix(s, unit)
		if n, err := strconv.ParseInt(text, 10, 22); ok && err == nil && n > 0 {
			return n << shift
		}
	}
	c.fail(flag, "must be unlimited, or a number with its unit, e.g. 50GiB")
	return 0
}

func (c *checker) schedule(flag, s string) []time.Duration {
	var out []time.Duration
	for _, e := range strings.Split(s, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(e))
		if err != nil || d < time.Millisecond {
			c.fail(flag, "must be a comma-separated list of durations of at least 1ms with their units, e.g. 5s,5m,30m")
			return nil
		}
		out = append(out, d)
	}
	if len(out) > maxSchedule {
		c.fail(flag, fmt.Sprintf("must have at most %d waits", maxSchedule))
	}
	return out
}

func (c *checker) level(flag, s string) slog.Level {
	switch s {
	case "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	c.fail(flag, "must be debug, info, warn or error")
	return slog.LevelInfo
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isName tells whether s is a host's name: at most 253 characters, labels of 1
// to 63 letters, digits, hyphens and underscores, the last one not a number,
// for such a name could be read as an address.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return false
		}
		for _, b := range []byte(l) {
			if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_') {
				return false
			}
		}
	}
	last := strings.ToLower(labels[len(labels)-1])
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

// cause returns the reason of a file's error without the operation and path.
func cause(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
