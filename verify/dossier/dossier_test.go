package dossier_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/audit/audittest"
	"gavel/verify/dossier"
	"gavel/verify/evidence"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// library is a world with its log, from which dossiers are taken.
type library struct {
	world  *audittest.World
	served *audittest.Served
	log    *tlog.Log
	note   []byte
	status []byte
	group  [96]byte
	built  []*built
}

// built is a build that delivered, and where its leaves are.
type built struct {
	item       *raftfsm.CertifiedItem
	transcript *build.Transcript
	manifest   *build.Manifest
	first      uint64
	leaves     int
}

var shelves = sync.OnceValues(newLibrary)

func books(t testing.TB) *library {
	t.Helper()
	l, err := shelves()
	check(t, err)
	return l
}

func newLibrary() (*library, error) {
	w, err := audittest.New(audittest.Options{Seed: 11})
	if err != nil {
		return nil, err
	}
	l := &library{world: w}
	if l.served, err = w.Serve(); err != nil {
		return nil, err
	}
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	if l.log, err = tlog.OpenLog(dir); err != nil {
		return nil, err
	}
	for first := 0; first < len(l.served.Leaves); first += 200 {
		if _, err := l.log.Append(l.served.Leaves[first:min(first+200, len(l.served.Leaves))]); err != nil {
			return nil, err
		}
	}
	if l.note, err = l.served.Checkpoint(l.log.Size(), l.log.Root()); err != nil {
		return nil, err
	}
	for i := 0; i < len(l.served.Of); {
		item := &l.served.Items[l.served.Of[i]]
		n := 1
		for i+n < len(l.served.Of) && l.served.Of[i+n] == l.served.Of[i] {
			n++
		}
		if c := item.Certified; c != nil {
			t := new(build.Transcript)
			if err := wire.Decode(l.served.Transcripts[c.Transcript], t); err != nil {
				return nil, err
			}
			if content, _, ok := evidence.DeliveredManifest(&t.Build); ok {
				l.built = append(l.built, &built{c, t, w.Manifests[content], uint64(i), n})
				l.group = t.GroupKey
			}
		}
		i += n
	}
	l.status, err = l.statusList()
	return l, err
}

const signedUnix = 1_800_000_000

// bundle is a statement's of a build with its log entry: of provenance i, or of
// the summary.
func (l *library) bundle(t testing.TB, b *built, leaf int) []byte {
	t.Helper()
	index := b.first + uint64(leaf)
	body, err := l.log.Entry(index)
	check(t, err)
	r, err := attest.ReadLeaf(body)
	check(t, err)
	proof, err := l.log.Inclusion(index, l.log.Size())
	check(t, err)
	id, err := tlog.LogID(tlog.Origin(l.world.Cluster), l.world.ClusterKey.PKIX)
	check(t, err)
	pub, err := keys.ParsePKIX(r.PKIX)
	check(t, err)
	statement, sig := l.statement(t, b, leaf)
	raw, err := attest.AssembleLogged(statement, sig, pub, &attest.LogEntry{
		LogID: id, Index: index, Body: body, Size: l.log.Size(), Root: l.log.Root(), Proof: proof, Checkpoint: l.note,
	})
	check(t, err)
	return raw
}

func (l *library) statement(t testing.TB, b *built, leaf int) (statement, sig []byte) {
	t.Helper()
	if leaf == b.leaves-1 {
		statement, sig, err := attest.ReadEnvelope(l.served.Files[evidence.SummaryPath(b.item.Build)])
		check(t, err)
		return statement, sig
	}
	body, err := l.log.Entry(b.first + uint64(leaf))
	check(t, err)
	r, err := attest.ReadLeaf(body)
	check(t, err)
	for _, i := range evidence.Agreeing(&b.transcript.Build) {
		a := &b.transcript.Build.Attempts[i]
		if !bytes.Equal(a.Opening.Signature, r.Signature) {
			continue
		}
		statement, err := l.world.Provenance(&b.transcript.Build, a).Statement()
		check(t, err)
		return statement, r.Signature
	}
	t.Fatalf("leaf %d is nobody's", b.first+uint64(leaf))
	return nil, nil
}

