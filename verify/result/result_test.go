package result_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"gavel/raftfsm/build"
	"gavel/verify/result"
)

func file(path, content string) build.Output {
	return build.Output{Path: path, Type: build.OutputFile, Digest: sha256.Sum256([]byte(content)), Size: uint64(len(content))}
}

func exited(outputs ...build.Output) *build.Manifest {
	m := &build.Manifest{Status: build.StatusExited, Outputs: outputs}
	m.Sort()
	return m
}

func TestCompareNamesEveryKind(t *testing.T) {
	executable := file("m", "x")
	executable.Executable = true
	a := exited(file("c", "1"), executable, file("onlya", ""), file("same", "s"),
		build.Output{Path: "l", Type: build.OutputSymlink, Target: "x"}, build.Output{Path: "t", Type: build.OutputDir})
	b := exited(file("c", "22"), file("m", "y"), file("same", "s"), file("t", "now a file"),
		build.Output{Path: "l", Type: build.OutputSymlink, Target: "y"}, build.Output{Path: "zonlyb", Type: build.OutputDir})
	b.Status, b.ExitCode = build.StatusMissingOutput, 2
	want := []string{
		" status exited/missing-output", " exit code 0/2",
		"c content 1 byte, sha256 6b86b273ff34…/2 bytes, sha256 785f3ec7eb32…",
		"l target x/y", "m mode executable/not executable",
		"m content 1 byte, sha256 2d711642b726…/1 byte, sha256 a1fce4363854…",
		"onlya missing file/absent", "t type directory/file", "zonlyb missing absent/directory",
	}
	var got []string
	for _, d := range result.Compare(a, b) {
		got = append(got, fmt.Sprintf("%s %s %s/%s", d.Path, d.Why, d.A, d.B))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	killed := &build.Manifest{Status: build.StatusSignaled, Signal: 9}
	other := &build.Manifest{Status: build.StatusSignaled, Signal: 11}
	if d := result.Compare(killed, other); len(d) != 1 || d[0] != (result.Difference{Why: result.Signal, A: "9", B: "11"}) {
		t.Errorf("signals: %v", d)
	}
}

// manifests draws valid manifests of few paths, so that two of them often agree.
func manifests() *rapid.Generator[*build.Manifest] {
	return rapid.Custom(func(t *rapid.T) *build.Manifest {
		m := &build.Manifest{
			Status:   rapid.SampledFrom([]build.Status{build.StatusExited, build.StatusMissingOutput}).Draw(t, "status"),
			ExitCode: rapid.Uint32Range(0, 1).Draw(t, "exit code"),
		}
		for _, path := range []string{"a", "a/b", "a0", "b"} {
			switch rapid.IntRange(0, 3).Draw(t, path) {
			case 1:
				f := file(path, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "content"))
				f.Executable = rapid.Bool().Draw(t, "executable")
				f.Size = rapid.Uint64Range(1, 2).Draw(t, "size")
				m.Outputs = append(m.Outputs, f)
			case 2:
				m.Outputs = append(m.Outputs, build.Output{Path: path, Type: build.OutputDir})
			case 3:
				m.Outputs = append(m.Outputs, build.Output{Path: path, Type: build.OutputSymlink, Target: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "target")})
			}
		}
		m.Sort()
		return m
	})
}

// naive finds the paths that differ by looking each up, without an order.
func naive(a, b *build.Manifest) map[string]bool {
	find := func(m *build.Manifest, path string) *build.Output {
		for i := range m.Outputs {
			if m.Outputs[i].Path == path {
				return &m.Outputs[i]
			}
		}
		return nil
	}
	out := make(map[string]bool)
	for _, path := range []string{"a", "a/b", "a0", "b"} {
		x, y := find(a, path), find(b, path)
		if (x == nil) != (y == nil) || x != nil && *x != *y {
			out[path] = true
		}
	}
	return out
}

func TestCompareAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := manifests().Draw(t, "a"), manifests().Draw(t, "b")
		got := result.Compare(a, b)
		if (len(got) == 0) != bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("%d differences, encodings equal %t", len(got), bytes.Equal(a.Bytes(), b.Bytes()))
		}
		want := naive(a, b)
		paths := make(map[string]bool)
		for i, d := range got {
			if d.Path != "" {
				paths[d.Path] = true
			}
			if i > 0 && got[i-1].Path > d.Path {
				t.Fatalf("out of order at %q", d.Path)
			}
			if d.A == d.B && d.Why != result.Content {
				t.Fatalf("%+v differs in nothing", d)
			}
		}
		if fmt.Sprint(paths) != fmt.Sprint(want) {
			t.Fatalf("paths %v, want %v", paths, want)
		}
		mirrored := result.Compare(b, a)
		for i := range mirrored {
			mirrored[i].A, mirrored[i].B = mirrored[i].B, mirrored[i].A
		}
		if !slices.Equal(got, mirrored) {
			t.Fatalf("not symmetric: %v, %v", got, mirrored)
		}
	})
}

