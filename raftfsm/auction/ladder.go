package auction

import (
	"cmp"
	"encoding/binary"
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// ladder is an order-statistic tree of entries, cheapest first, in which every
// rung sums up what is below it. It is weight-balanced (Nievergelt, Reingold,
// SIAM J. Comput. 2, 1973) with the parameters ⟨3, 2⟩ that Hirai and Yamamoto
// proved sound for insertion and deletion (J. Funct. Program. 21, 2011): no
// subtree weighs more than three times its sibling, so no path is longer than
// log(n+1) / log(4/3) ≈ 2.41 · log₂(n+1), whatever bidders choose as ids.
//
// The shape depends on the history, hence is not canonical: nothing may hash it.
// All answers depend on the set of entries alone. An entry keeps its place in the
// arena while it stands, and the arena keeps the places of those that left.
type ladder struct {
	rungs []rung // the first is no entry: the empty subtree, with totals of 0
	free  []int32
	root  int32
}

type rung struct {
	entry       Entry
	left, right int32 // places in the arena; 0 is empty
	count       int32 // of the subtree, as the two sums below
	units       uint64
	cost        wide
}

const (
	maxSiblingRatio = 3 // Δ: a subtree is too heavy beyond this many times its sibling
	singleRotation  = 2 // Γ: its inner child may weigh less than this many times the outer one for a single rotation
)

const notOnLadder = "auction: broken invariant: a bid that stands is not where its price says"

// compareEntries is the order of sale: price, then tie, then id.
func compareEntries(a, b *Entry) int {
	if c := cmp.Compare(a.Price, b.Price); c != 0 {
		return c
	}
	return cmp.Or(wire.Compare32(a.Tie, b.Tie), wire.Compare32(a.ID, b.ID))
}

// inOrder lists the places of entries in the order of sale. It sorts keys of a
// third of an entry's size, which decide all but a few comparisons.
func inOrder(entries []Entry) []int32 {
	type key struct {
		price escrow.Credits
		tie   uint64 // the first bytes of it
		at    int32
	}
	keys := make([]key, len(entries))
	for i := range entries {
		e := &entries[i]
		keys[i] = key{e.Price, binary.BigEndian.Uint64(e.Tie[:]), int32(i)}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := cmp.Compare(a.price, b.price); c != 0 {
			return c
		}
		if c := cmp.Compare(a.tie, b.tie); c != 0 {
			return c
		}
		return compareEntries(&entries[a.at], &entries[b.at])
	})
	order := make([]int32, len(keys))
	for i := range keys {
		order[i] = keys[i].at
	}
	return order
}

// newLadder sorts entries, no two of which have one id, and links them in O(n).
func newLadder(entries []Entry) *ladder {
	l := &ladder{rungs: make([]rung, len(entries)+1)}
	for i, at := range inOrder(entries) {
		l.rungs[i+1].entry = entries[at]
	}
	l.root = l.link(1, int32(len(entries)))
	return l
}

// link makes a tree of the rungs from first to last, which are in order.
func (l *ladder) link(first, last int32) int32 {
	if first > last {
		return 0
	}
	at := first + (last-first)/2
	return l.join(at, l.link(first, at-1), l.link(at+1, last))
}

// join hangs two subtrees under a rung and sums them up.
func (l *ladder) join(at, left, right int32) int32 {
	n, a, b := &l.rungs[at], &l.rungs[left], &l.rungs[right]
	n.left, n.right = left, right
	n.count = a.count + b.count + 1
	n.units = a.units + b.units + n.entry.Units
	n.cost = a.cost.plus(b.cost).plus(product(n.entry.Price, n.entry.Units))
	return at
}

// add inserts an entry that is not on the ladder and returns its place.
func (l *ladder) add(e Entry) int32 {
	at := int32(len(l.rungs))
	if n := len(l.free); n > 0 {
		at, l.free = l.free[n-1], l.free[:n-1]
		l.rungs[at] = rung{entry: e}
	} else {
		l.rungs = append(l.rungs, rung{entry: e})
	}
	l.root = l.insert(l.root, at)
	return at
}

func (l *ladder) insert(root, at int32) int32 {
	if root == 0 {
		return l.join(at, 0, 0)
	}
	n := &l.rungs[root]
	if compareEntries(&l.rungs[at].entry, &n.entry) < 0 {
		return l.balance(root, l.insert(n.left, at), n.right)
	}
	return l.balance(root, n.left, l.insert(n.right, at))
}

// drop removes the entry at a place.
func (l *ladder) drop(at int32) {
	l.root = l.remove(l.root, at)
	l.free = append(l.free, at)
}

