// Package inputs owns a worker's private cache of input trees, laid out as
// directories that serve as read-only lower layers of builds. It never hands out
// a tree that is not complete and verified, nor shares a file between trees by
// hard link: a build may change what it sees, and only a copy of its own. A tree
// in use is never evicted, and none outlives a restart of the machine, because
// only blobs, not laid-out files, are verified when read.
package inputs
