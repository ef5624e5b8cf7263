package worker

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/worker/engine"
)

// The names in a work directory, and in the kept directory it becomes.
const (
	outputsName  = "outputs"
	variedName   = "varied" // outputs of a varied build, for as long as it takes
	manifestName = "manifest"
)

// kept holds the outputs of builds that are committed to, until the farm asks
// for them or no longer can. DIR/kept/LEASE holds one result; "work" in DIR is
// where it was made. A crash between moving one into place and writing its
// record leaves an orphan, which the next start removes and builds again.
type kept struct {
	dir     string
	limit   int64 // bytes
	journal records
	log     *slog.Logger

	// mu is held while a result is found and promised, and while tidy chooses what
	// goes and takes it off the record: neither may see half of the other.
	mu      sync.Mutex
	gone    map[build.ID]time.Time // leases of which the farm no longer speaks, since when; by mu
	awarded map[build.ID]time.Time // promises, by auction, in whose build the farm gave a part, when it last said so; by mu
}

// openKept prepares the directories and removes what a crash has left in them.
func openKept(dir string, limit int64, rs records, log *slog.Logger) (*kept, error) {
	k := &kept{dir: dir, limit: limit, journal: rs, log: log}
	if err := engine.ClearDir(filepath.Join(dir, "work")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "kept"), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of kept outputs: %w", err)
	}
	records := make(map[string]bool)
	err := rs.Each(shelfAttempts, func(key build.ID, _ []byte) error {
		records[hex.EncodeToString(key[:])] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "kept"))
	if err != nil {
		return nil, fmt.Errorf("reading the directory of kept outputs: %w", err)
	}
	for _, e := range entries {
		if !records[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, "kept", e.Name())); err != nil {
				return nil, fmt.Errorf("removing an orphaned result: %w", err)
			}
		}
	}
	return k, nil
}

// work is the directory in which a lease is worked on.
func (k *kept) work(lease build.ID) string {
	return filepath.Join(k.dir, "work", hex.EncodeToString(lease[:]))
}

func (k *kept) path(lease build.ID) string {
	return filepath.Join(k.dir, "kept", hex.EncodeToString(lease[:]))
}

// keep moves a finished work directory and its manifest to where uploads look.
func (k *kept) keep(lease build.ID, m *build.Manifest) error {
	work, place := k.work(lease), k.path(lease)
	if err := os.WriteFile(filepath.Join(work, manifestName), m.Bytes(), 0o600); err != nil {
		return fmt.Errorf("keeping the manifest: %w", err)
	}
	if err := os.RemoveAll(place); err != nil {
		return fmt.Errorf("replacing an earlier result: %w", err)
	}
	if err := os.Rename(work, place); err != nil {
		return fmt.Errorf("keeping the outputs: %w", err)
	}
	return nil
}

// open returns the manifest that is kept for a lease, and the directory of its outputs.
func (k *kept) open(lease build.ID) (*build.Manifest, string, error) {
	raw, err := os.ReadFile(filepath.Join(k.path(lease), manifestName))
	if err != nil {
		return nil, "", fmt.Errorf("reading the kept manifest: %w", err)
	}
	var m build.Manifest
	if err := wire.Decode(raw, &m); err != nil {
		return nil, "", fmt.Errorf("reading the kept manifest: %w", err)
	}
	return &m, filepath.Join(k.path(lease), outputsName), nil
}

// result is one kept result, as tidy judges it.
type result struct {
	lease build.ID
	attemptRecord
}

// tidy removes results that nobody can ask for any more, and the oldest of the
// rest where they exceed the limit; never one whose lease or build is among
// those that the farm speaks of now, nor one that is promised. Bids do not wait
// for the files to go: a crash before that leaves orphans, not promises.
func (k *kept) tidy(now time.Time, asked, busy map[build.ID]bool) error {
	dropped, err := k.drop(now, asked, busy)
	for i := range dropped {
		r := &dropped[i]
		if e := os.RemoveAll(k.path(r.lease)); e != nil {
			err = errors.Join(err, fmt.Errorf("removing kept outputs: %w", e))
			continue
		}
		k.log.Info("outputs are no longer kept", "build", full(r.Build), "lease", short(r.lease))
	}
	return err
}

// drop takes the results that are to go off the record, and returns them.
func (k *kept) drop(now time.Time, asked, busy map[build.ID]bool) (dropped []result, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.release(now, busy); err != nil {
		return nil, err
	}
	promised, err := k.pinned(now)
	if err != nil {
		return nil, err
	}
	var free []result
	var bytes int64
	count := 0
	gone := make(map[build.ID]time.Time)
	err = k.journal.Each(shelfAttempts, func(key build.ID, raw []byte) error {
		r := result{lease: key}
		if err := wire.Decode(raw, &r.attemptRecord); err != nil {
			return err
		}
		bytes += r.bytes()
		count++
		if asked[key] || busy[r.Build] || promised[key] {
			return nil
		}
		since, known := k.gone[key]
		if !known {
			since = now
		}
		gone[key] = since
		free = append(free, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	k.gone = gone
	slices.SortFunc(free, func(a, b result) int { return cmp.Compare(a.WallMillis, b.WallMillis) })
	var keys []build.ID
	for i := range free {
		r := &free[i]
		if now.Sub(gone[r.lease]) < keptAfterSettled && bytes <= k.limit && count <= keptBuilds {
			continue
		}
		dropped, keys = append(dropped, *r), append(keys, r.lease)
		bytes -= r.bytes()
		count--
	}
	if err := k.journal.Delete(shelfAttempts, keys...); err != nil {
		return nil, err
	}
	return dropped, nil
}
