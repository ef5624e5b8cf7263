// Package escrow is the farm's double-entry ledger of micro-credits: accounts,
// immutable transfers, and two-phase holds that end in exactly one post or void.
// It never reads a clock, never decides who is owed what, and never lets a
// refused operation change anything. After every operation no balance is below
// zero, each account's held balance is the sum of its pending transfers, and
// all balances together are what was minted less what was burned.
package escrow
