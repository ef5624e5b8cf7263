package attest_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

func TestRecipeIsWhatWasStated(t *testing.T) {
	pub, signer := ed25519Key(t)
	other, _ := p256Key(t)
	p := sample()
	b := bundle(t, p, pub, signer)
	st := statement(t, p)
	sig, err := attest.Sign(st, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"payload": st, "payloadType": "application/vnd.in-toto+json", "signatures": []any{map[string]any{"sig": sig}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string][]byte{"bundle": b, "DSSE": raw} {
		r, err := attest.ReadRecipe(from, pub)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := *p
		want.Result, want.StartedMillis, want.FinishedMillis = nil, 0, 0
		want.Env = slices.Clone(want.Env)
		slices.SortFunc(want.Env, func(a, b attest.EnvVar) int { return strings.Compare(a.Name, b.Name) })
		if !reflect.DeepEqual(r.Provenance, want) {
			t.Errorf("%s: got %+v, want %+v", name, r.Provenance, want)
		}
		summary := p.Result.Summarise()
		files := []attest.RecipeFile{{Path: "bin/app", SHA256: p.Result.Outputs[1].Digest}, {Path: "log", SHA256: p.Result.Outputs[3].Digest}}
		if r.Status != "exited" || r.ResultDigest != summary.Digest() || r.ManifestDigest != summary.Content || !slices.Equal(r.Files, files) || r.Key == "" {
			t.Errorf("%s: the result: %+v", name, r)
		}
		if _, err := attest.ReadRecipe(from, other); !errors.Is(err, attest.ErrSignature) {
			t.Errorf("%s, another's key: %v", name, err)
		}
		if r, err := attest.ReadRecipe(from, nil); err != nil || r.Key != "" {
			t.Errorf("%s, without a key: %+v, %v", name, r, err)
		}
	}
	none := sample()
	none.Result = &build.Manifest{Status: build.StatusTimeout}
	if r, err := attest.ReadRecipe(bundle(t, none, pub, signer), pub); err != nil || len(r.Files) != 0 || r.Status != "timeout" {
		t.Errorf("without files: %+v, %v", r, err)
	}
}

func TestRecipeRefusals(t *testing.T) {
	pub, signer := ed25519Key(t)
	for name, change := range map[string][2]string{
		"another type of statement": {`"_type":"https://in-toto.io/Statement/v1"`, `"_type":"https://in-toto.io/Statement/v2"`},
		"another predicate":         {`"predicateType":"https://slsa.dev/provenance/v1"`, `"predicateType":"https://slsa.dev/provenance/v2"`},
		"another build type":        {`"buildType":"https://gavel.dev/build/v1"`, `"buildType":"https://example.org/build/v1"`},
		"an unknown parameter":      {`"network":false`, `"network":false,"privileged":true`},
		"a digest in upper case":    {`"inputRoot":{"sha256":"`, `"inputRoot":{"sha256":"A`},
		"a climbing subject":        {`"name":"bin/app"`, `"name":"../app"`},
		"subjects out of order":     {`"name":"bin/app"`, `"name":"z"`},
		"another byproduct":         {`"byproducts":[{`, `"byproducts":[{},{`},
		"a negative size":           {`"sizeBytes":"81"`, `"sizeBytes":"-81"`},
		"no build":                  {`"invocationId":"`, `"invocationId":"x`},
	} {
		st := strings.Replace(string(statement(t, sample())), change[0], change[1], 1)
		if !strings.Contains(st, change[1]) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if r, err := attest.ReadRecipe(bundleOf(t, []byte(st), pub, signer), pub); !errors.Is(err, attest.ErrStatement) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for _, raw := range []string{"", "{}", `{"payloadType":"text/plain","payload":"","signatures":[]}`, `{"mediaType":"x"}`} {
		if _, err := attest.ReadRecipe([]byte(raw), nil); !errors.Is(err, attest.ErrBundle) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func FuzzReadRecipe(f *testing.F) {
	pub, signer := ed25519Key(f)
	f.Add(statement(f, sample()))
	none := sample()
	none.Result = &build.Manifest{Status: build.StatusSignaled, Signal: 9}
	f.Add(statement(f, none))
	f.Fuzz(func(t *testing.T, st []byte) {
		raw, err := json.Marshal(map[string]any{"payload": st, "payloadType": "application/vnd.in-toto+json", "signatures": []any{map[string]any{"sig": []byte("x")}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := attest.ReadRecipe(raw, nil)
		if err != nil {
			return
		}
		for i, x := range r.Files {
			if !build.CleanPath(x.Path) || i > 0 && r.Files[i-1].Path >= x.Path {
				t.Fatalf("file %q", x.Path)
			}
		}
		if b, err := attest.ReadRecipe(bundleOf(t, st, pub, signer), pub); err != nil || b.ResultDigest != r.ResultDigest {
			t.Fatalf("in a bundle: %v", err)
		}
	})
}

// Who gives the cluster's summary is told what to give instead, not that it is none.
func TestNoRecipeInASummary(t *testing.T) {
	_, err := attest.ReadRecipe([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGVUeXBlIjoiaHR0cHM6Ly9zbHNhLmRldi92ZXJpZmljYXRpb25fc3VtbWFyeS92MSJ9","signatures":[{"sig":"AA=="}]}`), nil)
	if !errors.Is(err, attest.ErrStatement) || !strings.Contains(err.Error(), "take the provenance of a machine") || strings.Contains(err.Error(), "neither") {
		t.Errorf("got %v", err)
	}
}
