package raftfsm

import (
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// queue is a pool's live builds by what dispatching them takes, so that an entry
// costs what it moves and not what waits. It is derived from the builds.
type queue struct {
	waiting   []*build.Build        // not dispatched nor allotted, in the queue's order
	allotted  map[ID][]*build.Build // not begun, by the worker whose ask they go to, in the same order
	committed []*build.Build        // whose draws are not made, in order of submission
	auctioned int                   // dispatched and not awarded: each is about to engage a worker
	places    map[ID]place          // where a build stands
}

// place is a part of a queue.
type place struct {
	part   queuePart
	worker ID // of an allotted build
}

type queuePart uint8

const (
	partNone queuePart = iota
	partWaiting
	partAllotted
	partCommitted
	partAuctioned
)

func placeOf(b *build.Build) place {
	switch {
	case b.State == build.Queued && b.Dispatched, b.State == build.Bidding, b.State == build.Revealing:
		return place{part: partAuctioned}
	case b.State == build.Queued && b.Allotted != ID{}:
		return place{partAllotted, b.Allotted}
	case b.State == build.Queued:
		return place{part: partWaiting}
	case b.State == build.Committed:
		return place{part: partCommitted}
	}
	return place{}
}

// queueOf is a pool's queue.
func (s *State) queueOf(pool string) *queue {
	q := s.queues[pool]
	if q == nil {
		q = &queue{allotted: map[ID][]*build.Build{}, places: map[ID]place{}}
		s.queues[pool] = q
	}
	return q
}

// set puts a build where it now belongs.
func (q *queue) set(b *build.Build) {
	was, is := q.places[b.ID], placeOf(b)
	if was == is {
		return
	}
	switch was.part {
	case partWaiting:
		q.waiting = without(q.waiting, b, inQueue)
	case partAllotted:
		if q.allotted[was.worker] = without(q.allotted[was.worker], b, inQueue); len(q.allotted[was.worker]) == 0 {
			delete(q.allotted, was.worker)
		}
	case partCommitted:
		q.committed = without(q.committed, b, bySubmission)
	case partAuctioned:
		q.auctioned--
	}
	q.places[b.ID] = is
	switch is.part {
	case partNone:
		delete(q.places, b.ID)
	case partWaiting:
		q.waiting = with(q.waiting, b, inQueue)
	case partAllotted:
		q.allotted[is.worker] = with(q.allotted[is.worker], b, inQueue)
	case partCommitted:
		q.committed = with(q.committed, b, bySubmission)
	case partAuctioned:
		q.auctioned++
	}
}

// inQueue is the queue's order; neither of its keys ever changes.
func inQueue(a, b *build.Build) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

func bySubmission(a, b *build.Build) int {
	switch {
	case a.Sequence < b.Sequence:
		return -1
	case a.Sequence > b.Sequence:
		return 1
	}
	return 0
}

func with(list []*build.Build, b *build.Build, order func(a, b *build.Build) int) []*build.Build {
	i, _ := slices.BinarySearchFunc(list, b, order)
	return slices.Insert(list, i, b)
}

func without(list []*build.Build, b *build.Build, order func(a, b *build.Build) int) []*build.Build {
	i, found := slices.BinarySearchFunc(list, b, order)
	if !found || list[i] != b {
		panic("raftfsm: broken invariant: a queue has lost a build")
	}
	return slices.Delete(list, i, i+1)
}

// enrol keeps the roster, all workers in order of their ids.
func (s *State) enrol(w *build.Worker) {
	i, _ := slices.BinarySearchFunc(s.roster, w.ID, func(w *build.Worker, id ID) int { return wire.Compare32(w.ID, id) })
	s.roster = slices.Insert(s.roster, i, w)
}
