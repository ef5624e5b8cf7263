// Package api is how a gavel cluster is spoken to: the tokens that say who
// calls, and a client that signs commands, fails over between coordinators and
// repeats the same request id until it knows the outcome. It never decides
// anything, holds no state of the farm beyond the last Info and keeps no key
// but through a Signer. Whatever it repeats is harmless to repeat: commands are
// named by sender and request id, everything else only reads or puts content
// under its own digest.
package api
