package service

import (
	"bytes"
	"os"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/raftfsm/build"
)

func readAll(t *testing.T, l *Logs, id, lease build.ID) (out [][]byte) {
	t.Helper()
	r, err := l.reader(id, lease)
	check(t, err)
	if r == nil {
		return nil
	}
	defer r.close()
	for {
		offset, data, err := r.next()
		check(t, err)
		if data == nil {
			return out
		}
		if offset != uint64(len(out)) {
			t.Fatalf("chunk %d is numbered %d", len(out), offset)
		}
		out = append(out, data)
	}
}

// A crash leaves a chunk half written at any byte: readers do not see it, and the
// next writer, of this process or another, goes on after the last whole one.
func TestLogSurvivesATornChunk(t *testing.T) {
	l, err := OpenLogs(t.TempDir())
	check(t, err)
	lease := build.ID{2}
	chunk := []byte{7, 7, 7}
	for torn := range 4 + len(chunk) {
		id := build.ID{1, byte(torn)}
		w, err := l.writer(id, lease)
		check(t, err)
		check(t, w.append(0, chunk))
		check(t, w.append(1, chunk))
		w.close()
		info, err := os.Stat(l.path(id, lease))
		check(t, err)
		check(t, os.Truncate(l.path(id, lease), info.Size()-int64(len(chunk))-4+int64(torn)))
		if got := readAll(t, l, id, lease); len(got) != 1 {
			t.Fatalf("torn after %d bytes: %d chunks are read", torn, len(got))
		}
		w, err = l.writer(id, lease)
		check(t, err)
		if w.chunks != 1 {
			t.Fatalf("torn after %d bytes: the writer counts %d chunks", torn, w.chunks)
		}
		check(t, w.append(1, []byte{8}))
		w.close()
		if got := readAll(t, l, id, lease); len(got) != 2 || !bytes.Equal(got[1], []byte{8}) {
			t.Fatalf("torn after %d bytes: then %v is read", torn, got)
		}
	}
}

// A worker whose coordinator vanished goes on at another that has the file open
// too: each chunk is there once, in order.
func TestLogOfTwoWriters(t *testing.T) {
	l, err := OpenLogs(t.TempDir())
	check(t, err)
	id, lease := build.ID{1}, build.ID{2}
	a, err := l.writer(id, lease)
	check(t, err)
	defer a.close()
	b, err := l.writer(id, lease)
	check(t, err)
	defer b.close()
	for i := range byte(6) {
		w := a
		if i%2 == 1 {
			w = b
		}
		check(t, w.append(uint64(i), []byte{i}))
		check(t, a.append(uint64(i), []byte{99})) // again, late, elsewhere
	}
	got := readAll(t, l, id, lease)
	if len(got) != 6 {
		t.Fatalf("%d chunks", len(got))
	}
	for i := range got {
		if got[i][0] != byte(i) {
			t.Errorf("chunk %d is %v", i, got[i])
		}
	}
	if err := a.append(9, []byte{1}); status.Code(err) != codes.OutOfRange {
		t.Errorf("a gap: %v", err)
	}
	for _, data := range [][]byte{nil, make([]byte, maxLogChunkBytes+1)} {
		if err := a.append(6, data); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	}
}

func FuzzLogReader(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 9, 0, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, content []byte) {
		l, err := OpenLogs(t.TempDir())
		check(t, err)
		w, err := l.writer(build.ID{}, build.ID{})
		check(t, err)
		w.close()
		check(t, os.WriteFile(l.path(build.ID{}, build.ID{}), content, 0o644))
		r, err := l.reader(build.ID{}, build.ID{})
		check(t, err)
		defer r.close()
		total := 0
		for {
			_, data, err := r.next()
			if err != nil || data == nil {
				break
			}
			total += 4 + len(data)
		}
		if total > len(content) {
			t.Fatalf("read %d bytes of %d", total, len(content))
		}
	})
}
