// Package build is a build's life: its terms, its record, every transition from
// Queued to Settled, the verdict and the payments. It is pure: farm time, the
// ledger and the workers come in as arguments, and nothing it does depends on a
// clock, randomness, a map's order or a float. It keeps these invariants: every
// state has a deadline or a coordinator's duty that leads out of it, a build
// settles exactly once, and a settled build's escrow is zero.
//
// docs/PROTOCOL.md is the prose to this package; lifecycle.go is its table of
// transitions, verdict.go the judgement, settle.go the payments.
package build
