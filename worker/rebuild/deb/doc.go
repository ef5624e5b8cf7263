// Package deb makes a build of a Debian package whose answer the archive has
// published: its source, the command that rebuilds it, what it needs for that, and
// the digest of the archive's own binary package. All of it comes through apt, which checks
// it against the archive's signatures, in a state directory of its own: neither the machine's
// sources nor its lists are changed. It runs no build itself; equal parameters
// give equal actions, and a source enters a build only under the digests that the archive signed.
package deb
