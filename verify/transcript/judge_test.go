package transcript

import (
	"errors"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// DESIGN section 4 has a stake worked out; the two implementations agree on it and
// on each other over every shape of pool that terms allow.
func TestStakeOfTheDesign(t *testing.T) {
	if s, ok := stakeOf(20, 6, 3, 1_000, 999_000, ppm); !ok || s != 77_522 {
		t.Errorf("S = %d, %v; want 77522", s, ok)
	}
}

func TestUnusable(t *testing.T) {
	trust := Trust{GroupKeys: [][96]byte{{1}}}
	for name, raw := range map[string][]byte{
		"nothing":         nil,
		"another format":  []byte("{}"),
		"a later version": append([]byte{build.TranscriptVersion + 1}, make([]byte, 4096)...),
		"too much":        make([]byte, build.MaxTranscriptBytes+1),
	} {
		if r, err := Judge(raw, wire.NewHasher("transcript").Var(raw).Sum(), build.Certificate{}, trust); !errors.Is(err, ErrUnusable) || r != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	raw := wire.Encode(&build.Transcript{Pool: build.Pool{Lane: build.LaneHouse}})
	if _, err := Judge(raw, build.TranscriptDigest(raw), build.Certificate{}, Trust{}); !errors.Is(err, ErrUnusable) {
		t.Errorf("without a key to trust: %v", err)
	}
}

// An empty record is decoded, and nothing of it passes.
func TestEmptyRecord(t *testing.T) {
	for lane := build.LaneSpot; lane <= build.LaneLottery; lane++ {
		raw := wire.Encode(&build.Transcript{Pool: build.Pool{Lane: lane}})
		r, err := Judge(raw, build.TranscriptDigest(raw), build.Certificate{}, Trust{GroupKeys: [][96]byte{{1}}})
		if err != nil || len(r.Deviations) == 0 {
			t.Errorf("%v: %v, %v", lane, r, err)
		}
	}
}

// Amounts at the ends of their range, and beyond, are named and do no harm.
func TestHostileAmounts(t *testing.T) {
	for _, amount := range []escrow.Credits{escrow.MaxCredits, -escrow.MaxCredits, -1, 1 << 62} {
		r := &build.Transcript{Pool: build.Pool{Lane: build.LaneSpot, Domain: 1}}
		r.Params.ValidatorFee, r.Params.AuctioneerFee = amount, amount
		r.Build.Terms.Reserve, r.Build.Terms.Budget, r.Build.Stake = amount, amount, amount
		r.Build.Terms.Validators = 1 << 31
		for i := range byte(9) {
			r.Build.Eligible = append(r.Build.Eligible, build.Candidate{Domain: string('a' + rune(i)), Worker: [32]byte{i}})
		}
		raw := wire.Encode(r)
		if got, err := Judge(raw, build.TranscriptDigest(raw), build.Certificate{}, Trust{GroupKeys: [][96]byte{{1}}}); err != nil || len(got.Deviations) == 0 {
			t.Errorf("%v: %v", amount, err)
		}
	}
}
