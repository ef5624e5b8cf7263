package audittest

import (
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// What a fresh panel gets of a build that is challenged.
const (
	FindsSame    = string(plain)
	FindsOther   = string(failing) // all of it the same, which is not what was delivered
	FindsNothing = string(timed)   // each seat something else
)

// Challenge has a requester doubt the result of a plain build that was certified,
// and lets the world go on until the challenge has settled and been certified too.
func (w *World) Challenge(of raftfsm.ID, finds string) (raftfsm.ID, error) {
	var transcripts = map[raftfsm.ID][]byte{}
	var item *raftfsm.CertifiedItem
	for i := range w.Applied {
		for _, t := range w.Applied[i].Transcripts {
			transcripts[t.Digest] = t.Bytes
		}
		for _, x := range w.Applied[i].Items {
			if x.Certified != nil && x.Certified.Build == of {
				item = x.Certified
			}
		}
	}
	if item == nil {
		return raftfsm.ID{}, fmt.Errorf("challenging build %x: it was not certified", of[:4])
	}
	claim, rest, _ := build.SplitTranscript(transcripts[item.Transcript])
	out := w.send(w.command(w.Requesters[2], build.TypeChallenge, &build.Challenge{Claim: claim, Rest: rest, Certificate: item.Certificate, Reason: "it looks odd"}))[0]
	if out.Code != build.Done {
		return raftfsm.ID{}, fmt.Errorf("challenging build %x: %s", of[:4], out.Detail)
	}
	b, _ := w.state().Build(out.Subject)
	pool, _ := w.state().Pool(b.Terms.Pool)
	w.plans[b.ID] = &plan{kind: kind(finds), order: w.orders[of], lane: pool.Lane, pool: pool.Name}
	w.orders[b.ID] = w.orders[of]
	for range maxRounds {
		w.send(append(w.coordinators(), w.working()...)...)
		w.count()
		if len(w.state().Live()) == 0 && len(w.state().Demands()) == 0 {
			w.tick(w.Genesis.Params.EpochMillis)
			return out.Subject, nil
		}
		w.tick(stepMillis)
	}
	return raftfsm.ID{}, fmt.Errorf("challenge %x is still under way", out.Subject[:4])
}
