//go:build itest

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gavel/verify/audit"
)

// upper is a build that trusts the machine's own tr.
const upper = "mkdir out; echo hello | tr a-z A-Z > out/hello\n"

// tamperedTools starts a farm whose machines all have a tr with a back door, as a
// change of a distribution's package would give it to all of them. Only the farm's
// processes see it, and those only that are started so.
func tamperedTools(t *testing.T) (wrap []string) {
	t.Helper()
	bad := filepath.Join(t.TempDir(), "tr")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\ncat\necho and a back door\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"unshare", "--mount", "sh", "-ec", `mount --bind "$1" /usr/bin/tr; shift; exec "$@"`, "sh", bad}
}

// Every machine has the same wrong tool, so that a wrong result is agreed upon, and
// upheld. Once the tools are repaired a fresh panel refutes it: the result is
// withdrawn in the log, and readers of its bundle are told.
func TestRefutedResultIsWithdrawn(t *testing.T) {
	f := newWrappedFarm(t, tamperedTools(t))
	old := f.submit(upper).report(exitDone)
	out := filepath.Join(t.TempDir(), "out")
	f.cli(exitDone, "download", old.Build, "-o", out)
	hello := filepath.Join(out, "out", "hello")
	if content, err := os.ReadFile(hello); old.Verdict != "agreed" || string(content) != "hello\nand a back door\n" {
		t.Fatalf("the wrong result: %q (%v), %+v", content, err, old)
	}
	if again := f.submit(upper, "--cache").report(exitDone); again.Build != old.Build {
		t.Errorf("the cache does not answer: %+v", again)
	}
	eventually(t, func() bool { // the status list may be on its way
		f.ask(old, "status", old.Build)
		_, said, _ := call(t.Context(), "verify", old.Summary, hello)
		return strings.Contains(said, "no withdrawal is known as of")
	}, "a verified result that stands")
	first := f.balanced()
	upheld := new(challengeReport)
	if said := f.cli(exitDone, "challenge", old.Summary, "--json"); json.Unmarshal([]byte(said), upheld) != nil || upheld.Verdict != "upheld" || upheld.Withdrawn {
		t.Errorf("while all have the tool: %s", said)
	}
	paid := f.balanced()
	fees := seatFee * int64(len(upheld.Panel))
	checkChallengeMoney(t, first, paid, upheld.Panel, -upheld.Bond-fees, upheld.Bond)
	before := time.Now()
	f.repair()
	said := f.cli(exitFailed, "challenge", old.Summary, "--reason", "tr was tampered with")
	var now, contest buildReport
	f.ask(&now, "status", old.Build)
	f.ask(&contest, "status", now.WithdrawnBy)
	seats := len(contest.Panel)
	for _, s := range []string{fmt.Sprintf("refuted: %d of %d on a fresh panel have another result than the old one", seats, seats), "the result of build " + old.Build + " is withdrawn"} {
		if !strings.Contains(said, s) || seats < 3 {
			t.Errorf("gavel challenge does not say %q: %s", s, said)
		}
	}
	// The bond is back, and so are the fees, of what the treasury has from the challenge before.
	checkChallengeMoney(t, paid, f.balanced(), contest.Panel, 0, -seatFee*int64(seats))
	checkWithdrawn(t, f, old, now.WithdrawnBy, hello, before)
	checkReplaced(t, f, old)
	checkWithdrawalAudited(t, f)
}

// repair starts the farm again on machines with good tools, and waits until all its
// workers are heard of: a seat would be lost by one that is not there yet.
func (f *testFarm) repair() {
	f.t.Helper()
	f.stop()
	ends := make(map[string]int64)
	for _, n := range f.file().Nodes {
		ends[n.Name] = f.logEnd(n.Name)
	}
	f.wrap = nil
	f.start()
	for _, n := range f.file().Nodes {
		if n.Role == "worker" {
			eventually(f.t, func() bool { return f.log(n.Name, ends[n.Name]).works() }, "%s works again", n.Name)
		}
	}
}

// seatFee is what a seat of a panel earns.
const seatFee = 1_000_000

