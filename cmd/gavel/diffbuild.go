package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/verify/diff"
)

// diffBuild compares the results of a build that differ.
func diffBuild(ctx context.Context, farm, name string, o diff.Options) (*diffAnswer, error) {
	f, err := connect(ctx, farm)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	id, err := f.build(ctx, name)
	if err != nil {
		return nil, err
	}
	b, err := f.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil {
		return nil, fmt.Errorf("asking for build %x: %w", id[:6], plain(err))
	}
	store, err := f.blobs()
	if err != nil {
		return nil, err
	}
	return compareBuild(ctx, store, b, o)
}

// compareBuild compares the first side with one of each other result. It waits a
// while for those who hold a result to upload it.
func compareBuild(ctx context.Context, store cas.Store, b *gavelv1.Build, o diff.Options) (*diffAnswer, error) {
	a, others := sides(b)
	if a == nil {
		return nil, fmt.Errorf("build %x is %s and nobody has opened a result of it yet: `gavel status` shows how far it is", b.Id[:6], b.State)
	}
	answer := &diffAnswer{Build: hex.EncodeToString(b.Id), Same: len(others) == 0, Comparisons: []*diff.Report{}}
	patience, cancel := context.WithTimeout(ctx, evidencePatience)
	defer cancel()
	for _, group := range byResult(others) {
		r, err := compareParties(ctx, patience, store, a, group, o)
		switch {
		case errors.Is(err, cas.ErrNotFound):
			answer.Missing = append(answer.Missing, namesOf(group))
		case err != nil:
			return nil, err
		default:
			answer.Comparisons = append(answer.Comparisons, r)
		}
	}
	return answer, nil
}

// byResult puts those with one result together, in order of first appearance.
func byResult(parties []*party) (groups [][]*party) {
	at := make(map[string]int)
	for _, p := range parties {
		key := string(p.attempt.Result)
		i, known := at[key]
		if !known {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

func namesOf(parties []*party) string {
	names := make([]string, len(parties))
	for i, p := range parties {
		names[i] = p.name
	}
	return strings.Join(names, ", ")
}

// compareParties compares a's result with the group's, trying again while something
// is not there and there is patience; then the error wraps cas.ErrNotFound.
func compareParties(ctx, patience context.Context, store cas.Store, a *party, group []*party, o diff.Options) (*diff.Report, error) {
	for {
		r, err := compareOnce(ctx, store, a, group, o)
		if !errors.Is(err, cas.ErrNotFound) || !pauseForEvidence(patience) {
			return r, err
		}
	}
}

func compareOnce(ctx context.Context, store cas.Store, a *party, group []*party, o diff.Options) (*diff.Report, error) {
	if !a.read(ctx, store) {
		return nil, fmt.Errorf("the result of %s: %w", a.name, cas.ErrNotFound)
	}
	for _, p := range group { // equal manifests, but each uploads to a place of its own
		if p.read(ctx, store) {
			return diff.Results(ctx, a.name, namesOf(group), a.manifest, p.manifest, opener(store), o)
		}
	}
	return nil, fmt.Errorf("the result of %s: %w", namesOf(group), cas.ErrNotFound)
}

// opener reads outputs from a store.
func opener(store cas.Store) diff.Opener {
	return func(ctx context.Context, sum [32]byte, size uint64) (io.ReadCloser, error) {
		return store.Open(ctx, cas.OfSum(sum, int64(size)))
	}
}
