package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
)

// small is a world with each kind of build, made once.
var small = sync.OnceValue(func() *audittest.Served {
	return must(must(audittest.New(audittest.Options{Seed: 2})).Serve())
})

// attack is a farm under change. Its leaf is where the deviation must be named,
// none by default: beside the log.
type attack struct {
	*audittest.Served
	t    testing.TB
	leaf int
	o    Options
	// after changes the directory as written.
	after func(dir string)
}

const beside = -1

// command finds the first command that does something of a type, and what.
func (x *attack) command(t build.Type, payload wire.Record, that func() bool) (entry, command int) {
	x.t.Helper()
	for i := range x.Entries {
		var batch build.Batch
		if wire.Decode(x.Entries[i].Data, &batch) != nil {
			continue
		}
		for j := range batch.Commands {
			if batch.Commands[j].Type != t || build.Code(x.Entries[i].Codes[j]) != build.Done {
				continue
			}
			check(x.t, wire.Decode(batch.Commands[j].Payload, payload))
			if that == nil || that() {
				x.leaf = x.epochOf(i)
				return i, j
			}
		}
	}
	x.t.Fatalf("no %v as it is looked for", t)
	return 0, 0
}

// epochOf is the leaf of the epoch with an entry.
func (x *attack) epochOf(entry int) int {
	index := x.Entries[entry].Index
	for leaf, item := range x.Of {
		if e := x.Items[item].Epoch; e != nil && e.First <= index && index <= e.Last {
			return leaf
		}
	}
	x.t.Fatalf("no epoch has entry %d", index)
	return 0
}

// rewrite changes a command of an entry and binds all entries anew.
func (x *attack) rewrite(entry, command int, change func(m *build.Command)) {
	x.t.Helper()
	var batch build.Batch
	check(x.t, wire.Decode(x.Entries[entry].Data, &batch))
	change(&batch.Commands[command])
	x.Entries[entry].Data = wire.Encode(&batch)
	x.redo()
}

func (x *attack) redo() {
	x.t.Helper()
	x.Rechain()
	check(x.t, x.Derive())
}

// payload changes the first command of a type by its payload.
func payload[T any, P interface {
	*T
	wire.Record
}](x *attack, t build.Type, change func(P)) {
	p := P(new(T))
	i, j := x.command(t, p, nil)
	change(p)
	x.rewrite(i, j, func(m *build.Command) { m.Payload = wire.Encode(p) })
}

// movement finds the first movement of a kind and changes its entry's record.
func (x *attack) movement(kind escrow.Kind, change func(e *raftfsm.Entry, m *escrow.Movement)) {
	x.t.Helper()
	for i := range x.Entries {
		e := &x.Entries[i]
		for j := range e.Movements {
			if e.Movements[j].Kind == kind && e.Movements[j].Amount > 0 {
				e.Movements, e.Balances = slices.Clone(e.Movements), slices.Clone(e.Balances)
				x.leaf = x.epochOf(i)
				change(e, &e.Movements[j])
				x.redo()
				return
			}
		}
	}
	x.t.Fatalf("no movement is a %v", kind)
}

// shift changes an account's balance in a record, from there on consistently.
func (x *attack) shift(e *raftfsm.Entry, account raftfsm.ID, by escrow.Credits) {
	for i := range x.Entries {
		if x.Entries[i].Index < e.Index {
			continue
		}
		x.Entries[i].Balances = slices.Clone(x.Entries[i].Balances)
		for j := range x.Entries[i].Balances {
			if b := &x.Entries[i].Balances[j]; b.Account == account {
				b.Available += by
			}
		}
	}
}

// certified finds the first certified item that a transcript fits.
func (x *attack) certified(that func(t *build.Transcript) bool) (item int, t *build.Transcript) {
	x.t.Helper()
	for i := range x.Items {
		c := x.Items[i].Certified
		if c == nil {
			continue
		}
		t := new(build.Transcript)
		check(x.t, wire.Decode(x.Transcripts[c.Transcript], t))
		if that(t) {
			x.leaf = x.lastLeaf(i)
			return i, t
		}
	}
	x.t.Fatal("no build as it is looked for")
	return 0, nil
}

// lastLeaf is the last leaf of an item.
func (x *attack) lastLeaf(item int) int {
	last := -1
	for leaf, of := range x.Of {
		if of == item {
			last = leaf
		}
	}
	return last
}

// transcript puts another transcript in the place of a build's, with its digest.
func (x *attack) transcript(that func(t *build.Transcript) bool, change func(t *build.Transcript)) {
	x.t.Helper()
	i, t := x.certified(that)
	change(t)
	raw := wire.Encode(t)
	c := x.Items[i].Certified
	old := c.Transcript
	c.Transcript = t.Digest()
	c.Certificate.Transcripts = slices.Clone(c.Certificate.Transcripts)
	for j := range c.Certificate.Transcripts {
		if c.Certificate.Transcripts[j] == old {
			c.Certificate.Transcripts[j] = c.Transcript
		}
	}
	x.Transcripts[c.Transcript] = raw
	check(x.t, x.Derive())
	x.leaf = x.lastLeaf(i)
}

