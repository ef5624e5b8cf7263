package escrow

const (
	// MaxNameBytes bounds an account's name: it is shown in one line of a table.
	MaxNameBytes = 128

	// MaxAccounts bounds participants and live builds together. At some 180
	// bytes each a snapshot of that many still fits in memory several times.
	MaxAccounts = 1 << 20

	// MaxTransfers bounds the transfer ids that are remembered, pending and
	// finished: a build uses fewer than 64 in its life, and retires them.
	MaxTransfers = 1 << 23

	// MaxParts bounds one Post: the winner, 4k+2 validators, the auctioneer, an
	// uploader and the treasury, with k at most some dozens.
	MaxParts = 1 << 10
)
