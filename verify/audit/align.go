package audit

import (
	"context"

	"gavel/raftfsm"
)

// aligner holds the leaves of a segment to the slots that the replay has for it.
// Leaves that are missing, added, repeated or out of place are told from leaves
// that were changed by what is left of either.
type aligner struct {
	a      *auditor
	slots  []slot
	leaves []leaf
	// wanted and there count by key what is yet to come.
	wanted, there map[[32]byte]int
	// moved are slots and leaves that an earlier order finding is about.
	moved map[[32]byte]int
	given map[[32]byte]bool // keys that a slot has taken
}

// align compares a segment with the items that belong to it.
func (a *auditor) align(ctx context.Context, items []raftfsm.Item, leaves []leaf) error {
	l := &aligner{a: a, leaves: leaves, wanted: map[[32]byte]int{}, there: map[[32]byte]int{}, moved: map[[32]byte]int{}, given: map[[32]byte]bool{}}
	for i := range items {
		slots, err := a.slots(ctx, &items[i])
		if err != nil {
			return err
		}
		l.slots = append(l.slots, slots...)
		if k := items[i].Key; k != nil && k.Role == raftfsm.RoleCluster && len(k.NewKey) > 0 {
			a.clusterKeys = append(a.clusterKeys, k.NewKey)
		}
	}
	for i := range l.slots {
		l.wanted[l.slots[i].key]++
	}
	for i := range leaves {
		l.there[l.key(i)]++
	}
	l.run()
	a.recent = l.given
	return nil
}

// prefix compares what leaves it can with items that are not all of a segment's,
// and returns how many leaves those were.
func (a *auditor) prefix(ctx context.Context, items []raftfsm.Item, leaves []leaf) (int, error) {
	l := &aligner{a: a, leaves: leaves, wanted: map[[32]byte]int{}, there: map[[32]byte]int{}, given: map[[32]byte]bool{}}
	for i := range items {
		slots, err := a.slots(ctx, &items[i])
		if err != nil {
			return 0, err
		}
		l.slots = append(l.slots, slots...)
	}
	n := 0
	for n < min(len(l.slots), len(leaves)) && l.fits(n, n) {
		l.take(n, n)
		n++
	}
	return n, nil
}

// key is a leaf's; what is no leaf of ours has one of its own.
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

func (l *aligner) run() {
	i, j := 0, 0
	for i < len(l.slots) || j < len(l.leaves) {
		switch {
		case i < len(l.slots) && l.moved[l.slots[i].key] > 0:
			l.moved[l.slots[i].key]--
			i++
		case j < len(l.leaves) && l.isMoved(j):
			j++
		case i == len(l.slots):
			l.extra(j)
			j++
		case j == len(l.leaves):
			l.missing(i, l.leaves[j-1].index+1)
			i++
		case l.fits(i, j):
			l.take(i, j)
			i, j = i+1, j+1
		default:
			i, j = l.differ(i, j)
		}
	}
}

func (l *aligner) isMoved(j int) bool {
	k := l.key(j)
	k[0] ^= 0xff // leaves that were moved, apart from slots
	if l.moved[k] == 0 {
		return false
	}
	l.moved[k]--
	return true
}

func (l *aligner) take(i, j int) {
	k := l.slots[i].key
	l.wanted[k]--
	l.there[l.key(j)]--
	l.given[k] = true
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

// differ decides what became of a slot and a leaf that do not fit.
func (l *aligner) differ(i, j int) (int, int) {
	wantedLater := l.wanted[l.key(j)] > 0 && l.key(j) != [32]byte{}
	thereLater := l.there[l.slots[i].key] > 0
	switch {
	case wantedLater && thereLater:
		l.order(i, j)
		return i, j
	case wantedLater:
		l.missing(i, l.leaves[j].index)
		return i + 1, j
	case thereLater:
		l.extra(j)
		return i, j + 1
	}
	l.changed(i, j)
	return i + 1, j + 1
}

// order reports a leaf that stands before its time, and takes it as in place.
func (l *aligner) order(i, j int) {
	l.a.report.deviate(l.leaves[j].index, "order", l.slots[i].what, l.a.describe(&l.leaves[j]))
	k := l.key(j)
	for n := i; n < len(l.slots); n++ { // its own slot is filled by it
		if l.slots[n].key == k {
			l.take(n, j)
			break
		}
	}
	l.moved[k]++
	k[0] ^= 0xff
	l.moved[k]++
}

func (l *aligner) missing(i int, at uint64) {
	l.wanted[l.slots[i].key]--
	l.a.report.deviate(at, "leaf", l.slots[i].what, "it is missing")
	l.beside(i, at)
}

func (l *aligner) extra(j int) {
	x := &l.leaves[j]
	if x.raw == nil {
		return
	}
	l.there[l.key(j)]--
	if l.given[l.key(j)] {
		l.a.report.deviate(x.index, "leaf", "none: it repeats an earlier one", l.a.describe(x))
		return
	}
	if e := x.of; e != nil && (l.a.recent[l.key(j)] || e.Epoch != nil && e.Epoch.Number <= l.a.lastEpoch) {
		l.a.report.deviate(x.index, "leaf", "none: it repeats an earlier one", l.a.describe(x))
		return
	}
	l.a.report.deviate(x.index, "leaf", "none: nothing calls for it", l.a.describe(x))
}

// changed reports a leaf that stands where another belongs, field by field if it
// is of the same kind.
func (l *aligner) changed(i, j int) {
	l.wanted[l.slots[i].key]--
	l.there[l.key(j)]--
	x := &l.leaves[j]
	before := len(l.a.report.Deviations)
	if x.of != nil {
		l.slots[i].check(x)
	}
	if len(l.a.report.Deviations) == before {
		l.a.report.deviate(x.index, "leaf", l.slots[i].what, l.a.describe(x))
	}
	l.beside(i, x.index)
}
