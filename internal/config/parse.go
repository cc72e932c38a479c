package config

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/consentwire/consentwire/internal/fault"
)

// secrets are the settings that have no flag.
var secrets = []string{"admin-token", "master-key", "oidc-client-secret"}

const (
	program = "consentwire"
	prefix  = "CONSENTWIRE_"
)

// settings is the table of settings as flags: names, defaults, and the help
// with its units. All are texts here; check gives them their types.
type settings struct {
	Listen                string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of API and portal; port 0 picks one. Unless set, dev takes another port when this one is in use."`
	TLSCertFile           string `name:"tls-cert-file" placeholder:"FILE" help:"Certificate chain (PEM) to serve over TLS (1.2 or newer), together with --tls-key-file. Default: none."`
	TLSKeyFile            string `name:"tls-key-file" placeholder:"FILE" help:"Private key (PEM) of the certificate. Default: none."`
	PublicURL             string `name:"public-url" placeholder:"URL" help:"How the world reaches us, e.g. https://consent.example. Default: from --listen."`
	DataDir               string `placeholder:"DIR" help:"Folder of the embedded store and the generated keys, made with mode 0700. Default: ./consentwire-data; for dev a temporary one."`
	Database              string `default:"embedded" placeholder:"URL" help:"Where the data is: embedded, in the data folder, or postgres://user:password@host:port/name, which several nodes may share; a password belongs into the variable, not into the flag."`
	AdminTokenFile        string `placeholder:"FILE" help:"File that holds the operator's bearer, at least 32 characters. Default: generated into the data folder."`
	MasterKeyFile         string `placeholder:"FILE" help:"File that holds the master keys that seal secrets: a comma-separated list, each 32 bytes in base 64; the first seals, all open. Default: generated into the data folder."`
	MasterKeyCommand      string `placeholder:"COMMAND" help:"Command whose output is the list of master keys, e.g. of a key service; run by /bin/sh at the start and at each keys rotate, for at most 30s, with at most 64 KiB of output. Default: none."`
	EgressAllow           string `placeholder:"LIST" help:"Comma-separated CIDRs or hosts that may be dialled although not public, e.g. 127.0.0.0/8. Default: none."`
	EgressAllowHTTP       toggle `name:"egress-allow-http" default:"false" help:"Allow http:// URLs, only towards --egress-allow addresses (development)."`
	EgressCAFile          string `name:"egress-ca-file" placeholder:"FILE" help:"Roots (PEM) trusted for outbound TLS besides the system's. Default: none."`
	ConsentApprovalTTL    string `name:"consent-approval-ttl" default:"60m" placeholder:"DURATION" help:"An undecided consent expires after it (units h, m, s, ms)."`
	ConsentConsumptionTTL string `name:"consent-consumption-ttl" default:"70m" placeholder:"DURATION" help:"An approved, unconsumed consent expires after it (units h, m, s, ms)."`
	RetrySchedule         string `default:"5s,5m,30m,2h,5h,10h,14h,20h,24h" placeholder:"LIST" help:"1 to 20 comma-separated waits between attempts, jittered by 20 percent, for endpoints without their own (units h, m, s, ms)."`
	AttemptTimeout        string `default:"15s" placeholder:"DURATION" help:"One attempt, from dial to end of answer (units h, m, s, ms; at most 10m)."`
	Retention             string `default:"forever" placeholder:"DURATION" help:"How long events, their deliveries and attempts are kept (units d, h, m, s), or forever. What an endpoint waits for is kept longer."`
	RetentionSize         string `default:"unlimited" placeholder:"SIZE" help:"Beyond this size of the store the oldest events go first, as with --retention (units MiB, GiB, TiB), or unlimited. With PostgreSQL it is that of events and attempts, and whole days go."`
	RetentionLossy        toggle `default:"false" help:"Let events go that an endpoint still waits for. Each delivery that is lost so is counted at the endpoint."`
	OIDCIssuer            string `name:"oidc-issuer" placeholder:"URL" help:"OpenID Connect provider by which users sign in to the portal besides by password, e.g. https://id.example. It must lead back to /portal/sign-in/callback at --public-url. Default: none."`
	OIDCClientID          string `name:"oidc-client-id" placeholder:"ID" help:"Who we are at the provider. Default: none."`
	OIDCClientSecretFile  string `name:"oidc-client-secret-file" placeholder:"FILE" help:"File that holds our secret at the provider. Default: none, as a public client."`
	OIDCName              string `name:"oidc-name" placeholder:"NAME" help:"What users know the provider by. Default: its host."`
	LogLevel              string `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error; logs go to standard error. For dev and keys rotate warn unless set."`
	LogFormat             string `default:"json" placeholder:"FORMAT" help:"json or text."`
}

