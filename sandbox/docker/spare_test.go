package docker

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/docker/docker/api/types/mount"

	"gavel/sandbox"
	"gavel/sandbox/container"
)

func TestKindOf(t *testing.T) {
	base := sandbox.Spec{Root: "sha256:00", Argv: []string{"make"}, Limits: sandbox.Limits{}.WithDefaults()}
	want, ok := kindOf(base, "/cpus/2")
	if !ok {
		t.Fatal("a plain command takes no spare")
	}
	for name, c := range map[string]struct {
		change func(*sandbox.Spec)
		fits   bool // into a spare that was made for base
	}{
		"other command": {func(s *sandbox.Spec) { s.Argv, s.Env, s.WorkDir = []string{"cc"}, []string{"K=V"}, "d" }, true},
		"other files": {func(s *sandbox.Spec) {
			s.InputDir, s.OutputDir, s.Outputs, s.SourceDateEpoch = "/i", "/o", []string{"x"}, 7
		}, true},
		"other time":      {func(s *sandbox.Spec) { s.Limits.TimeMillis, s.Limits.LogBytes = 1, 1 }, true},
		"other image":     {func(s *sandbox.Spec) { s.Root = "sha256:01" }, false},
		"other memory":    {func(s *sandbox.Spec) { s.Limits.MemoryBytes++ }, false},
		"other CPU time":  {func(s *sandbox.Spec) { s.Limits.CPUMillis++ }, false},
		"other processes": {func(s *sandbox.Spec) { s.Limits.Pids++ }, false},
		"other disk":      {func(s *sandbox.Spec) { s.Limits.DiskBytes++ }, false},
		"network":         {func(s *sandbox.Spec) { s.Network = true }, false},
		"variation":       {func(s *sandbox.Spec) { s.Variation.Umask = 0o77 }, false},
		"clock":           {func(s *sandbox.Spec) { s.Variation.Clock = &sandbox.Clock{} }, false},
	} {
		s := base
		c.change(&s)
		if got, ok := kindOf(s, "/cpus/2"); (ok && got == want) != c.fits {
			t.Errorf("%s: %+v %v, fits %v", name, got, ok, !c.fits)
		}
	}
	if got, _ := kindOf(base, "/cpus/1"); got == want {
		t.Error("other CPUs are the same kind")
	}
}

// A Spec may differ from that of its spare in nothing that the engine is told.
func TestSpareIsMadeOfItsKindOnly(t *testing.T) {
	for name, c := range map[string]sandbox.Spec{
		"plain": {Root: "sha256:00", Limits: sandbox.Limits{}.WithDefaults()},
		"rich": {
			Root: "sha256:00", Argv: []string{"cc"}, Env: []string{"K=V"}, WorkDir: "d", InputDir: "/i", OutputDir: "/o",
			Outputs: []string{"x"}, SourceDateEpoch: 7, Limits: sandbox.Limits{TimeMillis: 5, LogBytes: 6, CPUMillis: 1500}.WithDefaults(),
		},
	} {
		k, _ := kindOf(c, "/cpus/2")
		ahead := sandbox.Spec{Root: k.root, Limits: k.limits}
		r := &Runner{config: Config{Owner: "me"}, cpus: 4}
		facts := imageFacts{id: "sha256:00", volumes: []string{"/data"}}
		place := files{container.Scratch{Dir: "/runs/abc"}, k.cpus}
		for _, both := range [][2]any{
			{r.containerConfig("abc", c, facts), r.containerConfig("abc", ahead, facts)},
			{r.hostConfig("abc", c, facts, place), r.hostConfig("abc", ahead, facts, place)},
		} {
			if !reflect.DeepEqual(both[0], both[1]) {
				t.Errorf("%s:\n%+v\nthe spare's:\n%+v", name, both[0], both[1])
			}
		}
		of, spares := container.TreeOf(c, 0), container.TreeOf(ahead, 0)
		if of.InputDir, of.Epoch = "", 0; of != spares {
			t.Errorf("%s: tree %+v, the spare's %+v", name, of, spares)
		}
	}
}

func TestWorkMountOfASpare(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "slot"), 0o700); err != nil {
		t.Fatal(err)
	}
	m := (&Runner{}).workMount("abc", "/build", container.Scratch{Dir: dir})
	if m.Type != mount.TypeBind || m.Source != filepath.Join(dir, "slot") || m.Target != "/build" || m.BindOptions.Propagation != mount.PropagationRSlave {
		t.Errorf("%+v", m)
	}
}
