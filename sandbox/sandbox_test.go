package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func validSpec() Spec {
	return Spec{Root: HostRoot, Argv: []string{"make"}, InputDir: "/in", OutputDir: "/out", Outputs: []string{"bin/app"}}
}

func TestValidate(t *testing.T) {
	if err := validSpec().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		says   string
	}{
		"root":               {func(s *Spec) { s.Root = "debian:12" }, "config digest"},
		"upper case digest":  {func(s *Spec) { s.Root = "sha256:" + strings.Repeat("A", 64) }, "lowercase"},
		"short digest":       {func(s *Spec) { s.Root = "sha256:abcd" }, "64"},
		"no argv":            {func(s *Spec) { s.Argv = nil }, "no command"},
		"empty name":         {func(s *Spec) { s.Argv = []string{""} }, "no command"},
		"NUL in argument":    {func(s *Spec) { s.Argv = []string{"a", "b\x00"} }, "argument 1 holds a NUL"},
		"long argument":      {func(s *Spec) { s.Argv = []string{strings.Repeat("x", 1<<17)} }, "put it in a file"},
		"many arguments":     {func(s *Spec) { s.Argv = slices.Repeat([]string{strings.Repeat("x", 1<<16)}, 40) }, "put some in a file"},
		"env without =":      {func(s *Spec) { s.Env = []string{"A"} }, "NAME=value"},
		"env without name":   {func(s *Spec) { s.Env = []string{"=A"} }, "NAME=value"},
		"env with NUL":       {func(s *Spec) { s.Env = []string{"A=\x00"} }, "NUL"},
		"long env":           {func(s *Spec) { s.Env = []string{"A=" + strings.Repeat("x", 1<<17)} }, "variable A"},
		"empty output":       {func(s *Spec) { s.Outputs = []string{""} }, "empty"},
		"absolute output":    {func(s *Spec) { s.Outputs = []string{"/a"} }, "absolute"},
		"escaping output":    {func(s *Spec) { s.Outputs = []string{"../a"} }, "below"},
		"everything":         {func(s *Spec) { s.Outputs = []string{"."} }, "below"},
		"unclean output":     {func(s *Spec) { s.Outputs = []string{"a//b"} }, "write it as a/b"},
		"climbing output":    {func(s *Spec) { s.Outputs = []string{"a/../b"} }, "write it as b"},
		"trailing slash":     {func(s *Spec) { s.Outputs = []string{"a/"} }, "write it as a"},
		"NUL in output":      {func(s *Spec) { s.Outputs = []string{"a\x00"} }, "NUL"},
		"long output":        {func(s *Spec) { s.Outputs = []string{strings.Repeat("a/", 3000) + "a"} }, "longer"},
		"output twice":       {func(s *Spec) { s.Outputs = []string{"a", "a"} }, "twice"},
		"too many outputs":   {func(s *Spec) { s.Outputs = make([]string, maxOutputs+1) }, "declare their directory"},
		"work dir":           {func(s *Spec) { s.WorkDir = "../x" }, "working directory"},
		"relative input dir": {func(s *Spec) { s.InputDir = "in" }, "input directory"},
		"no output dir":      {func(s *Spec) { s.OutputDir = "" }, "output directory"},
		"negative time":      {func(s *Spec) { s.Limits.TimeMillis = -1 }, "time limit"},
		"endless time":       {func(s *Spec) { s.Limits.TimeMillis = 1 << 50 }, "time limit"},
		"little memory":      {func(s *Spec) { s.Limits.MemoryBytes = 1 }, "memory limit"},
		"negative pids":      {func(s *Spec) { s.Limits.Pids = -5 }, "process limit"},
		"little disk":        {func(s *Spec) { s.Limits.DiskBytes = 1 }, "disk limit"},
		"large log":          {func(s *Spec) { s.Limits.LogBytes = 1 << 60 }, "log limit"},
		"tiny CPU":           {func(s *Spec) { s.Limits.CPUMillis = 1 }, "CPU limit"},
		"negative CPU":       {func(s *Spec) { s.Limits.CPUMillis = -1 }, "CPU limit"},
	} {
		t.Run(name, func(t *testing.T) {
			s := validSpec()
			c.change(&s)
			err := s.Validate()
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want a refusal that says %q", err, c.says)
			}
		})
	}
}

func FuzzValidatePath(f *testing.F) {
	for _, p := range []string{"a", "a/b", "..", "a/../..", "/", "a//b", "./a", "a\x00", ""} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if ValidatePath(p) != nil {
			return
		}
		if !filepath.IsLocal(p) || path.Clean(p) != p || p == "." || strings.ContainsRune(p, 0) {
			t.Errorf("%q passes", p)
		}
	})
}

