// Package attest owns what a builder or validator signs: an in-toto Statement
// with SLSA provenance, in a DSSE envelope inside a Sigstore bundle, and the
// check of one such bundle against a file and a key. It never asks the farm, a
// network or a clock, and a good bundle never says more than that a key's owner
// claimed something: what was not proven is listed in every Report. It keeps
// these invariants: statement and bundle are functions of their inputs alone,
// byte for byte, so that every coordinator derives what the author signed; text
// that JSON cannot carry is refused, never replaced; integers of 64 bits are
// decimal strings; and cosign accepts what Assemble makes.
//
// Sources: in-toto Attestation Framework v1 (Statement), SLSA v1.0 (provenance),
// DSSE v1 (pre-authentication encoding), sigstore/protobuf-specs (bundle v0.3),
// RFC 8785 (canonical JSON).
package attest
