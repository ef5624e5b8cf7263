package attest

const (
	// MaxBundleBytes bounds a bundle read: a result of a few hundred thousand
	// files is below it, and a parser needs a few times as much memory.
	MaxBundleBytes = 64 << 20
	// maxClaimBytes bounds a signer's text repeated in a report.
	maxClaimBytes = 256
	// MaxLeafBytes bounds a log entry about a statement: digest, signature and key
	// in base64 are below 1 KiB.
	MaxLeafBytes = 4 << 10
	// MaxWithheldBytes bounds a file that opens a withheld command: a command is at
	// most a few hundred KiB.
	MaxWithheldBytes = 4 << 20
	// maxProofHashes bounds an inclusion proof: a tree of 2⁶⁴ leaves is as deep.
	maxProofHashes = 64
	// maxCheckpointBytes bounds a checkpoint: a note of a few hundred bytes and 100
	// for each coordinator and witness.
	maxCheckpointBytes = 64 << 10
)
