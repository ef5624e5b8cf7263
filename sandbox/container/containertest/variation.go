// Package containertest is what runners of containers promise beyond the contract
// of every runner, as tests that their own tests call: that each departure from
// the fixed environment is seen inside, alone, and that images come and go. It
// starts no engine and knows no runner. Roots in it need busybox's tools.
package containertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gavel/sandbox"
)

// epoch is the time of all inputs.
const epoch = 1_700_000_000

// look prints one line for each thing that a Variation can change; what cannot
// be the same twice is left out.
const look = `echo dir $(pwd -P); echo host $(uname -n) $HOSTNAME; echo user $(id -u) $(id -g)
echo umask $(umask); echo locale $LC_ALL; echo zone $TZ; echo random $(cat /proc/self/personality 2>/dev/null || echo hidden)
echo cpus $(nproc); echo inputs $(stat -c '%n:%u:%g:%a:%Y' . a b dir dir/x | tr '\n' ' ')
echo order $(find . ! -name . | tr '\n' ' '); : > new; echo new $(stat -c %a:%u new); echo changed >> a; cat dir/x; mkdir out; echo made > out/made`

// Variation checks every departure but that of the clock, one at a time, and all at once.
func Variation(t *testing.T, r sandbox.Runner, root string) {
	tree := inputs(t, r.Describe())
	fixed := run(t, r, root, tree, sandbox.Variation{})
	order := strings.Fields(fixed["order"])
	reversed := reverse(t, tree)
	all := sandbox.Variation{
		WorkRoot: "/build/v3/tree", Hostname: "elsewhere", UID: 1234, Umask: 0o077, Locale: "de_DE.UTF-8", TimeZone: "Asia/Tokyo",
		CPUs: 1, ReverseOrder: true, FixedAddresses: true,
	}
	user := map[string]string{
		"user": "1234 1234", "new": "644:1234",
		"inputs": strings.ReplaceAll(fixed["inputs"], ":65534:65534:", ":1234:1234:"),
	}
	for name, c := range map[string]struct {
		vary  sandbox.Variation
		wants map[string]string // what differs from fixed
	}{
		"nothing":         {sandbox.Variation{}, nil},
		"path":            {sandbox.Variation{WorkRoot: all.WorkRoot}, map[string]string{"dir": "/build/v3/tree"}},
		"host name":       {sandbox.Variation{Hostname: all.Hostname}, map[string]string{"host": "elsewhere elsewhere"}},
		"user":            {sandbox.Variation{UID: all.UID}, user},
		"umask":           {sandbox.Variation{Umask: all.Umask}, map[string]string{"umask": "0077", "new": "600:65534"}},
		"locale":          {sandbox.Variation{Locale: all.Locale}, map[string]string{"locale": all.Locale}},
		"time zone":       {sandbox.Variation{TimeZone: all.TimeZone}, map[string]string{"zone": all.TimeZone}},
		"CPUs":            {sandbox.Variation{CPUs: 1}, map[string]string{"cpus": "1"}},
		"order":           {sandbox.Variation{ReverseOrder: true}, map[string]string{"order": strings.Join(reversed, " ")}},
		"fixed addresses": {sandbox.Variation{FixedAddresses: true}, nil},
		"everything": {all, map[string]string{
			"dir": "/build/v3/tree", "host": "elsewhere elsewhere", "user": user["user"], "inputs": user["inputs"], "umask": "0077",
			"new": "600:1234", "locale": all.Locale, "zone": all.TimeZone, "cpus": "1", "order": strings.Join(reversed, " "),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			saw := run(t, r, root, tree, c.vary)
			for _, key := range []string{"dir", "host", "user", "umask", "locale", "zone", "cpus", "inputs", "order", "new", "content"} {
				want, differs := c.wants[key]
				if !differs {
					want = fixed[key]
				}
				if saw[key] != want {
					t.Errorf("%s is %q, want %q", key, saw[key], want)
				}
			}
			if c.vary.FixedAddresses {
				addressesAreFixed(t, r, root, tree)
			}
		})
	}
	if len(order) != len(reversed) || slices.Equal(order, reversed) {
		t.Errorf("the fixed order is %q and its reverse %q", order, reversed)
	}
	t.Run("clock", func(t *testing.T) {
		s := spec(t, root, tree, sandbox.Variation{Clock: &sandbox.Clock{}})
		if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrRefused) {
			t.Errorf("error %v, want a refusal", err)
		}
	})
}

// inputs writes a tree whose directories have more than one entry.
func inputs(t *testing.T, d sandbox.Description) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"dir/x", "dir/y", "dir/sub/1", "dir/sub/2", "dir/sub/3", "a", "b", "c"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("content of "+name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(paths) // children before their directories
	when := time.Unix(epoch, 0)
	for _, path := range paths {
		if err := errors.Join(os.Chown(path, d.InputUID, d.InputGID), os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// reverse walks a tree as find does, each directory read backwards.
func reverse(t *testing.T, root string) []string {
	t.Helper()
	var walk func(dir, shown string) []string
	walk = func(dir, shown string) []string {
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		names, err := d.Readdirnames(-1)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(names)
		var found []string
		for _, name := range names {
			path := filepath.Join(dir, name)
			found = append(found, shown+"/"+name)
			if info, err := os.Lstat(path); err != nil {
				t.Fatal(err)
			} else if info.IsDir() {
				found = append(found, walk(path, shown+"/"+name)...)
			}
		}
		return found
	}
	return walk(root, ".")
}

func spec(t *testing.T, root, tree string, v sandbox.Variation) sandbox.Spec {
	t.Helper()
	return sandbox.Spec{
		Root: root, Argv: []string{"/bin/sh", "-c", look}, InputDir: tree, OutputDir: t.TempDir(), Outputs: []string{"a", "out"},
		SourceDateEpoch: epoch, Variation: v, Limits: sandbox.Limits{TimeMillis: 60_000},
	}
}

// run looks around, and returns the lines by their first word.
func run(t *testing.T, r sandbox.Runner, root, tree string, v sandbox.Variation) map[string]string {
	t.Helper()
	s := spec(t, root, tree, v)
	log := &bytes.Buffer{}
	s.Log = log
	res, err := r.Run(context.Background(), s)
	if err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
		t.Fatalf("%+v, %v\n%s", res, err, log)
	}
	for name, want := range map[string]string{"a": "content of a\nchanged\n", "out/made": "made\n"} {
		if got, err := os.ReadFile(filepath.Join(s.OutputDir, name)); string(got) != want || err != nil {
			t.Errorf("output %s is %q, %v", name, got, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(tree, "a")); string(text) != "content of a\n" || err != nil {
		t.Errorf("the input was changed: %q, %v", text, err)
	}
	saw := map[string]string{}
	for line := range strings.Lines(log.String()) {
		key, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		saw[key] = strings.TrimSpace(rest)
	}
	return saw
}

// addressesAreFixed starts a program twice; with randomisation its stack would
// lie at one place of thousands.
func addressesAreFixed(t *testing.T, r sandbox.Runner, root, tree string) {
	t.Helper()
	s := spec(t, root, tree, sandbox.Variation{FixedAddresses: true})
	log := &bytes.Buffer{}
	s.Log, s.Outputs = log, nil
	s.Argv[2] = "for i in 1 2 3; do grep -F '[stack]' /proc/self/maps | cut -d- -f2 | cut -d' ' -f1; done | sort -u"
	if res, err := r.Run(context.Background(), s); err != nil || res.ExitCode != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if places := strings.Fields(log.String()); len(places) != 1 {
		t.Errorf("the stack ends at %s", fmt.Sprint(places))
	}
}
