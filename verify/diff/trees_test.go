package diff_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gavel/raftfsm/build"
	"gavel/verify/diff"
)

// plant writes files below a new directory: "->" makes a link, "/" a directory, "*"
// an executable.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, strings.TrimRight(name, "/*"))
		done(os.MkdirAll(filepath.Dir(at), 0o755))
		target, isLink := strings.CutPrefix(content, "->")
		switch {
		case isLink:
			done(os.Symlink(target, at))
		case strings.HasSuffix(name, "/"):
			done(os.MkdirAll(at, 0o755))
		case strings.HasSuffix(name, "*"):
			done(os.WriteFile(at, []byte(content), 0o755))
		default:
			done(os.WriteFile(at, []byte(content), 0o644))
		}
	}
	return dir
}

func compareDirs(t *testing.T, a, b string) (*diff.Report, error) {
	t.Helper()
	x, err := diff.OpenDir(a)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := diff.OpenDir(b)
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	return diff.Trees(context.Background(), "a", "b", x, y, diff.Options{})
}

func TestTreesOnDisk(t *testing.T) {
	outside := plant(t, map[string]string{"secret": "one"})
	a := plant(t, map[string]string{"same": "s", "sub/date": "2026-01-02", "run*": "#!", "out": "->" + outside + "/secret", "kind/": "", "only a": "x", "link": "->/build/a/x"})
	b := plant(t, map[string]string{"same": "s", "sub/date": "2026-01-09", "run": "#!", "out": "->" + outside + "/secret", "kind": "file", "link": "->/build/b/x"})
	r, err := compareDirs(t, a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range r.Leaves() {
		got = append(got, l.Chain[0].Name+": "+l.Finding.String())
	}
	want := []string{
		"kind: cause unknown, type: directory / file",
		"link: build path, target of the link: /build/a/x / /build/b/x (an absolute path)",
		"only a: missing on one side: only the first side has it",
		"run: permission, mode: 0755 / 0644",
		"sub/date: timestamp, line 1: 2026-01-02 / 2026-01-09 (a date)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r, err := compareDirs(t, a, a); err != nil || !r.Same() {
		t.Errorf("a tree differs from itself: %+v, %v", r, err)
	}
	done(syscall.Mkfifo(filepath.Join(a, "pipe"), 0o600))
	if _, err := compareDirs(t, a, b); err == nil || !strings.Contains(err.Error(), "only files, directories and links") {
		t.Errorf("a pipe is compared: %v", err)
	}
}

// Modes count wherever the disk tells them; two results have one bit each.
func TestModesOnDisk(t *testing.T) {
	a := plant(t, map[string]string{"run*": "x", "suid*": "x", "sub/": "", "f": "x"})
	b := plant(t, map[string]string{"run*": "x", "suid*": "x", "sub/": "", "f": "x"})
	done(os.Chmod(filepath.Join(b, "suid"), 0o755|os.ModeSetuid))
	done(os.Chmod(filepath.Join(a, "sub"), 0o755))
	done(os.Chmod(filepath.Join(b, "sub"), 0o777|os.ModeSticky))
	done(os.Chmod(filepath.Join(a, "f"), 0o644))
	done(os.Chmod(filepath.Join(b, "f"), 0o664))
	r, err := compareDirs(t, a, b)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	done(r.Text(&text))
	for _, want := range []string{
		"f (file)\n    permission, mode: 0644 / 0664 (a umask that differs in 020 makes this)\n",
		"sub (directory)\n    permission, mode: 0755 / 1777 (setuid, setgid or sticky, which no umask sets)\n",
		"suid (file)\n    permission, mode: 0755 / 4755 (setuid, setgid or sticky",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("want %q in\n%s", want, text.String())
		}
	}
	if len(r.Differences) != 3 {
		t.Errorf("%d differences, want 3", len(r.Differences))
	}
	var trees []diff.Tree
	for _, dir := range []string{a, b} {
		f := must(diff.OpenFileTree(filepath.Join(dir, "suid"), "suid"))
		defer f.Close()
		trees = append(trees, f)
	}
	for results, want := range map[bool]int{false: 1, true: 0} {
		r, err := diff.Trees(context.Background(), "a", "b", trees[0], trees[1], diff.Options{ResultModes: results})
		if err != nil || len(r.Differences) != want {
			t.Errorf("files, as of results %t: %+v, %v", results, r, err)
		}
	}
}

// blobs is a store in memory that counts what is fetched.
type blobs struct {
	content map[[32]byte][]byte
	fetched int
}

