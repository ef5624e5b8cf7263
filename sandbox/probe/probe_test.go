package probe

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// Both halves know the same attempts, each described, and there are many.
func TestCatalogIsWhatTheProgramKnows(t *testing.T) {
	program, err := Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	known, err := Attempts(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, p := range Probes() {
		listed = append(listed, p.Name)
		if p.Tries == "" || p.Shows == "" || !slices.Contains(Categories, p.Category) || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(p.Name) {
			t.Errorf("%+v is not described", p)
		}
	}
	slices.Sort(listed)
	if twice := slices.Compact(slices.Clone(listed)); len(twice) != len(listed) {
		t.Error("a name is listed twice")
	}
	for _, name := range known {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not in the catalog", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(known, name) {
			t.Errorf("%s is not in the program", name)
		}
	}
	if len(listed) < 130 {
		t.Errorf("%d probes, want at least 130", len(listed))
	}
}

// What leads, reaches or holds more than an output may is told.
func TestOutputsTame(t *testing.T) {
	secret := "s3cret"
	s := &suite{machine: &machine{}}
	s.machine.world.SecretHash = hashOf(secret)
	outside := filepath.Join(t.TempDir(), "outside")
	write := func(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }
	if err := write(outside, "x"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"nothing":         {func(string) error { return nil }, ""},
		"a file":          {func(dir string) error { return write(dir+"/f", "x") }, ""},
		"an inner link":   {func(dir string) error { return os.Symlink("f", dir+"/l") }, ""},
		"an outer link":   {func(dir string) error { return os.Symlink("../f", dir+"/l") }, "leads to"},
		"an absolute one": {func(dir string) error { return os.Symlink(outside, dir+"/l") }, "leads to"},
		"a fifo":          {func(dir string) error { return unix.Mkfifo(dir+"/p", 0o644) }, "no file, directory or link"},
		"the secret":      {func(dir string) error { return write(dir+"/f", secret+"\n") }, "secret"},
		"a hard link":     {func(dir string) error { return os.Link(outside, dir+"/f") }, "hard link"},
		"too much":        {func(dir string) error { return write(dir+"/f", strings.Repeat("x", 101)) }, "limit of 100"},
		"too much together": {func(dir string) error {
			if err := write(dir+"/a", strings.Repeat("x", 60)); err != nil {
				return err
			}
			return write(dir+"/b", strings.Repeat("x", 60))
		}, "limit of 100"},
		"an odd mode": {func(dir string) error { return os.WriteFile(dir+"/f", nil, 0o600) }, "mode 600"},
		"set-user-ID": {func(dir string) error {
			if err := write(dir+"/f", ""); err != nil {
				return err
			}
			return unix.Chmod(dir+"/f", 0o4755)
		}, "mode 4755"},
		"too deep": {func(dir string) error { return os.MkdirAll(dir+strings.Repeat("/d", maxDepth+1), 0o755) }, "too deep"},
	} {
		old := unix.Umask(0o022)
		dir := filepath.Join(t.TempDir(), "out")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := c.make(dir)
		unix.Umask(old)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := s.outputsTame(&evidence{spec: sandbox.Spec{OutputDir: dir, Limits: sandbox.Limits{DiskBytes: 100}}})
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A change of an input's original in any respect is a difference.
func TestListingTellsEveryChange(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"content": func(f string) error {
			return keepingTimes(f, func() error { return os.WriteFile(f, []byte("o1d"), 0o644) })
		},
		"mode":    func(f string) error { return os.Chmod(f, 0o600) },
		"time":    func(f string) error { return os.Chtimes(f, time.Unix(5, 0), time.Unix(5, 0)) },
		"link":    func(f string) error { return os.Link(f, f+"-2") },
		"removal": os.Remove,
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "f")
		if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		before, err := listing(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(file); err != nil {
			t.Fatal(err)
		}
		after, err := listing(dir)
		if err != nil || difference(before, after) == "" {
			t.Errorf("%s: no difference (%v)", name, err)
		}
		if difference(before, before) != "" {
			t.Error("a tree differs from itself")
		}
	}
}

func keepingTimes(file string, do func() error) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return os.Chtimes(file, info.ModTime(), info.ModTime())
}

// The table counts, and everything that succeeded or broke is a sentence.
func TestTable(t *testing.T) {
	good := &Report{Runner: "good", Outcomes: []Outcome{{"a", Mounts, "tries a", "", Denied, "no"}, {"b", Kernel, "tries b", "", Impossible, "this kernel has none"}}}
	bad := &Report{Runner: "bad", Outcomes: []Outcome{{"a", Mounts, "tries a", "", Succeeded, "yes."}, {"b", Kernel, "tries b", "", Broke, "an error"}}}
	if !good.Held() || bad.Held() || (&Report{Outcomes: bad.Outcomes[1:]}).Held() {
		t.Error("what held is not told from what did not")
	}
	var b strings.Builder
	if err := WriteTable(&b, []*Report{good, bad}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`mounts +1/0/0 +1/1/0`, `kernel +0/0/1 +0/0/0`, `all +1/0/1 +1/1/0`, `SUCCEEDED on bad: a, which tries a: yes\.\n`,
		`NOT TRIED on bad: b, which tries b: an error\.`, `not possible here: b: this kernel has none`} {
		if !regexp.MustCompile(want).MatchString(b.String()) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}