func delivering(t *build.Transcript) bool { return t.Build.Delivers && t.Build.Verdict == build.Agreed }

// summary has the cluster sign another summary of one build.
func (x *attack) summary(that func(t *build.Transcript) bool, change func(s *attest.Summary)) {
	x.t.Helper()
	_, t := x.certified(that)
	x.Summarise = func(s *attest.Summary) {
		if s.Build == t.Build.ID {
			change(s)
		}
	}
	check(x.t, x.Derive())
}

// replace changes a leaf and builds the tree anew.
func (x *attack) replace(leaf int, from, to string) {
	x.t.Helper()
	x.leaf = leaf
	changed := bytes.Replace(x.Leaves[leaf], []byte(from), []byte(to), 1)
	if bytes.Equal(changed, x.Leaves[leaf]) {
		x.t.Fatalf("%q is not in leaf %d", from, leaf)
	}
	x.Leaves[leaf] = changed
}

// kindOf finds the n-th leaf of which that holds.
func (x *attack) kindOf(n int, that func(l *evidence.Leaf) bool) int {
	x.t.Helper()
	for i := range x.Leaves {
		if that(must(evidence.Read(x.Leaves[i]))) {
			if n--; n < 0 {
				return i
			}
		}
	}
	x.t.Fatal("no leaf as it is looked for")
	return 0
}

func (x *attack) isSummary(l *evidence.Leaf) bool {
	return l.Record != nil && bytes.Equal(l.Record.PKIX, x.World.ClusterKey.PKIX)
}

func (x *attack) isProvenance(l *evidence.Leaf) bool { return l.Record != nil && !x.isSummary(l) }

func isEpoch(l *evidence.Leaf) bool { return l.Epoch != nil }

func isBuild(l *evidence.Leaf) bool { return l.Build != nil }

// flip changes a byte in the middle of a served file.
func (x *attack) flip(path string) {
	x.t.Helper()
	x.after = func(dir string) {
		name := filepath.Join(dir, path)
		raw := must(os.ReadFile(name))
		raw[len(raw)/2] ^= 4
		check(x.t, os.WriteFile(name, raw, 0o644))
	}
}

func (x *attack) remove(path string) {
	x.t.Helper()
	if x.Files[path] == nil {
		x.t.Fatalf("no file %s", path)
	}
	delete(x.Files, path)
}

// run audits the farm under attack.
func (x *attack) run() *Report {
	x.t.Helper()
	dir := x.t.TempDir()
	check(x.t, x.Write(dir))
	if x.after != nil {
		x.after(dir)
	}
	return auditDir(x.t, dir, x.o)
}

// tampering is a change, and how the report must name it.
type tampering struct {
	name string
	do   func(x *attack)
	says string // in the deviation's field
	most int    // deviations that one change may make; 0 is 2
}

func (c *tampering) test(t *testing.T) {
	x := &attack{Served: small().Copy(), t: t, leaf: beside}
	c.do(x)
	r := x.run()
	found, most := false, c.most
	if most == 0 {
		most = 2
	}
	for i := range r.Deviations {
		d := &r.Deviations[i]
		at := beside
		if d.Leaf != nil {
			at = int(*d.Leaf)
		}
		found = found || at == x.leaf && strings.Contains(d.Field, c.says)
	}
	if !found || len(r.Deviations) > most {
		t.Errorf("want leaf %d %q among at most %d deviations; stopped %q", x.leaf, c.says, most, r.Stopped)
	}
	for i := range r.Deviations {
		t.Log(r.Deviations[i].String())
	}
}

// What an attacker changes who has the cluster's key and those of all
// coordinators, and makes everything else consistent with it, is found and named
// by leaf and field; a single change is a few findings.
func TestTamperingIsNamed(t *testing.T) {
	all := slices.Concat(tamperedCommands, tamperedRecords, tamperedStatements, tamperedLeaves, tamperedFiles)
	if len(all) < 50 {
		t.Errorf("%d kinds of tampering", len(all))
	}
	for _, c := range all {
		t.Run(c.name, c.test)
	}
}

// The world that is tampered with is a good one.
func TestSmallWorldIsGood(t *testing.T) {
	x := &attack{Served: small().Copy(), t: t}
	check(t, x.Derive())
	x.Rechain()
	if r := x.run(); !r.Clean() || r.Stopped != "" || r.Unpublished != 0 {
		t.Errorf("%+v", r)
	}
}
