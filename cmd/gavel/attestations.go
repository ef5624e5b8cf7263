package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/verify/dossier"
)

// fetchAttestations asks for a build's attestations. It waits, as long as patience
// lasts, until those who differ have uploaded theirs and the log has the build.
func fetchAttestations(ctx, patience context.Context, f *farm, b *gavelv1.Build) (*gavelv1.AttestationsResponse, error) {
	for {
		answer, err := f.Farm().Attestations(ctx, &gavelv1.GetBuildRequest{Build: b.Id})
		if err != nil {
			return nil, fmt.Errorf("fetching the attestations: %w", plain(err))
		}
		complete := len(answer.Attestations) >= expectedAttestations(b) && answer.Logged
		if complete || !pauseForEvidence(patience) {
			return answer, nil
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

// savedEvidence is where a build's attestations were saved.
type savedEvidence struct {
	bundles []string // of who built, in the order of their attempts
	summary string   // the verification summary's; empty where the log has none
}

// saveAttestations keeps a build's attestations in the farm's directory.
func saveAttestations(ctx, patience context.Context, f *farm, b *gavelv1.Build) (*savedEvidence, error) {
	return saveAttestationsTo(ctx, patience, f, b, f.dir.attestations(hex.EncodeToString(b.Id)))
}

// saveAttestationsTo fetches a build's attestations and writes each into dir as
// NAME.sigstore.json with NAME.pub beside, and what the log has of it, so that they
// outlive the farm. Doing it again changes nothing
// but the log's proofs, which come under a newer checkpoint.
func saveAttestationsTo(ctx, patience context.Context, f *farm, b *gavelv1.Build, dir string) (*savedEvidence, error) {
	out := &savedEvidence{bundles: []string{}}
	got, err := fetchAttestations(ctx, patience, f, b)
	if err != nil || len(got.Attestations) == 0 && !got.Logged {
		return out, err
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(abs, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("saving the attestations: %w", err)
	}
	save := func(name, content string) {
		if content != "" && err == nil {
			err = writeWhole(filepath.Join(abs, name), []byte(content), 0o644)
		}
	}
	for _, a := range got.Attestations {
		if !raftfsm.ValidName(a.Name) { // it becomes a file's name
			return nil, fmt.Errorf("saving the attestations: %q is no name of a worker", a.Name)
		}
		name := a.Name
		if name+dossier.BundleSuffix == dossier.FileSummary || name+".pub" == dossier.FileClusterKey {
			name += "-worker" // those two are the cluster's
		}
		save(name+dossier.BundleSuffix, a.Bundle)
		save(name+".pub", a.PublicKey)
		out.bundles = append(out.bundles, filepath.Join(abs, name+dossier.BundleSuffix))
	}
	for name, content := range map[string]string{ // order does not matter: each is a file
		dossier.FileSummary: got.SummaryBundle, dossier.FileEnvelope: got.SummaryEnvelope, dossier.FileTranscript: string(got.Transcript),
		dossier.FileTrustedRoot: got.TrustedRoot, dossier.FileGenesis: string(got.Genesis), dossier.FileClusterKey: got.ClusterKey,
		dossier.FileManifest: string(got.Manifest), dossier.FileStatus: got.Status,
	} {
		save(name, content)
	}
	if err != nil {
		return nil, fmt.Errorf("saving the attestations: %w", err)
	}
	if got.SummaryBundle != "" {
		out.summary = filepath.Join(abs, dossier.FileSummary)
	}
	return out, nil
}
