// Package rebuild builds again, on anybody's own machine, what a provenance
// statement is about, and compares. It runs what a worker runs (worker/engine)
// from inputs in a directory, asks no farm and no network, and signs nothing. It
// believes no name: every blob has the digest that the statement leads to, or is
// reported, and nothing is built from one that has not unless that is asked for;
// and a result counts as equal only if its whole digest is the stated one.
package rebuild
