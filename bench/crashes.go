package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/consentwire/consentwire/internal/load"
)

// crashes runs a test of package servertest, which the names of its checks say
// more of, and returns what it logged.
func crashes(ctx context.Context, test string, kills int) (said string, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout", "20m", "-tags", "postgres", "-run", "^"+test+"$", "./internal/servertest") // #nosec G204 -- names of ours
	cmd.Env = append(os.Environ(), "CONSENTWIRE_TEST_KILLS="+strconv.Itoa(kills), "CI=true")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var lines []string
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(line); strings.Contains(line, "_test.go:") {
			_, text, _ := strings.Cut(line, ": ")
			lines = append(lines, text)
		}
	}
	said = strings.Join(lines, "; ")
	if err != nil && !strings.Contains(out.String(), "--- FAIL: "+test) {
		return said, fmt.Errorf("%w: %.400s", err, out.String())
	}
	return said, err
}

// kills is a row that counts what was lost or came out of order; the test says
// which, and ends at the first.
func kills(ctx context.Context, b *load.Bench, name, test string) ([]load.Row, error) {
	n := 200
	if b.Quick() {
		n = 5
	}
	said, err := crashes(ctx, test, n)
	if said == "" && err != nil {
		return nil, err
	}
	bad := 0.0
	if err != nil {
		bad = 1
	}
	return []load.Row{load.AtMost(name, bad, 0, "lost or out of order", fmt.Sprintf("%d SIGKILLs under load: %s", n, said))}, nil
}

func killsEmbedded(ctx context.Context, b *load.Bench) ([]load.Row, error) {
	return kills(ctx, b, "kills-embedded", "TestKill")
}

func killsPostgres(ctx context.Context, b *load.Bench) ([]load.Row, error) {
	return kills(ctx, b, "kills-postgres", "TestKill_postgres")
}

var takenOver = regexp.MustCompile(`taken over from a (?:killed|frozen) node after ([0-9.]+)s`)

// nodeLoss is how long the endpoints of a node that is lost wait for another one.
func nodeLoss(ctx context.Context, _ *load.Bench) ([]load.Row, error) {
	said, err := crashes(ctx, "TestNodes", 1)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	longest := 0.0
	for _, m := range takenOver.FindAllStringSubmatch(said, -1) {
		s, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, err
		}
		longest = max(longest, s)
	}
	if longest == 0 {
		return nil, fmt.Errorf("the test said nothing of a take-over: %s", said)
	}
	return []load.Row{load.AtMost("node-loss", longest, 20, "s", "3 nodes on one PostgreSQL, 0 lost, 0 out of order: "+said)}, nil
}
