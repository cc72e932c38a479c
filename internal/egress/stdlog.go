package egress

import (
	"io"
	"log/slog"
)

// QuietStdLog returns a writer for the standard logger (log.SetOutput) and
// for http.Server.ErrorLog. net/http writes there what a receiver sends out
// of turn ("Unsolicited response received on idle HTTP channel starting
// with …"), past every redaction; this writer logs that something was
// written, and never what.
func QuietStdLog(l *slog.Logger) io.Writer { return quiet{l} }

type quiet struct{ log *slog.Logger }

// Write drops p.
func (q quiet) Write(p []byte) (int, error) {
	q.log.Warn("network library message withheld", "bytes", len(p))
	return len(p), nil
}