func (s *blobs) open(_ context.Context, sum [32]byte, size uint64) (io.ReadCloser, error) {
	s.fetched++
	b, ok := s.content[sum]
	if !ok || uint64(len(b)) != size {
		return nil, errors.New("not found")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *blobs) manifest(files map[string]string) *build.Manifest {
	m := &build.Manifest{Status: build.StatusExited}
	for name, content := range files {
		sum := sha256.Sum256([]byte(content))
		s.content[sum] = []byte(content)
		m.Outputs = append(m.Outputs, build.Output{Path: name, Type: build.OutputFile, Digest: sum, Size: uint64(len(content))})
	}
	m.Sort()
	return m
}

func TestResultsInAStore(t *testing.T) {
	store := &blobs{content: map[[32]byte][]byte{}}
	a := store.manifest(map[string]string{"big": strings.Repeat("x", 9<<20), "log": "on 2026-01-02"})
	b := store.manifest(map[string]string{"big": strings.Repeat("x", 9<<20), "log": "on 2026-01-09"})
	b.ExitCode = 3
	r, err := diff.Results(context.Background(), "worker-1", "worker-2", a, b, store.open, diff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if store.fetched != 2 {
		t.Errorf("%d blobs fetched: equal ones need not be", store.fetched)
	}
	if len(r.Differences) != 2 || r.Differences[0].Name != "exit code" || !strings.HasPrefix(r.Sentence(), "log: timestamp") {
		t.Errorf("%s, %+v", r.Sentence(), r)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := diff.Results(context.Background(), "a", "b", a, b, store.open, diff.Options{Diffoscope: true}); !errors.Is(err, diff.ErrNoDiffoscope) {
		t.Errorf("without diffoscope: %v", err)
	}
}

// A program in diffoscope's place shows what it is given, and that what it prints is
// made harmless.
func TestDiffoscopeIsAsked(t *testing.T) {
	bin := t.TempDir()
	done(os.WriteFile(filepath.Join(bin, "diffoscope"), []byte("#!/bin/sh\n/bin/cat a/sub/f b/sub/f\nprintf '\\033[2J'\nexit 1\n"), 0o755))
	t.Setenv("PATH", bin)
	store := &blobs{content: map[[32]byte][]byte{}}
	a, b := store.manifest(map[string]string{"sub/f": "one "}), store.manifest(map[string]string{"sub/f": "two "})
	r, err := diff.Results(context.Background(), "a", "b", a, b, store.open, diff.Options{Diffoscope: true})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	done(r.Text(&out))
	if !strings.Contains(out.String(), "one two ?[2J") {
		t.Errorf("got %q", out.String())
	}
}

func TestRendering(t *testing.T) {
	hostile := "<script>alert(1)</script>\x1b[31m"
	a := plant(t, map[string]string{"x": "on 2026-01-02 " + hostile})
	b := plant(t, map[string]string{"x": "on 2026-01-09 " + hostile})
	r, err := compareDirs(t, a, b)
	if err != nil {
		t.Fatal(err)
	}
	r.A = hostile
	var text, page, raw strings.Builder
	done(errors.Join(r.Text(&text), r.HTML(&page), r.JSON(&raw)))
	if strings.Contains(page.String(), "<script") || strings.Contains(text.String()+page.String(), "\x1b") {
		t.Errorf("hostile names get through:\n%s\n%s", text.String(), page.String())
	}
	if !strings.Contains(page.String(), "timestamp, line 1: 2026-01-02 / 2026-01-09 (a date)") {
		t.Errorf("the page does not say it:\n%s", page.String())
	}
	var back struct {
		Schema      string
		Causes      []string
		Differences []struct {
			Name  string
			SizeA int64 `json:"size_a"`
			Range struct {
				Offset int64
			}
			Findings []struct{ Cause, Where, A, B, Note string }
		}
	}
	done(json.Unmarshal([]byte(raw.String()), &back))
	if got := fmt.Sprintf("%+v", back); got != "{Schema:gavel.diff/v1 Causes:[timestamp] Differences:[{Name:x SizeA:44 Range:{Offset:12} Findings:[{Cause:timestamp Where:line 1 A:2026-01-02 B:2026-01-09 Note:a date}]}]}" {
		t.Errorf("JSON reads as %s", got)
	}
	same, err := compareDirs(t, a, a)
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	done(same.Text(&text))
	if text.String() != "a and b are equal\n" {
		t.Errorf("got %q", text.String())
	}
}

// Past what a person reads, differences are only counted, but all of them.
func TestManyDifferences(t *testing.T) {
	const many = 1500
	files := func(content string) (onDisk map[string]string, members []item) {
		onDisk = make(map[string]string)
		for i := range many {
			name := fmt.Sprintf("%04d", i)
			onDisk[name] = content
			members = append(members, item{name: name, content: content})
		}
		return onDisk, append(members, item{name: "same", content: "same"})
	}
	diskA, tarA := files("2026-01-02")
	diskB, tarB := files("2026-01-09")
	r, err := compareDirs(t, plant(t, diskA), plant(t, diskB))
	if err != nil || len(r.Differences)+r.Omitted != many || r.Omitted == 0 {
		t.Errorf("%d and %d paths, %v", len(r.Differences), r.Omitted, err)
	}
	d, err := diff.Files(context.Background(), "a", "a", blob(tarOf(tarA...)), blob(tarOf(tarB...)), diff.Options{})
	if err != nil || len(d.Members)+d.Omitted != many || d.Omitted == 0 {
		t.Errorf("%d and %d members, %v", len(d.Members), d.Omitted, err)
	}
}

// A cancelled comparison is an error, not an answer.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := diff.Files(ctx, "a", "b", blob([]byte("x")), blob([]byte("y")), diff.Options{}); d != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", d, err)
	}
}
