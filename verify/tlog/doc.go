// Package tlog owns the transparency log: appending to it, its checkpoints and
// who must have signed them, proofs, reading and checking any copy of it, serving
// it, and witnessing it. The formats are C2SP's tlog-tiles, tlog-checkpoint,
// tlog-cosignature and tlog-witness, so that public tools read what is written
// here (https://c2sp.org/tlog-tiles).
//
// It never knows what an entry says, never decides when to publish, and never
// believes what it reads: a hash from a tile or an entry from a bundle counts only
// when it leads to the root of a checkpoint.
//
// It keeps these invariants: a sealed batch is never lost, changed or appended
// twice, whatever the moment of a crash; nothing beyond the published checkpoint
// is served; no witness cosigns two checkpoints that cannot both be prefixes of
// one log, because its memory reaches the disk before its signature leaves.
package tlog
