package tlog

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAppend reports, as x-fdatasync, how many times longer a sealed batch of
// 256 entries takes than the least that durability and the tree cost: hashing its
// leaves and nodes, and one write and fdatasync of its bytes, in turns in the same
// run. What is on top is that the log is readable as it stands: a file for every
// tile, and the size that seals them.
func BenchmarkAppend(b *testing.B) {
	const entryBytes = 700 // a hashedrekord leaf
	l, err := OpenLog(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	bare, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = bare.Close() }()
	// Not at a tile's boundary: as in life, each batch leaves partial tiles.
	if _, err := l.Append(someEntries(0, 100)); err != nil {
		b.Fatal(err)
	}
	batch := make([][]byte, tileWidth)
	for i := range batch {
		batch[i] = bytes.Repeat([]byte{'x'}, entryBytes)
	}
	var limit time.Duration
	for b.Loop() {
		for i := range batch {
			binary.BigEndian.PutUint64(batch[i], l.Size()+uint64(i))
		}
		begin := time.Now()
		if err := bareBatch(bare, batch); err != nil {
			b.Fatal(err)
		}
		limit += time.Since(begin)
		if _, err := l.Append(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed()-limit)/float64(limit), "x-fdatasync")
	b.ReportMetric(float64(len(batch)*b.N)/(b.Elapsed()-limit).Seconds(), "entries/s")
}

// bareBatch hashes a batch and makes it durable at the end of one open file.
func bareBatch(f *os.File, batch [][]byte) error {
	hashes := make([][32]byte, len(batch))
	var content []byte
	for i, entry := range batch {
		hashes[i] = LeafHash(entry)
		content = append(content, entry...)
	}
	perfectRoot(hashes)
	if _, err := f.Write(content); err != nil {
		return err
	}
	return syscall.Fdatasync(int(f.Fd()))
}
