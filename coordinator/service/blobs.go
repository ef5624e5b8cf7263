package service

import (
	"context"
	"fmt"
	"io/fs"
	"sync"

	"gavel/cas"
	"gavel/cas/scope"
	"gavel/cas/tree"
	"gavel/coordinator/images"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// Blobs is the farm's one store and who may do what in it. A requester stores
// what it likes and reads that, and what was delivered to it. A worker reads what
// the actions of its leases reach, and stores the outputs of results that it is
// asked to upload: so before the verdict no output can even get here.
type Blobs struct {
	store    Store
	accounts scope.Access // what each account uploaded or was granted
	images   *images.Registry
	pictures ImageStore // of images' blobs
	fsm      *raftfsm.FSM
	reaches  *scope.Reaches

	mu     sync.Mutex
	rights map[build.ID]*rights         // by worker; guarded by mu
	sets   map[cas.Digest]map[blob]bool // what manifests under upload name; guarded by mu
}

// rights is what the state lets a worker do, as of an index.
type rights struct {
	index   uint64
	actions []leasedAction
	uploads []cas.Digest // manifests it is asked to upload
	images  []string     // platforms of its leases
	worker  bool
	writes  bool // a requester or admin: may store anything
}

// leasedAction is an action with the account whose blobs it is made of.
type leasedAction struct {
	requester build.ID
	action    cas.Digest
}

// blob is a digest by value.
type blob struct {
	sum  [32]byte
	size int64
}

// ImageStore keeps images' blobs, apart from what builds are made of: what no
// image names any more can go. disk.Store is one.
type ImageStore interface {
	cas.Store
	Collect(ctx context.Context, unwanted func(hash string, info fs.FileInfo) bool, dry bool) (blobs int, bytes int64, err error)
}

// NewBlobs makes the rules over a store. accounts is the durable record of what
// each account uploaded or was granted, registry that of images, whose blobs lie in
// pictures.
func NewBlobs(store Store, accounts scope.Access, registry *images.Registry, pictures ImageStore, fsm *raftfsm.FSM) *Blobs {
	return &Blobs{
		store: store, accounts: accounts, images: registry, pictures: pictures, fsm: fsm, reaches: scope.NewReaches(store, accounts, tree.DefaultLimits),
		rights: make(map[build.ID]*rights), sets: make(map[cas.Digest]map[blob]bool),
	}
}

// Access is what the blob store's gRPC server asks.
func (b *Blobs) Access() scope.Access {
	return scope.WithLeases(b.accounts, b.mayRead, b.mayWrite)
}

// mayRead says whether a lease of the account reaches d.
func (b *Blobs) mayRead(ctx context.Context, account [32]byte, d cas.Digest) (bool, error) {
	r := b.rightsOf(account)
	for _, l := range r.actions {
		set, err := b.reaches.Of(ctx, l.requester, l.action)
		if err != nil {
			return false, fmt.Errorf("finding what a lease reaches: %w", err)
		}
		if set.Has(d) {
			return true, nil
		}
	}
	return false, nil
}

// mayWrite refuses uploads that nobody asked for.
func (b *Blobs) mayWrite(ctx context.Context, account [32]byte, d cas.Digest) error {
	r := b.rightsOf(account)
	if r.writes {
		return nil
	}
	if !r.worker {
		return fmt.Errorf("%w: only requesters and workers with a result to deliver store blobs: open an account first", scope.ErrDenied)
	}
	for _, manifest := range r.uploads {
		if d == manifest {
			return nil
		}
	}
	for _, manifest := range r.uploads {
		set, err := b.outputs(ctx, account, manifest)
		if err == nil && set[blob{d.Sum(), d.Size}] {
			return nil
		}
	}
	return fmt.Errorf("%w: no result that this worker is asked to upload names blob %s (upload the manifest before its blobs)", scope.ErrDenied, d)
}

// rightsOf derives an account's rights, once for each index of the state.
func (b *Blobs) rightsOf(account build.ID) *rights {
	index, _ := b.fsm.Applied()
	b.mu.Lock()
	known := b.rights[account]
	b.mu.Unlock()
	if known != nil && known.index == index {
		return known
	}
	r := &rights{index: index} // the state may be newer already; then it is derived again
	b.fsm.Read(func(st *raftfsm.State) { r.derive(st, account) })
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rights) >= maxRights {
		clear(b.rights)
	}
	b.rights[account] = r
	return r
}

func (r *rights) derive(st *raftfsm.State, account build.ID) {
	a, ok := st.Account(account)
	if !ok {
		return
	}
	r.writes = a.Role == escrow.Requester || a.Role == escrow.Admin
	if _, r.worker = st.Worker(account); !r.worker {
		return
	}
	work := st.Assignments(account)
	for i := range work.Leases {
		l := &work.Leases[i]
		if b, ok := st.Build(l.Build); ok {
			r.images = append(r.images, b.Terms.Platform)
			r.actions = append(r.actions, leasedAction{b.Inputs(), cas.OfSum(l.ActionDigest, int64(l.ActionBytes))})
		}
	}
	for i := range work.Uploads {
		u := &work.Uploads[i]
		if b, ok := st.Build(u.Build); ok {
			if attempt := b.Attempt(u.Lease); attempt != nil {
				r.uploads = append(r.uploads, manifestDigest(attempt))
			}
		}
	}
}

// manifestDigest names the manifest of an opened attempt.
func manifestDigest(a *build.Attempt) cas.Digest {
	return cas.OfSum(a.Opening.Summary.Content, int64(a.Opening.Summary.ManifestBytes))
}

// outputs are the blobs that a manifest names, which the account has uploaded.
func (b *Blobs) outputs(ctx context.Context, account build.ID, manifest cas.Digest) (map[blob]bool, error) {
	b.mu.Lock()
	set, ok := b.sets[manifest]
	b.mu.Unlock()
	if ok {
		return set, nil
	}
	m, err := b.Manifest(ctx, account, manifest)
	if err != nil {
		return nil, err
	}
	set = make(map[blob]bool, len(m.Outputs))
	for i := range m.Outputs {
		set[blob{m.Outputs[i].Digest, int64(m.Outputs[i].Size)}] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sets) >= maxUploadSets {
		clear(b.sets) // decoding again costs less than keeping an order
	}
	b.sets[manifest] = set
	return set, nil
}
