package tlog

import "time"

const (
	// MaxEntryBytes is what the 16-bit length of an entry bundle can say
	// (tlog-tiles, "Log entries").
	MaxEntryBytes = 1<<16 - 1
	// MaxBatchEntries bounds what one Append holds in memory, and with it how far
	// behind the sealed size a crash can leave files: 256 bundles.
	MaxBatchEntries = 1 << 16
	// MaxBatchBytes bounds the same in bytes: a batch is held three times, as
	// entries, as bundles and in the page cache.
	MaxBatchBytes = 256 << 20
	// MaxNoteBytes bounds a signed checkpoint: three lines and maxSignatures lines
	// of about 200 bytes (a name of 64, an ECDSA signature of 72 in base64).
	MaxNoteBytes = 32 << 10
	// maxSignatures is how many lines golang.org/x/mod/sumdb/note reads.
	maxSignatures = 100
	// maxOriginBytes bounds an origin and a key's name: a host name has at most
	// 253, and the name of a coordinator follows it.
	maxOriginBytes = 512
	// MaxFileBytes bounds a file beside the log (PutFile): transcripts and manifests
	// are a few MiB, an epoch 4 MiB and its last entry, which Raft lets be large.
	MaxFileBytes = 128 << 20
	// maxPathBytes bounds a path in a log's directory; the longest of ours is a
	// transcript's, below 100.
	maxPathBytes = 256

	// tileWidth is how many hashes or entries a full tile holds: 2^tileHeight.
	tileWidth  = 256
	tileHeight = 8
	hashBytes  = 32
	// maxTileBytes and maxBundleBytes are what a full tile and a bundle of the
	// longest entries hold.
	maxTileBytes   = tileWidth * hashBytes
	maxBundleBytes = tileWidth * (2 + MaxEntryBytes)
	// maxSize keeps every index and node in an int64 with room to spare, as public
	// readers hold them; it is 70,000 entries a second for two million years.
	maxSize = 1 << 62

	// httpTries is how often a file is asked for over HTTP, and httpPause what lies
	// between, growing: a restart of the server takes about a second.
	httpTries = 3
	httpPause = 500 * time.Millisecond

	// maxProofHashes is what add-checkpoint allows, and more than a tree of maxSize needs.
	maxProofHashes = 63
)
