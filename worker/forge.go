package worker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// lowball bids a tenth of the honest price, to be sure to win.
type lowball struct{ inner pricer }

// Price implements pricer.
func (l lowball) Price(estimateMillis int64) (escrow.Credits, error) {
	p, err := l.inner.Price(estimateMillis)
	return p / 10, err
}

// forger builds, and as a builder alters one byte of what came out: another one
// each time. As a validator it is honest.
type forger struct {
	inner executor
	log   *slog.Logger
}

// Execute implements executor.
func (f *forger) Execute(ctx context.Context, j *job) (*product, error) {
	p, err := f.inner.Execute(ctx, j)
	if err != nil || !j.Builder {
		return p, err
	}
	f.log.Warn("forges the result", "build", full(j.Build), "lease", short(j.Lease))
	for i := range p.Manifest.Outputs {
		o := &p.Manifest.Outputs[i]
		if o.Type == build.OutputFile && o.Size > 0 {
			return p, forgeFile(filepath.Join(j.outputs(), filepath.FromSlash(o.Path)), o)
		}
	}
	if p.Manifest.Status == build.StatusExited {
		p.Manifest.ExitCode ^= 1 // nothing to alter but the verdict on the command itself
	}
	return p, nil
}

// forgeFile changes one random byte of a file to a random other value.
func forgeFile(path string, o *build.Output) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("forging: %w", err)
	}
	at, err := rand.Int(rand.Reader, big.NewInt(int64(len(content))))
	if err != nil {
		return fmt.Errorf("forging: %w", err)
	}
	change, err := rand.Int(rand.Reader, big.NewInt(255))
	if err != nil {
		return fmt.Errorf("forging: %w", err)
	}
	content[at.Int64()] ^= byte(change.Int64() + 1)
	o.Digest = sha256.Sum256(content)
	// A new file: the old one may be read-only.
	if err := errors.Join(os.Remove(path), os.WriteFile(path, content, 0o644)); err != nil {
		return fmt.Errorf("forging: %w", err)
	}
	return nil
}
