package lab

const (
	// MaxBidders bounds values, units and sybil names: a Tullock contest costs
	// about their number times its logarithm, a report lists each of them.
	MaxBidders = 1000

	// MinAmount is the least value, price or reserve above 0: one micro-credit,
	// the farm's unit. A cost may be 0.
	MinAmount = 1e-6

	// MaxAmount bounds values, costs and reserves, in credits: a thousand times
	// as many micro-credits fit the farm's 2⁶², so payments for MaxBidders units
	// do too.
	MaxAmount = 1e9

	// MinAlpha and MaxAlpha bound Tullock's exponent: below, shares hardly depend
	// on bids; above, the highest bid wins all but always.
	MinAlpha = 0.01
	MaxAlpha = 1000

	// MaxTicketsEach bounds what the highest value pays for in lottery tickets:
	// counts stay exact in a float, and their sum below auction.MaxTickets.
	MaxTicketsEach = 1e6
)

const (
	// MinRounds is what a confidence interval takes: a deviation from the mean.
	MinRounds = 2

	// MaxRounds and MaxDraws bound a simulation: MaxRounds narrows an interval to
	// a thousandth of a deviation, MaxDraws values (rounds times names) take some
	// minutes.
	MaxRounds = 10_000_000
	MaxDraws  = 100_000_000

	// MaxShade bounds what is added to a cost, as a part of it: from there on it
	// is above any reserve that somebody else is below.
	MaxShade = 100

	// MaxCapacity bounds the units of one simulated bidder; with MaxBidders their
	// sum stays small beside auction.MaxUnits.
	MaxCapacity = 1000
)
