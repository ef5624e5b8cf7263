// Package source makes a build's input root of a Git commit, by the rule that
// provenance names (attest.GitTreeRule), so that anyone with the repository can
// check that what was built is that commit and nothing else. It never fetches,
// never runs what a repository configures, and never takes Git's word: each
// object, from the commit to the last file, is hashed again and must have the id
// by which it was named. It keeps these invariants: the root is a function of the
// commit's id alone, and equals what cas/tree makes of a clean checkout, by code
// that shares nothing with it; a tree that has no such root is an error that names
// the path.
//
// Sources: Git's gitformat documents (objects, trees), REAPI v2 (Directory and its
// canonical form), Protocol Buffers encoding.
package source