type devCommand struct{ settings }

type serveCommand struct {
	settings
	NoMigrate toggle `default:"false" help:"Do not bring the schema up to date at the start."`
}

type migrateCommand struct {
	settings
	From string `placeholder:"DIR" help:"Move the embedded store of this data folder, with everything, into --database, which must be empty. No server may have the folder open. Default: none."`
}

type backupCommand struct {
	settings
	File string `arg:"" help:"The copy; there must be no such file yet."`
}

type restoreCommand struct {
	settings
	File string `arg:"" help:"A copy that backup made."`
}

type keysCommand struct {
	Rotate rotateCommand `cmd:"" help:"Seal everything anew by the first master key, while the server runs or not. A master key of the data folder is made anew before; one from elsewhere is read again, so put the new one first."`
}

type rotateCommand struct {
	settings
	NoMigrate toggle `default:"false" help:"Do not bring the schema up to date before."`
}

// #nosec G101 -- a help text
const secretsHelp = `Each flag is also an environment variable: --data-dir is CONSENTWIRE_DATA_DIR. A flag wins over its variable. Secrets have no flag:

CONSENTWIRE_ADMIN_TOKEN is the bearer of the operator's calls, at least 32 characters. Default: generated into the data folder, mode 0600.

CONSENTWIRE_OIDC_CLIENT_SECRET is our secret at the provider of --oidc-issuer. Default: none.

CONSENTWIRE_MASTER_KEY seals secrets at rest: a comma-separated list of keys, each 32 bytes in base 64; the first seals, all open. At most one of it, --master-key-file and --master-key-command may be given. Default: generated into the data folder, mode 0600; with a database one of them must be given, the same for every node.`

// Help adds what is no flag to the command's help.
func (devCommand) Help() string { return secretsHelp }

// Help adds what is no flag to the command's help.
func (serveCommand) Help() string { return secretsHelp }

// Help adds what is no flag to the command's help.
func (migrateCommand) Help() string { return secretsHelp }

// Help adds what is no flag to the command's help.
func (backupCommand) Help() string { return secretsHelp }

// Help adds what is no flag to the command's help.
func (restoreCommand) Help() string { return secretsHelp }

// Help adds what is no flag to the command's help.
func (rotateCommand) Help() string { return secretsHelp }

type grammar struct {
	Dev     devCommand     `cmd:"" help:"Newcomer's start: a server with a demo application, sample consents and the built-in inspector; needs no service and no configuration."`
	Serve   serveCommand   `cmd:"" help:"The server."`
	Migrate migrateCommand `cmd:"" help:"Bring the schema up to date and exit."`
	Keys    keysCommand    `cmd:"" help:"The master keys."`
	Backup  backupCommand  `cmd:"" help:"Copy the embedded store to a file, the state of one instant, while the server runs or not. The master key is not in it: keep it apart."`
	Restore restoreCommand `cmd:"" help:"Put a copy into a data folder that has no store."`
	Bench   struct{}       `cmd:"" help:"Measure this machine; bench --help tells how."`
	Version struct{}       `cmd:"" help:"Show version, commit and Go version."`
}

// toggle is a flag that may stand alone; it keeps its text, so that a
// malformed one is reported like any other setting.
type toggle string

// Decode takes the flag's value, or "true" for a flag that stands alone.
func (t *toggle) Decode(ctx *kong.DecodeContext) error {
	*t = "true"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		*t = toggle(fmt.Sprint(ctx.Scan.Pop().Value))
	}
	return nil
}

// IsBool tells that the flag needs no value.
func (*toggle) IsBool() bool { return true }

