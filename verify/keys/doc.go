// Package keys owns signing keys: making them, reading them from files or a KMS,
// naming them, and checking what they signed. It never decides whom to trust and
// never writes over a key. It keeps these invariants: every key is Ed25519 or
// ECDSA P-256, a private key lies in a file that only its owner wrote and
// strangers cannot read, and a key's id is the SHA-256 of its PKIX DER everywhere.
package keys
