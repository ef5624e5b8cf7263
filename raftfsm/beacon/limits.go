package beacon

const (
	// MaxMembers bounds a group: every member's share lies in every deal, so a
	// ceremony costs n² ciphertexts in the log. Raft clusters have 9 at most.
	MaxMembers = 31
	// MaxBatch bounds one VerifyBatch: a Raft entry's worth of signatures, about
	// a second of work on one core.
	MaxBatch = 4096
	// maxFileBytes bounds a share or dealing file: a dealing of MaxMembers has 16
	// coefficients of 32 bytes in base64.
	maxFileBytes = 4096
)
