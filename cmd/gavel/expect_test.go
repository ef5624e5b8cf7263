package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
)

func TestParseExpect(t *testing.T) {
	sum := "sha256:" + hex.EncodeToString(id32(7))
	got, err := parseExpect([]string{"lib/x=y=" + sum, "./app=" + sum}, []string{"app", "lib"})
	if err != nil || len(got) != 2 || got[0].Path != "app" || got[1].Path != "lib/x=y" || !slices.Equal(got[1].Digest[:], id32(7)) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range [][]string{
		{"app"}, {"app=" + sum[7:]}, {"=" + sum}, {"app=" + sum[:70]}, {"app=sha512:" + sum[7:]}, {"app=" + strings.ToUpper(sum)},
		{"application=" + sum}, {"../app=" + sum}, {"app=" + sum, "app=" + sum}, slices.Repeat([]string{"lib/a=" + sum}, 100),
	} {
		if got, err := parseExpect(bad, []string{"app", "lib"}); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

// What somebody published decides nothing, and is told in every form.
func TestExpectedIsTold(t *testing.T) {
	r := newReport(judgedBuild())
	if r.expect(nil); r.exitCode(false) != exitDone {
		t.Error("nothing was expected")
	}
	r.Outputs = []outputReport{{Path: "bin/app", Digest: sha256Text(id32(7))}, {Path: "bin/b", Digest: sha256Text(id32(8))}, {Path: "c"}}
	r.expect([]*gavelv1.Expected{{Path: "bin/app", Digest: id32(7)}})
	if r.exitCode(false) != exitDone {
		t.Error("what is as published has the exit status", r.exitCode(false))
	}
	r.expect([]*gavelv1.Expected{{Path: "bin/b", Digest: id32(9)}, {Path: "none", Digest: id32(1)}})
	if r.exitCode(false) != exitUnexpected {
		t.Error("what is not as published has the exit status", r.exitCode(false))
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Outputs []map[string]any
	}
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	for i, want := range []any{true, false, nil} {
		if got := back.Outputs[i]["expected_match"]; got != want {
			t.Errorf("output %d: expected_match is %v, want %v", i, got, want)
		}
	}
	var out bytes.Buffer
	if err := r.write(&terminal{out: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bin/app equals the published sha256:0707", "bin/b does NOT equal the published sha256:0909", "none does NOT equal"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from %s", want, out.String())
		}
	}
}