// dossier is complete, with the summary as its bundle.
func (l *library) dossier(t testing.TB, b *built) *dossier.Files {
	t.Helper()
	f := &dossier.Files{
		Artifact: attest.SubjectsOf(b.manifest)[0].SHA256, Bundle: l.bundle(t, b, b.leaves-1),
		Transcript: l.served.Transcripts[b.item.Transcript], Manifest: b.manifest.Bytes(), Status: l.status,
	}
	for i := range b.leaves - 1 {
		f.Provenances = append(f.Provenances, l.bundle(t, b, i))
	}
	return f
}

func (l *library) trust() *dossier.Trust {
	return &dossier.Trust{Genesis: l.world.Genesis, Pinned: true, GroupKeys: [][96]byte{l.group}}
}

// agreed is the first build that everybody agreed on, with validators.
func (l *library) agreed(t testing.TB) *built {
	t.Helper()
	for _, b := range l.built {
		if b.transcript.Build.Verdict == build.Agreed && b.leaves >= 4 {
			return b
		}
	}
	t.Fatal("no build was agreed on")
	return nil
}

func said(r *dossier.Report, sentences []string, part string) bool {
	return strings.Contains(strings.Join(sentences, "\n"), part)
}

func TestEveryDossierVerifies(t *testing.T) {
	l := books(t)
	verdicts := map[build.State]int{}
	for _, b := range l.built {
		f := l.dossier(t, b)
		r, err := dossier.Check(f, l.trust())
		check(t, err)
		failed := strings.HasPrefix(r.Level, "FAILED")
		verdicts[b.transcript.Build.Verdict]++
		if r.Verified() == failed {
			t.Errorf("a build that was %v, at %s: verified %t: %v", b.transcript.Build.Verdict, r.Level, r.Verified(), r.Failures)
		}
		for _, part := range []string{"of the log, under a checkpoint that 3 of 3", "the file is in the result", "no withdrawal is known as of 2027-01-15T08:00:00Z"} {
			if !said(r, r.Proven, part) {
				t.Errorf("%v: it is not said to be proven: %s", b.transcript.Build.Verdict, part)
			}
		}
		if said(r, r.NotProven, "group key") || said(r, r.NotProven, "genesis") {
			t.Errorf("what the reader pinned is said to be taken as given: %q", r.NotProven)
		}
		if len(f.Provenances) > 0 { // a provenance is a dossier's bundle too
			i := len(f.Provenances) - 1
			p := *f
			p.Bundle, p.Summary = f.Provenances[i], f.Bundle
			r, err := dossier.Check(&p, l.trust())
			check(t, err)
			if r.Verified() == failed || !said(r, r.Proven, "among its inputs") {
				t.Errorf("provenance %d of a build that was %v: %v", i, b.transcript.Build.Verdict, r.Failures)
			}
		}
	}
	if verdicts[build.Agreed] == 0 || verdicts[build.Judged] == 0 || verdicts[build.Unsampled] == 0 || verdicts[build.NonDeterministic]+verdicts[build.EnvironmentDependent] == 0 {
		t.Errorf("the world has too few verdicts: %v", verdicts)
	}
}

// What is missing fails nothing and is named.
func TestWhatIsMissingIsNamed(t *testing.T) {
	l := books(t)
	for what, take := range map[string]func(*dossier.Files, *dossier.Trust){
		"transcript":           func(f *dossier.Files, _ *dossier.Trust) { f.Transcript = nil },
		"manifest":             func(f *dossier.Files, _ *dossier.Trust) { f.Manifest = nil },
		"no status list":       func(f *dossier.Files, _ *dossier.Trust) { f.Status = nil },
		"statements are not":   func(f *dossier.Files, _ *dossier.Trust) { f.Provenances = nil },
		"group key":            func(_ *dossier.Files, t *dossier.Trust) { t.GroupKeys = nil },
		"genesis is the farm":  func(_ *dossier.Files, t *dossier.Trust) { t.Pinned = false },
		"no log entry":         func(f *dossier.Files, _ *dossier.Trust) { f.Bundle = unlogged(t, l, l.agreed(t)) },
		"genesis, which says":  func(_ *dossier.Files, t *dossier.Trust) { t.Genesis, t.Key = nil, l.world.ClusterKey.PKIX },
		"between 2027-01-15T0": func(_ *dossier.Files, t *dossier.Trust) { t.AsOf = time.Unix(signedUnix+9, 0) },
		"was in the log on":    func(_ *dossier.Files, trust *dossier.Trust) { trust.AsOf = made(t, l) },
	} {
		f, trust := l.dossier(t, l.agreed(t)), l.trust()
		take(f, trust)
		r, err := dossier.Check(f, trust)
		check(t, err)
		if !r.Verified() || !said(r, r.NotProven, what) {
			t.Errorf("without it %q is not named: failures %v, not proven %q", what, r.Failures, r.NotProven)
		}
	}
}

