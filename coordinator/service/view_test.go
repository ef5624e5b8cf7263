package service

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// phonebook is a directory of made-up names.
type phonebook struct{ lane build.Lane }

func (p phonebook) Name(id build.ID) string {
	if id == (build.ID{}) {
		return ""
	}
	return fmt.Sprintf("n%x", id[:1])
}
func (p phonebook) Worker(id build.ID) (*build.Worker, bool) {
	return &build.Worker{ID: id, Operator: "o", Machine: "m"}, true
}
func (p phonebook) Pool(name string) (*build.Pool, bool) {
	return &build.Pool{Name: name, Lane: p.lane, Domain: build.DomainOperator}, true
}
func (p phonebook) Withdrawn(build.ID) (raftfsm.Withdrawal, bool) { return raftfsm.Withdrawal{}, false }

// secretResult is a result every byte of which can be recognised.
func secretResult(n byte) build.Summary {
	return build.Summary{
		Status: build.StatusOOM, ExitCode: 211, Shape: [32]byte{0xa0, n}, Content: [32]byte(bytes.Repeat([]byte{0xb0 | n}, 32)),
		ManifestBytes: 9_171_717, OutputBytes: 8_181_818,
	}
}

const (
	secretPrice  = escrow.Credits(7_654_321)
	awardedPrice = escrow.Credits(6_543_217)
)

// fullBuild is a build with everything that could leak filled in, in a state:
// openings are in the record long before the verdict while others are awaited.
func fullBuild(state, verdict build.State) *build.Build {
	b := &build.Build{
		ID: build.ID{1}, Requester: build.ID{2}, State: state, Verdict: verdict, Version: 40, Reason: "because",
		Terms:       build.Terms{Pool: "p", Reserve: 10 * escrow.One, Validators: 2},
		SubmittedAt: 1, Auctioneer: build.ID{3}, Stake: 5,
		Bids: []build.Bid{{Worker: build.ID{4}, Revealed: true, Price: secretPrice}},
	}
	b.Price, b.Reference = awardedPrice, 9 // of an award that came to nothing, before the next
	if state == build.Queued || state == build.Bidding || state == build.Revealing {
		return b
	}
	for seat := range uint32(3) {
		b.Attempts = append(b.Attempts, build.Attempt{
			Round: build.RoundFirst, Seat: seat, Worker: build.ID{byte(4 + seat)}, State: build.AttemptOpened,
			Commitment: build.ID{9}, Opening: build.Opening{Summary: secretResult(byte(seat)), Nonce: build.ID{0xcc, 0xcc}},
		})
	}
	b.Attempts = append(b.Attempts, build.Attempt{Round: build.RoundPanel, Seat: 1, Worker: build.ID{77}, State: build.AttemptStarted})
	b.Transfers = []build.Transfer{{Purpose: "price", From: build.ID{5}, To: build.ID{4}, Amount: awardedPrice}}
	if verdict != 0 {
		s := secretResult(0)
		b.Delivers, b.Delivered, b.Payment = true, s.Digest(), 12
		b.Attempts[1].Slashed, b.Attempts[0].Stored = true, true
	}
	return b
}

// leaks lists what of the secret results can be read off a view.
func leaks(v *gavelv1.Build) []string {
	var found []string
	raw, _ := proto.Marshal(v)
	text := protojson.Format(v)
	for n := range byte(3) {
		s := secretResult(n)
		digest := s.Digest()
		for name, secret := range map[string][]byte{"result": digest[:], "manifest": s.Content[:], "shape": s.Shape[:8], "nonce": {0xcc, 0xcc}} {
			if bytes.Contains(raw, secret) {
				found = append(found, name+" "+hex.EncodeToString(secret[:2]))
			}
		}
	}
	for _, secret := range []string{"9171717", "8181818", "211", build.StatusOOM.String(), "because", `"opened"`} {
		if strings.Contains(text, secret) {
			found = append(found, secret)
		}
	}
	return found
}

// Before the verdict nothing of any result shows, in any state, to anybody;
// after it everything does.
func TestViewHidesResultsUntilTheVerdict(t *testing.T) {
	for state := build.Queued; state <= build.Settled; state++ {
		for _, lane := range []build.Lane{build.LaneSpot, build.LaneHouse} {
			for _, who := range []insight{insider, outsider} {
				if v := view(fullBuild(state, 0), phonebook{lane}, who); len(leaks(v)) > 0 {
					t.Errorf("%v, %v pool, insider %v: undecided build shows %v", state, lane, who, leaks(v))
				}
			}
		}
	}
	for _, who := range []insight{insider, outsider} {
		v := view(fullBuild(build.Settled, build.Judged), phonebook{build.LaneSpot}, who)
		if len(leaks(v)) < 8 || v.Verdict != "judged" || !v.Delivered || len(v.Attempts) != 4 || len(v.Slashed) != 1 || !v.Attempts[0].Agreed || v.Attempts[1].Agreed || !v.Attempts[0].ManifestStored || v.Attempts[1].ManifestStored {
			t.Errorf("insider %v: decided build shows only %v in %v", who, leaks(v), v)
		}
	}
}

func TestViewHidesPricesUntilTheAward(t *testing.T) {
	for state := build.Queued; state <= build.Panel; state++ {
		text := protojson.Format(view(fullBuild(state, 0), phonebook{build.LaneSpot}, insider))
		if strings.Contains(text, fmt.Sprint(int64(secretPrice))) {
			t.Errorf("%v: shows a bid that did not win", state)
		}
		if awarded := state > build.Revealing; strings.Contains(text, fmt.Sprint(int64(awardedPrice))) != awarded {
			t.Errorf("%v: the winner's price shown is not %v", state, awarded)
		}
	}
}

// A worker that asks under another name must not learn that the build it holds a
// lease of has come to a recheck or a panel.
func TestOutsidersCannotTellRoundsApart(t *testing.T) {
	var want []byte
	for _, state := range []build.State{build.Committed, build.Drawn, build.Validating, build.Unsealing, build.Recheck, build.Panel} {
		b := fullBuild(state, 0)
		b.Version = uint64(state) // changes all the time
		v := view(b, phonebook{build.LaneSpot}, outsider)
		got, err := proto.MarshalOptions{Deterministic: true}.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v can be told from committed: %v", state, v)
		}
		if len(view(b, phonebook{build.LaneSpot}, insider).Attempts) != 4 {
			t.Errorf("%v: the requester does not see all attempts", state)
		}
	}
}

func TestHousePoolsShowNoMoney(t *testing.T) {
	v := view(fullBuild(build.Settled, build.Agreed), phonebook{build.LaneHouse}, insider)
	if v.Price != 0 || v.Reference != 0 || v.Payment != 0 || v.Stake != 0 || v.MaximumPrice != 0 || v.Auctioneer != "" || v.Bids != 0 || v.Reveals != 0 || len(v.Transfers) != 0 {
		t.Errorf("a house pool shows money: %v", v)
	}
	if !v.House || !v.Delivered {
		t.Errorf("got %v", v)
	}
}

// The record that views are made of must stay what it was.
func TestViewLeavesTheBuildAlone(t *testing.T) {
	b := fullBuild(build.Settled, build.Judged)
	before := wire.Encode(b)
	v := view(b, phonebook{build.LaneSpot}, insider)
	v.Attempts[0].Slashed = true
	if !bytes.Equal(before, wire.Encode(b)) {
		t.Error("the view changed the build")
	}
}
