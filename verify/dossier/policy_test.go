package dossier_test

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/dossier"
	"gavel/verify/keys"
	"gavel/verify/policy"
)

// Who asks for what only the farm's record shows, and gives none, is told what to give.
func TestPolicyNamesWhatIsWanting(t *testing.T) {
	l := books(t)
	files, dir := l.dossier(t, l.agreed(t)), t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, content, 0o644))
		return path
	}
	bundle, genesis := file("worker.sigstore.json", files.Provenances[0]), file("farm", wire.Encode(l.trust().Genesis))
	key := file("key", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: l.world.Admin.PKIX}))
	for _, c := range []struct {
		rule          string
		r             dossier.Request
		wants, spares string
	}{
		{`"transcript":true`, dossier.Request{Genesis: genesis}, "give --with DIR", "--cluster"},
		{`"log_quorum":2`, dossier.Request{Key: key}, "give --with DIR, where gavel submit saved the build's summary.sigstore.json, transcript and the rest, and --cluster ID or --genesis FILE", "--alone"},
		{`"min_validators":1`, dossier.Request{Key: key, Alone: true}, "give BUNDLE without --alone", "--genesis FILE"},
		{`"max_age":"1h"`, dossier.Request{Key: key}, "max_age", "--with"},
	} {
		c.r.Bundle, c.r.File, c.r.Policy = bundle, bundle, file("policy", []byte(`{"type":"gavel.policy/v1","simulated":true,`+c.rule+`}`))
		r, err := c.r.Check(t.Context())
		check(t, err)
		said := strings.Join(r.Failures, "; ")
		if !strings.Contains(said, c.wants) || strings.Contains(said, c.spares) {
			t.Errorf("%s: %s", c.rule, said)
		}
	}
}