func unlogged(t testing.TB, l *library, b *built) []byte {
	t.Helper()
	statement, sig := l.statement(t, b, b.leaves-1)
	pub, err := keys.ParsePKIX(l.world.ClusterKey.PKIX)
	check(t, err)
	raw, err := attest.Assemble(statement, sig, pub)
	check(t, err)
	return raw
}

// resigned is the summary with a change, signed by the cluster's key all the same:
// what a thief of the key can do.
func resigned(t testing.TB, l *library, b *built, change func(*attest.Summary)) []byte {
	t.Helper()
	statement, _ := l.statement(t, b, b.leaves-1)
	s, err := attest.ParseSummary(statement)
	check(t, err)
	change(s)
	statement, err = s.Statement()
	check(t, err)
	sig, err := l.world.ClusterKey.Sign(attest.Payload(statement))
	check(t, err)
	pub, err := keys.ParsePKIX(l.world.ClusterKey.PKIX)
	check(t, err)
	raw, err := attest.Assemble(statement, sig, pub)
	check(t, err)
	return raw
}

func TestWhatContradictsFails(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	var other *built
	for _, o := range l.built {
		if o != b && o.transcript.Build.Verdict == build.Agreed {
			other = o
		}
	}
	event := func(leaf uint64, raw []byte, err error) []byte {
		check(t, err)
		status, err := l.statusList(evidence.Event{Leaf: leaf, Entry: raw})
		check(t, err)
		return status
	}
	withdrawal := func(wallMillis int64) []byte {
		raw, err := evidence.WithdrawalLeaf(&raftfsm.WithdrawalItem{Withdrawal: raftfsm.Withdrawal{Build: b.item.Build, WallMillis: wallMillis}, Reason: "refuted"})
		return event(l.log.Size()-1, raw, err)
	}
	revocation := func(leaf uint64, key []byte) []byte {
		raw, err := evidence.KeyLeaf(&raftfsm.KeyItem{Role: "worker", KeyEvent: raftfsm.KeyEvent{OldKey: key, Revoked: true, Reason: "stolen", WallMillis: 1_790_000_500_000}})
		return event(leaf, raw, err)
	}
	replacement := func(leaf uint64) []byte {
		raw, err := evidence.KeyLeaf(&raftfsm.KeyItem{Role: raftfsm.RoleCluster, KeyEvent: raftfsm.KeyEvent{OldKey: l.world.ClusterKey.PKIX, NewKey: l.world.Admin.PKIX, WallMillis: 1_790_000_500_000}})
		return event(leaf, raw, err)
	}
	at := func(unix int64) func(*dossier.Files, *dossier.Trust) {
		return func(f *dossier.Files, t *dossier.Trust) {
			f.Status, t.AsOf = withdrawal(1_795_000_000_000), time.Unix(unix, 0)
		}
	}
	oneCosigner := func() []byte {
		note, err := tlog.SignCheckpoint(tlog.Checkpoint{Origin: tlog.Origin(l.world.Cluster), Size: l.log.Size(), Root: l.log.Root()}, l.world.ClusterKey.Sign, l.world.ClusterKey.PKIX)
		check(t, err)
		line, err := tlog.Cosign(note, tlog.CosignerName(tlog.Origin(l.world.Cluster), l.world.Coordinators[0].Name), signedUnix, l.world.Coordinators[0].Sign, l.world.Coordinators[0].PKIX)
		check(t, err)
		note, err = tlog.AddSignatures(note, line)
		check(t, err)
		return note
	}
	for _, x := range []struct {
		want   string // in the failures; empty: it still verifies
		change func(*dossier.Files, *dossier.Trust)
	}{
		{"no subject has SHA-256", func(f *dossier.Files, _ *dossier.Trust) { f.Artifact[0] ^= 1 }},
		{"signed by", func(_ *dossier.Files, t *dossier.Trust) { t.Key = l.world.Admin.PKIX }},
		{"checkpoint that goes with", func(f *dossier.Files, _ *dossier.Trust) {
			saved := l.note
			l.note = oneCosigner()
			f.Bundle = l.bundle(t, b, b.leaves-1)
			l.note = saved
		}},
		{"log's proof", func(f *dossier.Files, _ *dossier.Trust) { f.Bundle = wrongProof(t, l, b) }},
		{"transcript", func(f *dossier.Files, _ *dossier.Trust) {
			f.Transcript = l.served.Transcripts[other.item.Transcript]
		}},
		{"transcript", func(f *dossier.Files, _ *dossier.Trust) {
			f.Transcript = bytes.Clone(f.Transcript)
			f.Transcript[len(f.Transcript)/2] ^= 4
		}},
		{"manifest", func(f *dossier.Files, _ *dossier.Trust) { f.Manifest = other.manifest.Bytes() }},
		{"manifest", func(f *dossier.Files, _ *dossier.Trust) { f.Manifest = f.Manifest[1:] }},
		{"status list", func(f *dossier.Files, _ *dossier.Trust) { f.Status = f.Status[:len(f.Status)-2] }},
		{"transcript", func(_ *dossier.Files, t *dossier.Trust) { t.GroupKeys[0] = otherGroup }},
		{"among its inputs", func(f *dossier.Files, _ *dossier.Trust) {
			f.Summary = resigned(t, l, b, func(s *attest.Summary) { s.Inputs = s.Inputs[1:] })
			f.Bundle = f.Provenances[0]
		}},
		{"otherwise than the transcript in Validators", func(f *dossier.Files, _ *dossier.Trust) {
			f.Bundle = resigned(t, l, b, func(s *attest.Summary) { s.Validators++ })
		}},
		{"otherwise than the transcript in Agreed", func(f *dossier.Files, _ *dossier.Trust) {
			f.Bundle = resigned(t, l, b, func(s *attest.Summary) {
				s.Agreed = append(s.Agreed, attest.Agreement{Domain: "operator-99", Operator: "operator-99"})
			})
		}},
		{"otherwise than the transcript in Simulated", func(f *dossier.Files, _ *dossier.Trust) {
			f.Bundle = resigned(t, l, b, func(s *attest.Summary) { s.Simulated = false })
		}},
		{"otherwise than the transcript in Subjects", func(f *dossier.Files, _ *dossier.Trust) {
			f.Bundle = resigned(t, l, b, func(s *attest.Summary) { s.Subjects[0].SHA256 = sha256.Sum256([]byte("mine")) })
			f.Artifact = sha256.Sum256([]byte("mine"))
		}},
		{"withdrawn on", func(f *dossier.Files, _ *dossier.Trust) { f.Status = withdrawal(1_790_000_900_000) }},
		{"", at(1_794_000_000)}, // withdrawn only later
		{"withdrawn on", at(1_796_000_000)},
		{"key that signed the bundle was revoked", func(f *dossier.Files, _ *dossier.Trust) {
			f.Status, f.Summary, f.Bundle = revocation(b.first-1, signerOf(t, l, b, 0)), f.Bundle, f.Provenances[0]
		}},
		{"", func(f *dossier.Files, _ *dossier.Trust) { // after it was logged
			f.Status, f.Summary, f.Bundle = revocation(b.first+uint64(b.leaves), signerOf(t, l, b, 0)), f.Bundle, f.Provenances[0]
		}},
		{"key that signed the bundle was replaced", func(f *dossier.Files, _ *dossier.Trust) {
			f.Status = replacement(b.first - 1)
		}},
		{"", func(f *dossier.Files, _ *dossier.Trust) { f.Status = replacement(b.first + uint64(b.leaves)) }},
		{"", func(f *dossier.Files, t *dossier.Trust) { // before, but after the date asked for
			f.Status, f.Summary, f.Bundle = revocation(b.first-1, signerOf(nil, l, b, 0)), f.Bundle, f.Provenances[0]
			t.AsOf = time.Unix(1_790_000_499, 0)
		}},
	} {
		f, trust := l.dossier(t, b), l.trust()
		x.change(f, trust)
		r, err := dossier.Check(f, trust)
		check(t, err)
		if x.want == "" && !r.Verified() || x.want != "" && !said(r, r.Failures, x.want) {
			t.Errorf("want failure %q, got %q", x.want, r.Failures)
		}
	}
}

