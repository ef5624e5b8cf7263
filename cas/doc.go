// Package cas owns what content-addressed storage means here: digests, the
// Store interface, the errors a caller can act on, and resource names. It never
// keeps a blob itself (see cas/disk) nor decides who may see one (see
// cas/scope). Whatever passes through it is named by SHA-256 and size, and no
// byte sequence is accepted or handed out whole under a digest it does not have.
package cas
