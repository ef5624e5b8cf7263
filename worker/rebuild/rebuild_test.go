package rebuild

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/api/action"
	"gavel/cas"
	"gavel/cas/layout"
	"gavel/cas/tree"
	"gavel/raftfsm/build"
	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
	"gavel/verify/attest"
)

// catRunner has for its one command the concatenation of all inputs into bin/all.
type catRunner struct{ salt string }

func (r catRunner) Run(_ context.Context, s sandbox.Spec) (sandbox.Result, error) {
	var all bytes.Buffer
	all.WriteString(r.salt)
	err := filepath.WalkDir(s.InputDir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	})
	io.WriteString(s.Log, "concatenated\n")
	err = errors.Join(err, os.MkdirAll(filepath.Join(s.OutputDir, "bin"), 0o755),
		os.WriteFile(filepath.Join(s.OutputDir, "bin/all"), all.Bytes(), 0o755), os.Symlink("all"+r.salt, filepath.Join(s.OutputDir, "bin/link")))
	return sandbox.Result{Status: sandbox.Exited}, err
}
func (catRunner) Roots(context.Context) ([]string, error) { return nil, nil }
func (catRunner) Describe() sandbox.Description {
	return sandbox.Description{Name: "cat", InputUID: -1, InputGID: -1}
}
func (catRunner) Close() error { return nil }
func (catRunner) TakeImage(_ context.Context, img sandbox.Image) (string, error) {
	return img.Root(), nil
}

// farm is a build that was made elsewhere: its inputs and its bundle.
type farm struct {
	*testing.T
	dir    string // of the inputs
	action *action.Action
	image  sandbox.Image
	bundle []byte
}

func newFarm(t *testing.T) *farm { return newFarmOf(t, func(*action.Action) {}) }

