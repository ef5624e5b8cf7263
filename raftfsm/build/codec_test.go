package build

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors.json")

const vectorsFile = "../../testdata/vectors.json"

// sampleTerms and the others are the vectors' inputs: plain, but with every field set.
func sampleTerms() Terms {
	return Terms{
		Pool: "default", ActionDigest: fill(1), ActionBytes: 142, Platform: "host", TimeoutMillis: 600_000, InputBytes: 4096,
		Reserve: 10_000_000, Value: auction.Constant(10_000_000), Budget: 21_100_000, Priority: 5, Validators: 2,
		SamplePPM: 1_000_000, ValueAtRisk: 7, DeadlineMillis: 3_600_000, LogKey: fill(2),
	}
}

func sampleManifest() *Manifest {
	m := &Manifest{Status: StatusExited, ExitCode: 3, Outputs: []Output{
		{Path: "bin", Type: OutputDir},
		{Path: "bin/app", Type: OutputFile, Executable: true, Digest: fill(9), Size: 12},
		{Path: "bin/link", Type: OutputSymlink, Target: "app"},
	}}
	m.Sort()
	return m
}

func fill(b byte) (id ID) {
	for i := range id {
		id[i] = b
	}
	return id
}

type vector struct{ Name, Hex string }

func vectors() []vector {
	terms := sampleTerms()
	m := sampleManifest()
	s := m.Summarise()
	cmd := Command{Version: Version, Type: TypeSubmit, Request: [16]byte{7}, Sender: fill(3), ValidUntilMillis: 60_000, Payload: wire.Encode(&Submit{terms})}
	id := func(x ID) string { return hex.EncodeToString(x[:]) }
	return []vector{
		{"terms", hex.EncodeToString(wire.Encode(&terms))},
		{"build id: cluster 03…, requester 04…, request 07 00…", id(BuildID(fill(3), fill(4), [16]byte{7}, &terms))},
		{"auction id: build 05…, number 2", id(AuctionID(fill(5), 2))},
		{"bid: cluster 03…, auction 05…, worker 06…, price 1500000, finish 1200, no result, nonce 08…", id(BidCommitment(fill(3), fill(5), fill(6), 1_500_000, 1200, ID{}, fill(8)))},
		{"manifest", hex.EncodeToString(m.Bytes())},
		{"shape", id(m.Shape())},
		{"result", id(s.Digest())},
		{"commit: cluster 03…, the result, worker 06…, build 05…, nonce 08…", id(Commitment(fill(3), s.Digest(), fill(6), fill(5), fill(8)))},
		{"findings: nonce 08…, depends, hostname and clock tried, clock broke", id(Findings{FindDepends, VaryHostname | VaryClock, VaryClock}.Blind(fill(8)))},
		{"measured: nonce 08…, no findings, from 1000 to 3500 ms", id((&Opening{Nonce: fill(8), StartedWallMillis: 1_000, FinishedWallMillis: 3_500}).blind())},
		{"lease: build 05…, worker 06…, ordinal 1", id(LeaseID(fill(5), fill(6), 1))},
		{"escrow: build 05…", id(EscrowID(fill(5)))},
		{"command", hex.EncodeToString(wire.Encode(&cmd))},
		{"command, signing bytes: cluster 03…", hex.EncodeToString(cmd.SigningBytes(fill(3)))},
		{"stored: cluster 03…, build 05…, lease 06…, digest 07…", hex.EncodeToString(VouchBytes(TypeStored, fill(3), fill(5), fill(6), fill(7)))},
		{"transfer: cluster 03…, build 05…, round 1, price, 06… to 07…", id(ID(escrow.TransferIDOf(fill(3), fill(5), 1, "price", fill(6), fill(7))))},
		{"rotate: cluster 03…, account 05…, old key 06…, new key 07…", hex.EncodeToString(RotationBytes(fill(3), fill(5), fill(6), fill(7)))},
		{"challenge: cluster 03…, challenger 04…, request 07 00…, transcript 05…", id(ChallengeID(fill(3), fill(4), [16]byte{7}, fill(5)))},
		{"transcript: claim 01 02, rest 05…", id(ClaimedTranscript([]byte{1, 2}, fill(5)))},
		{"lodge info: cluster 03…, build 05…, lease 06…, commitment 07…", hex.EncodeToString(LodgeInfo(fill(3), fill(5), fill(6), fill(7)))},
	}
}

