package cli

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestBuildOf(t *testing.T) {
	t.Parallel()
	stamped := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.4.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc123"}, {Key: "vcs.modified", Value: "true"}},
	}
	tests := []struct {
		name            string
		info            *debug.BuildInfo
		version, commit string
		want            string
	}{
		{"nothing is known", nil, "", "", "consentwire dev, commit unknown"},
		{"built from a folder", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "", "", "consentwire dev, commit unknown"},
		{"stamped by the toolchain", stamped, "", "", "consentwire 1.4.0, commit abc123-modified"},
		{"set by a release", stamped, "v2.0.0", "def456", "consentwire 2.0.0, commit def456"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := tt.want + ", " + runtime.Version()
			if got := buildOf(tt.info, tt.version, tt.commit).String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
