package cli

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/consentwire/consentwire/internal/config"
)

// addressName is the file of the data folder that tells the commands of the
// same machine where the server listens that has the folder open. Its first
// line is a URL without a path; over TLS, the server's certificate in PEM
// follows. The server holds a lock on it as long as it lives, so that what a
// killed one has left is known by having none.
const addressName = "address"

// maxAddress is the largest such file that is read, in bytes.
const maxAddress = 64 << 10

// address is the file of a server that runs.
type address struct {
	file string
	f    *os.File // holds the lock
}

// publishAddress writes the file, whole and locked from its first moment on.
// The data folder must be the caller's, by the lock of its store.
func publishAddress(cfg config.Config, at net.Addr) (_ *address, err error) {
	cfg.PublicURL = "" // which may lead elsewhere
	content := []byte(cfg.BaseURL(at) + "\n")
	if cfg.TLSCertFile != "" {
		chain, err := os.ReadFile(cfg.TLSCertFile) // #nosec G304 -- a file that a setting names
		if err != nil {
			return nil, about("CONSENTWIRE_TLS_CERT_FILE", err)
		}
		content = append(content, leaf(chain)...)
	}
	a := &address{file: filepath.Join(cfg.DataDir, addressName)}
	next := filepath.Join(cfg.DataDir, "."+addressName+"-next")
	a.f, err = os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // #nosec G304 -- a fixed name in our own data folder
	if err != nil {
		return nil, about("CONSENTWIRE_DATA_DIR", err)
	}
	err = syscall.Flock(int(a.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		_, err = a.f.Write(content)
	}
	if err == nil {
		err = os.Rename(next, a.file)
	}
	if err != nil {
		return nil, about("CONSENTWIRE_DATA_DIR", errors.Join(err, a.f.Close()))
	}
	return a, nil
}

// leaf returns the first certificate of a chain in PEM.
func leaf(chain []byte) []byte {
	for {
		var block *pem.Block
		block, chain = pem.Decode(chain)
		if block == nil {
			return nil
		}
		if block.Type == "CERTIFICATE" {
			return pem.EncodeToMemory(block)
		}
	}
}

// remove takes the file away.
func (a *address) remove() error {
	err := os.Remove(a.file)
	if errors.Is(err, fs.ErrNotExist) { // the folder was removed
		err = nil
	}
	return errors.Join(err, syscall.Flock(int(a.f.Fd()), syscall.LOCK_UN), a.f.Close())
}

// runningServer returns the URL, without a path, of the server that has the
// data folder open, and its certificate, nil without TLS. An empty URL: none
// runs.
func runningServer(dir string) (url string, certificate []byte, err error) {
	f, err := os.Open(filepath.Join(dir, addressName)) // #nosec G304 -- a fixed name in our own data folder
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, about("CONSENTWIRE_DATA_DIR", err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil { // the server that wrote it is dead
		return "", nil, syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", nil, about("CONSENTWIRE_DATA_DIR", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAddress))
	if err != nil {
		return "", nil, about("CONSENTWIRE_DATA_DIR", err)
	}
	first, rest, _ := bytes.Cut(b, []byte("\n"))
	return strings.TrimSpace(string(first)), leaf(rest), nil
}