// Parse reads the arguments (without the program's name) and the environment
// ("NAME=value") of a command. When help was asked for it is printed to stdout
// and the command is Help.
//
// Errors, all fault.Invalid with a sentence for the person who starts us that
// names the culprit and never holds a secret: "usage" for an unknown command
// or flag, "setting_unknown" for a variable, "setting_malformed" for a value.
// Field is the flag or the variable.
//
// Variables CONSENTWIRE_SERVICE_* and CONSENTWIRE_PORT* are ignored: an
// orchestrator injects them next to a service of our name.
func Parse(args, environ []string, stdout, stderr io.Writer) (Command, Config, error) {
	if name, ok := secretFlag(args); ok {
		return "", Config{}, fault.At(fault.Invalid, "usage", "--"+name,
			fmt.Sprintf("--%s is not a flag, because others could read it there: set %s, or name a file with --%s-file.", name, variable(name), name))
	}
	if len(args) > 0 && args[0] == string(Bench) { // it has flags of its own, and no settings
		return Bench, Config{}, nil
	}
	env := environment(environ)
	var (
		g     grammar
		asked bool
	)
	parser, err := kong.New(&g,
		kong.Name(program),
		kong.Description("Keeps people's consents and tells every subscriber what changed, in order and at least once."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { asked = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(describe),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
			if v, ok := env[variable(f.Name)]; ok && f.Name != "help" {
				return v, nil
			}
			return nil, nil
		})),
	)
	if err != nil {
		return "", Config{}, fmt.Errorf("build the command line: %w", err)
	}
	ctx, err := parser.Parse(args)
	if asked {
		return Help, Config{}, nil
	}
	if err != nil {
		return "", Config{}, fault.New(fault.Invalid, "usage", sentence(err.Error()))
	}
	cmd := Command(ctx.Command())
	if cmd == Version {
		return cmd, Config{}, nil
	}
	if err := known(env, parser.Model); err != nil {
		return "", Config{}, err
	}
	s, noMigrate := g.Serve.settings, g.Serve.NoMigrate
	switch cmd {
	case Dev:
		s = g.Dev.settings
	case Migrate:
		s = g.Migrate.settings
	case Backup:
		s = g.Backup.settings
	case Restore:
		s = g.Restore.settings
	case RotateKeys:
		s, noMigrate = g.Keys.Rotate.settings, g.Keys.Rotate.NoMigrate
	}
	c, err := newChecker(ctx, environ, env).config(cmd, s, noMigrate)
	if err != nil {
		return "", Config{}, err
	}
	if c.From = g.Migrate.From; cmd == Migrate && c.From != "" && !c.Database.IsSet() {
		return "", Config{}, fault.At(fault.Invalid, "usage", "--from", "--from needs a database to move into: set CONSENTWIRE_DATABASE.")
	}
	c.File = g.Backup.File + g.Restore.File
	if (cmd == Backup || cmd == Restore) && c.Database.IsSet() {
		return "", Config{}, fault.At(fault.Invalid, "usage", variable("database"), "A PostgreSQL database is copied by its own tools, such as pg_basebackup; this is for the embedded store.")
	}
	return cmd, c, nil
}

// secretFlag tells whether the arguments hold a secret's name as a flag.
func secretFlag(args []string) (string, bool) {
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if strings.HasPrefix(a, "--") && slices.Contains(secrets, name) {
			return name, true
		}
	}
	return "", false
}

// environment returns our variables; of a name that occurs twice the last
// one counts.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		name, value, ok := strings.Cut(e, "=")
		if ok && strings.HasPrefix(name, prefix) {
			env[name] = value
		}
	}
	return env
}

// known refuses a variable of ours that is no setting of any command.
func known(env map[string]string, model *kong.Application) error {
	names := map[string]bool{}
	for _, name := range secrets {
		names[variable(name)] = true
	}
	for _, cmd := range model.Leaves(true) {
		for _, f := range cmd.Flags {
			names[variable(f.Name)] = true
		}
	}
	unknown := ""
	for name := range env {
		injected := strings.HasPrefix(name, prefix+"SERVICE_") || strings.HasPrefix(name, prefix+"PORT")
		if !names[name] && !injected && (unknown == "" || name < unknown) {
			unknown = name
		}
	}
	if unknown == "" {
		return nil
	}
	return fault.At(fault.Invalid, "setting_unknown", unknown,
		fmt.Sprintf("%s is not a setting; `%s serve --help` lists them.", unknown, program))
}

// variable returns the environment's name of a flag.
func variable(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// describe adds the default and the variable to a flag's help.
func describe(v *kong.Value) string {
	if v.Name == "help" {
		return v.Help
	}
	s := v.Help
	if v.HasDefault {
		s += " Default: " + v.Default + "."
	}
	return s + " [" + variable(v.Name) + "]"
}

// sentence makes one of a parser's message.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, "?") && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
