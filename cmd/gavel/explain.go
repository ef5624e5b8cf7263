package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/verify/diff"
	"gavel/verify/result"
)

const (
	// evidencePatience is how long those who hold a differing result get to upload it.
	evidencePatience = 5 * time.Second
	// shownPatience is the same for a build that settled some time ago: what is not
	// there by then hardly comes.
	shownPatience = time.Second
	evidenceEvery = 200 * time.Millisecond
)

// party is one side of a difference.
type party struct {
	name     string
	attempt  *gavelv1.Attempt
	manifest *build.Manifest
}

// explain says, down to the first differing file and byte, how the results of a
// build differ; "" where they do not, or where nobody uploaded what to compare
// before ctx ended.
func explain(ctx context.Context, store cas.Store, b *gavelv1.Build) string {
	a, others := sides(b)
	for len(others) > 0 {
		if text := compareSides(ctx, store, a, others); text != "" || !pauseForEvidence(ctx) {
			return text
		}
	}
	return ""
}

// pauseForEvidence waits a moment, and says whether there is patience left.
func pauseForEvidence(ctx context.Context) bool {
	t := time.NewTimer(evidenceEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sides picks one opened result, the delivered one if there is one, and all that
// differ from it.
func sides(b *gavelv1.Build) (a *party, others []*party) {
	var opened []*party
	for _, t := range b.Attempts {
		if len(t.Result) == 0 {
			continue
		}
		p := &party{name: t.Worker, attempt: t}
		if t.Round == build.RoundRecheck.String() {
			p.name += " (second try)"
		}
		opened = append(opened, p)
		if a == nil && bytes.Equal(t.Result, b.Result) {
			a = p
		}
	}
	if a == nil && len(opened) > 0 {
		a = opened[0]
	}
	for _, p := range opened {
		if !bytes.Equal(p.attempt.Result, a.attempt.Result) {
			others = append(others, p)
		}
	}
	return a, others
}

// compareSides returns "" while not both sides' manifests can be read.
func compareSides(ctx context.Context, store cas.Store, a *party, others []*party) string {
	if !a.read(ctx, store) {
		return ""
	}
	for _, o := range others {
		if !o.read(ctx, store) {
			continue
		}
		differences := result.Compare(a.manifest, o.manifest)
		var first *result.ByteDifference
		cause := ""
		if path, ok := result.FirstContent(differences); ok {
			var err error
			first, err = firstByte(ctx, store, a.manifest, o.manifest, path)
			if errors.Is(err, cas.ErrNotFound) {
				continue // the manifest goes up before the files do
			}
			if err == nil {
				cause = causeAt(ctx, store, a.manifest, o.manifest, path)
			}
		}
		return result.Explain(a.name, o.name, differences, first) + cause
	}
	return ""
}

// causeAt is a sentence about why the files at path differ, "" where no cause can be
// shown in the time there is: gavel diff takes longer and says more.
func causeAt(ctx context.Context, store cas.Store, a, b *build.Manifest, path string) string {
	only := func(m *build.Manifest) *build.Manifest {
		out := &build.Manifest{Status: build.StatusExited}
		for _, o := range m.Outputs {
			if o.Path == path {
				out.Outputs = append(out.Outputs, o)
			}
		}
		return out
	}
	r, err := diff.Results(ctx, "a", "b", only(a), only(b), opener(store), diff.Options{})
	if err != nil || !r.Known() {
		return ""
	}
	return " Likely why: " + r.Sentence() + "."
}

func (p *party) read(ctx context.Context, store cas.Store) bool {
	if p.manifest == nil {
		// Not found means not yet; anything else would hide the verdict itself
		// behind its explanation.
		p.manifest, _ = readManifest(ctx, store, p.attempt.Manifest, p.attempt.ManifestBytes)
	}
	return p.manifest != nil
}

// firstByte reads the files of both results at path until they part.
func firstByte(ctx context.Context, store cas.Store, a, b *build.Manifest, path string) (*result.ByteDifference, error) {
	left, err := openOutput(ctx, store, a, path)
	if err != nil {
		return nil, err
	}
	defer left.Close()
	right, err := openOutput(ctx, store, b, path)
	if err != nil {
		return nil, err
	}
	defer right.Close()
	return result.FirstDifference(left, right)
}

func openOutput(ctx context.Context, store cas.Store, m *build.Manifest, path string) (io.ReadCloser, error) {
	for i := range m.Outputs {
		if o := &m.Outputs[i]; o.Path == path {
			return store.Open(ctx, cas.OfSum(o.Digest, int64(o.Size)))
		}
	}
	return nil, fmt.Errorf("the result has no output %q", path)
}
