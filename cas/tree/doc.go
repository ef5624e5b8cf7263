// Package tree owns directory trees in the form REAPI v2 gives them: reading,
// checking, encoding, scanning, uploading and downloading them. It never follows
// a symbolic link, local or remote, nor writes where a name could lead out of
// the directory it was given. A Tree that exists has passed every check here:
// clean unique names, links that stay inside, one size for each hash, and a
// bounded size when expanded, however often its subtrees are shared.
package tree
