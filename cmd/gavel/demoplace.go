package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/testdata/projects"
	"gavel/verify/dossier"
)

// demoPlace is where a demonstration keeps its files: a scratch directory with
// the projects and downloads, and the farm's own, in there unless one was named.
type demoPlace struct {
	scratch string
	farm    farmDir
	named   bool // the farm's directory was chosen, and stays
	keep    bool
}

func newDemoPlace(f *demoFlags) (*demoPlace, error) {
	scratch, err := os.MkdirTemp("", "gavel-demo-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary directory: %w. Nothing was started. Set TMPDIR to a directory with room for 500 MB", err)
	}
	p := &demoPlace{scratch: scratch, farm: farmDir(filepath.Join(scratch, "farm")), keep: f.keep}
	// Commands in a sandbox run as another user, who must get in.
	if err := os.Chmod(scratch, 0o755); err != nil {
		return nil, fmt.Errorf("opening the temporary directory: %w", err)
	}
	if f.dir == "" {
		return p, nil
	}
	p.farm, p.named = farmDir(f.dir), true
	if _, err := os.Stat(p.farm.settings()); err == nil {
		err = refused(fmt.Errorf("%s holds a farm already: nothing was started. Name a new or empty directory with --dir, or start that farm with `gavel up --dir %s`", f.dir, f.dir))
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	return p, nil
}

// leave removes what nobody asked to keep. The logs of a farm that did not do
// what was promised are worth more than the room they take.
func (p *demoPlace) leave(s *screen, failure error) error {
	var e *exit
	if p.keep || failure != nil && !(errors.As(failure, &e) && e.code == exitUsage) && !errors.Is(failure, context.Canceled) {
		s.line("")
		s.line("  Everything is left in " + p.scratch)
		return nil
	}
	if p.named && failure == nil {
		s.line("")
		s.line(fmt.Sprintf("  The farm is left in %s: gavel up --dir %s starts it again", p.farm, p.farm))
	}
	if err := os.RemoveAll(p.scratch); err != nil {
		return fmt.Errorf("removing the demonstration's files: %w", err)
	}
	return nil
}

// copyProject writes a project's files below scratch/below/name.
func (p *demoPlace) copyProject(name, below string) (string, error) {
	files, err := fs.Sub(projects.Files, name)
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", name, err)
	}
	dir := filepath.Join(p.scratch, below, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", name, err)
	}
	if err := os.CopyFS(dir, files); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", name, err)
	}
	return dir, nil
}

// download fetches what a build delivered, notes each file's digest as it is on
// the disk now, and has the attestations checked against it.
func (p *demoPlace) download(ctx context.Context, f *farm, id [32]byte, b *demoBuild) error {
	b.served = make(map[string]digest.Digest)
	if !b.view.Delivered {
		return nil
	}
	to := filepath.Join(p.scratch, "downloads", b.report.Build)
	if err := f.download(ctx, silent, id, to); err != nil {
		return err
	}
	for _, o := range b.report.Outputs {
		digest, err := fileDigest(filepath.Join(to, filepath.FromSlash(o.Path)))
		if err != nil {
			return err
		}
		b.served[o.Path] = digest
	}
	b.attested(ctx, filepath.Join(to, b.output))
	return nil
}

// attested checks, as anyone could without the farm, the attestations of all
// whose result is the delivered one.
func (b *demoBuild) attested(ctx context.Context, file string) {
	for _, path := range b.report.Attestations {
		name := strings.TrimSuffix(filepath.Base(path), ".sigstore.json")
		agreed := func(a *gavelv1.Attempt) bool {
			return a.Worker == name && a.Agreed && a.Round != build.RoundRecheck.String()
		}
		if !slices.ContainsFunc(b.view.Attempts, agreed) {
			continue
		}
		// Of a contested result a statement proves that its author made it, and no more.
		contested := b.verdict != build.Agreed && b.verdict != build.Judged
		request := dossier.Request{Bundle: path, File: file, Alone: contested, Key: filepath.Join(filepath.Dir(path), name+".pub")}
		report, err := request.Check(ctx)
		if err == nil && !report.Verified() {
			err = errors.New(report.Failures[0])
		}
		if err != nil {
			b.doubts = append(b.doubts, fmt.Sprintf("the attestation of %s does not verify: %v", name, err))
			continue
		}
		b.proven = append(b.proven, name)
	}
}

func fileDigest(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return sha256Text(h.Sum(nil)), nil
}

// forgerStake is the bond of one build on a farm with all its workers, so that a
// forger that was slashed has nothing left to bid with.
func forgerStake() (escrow.Credits, error) {
	others := demoWorkers - 1
	p := build.DefaultParams()
	colluders := auction.Colluders(uint64(p.GammaPPM), others)
	return auction.Stake(others, colluders, demoValidators, auction.PanelSize(others, demoValidators), defaultMaxPrice, 0, auction.PPM)
}
