package build

// Limits of everything a build record holds. Each is far above honest use and
// keeps one record, and so one Raft entry, small.
const (
	MaxPathBytes      = 4096           // PATH_MAX
	MaxOutputs        = 200_000        // paths of one result, directories expanded
	MaxSignatureBytes = 256            // Ed25519 is 64, ASN.1 P-256 at most 72
	MaxLodgedBytes    = 8192           // an opening sealed to each of at most 9 coordinators
	MaxSeats          = 32             // validators k
	MaxWorkers        = 4096           // workers of one pool, and so eligible ones, bids and names of a build
	MaxAttempts       = 2 * MaxWorkers // every worker may be tried once, and the parties once more
	MaxNameBytes      = 128            // names of nodes, operators, machines, pools
	MaxPlatformBytes  = 256            // "host" or an image digest
	MaxPlatforms      = 256            // roots one worker offers
	MaxClassBytes     = 512            // a fingerprint class
	MaxExpected       = 64             // published digests that a submission is held against; a command is at most 64 KiB
	MaxTransfers      = 4 * MaxWorkers // a forfeit or a fine of each worker, and the fees
)
