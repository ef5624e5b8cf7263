// Package scope owns who may see which blob of a store that all accounts share.
// It never stores content and never tells one account what another has: for a
// stranger a blob is not found, and uploading it takes all of its bytes. An
// account reads what it uploaded itself or was granted, and nothing a tree names
// makes readable what its account could not read already.
package scope
