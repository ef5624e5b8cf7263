package rootfs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const recordSuffix = ".json"

// record is what a shelf remembers of an image besides its directory.
type record struct {
	Bytes  int64  `json:"bytes"`  // that its directory takes of the disk
	Owners string `json:"owners"` // whom its files belong to

	name string
	used time.Time
}

// ownersOf says whom files belong to that are unpacked with opts.
func ownersOf(opts Options) string {
	if os.Geteuid() != 0 {
		return fmt.Sprintf("user %d", os.Geteuid())
	}
	return fmt.Sprintf("from %d", opts.Shift)
}

func (s *Shelf) recordPath(name string) string { return filepath.Join(s.dir, name+recordSuffix) }

// writeRecord is done before its directory gets its name, which syncs both: a
// directory without a record would be taken for a person's.
func (s *Shelf) writeRecord(name string, r record) error {
	b, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(s.recordPath(name), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("recording an image's size: %w", err)
	}
	return nil
}

// readRecords returns all records, the least recently used first. One that
// cannot be read is of no owners, and its image is removed.
func (s *Shelf) readRecords() ([]record, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var records []record
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), recordSuffix)
		if !ok || !isName(name) || !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(s.recordPath(name))
		if err != nil {
			return nil, err
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		var r record
		if err := json.Unmarshal(b, &r); err != nil || r.Bytes < 0 {
			r = record{}
		}
		r.name, r.used = name, info.ModTime()
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name))
	})
	return records, nil
}

// use notes that an image is used now. The caller holds mu.
func (s *Shelf) use(name string, held *shelved) {
	s.uses++
	held.lastUse = s.uses
	if !held.foreign {
		// The order of uses is a matter of speed: what cannot be noted is forgotten at the next start.
		now := time.Now()
		_ = os.Chtimes(s.recordPath(name), now, now)
	}
}

// diskBytes is what a tree takes of the disk, as du counts it.
func diskBytes(dir string) (total int64, err error) {
	seen := map[uint64]bool{} // inodes with several names
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
