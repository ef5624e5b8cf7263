// Package publish is how a coordinator makes the farm's evidence public: it keeps
// what every applied entry leaves for the log, derives the leaves from it, appends
// them to this node's own tile log, signs the checkpoint with the cluster's key,
// gathers the other coordinators' cosignatures, and writes beside the log what an
// audit reads. It never decides what is logged and in which order: that follows
// from the applied state, so that every coordinator has the same log. It keeps
// these invariants: an entry that Raft may forget is on disk here; a leaf is
// appended once, in the order of its item, whatever crashes; no entry is shown
// while a price or a result in it is secret; and this node cosigns no checkpoint
// that is not of the log it holds itself.
package publish
