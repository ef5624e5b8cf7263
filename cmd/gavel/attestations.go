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
)

// saveAttestations fetches a build's attestations and writes each as
// NAME.sigstore.json with NAME.pub beside, so that they outlive the farm. It
// returns the bundles' paths. Doing it again changes nothing.
func saveAttestations(ctx context.Context, f *farm, id []byte) ([]string, error) {
	answer, err := f.Farm().Attestations(ctx, &gavelv1.GetBuildRequest{Build: id})
	if err != nil {
		return nil, fmt.Errorf("fetching the attestations: %w", plain(err))
	}
	paths := []string{}
	if len(answer.Attestations) == 0 {
		return paths, nil
	}
	abs, err := filepath.Abs(f.dir.attestations(hex.EncodeToString(id)))
	if err == nil {
		err = os.MkdirAll(abs, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("saving the attestations: %w", err)
	}
	for _, a := range answer.Attestations {
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
