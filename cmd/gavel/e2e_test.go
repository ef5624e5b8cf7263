package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const honest = "echo building; mkdir -p out/sub && echo hello > out/hello && printf x > out/sub/y && chmod 755 out/hello\n"

// A farm of the default size takes a build, verifies it, pays for it, hands it
// out with proofs that hold without the farm, and is there again after a restart.
func TestFarmFromEndToEnd(t *testing.T) {
	f := newTestFarm(t)
	checkFarmFile(t, f)
	r := f.submit(honest).report(exitDone)
	checkAgreed(t, r)
	checkMoney(t, f, r)
	checkDownload(t, f, r)
	checkLog(t, f, r)
	if got := f.submit("echo no; exit 3").report(exitFailed); got.Verdict != "agreed" || got.ExitCode != 3 || !strings.Contains(got.Reason, "status 3") {
		t.Errorf("a failing command: %+v", got)
	}
	checkClusterAgrees(t, f)

	if code, _, stderr := call(t.Context(), "up", "--dir", f.dir); code != exitUsage || !strings.Contains(stderr, "is up already") {
		t.Errorf("a second gavel up: %d %s", code, stderr)
	}
	f.stop()
	began := time.Now()
	if code, _, stderr := call(t.Context(), "status", r.Build, "--farm", f.dir); code != exitNoFarm || !strings.Contains(stderr, "gavel up --dir") || time.Since(began) > 15*time.Second {
		t.Errorf("a farm that is not running: %d after %v: %s", code, time.Since(began), stderr)
	}
	if code, _, stderr := call(t.Context(), "up", "--dir", f.dir, "--workers", "9"); code != exitUsage || !strings.Contains(stderr, "--workers=8") {
		t.Errorf("another count: %d %s", code, stderr)
	}
	f.start()
	again := new(buildReport)
	f.ask(again, "status", r.Build[:12])
	if again.Verdict != "agreed" || again.Winner != r.Winner || !slices.Equal(again.Outputs, r.Outputs) {
		t.Errorf("after a restart the build is %+v", again)
	}
	checkExpected(t, f, r)
	f.balanced()
	checkAudit(t, f, 4)
}

// checkExpected submits the same build with digests that somebody published.
func checkExpected(t *testing.T, f *testFarm, r *buildReport) {
	t.Helper()
	good, bad := r.Outputs[0].Path+"="+r.Outputs[0].Digest.String(), r.Outputs[1].Path+"="+r.Outputs[0].Digest.String()
	got := f.submit(honest, "--expect", good).report(exitDone)
	if m := got.Outputs[0].ExpectedMatch; m == nil || !*m || got.Outputs[1].ExpectedMatch != nil {
		t.Errorf("as published: %+v", got.Outputs)
	}
	got = f.submit(honest, "--expect", good, "--expect", bad).report(exitUnexpected)
	if m := got.Outputs[1].ExpectedMatch; m == nil || *m || got.Verdict != "agreed" || *got.Payment == 0 || len(got.Expected) != 2 || !got.Expected[0].Match {
		t.Errorf("not as published: %+v", got)
	}
}

func checkFarmFile(t *testing.T, f *testFarm) {
	t.Helper()
	file := f.file()
	if len(file.Endpoints) != 3 || len(file.Nodes) != 11 || file.Requester.Name != "requester" {
		t.Errorf("farm.json: %+v", file)
	}
	for _, n := range file.Nodes {
		if err := syscall.Kill(n.PID, 0); err != nil {
			t.Errorf("%s (pid %d): %v", n.Name, n.PID, err)
		}
		if (n.Role == "coordinator") != (n.Address != "") {
			t.Errorf("%+v: coordinators listen, workers do not", n)
		}
	}
	if code, _, stderr := call(t.Context(), "keys", "show", file.ClusterKey); code != exitDone {
		t.Errorf("the cluster's key: %s", stderr)
	}
	for _, secret := range []string{file.Requester.Key, file.Requester.LogKey} {
		if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", secret, info, err)
		}
	}
}

