// Package worker is one worker of a farm: it bids for builds, runs what it has
// won or was drawn for in a sandbox, commits to the result and uploads it after
// the verdict. It never sees the replicated state, another party's result or a
// coordinator's key, and never lets a byte of an output leave the machine before
// the cluster asks for it. What it must not lose is on disk before it is acted
// upon: a bid's nonce before its commitment is sent, a result with its opening
// before its commitment is sent; so a worker killed at any moment opens every bid
// it placed and repeats, never contradicts, what it committed.
//
// Assignments, sent by the cluster after every change, say all that is asked of
// the worker now. duties.go turns them into tasks that are begun, repeated until
// they succeed, and cancelled when they are no longer asked for; nothing else
// remembers what is to be done, so that a restart needs no recovery of its own.
package worker
