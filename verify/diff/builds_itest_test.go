//go:build itest

package diff_test

import (
	"bytes"
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gavel/verify/diff"
)

const greeting = `#include <stdio.h>
int add(int a, int b) { return a + b; }
int main(void) { printf("hello, %d\n", add(1, 2)); return 0; }
`

const dated = `const char *when(void) { return "built " __DATE__ " " __TIME__; }
`

// real is a build that is run twice, as people write them, and what differs then.
type real struct {
	name   string
	files  map[string]string // what it is built from
	script string            // run by sh in that directory, leaves its results in out/
	after  func(t *testing.T, out string)
	path   string // that differs
	chain  string // below it
	cause  diff.Cause
	says   []string
	only   bool // no other cause is found
}

var reals = []real{
	{name: "C date", files: map[string]string{"when.c": dated}, script: "gcc -O1 -c when.c -o out/when.o",
		path: "when.o", cause: diff.Timestamp, chain: ".rodata.str1.1", says: []string{":"}, only: true},
	{name: "C date in a library in a package", files: map[string]string{"when.c": dated},
		script: "gcc -O1 -c when.c && mkdir pkg && ar rcsD pkg/libwhen.a when.o && tar --mtime=@0 --sort=name --owner=0 --group=0 --numeric-owner -cf - pkg | gzip -n > out/pkg.tar.gz",
		path:   "pkg.tar.gz", chain: "content > pkg/libwhen.a > when.o > .rodata.str1.1", cause: diff.Timestamp, only: true},
	{name: "debug path", files: map[string]string{"main.c": greeting}, script: "gcc -g -c main.c -o out/main.o",
		path: "main.o", chain: ".debug_line_str", cause: diff.BuildPath, says: []string{"one", "two"}, only: true},
	{name: "debug path of a program", files: map[string]string{"main.c": greeting}, script: "gcc -g main.c -o out/app",
		path: "app", chain: ".debug_line_str", cause: diff.BuildPath},
	{name: "debug path, build id", files: map[string]string{"main.c": greeting}, script: "gcc -g -Wl,--build-id main.c -o out/app",
		path: "app", chain: ".note.gnu.build-id", cause: diff.BuildID},
	{name: "tar mtimes", files: map[string]string{"main.c": greeting}, script: "cp main.c copy.c && tar -czf out/src.tar.gz copy.c",
		path: "src.tar.gz", chain: "content > copy.c", cause: diff.Timestamp, says: []string{"mtime in the tar header"}},
	{name: "zip mtimes", files: map[string]string{"main.c": greeting}, script: "cp main.c copy.c && zip -q out/src.zip copy.c",
		path: "src.zip", chain: "copy.c", cause: diff.Timestamp, says: []string{"zip's directory"}, only: true},
	{name: "jar without a date", files: map[string]string{"main.c": greeting}, script: "jar cf out/app.jar main.c",
		path: "app.jar", chain: "META-INF/MANIFEST.MF", cause: diff.Timestamp, says: []string{"time in the zip's directory"}, only: true},
	{name: "Go without -trimpath", files: map[string]string{"go.mod": "module example.test/app\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { println(\"hello\") }\n"},
		script: "CGO_ENABLED=0 GOFLAGS=-p=1 go build -o out/app .", path: "app", chain: ".gopclntab", cause: diff.BuildPath, says: []string{"one", "two"}},
	{name: "Python set order", files: map[string]string{"list.py": "words = {'alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta', 'eta', 'theta', 'iota', 'kappa', 'lambda', 'mu'}\nprint(words)\n"},
		script: "PYTHONHASHSEED=random python3 list.py > out/words", path: "words", cause: diff.Ordering, says: []string{"the same 12 parts in another order"}, only: true},
	{name: "Python bytecode", files: map[string]string{"list.py": "print('hello')\n"},
		script: "python3 -m py_compile list.py && mv __pycache__/*.pyc out/list.pyc", path: "list.pyc", cause: diff.Timestamp, says: []string{"mtime of the source"}},
	{name: "forged byte", files: map[string]string{"main.c": greeting}, script: "gcc main.c -o out/app", after: forgeText,
		path: "app", chain: ".text", cause: diff.Forged, says: []string{"one byte differs, and no known cause shows"}, only: true},
}

