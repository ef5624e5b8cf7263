package audit

import (
	"context"
	"slices"
	"sort"

	"gavel/raftfsm"
)

// aligner holds the leaves of a segment to the slots that the replay has for it.
// Leaves that are missing, added, repeated or out of place are told from leaves
// that were changed: what both have and in the same order, as much of it as can
// be, is in place, and between that lies what is not.
type aligner struct {
	a      *auditor
	slots  []slot
	leaves []leaf
	slotOf []int // by leaf: the slot with its key, -1 for none
	leafOf []int // by slot
}

// slotsOf are the leaves that items call for.
func (a *auditor) slotsOf(ctx context.Context, items []raftfsm.Item) (all []slot, err error) {
	for i := range items {
		slots, err := a.slots(ctx, &items[i])
		if err != nil {
			return nil, err
		}
		all = append(all, slots...)
		if k := items[i].Key; k != nil && k.Role == raftfsm.RoleCluster && len(k.NewKey) > 0 {
			a.clusterKeys = append(a.clusterKeys, k.NewKey)
		}
	}
	return all, nil
}

// align compares a segment with the items that belong to it.
func (a *auditor) align(ctx context.Context, items []raftfsm.Item, leaves []leaf) error {
	slots, err := a.slotsOf(ctx, items)
	if err != nil {
		return err
	}
	l := &aligner{a: a, slots: slots, leaves: leaves}
	if !l.inPlace() {
		l.match()
		l.compare()
	}
	a.recent = map[[32]byte]bool{}
	for i := range slots {
		a.recent[slots[i].key] = true
	}
	return nil
}

// prefix compares what leaves it can with items that are not all of a segment's,
// and returns how many leaves those were.
func (a *auditor) prefix(ctx context.Context, items []raftfsm.Item, leaves []leaf) (int, error) {
	slots, err := a.slotsOf(ctx, items)
	if err != nil {
		return 0, err
	}
	l := &aligner{a: a, slots: slots, leaves: leaves}
	n := 0
	for n < min(len(slots), len(leaves)) && l.fits(n, n) {
		l.take(n, n)
		n++
	}
	return n, nil
}

// key is a leaf's; what is no leaf of ours has none.
func (l *aligner) key(j int) [32]byte {
	if l.leaves[j].of == nil {
		return [32]byte{}
	}
	return keyOf(l.leaves[j].of)
}

// fits says whether a leaf belongs into a slot: a summary without its file takes
// any of the cluster's, and what could not be read is not reported twice.
func (l *aligner) fits(i, j int) bool {
	x := &l.leaves[j]
	if x.raw == nil {
		return true
	}
	if l.slots[i].key == [32]byte{} {
		return x.of != nil && x.of.Record != nil && l.a.isClusterKey(x.of.Record.PKIX)
	}
	return l.slots[i].key == l.key(j)
}

// inPlace takes everything where everything fits.
func (l *aligner) inPlace() bool {
	if len(l.slots) != len(l.leaves) {
		return false
	}
	for i := range l.slots {
		if !l.fits(i, i) {
			return false
		}
	}
	for i := range l.slots {
		l.take(i, i)
	}
	return true
}

// match finds for every slot the leaf with its key: of copies the nearest, which
// is the likeliest original.
func (l *aligner) match() {
	l.slotOf, l.leafOf = make([]int, len(l.leaves)), make([]int, len(l.slots))
	free := map[[32]byte][]int{}
	for j := range l.leaves {
		l.slotOf[j] = -1
		if k := l.key(j); k != [32]byte{} {
			free[k] = append(free[k], j)
		}
	}
	for i := range l.slots {
		l.leafOf[i] = -1
		k := l.slots[i].key
		if len(free[k]) == 0 {
			continue
		}
		best := 0
		for n, j := range free[k] {
			if distance(i, j) < distance(i, free[k][best]) {
				best = n
			}
		}
		j := free[k][best]
		l.slotOf[j], l.leafOf[i] = i, j
		free[k] = slices.Delete(free[k], best, best+1)
	}
}

func distance(a, b int) int { return max(a-b, b-a) }

