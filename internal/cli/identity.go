package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/consentwire/consentwire/internal/id"
)

// identityName is the file of the data folder that holds the name of a node that
// shares a database. The process that has it holds a lock on the file, so that
// after a crash the next one can take over the leases of the former at once.
const identityName = "node"

// identity returns the name of this node, and the file that it holds. Where
// another process has the folder's name this one gets another, for its lifetime.
func identity(dir string) (name string, held *os.File, err error) {
	f, err := os.OpenFile(filepath.Join(dir, identityName), os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- a fixed name in our own data folder
	if err != nil {
		return "", nil, about("CONSENTWIRE_DATA_DIR", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return id.New(id.Node), nil, nil
		}
		return "", nil, about("CONSENTWIRE_DATA_DIR", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if name = strings.TrimSpace(string(b)); err == nil && !strings.HasPrefix(name, id.Node+"_") {
		name = id.New(id.Node)
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(name+"\n"), 0)
		}
	}
	if err != nil {
		return "", nil, about("CONSENTWIRE_DATA_DIR", errors.Join(err, f.Close()))
	}
	return name, f, nil
}
