// Package result owns the comparison of what two machines built: which paths of
// two result manifests differ and why, at which byte two files part, and how to
// say so in a sentence. It never judges who was right and never fetches a file.
// It keeps these invariants: two manifests compare as equal exactly when their
// encodings are equal, differences come in path order, and every text is fit for
// a terminal whatever the paths hold.
package result
