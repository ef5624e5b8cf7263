package service

import (
	"time"

	"gavel/api/seal"
)

const (
	// maxCommandBytes bounds a command as received: the payload and its frame.
	maxCommandBytes = 64<<10 + 1024
	// maxForwarded bounds the commands of one forwarded call: what consensus puts
	// into one entry.
	maxForwarded = 512

	// maxPurposeBytes is build.Beacon's bound on a purpose.
	maxPurposeBytes = 32

	// maxPending is how many calls one account may have under way that wait for
	// Raft or for disks, and maxStreams how many streams: above what any honest
	// client needs, below what would starve the others.
	maxPending = 64
	maxStreams = 64
	// maxPendingAll and maxStreamsAll bound them for all accounts together.
	maxPendingAll = 2048
	maxStreamsAll = 4096

	// proposeTimeout bounds the proposing of one command, elections included; the
	// client repeats it elsewhere.
	proposeTimeout = 8 * time.Second
	// proposePause lies between two tries while there is no leader.
	proposePause = 100 * time.Millisecond
	// statusTimeout bounds asking one peer how it is.
	statusTimeout = time.Second
	// appearTimeout is how long a build that is not known here may take to be
	// applied: its requester may have been answered by a coordinator that is ahead.
	appearTimeout = 2 * time.Second
	// deliverTimeout bounds a Deliver: checking some GiB of outputs by t coordinators.
	deliverTimeout = 5 * time.Minute

	// maxListed bounds ListBuilds: one message of views.
	maxListed     = 500
	defaultListed = 50

	// submissions is how many actions are checked at once; each may read all
	// directories of a large tree.
	submissions = 4
	// maxActionBytes and maxReapiCommandBytes are those of cas/scope: digests and a
	// timeout; arguments and environment.
	maxActionBytes       = 64 << 10
	maxReapiCommandBytes = 4 << 20
	// maxManifestBytes bounds a manifest: build.MaxOutputs paths of ordinary length.
	maxManifestBytes = 64 << 20
	// maxImageConfigBytes and maxImageLayers are what Docker takes.
	maxImageConfigBytes = 4 << 20
	maxImageLayers      = 127
	// uploadTime is how long the upload of an image may take before its blobs count
	// as left behind.
	uploadTime = 24 * time.Hour
	// maxUploadSets is how many decoded manifests are kept while their blobs come in.
	maxUploadSets = 32
	// maxRights bounds the cached rights of accounts; deriving them again is cheap.
	maxRights = 4096

	// maxLogChunkBytes is what sealing one chunk makes at most.
	maxLogChunkBytes = seal.MaxSealedLogChunkBytes
	// maxLogBytes bounds a lease's log on disk: the sandbox keeps 64 MiB, sealing
	// and records add a little, small chunks somewhat more.
	maxLogBytes = 96 << 20
	// logPoll is how often a followed log is looked at: it may be written by
	// another coordinator's process.
	logPoll = 200 * time.Millisecond
	// logQuiet is how long nothing may come after the builder committed before a
	// followed log counts as complete.
	logQuiet = time.Second

	// maxLogFileBytes bounds a file of the transparency log that a peer reads, an
	// epoch above all, and logFilePartBytes one message of it.
	maxLogFileBytes  = 128 << 20
	logFilePartBytes = 1 << 20
)
