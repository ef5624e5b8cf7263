package duty

import "time"

const (
	// maxComputations bounds signatures and decryptions under way: each is a
	// millisecond of one processor, and builds want the processors.
	maxComputations = 4

	// rankDelay is what each rank behind the leader waits. Above the time a
	// proposal takes, below anyone's patience.
	rankDelay = 200 * time.Millisecond

	// A duty that failed is tried again after retryMin, doubling up to retryMax.
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second

	// proposeTimeout bounds one attempt to propose; peerTimeout one call to a peer.
	proposeTimeout = 10 * time.Second
	peerTimeout    = 5 * time.Second

	// validForMillis is how long, in farm time, a command of this node is valid.
	validForMillis = 10 * 60_000

	// maxEarly bounds, for each coordinator, the partials that arrive before this
	// node's own state demands them. A node that is behind by more asks again by
	// falling back on the others' combined signature.
	maxEarly = 1024

	// archivePause is the least time between two looks for settled builds. The
	// state keeps 4096 of them, far more than settle meanwhile.
	archivePause = 500 * time.Millisecond

	// archiveBatch bounds the builds that one look copies, and so the time that
	// the state is held.
	archiveBatch = 256

	// maxRemembered bounds the memory of what was archived: several times what the
	// state retains.
	maxRemembered = 16384

	// lockTimeout is how long to wait for an archive that another process holds.
	lockTimeout = 5 * time.Second
)
