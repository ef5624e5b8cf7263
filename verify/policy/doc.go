// Package policy owns what somebody demands of a build's evidence before they use
// its result: a file of rules, and whether evidence keeps them. It never gathers or
// verifies evidence, nor reads a clock; what it is given it takes for checked, and
// what it is not given breaks the rules that ask for it. It keeps these invariants:
// a file with a key that it does not know, or twice, is refused, so that no rule is
// dropped silently; a rule that is left out demands nothing, but that simulated
// farms and contested results are never allowed unless the file says so; each
// broken rule is one sentence that says what was found and what is wanted.
package policy
