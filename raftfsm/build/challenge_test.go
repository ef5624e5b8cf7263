package build

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"gavel/raftfsm/wire"
)

// naiveContest compares every pair, in the words of docs/PROTOCOL.md.
func naiveContest(old ID, panel []ID, killed map[ID]bool) (State, ID) {
	for _, d := range panel {
		same := 0
		for _, o := range panel {
			if o == d {
				same++
			}
		}
		switch {
		case len(panel) < 3 || 3*same < 2*len(panel):
		case d == old:
			return Upheld, d
		case !killed[d]:
			return Refuted, d
		}
	}
	return Undecided, ID{}
}

func TestJudgeContestAgainstOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	seen := map[State]int{}
	for range 100_000 {
		kinds := 1 + rng.IntN(5)
		panel := make([]ID, rng.IntN(9))
		killed := map[ID]bool{}
		for i := range panel {
			panel[i] = fill(byte(rng.IntN(kinds)))
			killed[panel[i]] = panel[i][0] == 3
		}
		old := fill(byte(rng.IntN(kinds + 1)))
		verdict, found := JudgeContest(old, panel, killed)
		wantVerdict, wantFound := naiveContest(old, panel, killed)
		if verdict != wantVerdict || found != wantFound {
			t.Fatalf("old %x, panel %x: %v %x, want %v %x", old[:1], panel, verdict, found[:1], wantVerdict, wantFound[:1])
		}
		rng.Shuffle(len(panel), func(i, j int) { panel[i], panel[j] = panel[j], panel[i] })
		if again, _ := JudgeContest(old, panel, killed); again != verdict {
			t.Fatalf("the order of the panel matters")
		}
		seen[verdict]++
	}
	for _, v := range []State{Upheld, Refuted, Undecided} {
		if seen[v] == 0 {
			t.Errorf("%v was never reached", v)
		}
	}
}

func sampleTranscript() *Transcript {
	opened := func(worker byte, domain string) Attempt {
		return Attempt{Worker: fill(worker), Domain: domain, Class: "linux/" + domain, State: AttemptOpened, Opening: Opening{Summary: sampleManifest().Summarise()}}
	}
	b := Build{ID: fill(1), Requester: fill(2), Terms: sampleTerms(), State: Settled, Verdict: Agreed, Delivers: true, Attempts: []Attempt{opened(4, "b"), opened(5, "a"), opened(6, "b")}}
	b.Delivered = b.Attempts[0].Result()
	return &Transcript{Cluster: fill(3), GroupKey: [96]byte{1, 95: 2}, Params: DefaultParams(), Pool: everyPool()[0], Parties: []Party{{ID: fill(2), Key: []byte{9}}}, Build: b}
}

// A transcript is named by its claim and the hash of the rest, and its claim says
// nothing that is not in it.
func TestClaim(t *testing.T) {
	tr := sampleTranscript()
	raw := wire.Encode(tr)
	claim, rest, ok := SplitTranscript(raw)
	if !ok || ClaimedTranscript(claim, rest) != tr.Digest() || tr.Digest() != TranscriptDigest(raw) {
		t.Fatal("the parts do not make the digest")
	}
	var m Claim
	if err := wire.Decode(claim, &m); err != nil {
		t.Fatal(err)
	}
	if m.Build != fill(1) || m.Requester != fill(2) || m.Result != tr.Build.Delivered || !slices.Equal(m.Took, []string{"a", "b"}) || !slices.Equal(m.Classes, []string{"linux/a", "linux/b"}) {
		t.Errorf("the claim is %+v", m)
	}
	if got, err := ReadTranscript(raw, tr.Digest()); err != nil || !bytes.Equal(wire.Encode(got), raw) {
		t.Errorf("reading it back: %v", err)
	}
	for i := range raw { // any other byte is another name, and a claim that was changed is refused besides
		other := bytes.Clone(raw)
		other[i] ^= 1
		if TranscriptDigest(other) == tr.Digest() {
			t.Fatalf("byte %d is not bound by the digest", i)
		}
		if i >= claimHead && i < claimHead+len(claim) {
			if _, err := ReadTranscript(other, TranscriptDigest(other)); err == nil {
				t.Fatalf("byte %d of the claim can be changed", i)
			}
		}
	}
	for n := range raw {
		if TranscriptDigest(raw[:n]) == tr.Digest() {
			t.Fatalf("%d of %d bytes have the same digest", n, len(raw))
		}
	}
}

func FuzzTranscript(f *testing.F) {
	f.Add(wire.Encode(sampleTranscript()))
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		digest := TranscriptDigest(raw)
		tr, err := ReadTranscript(raw, digest)
		if err != nil {
			return
		}
		if again := wire.Encode(tr); !bytes.Equal(again, raw) || tr.Digest() != digest {
			t.Errorf("decoded %x, encoded %x", raw, again)
		}
	})
}

// What can be put to a panel, and what cannot.
func TestChallengeable(t *testing.T) {
	claim := sampleTranscript().Claim()
	if out := claim.Challengeable(); out.Code != Done {
		t.Errorf("refused: %s", out.Detail)
	}
	for name, change := range map[string]func(*Claim){
		"delivers nothing": func(m *Claim) { m.Delivers = false },
		"labelled":         func(m *Claim) { m.Verdict = EnvironmentDependent },
		"a challenge":      func(m *Claim) { m.Verdict = Upheld },
		"no validators":    func(m *Claim) { m.Validators = 0 },
		"many validators":  func(m *Claim) { m.Validators = MaxSeats + 1 },
		"no time":          func(m *Claim) { m.TimeoutMillis = 0 },
	} {
		m := claim
		change(&m)
		if m.Challengeable().Code == Done {
			t.Errorf("%s: taken", name)
		}
	}
}

// A record's stake is repeated in its claim, whose coder holds amounts to their
// range: one beyond it once made reading a transcript panic.
func TestTranscriptOfAnImpossibleStake(t *testing.T) {
	tr := sampleTranscript()
	tr.Build.Stake = 1 << 50
	raw := wire.Encode(tr)
	at := bytes.LastIndex(raw, []byte{0, 4, 0, 0, 0, 0, 0, 0})
	if bytes.Count(raw, raw[at:at+8]) != 2 {
		t.Fatal("the stake stands elsewhere than in claim and record")
	}
	raw[at] = 0x60
	if _, err := ReadTranscript(raw, TranscriptDigest(raw)); err == nil {
		t.Error("taken")
	}
}
