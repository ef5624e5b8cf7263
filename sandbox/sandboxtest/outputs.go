package sandboxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/sandbox"
)

// outputs checks what becomes of what a command made.
func outputs(t *testing.T, h *harness) {
	for name, c := range map[string]struct {
		script  string
		outputs []string
		want    string // listing of OutputDir
	}{
		"files": {"echo a > a; echo b > b; chmod 4711 b; echo c > c; chmod 0 c", []string{"a", "b", "c"},
			"-rw-r--r-- a \"a\\n\"\n-rwxr-xr-x b \"b\\n\"\n-rw-r--r-- c \"c\\n\"\n"},
		"directories": {"mkdir -p d/e/f d/g; echo x > d/e/x; chmod 777 d/g; echo no > n", []string{"d"},
			"drwxr-xr-x d\ndrwxr-xr-x d/e\ndrwxr-xr-x d/e/f\n-rw-r--r-- d/e/x \"x\\n\"\ndrwxr-xr-x d/g\n"},
		"closed directory": {"mkdir d; echo x > d/x; chmod 0 d", []string{"d"}, "drwxr-xr-x d\n-rw-r--r-- d/x \"x\\n\"\n"},
		"symlinks": {"mkdir -p d/e; echo x > d/x; ln -s x d/l; ln -s ../x d/e/up; ln -s d/l top; ln -s nowhere d/n", []string{"d", "top"},
			"drwxr-xr-x d\ndrwxr-xr-x d/e\nLrwxrwxrwx d/e/up ../x\nLrwxrwxrwx d/l x\nLrwxrwxrwx d/n nowhere\n-rw-r--r-- d/x \"x\\n\"\nLrwxrwxrwx top d/l\n"},
		"hard links": {"echo x > a; ln a b", []string{"a", "b"}, "-rw-r--r-- a \"x\\n\"\n-rw-r--r-- b \"x\\n\"\n"},
		"nested": {"mkdir -p d/e; echo x > d/e/x", []string{"d/e/x", "d", "d/e"},
			"drwxr-xr-x d\ndrwxr-xr-x d/e\n-rw-r--r-- d/e/x \"x\\n\"\n"},
		"empty": {": > f; mkdir d", []string{"d", "f"}, "drwxr-xr-x d\n-rw-r--r-- f \"\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := h.script(t, c.script, c.outputs...)
			o.want(t, sandbox.Exited, 0)
			if got := listing(t, o.out); got != c.want {
				t.Errorf("outputs are\n%swant\n%s", got, c.want)
			}
		})
	}
	for name, c := range map[string]struct {
		script  string
		outputs []string
		missing []string
		detail  string
	}{
		"missing":             {"echo a > a", []string{"z", "a", "b"}, []string{"z", "b"}, ""},
		"fifo":                {"mkfifo p", []string{"p"}, []string{"p"}, "fifo"},
		"fifo in a directory": {"mkdir d; echo a > d/a; mkfifo d/p", []string{"d"}, []string{"d"}, "fifo"},
		"absolute symlink":    {"ln -s /etc/passwd l", []string{"l"}, []string{"l"}, "/etc/passwd"},
		"escaping symlink":    {"mkdir d; ln -s ../../x d/l", []string{"d"}, []string{"d"}, "../../x"},
		"twisted symlink":     {"mkdir -p p/q; ln -s ../.. p/q/s; ln -s p/q/s/../../etc x", []string{"x"}, []string{"x"}, "out of the tree"},
		"behind a symlink":    {"mkdir d; echo x > d/x; ln -s d l", []string{"l/x"}, []string{"l/x"}, "behind a symlink"},
		"outside by symlink":  {"ln -s /etc l", []string{"l/passwd"}, []string{"l/passwd"}, "behind a symlink"},
		"below a file":        {"echo x > f", []string{"f/x"}, []string{"f/x"}, ""},
		"removed":             {"rm in", []string{"in"}, []string{"in"}, ""},
		"bottomless":          {"d=d; for i in 1 2 3 4 5 6 7 8; do d=$d/$d; done; mkdir -p $d", []string{"d"}, []string{"d"}, "nested"},
		"sparse":              {"truncate -s 1T f || dd if=/dev/zero of=f bs=1 count=1 seek=1000000000000", []string{"f"}, []string{"f"}, "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			s := h.spec(t, c.script, map[string]input{"in": {content: "x"}})
			s.Outputs = c.outputs
			o := h.run(t, s)
			o.want(t, sandbox.MissingOutput, 0)
			if !slices.Equal(o.Missing, c.missing) || !strings.Contains(o.Detail, c.detail) {
				t.Errorf("missing %q (%s), want %q (%s)", o.Missing, o.Detail, c.missing, c.detail)
			}
			for _, m := range c.missing {
				if _, err := os.Lstat(filepath.Join(o.out, m)); err == nil {
					t.Errorf("output %s was refused and is there", m)
				}
			}
		})
	}
	t.Run("of a failure", func(t *testing.T) {
		o := h.script(t, "echo a > a; exit 7", "a", "b")
		o.want(t, sandbox.Exited, 7)
		if got := listing(t, o.out); got != "-rw-r--r-- a \"a\\n\"\n" {
			t.Errorf("outputs are\n%s", got)
		}
	})
	t.Run("large", func(t *testing.T) {
		o := h.script(t, "head -c 50000000 /dev/zero > f", "f")
		o.want(t, sandbox.Exited, 0)
		if info, err := os.Stat(filepath.Join(o.out, "f")); err != nil || info.Size() != 50000000 {
			t.Errorf("%v %v", info, err)
		}
	})
}

// listing describes a tree: mode, path, and content or target, one line each.
func listing(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%v %s %s\n", info.Mode(), rel, target)
		case info.IsDir():
			fmt.Fprintf(&b, "%v %s\n", info.Mode(), rel)
		default:
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%v %s %q\n", info.Mode(), rel, content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
