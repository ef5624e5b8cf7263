package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// tamperedStatements change what is said of a build, signed anew by the cluster.
var tamperedStatements = []tampering{
	{"a winner", func(x *attack) {
		x.transcript(delivering, func(t *build.Transcript) {
			t.Build.Attempts[0].Worker, t.Build.Attempts[1].Worker = t.Build.Attempts[1].Worker, t.Build.Attempts[0].Worker
		})
	}, "ranscript", 8},
	{"a validator set", func(x *attack) {
		x.transcript(func(t *build.Transcript) bool { return delivering(t) && len(t.Build.Names) > 3 }, func(t *build.Transcript) {
			n := t.Build.Names
			n[0], n[3] = n[3], n[0]
		})
	}, "ranscript", 8},
	{"a verdict without a result", func(x *attack) {
		x.transcript(func(t *build.Transcript) bool { return t.Build.Verdict == build.Unverified }, func(t *build.Transcript) { t.Build.Verdict = build.Expired })
	}, "ranscript", 8},
	{"a payment in a transcript", func(x *attack) {
		x.transcript(delivering, func(t *build.Transcript) { t.Build.Payment++ })
	}, "ranscript", 8},
	{"a summary's verdict", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.Verdict = build.Judged }) }, "gavel_verdict", 0},
	{"a summary's level", func(x *attack) {
		x.summary(delivering, func(s *attest.Summary) { s.Agreed = s.Agreed[:len(s.Agreed)-1] })
	}, "verifiedLevels", 8},
	{"a summary's number of domains", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.Domains++ }) }, "gavel_domains", 0},
	{"a summary's validators", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.Validators++ }) }, "gavel_validators", 0},
	{"a summary's kind of domain", func(x *attack) {
		x.summary(delivering, func(s *attest.Summary) { s.DomainKind = 3 - s.DomainKind })
	}, "gavel_domain_kind", 0},
	{"the simulated flag off", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.Simulated = false }) }, "gavel_simulated", 0},
	{"an expected digest that was met", func(x *attack) {
		x.summary(func(t *build.Transcript) bool { return len(t.Build.Terms.Expect) > 0 }, func(s *attest.Summary) { s.Expected[1].Match = true })
	}, "gavel_expected", 0},
	{"a subject's digest", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.Subjects[0].SHA256[0] ^= 1 }) }, "subject", 0},
	{"a draw in a summary", func(x *attack) {
		x.summary(delivering, func(s *attest.Summary) { s.Draws = slices.Clone(s.Draws); s.Draws[0].Signature[1] ^= 1 })
	}, "gavel_draws", 0},
	{"a certificate in a summary", func(x *attack) {
		x.summary(delivering, func(s *attest.Summary) { s.Certificate.Signature[5] ^= 1 })
	}, "gavel_certificate", 0},
	{"a summary's policy", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.PolicySHA256[0] ^= 1 }) }, "policy", 0},
	{"a summary's time", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.WallMillis += 3_600_000 }) }, "timeVerified", 0},
	{"a party left out of a summary", func(x *attack) {
		x.summary(delivering, func(s *attest.Summary) {
			s.LeftOut = []attest.LeftOut{{Worker: s.Agreed[0].Worker, Why: evidence.WhyForged}}
		})
	}, "inputAttestations", 0},
	{"an input left out of a summary", func(x *attack) { x.summary(delivering, func(s *attest.Summary) { s.Inputs = s.Inputs[1:] }) }, "inputAttestations", 0},
	{"why a party was left out", func(x *attack) {
		x.summary(func(t *build.Transcript) bool { return leavesOut(x, t) }, func(s *attest.Summary) { s.LeftOut[0].Why = evidence.WhyUnsigned })
	}, "gavel_left_out", 0},
}

// leavesOut says whether a build's summary leaves somebody out.
func leavesOut(x *attack, t *build.Transcript) bool {
	statement, _, err := attest.ReadEnvelope(x.Files[evidence.SummaryPath(t.Build.ID)])
	return err == nil && len(must(attest.ParseSummary(statement)).LeftOut) > 0
}

