// Package attest owns what is signed about a build: the provenance of a builder or
// validator and the cluster's verification summary (VSA), as in-toto statements in
// DSSE, raw or inside a Sigstore bundle, with the log's entry about each; and the
// check of one such bundle against a file and a key. It never asks the farm, a
// network or a clock, and a good bundle never says more than that a key's owner
// claimed something: what was not proven is listed in every Report. It keeps
// these invariants: statement, envelope, leaf and bundle are functions of their
// inputs alone, byte for byte, so that every coordinator and auditor derives what
// was signed and logged; what is read back is refused unless it is in that one
// form; text that JSON cannot carry is refused, never replaced; integers of 64
// bits are decimal strings; and cosign accepts what Assemble and AssembleLogged
// make, slsa-verifier what Envelope makes.
//
// Sources: in-toto Attestation Framework v1 (Statement), SLSA v1.1 (provenance,
// verification summary), DSSE v1 (pre-authentication encoding),
// sigstore/protobuf-specs v0.5 (bundle v0.3, trusted root v0.1), Rekor 2's
// hashedrekord 0.0.2, C2SP signed-note, RFC 8785 (canonical JSON).
package attest
