package attest_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"gavel/verify/attest"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// withheld is sample's build of a commit in the machine's own root, its command withheld.
func withheld() (*attest.Provenance, *attest.Withheld) {
	p, w := sample(), &attest.Withheld{Salt: sum("salt"), Command: []byte("an encoded command")}
	commitment := w.Commitment()
	p.Command, p.Argv, p.Env, p.Withheld = attest.Digest{}, nil, nil, &commitment
	p.Source, p.Platform = "git+https://example.org/project.git@"+commit, "host"
	return p, w
}

func TestParseSource(t *testing.T) {
	long := strings.Repeat("ab", 32)
	for source, want := range map[string][2]string{
		"git+https://example.org/p.git@" + commit:         {"https://example.org/p.git", commit},
		"git+ssh://git@example.org/p@" + long:             {"ssh://git@example.org/p", long},
		"git+file:///srv/p@" + commit:                     {"file:///srv/p", commit},
		"git+https://example.org/a@b/c%20d.git@" + commit: {"https://example.org/a@b/c%20d.git", commit},
	} {
		url, id, err := attest.ParseSource(source)
		if err != nil || url != want[0] || id != want[1] {
			t.Errorf("%s: %s, %s, %v", source, url, id, err)
		}
	}
	for _, source := range []string{
		"", "git+", "git+@" + commit, "https://example.org/p@" + commit, "git+https://example.org/p@main", "git+https://example.org/p@" + commit[1:],
		"git+https://example.org/p@" + strings.ToUpper(commit), "git+https://u:p@example.org/p@" + commit, "git+p@" + commit,
		"git+https://example.org/p?x=1@" + commit, "git+https://example.org/p#x@" + commit, "git+https://example.org/" + strings.Repeat("p", 5000) + "@" + commit,
		"git+https://example.org/p p@" + commit, "git+https://example.org/\x1b@" + commit,
	} {
		if _, _, err := attest.ParseSource(source); !errors.Is(err, attest.ErrSource) || strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestDependenciesAreComplete(t *testing.T) {
	p, _ := withheld()
	p.Builder.Class = "linux/amd64/v3 x/host-5e1f0c22"
	st := new(intoto.Statement)
	if err := protojson.Unmarshal(statement(t, p), st); err != nil {
		t.Fatal(err)
	}
	raw, _ := protojson.Marshal(st.Predicate)
	got := new(slsa.Provenance)
	if err := protojson.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	type dependency struct{ name, uri, sha256, commit string }
	var list []dependency
	for _, d := range got.BuildDefinition.ResolvedDependencies {
		list = append(list, dependency{d.Name, d.Uri, d.Digest["sha256"], d.Digest["gitCommit"]})
	}
	want := []dependency{
		{"action", "", hexOf(sum("action")), ""}, {"inputRoot", "", hexOf(sum("inputs")), ""},
		{"platformRoot", "gavel:host/linux/amd64/v3%20x/host-5e1f0c22", "", ""}, {"source", p.Source, "", commit},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("got %q, want %q", list, want)
	}
}

func TestWithheldIsReadBack(t *testing.T) {
	pub, signer := ed25519Key(t)
	p, w := withheld()
	r, err := attest.ReadRecipe(bundle(t, p, pub, signer), pub)
	if err != nil {
		t.Fatal(err)
	}
	if r.Withheld == nil || *r.Withheld != w.Commitment() || r.Source != p.Source || r.Argv != nil || r.Env != nil || r.Command != (attest.Digest{}) {
		t.Errorf("%+v", r)
	}
	st := string(statement(t, p))
	for what, c := range map[string][2]string{
		"given too":         {`"withheld":`, `"arguments":["x"],"withheld":`},
		"no digest":         {`"withheld":"`, `"withheld":"x`},
		"another rule":      {attest.GitTreeRule, "https://example.org/rule"},
		"no commit":         {`"uri":"git+https://example.org/project.git@`, `"uri":"git+https://example.org/project.git`},
		"neither":           {`"withheld":`, `"timeoutMillis":"1","x":`},
		"command, no words": {`"withheld":"` + hexOf(w.Commitment()) + `"`, `"command":{"sha256":"` + hexOf(sum("x")) + `","sizeBytes":"1"}`},
	} {
		// The source is named twice, the last time among the parameters or dependencies.
		changed := strings.ReplaceAll(st, c[0], c[1])
		if changed == st {
			t.Fatalf("%s: nothing was changed", what)
		}
		if r, err := attest.ReadRecipe(bundleOf(t, []byte(changed), pub, signer), pub); !errors.Is(err, attest.ErrStatement) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	for says, change := range map[string]func(*attest.Provenance){
		"withheld and given": func(p *attest.Provenance) { p.Argv = []string{"x"} },
		"not a source":       func(p *attest.Provenance) { p.Source = "git+x" },
	} {
		p, _ := withheld()
		change(p)
		if _, err := p.Statement(); !errors.Is(err, attest.ErrProvenance) || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
	}
}

func TestWithheldFile(t *testing.T) {
	_, w := withheld()
	raw, err := w.File()
	if err != nil {
		t.Fatal(err)
	}
	back, err := attest.ReadWithheld(raw)
	if err != nil || !reflect.DeepEqual(back, w) || back.Commitment() != w.Commitment() {
		t.Fatalf("%+v, %v", back, err)
	}
	// H, spelled out: "gavel/v1/" + tag, a zero, the salt, the command behind its length.
	if want := sum("gavel/v1/withheld\x00" + string(w.Salt[:]) + "\x00\x00\x00\x12" + "an encoded command"); w.Commitment() != want {
		t.Errorf("commitment %x, want %x", w.Commitment(), want)
	}
	other := *w
	other.Salt[0]++
	if other.Commitment() == w.Commitment() {
		t.Error("the salt does not matter")
	}
	other = attest.Withheld{Salt: w.Salt, Command: append(bytes.Clone(w.Command), 0)}
	if other.Commitment() == w.Commitment() {
		t.Error("the command does not matter")
	}
	for what, c := range map[string][2]string{
		"another salt": {hexOf(w.Salt), hexOf(sum("x"))}, "another command": {`"command":"`, `"command":"AAAA`}, "half a salt": {hexOf(w.Salt), "00"},
		"type": {"withheld/v1", "withheld/v2"}, "more": {`{"command"`, `{"a":1,"command"`}, "space": {`{"command"`, `{ "command"`}, "no JSON": {`{"command"`, ``},
	} {
		changed := strings.Replace(string(raw), c[0], c[1], 1)
		if changed == string(raw) {
			t.Fatalf("%s: nothing was changed", what)
		}
		if _, err := attest.ReadWithheld([]byte(changed)); !errors.Is(err, attest.ErrWithheld) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := attest.ReadWithheld(make([]byte, 5<<20)); !errors.Is(err, attest.ErrWithheld) {
		t.Errorf("too big: %v", err)
	}
}

func FuzzReadWithheld(f *testing.F) {
	_, w := withheld()
	raw, err := w.File()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		w, err := attest.ReadWithheld(raw)
		if err != nil {
			return
		}
		if again, err := w.File(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%q is read as %q", raw, again)
		}
	})
}
