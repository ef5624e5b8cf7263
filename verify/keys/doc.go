// Package keys owns signing keys: making them, encrypting them at rest, reading
// them from files or a KMS, naming them, and checking what they signed. It never
// decides whom to trust, never writes over a key, and never takes a passphrase on a
// command line, where others would see it. It keeps these invariants: every key is
// Ed25519 or ECDSA P-256, a private key lies in a file that only its owner wrote
// and strangers cannot read, its encrypted form is the one that cosign reads and
// writes, and a key's id is the SHA-256 of its PKIX DER everywhere.
package keys
