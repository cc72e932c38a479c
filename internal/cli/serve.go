package cli

import (
	"context"
	"io"
	"log/slog"

	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/telemetry"
)

// serve runs the server until ctx ends.
func serve(ctx context.Context, cfg config.Config, stderr io.Writer) error {
	l := telemetry.NewLogger(stderr, telemetry.Format(cfg.LogFormat), cfg.LogLevel)
	n, err := newNode(ctx, cfg, l, listen)
	if err != nil {
		return err
	}
	n.announce(l)
	return n.run(ctx)
}

// announce writes the line that programs wait for. The socket takes
// connections already; they are answered in a moment.
func (n *node) announce(l *slog.Logger) {
	b := thisBuild()
	l.Info("listening", "addr", n.listener.Addr().String(), "publicUrl", n.url, "version", b.version, "commit", b.commit, "go", b.goVersion)
}
