package service

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/raftfsm/build"
)

// Logs keeps the builds' logs, as they were encrypted, in a directory that the
// coordinators of a farm share: BUILD/LEASE, a list of chunks, each behind its
// length in four bytes, big-endian. Nothing is fsynced: a power cut may cost the
// end of a log, which proves nothing and is paid for by nobody.
type Logs struct{ dir string }

// OpenLogs opens the directory, which it makes if need be.
func OpenLogs(dir string) (*Logs, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening log store: %w", err)
	}
	return &Logs{dir: dir}, nil
}

func (l *Logs) path(id, lease build.ID) string {
	return filepath.Join(l.dir, hex.EncodeToString(id[:]), hex.EncodeToString(lease[:]))
}

// logWriter appends to one lease's log. Another process may append to the same:
// a worker whose coordinator vanished goes on at the next while the first still
// has its last chunks.
type logWriter struct {
	lease  build.ID
	file   *os.File
	chunks uint64 // in the file up to size
	size   int64  // bytes of whole chunks
}

func (l *Logs) writer(id, lease build.ID) (*logWriter, error) {
	path := l.path(id, lease)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	w := &logWriter{lease: lease, file: f}
	if err := w.locked(w.catchUp); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

func (w *logWriter) close() { w.file.Close() }

// locked runs do while no other process writes.
func (w *logWriter) locked(do func() error) error {
	if err := unix.Flock(int(w.file.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking log: %w", err)
	}
	defer unix.Flock(int(w.file.Fd()), unix.LOCK_UN)
	return do()
}

// catchUp counts what others have written and cuts off a chunk that a crash left
// half written.
func (w *logWriter) catchUp() error {
	r := logReader{file: w.file, size: w.size, chunks: w.chunks}
	for {
		_, data, err := r.next()
		if err != nil {
			return err
		}
		if data == nil {
			break
		}
	}
	w.size, w.chunks = r.size, r.chunks
	end, err := w.file.Seek(0, io.SeekEnd)
	if err == nil && end > w.size {
		err = w.file.Truncate(w.size)
	}
	return err
}

// append writes the chunk numbered offset, unless it is there. Errors are statuses.
func (w *logWriter) append(offset uint64, data []byte) error {
	if len(data) == 0 || len(data) > maxLogChunkBytes {
		return status.Errorf(codes.InvalidArgument, "a log chunk of %d bytes, want 1 to %d", len(data), maxLogChunkBytes)
	}
	return w.locked(func() error {
		if err := w.catchUp(); err != nil {
			return status.Errorf(codes.Internal, "reading the log: %v", err)
		}
		switch {
		case offset < w.chunks:
			return nil
		case offset > w.chunks:
			return status.Errorf(codes.OutOfRange, "chunk %d of the log, %d are here: send it from there", offset, w.chunks)
		case w.size+int64(len(data)) > maxLogBytes:
			return status.Errorf(codes.ResourceExhausted, "the log has reached %d bytes; the rest is dropped", int64(maxLogBytes))
		}
		record := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
		if _, err := w.file.WriteAt(record, w.size); err != nil {
			return status.Errorf(codes.Internal, "writing the log: %v", err)
		}
		w.size += int64(len(record))
		w.chunks++
		return nil
	})
}

// logReader reads one lease's log from the start, while it may still grow.
type logReader struct {
	file   *os.File
	size   int64 // bytes read
	chunks uint64
}

// reader opens a log; nil where nothing was ever written.
func (l *Logs) reader(id, lease build.ID) (*logReader, error) {
	f, err := os.Open(l.path(id, lease))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &logReader{file: f}, nil
}

func (r *logReader) close() { r.file.Close() }

// next returns the next whole chunk and its number; no data where there is none yet.
func (r *logReader) next() (offset uint64, data []byte, err error) {
	var head [4]byte
	if n, err := r.file.ReadAt(head[:], r.size); n < len(head) {
		return 0, nil, unlessEnd(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxLogChunkBytes {
		return 0, nil, fmt.Errorf("log is damaged at byte %d", r.size)
	}
	data = make([]byte, n)
	if got, err := r.file.ReadAt(data, r.size+int64(len(head))); got < len(data) {
		return 0, nil, unlessEnd(err) // its writer is not done
	}
	offset = r.chunks
	r.size += int64(len(head)) + int64(n)
	r.chunks++
	return offset, data, nil
}

func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
