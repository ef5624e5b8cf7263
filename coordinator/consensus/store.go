package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// store is what a node keeps on disk: DIR/raft.db with log and votes, and
// DIR/snapshots.
type store struct {
	bolt      *raftboltdb.BoltStore
	log       raft.LogStore // bolt behind a cache of the newest entries
	snapshots raft.SnapshotStore
}

func openStore(dir string, log hclog.Logger) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the raft directory: %w", err)
	}
	path := filepath.Join(dir, "raft.db")
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout: lockTimeout,
			// The list of free pages is rebuilt at open instead of being written
			// with every entry; the log is small, so that takes milliseconds.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening the raft log %s: another process holds it; stop that node first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the raft log %s: %w", path, err)
	}
	cache, err := raft.NewLogCache(logCacheEntries, bolt)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("caching the raft log: %w", err), bolt.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the snapshots in %s: %w", dir, err), bolt.Close())
	}
	return &store{bolt: bolt, log: cache, snapshots: snapshots}, nil
}
