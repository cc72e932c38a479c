package config

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

// The files of generated secrets in the data folder.
const (
	AdminTokenName = "admin-token"
	MasterKeyName  = "master-key"
)

// Key is a secret of the data folder.
type Key struct {
	Value   secret.Value
	File    string // where it is
	Made    bool   // by this call
	Warning string // a sentence for the log; empty: none
}

// EnsureDataDir makes the folder, with mode 0700, unless it is there. The
// warning, a sentence for the log, tells of a folder that others may enter.
func EnsureDataDir(dir string) (warning string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault.Wrap(fault.Unavailable, "data_dir", "The data folder cannot be made.", err)
	}
	i, err := os.Stat(dir)
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, "data_dir", "The data folder cannot be read.", err)
	}
	if i.Mode().Perm()&0o077 != 0 {
		return fmt.Sprintf("The data folder may be entered by others (mode %04o); 0700 is enough.", i.Mode().Perm()), nil
	}
	return "", nil
}

// EnsureAdminToken returns the operator's bearer of the data folder; it makes
// one of 256 random bits when there is none. It is whole on the disk when the
// call returns, and of two processes that make one at the same time both get
// the same. A file that holds no good token is an error and is left alone.
func EnsureAdminToken(dir string) (Key, error) {
	return ensure(dir, AdminTokenName, checkAdminToken, base64.RawURLEncoding)
}

// EnsureMasterKey returns the master keys of the data folder in the form of
// CONSENTWIRE_MASTER_KEY, like EnsureAdminToken. What a lost key sealed cannot
// be opened with a new one: the store must tell the two apart.
func EnsureMasterKey(dir string) (Key, error) {
	return ensure(dir, MasterKeyName, checkMasterKey, base64.StdEncoding)
}

// LoadAdminToken is EnsureAdminToken that makes none: without one its error is
// fault.Unavailable "key_missing".
func LoadAdminToken(dir string) (Key, error) {
	return found(dir, AdminTokenName, checkAdminToken)
}

// LoadMasterKey is EnsureMasterKey that makes none: without one its error is
// fault.Unavailable "key_missing".
func LoadMasterKey(dir string) (Key, error) {
	return found(dir, MasterKeyName, checkMasterKey)
}

// found is load with a sentence about a missing file.
func found(dir, name string, check func(string) string) (Key, error) {
	k, err := load(filepath.Join(dir, name), check)
	if errors.Is(err, fs.ErrNotExist) {
		return k, fault.New(fault.Unavailable, "key_missing", "The file "+name+" is missing from the data folder.")
	}
	return k, err
}

// PrependMasterKey makes another master key of the data folder and puts it
// before those that are in the file, which must be there. The list is whole on
// the disk when the call returns, and the file has the old or the new list at
// every moment. No two calls may run at the same time.
func PrependMasterKey(dir string) (Key, error) {
	k, err := LoadMasterKey(dir)
	if err != nil {
		return Key{}, err
	}
	list := secret.RandomStd(masterKeySize) + "," + k.Value.Reveal()
	if len(list) >= maxSecretFile {
		return Key{}, fault.New(fault.Unavailable, "key_not_made",
			"The file "+MasterKeyName+" of the data folder is full; remove the keys from its end that no backup needs.")
	}
	if err := replace(k.File, list+"\n"); err != nil {
		return Key{}, fault.Wrap(fault.Unavailable, "key_not_made", "The file "+MasterKeyName+" of the data folder cannot be replaced.", err)
	}
	k, err = LoadMasterKey(dir)
	k.Made = true
	return k, err
}

// MasterKeys returns the master keys that the settings give, to start with;
// an unset value: those of the data folder count. A command is run.
//
// An error, fault.Unavailable "master_key_unreadable", is a sentence that
// names the setting and holds nothing of a key; or it is ctx's.
func (c Config) MasterKeys(ctx context.Context) (secret.Value, error) {
	if c.MasterKeyCommand != "" {
		return c.runKeyCommand(ctx, commandTime)
	}
	return c.MasterKey, nil
}

// MasterKeysAgain is MasterKeys for a server that runs: a file is read again.
func (c Config) MasterKeysAgain(ctx context.Context) (secret.Value, error) {
	if c.MasterKeyFile == "" {
		return c.MasterKeys(ctx)
	}
	s, err := readSecret(c.MasterKeyFile)
	if err != nil {
		return secret.Value{}, c.keysUnreadable("names a file that cannot be read: " + cause(err))
	}
	if wrong := checkMasterKey(s); wrong != "" {
		return secret.Value{}, c.keysUnreadable(wrong)
	}
	return secret.New(s), nil
}

// MasterKeySetting returns the variable that gives the master keys;
// CONSENTWIRE_MASTER_KEY when none does.
func (c Config) MasterKeySetting() string {
	switch {
	case c.MasterKeyCommand != "":
		return variable("master-key-command")
	case c.MasterKeyFile != "":
		return variable("master-key-file")
	}
	return variable("master-key")
}

func (c Config) keysUnreadable(sentence string) error {
	return fault.New(fault.Unavailable, "master_key_unreadable", c.MasterKeySetting()+" "+sentence+".")
}

func ensure(dir, name string, check func(string) string, enc *base64.Encoding) (Key, error) {
	file := filepath.Join(dir, name)
	k, err := load(file, check)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	err = create(file, enc.EncodeToString(b)+"\n")
	if errors.Is(err, fs.ErrExist) { // another process was first
		return load(file, check)
	}
	if err != nil {
		return Key{}, fault.Wrap(fault.Unavailable, "key_not_made", "The file "+name+" cannot be made in the data folder.", err)
	}
	k, err = load(file, check)
	k.Made = true
	return k, err
}

// load reads a key. A missing file is fs.ErrNotExist.
func load(file string, check func(string) string) (Key, error) {
	name := filepath.Base(file)
	i, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fs.ErrNotExist
	}
	if err != nil {
		return Key{}, fault.Wrap(fault.Unavailable, "key_unreadable", "The file "+name+" of the data folder cannot be read.", err)
	}
	s, err := readSecret(file)
	if err != nil {
		return Key{}, fault.Wrap(fault.Unavailable, "key_unreadable", "The file "+name+" of the data folder cannot be read.", err)
	}
	if wrong := check(s); wrong != "" {
		return Key{}, fault.New(fault.Invalid, "key_malformed", "The file "+name+" of the data folder "+wrong+".")
	}
	k := Key{Value: secret.New(s), File: file}
	if i.Mode().Perm()&0o077 != 0 {
		k.Warning = openMode("The data folder has a file "+name, i.Mode())
	}
	return k, nil
}

// create writes a file that nobody else may read, whole or not at all. One
// that exists is fs.ErrExist: a link, unlike a rename, replaces nothing.
func create(file, content string) error {
	return write(file, content, func(*os.File) error { return nil }, os.Link)
}

// replace is create for a file that exists. Its owner stays, so that a server
// can read what another user, such as root, has written for it.
func replace(file, content string) error {
	i, err := os.Stat(file)
	if err != nil {
		return err
	}
	return write(file, content, func(f *os.File) error {
		if was, ok := i.Sys().(*syscall.Stat_t); ok {
			return f.Chown(int(was.Uid), int(was.Gid))
		}
		return nil
	}, os.Rename)
}

// write fills a file beside the one that is meant, on the disk, and then moves
// it into its place.
func write(file, content string, prepare func(*os.File) error, move func(from, to string) error) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // there is none when it was renamed
	err = prepare(f)
	if err == nil {
		_, err = f.WriteString(content)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = move(f.Name(), file)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the data folder, which a setting names
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