// The vectors of docs/PROTOCOL.md: a change of any encoding is a new protocol.
func TestVectors(t *testing.T) {
	got, err := json.MarshalIndent(vectors(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encodings differ from testdata/vectors.json:\n%s", got)
	}
}

// roundTrip decodes fuzzed bytes and, if they are taken, wants the same bytes back.
func roundTrip(t *testing.T, raw []byte, r wire.Record) {
	if wire.Decode(raw, r) != nil {
		return
	}
	if again := wire.Encode(r); !bytes.Equal(again, raw) {
		t.Errorf("%T: decoded %x, encoded %x", r, raw, again)
	}
}

func FuzzCommand(f *testing.F) {
	terms := sampleTerms()
	f.Add(wire.Encode(&Command{Version: 1, Type: TypeSubmit, Payload: wire.Encode(&Submit{terms})}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		roundTrip(t, raw, &Command{})
		roundTrip(t, raw, &Batch{})
	})
}

func FuzzPayloads(f *testing.F) {
	terms := sampleTerms()
	f.Add(wire.Encode(&Submit{terms}))
	f.Add(wire.Encode(&Register{Key: []byte{1}, Name: "w", Platforms: []string{"host"}}))
	f.Add(wire.Encode(&Vouched{Vouches: []Vouch{{fill(1), []byte{2}}}}))
	claim := sampleTranscript().Claim()
	f.Add(wire.Encode(&claim))
	f.Add(wire.Encode(&Challenge{Claim: wire.Encode(&claim), Rest: fill(1), Certificate: Certificate{Transcripts: []ID{fill(2)}}, Reason: "odd"}))
	f.Add(wire.Encode(&Revoke{Account: fill(1), Key: fill(2), Reason: "lost"}))
	f.Add(wire.Encode(&Rotate{Account: fill(1), OldKey: fill(1), NewKey: []byte{3}, Possession: []byte{4}, Vouches: []Vouch{{fill(1), []byte{2}}}}))
	f.Add(wire.Encode(&Commit{Lodged: wire.Encode(&Lodgement{Sealed: [][]byte{{1}, {2}}})}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, r := range []wire.Record{&Tick{}, &Deal{}, &Complain{}, &Justify{}, &Admit{}, &Money{}, &Open{}, &Register{}, &Update{}, &Stake{},
			&Submit{}, &Cancel{}, &PlaceBid{}, &Reveal{}, &Auctioneer{}, &Beacon{}, &LeaseRef{}, &Commit{}, &Lodgement{}, &OpeningOf{}, &Vouched{}, &Revoke{}, &Rotate{}, &Challenge{}, &Claim{}, &Handover{}} {
			roundTrip(t, raw, r)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(sampleManifest().Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Manifest
		if wire.Decode(raw, &m) != nil {
			return
		}
		roundTrip(t, raw, &Manifest{})
		if err := m.Validate(); err != nil {
			t.Errorf("decoded a manifest that is not valid: %v", err)
		}
	})
}

func FuzzBuild(f *testing.F) {
	b := Build{Terms: sampleTerms(), State: Panel, Bids: []Bid{{Worker: fill(1), Domain: "a"}}, Attempts: []Attempt{
		{Worker: fill(1), State: AttemptOpened, Opening: Opening{Summary: sampleManifest().Summarise(), Findings: Findings{FindDepends, VaryAll, VaryClock}}}, {Worker: fill(2), State: AttemptAssigned}},
		Eligible: []Candidate{{Domain: "a", Worker: fill(1)}}, Penalties: []Penalty{{Worker: fill(3)}}, Transfers: []Transfer{{Purpose: "price"}}}
	f.Add(wire.Encode(&b))
	b.Contest = &Contest{Build: fill(4), Result: fill(5), Reason: "odd"}
	f.Add(wire.Encode(&b))
	f.Fuzz(func(t *testing.T, raw []byte) { roundTrip(t, raw, &Build{}) })
}

// Every truncation and every extra byte of a valid encoding is refused.
func TestTruncation(t *testing.T) {
	terms := sampleTerms()
	for _, r := range []wire.Record{&terms, sampleManifest(), &Command{Version: 1, Payload: []byte{1}}} {
		raw := wire.Encode(r)
		fresh := func() wire.Record {
			switch r.(type) {
			case *Terms:
				return &Terms{}
			case *Manifest:
				return &Manifest{}
			}
			return &Command{}
		}
		for n := range raw {
			if wire.Decode(raw[:n], fresh()) == nil {
				t.Errorf("%T: %d of %d bytes decode", r, n, len(raw))
			}
		}
		if wire.Decode(append(bytes.Clone(raw), 0), fresh()) == nil {
			t.Errorf("%T: an extra byte decodes", r)
		}
		if err := wire.Decode(raw, fresh()); err != nil {
			t.Errorf("%T: %v", r, err)
		}
	}
}