func (l *ladder) remove(root, at int32) int32 {
	n := &l.rungs[root]
	switch {
	case root == 0:
		panic(notOnLadder)
	case root == at && n.left == 0:
		return n.right
	case root == at && n.right == 0:
		return n.left
	case root == at:
		next, rest := l.cutFirst(n.right)
		return l.balance(next, n.left, rest)
	case compareEntries(&l.rungs[at].entry, &n.entry) < 0:
		return l.balance(root, l.remove(n.left, at), n.right)
	}
	return l.balance(root, n.left, l.remove(n.right, at))
}

// cutFirst takes the first rung out of a subtree.
func (l *ladder) cutFirst(root int32) (first, rest int32) {
	n := &l.rungs[root]
	if n.left == 0 {
		return root, n.right
	}
	first, rest = l.cutFirst(n.left)
	return first, l.balance(root, rest, n.right)
}

// weight of a subtree is one more than its count.
func (l *ladder) weight(at int32) int32 { return l.rungs[at].count + 1 }

// balance joins two subtrees that are balanced, and each at most one entry away
// from being so beside the other, by rotating the heavier one over if need be.
func (l *ladder) balance(at, left, right int32) int32 {
	a, b := l.weight(left), l.weight(right)
	switch {
	case b > maxSiblingRatio*a:
		n := l.rungs[right] // a copy: join writes to the arena
		if l.weight(n.left) < singleRotation*l.weight(n.right) {
			return l.join(right, l.join(at, left, n.left), n.right)
		}
		inner := l.rungs[n.left]
		return l.join(n.left, l.join(at, left, inner.left), l.join(right, inner.right, n.right))
	case a > maxSiblingRatio*b:
		n := l.rungs[left]
		if l.weight(n.right) < singleRotation*l.weight(n.left) {
			return l.join(left, n.left, l.join(at, n.right, right))
		}
		inner := l.rungs[n.right]
		return l.join(n.right, l.join(left, n.left, inner.left), l.join(at, inner.right, right))
	}
	return l.join(at, left, right)
}

// reduce takes units, fewer than it has, from the entry at a place.
func (l *ladder) reduce(at int32, units uint64) {
	e := &l.rungs[at].entry
	spent := product(e.Price, units)
	for down := l.root; down != 0; {
		n := &l.rungs[down]
		n.units -= units
		n.cost = n.cost.minus(spent)
		switch {
		case down == at:
			e.Units -= units
			return
		case compareEntries(e, &n.entry) < 0:
			down = n.left
		default:
			down = n.right
		}
	}
	panic(notOnLadder)
}

// rank is how many entries come before the one at a place.
func (l *ladder) rank(at int32) int {
	before := int32(0)
	for down := l.root; down != 0; {
		n := &l.rungs[down]
		left := l.rungs[n.left].count
		switch {
		case down == at:
			return int(before + left)
		case compareEntries(&l.rungs[at].entry, &n.entry) < 0:
			down = n.left
		default:
			before += left + 1
			down = n.right
		}
	}
	panic(notOnLadder)
}

// at is the entry with so many before it, which there is.
func (l *ladder) at(rank int) *Entry {
	left := int32(rank)
	for down := l.root; down != 0; {
		n := &l.rungs[down]
		before := l.rungs[n.left].count
		switch {
		case left < before:
			down = n.left
		case left == before:
			return &n.entry
		default:
			left -= before + 1
			down = n.right
		}
	}
	panic(notOnLadder)
}

// within counts the entries at a price or below, and their units.
func (l *ladder) within(price escrow.Credits) (count int, units uint64) {
	for down := l.root; down != 0; {
		n := &l.rungs[down]
		if n.entry.Price > price {
			down = n.left
			continue
		}
		left := &l.rungs[n.left]
		count += int(left.count) + 1
		units += left.units + n.entry.Units
		down = n.right
	}
	return count, units
}

// prefix buys the cheapest units: how many there are, what they cost and the
// price of the last.
func (l *ladder) prefix(units uint64) (bought uint64, cost wide, last escrow.Credits) {
	down := l.root
	for down != 0 && bought < units {
		n := &l.rungs[down]
		left := &l.rungs[n.left]
		want := units - bought
		if want <= left.units {
			down = n.left
			continue
		}
		take := min(want-left.units, n.entry.Units)
		bought += left.units + take
		cost = cost.plus(left.cost).plus(product(n.entry.Price, take))
		last = n.entry.Price
		down = n.right
	}
	return bought, cost, last
}

// ascend calls visit with the entries in order until it returns false.
func (l *ladder) ascend(visit func(*Entry) bool) { l.ascendFrom(l.root, visit) }

func (l *ladder) ascendFrom(root int32, visit func(*Entry) bool) bool {
	if root == 0 {
		return true
	}
	n := &l.rungs[root]
	return l.ascendFrom(n.left, visit) && visit(&n.entry) && l.ascendFrom(n.right, visit)
}
