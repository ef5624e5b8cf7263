package attest

const (
	// MaxBundleBytes bounds a bundle read: a result of a few hundred thousand
	// files is below it, and a parser needs a few times as much memory.
	MaxBundleBytes = 64 << 20
	// maxClaimBytes bounds a signer's text repeated in a report.
	maxClaimBytes = 256
)
