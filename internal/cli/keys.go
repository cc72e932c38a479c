package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/telemetry"
)

// rotatePath is the route that rotates the master keys of a running server.
const rotatePath = "/v1/keys/rotate"

// masterKeys returns the master keys to start with: those that the settings
// give, else those of the data folder, which makes its first one.
//
// A folder whose key is missing although it has sealed the store gets no other
// one: it could open nothing.
func masterKeys(ctx context.Context, cfg config.Config) (config.Key, error) {
	given, err := cfg.MasterKeys(ctx)
	if err != nil || given.IsSet() {
		return config.Key{Value: given}, err
	}
	if cfg.Database.IsSet() {
		return config.Key{}, about("CONSENTWIRE_MASTER_KEY", fault.New(fault.Unavailable, "master_key_missing",
			"With a database the master key must be given, the same to every node: 32 bytes in base 64, e.g. from openssl rand -base64 32."))
	}
	k, err := config.LoadMasterKey(cfg.DataDir)
	if fault.CodeOf(err) != "key_missing" {
		return k, about(cfg.MasterKeySetting(), err)
	}
	sealed, err := sqlite.Sealed(ctx, cfg.DataDir)
	if err != nil {
		return k, about(storeSetting(cfg, err), err)
	}
	if !sealed {
		k, err = config.EnsureMasterKey(cfg.DataDir)
	} else if k, err = config.LoadMasterKey(cfg.DataDir); fault.CodeOf(err) == "key_missing" { // not another process's of this moment
		err = fault.New(fault.Unavailable, "master_key_missing",
			"The file "+config.MasterKeyName+" is missing from the data folder, whose store it has sealed; put it back.")
	}
	return k, about(cfg.MasterKeySetting(), err)
}

// keyMaster renews the master keys of a ring. It may be used by several
// goroutines.
type keyMaster struct {
	cfg  config.Config
	ring *secret.Keyring
	log  *slog.Logger

	mu sync.Mutex // one change of the data folder's file at a time
}

// Renew implements app.KeyMaster: the list is read again where it comes from,
// or, when it is the data folder's own, gets a new key before the others.
//
// A list without the key that seals now is refused, fault.Conflict
// "master_key_dropped": a rotation that is broken off leaves records that only
// that key opens.
func (k *keyMaster) Renew(ctx context.Context) (keyID string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list, err := k.cfg.MasterKeysAgain(ctx)
	if err != nil {
		return "", err
	}
	name := k.cfg.MasterKeySetting()
	if !list.IsSet() {
		name = "The file " + config.MasterKeyName + " of the data folder"
		made, err := config.PrependMasterKey(k.cfg.DataDir)
		if f, ok := errors.AsType[*fault.Error](err); ok { // whatever is wrong with the file, it is not the caller's request
			return "", fault.Wrap(fault.Unavailable, f.Code, f.Msg, f.Err)
		}
		if err != nil {
			return "", err
		}
		k.log.Info("key made", "file", made.File)
		list = made.Value
	}
	next, err := secret.ParseKeyring(list)
	if err != nil {
		return "", err
	}
	probe := secret.Place{What: "probe"}
	if _, err := next.Open(k.ring.Seal(nil, probe), probe); err != nil {
		return "", fault.New(fault.Conflict, "master_key_dropped",
			name+" must still hold the key that has sealed until now, behind the new one.")
	}
	if err := k.ring.Replace(list); err != nil {
		return "", err
	}
	return k.ring.KeyID(), nil
}

// rotateKeys seals everything anew by the first master key, and tells of it on
// stdout. A server that has the data folder open is asked to do it.
func rotateKeys(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) error {
	r, err := rotate(ctx, cfg, telemetry.NewLogger(stderr, telemetry.Format(cfg.LogFormat), cfg.LogLevel))
	if err != nil && ctx.Err() != nil { // half a rotation is no good end, unlike a start that is stopped
		return fault.New(fault.Unavailable, "stopped", "The rotation was stopped; run the command again to finish it.")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "The master key %s seals everything now: %d records were sealed anew, and the former keys seal nothing any more; "+
		"they may be removed from the list once no older backup is needed.\n", r.KeyID, r.Records)
	return err
}

