// Package image reads images from where people have them: an archive of docker
// save, an OCI layout, a registry, a directory, or debootstrap. It owns the
// finding, choosing and decompressing; it never unpacks an image, runs anything
// of one, or writes but into its own temporary files and the layout that it is
// told to, and nothing that an input says makes it read a file outside that input. Configs pass to the byte, so that an image
// has one name wherever it was read from, and a directory gives the same name on
// every machine that has the same tree.
//
// Errors that wrap sandbox.ErrRefused are the input's own, and say what to do.
package image