// forgeText flips a bit in the middle of a program's code.
func forgeText(t *testing.T, out string) {
	t.Helper()
	path := filepath.Join(out, "app")
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	at := f.Section(".text").Offset + f.Section(".text").Size/2
	done(f.Close())
	raw := must(os.ReadFile(path))
	raw[at] ^= 0x10
	done(os.WriteFile(path, raw, 0o755))
}

// build lays the sources into a directory of that name and runs the script there.
func (r *real) build(t *testing.T, top, name string) string {
	t.Helper()
	dir := filepath.Join(top, name)
	done(os.MkdirAll(filepath.Join(dir, "out"), 0o755))
	for file, content := range r.files {
		done(os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644))
	}
	c := exec.Command("sh", "-ec", r.script)
	c.Dir = dir
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", r.script, err, said)
	}
	return filepath.Join(dir, "out")
}

// Real tools, run twice in two directories with two seconds between: what differs
// is led back to the member and the cause.
func TestRealBuildsAreExplained(t *testing.T) {
	var first []string
	top := t.TempDir()
	for i := range reals {
		first = append(first, reals[i].build(t, filepath.Join(top, reals[i].name), "one"))
	}
	time.Sleep(2100 * time.Millisecond) // a zip's times have steps of two seconds
	for i := range reals {
		r := &reals[i]
		t.Run(r.name, func(t *testing.T) {
			second := r.build(t, filepath.Join(top, r.name), "two")
			if r.after != nil {
				r.after(t, second)
			}
			r.compare(t, first[i], second)
		})
	}
}

func (r *real) compare(t *testing.T, a, b string) {
	t.Helper()
	began := time.Now()
	report, err := compareDirs(t, a, b)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	var text strings.Builder
	done(report.Text(&text))
	t.Logf("%v\n%s", took.Round(time.Millisecond), text.String())
	if len(report.Differences) != 1 || report.Differences[0].Name != r.path || !has(report, r.chain, r.cause, r.says...) {
		t.Errorf("want %s at %s → %q saying %q", r.cause, r.path, r.chain, r.says)
	}
	if r.only && (len(report.Causes) != 1 || report.Causes[0] != r.cause) {
		t.Errorf("want no other cause than %s, got %v", r.cause, report.Causes)
	}
}

// A build that is reproducible has no difference.
func TestARealBuildTwiceTheSame(t *testing.T) {
	r := real{files: map[string]string{"main.c": greeting}, script: "gcc -O2 main.c -o out/app && cd out && TZ=UTC zip -qX app.zip app && rm app.zip && tar --mtime=@0 -cf app.tar app"}
	top := t.TempDir()
	a, b := r.build(t, top, "one"), r.build(t, top, "two")
	report, err := compareDirs(t, a, b)
	if err != nil || !report.Same() {
		t.Errorf("%+v, %v", report, err)
	}
}

// diffoscope itself is asked, where it is installed as .ci/run does.
func TestDiffoscope(t *testing.T) {
	r := real{files: map[string]string{"f": "x"}, script: "date +%s%N > out/when"}
	top := t.TempDir()
	a, b := r.build(t, top, "one"), r.build(t, top, "two")
	x, y := must(diff.OpenDir(a)), must(diff.OpenDir(b))
	defer x.Close()
	defer y.Close()
	report, err := diff.Trees(context.Background(), "a", "b", x, y, diff.Options{Diffoscope: true})
	if err != nil || !strings.Contains(report.Diffoscope, "when") {
		t.Fatalf("%v: %+v", err, report)
	}
	var page bytes.Buffer
	if err := report.HTML(&page); err != nil || !bytes.Contains(page.Bytes(), []byte("<h2>diffoscope</h2>")) {
		t.Errorf("%v", err)
	}
}
