//go:build itest

package source

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gavel/cas"
	"gavel/cas/tree"
)

// repository is a checkout with one commit.
func repository(t *testing.T, format string, fill func(dir string)) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "init", "-q", "--object-format="+format)
	fill(dir)
	git(t, dir, "add", "-A", "-f")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "x")
	return dir, git(t, dir, "rev-parse", "HEAD")
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// fill makes files of every kind, and names that Git and REAPI sort differently.
func fill(dir string) {
	for name, content := range map[string]string{
		"README": "hello\n", "empty": "", "a/b/c.txt": "deep\n", "a.b": "sorts before a/\n", "a-b": "too\n", "a0": "after\n", "ü/€": "utf-8\n", "crlf.txt": "one\r\ntwo\r\n", ".gitignore": "ignored\n",
	} {
		path := filepath.Join(dir, name)
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(content), 0o644) != nil {
			panic(path)
		}
	}
	if os.Chmod(filepath.Join(dir, "a/b/c.txt"), 0o755) != nil || os.Symlink("a/b", filepath.Join(dir, "link")) != nil {
		panic("link")
	}
}

// The oracle is what the farm makes of a checkout: scanned, without .git.
func scanned(t *testing.T, dir string) cas.Digest {
	t.Helper()
	entries, err := tree.Scan(t.Context(), dir, tree.Options{Without: []string{".git"}})
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := tree.Directories(entries)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestRootIsThatOfACleanCheckout(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			dir, commit := repository(t, format, fill)
			want := scanned(t, dir)
			bare := filepath.Join(t.TempDir(), "bare.git")
			git(t, dir, "clone", "-q", "--bare", dir, bare)
			git(t, bare, "gc", "-q", "--aggressive", "--prune=now")
			for _, from := range []string{dir, filepath.Join(dir, ".git"), bare} {
				root, err := Tree(t.Context(), from, commit)
				if err != nil {
					t.Fatal(err)
				}
				if cas.OfSum(root.SHA256, root.SizeBytes) != want {
					t.Errorf("%s: root is %x, %d bytes, want %s", from, root.SHA256, root.SizeBytes, want)
				}
				if root.Files != 10 || root.Directories != 3 || root.TotalBytes == 0 {
					t.Errorf("%+v", root)
				}
			}
			if _, err := Check(t.Context(), bare, commit, want.Sum(), want.Size); err != nil {
				t.Error(err)
			}
			sum := want.Sum()
			sum[0]++
			if _, err := Check(t.Context(), bare, commit, sum, want.Size); !errors.Is(err, ErrOtherRoot) {
				t.Errorf("another root: %v", err)
			}
			if _, err := Tree(t.Context(), bare, strings.Repeat("0", len(commit))); !errors.Is(err, ErrRepository) {
				t.Errorf("another commit: %v", err)
			}
			if _, err := Tree(t.Context(), bare, git(t, dir, "rev-parse", "HEAD^{tree}")); !errors.Is(err, ErrRepository) {
				t.Errorf("a tree instead of a commit: %v", err)
			}
		})
	}
}

func TestRootsThatThereAreNot(t *testing.T) {
	inner, _ := repository(t, "sha1", fill)
	for what, c := range map[string]struct {
		says string
		fill func(dir string)
	}{
		"submodule":     {"is a submodule", func(dir string) { git(t, dir, "submodule", "--quiet", "add", inner, "sub") }},
		"absolute link": {`"abs": `, func(dir string) { _ = os.Symlink("/etc/passwd", filepath.Join(dir, "abs")) }},
		"latin name":    {"in UTF-8", func(dir string) { _ = os.WriteFile(filepath.Join(dir, "\xfc"), nil, 0o644) }},
	} {
		dir, commit := repository(t, "sha1", c.fill)
		if _, err := Tree(t.Context(), dir, commit); !errors.Is(err, ErrTree) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, commit := range []string{"", "HEAD", "main", "--help", strings.Repeat("A", 40), strings.Repeat("a", 39)} {
		if _, err := Tree(t.Context(), inner, commit); !errors.Is(err, ErrRepository) {
			t.Errorf("%q: %v", commit, err)
		}
	}
	if _, err := Tree(t.Context(), t.TempDir(), strings.Repeat("a", 40)); !errors.Is(err, ErrRepository) || !strings.Contains(err.Error(), "not a git repository") {
		t.Errorf("no repository: %v", err)
	}
	if _, err := Tree(t.Context(), filepath.Join(t.TempDir(), "none"), strings.Repeat("a", 40)); !errors.Is(err, ErrRepository) {
		t.Errorf("no directory: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Tree(ended, inner, strings.Repeat("a", 40)); err == nil {
		t.Error("reads although it was told to stop")
	}
}

// An object store that answers another content for an id is found out, although
// Git's cat-file does not look.
func TestForgedObjectsAreFoundOut(t *testing.T) {
	dir, commit := repository(t, "sha1", fill)
	evil, _ := repository(t, "sha1", func(dir string) { _ = os.WriteFile(filepath.Join(dir, "README"), []byte("h3llo\n"), 0o644) })
	object := func(dir, rev string) string {
		id := git(t, dir, "rev-parse", rev)
		return filepath.Join(dir, ".git/objects", id[:2], id[2:])
	}
	for _, rev := range []string{"HEAD:README", "HEAD^{tree}", "HEAD"} {
		forged, err := os.ReadFile(object(evil, rev))
		if err != nil {
			t.Fatal(err)
		}
		path := object(dir, rev)
		genuine, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, forged, 0o644)); err != nil {
			t.Fatal(err)
		}
		if root, err := Tree(t.Context(), dir, commit); !errors.Is(err, ErrRepository) {
			t.Errorf("%s forged: %+v, %v", rev, root, err)
		}
		if err := os.WriteFile(path, genuine, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A replacement that the repository itself names does not count either.
	want, err := Tree(t.Context(), dir, commit)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(filepath.Join(dir, "README"), []byte("replaced\n"), 0o644)
	git(t, dir, "commit", "-q", "-a", "-m", "y")
	git(t, dir, "replace", commit, "HEAD")
	if got, err := Tree(t.Context(), dir, commit); err != nil || *got != *want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