// A check that waits for a pipe nobody writes to can be ended.
func TestCheckEndsWithItsContext(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(pipe, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := (&dossier.Request{Bundle: pipe, File: pipe}).Check(ctx)
	if bad := new(dossier.BadRequest); !errors.As(err, &bad) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // lets the reader go
	check(t, err)
	check(t, w.Close())
}

// A policy is held to what the check found out, whichever of the files came first.
func TestPolicies(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	for _, other := range l.built { // one between strangers
		if x := other.transcript; x.Build.Verdict == build.Agreed && other.leaves >= 4 && x.Pool.Domain == build.DomainOperator {
			b = other
			break
		}
	}
	cluster, other := keys.ID(l.world.ClusterKey.PKIX), keys.ID(l.world.Admin.PKIX)
	party := b.transcript.Build.Attempts[0].Worker
	signer, _ := b.transcript.Party(party)
	settled := time.UnixMilli(b.transcript.WallMillis)
	all := func() (*dossier.Files, *dossier.Trust) { return l.dossier(t, b), l.trust() }
	// One party's key counts, so that it alone got the result.
	full := fmt.Sprintf(`"domain_kind":"operator","images":["host"],"max_age":"1h","log_quorum":2,"transcript":true,"clusters":["%x"],"builders":["%x"],"min_operators":1`, cluster, party)
	for _, c := range []struct {
		what, rules string
		change      func(*dossier.Files, *dossier.Trust)
		breaks      string // a failure's beginning; empty for none
	}{
		{"everything", full, func(*dossier.Files, *dossier.Trust) {}, ""},
		{"as many as there are", `"min_validators":2,"min_operators":3`, func(*dossier.Files, *dossier.Trust) {}, ""},
		{"more than there are", `"min_validators":20`, func(*dossier.Files, *dossier.Trust) {}, "the policy's min_validators: 20 independent"},
		{"another cluster", fmt.Sprintf(`"clusters":["%x"]`, other), func(*dossier.Files, *dossier.Trust) {}, "the policy's clusters"},
		{"other keys", fmt.Sprintf(`"builders":["%x"]`, other), func(*dossier.Files, *dossier.Trust) {}, "the policy's builders"},
		{"another image", `"images":["sha256:` + hex.EncodeToString(other[:]) + `"]`, func(*dossier.Files, *dossier.Trust) {}, "the policy's images"},
		{"no commit", `"repositories":["https://example.org/p.git"]`, func(*dossier.Files, *dossier.Trust) {}, "the policy's repositories"},
		{"no witness", `"witnesses":1`, func(*dossier.Files, *dossier.Trust) {}, "the policy's witnesses: 1 witnesses should"},
		{"nothing published", `"expected":true`, func(*dossier.Files, *dossier.Trust) {}, "the policy's expected"},
		{"no transcript", `"transcript":true`, func(f *dossier.Files, _ *dossier.Trust) { f.Transcript = nil }, "the policy's transcript"},
		{"no log", `"log_quorum":1`, func(f *dossier.Files, _ *dossier.Trust) { f.Bundle = unlogged(t, l, b) }, "the policy's log_quorum"},
		{"a genesis taken as given", `"log_quorum":1,"clusters":["` + hex.EncodeToString(cluster[:]) + `"]`, func(_ *dossier.Files, t *dossier.Trust) { t.Pinned = false }, "the policy's log_quorum"},
		{"a farm that nobody named", ``, func(_ *dossier.Files, t *dossier.Trust) { t.Pinned = false }, "the policy was held to whatever farm"},
		{"a transcript to a group that nobody knows", `"transcript":true,"clusters":["` + hex.EncodeToString(cluster[:]) + `"]`, func(_ *dossier.Files, t *dossier.Trust) { t.Pinned, t.GroupKeys = false, nil }, "the policy's transcript"},
		{"builders by the cluster's word", fmt.Sprintf(`"builders":["%x"]`, party), func(f *dossier.Files, t *dossier.Trust) {
			f.Provenances, t.Pinned = nil, false
		}, "the policy's builders"},
		{"a provenance in the log, its summary not", `"log_quorum":1`, func(f *dossier.Files, _ *dossier.Trust) {
			f.Summary, f.Bundle = unlogged(t, l, b), f.Provenances[0]
		}, "the policy's log_quorum"},
		{"a provenance first, without the rest", fmt.Sprintf(`"builders":["%x"]`, party), func(f *dossier.Files, t *dossier.Trust) {
			f.Summary, f.Bundle, f.Provenances, f.Transcript = f.Bundle, f.Provenances[0], nil, nil
			t.Key = signer.Key
		}, ""},
		{"a builder's key that is to speak for a farm", `"min_validators":1`, func(f *dossier.Files, t *dossier.Trust) {
			f.Summary, f.Bundle = f.Bundle, f.Provenances[0]
			t.Key, t.Pinned = signer.Key, false
		}, "the policy was held to whatever farm"},
		{"a provenance first", full, func(f *dossier.Files, _ *dossier.Trust) { f.Summary, f.Bundle = f.Bundle, f.Provenances[0] }, ""},
		{"a provenance alone", `"images":["host"],"min_operators":1`, func(f *dossier.Files, t *dossier.Trust) {
			t.Key = signer.Key
			*f = dossier.Files{Artifact: f.Artifact, Bundle: f.Provenances[0], Transcript: f.Transcript}
		}, ""},
		{"a provenance alone, many wanted", `"min_validators":1`, func(f *dossier.Files, t *dossier.Trust) {
			t.Key = signer.Key
			*f = dossier.Files{Artifact: f.Artifact, Bundle: f.Provenances[0], Transcript: f.Transcript}
		}, "the policy's min_validators"},
	} {
		f, trust := all()
		c.change(f, trust)
		rules := c.rules
		if rules != "" {
			rules = "," + rules
		}
		p, err := policy.Parse([]byte(`{"type":"gavel.policy/v1","simulated":true` + rules + `}`))
		check(t, err)
		r, err := dossier.Check(f, trust)
		check(t, err)
		if !r.Verified() {
			t.Fatalf("%s: before any policy: %v", c.what, r.Failures)
		}
		r.Hold(p, settled.Add(time.Minute))
		switch {
		case c.breaks == "":
			if !r.Verified() || !said(r, r.Proven, "every rule of the policy is kept") {
				t.Errorf("%s: %v", c.what, r.Failures)
			}
		case len(r.Failures) != 1 || !strings.HasPrefix(r.Failures[0], c.breaks):
			t.Errorf("%s: %q, want one failure that begins %q", c.what, r.Failures, c.breaks)
		}
	}
	f, trust := all()
	p, err := policy.Parse([]byte(`{"type":"gavel.policy/v1","simulated":true,"max_age":"1h"}`))
	check(t, err)
	r, err := dossier.Check(f, trust)
	check(t, err)
	// This world calls itself simulated, and no policy allows that unsaid.
	strict, err := policy.Parse([]byte(`{"type":"gavel.policy/v1"}`))
	check(t, err)
	if r.Hold(strict, settled); len(r.Violations) != 1 || r.Violations[0].Rule != "simulated" {
		t.Errorf("a simulated farm: %v", r.Failures)
	}
	r.Failures = nil
	if r.Hold(p, settled.Add(2*time.Hour)); r.Verified() || len(r.Violations) != 1 || r.Violations[0].Rule != "max_age" {
		t.Errorf("two hours later: %v", r.Failures)
	}
}

// What lies beside a bundle its reader has not chosen: a pipe there is refused, not
// waited for.
func TestPipeBesideABundleIsRefused(t *testing.T) {
	l := books(t)
	files := l.dossier(t, l.agreed(t))
	for name, shown := range map[string]string{ // order does not matter: each is a case
		dossier.FileStatus: dossier.FileStatus, dossier.FileGenesis: dossier.FileGenesis, "\x1b[31m" + dossier.BundleSuffix: `\x1b[31m` + dossier.BundleSuffix,
	} {
		dir := t.TempDir()
		bundle := filepath.Join(dir, dossier.FileSummary)
		check(t, os.WriteFile(bundle, files.Bundle, 0o644))
		check(t, syscall.Mkfifo(filepath.Join(dir, name), 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := (&dossier.Request{Bundle: bundle, File: bundle}).Check(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), shown+`" is no regular file`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The first moment of all would be no date, and ask what stands now.
func TestAsOfTheFirstMomentIsRefused(t *testing.T) {
	_, err := (&dossier.Request{Bundle: "x", File: "x", AsOf: "0001-01-01T00:00:00Z"}).Check(t.Context())
	if bad := new(dossier.BadRequest); !errors.As(err, &bad) || !bad.Malformed {
		t.Errorf("got %v", err)
	}
}

// A directory may have any name: one that reads as a pattern once hid the builders'
// statements in it.
func TestDirectoryIsNoPattern(t *testing.T) {
	l := books(t)
	files := l.dossier(t, l.agreed(t))
	for _, name := range []string{"plain", "a[1]", "a[", "a*"} {
		dir := filepath.Join(t.TempDir(), name)
		check(t, os.Mkdir(dir, 0o755))
		check(t, os.WriteFile(filepath.Join(dir, dossier.FileSummary), files.Bundle, 0o644))
		for i, raw := range files.Provenances {
			check(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)+dossier.BundleSuffix), raw, 0o644))
		}
		got, _, err := dossier.Load(filepath.Join(dir, dossier.FileSummary), dir)
		if err != nil || len(got.Provenances) != len(files.Provenances) {
			t.Errorf("in %s: %v", name, err)
		}
	}
}

// Bundles beside a bundle are held in memory: as many as a directory may have, each as
// large as one may be, would fill it.
func TestBundlesBesideAreBoundedTogether(t *testing.T) {
	dir := t.TempDir()
	bundle := filepath.Join(dir, dossier.FileSummary)
	check(t, os.WriteFile(bundle, []byte("{}"), 0o644))
	for i := range 5 {
		name := filepath.Join(dir, fmt.Sprint(i)+dossier.BundleSuffix)
		check(t, os.WriteFile(name, nil, 0o644))
		check(t, os.Truncate(name, 60<<20)) // no block of it is on the disk
	}
	if _, _, err := dossier.Load(bundle, dir); err == nil || !strings.Contains(err.Error(), "bytes together") {
		t.Errorf("got %v", err)
	}
}