// tamperedLeaves change the log itself, whose tree is then built anew and signed.
var tamperedLeaves = []tampering{
	{"a provenance dropped", func(x *attack) { x.drop(x.kindOf(7, x.isProvenance)) }, "leaf", 0},
	{"a summary dropped", func(x *attack) { x.drop(x.kindOf(7, x.isSummary)) }, "leaf", 0},
	{"a build without a result dropped", func(x *attack) { x.drop(x.kindOf(1, isBuild)) }, "leaf", 0},
	{"an epoch dropped", func(x *attack) { x.drop(x.kindOf(3, isEpoch)) }, "leaf", 0},
	{"two provenances swapped", func(x *attack) { x.swap(x.kindOf(7, x.isProvenance), x.kindOf(8, x.isProvenance)) }, "order", 0},
	{"two summaries swapped", func(x *attack) { x.swap(x.kindOf(3, x.isSummary), x.kindOf(4, x.isSummary)) }, "order", 4},
	{"two epochs swapped", func(x *attack) { x.swap(x.kindOf(3, isEpoch), x.kindOf(4, isEpoch)) }, "order", 8},
	{"a summary repeated", func(x *attack) { x.insert(x.kindOf(7, x.isSummary)+1, x.kindOf(7, x.isSummary)) }, "leaf", 0},
	{"an epoch repeated", func(x *attack) { x.insert(x.kindOf(4, isEpoch)+1, x.kindOf(4, isEpoch)) }, "leaf", 0},
	{"an old provenance repeated", func(x *attack) { x.insert(x.kindOf(5, isEpoch)+1, x.kindOf(1, x.isProvenance)) }, "leaf", 0},
	{"something else in between", func(x *attack) {
		x.leaf = 9
		x.Leaves = slices.Insert(x.Leaves, 9, []byte(`{"type":"gavel.gift/v1"}`))
	}, "leaf", 0},
	{"a provenance of somebody else's", func(x *attack) {
		n := x.kindOf(7, x.isProvenance)
		x.Leaves[n], x.leaf = x.Leaves[x.kindOf(20, x.isProvenance)], n
	}, "leaf", 3},
	{"an epoch's state", func(x *attack) { x.digit(x.kindOf(2, isEpoch), `"state":"`) }, "state", 0},
	{"an epoch's chain", func(x *attack) { x.digit(x.kindOf(2, isEpoch), `"chain":"`) }, "chain", 0},
	{"an epoch's farm time", func(x *attack) { x.digit(x.kindOf(2, isEpoch), `"farm_millis":"`) }, "farm_millis", 0},
	{"an epoch's number", func(x *attack) { x.replace(x.kindOf(2, isEpoch), `"number":"3"`, `"number":"70000"`) }, "number", 0},
	{"a verdict's leaf", func(x *attack) {
		n := x.kindOf(0, func(l *evidence.Leaf) bool { return l.Build != nil && l.Build.Verdict == "cancelled" })
		x.replace(n, `"cancelled"`, `"expired"`)
	}, "verdict", 0},
	{"a certificate's leaf", func(x *attack) { x.digit(x.kindOf(1, isBuild), `"signature":"`) }, "certificate.signature", 0},
	{"a last leaf cut off", func(x *attack) {
		x.since()
		x.Leaves = x.Leaves[:len(x.Leaves)-1]
	}, "before size", 0},
	{"another checkpoint of as many leaves", func(x *attack) {
		x.since()
		x.Leaves[len(x.Leaves)-1] = x.Leaves[0]
	}, "before root", 4},
}

func (x *attack) drop(n int) { x.leaf = n; x.Leaves = slices.Delete(x.Leaves, n, n+1) }

func (x *attack) swap(a, b int) { x.leaf = a; x.Leaves[a], x.Leaves[b] = x.Leaves[b], x.Leaves[a] }

func (x *attack) insert(at, what int) {
	x.leaf = at
	x.Leaves = slices.Insert(x.Leaves, at, x.Leaves[what])
}

// digit changes the first digit of a field.
func (x *attack) digit(leaf int, field string) {
	x.t.Helper()
	_, rest, _ := strings.Cut(string(x.Leaves[leaf]), field)
	digit := "1"
	if rest[:1] == digit {
		digit = "2"
	}
	x.replace(leaf, field+rest[:1], field+digit)
}

// since pins the checkpoint as it is before the change.
func (x *attack) since() {
	x.t.Helper()
	l := must(tlog.OpenLog(x.t.TempDir()))
	must(l.Append(x.Leaves))
	x.o.Since = []Note{{"before", must(x.Checkpoint(l.Size(), l.Root()))}}
}

