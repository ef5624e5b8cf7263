package build

// Limits of everything a build record holds. Each is far above honest use and
// keeps one record, and so one Raft entry, small.
const (
	MaxPathBytes      = 4096    // PATH_MAX
	MaxOutputs        = 200_000 // paths of one result, directories expanded
	MaxSignatureBytes = 256     // Ed25519 is 64, ASN.1 P-256 at most 72
	MaxLodgedBytes    = 8192    // an opening sealed to each of at most 9 coordinators
	MaxSeats          = 32      // validators k
	MaxWorkers        = 4096    // eligible workers of one build
	MaxNameBytes      = 128     // names of nodes, operators, machines, pools
	MaxPlatformBytes  = 256     // "host" or an image digest
	MaxPlatforms      = 256     // roots one worker offers
	MaxClassBytes     = 512     // a fingerprint class
	MaxValueSteps     = 64      // steps of a value function
	MaxTransfers      = 1024    // transfers of one build: seats × rounds × purposes stay below
	MaxAuctioneers    = 1 << 16 // replacements of an auctioneer
)
