// Package transcript owns the judgement of one build from its transcript alone:
// identity and certificate, terms, eligible set and stake, every draw, the
// auction, the seats, the verdict, and each transfer. It is a second, naive
// implementation of docs/PROTOCOL.md, an oracle: it never calls the life cycle's
// own functions, and shares with the state machine only the record's codec, its
// hashes, the draw's stream and the beacon's verification. It never asks the
// farm, a clock or a network. It keeps these invariants: whatever bytes come in,
// it neither panics nor passes what it has not recomputed; a difference is named
// by the record's field, with what the rules say and what the record has; and
// what a single build's record cannot show (who was away, what others bid at the
// same time) is listed in every report instead of being taken on trust.
package transcript
