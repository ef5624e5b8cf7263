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
	"gavel/verify/result"
)

const (
	// evidencePatience is how long those who hold a differing result get to upload it.
	evidencePatience = 10 * time.Second
	evidenceEvery    = 200 * time.Millisecond
)

// party is one side of a difference.
type party struct {
	name     string
	attempt  *gavelv1.Attempt
	manifest *build.Manifest
}

// explain says, down to the first differing file and byte, how the results of a
// build differ; "" where they do not, or where nobody uploaded what to compare.
func explain(ctx context.Context, store cas.Store, b *gavelv1.Build) string {
	a, others := sides(b)
	if a == nil || len(others) == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, evidencePatience)
	defer cancel()
	for {
		if text := compareSides(ctx, store, a, others); text != "" {
			return text
		}
		t := time.NewTimer(evidenceEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ""
		}
	}
}

// sides picks one opened result, the delivered one if there is one, and all that
// differ from it. Rechecks count only for those that differ from themselves alone.
func sides(b *gavelv1.Build) (a *party, others []*party) {
	for _, t := range b.Attempts {
		if len(t.Result) > 0 && (a == nil || !bytes.Equal(a.attempt.Result, b.Result)) && t.Round != build.RoundRecheck.String() {
			if a == nil || bytes.Equal(t.Result, b.Result) {
				a = &party{name: t.Worker, attempt: t}
			}
		}
	}
	if a == nil {
		return nil, nil
	}
	for _, t := range b.Attempts {
		if len(t.Result) > 0 && !bytes.Equal(t.Result, a.attempt.Result) {
			name := t.Worker
			if t.Round == build.RoundRecheck.String() {
				name += " (second try)"
			}
			others = append(others, &party{name: name, attempt: t})
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
		if path, ok := result.FirstContent(differences); ok {
			var err error
			first, err = firstByte(ctx, store, a.manifest, o.manifest, path)
			if errors.Is(err, cas.ErrNotFound) {
				continue // the manifest goes up before the files do
			}
		}
		return result.Explain(a.name, o.name, differences, first)
	}
	return ""
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