func TestFirstDifference(t *testing.T) {
	long := strings.Repeat("gavel", 40_000)
	for _, c := range []struct {
		a, b string
		want *result.ByteDifference
	}{
		{"", "", nil}, {"x", "x", nil}, {long, long, nil},
		{"a", "b", &result.ByteDifference{Offset: 0, A: 'a', B: 'b'}},
		{"", "b", &result.ByteDifference{Offset: 0, A: result.End, B: 'b'}},
		{long + "\x00", long, &result.ByteDifference{Offset: 200_000, A: 0, B: result.End}},
		{long + "A" + long, long + "B", &result.ByteDifference{Offset: 200_000, A: 'A', B: 'B'}},
	} {
		// Readers that give a byte at a time and data with their last error.
		got, err := result.FirstDifference(iotest.OneByteReader(strings.NewReader(c.a)), iotest.DataErrReader(strings.NewReader(c.b)))
		if err != nil || (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%d and %d bytes: %+v, %v, want %+v", len(c.a), len(c.b), got, err, c.want)
		}
	}
	broken := errors.New("disk on fire")
	truncated := iotest.ErrReader(io.ErrUnexpectedEOF)
	if d, err := result.FirstDifference(io.MultiReader(strings.NewReader("x"), truncated), strings.NewReader("xy")); d != nil || err == nil {
		t.Errorf("a truncated download passes for a shorter file: %v, %v", d, err)
	}
	for _, readers := range [][2]io.Reader{
		{iotest.ErrReader(broken), strings.NewReader("x")},
		{strings.NewReader("x"), iotest.ErrReader(broken)},
		{io.MultiReader(strings.NewReader("xy"), iotest.ErrReader(broken)), strings.NewReader("xy")},
		{io.MultiReader(strings.NewReader("xy"), iotest.ErrReader(broken)), strings.NewReader("xyz")},
		{strings.NewReader("xyz"), io.MultiReader(strings.NewReader("xy"), iotest.ErrReader(broken))},
	} {
		if d, err := result.FirstDifference(readers[0], readers[1]); d != nil || !errors.Is(err, broken) {
			t.Errorf("broken reader: %v, %v", d, err)
		}
	}
}

// endless is a reader without end: what FirstDifference must not wait for.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestFirstDifferenceStopsAtIt(t *testing.T) {
	d, err := result.FirstDifference(io.MultiReader(strings.NewReader("00"), endless('1')), endless('0'))
	if err != nil || *d != (result.ByteDifference{Offset: 2, A: '1', B: '0'}) {
		t.Errorf("%+v, %v", d, err)
	}
}

func FuzzFirstDifference(f *testing.F) {
	f.Add([]byte("same"), []byte("sane"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := result.FirstDifference(bytes.NewReader(a), bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(a, b) {
			if d != nil {
				t.Fatalf("%+v of equal files", d)
			}
			return
		}
		at := func(s []byte) int {
			if d.Offset < int64(len(s)) {
				return int(s[d.Offset])
			}
			return result.End
		}
		if d == nil || !bytes.Equal(a[:d.Offset], b[:d.Offset]) || at(a) != d.A || at(b) != d.B || d.A == d.B {
			t.Fatalf("%+v of %q and %q", d, a, b)
		}
	})
}

func TestExplain(t *testing.T) {
	a := exited(file("bin/app", "1"), file("log", "x"))
	b := exited(file("bin/app", "2"), file("log", "x"), file("new", ""))
	diffs := result.Compare(a, b)
	if path, ok := result.FirstContent(diffs); path != "bin/app" || !ok {
		t.Fatalf("%q, %t", path, ok)
	}
	for _, c := range []struct {
		diffs []result.Difference
		first *result.ByteDifference
		want  string
	}{
		{nil, nil, "The results of worker w1 and validator w2 are equal."},
		{diffs, &result.ByteDifference{Offset: 1234, A: 0x41, B: 0x0a}, "The results of worker w1 and validator w2 differ (worker w1 / validator w2): " +
			"bin/app differs at byte 1234 (0x41 / 0x0a); new is missing on one side (absent / file)."},
		{diffs[:1], &result.ByteDifference{Offset: 9, A: 1, B: result.End}, "The results of worker w1 and validator w2 differ (worker w1 / validator w2): " +
			"bin/app differs at byte 9 (0x01 / end of file)."},
		{diffs[:1], nil, "The results of worker w1 and validator w2 differ (worker w1 / validator w2): " +
			"bin/app differs in content (1 byte, sha256 6b86b273ff34… / 1 byte, sha256 d4735e3a265e…)."},
		{result.Compare(exited(), &build.Manifest{Status: build.StatusTimeout}), nil, "The results of worker w1 and validator w2 differ (worker w1 / validator w2): " +
			"the commands ended differently (exited / timeout)."},
		{result.Compare(exited(), &build.Manifest{Status: build.StatusExited, ExitCode: 1}), nil, "The results of worker w1 and validator w2 differ (worker w1 / validator w2): " +
			"the exit codes differ (0 / 1)."},
	} {
		if got := result.Explain("worker w1", "validator w2", c.diffs, c.first); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestExplainStaysShortAndPlain(t *testing.T) {
	var outputs []build.Output
	for i := range 200 {
		outputs = append(outputs, file(fmt.Sprintf("f\x1b[31m%03d", i), "x"))
	}
	got := result.Explain("a", "b", result.Compare(exited(outputs...), exited()), nil)
	if strings.Contains(got, "\x1b") || !strings.HasSuffix(got, " 190 more paths differ.") || strings.Count(got, "is missing") != 10 {
		t.Errorf("%s", got)
	}
	got = result.Explain("a", "b", result.Compare(exited(outputs[:11]...), exited()), nil)
	if !strings.HasSuffix(got, " 1 more path differs.") {
		t.Errorf("%s", got)
	}
}

func BenchmarkFirstDifference(b *testing.B) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if d, err := result.FirstDifference(bytes.NewReader(content), bytes.NewReader(content)); d != nil || err != nil {
			b.Fatal(d, err)
		}
	}
}
