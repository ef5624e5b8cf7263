package worker

import "time"

// Bounds on what a worker reads, holds and waits for.
const (
	maxConfigBytes = 64 << 10 // a page of settings

	// maxTasks bounds what is under way or remembered at once; a farm that asks
	// for more of one worker is answered in portions.
	maxTasks = 1024

	// uploadsAtOnce keeps one large upload from delaying the deadline of another.
	uploadsAtOnce = 2

	// logBufferBytes is how much log may wait for the cluster; the build never
	// waits for it, what does not fit is dropped and said.
	logBufferBytes = 4 << 20
	// logChunkBytes is the most of a log that is sealed into one chunk; the sealed
	// chunk must stay below seal.MaxSealedLogChunkBytes.
	logChunkBytes = 48 << 10
	// logChunksAtOnce bounds one call to AppendLog to about a megabyte.
	logChunksAtOnce = 20
	// logGather is how long a first line waits for others: a person who follows
	// the log does not notice, and a chatty build sends ten chunks a second.
	logGather = 100 * time.Millisecond
	// logAway is how long the log may wait for a cluster that takes none; what
	// came in the meantime is then dropped, and said.
	logAway = 30 * time.Second

	// logFlush bounds what the end of a log may delay the commitment by.
	logFlush = 2 * time.Second

	// runTries is how often a lease is tried where the sandbox or the fetching
	// fails, before it is given up so that another can take it.
	runTries = 3

	// rootsEvery is how often the runner is asked which roots it offers.
	rootsEvery = 30 * time.Second
	// housekeepEvery is how often outputs that are no longer wanted are removed.
	housekeepEvery = time.Minute

	// retryFirst and retryMost are the pauses between tries of a task.
	retryFirst = 200 * time.Millisecond
	retryMost  = 10 * time.Second
	// repeatAfter is when a task that succeeded and is still asked for is done
	// again: the cluster may not have said yet that it heard.
	repeatAfter = 5 * time.Second

	// keptAfterSettled is how long outputs stay once their build has left the
	// assignments: a coordinator may lag behind for a moment.
	keptAfterSettled = 10 * time.Minute
	// keptBuilds bounds the outputs kept by number.
	keptBuilds = 4096

	// bidAge is how long the nonce of a bid is kept: the longest a build may wait
	// for an award, a week of outages included.
	bidAge = 8 * 24 * time.Hour

	// promiseMargin is what a finished result stays for in any case once a bid has
	// promised it: bidding, reveals, a few auctioneers that fail, the graces of
	// leases; a minute or two, many times over.
	promiseMargin = time.Hour
	// promiseStints is how many whole builds may pass from a bid to its award. A
	// successor is awarded when the winner before it defaults, at the latest after
	// it has waited for a build's time and then run for another. Several that draw
	// it out so far one after the other are not provided for.
	promiseStints = 2
	// promiseMillisPerMB is what each MB of input adds to a build's time, as by
	// default in a farm.
	promiseMillisPerMB = 1000

	// askAge is how long the nonce of a sealed ask is kept: an ask stands until
	// its pool has work, however long that takes.
	askAge = 366 * 24 * time.Hour

	// estimateSamples past durations make a median; estimateActions actions are
	// remembered, the rest is estimated from all builds of the platform.
	estimateSamples = 9
	estimateActions = 4096

	// defaultEstimateMillis is what a build is taken to need while nothing is
	// known: half a minute, an ordinary compilation.
	defaultEstimateMillis = 30_000
	// auctionMillis is what passes between the opening of the bidding and the
	// award with the default windows, in which bids are opened at once.
	auctionMillis = 1_000

	// feedPause is how long a worker waits when the farm would not say what is
	// asked of it, before it asks again.
	feedPause = time.Second

	// maxLogFileBytes is when the log file is set aside as NAME.1.
	maxLogFileBytes = 16 << 20
)
