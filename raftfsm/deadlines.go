package raftfsm

import (
	"container/heap"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// deadlineQueue orders live builds by their next deadline. An entry whose build
// has moved on is stale and passed over: setting is O(log n), nothing is searched.
type deadlineQueue struct {
	heap    deadlineHeap
	current map[ID]int64
}

type deadlineEntry struct {
	at int64
	id ID
}

type deadlineHeap []deadlineEntry

func (h deadlineHeap) Len() int { return len(h) }
func (h deadlineHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return wire.Compare32(h[i].id, h[j].id) < 0
}
func (h deadlineHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deadlineHeap) Push(x any)   { *h = append(*h, x.(deadlineEntry)) }
func (h *deadlineHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// set records b's next deadline, or that it has none.
func (q *deadlineQueue) set(b *build.Build) {
	if q.current == nil {
		q.current = map[ID]int64{}
	}
	at, ok := b.NextDeadline()
	if !ok || b.State == build.Settled {
		delete(q.current, b.ID)
		return
	}
	if old, had := q.current[b.ID]; had && old == at {
		return
	}
	q.current[b.ID] = at
	heap.Push(&q.heap, deadlineEntry{at, b.ID})
	// Heartbeats push a deadline ahead many times; stale entries must not pile up.
	if len(q.heap) > 64 && len(q.heap) > 8*len(q.current) {
		q.heap = q.heap[:0]
		for id, at := range q.current { // a heap's order is of its keys alone
			heap.Push(&q.heap, deadlineEntry{at, id})
		}
	}
}

// next is the earliest deadline.
func (q *deadlineQueue) next() (int64, bool) {
	for len(q.heap) > 0 {
		top := q.heap[0]
		if at, ok := q.current[top.id]; ok && at == top.at {
			return top.at, true
		}
		heap.Pop(&q.heap)
	}
	return 0, false
}

// due returns the build with the earliest deadline at or before now.
func (q *deadlineQueue) due(now int64) (ID, bool) {
	at, ok := q.next()
	if !ok || at > now {
		return ID{}, false
	}
	return q.heap[0].id, true
}
