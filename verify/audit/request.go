package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gavel/raftfsm"
	"gavel/raftfsm/wire"
	"gavel/verify/tlog"
)

// Request is an audit as a command line asks for it. Paths and addresses are as
// given; what is empty is not asked for.
type Request struct {
	Dir string // a copy: every file in it must be accounted for
	URL string // of a served log
	// Served is the directory of a coordinator that may be writing to it.
	Served string

	Cluster  string // the id that is trusted, in hex
	Genesis  string // a genesis file whose cluster is trusted
	Since    []string
	Notes    []Note // further checkpoints to be compared
	Receipts []string
	State    string // where the resume state is kept; empty: in the user's cache
	Fresh    bool   // no resume state is used or kept
	Out      io.Writer
	Live     bool // Out is a terminal
}

// source says where the log is.
func (r *Request) source() (tlog.Source, string, error) {
	switch {
	case r.Dir != "" && r.URL == "" && r.Served == "":
		return tlog.DirSource(r.Dir), r.Dir, isDirectory(r.Dir)
	case r.Served != "" && r.Dir == "" && r.URL == "":
		return tlog.DirSource(r.Served), r.Served, isDirectory(r.Served)
	case r.URL != "" && r.Dir == "" && r.Served == "":
		return tlog.HTTPSource(r.URL, nil), r.URL, nil
	}
	return nil, "", fmt.Errorf("%w: name one log", ErrUnusable)
}

func isDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is no directory", ErrUnusable, dir)
	}
	return nil
}

// options reads what the request names.
func (r *Request) options() (o Options, err error) {
	if r.Dir != "" {
		o.List = func() ([]string, error) { return ListDir(r.Dir) }
		o.Sums = func() ([]byte, error) { return readSumsFile(r.Dir) }
	}
	if o.Cluster, err = r.cluster(); err != nil {
		return o, err
	}
	o.Since = r.Notes
	for _, path := range r.Since {
		raw, err := readFile(path, tlog.MaxNoteBytes)
		if err != nil {
			return o, err
		}
		o.Since = append(o.Since, Note{path, raw})
	}
	for _, path := range r.Receipts {
		raw, err := readFile(path, MaxReceiptBytes)
		if err != nil {
			return o, err
		}
		receipt, err := ReadReceipt(filepath.Base(path), raw)
		if err != nil {
			return o, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		o.Receipts = append(o.Receipts, receipt)
	}
	return o, nil
}

// cluster is the id that the auditor trusts, nil for none.
func (r *Request) cluster() (*raftfsm.ID, error) {
	var id raftfsm.ID
	switch {
	case r.Genesis != "":
		raw, err := readFile(r.Genesis, maxGenesisBytes)
		if err != nil {
			return nil, err
		}
		g := new(raftfsm.Genesis)
		if err := wire.Decode(raw, g); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnusable, r.Genesis, err)
		}
		id = g.Digest()
		if r.Cluster != "" && r.Cluster != hexOf(id) {
			return nil, fmt.Errorf("%w: %s is the genesis of cluster %x", ErrUnusable, r.Genesis, id)
		}
		return &id, nil
	case r.Cluster != "":
		if n, err := hex.Decode(id[:], []byte(r.Cluster)[:min(len(r.Cluster), 64)]); err != nil || n != 32 || len(r.Cluster) != 64 {
			return nil, fmt.Errorf("%w: %q is no cluster id: want 64 hex digits", ErrUnusable, r.Cluster)
		}
		return &id, nil
	}
	return nil, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrUnusable, path, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrUnusable, path, limit)
	}
	return raw, nil
}

// statePath is where an audit of a log keeps its resume state: named after the
// log's place, so that audits of two do not meet.
func (r *Request) statePath(place string) string {
	if r.State != "" {
		return r.State
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "" // nowhere: the audit begins anew each time
	}
	if abs, err := filepath.Abs(place); err == nil && r.URL == "" {
		place = abs
	}
	id := sha256.Sum256([]byte(place))
	return filepath.Join(cache, "gavel", "audit", hex.EncodeToString(id[:16])+".state")
}

// Audit carries the request out.
func (r *Request) Audit(ctx context.Context) (*Report, error) {
	src, place, err := r.source()
	if err != nil {
		return nil, err
	}
	o, err := r.options()
	if err != nil {
		return nil, err
	}
	if path := r.statePath(place); path != "" && !r.Fresh {
		if r.State != "" && ResumeFile(path).foreign() {
			return nil, fmt.Errorf("%w: %s is no state of an audit, and would be written over: name a file that is not there, or give --fresh", ErrUnusable, path)
		}
		o.Resume = ResumeFile(path)
	}
	bar := NewBar(r.Out, r.Live)
	defer bar.End()
	o.Progress = bar.Show
	report, err := Run(ctx, src, o)
	if ctx.Err() != nil && err != nil && o.Resume != nil {
		err = fmt.Errorf("%w. Run it again: the same command goes on where it stopped", err)
	}
	return report, err
}

// Export audits the log and copies it into a directory.
func (r *Request) Export(ctx context.Context, dir string) (*Report, error) {
	src, _, err := r.source()
	if err != nil {
		return nil, err
	}
	o, err := r.options()
	if err != nil {
		return nil, err
	}
	bar := NewBar(r.Out, r.Live)
	defer bar.End()
	o.Progress = bar.Show
	return Export(ctx, src, dir, o)
}
