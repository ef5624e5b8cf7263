// Package beacon is the farm's common coin: threshold BLS signatures over
// BLS12-381, the distributed key generation that leaves every coordinator with a
// share and nobody with the key, and what an auditor needs to check a draw. It
// never reads a clock, a network or a file, never makes randomness (dealing takes
// an io.Reader; sealing a share draws its ephemeral key inside crypto/hpke) and
// never prints a hidden scalar, not even through fmt. It keeps these invariants:
// a message has exactly one signature that verifies, whichever t members made it;
// every point that enters was checked for encoding, curve, subgroup and not being
// the identity; verifying, combining and assembling are functions of their
// arguments alone, so that every replica reaches the same verdict.
//
// The scheme is drand's bls-unchained-g1-rfc9380: signatures in G1 (48 bytes
// compressed), keys in G2 (96 bytes), hashing to the curve as in RFC 9380, and
// randomness = SHA-256(signature). With n members t = ⌊n/2⌋+1 must sign.
//
// The key generation is joint Feldman (Pedersen, "A threshold cryptosystem
// without a trusted party", EUROCRYPT 1991) with the Raft log as its bulletin
// board. A member that posts last can bias the group key; Gennaro, Jarecki,
// Krawczyk and Rabin ("Secure distributed key generation for discrete-log based
// cryptosystems", J. Cryptology 20, 2007) show the bias and that signatures of
// this kind stay unforgeable under such a key. The beacon needs no more: its
// values are hashes of signatures, not bits of the key. drand generates its keys
// the same way, for the same reason.
//
// A dealer keeps its Dealing on disk until the ceremony ends:
//
//	NewDealing → Dealing.Deal → (log) → Deal.Verify by Apply → OpenShare by each member
//	   → Complaint → Dealing.Justify → Justification.Open → Assemble by Apply → CombineShares
//
// BUG(gavel): gnark-crypto's scalar multiplication is not constant time. A share
// signs only messages that the replicated state demands, at times set by the farm,
// and its duration is not answered to anyone; who can time a coordinator's
// processor closely enough can also read its memory.
package beacon
