package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// fetchAttestations asks for a build's attestations. Where results differ it
// waits, as long as patience lasts, until those who differ have uploaded theirs.
func fetchAttestations(ctx, patience context.Context, f *farm, b *gavelv1.Build) ([]*gavelv1.Attestation, error) {
	for {
		answer, err := f.Farm().Attestations(ctx, &gavelv1.GetBuildRequest{Build: b.Id})
		if err != nil {
			return nil, fmt.Errorf("fetching the attestations: %w", plain(err))
		}
		if len(answer.Attestations) >= expectedAttestations(b) || !pauseForEvidence(patience) {
			return answer.Attestations, nil
		}
	}
}

// expectedAttestations counts the opened results but rechecks'.
func expectedAttestations(b *gavelv1.Build) (n int) {
	for _, a := range b.Attempts {
		if len(a.Result) > 0 && a.Round != build.RoundRecheck.String() {
			n++
		}
	}
	return n
}

// saveAttestations fetches a build's attestations and writes each as
// NAME.sigstore.json with NAME.pub beside, so that they outlive the farm. It
// returns the bundles' paths. Doing it again changes nothing.
func saveAttestations(ctx, patience context.Context, f *farm, b *gavelv1.Build) ([]string, error) {
	return saveAttestationsTo(ctx, patience, f, b, f.dir.attestations(hex.EncodeToString(b.Id)))
}

// saveAttestationsTo is saveAttestations into another directory.
func saveAttestationsTo(ctx, patience context.Context, f *farm, b *gavelv1.Build, dir string) ([]string, error) {
	paths := []string{}
	list, err := fetchAttestations(ctx, patience, f, b)
	if err != nil || len(list) == 0 {
		return paths, err
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(abs, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("saving the attestations: %w", err)
	}
	for _, a := range list {
		if !raftfsm.ValidName(a.Name) { // it becomes a file's name
			return nil, fmt.Errorf("saving the attestations: %q is no name of a worker", a.Name)
		}
		path := filepath.Join(abs, a.Name+".sigstore.json")
		if err := errors.Join(writeWhole(path, []byte(a.Bundle), 0o644), writeWhole(filepath.Join(abs, a.Name+".pub"), []byte(a.PublicKey), 0o644)); err != nil {
			return nil, fmt.Errorf("saving the attestations: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}
