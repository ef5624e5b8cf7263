// Package lab is the market's laboratory: it owns the equilibria of the family
// of mechanisms that gavel chose its lanes from, what each is worth in revenue,
// efficiency and fairness, and simulations of what rings, sybils, shills and
// shaded bids gain under the rules that the farm runs. It never decides anything
// about a farm, never moves money and never writes a rule of the farm anew: what
// the farm has is simulated by raftfsm/auction itself, in micro-credits; floats
// live here and nowhere else. It keeps three promises: an equilibrium it returns
// is one, to the residual it documents, and where none is known it says so; a
// simulation is a function of its experiment alone, whatever machine runs it;
// and input that it cannot answer honestly is refused, wrapping ErrInput.
//
// Equilibria are those of complete information: every bidder knows all values.
// Simulations draw values that only their owner knows, but for contests and
// lotteries, which are played as if all knew.
package lab
