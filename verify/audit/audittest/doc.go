// Package audittest makes whole markets to audit: the real state machine, real
// Ed25519 keys for everybody, a real beacon group, builds of every lane and
// every verdict, and the directory that a coordinator of it would serve. It is
// for tests and benchmarks alone, never fakes a signature, and never asks a
// network or the wall clock. Two worlds of the same options differ in nothing
// but the ciphertexts of the key generation.
package audittest
