package servertest_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestBench: the command measures, and says what it found as JSON.
func TestBench(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), binary(t), "bench", "--quick", "--row", "latency-p50", "--json", "-") // #nosec G204 -- the program that the test has built
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	var rows []struct {
		Name, Bar, Conditions string
		Value                 float64
	}
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(rows) != 2 || rows[0].Name != "latency-p50" || rows[1].Name != "latency-p99" || rows[0].Value <= 0 || rows[1].Value < rows[0].Value || rows[0].Bar == "" || rows[0].Conditions == "" {
		t.Errorf("got %+v, want the latency in the middle and at the 99th percentile, each with its bar and how it was measured", rows)
	}
	if out, err := exec.CommandContext(t.Context(), binary(t), "bench", "--row", "none").CombinedOutput(); err == nil { // #nosec G204 -- as above
		t.Errorf("got %s, want a row that there is not refused", out)
	}
}