// anchors are the leaves that are in place: a longest increasing sequence of
// slots (Fredman, "On computing the length of longest increasing subsequences",
// Discrete Mathematics 1975).
func (l *aligner) anchors() (leaves []int) {
	var tails []int // by length, the leaf that ends the sequence with the lowest slot
	before := make([]int, len(l.leaves))
	for j, i := range l.slotOf {
		if i < 0 {
			continue
		}
		n := sort.Search(len(tails), func(n int) bool { return l.slotOf[tails[n]] >= i })
		before[j] = -1
		if n > 0 {
			before[j] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, j)
		} else {
			tails[n] = j
		}
	}
	if len(tails) == 0 {
		return nil
	}
	for j := tails[len(tails)-1]; j >= 0; j = before[j] {
		leaves = append(leaves, j)
	}
	slices.Reverse(leaves)
	return leaves
}

// compare goes from anchor to anchor.
func (l *aligner) compare() {
	i, j := 0, 0
	for _, at := range l.anchors() {
		l.gap(i, l.slotOf[at], j, at)
		l.take(l.slotOf[at], at)
		i, j = l.slotOf[at]+1, at+1
	}
	l.gap(i, len(l.slots), j, len(l.leaves))
}

// gap compares slots i to n and leaves j to m, between which nothing is in place.
func (l *aligner) gap(i, n, j, m int) {
	what := "nothing more"
	if i < len(l.slots) {
		what = l.slots[i].what
	}
	var slots, leaves []int
	for ; i < n; i++ {
		if l.leafOf[i] < 0 { // else it stands elsewhere
			slots = append(slots, i)
		}
	}
	for ; j < m; j++ {
		if l.slotOf[j] >= 0 {
			l.a.report.deviate(l.leaves[j].index, "order", what, l.a.describe(&l.leaves[j]))
			l.take(l.slotOf[j], j)
			continue
		}
		leaves = append(leaves, j)
	}
	for len(slots) > 0 && len(leaves) > 0 && !l.repeats(leaves[0]) {
		l.changed(slots[0], leaves[0])
		slots, leaves = slots[1:], leaves[1:]
	}
	for _, i := range slots {
		at := l.leaves[len(l.leaves)-1].index + 1
		if m < len(l.leaves) {
			at = l.leaves[m].index
		}
		l.a.report.deviate(at, "leaf", l.slots[i].what, "it is missing")
		l.beside(i, at)
	}
	for _, j := range leaves {
		l.extra(j)
	}
}

func (l *aligner) take(i, j int) {
	if l.leaves[j].raw != nil {
		l.slots[i].check(&l.leaves[j])
	}
	l.beside(i, l.leaves[j].index)
}

func (l *aligner) beside(i int, at uint64) {
	if l.slots[i].beside != nil {
		l.slots[i].beside(at)
	}
}

// repeats says whether a leaf is another's copy.
func (l *aligner) repeats(j int) bool {
	x := &l.leaves[j]
	if x.of == nil {
		return false
	}
	k := l.key(j)
	here := slices.ContainsFunc(l.slots, func(s slot) bool { return s.key == k })
	return here || l.a.recent[k] || x.of.Epoch != nil && x.of.Epoch.Number <= l.a.lastEpoch
}

func (l *aligner) extra(j int) {
	x := &l.leaves[j]
	switch {
	case x.raw == nil: // which the walk reports
	case l.repeats(j):
		l.a.report.deviate(x.index, "leaf", "none: it repeats another", l.a.describe(x))
	default:
		l.a.report.deviate(x.index, "leaf", "none: nothing calls for it", l.a.describe(x))
	}
}

// changed compares a leaf with a slot where it stands: field by field if it is of
// the same kind.
func (l *aligner) changed(i, j int) {
	x := &l.leaves[j]
	if l.fits(i, j) {
		l.take(i, j)
		return
	}
	before := len(l.a.report.Deviations)
	if x.of != nil && l.slots[i].key != [32]byte{} {
		l.slots[i].check(x)
	}
	if len(l.a.report.Deviations) == before {
		l.a.report.deviate(x.index, "leaf", l.slots[i].what, l.a.describe(x))
	}
	l.beside(i, x.index)
}
