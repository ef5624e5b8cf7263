package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/disk"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/diff"
)

func TestDiffOfTwoPaths(t *testing.T) {
	t.Setenv("GAVEL_FARM", "")
	t.Chdir(t.TempDir())
	for path, content := range map[string]string{
		"a/sub/log": "built 2026-01-02\n", "b/sub/log": "built 2026-01-09\n", "same": "built 2026-01-02\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"a", "b"}, exitFailed, "sub/log (file, text, 17 bytes), byte 15"},
		{[]string{"a/sub/log", "b/sub/log"}, exitFailed, "timestamp, line 1: 2026-01-02 / 2026-01-09"},
		{[]string{"a/sub/log", "same"}, exitDone, "are equal"},
		{[]string{"a", "a"}, exitDone, "are equal"},
		{[]string{"a", "same"}, exitUsage, "Name two files or two directories"},
		{[]string{"a", "nothing"}, exitUsage, "nothing: no such file"},
		{[]string{"a", "b", "--html", "missing/page.html"}, exitUsage, "writing the page"},
		{[]string{}, exitUsage, "BUILD, or A and B is missing"},
		{[]string{"a", "b", "c"}, exitUsage, "too many"},
		{[]string{"abcd1234"}, exitUsage, "no farm is named"},
		{[]string{"abcd1234", "--farm", "a"}, exitNoFarm, "there is no farm in a"},
	} {
		code, out, stderr := call(t.Context(), append([]string{"diff"}, c.args...)...)
		if code != c.code || !strings.Contains(out+stderr, c.says) {
			t.Errorf("gavel diff %q: %d, want %d and %q:\n%s%s", c.args, code, c.code, c.says, out, stderr)
		}
	}
	code, out, stderr := call(t.Context(), "diff", "a", "b", "--json", "--html", "page.html")
	var answer struct {
		Same        bool
		Comparisons []struct {
			Causes      []diff.Cause
			Differences []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != exitFailed || answer.Same || answer.Comparisons[0].Causes[0] != diff.Timestamp || answer.Comparisons[0].Differences[0].Name != "sub/log" {
		t.Errorf("%d, %v: %s%s", code, err, out, stderr)
	}
	if page, err := os.ReadFile("page.html"); err != nil || !bytes.Contains(page, []byte("sub/log")) {
		t.Errorf("the page: %v\n%s", err, page)
	}
	t.Setenv("PATH", t.TempDir())
	if code, _, stderr := call(t.Context(), "diff", "a", "b", "--diffoscope"); code != exitUsage || !strings.Contains(stderr, "apt-get install diffoscope") {
		t.Errorf("without diffoscope: %d %s", code, stderr)
	}
}

// opened is a seat's attempt with a result of one file, put into the store unless
// it is withheld.
func opened(t *testing.T, store cas.Store, worker, content string, withheld bool) *gavelv1.Attempt {
	t.Helper()
	put := func(b []byte) [32]byte {
		if !withheld {
			if err := store.Put(t.Context(), cas.Of(b), bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
		return sha256.Sum256(b)
	}
	file := put([]byte(content))
	m := &build.Manifest{Status: build.StatusExited, Outputs: []build.Output{{Path: "app", Type: build.OutputFile, Digest: file, Size: uint64(len(content))}}}
	raw := wire.Encode(m)
	sum := put(raw)
	return &gavelv1.Attempt{Worker: worker, Round: build.RoundFirst.String(), Result: file[:], Manifest: sum[:], ManifestBytes: uint64(len(raw))}
}

func TestDiffOfABuild(t *testing.T) {
	store, err := disk.Open(t.TempDir(), disk.Options{Cache: true})
	if err != nil {
		t.Fatal(err)
	}
	delivered := opened(t, store, "worker-1", "on 2026-01-02", false)
	b := &gavelv1.Build{Id: id32(7), State: build.Settled.String(), Result: delivered.Result, Attempts: []*gavelv1.Attempt{
		opened(t, store, "worker-2", "on 2026-01-09", false), delivered, opened(t, store, "worker-3", "on 2026-01-09", false), opened(t, store, "worker-1", "on 2026-01-02", false),
	}}
	answer, err := compareBuild(t.Context(), store, b, diff.Options{})
	if err != nil || answer.Same || len(answer.Comparisons) != 1 || len(answer.Missing) != 0 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if r := answer.Comparisons[0]; r.A != "worker-1" || r.B != "worker-2, worker-3" || !strings.HasPrefix(r.Sentence(), "app: timestamp") {
		t.Errorf("%s / %s: %s", r.A, r.B, r.Sentence())
	}
	if text := explain(t.Context(), store, b); !strings.Contains(text, "app differs at byte 12") || !strings.Contains(text, "Likely why: app: timestamp, line 1: 2026-01-02 / 2026-01-09") {
		t.Errorf("status says %s", text)
	}

	b.Attempts = b.Attempts[1:2]
	if answer, err := compareBuild(t.Context(), store, b, diff.Options{}); err != nil || !answer.Same {
		t.Errorf("one result: %+v, %v", answer, err)
	}
	b.Attempts = append(b.Attempts, opened(t, store, "worker-4", "withheld", true))
	if answer, err := compareBuild(t.Context(), store, b, diff.Options{}); err != nil || answer.Same || len(answer.Missing) != 1 || answer.Missing[0] != "worker-4" {
		t.Errorf("a result that nobody uploaded: %+v, %v", answer, err)
	}
	b.Attempts = nil
	if _, err := compareBuild(t.Context(), store, b, diff.Options{}); err == nil {
		t.Error("a build without a result is compared")
	}
}
