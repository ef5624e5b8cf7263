// Package disk owns a content-addressed store in one local directory that many
// processes share. It never trusts what lies there nor what it is given: every
// digest and size is verified on the way in and on the way out, and a damaged
// blob is set aside and reported not found. A name under blobs/ appears only by
// rename of a complete file, so that no crash or race leaves half a blob in sight.
package disk