func newFarmOf(t *testing.T, change func(*action.Action)) *farm {
	t.Helper()
	f := &farm{T: t, dir: filepath.Join(t.TempDir(), "inputs"), image: sandboxtest.Image(t)}
	in, err := layout.Create(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	src := t.TempDir()
	for name, content := range map[string]string{"main.c": "int main;", "lib/a.c": "int a;", "lib/copy.c": "int a;", "empty": ""} {
		path := filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	store := cas.InProcess{Store: in}
	f.action = &action.Action{
		Argv: []string{"cat"}, Env: []attest.EnvVar{{Name: "A", Value: "1"}}, Outputs: []string{"bin"}, Root: f.image.Root(), TimeoutMillis: 1000,
	}
	change(f.action)
	if f.action.InputRoot, _, err = tree.Upload(t.Context(), store, src, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	raw, command, err := f.action.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{raw, command} {
		if err := in.Put(t.Context(), cas.Of(b), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	f.bundle = f.state("", nil)
	built, _, err := f.rebuild(catRunner{}, false)
	if err != nil {
		t.Fatal(err)
	}
	m := built.Manifest.Bytes()
	if err := in.Put(t.Context(), cas.Of(m), bytes.NewReader(m)); err != nil {
		t.Fatal(err)
	}
	f.bundle = f.state("", built.Manifest)
	return f
}

// state is a statement about a result, with text replaced.
func (f *farm) state(replace string, m *build.Manifest) []byte {
	f.Helper()
	if m == nil {
		m = &build.Manifest{Status: build.StatusExited}
	}
	p := f.action.Provenance(action.Author{Worker: &build.Worker{Name: "w"}, Role: attest.RoleBuilder}, m)
	st, err := p.Statement()
	if err != nil {
		f.Fatal(err)
	}
	if from, to, ok := strings.Cut(replace, "→"); ok {
		if !bytes.Contains(st, []byte(from)) {
			f.Fatalf("no %s in %s", from, st)
		}
		st = bytes.Replace(st, []byte(from), []byte(to), 1)
	}
	raw, err := json.Marshal(map[string]any{"payload": st, "payloadType": "application/vnd.in-toto+json", "signatures": []any{map[string]any{"sig": []byte("x")}}})
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

// rebuild does it all.
func (f *farm) rebuild(r sandbox.Runner, allowChanged bool) (*Built, *Comparison, error) {
	recipe, err := attest.ReadRecipe(f.bundle, nil)
	if err != nil {
		f.Fatal(err)
	}
	in, err := layout.Open(f.dir)
	if err != nil {
		f.Fatal(err)
	}
	defer in.Close()
	p, err := Open(f.Context(), recipe, in)
	if err != nil {
		return nil, nil, err
	}
	var log bytes.Buffer
	b, err := p.Build(f.Context(), Options{Runner: r, Image: &f.image, Dir: f.TempDir(), OutputDir: filepath.Join(f.TempDir(), "out"), AllowChanged: allowChanged, Log: &log})
	if err != nil {
		return nil, nil, err
	}
	if log.String() != "concatenated\n" {
		f.Errorf("log %q", log.String())
	}
	c, err := p.Compare(f.Context(), b.Manifest)
	return b, c, err
}

func TestRebuiltEqual(t *testing.T) {
	f := newFarm(t)
	b, c, err := f.rebuild(catRunner{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Equal || c.Want != c.Got || len(c.Differences) != 0 || !c.Whole || b.Root != f.action.Root || b.InputRoot != f.action.InputRoot {
		t.Errorf("%+v of %+v", c, b)
	}
}

func TestDifferencesAreNamed(t *testing.T) {
	f := newFarm(t)
	for _, whole := range []bool{true, false} {
		_, c, err := f.rebuild(catRunner{"-"}, false)
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, d := range c.Differences {
			paths = append(paths, d.Path+" "+string(d.Why))
		}
		want := "bin/all content, bin/link target"
		if !whole { // a statement lists no links
			want = "bin/all content"
		}
		if got := strings.Join(paths, ", "); c.Equal || c.Whole != whole || got != want {
			t.Errorf("%+v: %s", c, got)
		}
		if whole {
			f.remove(manifestOf(t, f))
		}
	}
}

func manifestOf(t *testing.T, f *farm) string {
	recipe, err := attest.ReadRecipe(f.bundle, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cas.OfSum(recipe.ManifestDigest, 1).Hash
}

func (f *farm) remove(hash string) {
	if err := os.Remove(filepath.Join(f.dir, "blobs/sha256", hash)); err != nil {
		f.Fatal(err)
	}
}

// Whichever blob is changed by one byte, the error is about it, and names it.
func TestOneChangedByteIsNamed(t *testing.T) {
	for what, names := range map[string][]string{
		"int main;": {`"main.c"`}, "int a;": {`"lib/a.c"`, `"lib/copy.c"`}, "action": {"the action"}, "command": {"the action, or its command"},
		"root": {`the listing of directory "."`}, "lib": {`the listing of directory "./lib"`},
	} {
		f := newFarm(t)
		hash := cas.Of([]byte(what)).Hash
		switch what {
		case "action":
			hash = f.action.Digest.Hash
		case "command":
			hash = f.action.Command.Hash
		case "root":
			hash = f.action.InputRoot.Hash
		case "lib":
			in, err := layout.Open(f.dir)
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := tree.Load(t.Context(), cas.InProcess{Store: in}, f.action.InputRoot, tree.Limits{})
			if err := errors.Join(err, in.Close()); err != nil {
				t.Fatal(err)
			}
			hash = loaded.Directories()[1].Hash
		}
		path := filepath.Join(f.dir, "blobs/sha256", hash)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err = f.rebuild(catRunner{}, false)
		if !errors.Is(err, ErrInputs) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, name := range names {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v, want it to name %s", what, err, name)
			}
		}
		b, c, err := f.rebuild(catRunner{}, true)
		if !strings.HasPrefix(names[0], `"`) {
			if !errors.Is(err, ErrInputs) {
				t.Errorf("%s, allowed: %v", what, err)
			}
			continue
		}
		if err != nil || c.Equal || b.InputRoot == f.action.InputRoot || c.Differences[0].Path != "bin/all" {
			t.Errorf("%s, allowed: %+v of %+v, %v", what, c, b, err)
		}
		f.remove(hash)
		for _, allow := range []bool{false, true} {
			if _, _, err := f.rebuild(catRunner{}, allow); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), "is not there") {
				t.Errorf("%s, removed: %v", what, err)
			}
		}
	}
}

func TestAnotherImage(t *testing.T) {
	f := newFarm(t)
	f.image = sandboxtest.Image(t, sandboxtest.Archive(t))
	if _, _, err := f.rebuild(catRunner{}, false); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), f.image.Root()) {
		t.Error(err)
	}
	if b, c, err := f.rebuild(catRunner{}, true); err != nil || !c.Equal || b.Root != f.image.Root() {
		t.Errorf("%+v, %+v, %v", b, c, err)
	}
}

// A statement that names one action and lists another's parameters would have a
// reader believe the list.
func TestContradictions(t *testing.T) {
	f := newFarm(t)
	for name, replace := range map[string]string{
		"argument list": `"arguments":["cat"]→"arguments":["dog"]`, "environment": `"environment":{"A":"1"}→"environment":{"A":"2"}`,
		"working directory": `"workingDirectory":""→"workingDirectory":"x"`, "platform": `"platformRoot":"` + f.image.Root() + `"→"platformRoot":"host"`,
		"list of outputs": `"outputPaths":["bin"]→"outputPaths":["bun"]`, "timeout": `"timeoutMillis":"1000"→"timeoutMillis":"1001"`,
		"limit": `"pids":"0"→"pids":"1"`, "SOURCE_DATE_EPOCH": `"sourceDateEpoch":"315532800"→"sourceDateEpoch":"0"`, "network": `"network":false→"network":true`,
		"command digest": `"command":{"sha256":"` + f.action.Command.Hash + `→"command":{"sha256":"` + f.action.Digest.Hash,
		"input root":     `"inputRoot":{"sha256":"` + f.action.InputRoot.Hash + `→"inputRoot":{"sha256":"` + f.action.Digest.Hash,
	} {
		f.bundle = f.state(replace, nil)
		if _, _, err := f.rebuild(catRunner{}, true); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), "its "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever has the command's blob rebuilds what a statement withholds, and holds the
// blob to the commitment.
func TestRebuildOfAWithheldCommand(t *testing.T) {
	source := "git+https://example.org/p.git@" + strings.Repeat("0a", 20)
	f := newFarmOf(t, func(a *action.Action) { a.Salt, a.Source = &[32]byte{7}, source })
	built, compared, err := f.rebuild(catRunner{}, false)
	if err != nil || !compared.Equal {
		t.Fatalf("%+v, %v", compared, err)
	}
	commitment := f.action.Withheld().Commitment()
	for what, replace := range map[string]string{
		"withheld command": hex.EncodeToString(commitment[:]) + "→" + strings.Repeat("00", 32),
		"source":           `"uri":"` + source + `"},"source→"uri":"` + strings.Replace(source, "0a", "0b", 1) + `"},"source`,
	} {
		f.bundle = f.state(replace, built.Manifest)
		if _, _, err := f.rebuild(catRunner{}, false); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), "its "+what+" is not that of the action") {
			t.Errorf("another %s: %v", what, err)
		}
	}
	open := newFarm(t)
	open.action.Salt = &[32]byte{7} // stated as withheld, built as not
	digest := open.action.Digest
	if _, _, err := open.action.Encode(); err != nil {
		t.Fatal(err)
	}
	open.action.Digest = digest
	open.bundle = open.state("", built.Manifest)
	if _, _, err := open.rebuild(catRunner{}, false); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), "its withheld command") {
		t.Errorf("withheld in words alone: %v", err)
	}
}
