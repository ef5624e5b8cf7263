package draw

import "gavel/raftfsm/wire"

// PPM is certainty in parts per million.
const PPM = 1_000_000

// Sampled decides whether a build of sampling rate ratePPM is validated at
// all: with probability ratePPM / PPM, always from PPM on. It draws from
// H("sample": seed) rather than from the seed, so that being sampled tells
// nothing about who is drawn even if one seed serves both.
func Sampled(seed [32]byte, ratePPM uint64) bool {
	stream := NewStream(wire.NewHasher("sample").Fixed(seed).Sum())
	return stream.Below(PPM) < ratePPM
}
