package consensus

import "time"

const (
	// maxPeers is what a lodgement has room for (build.MaxLodgedBytes), and more
	// than Raft is good for.
	maxPeers = 9

	// maxEntryBytes bounds the commands of one Raft entry: one write and one
	// message that a local disk and network take in a few milliseconds.
	maxEntryBytes = 1 << 20

	// commandOverheadBytes is a command's encoding without payload and signature,
	// rounded up.
	commandOverheadBytes = 96

	// maxQueuedCalls bounds the proposals that wait while an entry is in flight.
	// Each holds at most maxEntryBytes, in practice a few hundred bytes.
	maxQueuedCalls = 4096

	// enqueueTimeout is how long Raft's own queue may be full before a batch is
	// given up; it is only ever full while the disk stands still.
	enqueueTimeout = 5 * time.Second

	// forwardTimeout bounds one forwarded batch. A change of leader ends it sooner.
	forwardTimeout = 10 * time.Second

	// transportTimeout bounds reads and writes between nodes. A snapshot gets more,
	// in proportion to its size.
	transportTimeout = 5 * time.Second

	// transportPool is how many idle connections to one peer are kept.
	transportPool = 3

	// maxTickMillis caps what one tick adds: a leader that was stopped for longer
	// must not make every lease lapse at once.
	maxTickMillis = 1000

	// clockAge is how old the state's wall time may be when a command is proposed: while
	// nothing waits for a time no tick brings it another.
	clockAge = time.Second

	// commitTimeout is how long a leader with nothing to send may leave its
	// followers without the newest commit index.
	commitTimeout = 5 * time.Millisecond

	// maxAppendEntries bounds one message to a follower that is behind, at worst
	// to maxAppendEntries × maxEntryBytes.
	maxAppendEntries = 64

	// A snapshot is considered every snapshotInterval (to twice that) and taken
	// when snapshotThreshold entries lie beyond the last: some minutes of ticks. A
	// restart replays at most those, about a second. trailingLogs stay behind a
	// snapshot for followers that were away a short while.
	snapshotInterval  = 30 * time.Second
	snapshotThreshold = 4096
	trailingLogs      = 2048

	// snapshotsKept leaves one older snapshot should the newest prove unreadable.
	snapshotsKept = 2

	// logCacheEntries keeps the newest entries in memory for replication.
	logCacheEntries = 256

	// lockTimeout is how long to wait for a log that another process still holds:
	// one that was just killed is gone by then.
	lockTimeout = 5 * time.Second
)
