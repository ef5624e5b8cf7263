package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"gavel/cas"
)

// Put implements cas.Store. It writes a blob anew even if there is one: whether
// somebody else had stored it must not show in the time this takes, and a
// damaged copy is replaced.
func (s *Store) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	if err := errors.Join(ctx.Err(), d.Validate()); err != nil {
		return err
	}
	if d.Size > cas.MaxBlobBytes {
		return fmt.Errorf("blob %s: %w: a blob has at most %d bytes", d, cas.ErrTooLarge, int64(cas.MaxBlobBytes))
	}
	if d == cas.Empty {
		return cas.ExpectEnd(d, r)
	}
	first := s.chunks.Get().(*[chunkBytes]byte)
	defer s.chunks.Put(first)
	if d.Size <= chunkBytes {
		// Verified before a file is made: a lie costs the disk nothing.
		b := first[:d.Size]
		if err := readSmall(d, r, b); err != nil {
			return err
		}
		return s.commit(d, func(f file) error { _, err := f.Write(b); return err })
	}
	second := s.chunks.Get().(*[chunkBytes]byte)
	defer s.chunks.Put(second)
	return s.commit(d, func(f file) error { return receive(ctx, d, r, f, first, second) })
}

// commit lets fill write a temporary file and gives it its name.
func (s *Store) commit(d cas.Digest, fill func(file) error) (err error) {
	temp := s.staging.newPath()
	f, err := s.files.Create(temp)
	if err != nil {
		return fmt.Errorf("storing blob %s: %w", d, err)
	}
	// A crash from here to the rename leaves a file under incoming/, which the
	// next process to open the store sweeps away.
	err = fill(f)
	if err == nil && !s.options.Cache {
		// Content before name: after a power cut the name would show zeros. A cache
		// takes that risk, because Open verifies.
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		// A crash after this leaves the whole blob in sight, perhaps not durably.
		err = s.files.Rename(temp, s.path(d))
	}
	if err != nil {
		// If even this fails, a sweep will do it.
		_ = s.files.Remove(temp)
		return fmt.Errorf("storing blob %s: %w", d, err)
	}
	if !s.options.Cache {
		// Until this returns the caller has been promised nothing; a crash before it
		// leaves the old directory or the new one, right either way.
		if err := s.files.SyncDir(filepath.Dir(s.path(d))); err != nil {
			return fmt.Errorf("storing blob %s: %w", d, err)
		}
	}
	return nil
}

// readSmall fills b, of d.Size bytes, from r and verifies it.
func readSmall(d cas.Digest, r io.Reader, b []byte) error {
	_, err := io.ReadFull(cas.Verify(d, r), b)
	return err
}

// receive copies d's content from r to f and verifies it. While one chunk is
// hashed by a goroutine of its own, it is written and the next one read, so that
// the slower of disk and SHA-256 sets the pace, not their sum.
func receive(ctx context.Context, d cas.Digest, r io.Reader, f file, current, next *[chunkBytes]byte) error {
	hash := sha256.New()
	chunks, hashed := make(chan []byte), make(chan struct{})
	go func() {
		for c := range chunks {
			hash.Write(c)
			hashed <- struct{}{}
		}
		close(hashed)
	}()
	finish := func() { close(chunks); <-hashed }

	left, pending := d.Size, int64(0)
	n, err := readChunk(r, current, left)
	for err == nil && n > 0 {
		chunks <- current[:n]
		_, err = f.Write(current[:n])
		left -= int64(n)
		if pending += int64(n); pending >= writebackBytes {
			f.StartWriteback()
			pending = 0
		}
		var ahead int
		if err == nil {
			if err = ctx.Err(); err == nil {
				ahead, err = readChunk(r, next, left)
			}
		}
		<-hashed
		current, next, n = next, current, ahead
	}
	finish()
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return cas.Mismatch(d, "it ends before its size")
	case err != nil:
		return err
	}
	if err := cas.ExpectEnd(d, r); err != nil {
		return err
	}
	if sum := [sha256.Size]byte(hash.Sum(nil)); sum != d.Sum() {
		return cas.Mismatch(d, fmt.Sprintf("it hashes to %x", sum))
	}
	return nil
}

// readChunk fills c, or as much of it as is left, from r.
func readChunk(r io.Reader, c *[chunkBytes]byte, left int64) (int, error) {
	return io.ReadFull(r, c[:min(left, chunkBytes)])
}
