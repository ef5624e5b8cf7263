// Package diff owns the explanation of differences: given two files, or two trees
// of files, that ought to be equal, it says which member of which archive in which
// file differs, in which bytes, and why, where that can be shown. It never judges
// who was right, never runs what it reads, and never follows a link out of a tree;
// only where it is asked to does it start another program, diffoscope.
// It keeps these invariants: two inputs have a difference exactly when their bytes,
// types, modes or targets differ; a cause is named only together with the evidence
// for it, and is "unknown" otherwise; what is said to follow from a cause was read on
// both sides to the last byte; what a stranger's archive can make it read,
// keep or print is bounded by limits.go; and every name is quoted before a terminal
// or a browser sees it.
package diff
