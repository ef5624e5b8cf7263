package clock

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// image is a stack in memory from base on, with nothing around it.
type image struct {
	base  uint64
	bytes []byte
}

func (m *image) read(address uint64, b []byte) (int, unix.Errno) {
	if address < m.base || address >= m.base+uint64(len(m.bytes)) {
		return 0, unix.EFAULT
	}
	return copy(b, m.bytes[address-m.base:]), 0
}

func (m *image) write(address uint64, b []byte) unix.Errno {
	if address < m.base || address+uint64(len(b)) > m.base+uint64(len(m.bytes)) {
		return unix.EFAULT
	}
	copy(m.bytes[address-m.base:], b)
	return 0
}

func word(b []byte, size, v uint64) []byte {
	if size == 8 {
		return binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(v))
}

// newImage lays out a stack as the kernel does, and tells where in it the vDSO's entry is, or -1.
func newImage(base, size uint64, arguments, variables int, vector [][2]uint64) (*image, int) {
	b := word(nil, size, uint64(arguments))
	for _, n := range []int{arguments, variables} {
		for i := range n {
			b = word(b, size, 0x7fff0000+uint64(i))
		}
		b = word(b, size, 0)
	}
	at := -1
	for _, entry := range vector {
		if entry[0] == auxVDSO {
			at = len(b)
		}
		b = word(word(b, size, entry[0]), size, entry[1])
	}
	return &image{base, word(word(b, size, auxEnd), size, 0)}, at
}

func TestHideVDSO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]uint64{4, 8}).Draw(t, "word")
		var vector [][2]uint64
		for range rapid.IntRange(0, 30).Draw(t, "entries") {
			// A value may be the number that is sought as a type, or the end's.
			vector = append(vector, [2]uint64{rapid.Uint64Range(2, 32).Draw(t, "type"), rapid.SampledFrom([]uint64{0, 33, 77}).Draw(t, "value")})
		}
		if n := rapid.IntRange(-1, len(vector)).Draw(t, "place"); n >= 0 {
			vector = append(vector[:n:n], append([][2]uint64{{auxVDSO, 0x7ffff000}}, vector[n:]...)...)
		}
		base := 0x7ff000000000>>(8-size)*16 + 16*rapid.Uint64Range(0, 255).Draw(t, "base")
		arguments, variables := rapid.IntRange(0, 3000).Draw(t, "arguments"), rapid.IntRange(0, 3000).Draw(t, "variables")
		m, at := newImage(base, size, arguments, variables, vector)
		want := append([]byte(nil), m.bytes...)
		if at >= 0 {
			copy(want[at:], word(nil, size, auxIgnore))
		}
		var w words
		if errno := hideVDSO(&w, m, base, size); errno != 0 {
			t.Fatal(errno)
		}
		if string(m.bytes) != string(want) {
			t.Fatal("another image than wanted")
		}
	})
}

// A stack that is none ends the search, whatever is on it.
func FuzzHideVDSO(f *testing.F) {
	m, _ := newImage(0x1000, 8, 2, 3, [][2]uint64{{6, 4096}, {auxVDSO, 0x7000}})
	f.Add(m.bytes, true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true)
	f.Fuzz(func(t *testing.T, b []byte, wide bool) {
		size := uint64(4)
		if wide {
			size = 8
		}
		before := append([]byte(nil), b...)
		var w words
		hideVDSO(&w, &image{0x7ffff010, b}, 0x7ffff010, size)
		changed := 0
		for i := range b {
			if b[i] != before[i] {
				changed++
			}
		}
		if changed > 8 {
			t.Errorf("%d bytes changed", changed)
		}
	})
}

func TestHideVDSOFailures(t *testing.T) {
	for name, c := range map[string]struct {
		bytes []byte
		want  unix.Errno
	}{
		"nothing":           {nil, unix.EFAULT},
		"cut":               {word(word(nil, 8, 1), 8, 5), unix.EFAULT},
		"absurd arguments":  {word(nil, 8, 1<<40), unix.E2BIG},
		"endless variables": {append(word(word(nil, 8, 0), 8, 0), make5(maxStackBytes+4096)...), unix.E2BIG},
	} {
		var w words
		if errno := hideVDSO(&w, &image{0x7ff000, c.bytes}, 0x7ff000, 8); errno != c.want {
			t.Errorf("%s: %v, want %v", name, errno, c.want)
		}
	}
}

func make5(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 5
	}
	return b
}