// otherGroup is another group's key: the generator of G2, compressed.
var otherGroup = func() (k [96]byte) {
	raw, err := hex.DecodeString("93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e" +
		"024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8")
	if err != nil {
		panic(err)
	}
	return [96]byte(raw)
}()

func signerOf(t testing.TB, l *library, b *built, leaf int) []byte {
	body, err := l.log.Entry(b.first + uint64(leaf))
	if err != nil {
		panic(err)
	}
	r, err := attest.ReadLeaf(body)
	if err != nil {
		panic(err)
	}
	return r.PKIX
}

func wrongProof(t testing.TB, l *library, b *built) []byte {
	t.Helper()
	raw := l.bundle(t, b, b.leaves-1)
	proof, err := l.log.Inclusion(b.first+uint64(b.leaves-1), l.log.Size())
	check(t, err)
	old := base64Of(proof[0][:])
	proof[0][5] ^= 1
	return bytes.Replace(raw, []byte(old), []byte(base64Of(proof[0][:])), 1)
}

func TestNobodysWord(t *testing.T) {
	l := books(t)
	if _, err := dossier.Check(l.dossier(t, l.agreed(t)), &dossier.Trust{}); !errors.Is(err, dossier.ErrUnusable) {
		t.Errorf("got %v, want %v", err, dossier.ErrUnusable)
	}
	f := l.dossier(t, l.agreed(t))
	f.Bundle = []byte("{}")
	if _, err := dossier.Check(f, l.trust()); !errors.Is(err, dossier.ErrUnusable) {
		t.Errorf("got %v, want %v", err, dossier.ErrUnusable)
	}
}

