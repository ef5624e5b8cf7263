package auction

const (
	// MaxSteps bounds a value function: it is signed, logged and evaluated for
	// every bid, and nobody values more moments apart than this.
	MaxSteps = 64

	// MaxDomainBytes bounds the key of an independence domain: a hash in hex or
	// a machine's declared id.
	MaxDomainBytes = 128

	// MaxDomains bounds the domains that odds are computed for, so that exact
	// binomials stay small enough to compute while a submit is applied.
	MaxDomains = 1 << 20

	// MaxValidators bounds k: beyond it no odds improve that anyone can pay for.
	MaxValidators = 64
)

const (
	// MaxAsks bounds the bids of one auction of any kind.
	MaxAsks = 1 << 20

	// MaxUnits bounds the units of one ask and of one clearing: with MaxAsks
	// their sum stays within 2⁶⁰, and what they cost within 2¹²².
	MaxUnits = 1 << 40
)
