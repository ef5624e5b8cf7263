//go:build itest

package docker

import (
	"encoding/json"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/container/containertest"
)

// withVolumes is an image whose config declares these.
func withVolumes(t *testing.T, img sandbox.Image, dirs ...string) sandbox.Image {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(img.Config, &config); err != nil {
		t.Fatal(err)
	}
	volumes := map[string]any{}
	for _, d := range dirs {
		volumes[d] = map[string]any{}
	}
	config["config"] = map[string]any{"Volumes": volumes}
	var err error
	if img.Config, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestVariedPathBelowAVolume(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	root := take(t, r, withVolumes(t, unique(t, "x"), "/build", "/build/other"))
	s, log := shell(t, root, "pwd -P; echo x > made && cat made; for d in /build /build/v3 /build/other; do { echo x > $d/new; } 2>/dev/null && echo \"$d is writable\"; done; true")
	s.Variation.WorkRoot, s.Outputs = "/build/v3/tree", []string{"made"}
	if res := mustRun(t, r, s); res.Status != sandbox.Exited || log.String() != "/build/v3/tree\nx\n" {
		t.Errorf("%+v, log %q", res, log)
	}
	noLeftovers(t, r)
}

func TestVariation(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	containertest.Variation(t, r, busybox)
	noLeftovers(t, r)
	t.Run("image with volumes", func(t *testing.T) { containertest.Variation(t, r, stubborn) })
}
