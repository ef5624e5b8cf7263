package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Hasher computes H = SHA-256(tag ‖ 0x00 ‖ fields): integers as 8 bytes
// big-endian, fixed fields as they are, variable ones behind a u32 length.
// The tags are listed with vectors in docs/PROTOCOL.md.
type Hasher struct{ buf []byte }

// NewHasher starts a hash under "gavel/v1/"+tag.
func NewHasher(tag string) *Hasher {
	buf := make([]byte, 0, 192) // two or three keys and some integers
	return &Hasher{buf: append(append(append(buf, "gavel/v1/"...), tag...), 0)}
}

// U64 appends an integer as 8 bytes big-endian.
func (h *Hasher) U64(v uint64) *Hasher {
	h.buf = binary.BigEndian.AppendUint64(h.buf, v)
	return h
}

// I64 appends a signed integer as 8 bytes big-endian, two's complement.
func (h *Hasher) I64(v int64) *Hasher { return h.U64(uint64(v)) }

// Fixed appends 32 bytes as they are.
func (h *Hasher) Fixed(v [32]byte) *Hasher {
	h.buf = append(h.buf, v[:]...)
	return h
}

// Var appends a variable field behind its u32 length.
func (h *Hasher) Var(v []byte) *Hasher {
	h.buf = binary.BigEndian.AppendUint32(h.buf, uint32(len(v)))
	h.buf = append(h.buf, v...)
	return h
}

// Text appends a string as a variable field.
func (h *Hasher) Text(v string) *Hasher { return h.Var([]byte(v)) }

// Sum is the hash of all that was appended.
func (h *Hasher) Sum() [32]byte { return sha256.Sum256(h.buf) }

// Preimage is what Sum hashes: the message that is signed where a hash is not.
func (h *Hasher) Preimage() []byte { return h.buf }

// Compare32 orders 32-byte keys as big-endian numbers.
func Compare32(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }

// SortedKeys returns m's keys in ascending order: the only way a pure room walks a map.
func SortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}
