package dossier

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gavel/raftfsm"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
)

// The names under which the parts of a dossier lie in a directory.
const (
	FileSummary     = "summary.sigstore.json" // the verification summary as a bundle
	FileEnvelope    = "summary.vsa.dsse.json" // the same as raw DSSE
	FileTranscript  = "transcript"
	FileManifest    = "manifest"
	FileStatus      = "status.json"
	FileGenesis     = "genesis"
	FileTrustedRoot = "trusted_root.json" // for cosign
	FileClusterKey  = "cluster.pub"
	BundleSuffix    = ".sigstore.json"
)

// maxPartBytes bounds any part that is read, maxProvenances how many bundles, and
// maxBesideBytes all of these, which are held in memory.
const (
	maxPartBytes   = attest.MaxBundleBytes
	maxProvenances = 256
	maxBesideBytes = 4 * maxPartBytes
)

// Load reads the bundle at path and the rest of its dossier from dir, as far as it
// is there; an empty dir is none. The genesis that lies there comes with it, nil
// where there is none: nobody has said yet that it is to be trusted.
func Load(path, dir string) (*Files, *raftfsm.Genesis, error) {
	f := &Files{}
	var err error
	if f.Bundle, err = readPart(path, maxPartBytes); err != nil {
		return nil, nil, fmt.Errorf("reading the bundle: %w", err)
	}
	if !json.Valid(f.Bundle) {
		return nil, nil, fmt.Errorf("%s is no bundle, for it is no JSON: BUNDLE comes first, FILE second", path)
	}
	if dir == "" {
		return f, nil, nil
	}
	for name, into := range map[string]*[]byte{ // order does not matter: each is a file of its own
		FileSummary: &f.Summary, FileTranscript: &f.Transcript, FileManifest: &f.Manifest, FileStatus: &f.Status,
	} {
		if *into, err = optionalPart(filepath.Join(dir, name)); err != nil {
			return nil, nil, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("looking for bundles: %w", err)
	}
	total := 0
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, BundleSuffix) || name == FileSummary || len(f.Provenances) == maxProvenances {
			continue
		}
		raw, err := readBeside(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, fmt.Errorf("reading a bundle: %w", err)
		}
		if total += len(raw); total > maxBesideBytes {
			return nil, nil, fmt.Errorf("the bundles in %s have more than %d bytes together: leave those of this build there alone", dir, maxBesideBytes)
		}
		f.Provenances = append(f.Provenances, raw)
	}
	raw, err := optionalPart(filepath.Join(dir, FileGenesis))
	if err != nil || raw == nil {
		return f, nil, err
	}
	g, err := ReadGenesis(raw)
	return f, g, err
}

// ReadGenesis decodes a genesis and checks its founder's signature.
func ReadGenesis(raw []byte) (*raftfsm.Genesis, error) {
	g := new(raftfsm.Genesis)
	if err := wire.Decode(raw, g); err != nil {
		return nil, fmt.Errorf("reading the genesis: %w", err)
	}
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("reading the genesis: %w", err)
	}
	return g, nil
}

func optionalPart(path string) ([]byte, error) {
	raw, err := readBeside(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the dossier: %w", err)
	}
	return raw, nil
}

// readBeside reads a part that the reader has not named: whoever filled the directory
// may have put a pipe there, which would never open, or a name that moves a terminal.
func readBeside(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if at := new(fs.PathError); errors.As(err, &at) {
		return nil, fmt.Errorf("opening %q: %w", path, at.Err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file: take it away, or get the directory anew", path)
	}
	if err != nil {
		return nil, err
	}
	return readBounded(f, maxPartBytes)
}

func readPart(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readBounded(f, limit)
}

func readBounded(f *os.File, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%q is larger than %d bytes", f.Name(), limit)
	}
	return raw, err
}