// checkChallengeMoney compares who had what before a challenge and after: each of the
// panel has a fee more, the requester and the treasury what is said, all others the same.
func checkChallengeMoney(t *testing.T, before, after *ledgerReport, panel []seatReport, requester, treasury int64) {
	t.Helper()
	for _, was := range before.Accounts {
		want := was
		switch {
		case was.Role == "requester":
			want.Available += requester
		case was.Role == "treasury":
			want.Available += treasury
		case slices.ContainsFunc(panel, func(s seatReport) bool { return s.Worker == was.Name }):
			want.Available += seatFee
		}
		if is, ok := after.find(was.Name); !ok || is != want {
			t.Errorf("after the challenge %+v, want %+v", is, want)
		}
	}
}

// checkWithdrawn asks, of the old bundle, what stands, now and before.
func checkWithdrawn(t *testing.T, f *testFarm, old *buildReport, challenge, hello string, before time.Time) {
	t.Helper()
	verify := func(code int, says string, flags ...string) {
		t.Helper()
		got, stdout, stderr := call(t.Context(), append([]string{"verify", old.Summary, hello}, flags...)...)
		if got != code || !strings.Contains(stdout, says) {
			t.Errorf("gavel verify %s: exit status %d, want %d and %q: %s%s", strings.Join(flags, " "), got, code, says, stdout, stderr)
		}
	}
	eventually(t, func() bool {
		f.cli(exitDone, "status", old.Build) // fetches the new status list
		list, err := os.ReadFile(filepath.Join(filepath.Dir(old.Summary), "status.json"))
		return err == nil && strings.Contains(string(list), `"events":[{`)
	}, "a status list with the withdrawal")
	if said := f.cli(exitDone, "status", old.Build); !strings.Contains(said, "withdrawn since: challenge "+challenge) {
		t.Errorf("gavel status prints %s", said)
	}
	verify(exitFailed, "the result was withdrawn on")
	verify(exitFailed, challenge)
	verify(exitDone, "the result was withdrawn later", "--as-of", before.UTC().Format(time.RFC3339))
	verify(exitFailed, "the result was withdrawn on", "--as-of", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	if _, _, stderr := call(t.Context(), "download", old.Build, "--farm", f.dir, "-o", filepath.Join(t.TempDir(), "again")); !strings.Contains(stderr, "withdrawn since: challenge "+challenge) {
		t.Errorf("gavel download says nothing of it: %s", stderr)
	}
	if code, _, stderr := call(t.Context(), "challenge", old.Summary, "--farm", f.dir); code != exitUsage || !strings.Contains(stderr, "withdrawn already") {
		t.Errorf("challenged once more: exit status %d, %s", code, stderr)
	}
}

// checkReplaced submits the same build: the old result answers it no more.
func checkReplaced(t *testing.T, f *testFarm, old *buildReport) {
	t.Helper()
	r := f.submit(upper, "--cache").report(exitDone)
	to := t.TempDir()
	f.cli(exitDone, "download", r.Build, "-o", to)
	if content, err := os.ReadFile(filepath.Join(to, "out", "hello")); r.Build == old.Build || r.Verdict != "agreed" || r.WithdrawnBy != "" || string(content) != "HELLO\n" {
		t.Errorf("built again: %q (%v), %+v", content, err, r)
	}
	if code, stdout, stderr := call(t.Context(), "verify", r.Summary, filepath.Join(to, "out", "hello")); code != exitDone {
		t.Errorf("verifying the new result: %d %s%s", code, stdout, stderr)
	}
}

// checkWithdrawalAudited replays the log: nothing deviates, and the withdrawal counts.
func checkWithdrawalAudited(t *testing.T, f *testFarm) {
	t.Helper()
	var r audit.Report
	eventually(t, func() bool {
		r = audit.Report{}
		said := f.cli(exitDone, "audit", "--fresh", "--json")
		if err := json.Unmarshal([]byte(said), &r); err != nil {
			t.Fatalf("gavel audit printed %q: %v", said, err)
		}
		return r.Builds == 2 && r.Unpublished == 0
	}, "an audit of both builds")
	// Challenges deliver nothing: one that was upheld, and the one that was right.
	if r.Withdrawn != 1 || r.Undelivered != 2 || len(r.Deviations) > 0 || r.Stopped != "" {
		t.Errorf("the audit says %+v", r)
	}
	if said := f.cli(exitDone, "audit", "--fresh"); !strings.Contains(said, "withdrawn since: the results of 1") || !strings.Contains(said, "nothing deviates") {
		t.Errorf("the audit prints %s", said)
	}
}