func checkAgreed(t *testing.T, r *buildReport) {
	t.Helper()
	if r.State != "settled" || r.Verdict != "agreed" || r.ExitCode != 0 || r.Winner != "worker-1" || len(r.Panel) != 0 || len(r.Attestations) != 3 {
		t.Fatalf("report: %+v", r)
	}
	// worker-1 asks least, 1.1, and is paid what worker-2 asked, 1.2.
	if *r.Price != 1_100_000 || *r.Payment != 1_200_000 || *r.Reference != 8_800_000 || !strings.HasPrefix(*r.Auctioneer, "coordinator-") {
		t.Errorf("money: %d, %d, %d, %s", *r.Price, *r.Payment, *r.Reference, *r.Auctioneer)
	}
	if len(r.Validators) != 2 || r.Validators[0].Operator == r.Validators[1].Operator {
		t.Errorf("validators: %+v", r.Validators)
	}
	for _, v := range r.Validators {
		if !v.Agreed || v.Worker == r.Winner || v.Digest != r.Validators[0].Digest || v.Digest.Validate() != nil {
			t.Errorf("validator: %+v", v)
		}
	}
	if len(r.Outputs) != 2 || r.Outputs[0].Path != "out/hello" || r.Outputs[1].Path != "out/sub/y" || r.Outputs[1].Size != 1 {
		t.Errorf("outputs: %+v", r.Outputs)
	}
}

func checkMoney(t *testing.T, f *testFarm, r *buildReport) {
	t.Helper()
	ledger := f.balanced()
	// 12 founders, and nobody has minted or burned.
	if ledger.Minted != 120_000_000_000 || ledger.Burned != 0 {
		t.Errorf("minted %d, burned %d", ledger.Minted, ledger.Burned)
	}
	for name, want := range map[string]int64{"requester": 10_000_000_000 - 1_200_000 - 2_000_000 - 100_000, r.Winner: 5_001_200_000, *r.Auctioneer: 10_000_100_000, r.Validators[0].Worker: 5_001_000_000} {
		if a, ok := ledger.find(name); !ok || a.Available != want {
			t.Errorf("%s has %d micro-credits available, want %d", name, a.Available, want)
		}
	}
}

// checkDownload fetches the outputs and holds each attestation against them.
func checkDownload(t *testing.T, f *testFarm, r *buildReport) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "outputs")
	if code, _, stderr := call(t.Context(), "download", r.Build[:8], "--farm", f.dir, "-o", to); code != exitDone {
		t.Fatalf("download: %d %s", code, stderr)
	}
	hello := filepath.Join(to, "out", "hello")
	info, err := os.Stat(hello)
	if content, readErr := os.ReadFile(hello); err != nil || readErr != nil || string(content) != "hello\n" || info.Mode()&0o100 == 0 {
		t.Errorf("out/hello: %q %v %v %v", content, info, err, readErr)
	}
	if code, _, _ := call(t.Context(), "download", r.Build, "--farm", f.dir, "-o", to); code != exitUsage {
		t.Errorf("a download over a download: exit status %d", code)
	}
	forged := filepath.Join(t.TempDir(), "forged")
	if err := os.WriteFile(forged, []byte("hellp\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, bundle := range r.Attestations {
		key := strings.TrimSuffix(bundle, ".sigstore.json") + ".pub"
		if filepath.Dir(bundle) != filepath.Join(f.dir, "attestations", r.Build) {
			t.Errorf("%s is not where it is looked for", bundle)
		}
		if code, out, stderr := call(t.Context(), "verify", bundle, hello, "--key", key); code != exitDone || !strings.Contains(out, "SIMULATED") {
			t.Errorf("verify: %d %s%s", code, out, stderr)
		}
		if code, _, stderr := call(t.Context(), "verify", bundle, forged, "--key", key); code != exitFailed || !strings.Contains(stderr, "NOT verified") {
			t.Errorf("verify of another file: %d %s", code, stderr)
		}
		other := strings.TrimSuffix(r.Attestations[(i+1)%3], ".sigstore.json") + ".pub"
		if code, _, _ := call(t.Context(), "verify", bundle, hello, "--key", other); code != exitFailed {
			t.Errorf("verify with another key: %d", code)
		}
	}
}

func checkLog(t *testing.T, f *testFarm, r *buildReport) {
	t.Helper()
	if code, out, stderr := call(t.Context(), "logs", "-f", r.Build, "--farm", f.dir); code != exitDone || out != "building\n" {
		t.Errorf("logs: %d %q %s", code, out, stderr)
	}
}

