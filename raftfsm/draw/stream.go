// Package draw turns a beacon seed into uniform choices: numbers below a
// bound, permutations, and the ordered list of names that validators and
// auctioneers are taken from. It never learns where a seed came from and never
// draws twice: whoever is missing is replaced by the next name of the same list.
// Equal seeds and equal sets give equal results, whatever order the set came
// in, and every seat is equally likely to fall to each domain.
package draw

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// Stream yields the bytes SHA-256(seed ‖ uint64be counter) for counter 0, 1, …
// eight at a time, as big-endian numbers.
type Stream struct {
	seed    [32]byte
	counter uint64 // of the next block
	block   [32]byte
	used    int // bytes of block
}

// wordBytes is what one number takes from the stream.
const wordBytes = 8

// NewStream starts the stream of a seed.
func NewStream(seed [32]byte) *Stream {
	return &Stream{seed: seed, used: sha256.Size}
}

func (s *Stream) word() uint64 {
	if s.used == sha256.Size {
		var input [sha256.Size + wordBytes]byte
		copy(input[:], s.seed[:])
		binary.BigEndian.PutUint64(input[sha256.Size:], s.counter)
		s.block = sha256.Sum256(input[:])
		s.counter++
		s.used = 0
	}
	w := binary.BigEndian.Uint64(s.block[s.used:])
	s.used += wordBytes
	return w
}

// Below is a uniform number in [0, n). Words at or above the largest multiple
// of n within 2⁶⁴ are rejected, since taking them would favour small results;
// each call takes at least one word, also for n = 1. An n of 0 panics: there
// is nothing to choose from.
func (s *Stream) Below(n uint64) uint64 {
	if n == 0 {
		panic("draw: choosing from nothing")
	}
	excess := -n % n // 2⁶⁴ mod n
	for {
		if w := s.word(); w <= math.MaxUint64-excess {
			return w % n
		}
	}
}

// Permutation is a uniform order of 0 … n−1, by Fisher and Yates from the
// front: entry i is swapped with entry i + Below(n−i), for i = 0 … n−2.
func (s *Stream) Permutation(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := 0; i < n-1; i++ {
		j := i + int(s.Below(uint64(n-i)))
		order[i], order[j] = order[j], order[i]
	}
	return order
}
