// Package raftfsm is the only replicated truth of a cluster: commands go in,
// in the order of the Raft log, and accounts, workers, auctions, builds and
// their money come out the same on every coordinator. It performs no effect:
// what must be done (a signature made, an opening decrypted, a build run) is
// read off its state by those whose duty it is. After every entry the ledger
// balances, every state has a way out, and the state hash, which costs what
// the entry touched, is equal on all replicas.
//
// Its leaves are pure: wire (the codec), escrow (the ledger), draw, auction,
// build (a build's life). docs/PROTOCOL.md is the prose to all of it.
package raftfsm
