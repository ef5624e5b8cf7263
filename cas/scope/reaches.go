package scope

import (
	"container/list"
	"context"
	"sync"

	"gavel/cas"
	"gavel/cas/tree"
)

// Reaches computes and remembers the sets of actions. A set belongs to the
// account it was computed for: another one, that may read less, gets its own.
type Reaches struct {
	store  cas.Store
	access Access
	limits tree.Limits

	mu     sync.Mutex
	known  map[reachKey]*list.Element // of recent; guarded by mu
	recent *list.List                 // of *reach, last used first; guarded by mu
	size   int                        // digests of all known; guarded by mu
}

type reachKey struct {
	account [32]byte
	action  cas.Digest
}

type reach struct {
	key reachKey
	set *Set
}

// NewReaches computes sets over store with the rights that access gives.
func NewReaches(store cas.Store, access Access, l tree.Limits) *Reaches {
	return &Reaches{store: store, access: access, limits: l, known: map[reachKey]*list.Element{}, recent: list.New()}
}

// Of returns the set of account's action (see Reach). Two callers that ask for
// an unknown one at once both compute it.
func (r *Reaches) Of(ctx context.Context, account [32]byte, action cas.Digest) (*Set, error) {
	k := reachKey{account, action}
	r.mu.Lock()
	if e, ok := r.known[k]; ok {
		r.recent.MoveToFront(e)
		r.mu.Unlock()
		return e.Value.(*reach).set, nil
	}
	r.mu.Unlock()
	s, err := Reach(ctx, NewView(r.store, r.access, account), action, r.limits)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, raced := r.known[k]; raced || s.Len() > maxCachedDigests {
		return s, nil
	}
	r.known[k] = r.recent.PushFront(&reach{k, s})
	r.size += s.Len()
	for r.size > maxCachedDigests {
		last := r.recent.Remove(r.recent.Back()).(*reach)
		delete(r.known, last.key)
		r.size -= last.set.Len()
	}
	return s, nil
}

// Held returns the set of account's action, if the store holds all of it now: what
// was there when the set was computed may have been removed as unused since. To the
// store this is a use of each of its blobs. An error wraps cas.ErrNotFound where
// something is missing.
func (r *Reaches) Held(ctx context.Context, account [32]byte, action cas.Digest) (*Set, error) {
	s, err := r.Of(ctx, account, action)
	if err != nil {
		return nil, err
	}
	missing, err := r.store.Missing(ctx, s.Digests())
	if err != nil || len(missing) == 0 {
		return s, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.known[reachKey{account, action}]; ok {
		r.recent.Remove(e)
		delete(r.known, reachKey{account, action})
		r.size -= e.Value.(*reach).set.Len()
	}
	return nil, &MissingError{missing}
}
