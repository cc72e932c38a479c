// Package config turns the command line and the environment into one checked
// value.
//
// Every setting is a variable CONSENTWIRE_X and a flag --x of the same name; a
// flag wins over its variable, and that over the default. Secrets come from
// the environment or from a file, never from a flag, where other users of the
// machine would see them. What is unknown or malformed stops the start with
// one sentence that names it: a setting that is silently ignored is found out
// in the night. The package reads the files that settings name, runs the
// command that prints the master keys, and makes the keys of the data folder;
// it opens nothing else.
package config

import (
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
)

// Command is what the process was asked to do.
type Command string

// The commands. Help was asked for and is already printed: there is nothing
// left to do.
const (
	Dev        Command = "dev"
	Serve      Command = "serve"
	Migrate    Command = "migrate"
	RotateKeys Command = "keys rotate"
	Backup     Command = "backup <file>"
	Restore    Command = "restore <file>"
	Bench      Command = "bench"
	Version    Command = "version"
	Help       Command = "help"
)

// Config is every setting, checked. For Version and Help it is empty.
type Config struct {
	Listen      string // host:port; port 0 picks one
	ListenSet   bool   // Listen is the owner's word, not the default
	TLSCertFile string // PEM; empty: no TLS. It fits TLSKeyFile
	TLSKeyFile  string
	PublicURL   string // scheme and host without a slash at the end; empty: from the address we listen on, see BaseURL
	DataDir     string // empty only for Dev: a temporary folder
	NoMigrate   bool   // Serve and RotateKeys only: do not touch the schema

	From string // Migrate only: the data folder of an embedded store that is moved into Database; empty: none
	File string // Backup and Restore only: the copy

	Database secret.Value // URL of a PostgreSQL database; unset: the embedded store

	AdminToken secret.Value // unset: EnsureAdminToken

	// MasterKey, MasterKeyFile and MasterKeyCommand tell where the master keys
	// come from, see Config.MasterKeys; all empty: the data folder.
	MasterKey        secret.Value // comma-separated keys, each 32 bytes in base 64; for MasterKeyFile what was in it
	MasterKeyFile    string
	MasterKeyCommand string
	commandEnviron   []string // of that command, without the secrets of ours

	EgressAllow      []netip.Prefix // may be dialled although not public
	EgressAllowHosts []string       // the same by name: lower case, no dot at the end
	EgressAllowHTTP  bool           // only towards the two above
	EgressCA         []byte         // PEM; nil: the system's roots only

	OIDC OIDC // by which users sign in; the zero one: by password alone

	ConsentApprovalTTL    time.Duration
	ConsentConsumptionTTL time.Duration
	RetrySchedule         []time.Duration // 1..20 waits between attempts, before jitter
	AttemptTimeout        time.Duration

	Retention      time.Duration // of the log, its deliveries and attempts; 0: for ever
	RetentionSize  int64         // bytes of the store; 0: no limit
	RetentionLossy bool

	LogLevel  slog.Level // for Dev and RotateKeys warn unless set, so that the terminal stays readable
	LogFormat string     // "json" or "text"

	// Warnings are sentences for the log, e.g. about a key that others may read.
	Warnings []string
}

// OIDC is an OpenID Connect provider.
type OIDC struct {
	Issuer   string // empty: there is none
	ClientID string
	Secret   secret.Value // unset: none
	Name     string       // for people
}

// BaseURL returns how the world reaches us, without a slash at the end:
// PublicURL, or else the address we listen on, with the loopback address in
// place of "all addresses".
func (c Config) BaseURL(addr net.Addr) string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	scheme := "http"
	if c.TLSCertFile != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + "://" + addr.String()
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