func TestEnvironment(t *testing.T) {
	s := Spec{SourceDateEpoch: -5, Env: []string{"A=1", "HOME=/h", "A=2", "B="}}
	want := []string{"PATH=" + SearchPath + ":/x", "TMPDIR=/tmp", "HOSTNAME=gavel", "TZ=UTC", "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=-5", "HOME=/h", "A=2", "B="}
	if got := Environment(s, "/x"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCappedLogKeepsAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 50).Draw(t, "limit")
		parts := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "parts")
		var out bytes.Buffer
		l := NewCappedLog(&out, limit)
		for _, p := range parts {
			if n, err := l.Write(p); n != len(p) || err != nil {
				t.Fatalf("wrote %d of %d, %v", n, len(p), err)
			}
		}
		all := slices.Concat(parts...)
		want := string(all)
		if cut := int64(len(all)) > limit; cut {
			want = string(all[:limit]) + fmt.Sprintf("\ngavel: the log is cut here, after %d bytes\n", limit)
		}
		if out.String() != want || l.Truncated() != (int64(len(all)) > limit) {
			t.Fatalf("log %q truncated %v, want %q", out.String(), l.Truncated(), want)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestABrokenLogReaderStopsNothing(t *testing.T) {
	l := NewCappedLog(brokenWriter{}, 10)
	for range 3 {
		if n, err := l.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	if !l.Truncated() {
		t.Error("a lost log is not told")
	}
	if _, err := NewCappedLog(nil, 10).Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestLaunchFailure(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{{unix.ENOENT, 127}, {unix.EACCES, 126}, {unix.ENOEXEC, 126}, {unix.E2BIG, 126}} {
		code, line := LaunchFailure("tool", c.err)
		if code != c.code || !strings.Contains(line, "tool") || strings.Count(line, "\n") != 1 {
			t.Errorf("%v: %d %q", c.err, code, line)
		}
	}
}

// TestSymlinksStayInside compares with the kernel: in a tree whose links all pass,
// no path through them may resolve to above the root.
func TestSymlinksStayInside(t *testing.T) {
	base := t.TempDir()
	rounds := 0
	rapid.Check(t, func(t *rapid.T) {
		rounds++
		// Deep below base, so that an escape stays visible and harmless.
		root := filepath.Join(base, fmt.Sprint(rounds), "u", "v", "w", "root")
		for _, d := range []string{"a/b/c", "d/e"} {
			if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		places := []string{"l1", "a/l2", "a/b/l3", "a/b/c/l4", "d/l5", "d/e/l6"}
		name := rapid.SampledFrom([]string{"..", "..", ".", "a", "b", "c", "d", "e", "l1", "l2", "l3", "l4", "l5", "l6", ""})
		for _, p := range places {
			target := strings.Join(rapid.SliceOfN(name, 1, 5).Draw(t, p), "/")
			if staysInside(p, target) {
				if err := os.Symlink(target, filepath.Join(root, p)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, p := range places {
			real, err := filepath.EvalSymlinks(filepath.Join(root, p))
			if err == nil && real != root && !strings.HasPrefix(real, root+"/") {
				t.Fatalf("%s leads to %s", p, real)
			}
		}
	})
	for _, absolute := range []string{"/", "/etc/passwd", "//x", ""} {
		if staysInside("a/l", absolute) {
			t.Errorf("%q stays inside", absolute)
		}
	}
}

func TestCollectRefusesWhatIsNoOutput(t *testing.T) {
	work := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(work, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	// Through the current directory, because a socket's path must be short.
	t.Chdir(work)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("big", make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("file", []byte("x"), 0o400); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	s := Spec{Outputs: []string{"fifo", "socket", "big", "absent", "file"}, OutputDir: t.TempDir(), Limits: Limits{DiskBytes: 1 << 20}}
	missing, detail, err := CollectOutputs(t.Context(), dir, s)
	if err != nil || !slices.Equal(missing, []string{"fifo", "socket", "big", "absent"}) {
		t.Errorf("missing %q, %v", missing, err)
	}
	for _, want := range []string{`"fifo" is a fifo`, `"socket" is a socket`, `"big" exceeds the disk limit`} {
		if !strings.Contains(detail, want) {
			t.Errorf("detail %q does not say %q", detail, want)
		}
	}
	s.WorkDir = "gone"
	if missing, detail, err := CollectOutputs(t.Context(), dir, s); err != nil || len(missing) != len(s.Outputs) || !strings.Contains(detail, "gone") {
		t.Errorf("missing %q, %q, %v", missing, detail, err)
	}
}

func TestVariationBounds(t *testing.T) {
	for name, v := range map[string]Variation{
		"path outside":      {WorkRoot: "/tmp/x"},
		"path itself":       {WorkRoot: "/build"},
		"path climbs":       {WorkRoot: "/build/../x"},
		"path with a comma": {WorkRoot: "/build/a,b"},
		"path not clean":    {WorkRoot: "/build//a"},
		"path ends in dot":  {WorkRoot: "/build/."},
		"long path":         {WorkRoot: "/build/" + strings.Repeat("a", 200)},
		"host name":         {Hostname: "A"},
		"long host name":    {Hostname: strings.Repeat("a", 64)},
		"user":              {UID: 65535},
		"negative user":     {UID: -1},
		"umask":             {Umask: 0o1000},
		"locale":            {Locale: "a\x00"},
		"time zone":         {TimeZone: strings.Repeat("a", 101)},
		"clock before 1970": {Clock: &Clock{StartSeconds: -1}},
		"clock step":        {Clock: &Clock{StepSeconds: -1}},
		"CPUs":              {CPUs: -1},
	} {
		s := Spec{Root: HostRoot, Argv: []string{"true"}, InputDir: "/in", OutputDir: "/out", Variation: v}
		if err := s.Validate(); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSurroundings(t *testing.T) {
	plain := Spec{WorkDir: "src", Limits: Limits{CPUMillis: 1500}}
	want := Variation{WorkRoot: "/build", Hostname: "gavel", UID: 65534, Umask: 0o022, Locale: "C.UTF-8", TimeZone: "UTC", CPUs: 2}
	if got := plain.Surroundings(); got != want {
		t.Errorf("fixed: %+v", got)
	}
	if got := plain.Dir(); got != "/build/src" {
		t.Errorf("directory %s", got)
	}
	varied := Spec{WorkDir: "src", Variation: Variation{
		WorkRoot: "/build/v1/tree", Hostname: "other", UID: 1234, Umask: 0o077, Locale: "et_EE.UTF-8", TimeZone: "Etc/GMT+12", CPUs: 1,
	}}
	if err := (Spec{Root: HostRoot, Argv: []string{"true"}, InputDir: "/in", OutputDir: "/out", Variation: varied.Variation}).Validate(); err != nil {
		t.Fatal(err)
	}
	if got := varied.Surroundings(); got != varied.Variation {
		t.Errorf("varied: %+v", got)
	}
	if got := varied.Dir(); got != "/build/v1/tree/src" {
		t.Errorf("directory %s", got)
	}
	env := Environment(varied)
	for _, kv := range []string{"HOSTNAME=other", "TZ=Etc/GMT+12", "LC_ALL=et_EE.UTF-8"} {
		if !slices.Contains(env, kv) {
			t.Errorf("%s is not in %v", kv, env)
		}
	}
}

func TestImageIsWhatItsConfigSays(t *testing.T) {
	layer := func(content string) Layer {
		return Layer{DiffID: digest.FromString(content), Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}}
	}
	config := func(os, arch string, ids ...digest.Digest) []byte {
		b, err := json.Marshal(map[string]any{"os": os, "architecture": arch, "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b := layer("a"), layer("b")
	good := Image{Config: config("linux", "amd64", a.DiffID, b.DiffID), Layers: []Layer{a, b}}
	if err := good.Validate("amd64"); err != nil {
		t.Fatal(err)
	}
	if good.Root() != digest.FromBytes(good.Config).String() || !ValidRoot(good.Root()) {
		t.Errorf("root %s", good.Root())
	}
	large := a
	large.Size = MaxImageBytes + 1
	for name, img := range map[string]Image{
		"no JSON":            {Config: []byte("{")},
		"other system":       {Config: config("windows", "amd64")},
		"other architecture": {Config: config("linux", "arm64")},
		"other order":        {Config: good.Config, Layers: []Layer{b, a}},
		"a layer less":       {Config: good.Config, Layers: []Layer{a}},
		"too large":          {Config: config("linux", "amd64", a.DiffID), Layers: []Layer{large}},
		"large config":       {Config: make([]byte, MaxImageConfigBytes+1)},
	} {
		if err := img.Validate("amd64"); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, lie := range map[string]string{"other bytes": "c", "fewer": "", "more": "aa"} {
		l := a
		l.Open = layer(lie).Open
		r, err := Image{Layers: []Layer{l}}.Read(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := good.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "b" {
		t.Errorf("%q, %v", got, err)
	}
}
