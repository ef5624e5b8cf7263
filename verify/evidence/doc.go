// Package evidence owns what the transparency log says: which leaves follow from
// what the replicated state leaves for it, in which order, and their exact bytes.
// The coordinators that write the log and the auditors that replay it both ask
// this package, so that they cannot differ; it never decides what is true, never
// signs by itself and never reads a clock, a file or a network. It keeps these
// invariants: a leaf is a function of the item, its transcript and the statements
// that were signed; JSON leaves are RFC 8785 with 64-bit integers as decimal
// strings and digests in lower-case hex; and every leaf says by itself which kind
// it is and whether it ends an item.
package evidence
