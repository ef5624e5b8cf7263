// Package audit replays a whole log and says where it deviates from what the
// farm's own rules make of its inputs. It owns the walk from genesis to the last
// leaf: it runs the state machine over every entry of every epoch, derives every
// leaf, keeps a second, naive ledger of the movements alone, checks the beacon's
// signatures many at once, and holds every file beside the log to what it must
// be. It never asks the farm, never believes what it reads before it has
// recomputed it, and never changes anything but its own resume state. It keeps
// these invariants: a change is named by leaf and field, few times; what cannot be
// checked is said; and an audit that was interrupted ends with the same report.
package audit
