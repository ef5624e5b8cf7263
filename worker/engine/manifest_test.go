package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/sandbox"
)

func TestManifestOfEveryEnd(t *testing.T) {
	for name, c := range map[string]struct {
		res  sandbox.Result
		make func(dir string) error
		want build.Manifest
		note string
	}{
		"failed": {res: sandbox.Result{Status: sandbox.Exited, ExitCode: 3}, want: build.Manifest{Status: build.StatusExited, ExitCode: 3}},
		"signal": {res: sandbox.Result{Status: sandbox.Signaled, Signal: 9}, want: build.Manifest{Status: build.StatusSignaled, Signal: 9}},
		"timeout carries nothing": {
			res: sandbox.Result{Status: sandbox.Timeout}, make: func(d string) error { return os.Mkdir(filepath.Join(d, "lib"), 0o755) },
			want: build.Manifest{Status: build.StatusTimeout},
		},
		"oom":     {res: sandbox.Result{Status: sandbox.OOM}, want: build.Manifest{Status: build.StatusOOM}},
		"missing": {res: sandbox.Result{Status: sandbox.MissingOutput}, want: build.Manifest{Status: build.StatusMissingOutput}},
		"directory and link": {
			res: sandbox.Result{Status: sandbox.Exited},
			make: func(d string) error {
				return errors.Join(os.MkdirAll(filepath.Join(d, "lib/empty"), 0o755), os.Symlink("empty", filepath.Join(d, "lib/link")),
					os.MkdirAll(filepath.Join(d, "bin"), 0o755))
			},
			want: build.Manifest{Status: build.StatusExited, Outputs: []build.Output{
				{Path: "lib", Type: build.OutputDir}, {Path: "lib/empty", Type: build.OutputDir}, {Path: "lib/link", Type: build.OutputSymlink, Target: "empty"},
			}},
		},
		"name that no tree carries": {
			res:  sandbox.Result{Status: sandbox.Exited},
			make: func(d string) error { return os.MkdirAll(filepath.Join(d, "lib/\xff"), 0o755) },
			want: build.Manifest{Status: build.StatusMissingOutput}, note: "cannot be carried",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.make != nil {
				if err := c.make(dir); err != nil {
					t.Fatal(err)
				}
			}
			m, note, err := Manifest(t.Context(), c.res, dir, []string{"bin/app", "lib", "lib/link"})
			if err != nil {
				t.Fatal(err)
			}
			if string(m.Bytes()) != string(c.want.Bytes()) || !strings.Contains(note, c.note) || (note == "") != (c.note == "") {
				t.Errorf("got %+v, note %q", m, note)
			}
		})
	}
}
