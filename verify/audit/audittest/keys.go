package audittest

import (
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// ChangeKeys gives a requester another key, revokes a worker's and replaces it, and
// hands the group key over, in a world in which nothing is under way.
func (w *World) ChangeKeys() error {
	r, k := w.Requesters[2], w.workers[len(w.workers)-1].Party
	if err := w.rotate(r, r); err != nil {
		return err
	}
	steps := []build.Command{
		w.command(w.Admin, build.TypeRevoke, &build.Revoke{Account: k.ID, Key: build.AccountID(k.PKIX), Reason: "lost"}),
		w.command(w.Admin, build.TypeHandover, &build.Handover{Reason: "yearly"}),
	}
	for i, out := range w.send(steps...) {
		if out.Code != build.Done {
			return fmt.Errorf("%v: %s", steps[i].Type, out.Detail)
		}
	}
	if err := w.rotate(w.Admin, k); err != nil {
		return err
	}
	share, err := w.ceremony(func() *raftfsm.KeyGeneration { return w.state().NextKeys() })
	if err != nil {
		return err
	}
	w.send(w.coordinators()...) // the old group signs for the new one
	if n := len(w.state().FormerKeys()); n != 1 {
		return fmt.Errorf("the group key was handed over %d times", n)
	}
	w.group = share
	w.tick(w.Genesis.Params.EpochMillis)
	return nil
}

// rotate gives a party another key, by somebody's word.
func (w *World) rotate(by, p *Party) error {
	anew := newParty(p.Name + " anew")
	m := &build.Rotate{Account: p.ID, OldKey: build.AccountID(p.PKIX), NewKey: anew.PKIX, Reason: "a new machine"}
	m.Possession = anew.sign(build.RotationBytes(w.Cluster, m.Account, m.OldKey, anew.ID))
	if out := w.send(w.command(by, build.TypeRotate, m))[0]; out.Code != build.Done {
		return fmt.Errorf("rotating the key of %s: %s", p.Name, out.Detail)
	}
	p.PKIX, p.private = anew.PKIX, anew.private // its account's id stays
	return nil
}

// Agreed is a build of the spot pool that was agreed on, delivered and certified.
func (w *World) Agreed() (id raftfsm.ID, ok bool) {
	for i := range w.Applied {
		for _, x := range w.Applied[i].Transcripts {
			t, err := build.ReadTranscript(x.Bytes, x.Digest)
			if err == nil && t.Build.Verdict == build.Agreed && t.Build.Delivers && t.Pool.Name == poolSpot && t.Build.Terms.Vary == 0 {
				return t.Build.ID, true
			}
		}
	}
	return id, false
}