func rotate(ctx context.Context, cfg config.Config, l *slog.Logger) (r app.KeyReport, err error) {
	if !cfg.Database.IsSet() {
		server, certificate, err := runningServer(cfg.DataDir)
		if err != nil {
			return r, err
		}
		if server != "" {
			return askToRotate(ctx, cfg, server, certificate)
		}
		if _, err := os.Stat(filepath.Join(cfg.DataDir, sqlite.FileName)); err != nil {
			return r, about("CONSENTWIRE_DATA_DIR", fault.Wrap(fault.Unavailable, "store_missing", "There is no store in the data folder.", err))
		}
	}
	for _, w := range cfg.Warnings {
		l.Warn(w)
	}
	k, err := masterKeys(ctx, cfg)
	if err != nil {
		return r, err
	}
	ring, err := secret.ParseKeyring(k.Value)
	if err != nil {
		return r, about(cfg.MasterKeySetting(), err)
	}
	s, err := relational.Open(ctx, opener(cfg, l), relational.Options{Keys: ring, Log: l})
	if err != nil {
		return r, about(storeSetting(cfg, err), err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return app.New(app.Options{Store: s, Policy: policy(cfg), Keys: &keyMaster{cfg: cfg, ring: ring, log: l}}).RotateKeys(ctx)
}

// askToRotate asks the server that has the data folder open. It is reached
// through egress like everything, which here dials that address only, and over
// TLS knows the server's own certificate only.
func askToRotate(ctx context.Context, cfg config.Config, server string, certificate []byte) (r app.KeyReport, err error) {
	bearer := cfg.AdminToken
	if !bearer.IsSet() {
		k, err := config.LoadAdminToken(cfg.DataDir)
		if fault.CodeOf(err) == "key_missing" {
			err = errors.New("it is needed to ask the server that runs; give it as the server has it")
		}
		if err != nil {
			return r, about("CONSENTWIRE_ADMIN_TOKEN", err)
		}
		bearer = k.Value
	}
	client, target, err := wayTo(server+rotatePath, certificate)
	if err != nil {
		return r, about("CONSENTWIRE_DATA_DIR", fmt.Errorf("the file %s cannot be used: %w", addressName, err))
	}
	defer client.CloseIdle()
	resp, err := client.Do(ctx, &egress.Request{
		Target: target, Timeout: rotateTime,
		Header: http.Header{"Authorization": {"Bearer " + bearer.Reveal()}, "Content-Type": {"application/json"}},
	})
	if err != nil {
		return r, fault.Wrap(fault.Unavailable, "no_answer",
			"The server that has the data folder open gave no answer, so run the command again to be sure.", err)
	}
	switch resp.Status {
	case http.StatusOK:
		var told struct {
			KeyID   string
			Records int
		}
		if err := json.Unmarshal([]byte(resp.Body), &told); err != nil || told.KeyID == "" {
			return r, fmt.Errorf("the server that runs answered in a way that cannot be read")
		}
		return app.KeyReport{KeyID: told.KeyID, Records: told.Records}, nil
	case http.StatusUnauthorized:
		return r, about("CONSENTWIRE_ADMIN_TOKEN", errors.New("the server that runs has another one; give it as the server has it"))
	}
	var problem struct{ Detail string }
	if err := json.Unmarshal([]byte(resp.Body), &problem); err != nil || problem.Detail == "" {
		problem.Detail = http.StatusText(resp.Status)
	}
	return r, fmt.Errorf("the server that runs could not rotate the keys (status %d): %s", resp.Status, problem.Detail)
}

// wayTo returns a client for one address of this machine.
func wayTo(to string, certificate []byte) (*egress.Client, *egress.Target, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, nil, err
	}
	at, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil, nil, err
	}
	guard, err := egress.NewGuard(egress.Policy{Allow: []string{at.String()}, AllowHTTP: certificate == nil})
	if err != nil {
		return nil, nil, err
	}
	target, refused := guard.Parse(to)
	if refused != nil {
		return nil, nil, refused
	}
	client, err := egress.New(egress.Options{Guard: guard, Peer: certificate})
	return client, target, err
}
