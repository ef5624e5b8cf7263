package cas

// Limits of the storage boundary.
const (
	// MaxBlobBytes bounds one blob: larger than any artefact a build of 4 GiB of
	// disk can leave, small enough that one upload cannot fill a store unnoticed.
	MaxBlobBytes = 16 << 30
	// MaxBatchBytes bounds the BatchCost of one batch call: gRPC's default
	// message limit is 4 MiB, less room for names and framing.
	MaxBatchBytes = 4<<20 - 64<<10
	// batchOverheadBytes is what one blob adds to a batch message beside its
	// content: 64 hex digits, a size, a status and their framing.
	batchOverheadBytes = 128
	// MaxMissingDigests bounds one FindMissingBlobs call: as many digests as fit
	// a 4 MiB message.
	MaxMissingDigests = 1 << 16
	// MaxResourceNameBytes bounds a ByteStream resource name: instance, uuid,
	// digest and a trailing file name.
	MaxResourceNameBytes = 4096
	// copyStreams is how many blobs InProcess moves at once: enough to overlap
	// fsyncs, which a journaling file system then groups.
	copyStreams = 8
)

// BatchCost is what a blob counts towards MaxBatchBytes, in bytes.
func BatchCost(d Digest) int64 { return d.Size + batchOverheadBytes }