// tamperedFiles change files as they lie there.
var tamperedFiles = []tampering{
	{"a tile", func(x *attack) {
		path := tlog.Paths(uint64(len(x.Leaves)))[1]
		if !strings.HasPrefix(path, "tile/0/") {
			path = tlog.Paths(uint64(len(x.Leaves)))[2]
		}
		x.flip(path)
		x.leaf = min(256, len(x.Leaves)) / 2
	}, "tile/0/000", 0},
	{"an entry", func(x *attack) {
		x.after = func(dir string) {
			name := filepath.Join(dir, tlog.Paths(uint64(len(x.Leaves)))[0])
			raw := must(os.ReadFile(name))
			raw[40] ^= 4
			check(x.t, os.WriteFile(name, raw, 0o644))
		}
		x.leaf = 0
	}, "tile/entries/000", 3},
	{"a checkpoint's root", func(x *attack) {
		x.after = func(dir string) {
			name := filepath.Join(dir, "checkpoint")
			lines := strings.Split(string(must(os.ReadFile(name))), "\n")
			lines[2] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
			check(x.t, os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o644))
		}
	}, "checkpoint", 0},
	{"a checkpoint without a majority", func(x *attack) {
		x.after = func(dir string) {
			name := filepath.Join(dir, "checkpoint")
			lines := strings.SplitAfter(string(must(os.ReadFile(name))), "\n")
			check(x.t, os.WriteFile(name, []byte(strings.Join(lines[:6], "")), 0o644))
		}
	}, "checkpoint", 0},
	{"a transcript", func(x *attack) {
		i, _ := x.certified(delivering)
		x.flip(evidence.TranscriptPath(x.Items[i].Certified.Transcript))
	}, "transcript/", 0},
	{"a manifest", func(x *attack) {
		_, t := x.certified(delivering)
		content, _, _ := evidence.DeliveredManifest(&t.Build)
		x.flip(evidence.ManifestPath(content))
	}, "manifest/", 0},
	{"a summary's envelope", func(x *attack) {
		_, t := x.certified(delivering)
		x.flip(evidence.SummaryPath(t.Build.ID))
	}, "vsa/", 0},
	{"an epoch's entries", func(x *attack) { x.leaf = x.kindOf(2, isEpoch); x.flip(evidence.EpochPath(3)) }, "", 3},
	{"genesis", func(x *attack) {
		g := *x.Genesis
		g.Params.ValidatorFee++
		x.Files[evidence.GenesisPath] = wire.Encode(&g)
	}, "genesis", 0},
	{"a genesis that another admin signed", func(x *attack) {
		cluster := x.Genesis.Digest()
		x.o.Cluster = &cluster
		g := *x.Genesis
		g.AdminKey = x.World.Requesters[0].PKIX
		check(x.t, g.Sign(x.World.Requesters[0].Sign))
		x.Files[evidence.GenesisPath] = wire.Encode(&g)
	}, "genesis digest", 0},
	{"the trusted root", func(x *attack) { x.flip(evidence.TrustedRootPath) }, "trusted_root.json", 0},
	{"a transcript missing", func(x *attack) {
		i, _ := x.certified(func(t *build.Transcript) bool { return t.Build.Verdict == build.Cancelled })
		x.remove(evidence.TranscriptPath(x.Items[i].Certified.Transcript))
	}, "transcript/", 0},
	{"a manifest missing", func(x *attack) {
		_, t := x.certified(delivering)
		content, _, _ := evidence.DeliveredManifest(&t.Build)
		x.remove(evidence.ManifestPath(content))
	}, "manifest/", 0},
	{"a summary missing", func(x *attack) {
		_, t := x.certified(delivering)
		x.remove(evidence.SummaryPath(t.Build.ID))
	}, "vsa/", 0},
	{"an epoch missing", func(x *attack) { x.leaf = x.kindOf(2, isEpoch); x.remove(evidence.EpochPath(3)) }, "epoch/3", 0},
	{"a file that nothing calls for", func(x *attack) { x.Files["notes.txt"] = []byte("hello") }, "notes.txt", 0},
	{"a transcript that nothing calls for", func(x *attack) { x.Files["transcript/"+strings.Repeat("ab", 32)] = []byte("hello") }, "transcript/abab", 0},
	{"an epoch that nothing calls for", func(x *attack) { x.Files["epoch/999"] = []byte{0, 0, 0, 0} }, "epoch/999", 0},
	{"a status list", func(x *attack) { x.flip(evidence.StatusPath) }, "status.json", 0},
	{"a command that its sender has a receipt for", func(x *attack) {
		x.o.Receipts = []*Receipt{x.receipt(true)}
	}, "receipt", 0},
	{"an outcome that its sender has a receipt for", func(x *attack) {
		r := x.receipt(false)
		r.Code = uint32(build.CodeFunds)
		r.Signature = must(x.World.Coordinators[0].Sign(r.signed(x.Genesis.Digest())))
		x.o.Receipts = []*Receipt{r}
	}, "receipt", 0},
}

// receipt is a coordinator's for a command of the log, or for one that it omits.
func (x *attack) receipt(omitted bool) *Receipt {
	x.t.Helper()
	i, j := x.command(build.TypeSubmit, new(build.Submit), nil)
	var batch build.Batch
	check(x.t, wire.Decode(x.Entries[i].Data, &batch))
	m := batch.Commands[j]
	if omitted {
		m.Request[0] ^= 1
	}
	c := x.World.Coordinators[0]
	r := &Receipt{Name: "mine", CommandDigest: build.AccountID(wire.Encode(&m)), Index: x.Entries[i].Index, Coordinator: c.ID}
	r.Signature = must(c.Sign(r.signed(x.Genesis.Digest())))
	return r
}
