// Package service is one coordinator's gRPC face: the Farm service for
// requesters and workers, the Node service for its peers, and the rules by which
// accounts reach the blob store. It never changes the replicated state but by
// proposing commands that their senders signed, and decides nothing about a
// build that Apply does not decide again. It keeps these invariants: before the
// verdict no answer, blob or log of it shows a result to anybody; a log is read by
// the requester alone and written by the builder alone; what it vouches for as
// stored it has checked byte by byte, and its requester may read.
package service
