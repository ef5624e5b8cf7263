package main

import (
	"bytes"
	"strings"
	"testing"

	"gavel/raftfsm/build"
)

// A result may be equal because the command fails here as it did in the farm: that
// is said, whatever else is equal.
func TestRebuildOfAFailingCommandSaysSo(t *testing.T) {
	for _, c := range []struct {
		status build.Status
		code   uint32
		equal  bool
		says   string
	}{
		{build.StatusExited, 7, true, "the command failed, here as in the farm: it exited with status 7\n"},
		{build.StatusTimeout, 0, true, "the command failed, here as in the farm: timeout\n"},
		{build.StatusExited, 2, false, "the command failed here: it exited with status 2\n"},
		{build.StatusExited, 0, true, ""},
	} {
		var out bytes.Buffer
		r := &rebuildReport{Equal: c.equal, Status: c.status.String(), ExitCode: c.code}
		if err := r.print(&terminal{out: &out, err: &out}, &tail{}, false); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), c.says) || c.says == "" && strings.Contains(out.String(), "failed") {
			t.Errorf("%v %d: %s", c.status, c.code, &out)
		}
	}
}

// A package whose own tests fail in the sandbox (sed 4.9-1+deb12u1) was not made, and
// is the archive's to the byte without them: a person could not know.
func TestRebuildDebSaysWhatToTryNext(t *testing.T) {
	made := publishedEntry{Path: "a.deb", Digest: "sha256:aa", Got: "sha256:bb"}
	for says, r := range map[string]*publishedReport{
		"tools of its day": {Published: []publishedEntry{made}}, "--env DEB_BUILD_OPTIONS=nocheck": {Published: []publishedEntry{{Path: "a.deb", Digest: "sha256:aa"}}},
	} {
		adviseDeb(r)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], says) {
			t.Errorf("want %q: %q", says, r.Notes)
		}
	}
	equal := &publishedReport{Equal: true, Published: []publishedEntry{made}}
	if adviseDeb(equal); len(equal.Notes) != 0 {
		t.Errorf("of an equal package it says %q", equal.Notes)
	}
}