// checkClusterAgrees holds nodes at one index to one state hash.
func checkClusterAgrees(t *testing.T, f *testFarm) {
	t.Helper()
	var c clusterReport
	f.ask(&c, "cluster", "status")
	hashes := make(map[uint64]string)
	for _, n := range c.Nodes {
		if known, ok := hashes[n.Index]; ok && known != n.StateHash {
			t.Errorf("at index %d the states differ: %+v", n.Index, c.Nodes)
		}
		hashes[n.Index] = n.StateHash
	}
	if len(c.Nodes) != 3 || c.Leader == "" || c.Term == 0 {
		t.Errorf("cluster: %+v", c)
	}
}

// What the farm cannot or will not build is refused before anything runs, and
// costs nothing.
func TestRefusalsCostNothing(t *testing.T) {
	f := newTestFarm(t, "--coordinators", "1", "--workers", "6")
	image := "sha256:" + strings.Repeat("ab", 32)
	project := t.TempDir()
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"unknown image":     {[]string{"--image", image}, "gavel image add"},
		"price":             {[]string{"--max-price", "20000"}, "does not cover"},
		"many validators":   {[]string{"--validators", "4"}, "too few independent validators"},
		"few validators":    {[]string{"--validators", "1"}, "too few independent validators"},
		"budget":            {[]string{"--budget", "1"}, "budget"},
		"a secret":          {[]string{"--env", "API_TOKEN=x"}, "carry no secrets"},
		"value beyond odds": {[]string{"--value-at-risk", "9999999"}, "too few independent validators"},
	} {
		code, _, stderr := call(t.Context(), append(append([]string{"submit", "--farm", f.dir, "--output", "out"}, c.flags...), project, "--", "true")...)
		if code != exitUsage || !strings.Contains(stderr, c.says) || !strings.Contains(stderr, "nothing is owed") {
			t.Errorf("%s: exit status %d: %s", name, code, stderr)
		}
	}
	if code, _, stderr := call(t.Context(), "status", "0123456789", "--farm", f.dir); code != exitUsage || !strings.Contains(stderr, "begins with") {
		t.Errorf("an unknown build: %d %s", code, stderr)
	}
	ledger := f.balanced()
	if a, _ := ledger.find("requester"); a.Available != 10_000_000_000 {
		t.Errorf("the requester has %d micro-credits left", a.Available)
	}
	for _, args := range [][]string{{"account", "mint", "requester", "5"}, {"account", "burn", "worker-3", "2.5"}} {
		r := new(ledgerReport)
		if f.ask(r, args...); !r.balanced() {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if code, _, stderr := call(t.Context(), "account", "grant", "requester", "1", "--farm", f.dir); code != exitUsage || !strings.Contains(stderr, "0 credits available") {
		t.Errorf("a grant from an empty treasury: %d %s", code, stderr)
	}
	if ledger := f.balanced(); ledger.Minted != 80_005_000_000 || ledger.Burned != 2_500_000 {
		t.Errorf("minted %d, burned %d", ledger.Minted, ledger.Burned)
	}
}

// One owner's farm knows no prices, and shows none.
func TestHousePool(t *testing.T) {
	f := newTestFarm(t, "--private", "--coordinators", "1", "--workers", "3")
	s := f.submit(honest)
	r := s.report(exitDone)
	if r.Verdict != "agreed" || r.Price != nil || r.Payment != nil || r.Reference != nil || r.Auctioneer != nil || len(r.Validators) != 2 {
		t.Errorf("report: %+v", r)
	}
	for _, word := range []string{"price", "payment", "reference", "auctioneer", "credit", "bid"} {
		if text := s.stdout.String() + s.stderr.String(); strings.Contains(text, word) {
			t.Errorf("%q is in what was printed: %s", word, text)
		}
	}
	if code, _, stderr := call(t.Context(), "submit", "--farm", f.dir, "--max-price", "5", "--output", "out", t.TempDir(), "--", "true"); code != exitUsage || !strings.Contains(stderr, "knows no amounts") {
		t.Errorf("a price in a house pool: %d %s", code, stderr)
	}
}
