package service

import (
	"context"
	"errors"
	"fmt"

	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// need is a blob that names others, with the account that may read them.
type need struct {
	account build.ID
	blob    cas.Digest
}

// Needed lists the blobs, by hash, that must stay whatever their age: what the
// builds under way are made of, their results, and the results that builds which
// the state still has delivered, for those can answer a later submission. What cannot
// be read makes an error: nothing can then be known to be unneeded.
func (b *Blobs) Needed(ctx context.Context) (map[string]bool, error) {
	var actions, manifests []need
	b.fsm.Read(func(st *raftfsm.State) {
		for _, x := range st.Live() {
			actions = append(actions, need{x.Inputs(), cas.OfSum(x.Terms.ActionDigest, int64(x.Terms.ActionBytes))})
		}
		for _, x := range st.Builds() {
			manifests = append(manifests, storedManifests(x)...)
		}
	})
	hashes := make(map[string]bool)
	for _, n := range actions {
		set, err := b.reaches.Of(ctx, n.account, n.blob)
		if err != nil {
			return nil, fmt.Errorf("finding what the builds under way are made of: %w", err)
		}
		for _, d := range set.Digests() {
			hashes[d.Hash] = true
		}
	}
	for _, n := range manifests {
		m, err := b.Manifest(ctx, n.account, n.blob)
		if errors.Is(err, cas.ErrNotFound) {
			continue // damaged, or of a store that was lost: it names nothing any more
		}
		if err != nil {
			return nil, fmt.Errorf("finding what results consist of: %w", err)
		}
		hashes[n.blob.Hash] = true
		for i := range m.Outputs {
			if o := &m.Outputs[i]; o.Type == build.OutputFile {
				hashes[cas.OfSum(o.Digest, int64(o.Size)).Hash] = true
			}
		}
	}
	return hashes, nil
}

// storedManifests are those of a build's results that the store has been promised.
func storedManifests(b *build.Build) (out []need) {
	for i := range b.Attempts {
		if a := &b.Attempts[i]; a.State == build.AttemptOpened && a.Stored {
			out = append(out, need{a.Worker, manifestDigest(a)})
		}
	}
	return out
}
