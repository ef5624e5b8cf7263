// Package layout owns blobs in a directory that anybody can read without Gavel:
// each is a file blobs/sha256/HASH, as OCI layouts have them, so that a build's
// inputs and its image fit into one directory. It never removes or replaces a
// blob that is whole, and writes nothing where it only reads. What it hands out
// under a digest has that digest; what lies there instead is found by Check.
package layout