// No byte of a bundle can be changed such that more is proven: it fails, or proves
// what it proved before, or less.
func TestChangedBytes(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	good, err := dossier.Check(l.dossier(t, b), l.trust())
	check(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		f := l.dossier(t, b)
		f.Bundle = bytes.Clone(f.Bundle)
		f.Bundle[rng.IntN(len(f.Bundle))] ^= 1 << rng.IntN(8)
		r, err := dossier.Check(f, l.trust())
		if err != nil || !r.Verified() {
			continue
		}
		for _, sentence := range r.Proven {
			if r.Log != nil { // a name on the checkpoint may have been lost
				sentence = strings.Replace(sentence, fmt.Sprintf("that %d of 3 coordinators", len(r.Log.Cosigners)), "that 3 of 3 coordinators", 1)
			}
			if !slices.Contains(good.Proven, sentence) {
				t.Fatalf("a changed bundle proves more: %s", sentence)
			}
		}
	}
}

func FuzzCheck(f *testing.F) {
	l := books(f)
	b := l.agreed(f)
	good := l.dossier(f, b)
	report, err := dossier.Check(good, l.trust())
	check(f, err)
	f.Add(good.Bundle, good.Transcript, good.Manifest, good.Status)
	f.Add(good.Provenances[0], good.Transcript, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, bundle, transcript, manifest, status []byte) {
		files := *good
		files.Bundle, files.Transcript, files.Manifest, files.Status = bundle, transcript, manifest, status
		r, err := dossier.Check(&files, l.trust())
		if err == nil && r.Verified() && (r.SHA256 != report.SHA256 || r.Level != "" && r.Level != report.Level) {
			t.Fatalf("verified otherwise:\n%s", r)
		}
	})
}
