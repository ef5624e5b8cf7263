package engine

import (
	"strings"
	"testing"

	"gavel/raftfsm/build"
)

func TestFingerprint(t *testing.T) {
	class, err := Fingerprint(t.Context(), "native", true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Fingerprint(t.Context(), "native", true)
	if err != nil || again != class {
		t.Errorf("changes by itself: %q, %q", class, again)
	}
	bare, err := Fingerprint(t.Context(), "native", false)
	if err != nil || !strings.HasPrefix(class, bare+"/host-") || len(class) > build.MaxClassBytes || strings.Count(class, "/") != 6 {
		t.Errorf("%q, without host root %q (%v)", class, bare, err)
	}
	flags := parseFlags("processor\t: 0\nflags\t\t: sse4_2 cx16 lahf_lm popcnt pni sse4_1 ssse3\nflags: other\n")
	if got := cpuLevel(flags); got != "v2" && got != "v0" {
		t.Errorf("level %s of %v", got, flags)
	}
	for release, want := range map[string]string{"6.1.0-18-amd64": "6.1", "6.12-rc1": "6.12", "5": "5"} {
		if got := kernelVersion(release); got != want {
			t.Errorf("%s is %s, want %s", release, got, want)
		}
	}
}
