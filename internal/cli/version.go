package cli

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// A release sets these: -ldflags "-X …/internal/cli.version=1.2.3". Else they
// are what the toolchain recorded.
var version, commit string

// build is what this program is made of.
type build struct{ version, commit, goVersion string }

// String returns the line of the command version.
func (b build) String() string {
	return "consentwire " + b.version + ", commit " + b.commit + ", " + b.goVersion
}

func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return buildOf(info, version, commit)
}

// buildOf returns the build: what is set, else what info records, else "dev"
// and "unknown". A version is without the "v" of its tag, and safe in a
// User-Agent.
func buildOf(info *debug.BuildInfo, version, commit string) build {
	b := build{version, commit, runtime.Version()}
	if info == nil {
		info = &debug.BuildInfo{}
	}
	if b.version == "" {
		b.version = info.Main.Version
	}
	if b.version == "" || b.version == "(devel)" {
		b.version = "dev"
	}
	b.version = strings.TrimPrefix(b.version, "v")
	if b.commit == "" {
		modified := ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				b.commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = "-modified"
			}
		}
		if b.commit != "" {
			b.commit += modified
		}
	}
	if b.commit == "" {
		b.commit = "unknown"
	}
	return b
}
