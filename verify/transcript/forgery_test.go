package transcript_test

import (
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/transcript"
)

// pay changes what a transfer moves and lets the refund make up for it, so that
// escrow still sums to zero.
func pay(b *build.Build, purpose string, more escrow.Credits) bool {
	for i := range b.Transfers {
		if b.Transfers[i].Purpose == purpose {
			b.Transfers[i].Amount += more
			b.Transfers[len(b.Transfers)-1].Amount -= more
			return true
		}
	}
	return false
}

// Whoever forges a record makes the fields that follow agree with the lie. Each of
// these is found all the same, and named by the field that the rules contradict.
func TestForgeries(t *testing.T) {
	c := marketOf(t)
	cluster := c.world.Cluster
	for name, k := range map[string]struct {
		verdict build.State
		forge   func(t *build.Transcript) bool // false where the record has no place for it
		want    string
	}{
		"a higher price": {build.Agreed, func(t *build.Transcript) bool {
			t.Build.Payment += credit
			return pay(&t.Build, "price", credit)
		}, "Build.Payment"},
		"a lower reference, and the price that follows": {build.Agreed, func(t *build.Transcript) bool {
			b := &t.Build
			if b.Reference < credit {
				return false
			}
			b.Reference -= credit
			b.Payment += credit
			return pay(b, "price", credit)
		}, "Build.Reference"},
		"a bid opened otherwise than it was sealed": {build.Agreed, func(t *build.Transcript) bool {
			for i := range t.Build.Bids {
				if i != int(t.Build.Winner) && t.Build.Bids[i].Revealed {
					t.Build.Bids[i].Price += 5 * credit
					return true
				}
			}
			return false
		}, "Commitment"},
		"a better bid that was passed over": {build.Agreed, func(t *build.Transcript) bool {
			b := &t.Build
			for i := range b.Bids {
				if i != int(b.Winner) && b.Bids[i].Revealed {
					b.Bids[i].Price = 0
					b.Bids[i].Commitment = build.BidCommitment(cluster, b.Auction(), b.Bids[i].Worker, 0, b.Bids[i].Finish, b.Bids[i].Result, b.Bids[i].Nonce)
					return true
				}
			}
			return false
		}, "Skipped"},
		"a validator's fee kept back": {build.Agreed, func(t *build.Transcript) bool {
			return t.Pool.Lane != build.LaneHouse && pay(&t.Build, "validator", -credit/2)
		}, "Amount"},
		"a forger's slash waived": {build.Judged, func(t *build.Transcript) bool {
			b := &t.Build
			at := slices.IndexFunc(b.Attempts, func(a build.Attempt) bool { return a.Slashed })
			if at < 0 || t.Pool.Lane == build.LaneHouse {
				return false
			}
			b.Attempts[at].Slashed = false
			b.Transfers = slices.DeleteFunc(b.Transfers, func(x build.Transfer) bool { return x.From == b.Attempts[at].Worker })
			return true
		}, "Slashed"},
		"a forgery agreed on": {build.Judged, func(t *build.Transcript) bool {
			b := &t.Build
			b.Verdict, b.Delivered = build.Agreed, b.Attempts[0].Result()
			return true
		}, "Build.Verdict"},
		"a friend on the panel": {build.Judged, func(t *build.Transcript) bool {
			b := &t.Build
			n := len(b.Names) - 1
			for i := range b.Attempts {
				if a := &b.Attempts[i]; a.Round == build.RoundPanel && a.State == build.AttemptOpened && int(b.NextName) < n {
					a.Worker, a.Domain = b.Names[n].Worker, b.Names[n].Domain
					a.Commitment = a.Opening.Commitment(cluster, a.Worker, b.ID)
					return true
				}
			}
			return false
		}, "Worker"},
		"names drawn again until they please": {build.Agreed, func(t *build.Transcript) bool {
			for i := range t.Build.Draws {
				if d := &t.Build.Draws[i]; d.Purpose == build.PurposeSeats {
					d.Round++
					d.Signature = c.world.GroupSign(beacon.Message(cluster, d.Purpose, d.Subject, d.Round))
					return true
				}
			}
			return false
		}, "Round"},
		"another build's draw": {build.Agreed, func(t *build.Transcript) bool {
			for i := range t.Build.Draws {
				if d := &t.Build.Draws[i]; d.Purpose == build.PurposeSeats {
					d.Subject[0]++
					d.Signature = c.world.GroupSign(beacon.Message(cluster, d.Purpose, d.Subject, d.Round))
					return true
				}
			}
			return false
		}, "Subject"},
		"a sampled build that nobody rebuilt": {build.Agreed, func(t *build.Transcript) bool {
			b := &t.Build
			b.Sampling, b.Verdict = build.SampledOut, build.Unsampled
			b.Attempts = b.Attempts[:1]
			return true
		}, "Build.Sampling"},
		"a silent seat's fine forgiven": {build.Agreed, func(t *build.Transcript) bool {
			b, n := &t.Build, len(t.Build.Transfers)
			b.Transfers = slices.DeleteFunc(b.Transfers, func(x build.Transfer) bool { return x.Purpose == "silence" })
			return len(b.Transfers) < n
		}, "Build.Transfers"},
		"a bond that was not forfeit": {build.Agreed, func(t *build.Transcript) bool {
			b, n := &t.Build, len(t.Build.Transfers)
			b.Transfers = slices.DeleteFunc(b.Transfers, func(x build.Transfer) bool { return x.Purpose == "forfeit" })
			return len(b.Transfers) < n
		}, "Build.Transfers"},
		"money out of nowhere": {build.Agreed, func(t *build.Transcript) bool {
			b := &t.Build
			last := len(b.Transfers) - 1
			if last < 0 {
				return false
			}
			b.Transfers[last].Amount += credit
			return true
		}, "Build.Transfers"},
		"a smaller stake for all": {build.Agreed, func(t *build.Transcript) bool {
			t.Build.Stake /= 2
			return t.Pool.Lane != build.LaneHouse && t.Build.Stake > 0
		}, "Build.Stake"},
		"fewer eligible than there were": {build.Agreed, func(t *build.Transcript) bool {
			b := &t.Build
			b.Eligible = b.Eligible[1:]
			b.Domains--
			return true
		}, "Build."},
		"a challenge that failed, upheld": {build.Refuted, func(t *build.Transcript) bool {
			t.Build.Verdict, t.Build.Contest.Found = build.Upheld, [32]byte{}
			return true
		}, "Build.Verdict"},
		"a challenger's bond kept": {build.Undecided, func(t *build.Transcript) bool {
			b := &t.Build
			last := len(b.Transfers) - 1
			b.Transfers[last].Amount -= b.Contest.Bond
			b.Transfers = append(b.Transfers, build.Transfer{Purpose: "challenge", From: build.EscrowID(b.ID), To: [32]byte{1}, Amount: b.Contest.Bond})
			return true
		}, "Build.Transfers"},
	} {
		t.Run(name, func(t *testing.T) {
			tried := 0
			for _, x := range c.all {
				tr, err := build.ReadTranscript(x.raw, x.digest)
				if err != nil {
					t.Fatal(err)
				}
				if tr.Build.Verdict != k.verdict || !k.forge(tr) {
					continue
				}
				tried++
				raw := wire.Encode(tr)
				digest := build.TranscriptDigest(raw)
				cert := build.Certificate{Transcripts: []build.ID{digest}}
				cert.Signature = c.world.GroupSign(beacon.Message(cluster, build.PurposeCertificate, build.CertificateSubject(cert.Transcripts), 0))
				r, err := transcript.Judge(raw, digest, cert, c.trust)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(fields(r), func(f string) bool { return strings.Contains(f, k.want) }) {
					t.Errorf("a %v build: %v, want %s among them", tr.Pool.Lane, r.Deviations, k.want)
				}
				if tried == 3 {
					return
				}
			}
			if tried == 0 {
				t.Error("no build of the market could be forged so")
			}
		})
	}
}

const credit = escrow.One
